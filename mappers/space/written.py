"""A mapping of a region as a mapping file writes it."""

from __future__ import annotations

from dataclasses import replace

from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule

from .array_tiles import outer_parts_first
from .region import Ints, Region, Skeleton
from .ways import Way


def mapping_of(
    region: Region,
    skeleton: Skeleton,
    sizes: Ints,
    ways: dict[str, Way],
    places: dict[str, tuple[str, ...]],
) -> Mapping:
    """One mapping of the space.

    Parameters
    ----------
    sizes : array of int64, (tiles,)
    ways : dict
        How every Einsum runs.
    places : dict
        The levels that keep each tensor.
    """
    levels = [m.name for m in region.architecture.memories]
    held = dict(zip((m for _, m in region.tiles), map(int, sizes), strict=True))
    nest = _nest(region, skeleton)
    used = [*levels, *(a.name for a in region.architecture.arrays)]
    keep = ((level, tuple(t for t, found in places.items() if level in found)) for level in used)
    return Mapping(
        name="searched",
        cascade=region.program.name,
        tiles=(*region.fixed, *(t for cut in region.factorisations for t in cut.tiles(held))),
        nest=tuple(
            NestLevel(level=level, loops=tuple(loops))
            for level, loops in zip(levels, nest, strict=True)
            if loops
        ),
        einsums=tuple(
            _einsum(region, skeleton, e.name, ways[e.name]) for e in region.program.einsums
        ),
        keep=tuple(Keep(level=level, tensors=found) for level, found in keep if found),
        schedule=Schedule(kind="pipelined"),
    )


def with_ways(
    region: Region, skeleton: Skeleton, mapping: Mapping, ways: dict[str, Way]
) -> Mapping:
    """The same mapping with other ways of some Einsums.

    Parameters
    ----------
    region : Region
    skeleton : Skeleton
        Of the mapping.
    mapping : Mapping
    ways : dict of str to Way
        By Einsum; those that are absent stay as they are.
    """
    found = tuple(
        _einsum(region, skeleton, how.einsum, ways[how.einsum]) if how.einsum in ways else how
        for how in mapping.einsums
    )
    return replace(mapping, einsums=found)


def _nest(region: Region, skeleton: Skeleton) -> list[list[str]]:
    """All shared loops by memory. Those of one iteration are behind the loops they are
    inside of, or else at the outermost."""
    nest = [list(loops) for loops in skeleton.order]
    going = {m for loops in nest for m in loops}
    for rank in reversed(outer_parts_first(region.program, skeleton.shared)):
        before = [outer for outer, inner in region.parts if inner == rank]
        around = [m for m in going if region.rank_of[m] in before]
        for member in region.factorisation_of[rank].levelled:
            if member not in going:
                level, place = max((_find(nest, m) for m in around), default=(0, 0))
                nest[level].insert(place, member)
            around.append(member)
    outside = [c.outside for c in region.factorisations if c.outside]
    return [[*outside, *nest[0]], *nest[1:]]


def _einsum(region: Region, skeleton: Skeleton, name: str, way: Way) -> EinsumMapping:
    laid = {m for _, members in way.along for m in members}
    loops: list[list[str]] = [[] for _ in region.architecture.memories]
    shared = () if way.alone else skeleton.shared
    going = {m for order in skeleton.order for m in order} if way.alone else set[str]()
    deepest = max((n for n, order in enumerate(skeleton.order) if order), default=0)
    deepest = 0 if way.alone else deepest
    reached: dict[str, int] = {}
    for rank in way.order:
        cut = region.factorisation_of[rank]
        if rank not in shared:
            # A loop that goes round once may be anywhere but outside of a shared one, or of
            # one over an outer part: the deepest memory that has one of these is inside them.
            at = max([deepest, *(reached.get(outer, 0) for outer, x in region.parts if x == rank)])
            for level, member in enumerate(cut.levelled):
                at = max(at, level) if member in skeleton.own or member in going else at
                loops[at].append(member)
            reached[rank] = at
        loops[-1] += [m for m, _ in reversed(cut.fine) if m not in laid]
    levels = [m.name for m in region.architecture.memories]
    return EinsumMapping(
        einsum=name,
        array=way.array,
        spatial=way.along,
        outside=_outside(region, skeleton, name) if way.alone else (),
        nest=tuple(
            NestLevel(level=level, loops=tuple(found))
            for level, found in zip(levels, loops, strict=True)
            if found
        ),
    )


def _outside(region: Region, skeleton: Skeleton, name: str) -> tuple[str, ...]:
    """The shared loops that an Einsum has ranks of and stays out of."""
    mine = (region.factorisation_of[r] for r in skeleton.shared if r in region.all_ways.ranks(name))
    return tuple(m for cut in mine for m in cut.levelled)


def _find(nest: list[list[str]], member: str) -> tuple[int, int]:
    """The memory of a loop, and the place behind it there."""
    level = next(n for n, loops in enumerate(nest) if member in loops)
    return level, nest[level].index(member) + 1
