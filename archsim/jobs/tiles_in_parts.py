"""Tiles of a rank that a cascade cuts itself, in parts for instances that other ranks leave idle.

Gradients of attention go over tiles of queries by tiles of keys. Each instance may have some of
either: what is summed up over these is a partial result, which meets in the memory that feeds the
instances. How large tiles are nobody need say: a mapping is made for what other ranks leave to an
instance, and its tiles are spread then.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod
from typing import Final

from einsum_cascade.errors import InputError, NoLegalMappingError, Problem
from einsum_cascade.ir import Access, Einsum, Program, walk

from ..legality.binding import bind, with_parameters
from ..nest.partition import has_mask_over
from ..spec.arch import Architecture, Memory
from ..spec.mapping import Mapping, SpreadRank
from .best_parts import Spreading, parts_of
from .inward import brought_inward
from .job import MakeMapping
from .partial_results import elements_of, partial_results
from .spreading import idle_times, is_of_part, part_of, seen_by_one, spread_over, spreadings

_NEAR: Final = 1.25
"""How many times as many instances as in the best way may have nothing to do."""

_WAYS: Final = 2
"""Ways that are tried: a mapping is made for each."""

_PARTS: Final = 128
"""Parts of tiles at the most: under a mask each is counted by itself."""


@dataclass(frozen=True, slots=True)
class TilesInParts:
    """A way to spread a cascade in which tiles that it cuts itself are in parts."""

    rest: Spreading
    """The same without them: what the mapping of an instance is made for."""
    way: Spreading


def ways_with_tiles(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> tuple[TilesInParts, ...]:
    """Ways to spread a cascade with parts of tiles for instances that other ranks leave idle, those
    with the fewest partial results first, and of them the one with most parts of others.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank, and parameters.

    Returns
    -------
    tuple
        Empty where instances are fed by several memories, or by links in a ring.
    """
    fed = [(m, name, n) for m in architecture.memories for name, n in m.instances]
    if len(fed) != 1 or architecture.memories[0].ring:
        return ()
    ((memory, name, available),) = fed
    members = [m for m in divisible_tiles(program) if _is_open(program, given, m)]
    if not members:
        return ()
    usual = spreadings(program, architecture, given)
    rests = {way for way in usual if 2 * parts_of(way) <= available and _is_even(way)}
    found = [
        _beside(program, rest, memory, SpreadRank(instances=name, rank=m, parts=parts))
        for rest, m in product(rests, members)
        if (parts := min(_PARTS, available // parts_of(rest), _length(program, given, m))) > 1
    ]
    least = min((idle_times(architecture, x.way) for x in found), default=1.0)
    found = [x for x in found if idle_times(architecture, x.way) <= _NEAR * least]
    found.sort(key=lambda x: (_meeting(program, given, x.way), -parts_of(x.rest)))
    return tuple(found[:_WAYS])


def without_balanced(way: Spreading) -> TilesInParts | None:
    """A usual way to spread with a rank in balanced parts, and the same without it: a mapping made
    for all of the rank fits each of them. None where there is none, or more than one memory."""
    if len(way) != 1 or _is_even(way):
        return None
    ((memory, ranks),) = way
    rest = tuple(s for s in ranks if not s.balanced)
    return TilesInParts(((memory, rest),) if rest else (), way)


def _is_open(program: Program, given: Sizes[str, int], member: str) -> bool:
    """Whether tiles are as long as a mapping cuts them, or summed over: others the usual ways have
    in parts (``copying_spreadings``)."""
    family = program.rank_of[member].family or member
    told = any(m in given for m in program.rank_of[family].partition)
    return not told or bool(partial_results(program, {member.lower()}))


def _is_even(way: Spreading) -> bool:
    """Whether none of a way's ranks is in balanced parts: of these one has a mask at the most."""
    return not any(s.balanced for _, ranks in way for s in ranks)


def _beside(program: Program, rest: Spreading, memory: Memory, tiles: SpreadRank) -> TilesInParts:
    """A way to spread other ranks, and tiles in parts beside them."""
    masked = has_mask_over(program, tiles.rank, of_data=False)
    ((_, ranks),) = rest or ((memory.name, ()),)
    way = ((memory.name, (*ranks, replace(tiles, balanced=masked))),)
    return TilesInParts(rest, way)


def _length(program: Program, given: Sizes[str, int], member: str) -> int:
    """Coordinates of the rank that is cut: there are no more tiles of it."""
    return given.get(program.rank_of[member].family or member, 1)


def _meeting(program: Program, given: Sizes[str, int], way: Spreading) -> int:
    """Elements of the partial results of all instances."""
    parts = {s.rank.lower(): s.parts or 1 for _, ranks in way for s in ranks}
    found = 0
    for name in partial_results(program, parts):
        e = program.einsum_of[name]
        copies = prod(n for v, n in parts.items() if v in {*e.variables} - {*e.target.variables})
        found += copies * elements_of(program, (v.upper() for v in e.target.variables), given)
    return found


def divisible_tiles(program: Program) -> tuple[str, ...]:
    """Outermost tiles of ranks that a cascade cuts itself of which every Einsum can do a part,
    whether it sums over them or not.

    Parameters
    ----------
    program : Program

    Examples
    --------
    Each tile of queries meets each tile of keys by itself in the gradients of attention. Where
    values run from one tile of keys to the next no instance can begin in the middle:

    >>> from einsum_cascade import Cascade
    >>> divisible_tiles(Cascade.load("flash-attention-2-backward").program)
    ('P1', 'M1')
    >>> divisible_tiles(Cascade.load("attention-1pass").program)
    ()
    """
    stepped = {*chain.from_iterable(program.iterative.values())}
    alike = {r.like for r in program.ranks} | {r.name for r in program.ranks if r.like}
    found: list[str] = []
    for rank in program.ranks:
        if not rank.partition or {rank.name, *rank.partition} & (stepped | alike):
            continue
        whole, member = rank.variable, rank.partition[0]
        using = [e for e in program.einsums if member.lower() in e.variables]
        able = all(_divisible(program, e, member.lower()) for e in using)
        if using and able and not any(whole in e.variables for e in program.einsums):
            found.append(member)
    return tuple(found)


def _divisible(program: Program, e: Einsum, variable: str) -> bool:
    """Whether an Einsum takes operands at the coordinates of a part, picks from none, and asks for
    no data of others."""
    if e.select is not None and variable in e.over:
        return False
    asked = () if e.where is None else (n for n in walk(e.where) if isinstance(n, Access))
    if any(variable in node.variables for node in asked):
        return False
    return all(
        is_of_part(program, i, variable)
        for a in (e.target, *e.reads)
        for i in a.indices
        if variable in i.variables
    )


def mapping_with_tiles(
    program: Program,
    architecture: Architecture,
    given: Sizes[str, int],
    fuse: MakeMapping,
    tiles: TilesInParts,
) -> Mapping:
    """The mapping whose Einsums share loops, with its tiles in parts, and as many of the loops at
    the memory that feeds the instances as leave it room.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank, and parameters.
    fuse : MakeMapping
        Makes the mapping of an instance.
    tiles : TilesInParts
        One of ``ways_with_tiles``.

    Raises
    ------
    SpecError, MappingError
        As ``MakeMapping``; none that is made is legal.
    """
    made = fuse(program, _seen_by_one(architecture, tiles), part_of(tiles.rest, given, program))
    told, sizes = with_parameters(program, dict(given))
    refused: InputError | None = None
    for mapping in _inward(made, architecture, tiles.way):
        spread = spread_over(mapping, tiles.way, architecture, program)
        try:
            bind(told, spread, architecture, sizes)
        except InputError as wrong:
            refused = wrong.with_traceback(None)
        else:
            return spread
    assert refused is not None, "one mapping is bound at the least"
    raise NoLegalMappingError(Problem(refused.problems[0].message))


def _seen_by_one(architecture: Architecture, tiles: TilesInParts) -> Architecture:
    """The machine as an instance sees it that shares what comes from outside with those that have
    other tiles, but has its own share of what the memory serves that feeds them all."""
    shared, own = (seen_by_one(architecture, way) for way in (tiles.rest, tiles.way))
    speeds = {m.name: m.bandwidth_bytes_per_s for m in own.memories}
    ((feeding, _),) = tiles.way
    memories = tuple(
        replace(m, bandwidth_bytes_per_s=speeds[m.name]) if m.name == feeding else m
        for m in shared.memories
    )
    return replace(shared, memories=memories)


def _inward(made: Mapping, architecture: Architecture, way: Spreading) -> Iterator[Mapping]:
    """A mapping with all, fewer and none of its outermost loops at the memory that feeds the
    instances."""
    outer = architecture.home.name
    loops = next((level.loops for level in made.nest if level.level == outer), ())
    for memory, _ in way if way[0][0] != outer else ():
        for number in range(len(loops), 0, -1):
            yield brought_inward(made, outer, memory, number)
    yield made
