"""Mappings of a chip whose inputs go round a ring of links, where it has no room for a copy of all.

Each chip of a ring holds what it works on. Of an input that all need it has a copy; where there is
no room for that it is searched as if there were, and holds a part of each such input: loops of the
memory that holds it are at the links then, tile by tile, and what passes is what they go over.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import replace
from fractions import Fraction
from math import prod

from archsim.jobs.best_parts import Spreading
from archsim.jobs.spreading import spread_over
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping, NestLevel
from archsim.spec.roles import memory_in_role
from archsim.spec.words import words_of
from einsum_cascade.ir import Program


def with_room(
    chip: Architecture, spreading: Spreading, program: Program, shapes: Sizes[str, int]
) -> Architecture:
    """A chip that has room for a copy of what goes round where it has room for a part of it, and
    for another that passes.

    Parameters
    ----------
    shapes : mapping
        Of the part of the work that a chip has, in elements by rank.
    """
    outer, *inner = chip.memories
    if outer.capacity_bytes is None:
        return chip
    words = words_of(program, chip.word_bits)
    spread = [s for _, ranks in spreading for s in ranks]
    parts = prod(s.parts or 1 for s in spread)
    going_round = sum(
        words.of(t.name) * prod(shapes.get(r, 1) for r in (*program.parallel, *t.ranks))
        for t in program.inputs
        if not {s.rank for s in spread} & {*t.ranks}
    )
    held = Fraction(2, parts) if parts > 2 else Fraction(1, 2)
    more = int(going_round * chip.word_bits * (1 - held) / 8)
    room = replace(outer, capacity_bytes=outer.capacity_bytes + more)
    return replace(chip, memories=(room, *inner))


def around_ring(
    mapping: Mapping, spreading: Spreading, program: Program, architecture: Architecture
) -> Iterator[Mapping]:
    """The mapping of a chip spread over a ring of them, with what all need going round along one
    rank after the other: the engine says which can.

    Parameters
    ----------
    architecture : Architecture
        Whose outermost memory is a ring of links.
    """
    links = architecture.memories[0].name
    spread = {s.rank for name, ranks in spreading if name == links for s in ranks}
    needed = (t.ranks for t in program.inputs if not spread & {*t.ranks})
    ranks = dict.fromkeys(rank for ranks in needed for rank in ranks)
    for tiled in _at_links(mapping, architecture):
        moved = spread_over(tiled, spreading, architecture)
        for rank in ranks:
            nest = (
                replace(level, ring=(rank,)) if level.level == links else level
                for level in moved.nest
            )
            yield replace(moved, nest=tuple(nest))


def _at_links(mapping: Mapping, architecture: Architecture) -> Iterator[Mapping]:
    """The mapping with all loops of the memory inside of the links at these, and with more and more
    of the shared loops of memories further in, so that tiles get smaller."""
    links, home = architecture.memories[0].name, architecture.home.name

    def at_links(nest: tuple[NestLevel, ...]) -> tuple[NestLevel, ...]:
        return tuple(
            replace(n, level=links) if _named(n.level, architecture) == home else n for n in nest
        )

    einsums = tuple(replace(e, nest=at_links(e.nest)) for e in mapping.einsums)
    nest = at_links(mapping.nest)
    first = nest[0].loops if nest and nest[0].level == links else ()
    inner = nest[1:] if nest and nest[0].level == links else nest
    for number in range(sum(len(n.loops) for n in inner) + 1):
        left, levels = number, []
        loops = list(first)
        for level in inner:
            loops += level.loops[:left]
            levels.append(replace(level, loops=level.loops[left:]))
            left = max(0, left - len(level.loops))
        outermost = NestLevel(level=links, loops=tuple(loops))
        kept = (level for level in levels if level.loops or level.spatial)
        yield replace(mapping, nest=(outermost, *kept), einsums=einsums)


def _named(level: str, architecture: Architecture) -> str:
    return memory_in_role(architecture, level) or level
