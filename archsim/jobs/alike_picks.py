"""Mappings made with more room than an instance's share, where instances pick for themselves.

Of a memory that feeds instances each has its share: that is all the room there is where none holds
what another needs. Instances that have queries of their own pick from the same positions, which the
memory holds once for all of them (``archsim.nest.shared_tiles``), so that a share is too small for
what it could hold. How much more there is depends on what else a mapping keeps there. It is tried:
what is made is bound on the whole machine, which has the last word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import complete_shapes

from ..legality.binding import bind
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .best_parts import Spreading
from .job import Generators
from .programs import program_of
from .spreading import moves_picks, part_of, seen_by_one, spread_over
from .workload import PartLike

_SHARES = (4, 8)
"""How many times less room there may be than if all were the same for those that pick: beside what
they pick from each has results of its own."""

MANY_ALIKE = 8
"""Instances that pick alike for there to be more room: twice an instance's share, at the least."""


def picking_alike(program: Program, way: Spreading) -> int:
    """How many instances pick from the same positions.

    Parameters
    ----------
    program : Program
    way : Spreading

    Examples
    --------
    Four heads have keys of their own, and 27 parts of the queries pick from those of one head:

    >>> from archsim.spec.mapping import SpreadRank
    >>> from einsum_cascade import Cascade
    >>> ranks = [SpreadRank(instances="sms", rank=r, parts=n) for r, n in (("H", 4), ("P", 27))]
    >>> program = Cascade.load("mixture-of-block-attention").program
    >>> picking_alike(program, (("L2", tuple(ranks)),))
    27
    """
    spread = (s for _, ranks in way for s in ranks)
    return prod(s.parts or 1 for s in spread if moves_picks(program, s.rank))


def with_more_room(
    program: Program, architecture: Architecture, way: Spreading
) -> Iterator[Architecture]:
    """The machine as one instance sees it, with more room than its share, the most first.

    Parameters
    ----------
    program : Program
    architecture : Architecture
        The whole machine.
    way : Spreading
    """
    seen, alike = seen_by_one(architecture, way), picking_alike(program, way)
    whole = {m.name: m.capacity_bytes for m in architecture.memories}
    for times in (alike // n for n in _SHARES if alike // n >= 2):
        memories = (
            m if m.capacity_bytes is None else replace(m, capacity_bytes=min(room, times * share))
            for m in seen.memories
            for room, share in [(whole[m.name] or 0, m.capacity_bytes or 0)]
        )
        yield replace(seen, memories=tuple(memories))


def fused_with_more_room(
    part: PartLike, architecture: Architecture, generators: Generators, cascade: str, way: Spreading
) -> Mapping:
    """The mapping with shared loops that is made for most room, of those that fit.

    Parameters
    ----------
    part : PartLike
    architecture : Architecture
        The whole machine.
    generators : Generators
        What makes mappings.
    cascade : str
        The part's own, or one that computes the same.
    way : Spreading
        In which several instances pick alike: some room is tried.

    Raises
    ------
    MappingError
        None fits; says why the last does not.
    """
    program = program_of(part, architecture, cascade)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    one = part_of(way, given, program)
    why: MappingError | None = None
    for seen in with_more_room(program, architecture, way):
        try:
            made = generators.fuse(program, seen, one)
            spread = spread_over(replace(made, cascade=cascade), way, architecture, program)
            named = replace(spread, cascade=program.name)
            bind(program, named, architecture, dict(given))
        except MappingError as wrong:
            why = wrong.with_traceback(None)
            continue
        return spread
    assert why is not None, "it is asked where there is more room"
    raise why
