"""Sums of products by opt_einsum, without building the whole iteration space."""

from __future__ import annotations

from functools import reduce

import numpy as np

from .. import ir
from .dtypes import Array, DType, cast
from .lanes import Lane, LaneSpace


def factors(expression: ir.Expression) -> tuple[tuple[ir.Expression, ...], int]:
    """The factors of a product and its sign; a single factor when it is none."""
    match expression:
        case ir.Unary(operand=operand):
            found, sign = factors(operand)
            return found, -sign
        case ir.Binary(operator="*", left=left, right=right):
            first, one = factors(left)
            second, two = factors(right)
            return first + second, one * two
        case _:
            return (expression,), 1


def contract(
    lanes: tuple[Lane, ...], sign: int, excluded: tuple[Array, ...], space: LaneSpace, kept: int
) -> Array | None:
    """The sum of the product of ``lanes`` over all axes from ``kept`` on.

    Excluded points take part with a factor 0, and factors are multiplied in any order.

    Returns
    -------
    array or None
        With ``kept`` axes, broadcastable to them; None when the sum has to be taken point
        by point: it is not finite, perhaps only because of an excluded point or the order.
    """
    working = lanes[0].values.dtype
    arrays = [lane.values for lane in lanes] + [cast(~flags, working) for flags in excluded]
    shape = space.shape
    covered = reduce(np.maximum, [np.array(a.shape) for a in arrays])
    # Along an axis that no operand has, every element counts as often as the axis is long.
    if any(covered[axis] < shape[axis] for axis in range(kept, len(shape))):
        return None
    # A factor 0 does not remove an infinite point (0 * inf is not a number), and products of more
    # than two factors may overflow in one order alone: such sums are taken again, point by point.
    result = _einsum(arrays, kept, working)
    result = result if sign > 0 else -result
    return result if np.isfinite(result).all() else None


def _einsum(arrays: list[Array], kept: int, working: DType) -> Array:
    import opt_einsum

    operands: list[object] = []
    present: set[int] = set()
    for array in arrays:
        # Axes that are broadcast are left out, for opt_einsum wants one size for one label.
        axes = [axis for axis, size in enumerate(array.shape) if size > 1]
        operands += [array.reshape([array.shape[axis] for axis in axes]), axes]
        present.update(axes)
    output = [axis for axis in range(kept) if axis in present]
    result = np.asarray(opt_einsum.contract(*operands, output), working)
    shape = [1] * kept
    for axis, size in zip(output, result.shape, strict=True):
        shape[axis] = size
    return result.reshape(shape)
