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

from .binder import initial_einsums, selection_problems
from .record import Bound, BoundEinsum, UnitLoopPattern, shared_loops, step_count
from .tiling import Addressing, Tiling, axis_places


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
        shared = shared_loops(first.mapping, first.architecture, tiling)
        found = replace(
            first,
            shapes=tuple(tiling.shapes.items()),
            tiling=tiling,
            nest=shared,
            steps=step_count(tiling, shared),
            einsums=tuple(_resized(e, like, tiling) for e in like.einsums),
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


def _resized(e: BoundEinsum, like: Bound, tiling: Tiling) -> BoundEinsum:
    """Return an Einsum of ``like`` with the sizes of a tiling, or the Einsum itself if its loops
    stay."""
    program, same_shapes = like.program, like.tiling.shapes == tiling.shapes
    variables = (*program.parallel_variables, *e.einsum.variables)
    axes = e.axes if same_shapes else tiling.axes(variables)
    places, members = axis_places(axes), tiling.members
    shared, own, spatial = (
        tuple([tiling.loop(members[x.member], places, x.level, x.dimension) for x in loops])
        for loops in (e.shared, e.own, e.spatial)
    )
    if same_shapes and (shared, own, spatial) == (e.shared, e.own, e.spatial):
        return e if e.window is None else replace(e, window=None, partially_masked=False)
    addressing = Addressing(program, tiling, axes)
    found = replace(
        e,
        axes=axes,
        shared=shared,
        own=own,
        spatial=spatial,
        reads=e.reads if same_shapes else tuple(map(addressing.of, e.einsum.reads)),
        write=e.write if same_shapes else addressing.of(e.einsum.target),
        initial=(),
        window=None,
        partially_masked=False,
    )
    innermost = len(like.architecture.memories) - 1
    starts = initial_einsums(program, tiling, found, innermost) if e.initial else ()
    return replace(found, initial=starts) if starts else found
