"""Ring of links between cores: tensors are passed to a neighbour, or copied to every core.

If a ring of links feeds the cores (``ring: true``), no memory is outside of the cores. An input
that all cores need is copied to each. If the mapping names a rank (``ring: M``), each core begins
with its part of the input instead, and passes it on while the next part arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod

from einsum_cascade.errors import MappingError, Problem, SpecError, raise_all
from einsum_cascade.ir import Affine

from ..iteration.access_map import AccessMap
from ..iteration.loops import first_tile
from ..spec.mapping import Mapping, NestLevel
from .partition import NO_RING, RankPartition, Ring
from .record import Bound, BoundEinsum


def ring_of(mapping: Mapping, bound: Bound, partitioned: tuple[RankPartition, ...]) -> Ring:
    """Return the ring of a mapping: which tensors travel among its cores, and which are copied.

    Parameters
    ----------
    mapping : Mapping
        Mapping as written.
    bound : Bound
        Nest of one core.
    partitioned : tuple of RankPartition
        Partitioned ranks.

    Raises
    ------
    SpecError
        The mapping asks for a ring where there is none, or for a rank that no input has.
    MappingError
        A core would need data that no neighbour passes on, or parts are not whole tiles.
    """
    links = bound.architecture.memories[0]
    wanted = next((level for level in mapping.nest if level.ring), None)
    if wanted is not None and not (links.ring and wanted.level == links.name):
        text = f"{wanted.level} is no ring of links in which {wanted.ring[0]} could go round"
        hint = "give the outermost memory of the architecture 'ring: true'"
        raise SpecError(text, wanted.span, hint)
    partitions = {s.variable: s for s in partitioned if links.ring and s.level == 0 and s.parts > 1}
    if not partitions:
        return NO_RING
    span = wanted.span if wanted is not None else mapping.span
    if problems := [Problem(text, span) for text in _kept_from_others(bound, partitions)]:
        raise MappingError(problems)
    shared = [t.name for t in bound.program.inputs if _is_shared(bound, t.name, partitions)]
    # Of several ranks that a tensor has, the first one counts.
    ranks = reversed(wanted.ring) if wanted is not None else ()
    rank_of = {t: r for r in ranks for t in shared if r in bound.program.tensor_ranks[t]}
    ring = Ring(
        parts=prod(s.parts for s in partitions.values()),
        tensors=tuple((t, rank_of[t]) for t in shared if t in rank_of),
        copied=tuple(t for t in shared if t not in rank_of),
    )
    if wanted is not None:
        _check(bound, ring, wanted, partitions)
    return ring


def _touching(bound: Bound, tensor: str) -> Iterator[tuple[BoundEinsum, AccessMap]]:
    """Yield all access maps of a tensor, each with the Einsum that reads or writes it."""
    for e in bound.einsums:
        for part in (e, *e.initial):
            yield from ((part, m) for m in part.access_maps if m.access.tensor == tensor)


def _is_shared(bound: Bound, tensor: str, partitions: dict[str, RankPartition]) -> bool:
    """Return whether some core needs more of a tensor than its own part."""
    return any(not m.moving.issuperset(partitions) for _, m in _touching(bound, tensor))


def _kept_from_others(bound: Bound, partitions: dict[str, RankPartition]) -> Iterator[str]:
    """Yield a reason for each result that several cores compute: no memory outside of the cores
    joins it."""
    links = bound.architecture.memories[0].name
    for e in bound.einsums:
        tensor = e.name
        if 0 in bound.memories(e, tensor) and _is_shared(bound, tensor, partitions):
            lacking = " and ".join(s.rank for v, s in partitions.items() if v not in e.write.moving)
            names = next(iter(partitions.values())).instances
            yield (
                f"{tensor} does not go over {lacking}, of which {names} have parts: {links} is a"
                " ring of links, where no results of theirs meet"
            )


def _check(
    bound: Bound, ring: Ring, wanted: NestLevel, partitions: dict[str, RankPartition]
) -> None:
    """Refuse a ring that does not close, or whose parts are not whole tiles."""
    for rank in wanted.ring:
        if rank not in {r for _, r in ring.tensors}:
            text = f"no input that all instances need goes over {rank}, which is to go round"
            raise SpecError(text, wanted.span)
    ((names, available),) = bound.architecture.memories[0].instances
    problems: list[str] = []
    if ring.parts != available:
        problems.append(f"a ring of {available} {names} does not close over {ring.parts} of them")
    for s in partitions.values():
        if s.ragged or s.begins:
            parts = f"{s.rank} in {s.parts} parts of {s.size_text}"
            problems.append(f"{parts}: in a ring all have to be of one size")
    for tensor, rank in ring.tensors:
        for e, access_map in _touching(bound, tensor):
            problems += _not_in_tiles(bound, e, access_map, rank, ring, partitions)
    raise_all((Problem(text, wanted.span) for text in dict.fromkeys(problems)), MappingError)


def _not_in_tiles(
    bound: Bound,
    e: BoundEinsum,
    access_map: AccessMap,
    rank: str,
    ring: Ring,
    partitions: dict[str, RankPartition],
) -> Iterator[str]:
    """Yield the reasons why other cores' parts of a tensor do not arrive as whole tiles."""
    tensor = access_map.access.tensor
    if moving := [s.rank for v, s in partitions.items() if v in access_map.moving]:
        yield (
            f"{tensor} goes over {moving[0]}, which is partitioned:"
            " it would not go all the way round"
        )
        return
    at = _axis_of(bound, e, access_map, rank)
    if at is None:
        yield f"{e.name} does not take {tensor} along {rank} in order, as it would go round"
        return
    part, tile = Fraction(e.extents[at], ring.parts), first_tile(e.extents, e.nest(1).loops)[at]
    if part % tile:
        links, home = (m.name for m in bound.architecture.memories[:2])
        yield (
            f"{tensor} is in parts of {float(part):g} along {rank}, which are not whole tiles of"
            f" {tile}: loops over {rank} at {links} make the tiles that come to {home}"
        )


def elements_in_transit(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, ring: Ring, tile: int
) -> int:
    """Return how many elements of a travelling tensor are in transit through a core: one part.

    Cores pass tiles on while other tiles are in use, up to one part ahead.

    Parameters
    ----------
    e, access_map
        Access to a travelling tensor, and its Einsum.
    tile : int
        Elements of one tile that arrives over the links.
    """
    at = _axis_of(bound, e, access_map, ring.rank(access_map.access.tensor) or "")
    assert at is not None, "what goes round is checked when it is bound"
    # A part consists of several tiles.
    return tile * (e.extents[at] // ring.parts // first_tile(e.extents, e.nest(1).loops)[at])


def _axis_of(bound: Bound, e: BoundEinsum, access_map: AccessMap, rank: str) -> int | None:
    """Return the axis of an Einsum that covers a tensor's rank element by element; None if none
    does."""
    access = access_map.access
    index = access.indices[bound.program.tensor_ranks[access.tensor].index(rank)]
    if not isinstance(index, Affine) or len(index.terms) != len(index.variables):
        return None
    for at, axis in enumerate(e.axes):
        if {v for v, _ in axis.variables} == {*index.variables}:
            return at if axis.extent == dict(bound.shapes)[rank] else None
    return None
