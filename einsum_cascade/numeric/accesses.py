"""Reading tensors: an access becomes an array aligned on the iteration space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from .. import ir
from ..errors import EvaluationError, Problem
from .dtypes import Array
from .lanes import Buffer, Excluded, Lane, LaneSpace, Outside

Store = Mapping[str, Buffer]

# Indices are int64 arrays, which wrap round silently. Ends are therefore worked out first, in whole
# numbers of Python, which do not: what stays below this has no wrapped index.
_LARGEST = 2**62


@dataclass(frozen=True)
class _Numeric:
    """An affine index with the shapes put in: ``constant + sum of coefficient * variable``.

    Not an ``affine.Form``: an iterative rank comes here at every step, and this is read faster.
    """

    constant: int
    terms: tuple[tuple[int, str], ...]

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(v for _, v in self.terms)


def read(space: LaneSpace, store: Store, access: ir.Access) -> Lane:
    """The elements an access reads, aligned.

    Elements that are absent exclude their points; coordinates beyond the tensor, and
    elements nothing has set, are ``outside``.
    """
    free = [v for i in access.indices if isinstance(i, ir.Affine) for v in _free(i, space)]
    gathers = any(isinstance(i, ir.Gather) for i in access.indices)
    # Of X[a, a] slices would give all pairs and not the diagonal.
    if gathers or len(set(free)) < len(free):
        return _scattered(space, store, access)
    return _sliced(space, store[access.tensor], access)


def _free(index: ir.Affine, space: LaneSpace) -> tuple[str, ...]:
    return tuple(v for v in index.variables if v not in space.fixed)


def _linear(index: ir.Affine, space: LaneSpace) -> _Numeric:
    constant = 0
    found: dict[str, int] = {}
    for term in index.terms:
        coefficient = term.coefficient * prod(space.shapes[s] for s in term.shapes)
        if term.variable is None:
            constant += coefficient
        elif term.variable in space.fixed:
            constant += coefficient * space.fixed[term.variable]
        else:
            found[term.variable] = found.get(term.variable, 0) + coefficient
    linear = _Numeric(constant, tuple((c, v) for v, c in found.items() if c))
    if max(abs(x) for x in _interval(linear, space)) > _LARGEST:
        raise EvaluationError(Problem("this index grows beyond 2**62", index.span))
    return linear


def _interval(linear: _Numeric, space: LaneSpace) -> tuple[int, int]:
    # Exact: each variable has one term, from 0 to its size - 1, so that each term is at one of its
    # ends.
    ends = [(c * (space.size(v) - 1)) for c, v in linear.terms]
    low = linear.constant + sum(min(0, e) for e in ends)
    return low, linear.constant + sum(max(0, e) for e in ends)


def _aligned(linear: _Numeric, space: LaneSpace) -> Array:
    start = np.full((1,) * space.ndim, linear.constant, np.int64)
    return reduce(lambda sum_, t: sum_ + t[0] * space.values(t[1]), linear.terms, start)


def _beyond(index: Array, extent: int) -> Array:
    return (index < 0) | (index >= extent)


def _sliced(space: LaneSpace, buffer: Buffer, access: ir.Access) -> Lane:
    """Every index is affine and no variable occurs in two: slices where possible."""
    leading = len(space.parallel)
    selectors: list[slice | int | Array] = []
    labels: list[str] = list(space.parallel)
    outside: list[Outside] = []
    for index, extent in zip(access.indices, buffer.values.shape[leading:], strict=True):
        assert isinstance(index, ir.Affine)
        linear = _linear(index, space)
        low, high = _interval(linear, space)
        if low < 0 or high >= extent:
            flags = _beyond(_aligned(linear, space), extent)
            outside.append(Outside(flags, access))
        labels.extend(linear.variables)
        # An index of two variables is two axes: X[e, 2*p + r] has the labels e, p, r.
        selectors.append(_selector(linear, space, extent))

    def chosen(array: Array) -> Array:
        return _placed(_take(array, selectors, leading), labels, space)

    return _flagged(Lane(chosen(buffer.values), (), tuple(outside)), buffer, chosen, access)


def _flagged(
    lane: Lane, buffer: Buffer, chosen: Callable[[Array], Array], access: ir.Access
) -> Lane:
    """Add what the elements read say themselves; beyond the tensor they say nothing."""
    excluded, outside = list(lane.excluded), list(lane.outside)
    for deciding, flags in buffer.absent.items():
        absent = chosen(flags)
        for beyond in lane.outside:
            absent = absent & ~beyond.flags
        if absent.any():
            variables = (v for place in deciding for v in access.indices[place].variables)
            excluded.append(Excluded(frozenset(variables), absent))
    if buffer.unset is not None and (unset := chosen(buffer.unset)).any():
        outside.append(Outside(unset, access))
    return Lane(lane.values, tuple(excluded), tuple(outside))


def _selector(linear: _Numeric, space: LaneSpace, extent: int) -> slice | int | Array:
    if not linear.terms:
        return min(max(linear.constant, 0), extent - 1)
    low, high = _interval(linear, space)
    if len(linear.terms) == 1 and linear.terms[0][0] == 1 and low >= 0 and high < extent:
        return slice(low, high + 1)
    sizes = tuple(space.size(v) for v in linear.variables)
    index = np.full(sizes, linear.constant, np.int64)
    for axis, (coefficient, variable) in enumerate(linear.terms):
        along = [1] * len(sizes)
        along[axis] = -1
        index += coefficient * np.arange(space.size(variable), dtype=np.int64).reshape(along)
    # What lies beyond reads the nearest element: it is flagged, and wrong only if it takes part.
    return np.clip(index, 0, extent - 1)


def _take(array: Array, selectors: list[slice | int | Array], leading: int) -> Array:
    # From the last axis to the first, so that the axes still to come keep their places.
    for axis in reversed(range(len(selectors))):
        selector = selectors[axis]
        # An array of n axes puts n in the place of the one that it is taken along.
        if isinstance(selector, np.ndarray):
            array = np.take(array, selector, axis=leading + axis)
        else:
            array = array[(slice(None),) * (leading + axis) + (selector,)]
    return array


def _placed(array: Array, labels: list[str], space: LaneSpace) -> Array:
    """Bring axes named by ``labels`` to their places in the space."""
    names = (*space.parallel, *space.variables)
    order = [labels.index(n) for n in names if n in labels]
    present = tuple(slice(None) if n in labels else None for n in names)
    # None makes an axis of length 1.
    return np.asarray(array.transpose(order)[present])


def _moved(index: ir.Gather, positions: Array, space: LaneSpace) -> Array:
    """Gathered positions scaled and moved: ``I[j]*T + t``."""
    factor = index.coefficient * prod(space.shapes[s] for s in index.shapes)
    linear = _linear(index.offset, space)
    farthest = max(abs(x) for x in _interval(linear, space))
    if max(map(abs, (int(positions.min()), int(positions.max())))) * abs(factor) > (
        _LARGEST - farthest
    ):
        raise EvaluationError(Problem("this index grows beyond 2**62", index.span))
    return factor * positions + _aligned(linear, space)


def _scattered(space: LaneSpace, store: Store, access: ir.Access) -> Lane:
    """The general case: one aligned index array per axis."""
    buffer = store[access.tensor]
    leading = len(space.parallel)
    indices: list[Array] = []
    for axis, rank in enumerate(space.parallel):
        along = [1] * space.ndim
        along[axis] = -1
        indices.append(np.arange(space.shapes[rank]).reshape(along))
    excluded: list[Excluded] = []
    outside: list[Outside] = []
    for index, extent in zip(access.indices, buffer.values.shape[leading:], strict=True):
        if isinstance(index, ir.Gather):
            inner = read(space, store, index.access)
            at = inner.values if index.plain else _moved(index, inner.values, space)
            beyond = _beyond(at, extent)
            # Where there is no position, nothing is picked, whatever the other indices are.
            excluded.extend(inner.excluded)
            outside.extend(inner.outside)
        else:
            at = _aligned(_linear(index, space), space)
            beyond = _beyond(at, extent)
        if beyond.any():
            outside.append(Outside(beyond, access))
        indices.append(np.clip(at, 0, extent - 1))
    places = tuple(indices)
    # One array for each axis, parallel ranks too: numpy then picks point by point.

    def chosen(array: Array) -> Array:
        return np.asarray(array[places])

    lane = Lane(chosen(buffer.values), tuple(excluded), tuple(outside))
    return _flagged(lane, buffer, chosen, access)
