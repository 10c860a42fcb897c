"""Arrays aligned on the iteration space of an Einsum.

An aligned array has one axis per parallel rank and one per free rank variable, in the
order of the ``LaneSpace``; an axis it does not vary along has length 1. Aligned arrays
broadcast against one another without further thought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import ir
from .dtypes import Array


@dataclass(frozen=True)
class LaneSpace:
    """The iteration space of one Einsum inside the loops that surround it.

    Attributes
    ----------
    parallel : tuple of str
        The parallel ranks the inputs carry.
    variables : tuple of str
        Free rank variables, those of the target first.
    fixed : mapping
        The value of every rank variable a surrounding loop walks.
    shapes : mapping
        The shape of every rank.
    ranks : mapping
        The rank of every rank variable.
    """

    parallel: tuple[str, ...]
    variables: tuple[str, ...]
    fixed: Mapping[str, int]
    shapes: Mapping[str, int]
    ranks: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of every axis."""
        leading = tuple(self.shapes[rank] for rank in self.parallel)
        return leading + tuple(self.size(v) for v in self.variables)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.parallel) + len(self.variables)

    def size(self, variable: str) -> int:
        """How many values a free variable takes."""
        return self.shapes[self.ranks[variable]]

    def axis(self, variable: str) -> int:
        """The axis of a free variable."""
        return len(self.parallel) + self.variables.index(variable)

    def values(self, variable: str) -> Array:
        """The values of a variable, int64, aligned."""
        if variable in self.fixed:
            return np.full((1,) * self.ndim, self.fixed[variable], np.int64)
        shape = [1] * self.ndim
        shape[self.axis(variable)] = self.size(variable)
        return np.arange(self.size(variable), dtype=np.int64).reshape(shape)

    def range(self, variable: str) -> tuple[int, int]:
        """The least and the largest value of a variable."""
        if variable in self.fixed:
            return self.fixed[variable], self.fixed[variable]
        return 0, self.size(variable) - 1

    def scalar(self, value: float) -> Array:
        """A constant, float64, aligned."""
        return np.full((1,) * self.ndim, value, np.float64)

    def point(self, flags: Array) -> str:
        """The first point where ``flags`` holds, in words: `` at m = 3, p = 0``."""
        found = np.argwhere(flags)[0].tolist()
        names = (*self.parallel, *self.variables)
        parts = [f"{v} = {x}" for v, x in self.fixed.items()]
        along = zip(names, found, flags.shape, strict=True)
        parts += [f"{name} = {x}" for name, x, size in along if size > 1]
        return f" at {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Excluded:
    """Points that are not part of the iteration space, and the variables that decide."""

    variables: frozenset[str]
    flags: Array


@dataclass(frozen=True)
class Outside:
    """Points at which an access reaches beyond its tensor, or what nothing has set."""

    flags: Array
    access: ir.Access


@dataclass(frozen=True)
class Lane:
    """An expression over the iteration space.

    Where a point is ``excluded`` or ``outside``, its value means nothing (but is there).
    """

    values: Array
    excluded: tuple[Excluded, ...] = ()
    outside: tuple[Outside, ...] = ()

    @property
    def unknown(self) -> tuple[Array, ...]:
        """Flags of the points whose value means nothing."""
        return (*(e.flags for e in self.excluded), *(o.flags for o in self.outside))

    def with_values(self, values: Array) -> Lane:
        """The same points, other values."""
        return Lane(values, self.excluded, self.outside)

    def only_where(self, flags: Array, variables: frozenset[str]) -> Lane:
        """Exclusions and reads beyond the end count only where ``flags`` holds.

        Parameters
        ----------
        flags : array of bool
            Aligned on the iteration space.
        variables : frozenset of str
            Rank variables that ``flags`` depend on: what they let through now depends on these too.
        """
        excluded = tuple(Excluded(e.variables | variables, e.flags & flags) for e in self.excluded)
        outside = tuple(Outside(o.flags & flags, o.access) for o in self.outside)
        return Lane(self.values, excluded, outside)


def merged(lanes: tuple[Lane, ...], values: Array) -> Lane:
    """An expression of several operands: what excludes one excludes all."""
    return Lane(
        values,
        tuple(e for lane in lanes for e in lane.excluded),
        tuple(o for lane in lanes for o in lane.outside),
    )


def union(flags: tuple[Array, ...], ndim: int) -> Array | None:
    """Where any of some aligned flags holds; None when there are none."""
    if not flags:
        return None
    found = np.zeros((1,) * ndim, bool)
    for one in flags:
        found = found | one
    return found if found.any() else None


@dataclass
class Buffer:
    """A tensor being computed: values, and which elements are absent or not set.

    ``absent`` has flags by what decides: the places of the indices, parallel ranks not counted,
    along which elements are absent together. ``X[m, p] where p > 2`` lacks whole fibers of m,
    and a sum over m of it has no element there either. ``unset`` is None while every element is
    set. Values of absent elements are 0. Axes: the parallel ranks, then the tensor's own.
    ``carry`` is the axis of the iterative rank, along which an excluded step leaves the state
    as it was.
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
        """Store a slab; where two ``init`` statements set an element, the later one counts."""
        self.values[where] = values
        if self.unset is not None:
            self.unset[where] = False
        for deciding in absent:
            if deciding not in self.absent:
                self.absent[deciding] = np.zeros(self.values.shape, bool)
        for deciding, flags in self.absent.items():
            flags[where] = absent.get(deciding, False)

    def carry_forward(self, first: int, last: int) -> None:
        """Let absent elements ``first`` to ``last`` along the iterative axis keep the state."""
        if self.carry is None or not self.absent:
            return
        values = np.moveaxis(self.values, self.carry, 0)
        causes = [np.moveaxis(flags, self.carry, 0) for flags in self.absent.values()]
        # One after the other: the step before may have been skipped, too, and have got its state
        # just now; flags are copied with it, for a state that is absent stays so.
        for at in range(first, last + 1):
            skipped = np.logical_or.reduce([absent[at : at + 1] for absent in causes])
            for kept in (values, *causes):
                kept[at : at + 1][skipped] = kept[at - 1 : at][skipped]
