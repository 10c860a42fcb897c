"""Parametric loop nest: a bound mapping without sizes, bound again to other shapes or tiles.

Loops of Einsums, residency of tensors and accesses follow from names. Shapes and tile sizes only
set the strides of loops. Bound mappings with equal patterns share all values that follow from the
pattern, such as legality (``Bound.pattern_facts``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from math import prod
from typing import Any

from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Affine, Gather, Program

from ..iteration.loops import Loop
from .binder import initial_einsums
from .checks import selection_problems
from .record import Bound, BoundEinsum, UnitLoopPattern, shared_loops, step_count
from .tiling import Addressing, Tiling


class ParametricNest:
    """Loop nest of a mapping on a cascade and a machine, to be bound to any sizes."""

    def __init__(self, first: Bound) -> None:
        self.first = first
        self._facts_by_pattern: dict[UnitLoopPattern, dict[Hashable, Any]] = {
            first.pattern: first.pattern_facts
        }

    def bound(self, tiling: Tiling, like: Bound | None = None) -> Bound | None:
        """Bind the mapping to tiles of other sizes, or to other shapes.

        Parameters
        ----------
        tiling : Tiling
            Ranks of the cascade, cut by this mapping.
        like : Bound, optional
            Binding to other sizes, from which equal Einsums are taken.

        Returns
        -------
        Bound or None
            None if an Einsum no longer covers its ranks or fits its array; ``bind_loops`` gives the
            reason.

        Raises
        ------
        SpecError
            An Einsum selects more elements than there are.
        """
        like, first = like or self.first, self.first
        if wrong := [*selection_problems(first.program, tiling)]:
            raise SpecError(wrong)
        if not all(_loops_fit(e, tiling) for e in first.einsums):
            return None
        sizes = _Sizes(first.program, tiling, like)
        shared = shared_loops(first.mapping, first.architecture, tiling)
        found = replace(
            first,
            shapes=tuple(tiling.shapes.items()),
            tiling=tiling,
            nest=shared,
            steps=step_count(tiling, shared),
            einsums=tuple(map(sizes.einsum, like.einsums)),
        )
        vars(found)["pattern_facts"] = self._facts_by_pattern.setdefault(found.pattern, {})
        return found


def _loops_fit(e: BoundEinsum, tiling: Tiling) -> bool:
    """Return whether an Einsum's loops cover its ranks, and the ranks along its array fit the
    array."""
    bounds, looped = tiling.bounds, e.trip_counts
    members = (m.name for rank in e.ranks for m in tiling.of_rank(rank))
    return all(name in looped or bounds[name] == 1 for name in members) and all(
        prod(bounds[x.member] for x in e.spatial if x.dimension == d.name) <= d.size
        for d in e.array.dimensions
    )


class _Sizes:
    """Tile and rank sizes to which bound Einsums are adapted: their loops get other strides."""

    def __init__(self, program: Program, tiling: Tiling, like: Bound) -> None:
        self.program = program
        self.tiling = tiling
        self.like = like
        old, new = like.tiling.shapes, tiling.shapes
        self.same_shapes = new == old
        # An access depends on shapes only by its coefficients, such as M0 in ``m1*M0``.
        self.same_weights = self.same_shapes or all(
            new.get(s) == old.get(s) for s in program.memo(_coefficient_shapes)
        )
        self.strides = {m.name: min(m.stride, new[m.rank]) for m in tiling.members.values()}

    def einsum(self, e: BoundEinsum) -> BoundEinsum:
        """Return an Einsum of ``like`` with the strides of these sizes, or the Einsum itself if its
        strides stay."""
        variables = (*self.program.parallel_variables, *e.einsum.variables)
        axes = e.axes if self.same_shapes else self.tiling.axes(variables)
        units = [dict(axis.variables) for axis in axes]
        shared, own, spatial = (
            tuple([self._loop(x, units) for x in loops]) for loops in (e.shared, e.own, e.spatial)
        )
        same_weights = self.same_shapes or (self.same_weights and not _has_gather(e))
        # Statements of ``init`` may have ranks of their own.
        settled = self.same_shapes or (same_weights and not e.initial)
        if settled and (axes, shared, own, spatial) == (e.axes, e.shared, e.own, e.spatial):
            return e if e.window is None else replace(e, window=None, partially_masked=False)
        reads, write = e.reads, e.write
        if not (same_weights and [a.variables for a in axes] == [a.variables for a in e.axes]):
            addressing = Addressing(self.program, self.tiling, axes)
            reads = tuple(addressing.of(a) for a in e.einsum.reads)
            write = addressing.of(e.einsum.target)
        found = replace(
            e,
            axes=axes,
            shared=shared,
            own=own,
            spatial=spatial,
            reads=reads,
            write=write,
            initial=(),
            window=None,
            partially_masked=False,
        )
        if not e.initial:
            return found
        innermost = len(self.like.architecture.memories) - 1
        return replace(found, initial=initial_einsums(self.program, self.tiling, found, innermost))

    def _loop(self, loop: Loop, units: list[dict[str, int]]) -> Loop:
        """Return a loop with the stride of its partitioned rank; ``units`` has the unit of each
        axis."""
        stride = self.strides[loop.member] * units[loop.axis][loop.variable]
        return loop if loop.stride == stride else loop._replace(stride=stride)


def _has_gather(e: BoundEinsum) -> bool:
    """Return whether an Einsum gathers, so that its footprints depend on whole lengths."""
    accesses = (*e.einsum.reads, e.einsum.target)
    return any(isinstance(index, Gather) for a in accesses for index in a.indices)


def _coefficient_shapes(program: Program) -> frozenset[str]:
    """Return the shapes that are coefficients of a variable in an index of some Einsum."""
    accesses = (a for e in program.einsums for a in (*e.reads, e.target))
    terms = (n for a in accesses for i in a.indices if isinstance(i, Affine) for n in i.terms)
    return frozenset(s for t in terms if t.variable for s in t.shapes)
