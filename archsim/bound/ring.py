"""What instances pass on to their neighbours in a ring of links.

Where a ring of links feeds the instances of a machine (``ring: true``), no memory is outside of
them: each holds what it works on as long as a run lasts. What moves with a spread rank is where it
is needed. An input that all need is there in copies; or, where the mapping says along which rank
(``ring: M``), each instance holds a part of it, begins with that, and passes on to one neighbour
what it had while the next part comes from the other. Once round, every part has come to every
instance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Final

from einsum_cascade.errors import MappingError, Problem, SpecError
from einsum_cascade.ir import Affine

from ..space.access_map import AccessMap
from ..space.iteration import first_tile
from ..spec.mapping import Mapping, NestLevel

if TYPE_CHECKING:
    from .instances import Spread
    from .record import Bound, BoundEinsum


@dataclass(frozen=True, kw_only=True)
class Ring:
    """What goes round among instances, and what each has a copy of."""

    parts: int = 1
    """Instances in the ring, each with a part of what goes round."""
    tensors: tuple[tuple[str, str], ...] = ()
    """Inputs that go round, each with the rank of which an instance holds a part."""
    copied: tuple[str, ...] = ()
    """Inputs of which every instance holds all that it needs."""

    def rank(self, tensor: str) -> str | None:
        """The rank of which instances hold parts of a tensor; None if it does not go round."""
        return dict(self.tensors).get(tensor)

    @property
    def passed(self) -> Fraction:
        """The share of all tiles that an instance gets from its neighbour."""
        return Fraction(self.parts - 1, self.parts)


NO_RING: Final = Ring()
"""Instances that pass nothing on."""


def ring_of(mapping: Mapping, bound: Bound, spread: tuple[Spread, ...]) -> Ring:
    """What goes round among the instances of a mapping.

    Parameters
    ----------
    mapping : Mapping
        As it is written.
    bound : Bound
        What one instance runs.
    spread : tuple of Spread
        What instances have parts of.

    Raises
    ------
    SpecError
        The mapping asks for a ring where there is none, or of a rank that nothing goes over.
    MappingError
        An instance would need what no neighbour passes on, or parts are not whole tiles.
    """
    links = bound.architecture.memories[0]
    asked = next((level for level in mapping.nest if level.ring), None)
    if asked is not None and not (links.ring and asked.level == links.name):
        text = f"{asked.level} is no ring of links in which {asked.ring[0]} could go round"
        hint = "give the outermost memory of the architecture 'ring: true'"
        raise SpecError(Problem(text, asked.span, hint))
    apart = {s.variable: s for s in spread if links.ring and s.level == 0 and s.parts > 1}
    if not apart:
        return NO_RING
    span = asked.span if asked is not None else mapping.span
    if problems := [Problem(text, span) for text in _kept_from_others(bound, apart)]:
        raise MappingError(problems)
    shared = [t.name for t in bound.program.inputs if _is_shared(bound, t.name, apart)]
    rank_of = {t: r for t in shared for r in reversed(_ranks_of(bound, t, asked))}
    ring = Ring(
        parts=prod(s.parts for s in apart.values()),
        tensors=tuple(rank_of.items()),
        copied=tuple(t for t in shared if t not in rank_of),
    )
    if asked is not None:
        _check(bound, ring, asked, apart)
    return ring


def _ranks_of(bound: Bound, tensor: str, asked: NestLevel | None) -> list[str]:
    ranks = bound.program.tensor_ranks[tensor]
    return [] if asked is None else [r for r in asked.ring if r in ranks]


def _touching(bound: Bound, tensor: str) -> Iterator[tuple[BoundEinsum, AccessMap]]:
    """All accesses to a tensor, each with its Einsum."""
    for e in bound.einsums:
        for part in (e, *e.initial):
            yield from ((part, m) for m in part.touches if m.access.tensor == tensor)


def _is_shared(bound: Bound, tensor: str, apart: dict[str, Spread]) -> bool:
    """Whether an instance needs more of a tensor than what goes with its own part."""
    return any(not m.moving.issuperset(apart) for _, m in _touching(bound, tensor))


def _kept_from_others(bound: Bound, apart: dict[str, Spread]) -> Iterator[str]:
    """What is made in instances and belongs to no single one of them: no memory is outside of them
    where it could meet."""
    links = bound.architecture.memories[0].name
    for e in bound.einsums:
        tensor = e.name
        if 0 in bound.memories(e, tensor) and _is_shared(bound, tensor, apart):
            spread = " and ".join(s.rank for v, s in apart.items() if v not in e.write.moving)
            names = next(iter(apart.values())).instances
            yield (
                f"{tensor} does not go over {spread}, of which {names} have parts: {links} is a"
                " ring of links, where no results of theirs meet"
            )


def _check(bound: Bound, ring: Ring, asked: NestLevel, apart: dict[str, Spread]) -> None:
    """Refuse a ring that does not close, or whose parts are not whole tiles."""
    for rank in asked.ring:
        if rank not in {r for _, r in ring.tensors}:
            text = f"no input that all instances need goes over {rank}, which is to go round"
            raise SpecError(Problem(text, asked.span))
    ((names, available),) = bound.architecture.memories[0].instances
    problems: list[str] = []
    if ring.parts != available:
        problems.append(f"a ring of {available} {names} does not close over {ring.parts} of them")
    for s in apart.values():
        if s.ragged or s.begins:
            parts = f"{s.rank} in {s.parts} parts of {s.told}"
            problems.append(f"{parts}: in a ring all have to be of one size")
    for tensor, rank in ring.tensors:
        for e, access_map in _touching(bound, tensor):
            problems += _not_in_tiles(bound, e, access_map, rank, ring, apart)
    if problems:
        raise MappingError([Problem(text, asked.span) for text in dict.fromkeys(problems)])


def _not_in_tiles(
    bound: Bound,
    e: BoundEinsum,
    access_map: AccessMap,
    rank: str,
    ring: Ring,
    apart: dict[str, Spread],
) -> Iterator[str]:
    """Why what goes over the links is not the tiles of other parts."""
    tensor = access_map.access.tensor
    if moving := [s.rank for v, s in apart.items() if v in access_map.moving]:
        yield f"{tensor} goes over {moving[0]}, which is spread: it would not go all the way round"
        return
    at = _axis_of(bound, e, access_map, rank)
    if at is None:
        yield f"{e.name} does not take {tensor} along {rank} in order, as it would go round"
        return
    part, tile = Fraction(e.extents[at], ring.parts), first_tile(e.extents, e.outer(1))[at]
    if part % tile:
        links, home = (m.name for m in bound.architecture.memories[:2])
        yield (
            f"{tensor} is in parts of {float(part):g} along {rank}, which are not whole tiles of"
            f" {tile}: loops over {rank} at {links} make the tiles that come to {home}"
        )


def visiting(bound: Bound, e: BoundEinsum, access_map: AccessMap, ring: Ring, tile: int) -> int:
    """Elements of the part of a tensor that is on its way through an instance: tiles are passed on
    up to a part ahead of those that are worked on.

    Parameters
    ----------
    e, access_map
        What reads a tensor that goes round.
    tile : int
        Elements of one of the tiles that come over the links.
    """
    at = _axis_of(bound, e, access_map, ring.rank(access_map.access.tensor) or "")
    assert at is not None, "what goes round is checked when it is bound"
    # Tiles in a part, so many elements each.
    return tile * (e.extents[at] // ring.parts // first_tile(e.extents, e.outer(1))[at])


def _axis_of(bound: Bound, e: BoundEinsum, access_map: AccessMap, rank: str) -> int | None:
    """The axis of an Einsum that goes over a rank of what it reads, element by element."""
    access = access_map.access
    index = access.indices[bound.program.tensor_ranks[access.tensor].index(rank)]
    if not isinstance(index, Affine) or len(index.terms) != len(index.variables):
        return None
    for at, axis in enumerate(e.axes):
        if {v for v, _ in axis.variables} == {*index.variables}:
            return at if axis.extent == dict(bound.shapes)[rank] else None
    return None
