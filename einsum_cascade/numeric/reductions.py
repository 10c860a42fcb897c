"""Reductions of aligned arrays: folds, contractions by opt_einsum, and top-k selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import ir
from ..functions import REDUCTIONS, of
from .aligned import AlignedArray, AlignedSpace
from .dtypes import Array, DType, cast


def factors(expression: ir.Expression) -> tuple[tuple[ir.Expression, ...], int]:
    """Return the factors of a product and its sign; another expression is its own factor."""
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
    lanes: tuple[AlignedArray, ...],
    sign: int,
    excluded: tuple[Array, ...],
    space: AlignedSpace,
    kept: int,
) -> Array | None:
    """Return the sum of the product of ``lanes`` over all axes from ``kept`` on.

    Excluded points take part with a factor 0, and factors are multiplied in any order.

    Returns
    -------
    array or None
        Array of ``kept`` axes, broadcastable; None if the sum must be taken point by point, because
        it
        is not finite (perhaps only because of an excluded point or of the order).
    """
    working = lanes[0].values.dtype
    arrays = [lane.values for lane in lanes] + [cast(~flags, working) for flags in excluded]
    shape = space.shape
    covered = reduce(np.maximum, [np.array(a.shape) for a in arrays])
    # Along an axis that no operand has, every element counts as often as the axis is long.
    if any(covered[axis] < shape[axis] for axis in range(kept, len(shape))):
        return None
    # A factor 0 does not remove an infinite point (0 * inf is NaN), and a product of more than two
    # factors may overflow in one order only: such sums are computed again, point by point.
    result = _einsum(arrays, kept, working)
    result = result if sign > 0 else -result
    return result if np.isfinite(result).all() else None


def _einsum(arrays: list[Array], kept: int, working: DType) -> Array:
    import opt_einsum

    operands: list[object] = []
    present: set[int] = set()
    for array in arrays:
        # Broadcast axes are left out, because opt_einsum wants one size per label.
        axes = [axis for axis, size in enumerate(array.shape) if size > 1]
        operands += [array.reshape([array.shape[axis] for axis in axes]), axes]
        present.update(axes)
    output = [axis for axis in range(kept) if axis in present]
    result = np.asarray(opt_einsum.contract(*operands, output), working)
    shape = [1] * kept
    for axis, size in zip(output, result.shape, strict=True):
        shape[axis] = size
    return result.reshape(shape)


Operator = Callable[[Array, Array], Array]

UFUNCS: Mapping[str, Any] = MappingProxyType(
    {name: of(np, row.merge.numpy) for name, row in REDUCTIONS.items()}
)
"""Functions that merge two elements, by built-in reduction operator."""


def reduce_axes(
    values: Array,
    axes: int,
    reduction: str,
    *,
    excluded: Array | None,
    identity: float,
    accumulator: DType | None,
    operator: Operator | None,
) -> Array:
    """Reduce the last ``axes`` axes.

    Parameters
    ----------
    values : array
        Full along the reduced axes.
    axes : int
        Number of trailing axes to reduce; positive.
    reduction : str
        Name of the operator.
    excluded : array, optional
        Points that do not take part, broadcast to ``values``.
    identity : float
        Identity element of the operator.
    accumulator : dtype, optional
        16-bit type to which the running result is rounded.
    operator : callable, optional
        User operator; None for a built-in one.

    Returns
    -------
    array
        Array of the remaining axes, in the type of ``values``.

    Examples
    --------
    In bfloat16, with 8 significant bits, a sum of ones stops at 256:

    >>> from .dtypes import dtype_of
    >>> ones = np.ones(300, np.float32)
    >>> how = {"excluded": None, "identity": 0.0, "operator": None}
    >>> float(reduce_axes(ones, 1, "+", accumulator=dtype_of("bfloat16"), **how))
    256.0
    >>> float(reduce_axes(ones, 1, "+", accumulator=None, **how))
    300.0
    """
    trailing = tuple(range(values.ndim - axes, values.ndim))
    ufunc = UFUNCS.get(reduction)
    # A maximum is one of its operands, so nothing is rounded on the way.
    if ufunc is not None and (accumulator is None or reduction in ("max", "min")):
        if excluded is not None:
            values = np.where(excluded, np.asarray(identity, values.dtype), values)
        return np.asarray(ufunc.reduce(values, axis=trailing, dtype=values.dtype))
    apply = ufunc if operator is None else operator
    assert apply is not None
    return _fold(values, axes, apply, excluded, identity, accumulator)


def _fold(
    values: Array,
    axes: int,
    apply: Operator,
    excluded: Array | None,
    identity: float,
    accumulator: DType | None,
) -> Array:
    """Reduce point by point, from the identity; an excluded point changes nothing."""
    kept = values.shape[: values.ndim - axes]
    points = values.reshape((*kept, -1))
    skip = None
    if excluded is not None:
        skip = np.broadcast_to(excluded, values.shape).reshape(points.shape)
    total = np.full(kept, identity, values.dtype)
    for at in range(points.shape[-1]):
        after = np.asarray(apply(total, points[..., at]))
        if accumulator is not None:
            after = cast(cast(after, accumulator), values.dtype)
        total = after if skip is None else np.where(skip[..., at], total, after)
    return total


def topk(values: Array, excluded: Array | None, count: int) -> tuple[Array, Array]:
    """Return the positions of the ``count`` largest elements along the last axis.

    Equal elements are taken in the order of their positions.

    Parameters
    ----------
    values : array, shape (..., M)
        Candidates.
    excluded : array, optional
        Candidates that cannot be selected, broadcast to ``values``.
    count : int
        Number of positions; those beyond M are missing.

    Returns
    -------
    positions : array of int64, shape (..., count)
        Positions, largest element first.
    missing : array of bool, shape (..., count)
        True where fewer than ``count`` elements could be selected.
    """
    skip = np.broadcast_to(False if excluded is None else excluded, values.shape)
    # lexsort takes its last key first and is stable: excluded elements end up at the back.
    order = np.lexsort((-values, skip), axis=-1)
    available = values.shape[-1] - np.count_nonzero(skip, axis=-1)
    positions = np.zeros((*values.shape[:-1], count), np.int64)
    positions[..., : order.shape[-1]] = order[..., :count]
    missing = np.arange(count) >= available[..., None]
    return np.where(missing, 0, positions), missing
