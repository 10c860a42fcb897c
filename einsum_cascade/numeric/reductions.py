"""Reducing aligned arrays over their trailing axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..functions import REDUCTIONS, of
from .dtypes import Array, DType, cast

Operator = Callable[[Array, Array], Array]

UFUNCS: Mapping[str, Any] = MappingProxyType(
    {name: of(np, row.merge.numpy) for name, row in REDUCTIONS.items()}
)
"""What merges elements, by built-in reduction operator."""


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
        How many trailing axes to reduce; positive.
    reduction : str
        The operator's name.
    excluded : array, optional
        Points that do not take part, broadcast to ``values``.
    identity : float
        The operator's identity element.
    accumulator : dtype, optional
        A 16-bit type the running result is rounded to.
    operator : callable, optional
        A user's operator; None for a built-in one.

    Returns
    -------
    array
        Of the axes that are left, in the type of ``values``.

    Examples
    --------
    In bfloat16, of 8 significant bits, a sum of ones does not get beyond 256:

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
    # A maximum is one of its operands: nothing is rounded on the way.
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
    """One point after the other, from the identity; an excluded point changes nothing."""
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
