"""Arrays aligned on the iteration space of an Einsum, and tensor accesses that produce them.

An aligned array has one axis per parallel rank and one per free rank variable, in the order of the
``AlignedSpace``. An axis along which the array does not vary has length 1, so aligned arrays
broadcast against one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from .. import ir
from ..errors import EvaluationError
from .dtypes import Array
from .inputs import Binding


@dataclass(frozen=True)
class AlignedSpace:
    """Iteration space of one Einsum inside its surrounding loops.

    Attributes
    ----------
    parallel : tuple of str
        Parallel ranks of the inputs.
    variables : tuple of str
        Free rank variables, those of the target first.
    fixed : mapping
        Value of each rank variable that a surrounding loop iterates over.
    shapes : mapping
        Shape of every rank.
    ranks : mapping
        Rank of every rank variable.
    """

    parallel: tuple[str, ...]
    variables: tuple[str, ...]
    fixed: Mapping[str, int]
    shapes: Mapping[str, int]
    ranks: Mapping[str, str]
    pointwise: ClassVar[bool] = False
    """True if all variables vary along one axis, so that tensors are read point by point."""

    @classmethod
    def of(
        cls,
        program: ir.Program,
        binding: Binding,
        variables: tuple[str, ...],
        fixed: Mapping[str, int] = MappingProxyType({}),
    ) -> AlignedSpace:
        """Return the space that some variables span in an evaluation."""
        ranks = program.rank_of_variable
        return cls(binding.parallel, variables, fixed, binding.shapes, ranks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis, parallel ranks first."""
        leading = tuple(self.shapes[rank] for rank in self.parallel)
        return leading + tuple(self.size(v) for v in self.variables)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.parallel) + len(self.variables)

    def size(self, variable: str) -> int:
        """Return the number of values of a free variable."""
        return self.shapes[self.ranks[variable]]

    def axis(self, variable: str) -> int:
        """Return the axis of a free variable."""
        return len(self.parallel) + self.variables.index(variable)

    def values(self, variable: str) -> Array:
        """Return the values of a variable as an aligned int64 array."""
        if variable in self.fixed:
            return np.full((1,) * self.ndim, self.fixed[variable], np.int64)
        return self.positions(self.axis(variable))

    def positions(self, axis: int) -> Array:
        """Return the positions along an axis as an aligned int64 array."""
        shape = [1] * self.ndim
        shape[axis] = -1
        return np.arange(self.shape[axis], dtype=np.int64).reshape(shape)

    def range(self, variable: str) -> tuple[int, int]:
        """Return the smallest and the largest value of a variable."""
        if variable in self.fixed:
            return self.fixed[variable], self.fixed[variable]
        return 0, self.size(variable) - 1

    def scalar(self, value: float) -> Array:
        """Return a constant as an aligned float64 array."""
        return np.full((1,) * self.ndim, value, np.float64)

    def point(self, flags: Array) -> str:
        """Return a text for the first point at which ``flags`` is True: `` at m = 3, p = 0``."""
        found = np.argwhere(flags)[0].tolist()
        names = (*self.parallel, *self.variables)
        parts = [f"{v} = {x}" for v, x in self.fixed.items()]
        along = zip(names, found, flags.shape, strict=True)
        parts += [f"{name} = {x}" for name, x, size in along if size > 1]
        return f" at {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Excluded:
    """Flags of points that a mask excludes, with the rank variables that the flags depend on."""

    variables: frozenset[str]
    flags: Array


@dataclass(frozen=True)
class Outside:
    """Flags of points at which an access reads an element that does not exist.

    The element lies beyond the tensor, or nothing has set it.
    """

    flags: Array
    access: ir.Access


@dataclass(frozen=True)
class AlignedArray:
    """Values of an expression over the iteration space.

    The value at an ``excluded`` or ``outside`` point is arbitrary.
    """

    values: Array
    excluded: tuple[Excluded, ...] = ()
    outside: tuple[Outside, ...] = ()

    @property
    def unknown(self) -> tuple[Array, ...]:
        """Flags of the points at which the value is arbitrary, one array per cause."""
        return (*(e.flags for e in self.excluded), *(o.flags for o in self.outside))

    def with_values(self, values: Array) -> AlignedArray:
        """Return other values with the flags of this array."""
        return AlignedArray(values, self.excluded, self.outside)

    def only_where(self, flags: Array, variables: frozenset[str]) -> AlignedArray:
        """Return the array with its flags cleared at points where ``flags`` is False.

        Parameters
        ----------
        flags : array of bool
            Aligned on the iteration space.
        variables : frozenset of str
            Rank variables that ``flags`` depend on; the exclusions depend on them from now on.
        """
        excluded = tuple(Excluded(e.variables | variables, e.flags & flags) for e in self.excluded)
        outside = tuple(Outside(o.flags & flags, o.access) for o in self.outside)
        return AlignedArray(self.values, excluded, outside)


def merged(lanes: tuple[AlignedArray, ...], values: Array) -> AlignedArray:
    """Return ``values`` computed from several operands, with the flags of all operands."""
    excluded = tuple(e for lane in lanes for e in lane.excluded)
    return AlignedArray(values, excluded, tuple(o for lane in lanes for o in lane.outside))


def union(flags: tuple[Array, ...], ndim: int) -> Array | None:
    """Return an array that is True where any of the flags is; None if there is no such point."""
    found = reduce(np.logical_or, flags, np.zeros((1,) * ndim, bool))
    return found if found.any() else None


@dataclass
class Buffer:
    """Tensor under computation: its values, and flags of absent and unset elements.

    ``absent`` maps the index positions that decide (parallel ranks not counted) to flags. ``X[m, p]
    where p > 2`` lacks whole fibers of m, so a sum over m has no element there either. ``unset`` is
    None if every element is set. Absent elements have value 0. Axes are the parallel ranks, then
    the ranks of the tensor. ``carry`` is the axis of the iterative rank, along which an excluded
    step keeps the state.
    """

    values: Array
    absent: dict[frozenset[int], Array] = field(default_factory=dict)
    unset: Array | None = None
    carry: int | None = None

    def write(
        self,
        where: tuple[slice | int | Array, ...],
        values: Array,
        absent: Mapping[frozenset[int], Array],
    ) -> None:
        """Store values at some positions; a later ``init`` statement for an element wins."""
        self.values[where] = values
        if self.unset is not None:
            self.unset[where] = False
        for deciding in absent:
            if deciding not in self.absent:
                self.absent[deciding] = np.zeros(self.values.shape, bool)
        for deciding, flags in self.absent.items():
            flags[where] = absent.get(deciding, False)

    def carry_forward(self, first: int, last: int) -> None:
        """Copy the previous state into absent elements ``first`` to ``last`` of the iterative
        axis.
        """
        if self.carry is None or not self.absent:
            return
        values = np.moveaxis(self.values, self.carry, 0)
        causes = [np.moveaxis(flags, self.carry, 0) for flags in self.absent.values()]
        # In order: the previous step may have been skipped too and just received its state. Flags
        # are copied as well, because an absent state stays absent.
        for at in range(first, last + 1):
            skipped = np.logical_or.reduce([absent[at : at + 1] for absent in causes])
            for kept in (values, *causes):
                kept[at : at + 1][skipped] = kept[at - 1 : at][skipped]


Store = Mapping[str, Buffer]

# Indices are int64 arrays, which wrap silently. Bounds are therefore computed first as Python
# integers: below this limit no index wraps.
_LARGEST = 2**62


@dataclass(frozen=True)
class LinearIndex:
    """Affine index with numbers for shapes: ``constant + sum of coefficient * variable``.

    This class is not ``ir.Affine``: every step of an iterative rank reads an index, and this class
    is faster.
    """

    constant: int
    terms: tuple[tuple[int, str], ...]


def linear_index(index: ir.Affine, space: AlignedSpace) -> LinearIndex:
    """Return an index with numbers in place of shapes and of the variables of surrounding loops."""
    weights = index.weights(space.shapes)
    constant = weights.pop("", 0) + sum(c * space.fixed.get(v, 0) for v, c in weights.items())
    terms = tuple((c, v) for v, c in weights.items() if c and v not in space.fixed)
    linear = LinearIndex(constant, terms)
    if max(abs(x) for x in _interval(linear, space)) > _LARGEST:
        raise EvaluationError("this index grows beyond 2**62", index.span)
    return linear


def _interval(linear: LinearIndex, space: AlignedSpace) -> tuple[int, int]:
    # Exact, because each variable has one term and each term is largest or smallest at an end.
    ends = [(c * (space.size(v) - 1)) for c, v in linear.terms]
    low = linear.constant + sum(min(0, e) for e in ends)
    return low, linear.constant + sum(max(0, e) for e in ends)


def aligned_index(index: ir.Affine, space: AlignedSpace) -> Array:
    """Return the positions that an index takes as an aligned int64 array."""
    return _aligned(linear_index(index, space), space)


def _aligned(linear: LinearIndex, space: AlignedSpace) -> Array:
    start = np.full((1,) * space.ndim, linear.constant, np.int64)
    return reduce(lambda sum_, t: sum_ + t[0] * space.values(t[1]), linear.terms, start)


def _moved(index: ir.Gather, positions: Array, space: AlignedSpace) -> Array:
    """Return gathered positions scaled and shifted: ``I[j]*T + t``."""
    factor = index.factor(space.shapes)
    linear = linear_index(index.offset, space)
    farthest = max(abs(x) for x in _interval(linear, space))
    if max(map(abs, (int(positions.min()), int(positions.max())))) * abs(factor) > (
        _LARGEST - farthest
    ):
        raise EvaluationError("this index grows beyond 2**62", index.span)
    return factor * positions + _aligned(linear, space)


def read(space: AlignedSpace, store: Store, access: ir.Access) -> AlignedArray:
    """Return the elements that an access reads as an aligned array.

    Absent elements exclude their points. Coordinates beyond the tensor and unset elements are
    ``outside``.
    """
    buffer = store[access.tensor]
    excluded: list[Excluded] = []
    outside: list[Outside] = []
    view = _box(space, buffer, access)
    places = () if view else _places(space, store, access, excluded, outside)

    def chosen(array: Array) -> Array:
        return view(array) if view else np.asarray(array[places])

    beyond = [o.flags for o in outside]
    for deciding, flags in buffer.absent.items():
        # Positions beyond the tensor have no such flags.
        absent = reduce(lambda left, right: left & ~right, beyond, chosen(flags))
        if absent.any():
            variables = (v for place in deciding for v in access.indices[place].variables)
            excluded.append(Excluded(frozenset(variables), absent))
    if buffer.unset is not None and (unset := chosen(buffer.unset)).any():
        outside.append(Outside(unset, access))
    return AlignedArray(chosen(buffer.values), tuple(excluded), tuple(outside))


def _box(space: AlignedSpace, buffer: Buffer, access: ir.Access) -> Callable[[Array], Array] | None:
    """Return a function that reads an access as a view, if each variable moves one index by ones.

    The result is None for any other access, or if an index leaves the tensor.
    """
    if space.pointwise:
        return None
    selectors: list[slice | int] = [slice(None)] * len(space.parallel)
    labels = list(space.parallel)
    extents = buffer.values.shape[len(space.parallel) :]
    for index, extent in zip(access.indices, extents, strict=True):
        if isinstance(index, ir.Gather):
            return None
        linear = linear_index(index, space)
        low, high = _interval(linear, space)
        if low < 0 or high >= extent or [c for c, _ in linear.terms] not in ([], [1]):
            return None
        selectors.append(slice(low, high + 1) if linear.terms else low)
        labels.extend(v for _, v in linear.terms)
    names = (*space.parallel, *space.variables)
    # Slices of X[a, a] would give all pairs instead of the diagonal.
    if len(set(labels)) < len(labels):
        return None
    order = [labels.index(n) for n in names if n in labels]
    # None makes an axis of length 1.
    present = tuple(slice(None) if n in labels else None for n in names)
    return lambda array: array[tuple(selectors)].transpose(order)[present]


def _places(
    space: AlignedSpace,
    store: Store,
    access: ir.Access,
    excluded: list[Excluded],
    outside: list[Outside],
) -> tuple[Array, ...]:
    """Return one aligned index array per axis of a tensor, parallel ranks included.

    With such arrays numpy gathers point by point. Flags of gathered positions and of positions
    beyond the tensor are added to the lists.
    """
    leading = len(space.parallel)
    indices = [space.positions(axis) for axis in range(leading)]
    extents = store[access.tensor].values.shape[leading:]
    for index, extent in zip(access.indices, extents, strict=True):
        if isinstance(index, ir.Gather):
            inner = read(space, store, index.access)
            at = inner.values if index.plain else _moved(index, inner.values, space)
            # Without a position nothing is gathered, whatever the other indices are.
            excluded.extend(inner.excluded)
            outside.extend(inner.outside)
        else:
            at = aligned_index(index, space)
        beyond = (at < 0) | (at >= extent)
        if beyond.any():
            outside.append(Outside(beyond, access))
        # A position beyond the end reads the nearest element; it is flagged, and wrong only if it
        # takes part.
        indices.append(np.clip(at, 0, extent - 1))
    return tuple(indices)
