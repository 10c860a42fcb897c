"""A mapping for any cascade: one Einsum after the other, every tensor through memory.

What nobody has written a mapping for is run the plain way, so that every cascade has an
answer to start from. Einsums that feed one another from iteration to iteration of a rank
share its loops; all others run by themselves, one after the other. Each goes to the
array that is soonest done with it, lays out the ranks that fill the array, sums innermost,
and keeps as many of its loops inside each memory as that can hold the tiles of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain, islice, pairwise, permutations
from math import prod

from archsim.spec.arch import Architecture, Dimension, Memory, ProcessingArray
from archsim.spec.mapping import (
    EINSUM_BY_EINSUM,
    EinsumMapping,
    Keep,
    Mapping,
    NestLevel,
    PhaseTask,
    Schedule,
    Tile,
)
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.ir import Access, Einsum, Program, variables_of
from einsum_cascade.operations import einsum_operations

from .arrays import arrays_of
from .components import strongly_connected_components
from .folding import Laid
from .space.array_tiles import array_strides, family_tiles, outer_parts_first

_LAYOUTS = 6
"""Layouts on systolic arrays of which the memories are asked, too."""

_ORDERS = 120
"""Orders of an Einsum's loops that are tried: all of five ranks that some tensor lacks."""


def einsum_by_einsum(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> Mapping:
    """The mapping that takes one Einsum of a cascade after the other.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank; tiles that the cascade itself names are chosen where they
        are absent. Names that are no rank of the cascade are passed over.

    Returns
    -------
    Mapping
        Named ``einsum-by-einsum``, sequential, every tensor kept in every memory.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    MappingError
        No array of the machine can do all operations of an Einsum.
    """
    tiles, shapes = family_tiles(program, architecture, given)
    # A tile that is given longer than its rank holds no more than the rank has.
    shapes |= {m: min(shapes[m], shapes[r.name]) for r in program.ranks for m in r.partition}
    site = _Site(program=program, architecture=architecture, shapes=shapes)
    tensors = (*(t.name for t in program.inputs), *(e.name for e in program.einsums))
    groups = (tuple(PhaseTask(einsum=n) for n in group) for group in site.groups)
    return Mapping(
        name=EINSUM_BY_EINSUM,
        cascade=program.name,
        tiles=(*tiles, *_cut_tiles(site)),
        nest=site.nest,
        einsums=tuple(_einsum(site, e) for e in program.einsums),
        keep=tuple(Keep(level=m.name, tensors=tensors) for m in architecture.memories),
        schedule=Schedule(kind="sequential", groups=tuple(groups)),
    )


# ------------------------------------------------------------------------------ tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoopPart:
    """A loopable part of a rank: how often it goes round, inside one round of what is outside."""

    name: str
    rank: str
    stride: int
    count: int


@dataclass(frozen=True, kw_only=True)
class _Site:
    """A cascade with all its shapes, and the machine it is to be laid out on."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Einsums that need one another, components in the order of what they need."""
        return strongly_connected_components(self.program)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Coordinates that array dimensions take at a time."""
        return array_strides(self.architecture)

    def parts(self, rank: str) -> tuple[_LoopPart, ...]:
        """The parts that a rank is cut into, outermost first."""
        if rank not in self._parts:
            self._parts[rank] = self._cut(rank)
        return self._parts[rank]

    @cached_property
    def _parts(self) -> dict[str, tuple[_LoopPart, ...]]:
        return {}

    def _cut(self, rank: str) -> tuple[_LoopPart, ...]:
        size = self.shapes[rank]
        taken = {*self.shapes, *self.program.parallel}
        steps = [1, *(s for s in self.strides if s < size)]
        names = [f"{rank}{number}" for number in range(len(steps))]
        # Names of parts must be free: a cascade may call a rank M0 itself.
        if len(steps) == 1 or taken & {*names}:
            return (_LoopPart(name=rank, rank=rank, stride=1, count=size),)
        upper = [*steps[1:], size]
        cut = zip(names, steps, upper, strict=True)
        return tuple(
            _LoopPart(name=name, rank=rank, stride=step, count=-(-above // step))
            for name, step, above in reversed([*cut])
        )

    def ranks(self, e: Einsum) -> tuple[str, ...]:
        """Ranks an Einsum goes over, those of its result first."""
        return tuple(dict.fromkeys((*self.program.parallel, *(v.upper() for v in e.variables))))

    def ranks_of(self, access: Access) -> frozenset[str]:
        """Ranks along which a tensor varies where it is accessed so."""
        return frozenset((*self.program.parallel, *(v.upper() for v in access.variables)))

    def masked(self, name: str) -> frozenset[str]:
        """Ranks that the mask of an Einsum asks about."""
        condition = with_masks(self.program).einsum_of[name].where
        return frozenset(v.upper() for v in ((condition and variables_of(condition)) or ()))

    def shared(self, name: str) -> tuple[str, ...]:
        """Ranks of the loops that an Einsum shares with the others of its component."""
        group = next(g for g in self.groups if name in g)
        read = {a.tensor for n in group for a in self.program.einsum_of[n].reads}
        running = [r for n in group if n in read for r in self.program.iterative.get(n, ())]
        if not running:
            return ()
        mine = self.ranks(self.program.einsum_of[name])
        return (
            *self.program.parallel,
            *(r for r in dict.fromkeys(self._outer_first(running)) if r in mine),
        )

    def _outer_first(self, ranks: Iterable[str]) -> Iterator[str]:
        """Ranks, each after the outer parts of the rank that it is a part of."""
        for name in ranks:
            family = self.program.rank_of[name].family
            members = self.program.rank_of[family].partition if family else (name,)
            yield from members[: members.index(name) + 1]

    @cached_property
    def nest(self) -> tuple[NestLevel, ...]:
        """The loops of all components of several Einsums, at the outermost memory."""
        ranks = dict.fromkeys(r for e in self.program.einsums for r in self.shared(e.name))
        loops = tuple(p.name for r in outer_parts_first(self.program, ranks) for p in self.parts(r))
        return (NestLevel(level=self.architecture.memories[0].name, loops=loops),) if loops else ()


def _cut_tiles(site: _Site) -> Iterator[Tile]:
    used = dict.fromkeys(r for e in site.program.einsums for r in site.ranks(e))
    for rank in used:
        for outer, inner in pairwise(site.parts(rank)):
            yield Tile(rank=rank, member=inner.name, size=outer.stride // inner.stride)


# ------------------------------------------------------------------------------ arrays


_Along = tuple[tuple[str, tuple[_LoopPart, ...]], ...]
"""The dimensions in use of an array, and what is laid out along each."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """An array, what is laid out along its dimensions, and how long it is busy."""

    array: ProcessingArray
    along: tuple[tuple[str, tuple[str, ...]], ...]
    laid: Laid
    cycles: Fraction
    """In the order of loops that suits it."""

    @property
    def names(self) -> set[str]:
        """Parts that are laid out."""
        return {name for _, names in self.along for name in names}


def _soonest(site: _Site, e: Einsum) -> list[_Layout]:
    """The array that is soonest done with an Einsum, and how; the first of equals.

    Where loads cost cycles, some that are soon done, and those that fill the arrays: what they
    ask of memories differs.
    """
    able = arrays_of(site.program, e, site.architecture)
    filling = [_layouts(site, e, a, filling=True) for a in able]
    if all(a.operands == "broadcast" for a in able):
        return sorted(chain(*filling), key=lambda layout: layout.cycles)[:1]
    others = (_layouts(site, e, a) for a in able)
    soon = sorted(chain(*filling, *others), key=lambda layout: layout.cycles)
    return [*soon[:_LAYOUTS], *(x for x in chain(*filling) if x not in soon[:_LAYOUTS])]


def _layouts(
    site: _Site, e: Einsum, array: ProcessingArray, *, filling: bool = False
) -> list[_Layout]:
    """Layouts with any ranks along an array's axes: what varies along all of them is loaded for
    each of its values. Or those ``filling`` it.

    Ranks of a mask are better gone through in time, where their empty tiles are left out.
    """
    able = _layable(site, e) - site.masked(e.name)
    ranks = [r for r in site.ranks(e) if r in able and site.shapes[r] > 1]
    axes = min(len(ranks), len(array.dimensions))
    found = (
        (_laid_out(site, e, order) for order in _axis_orders(array))
        if filling
        else (
            _laid_out(site, e, next(_axis_orders(array)), first, filled=filled)
            for first in islice(permutations(ranks, axes), _ORDERS)
            for filled in (True, False)
        )
    )
    distinct = ({d.name: x[d.name] for d in array.dimensions if d.name in x} for x in found)
    return [_layout(site, e, array, x) for x in dict.fromkeys(tuple(y.items()) for y in distinct)]


def _axis_orders(array: ProcessingArray) -> Iterator[tuple[Dimension, ...]]:
    """Orders in which the axes of an array are filled, whatever order they are written in.

    First to be filled, and so with what fills it best, is one along which nothing is late.
    """
    first = sorted(array.dimensions, key=lambda d: (d.reduction_latency_cycles, -d.size))
    return permutations(first)


def _laid_out(
    site: _Site,
    e: Einsum,
    order: tuple[Dimension, ...],
    first: tuple[str, ...] = (),
    *,
    filled: bool = True,
) -> dict[str, tuple[_LoopPart, ...]]:
    """Fill each axis in turn with what fills it best; beside that, with ranks that fit whole.

    ``first`` are the ranks that axes begin with; unless they are to be ``filled``, nothing comes
    beside them.
    """
    free = dict.fromkeys(r for r in site.ranks(e) if r in _layable(site, e))
    along: dict[str, tuple[_LoopPart, ...]] = {}
    for number, dimension in enumerate(order):
        room, found = dimension.size, list[_LoopPart]()
        while fitting := _fitting(site, free, room, whole=bool(found)):
            if found and not filled:
                break
            asked = [] if found else [x for x in fitting if x[0].rank in first[number:][:1]]
            best = max(asked or fitting, key=lambda parts: _at_once(site, parts))
            found += best
            room //= prod(p.count for p in best)
            free.pop(best[0].rank)
        if found:
            along[dimension.name] = tuple(found)
    return along


def _layout(site: _Site, e: Einsum, array: ProcessingArray, along: _Along) -> _Layout:
    laid = Laid(
        array=array,
        along=tuple((d, frozenset(p.rank for p in parts)) for d, parts in along),
        reads=tuple(site.ranks_of(a) for a in e.reads),
        result=site.ranks_of(e.target),
        point_cycles=array.cycles_of(einsum_operations(site.program, e)),
    )
    names = {p.name for _, parts in along for p in parts}
    rounds = [(r, p.count) for r in site.ranks(e) for p in site.parts(r) if p.name not in names]
    return _Layout(
        array=array,
        along=tuple((d, tuple(p.name for p in parts)) for d, parts in along),
        laid=laid,
        cycles=laid.least_cycles(rounds, _ORDERS),
    )


def _at_once(site: _Site, parts: tuple[_LoopPart, ...]) -> Fraction:
    """Coordinates of a rank in a round on average: its last tile may be a sliver."""
    size = site.shapes[parts[0].rank]
    return Fraction(size, -(-size // prod(p.count for p in parts)))


def _layable(site: _Site, e: Einsum) -> set[str]:
    """Ranks that may run side by side: no running ones, none with an own part inside."""
    mine = {*site.ranks(e)}
    outer = {
        member
        for rank in site.program.ranks
        for place, member in enumerate(rank.partition)
        if mine & {*rank.partition[place + 1 :]}
    }
    return mine - outer - {*site.shared(e.name)}


def _fitting(
    site: _Site, ranks: Iterable[str], room: int, *, whole: bool
) -> list[tuple[_LoopPart, ...]]:
    """Of every rank the parts that fit, if more than one coordinate does."""
    found: list[tuple[_LoopPart, ...]] = []
    for rank in ranks:
        parts = tuple(p for p in site.parts(rank) if p.stride * p.count <= room)
        wide = prod(p.count for p in parts)
        if 1 < wide <= room and (wide >= site.shapes[rank] or not whole):
            found.append(parts)
    return found


# ------------------------------------------------------------------------------ loops


@dataclass(frozen=True, slots=True)
class _LevelLoops:
    """The loops that step through the tiles of a memory, outermost first."""

    memory: Memory
    loops: tuple[_LoopPart, ...]


def _einsum(site: _Site, e: Einsum) -> EinsumMapping:
    found = [(layout, *_nest(site, e, layout)) for layout in _soonest(site, e)]
    layout, levels, _ = min(found, key=lambda x: x[2])
    shared = site.shared(e.name)
    # Loops of other components are in the nest as well: this Einsum stays out of them.
    mine = {p.name for r in shared for p in site.parts(r)}
    everyones = [name for level in site.nest for name in level.loops]
    return EinsumMapping(
        einsum=e.name,
        array=layout.array.name,
        spatial=layout.along,
        nest=tuple(
            NestLevel(level=level.memory.name, loops=tuple(p.name for p in level.loops))
            for level in levels
            if level.loops
        ),
        outside=tuple(name for name in everyones if name not in mine),
    )


_Slow = tuple[Fraction, Fraction, Fraction]
"""Seconds until memories and array are done, those of the slowest memory, bytes that all move."""


def _nest(site: _Site, e: Einsum, layout: _Layout) -> tuple[list[_LevelLoops], _Slow]:
    """An Einsum's own loops, in the order in which the slowest of its memories and its array is
    soonest done: where a systolic array is loaded, what is loaded had better stay.

    Of orders alike in that the one that keeps its slowest memory busy for the least time, then the
    one that moves fewest bytes; of those the first, which has the
    ranks of the result outside and sums innermost. Weights that eight tokens share are read
    eight times in the written order of a linear layer, and once with the tokens inside.
    """
    laid = layout.names
    shared = site.shared(e.name)
    together = [p for r in shared for p in site.parts(r)]
    results = {*site.program.parallel, *(v.upper() for v in e.target.variables)}
    own = sorted((r for r in site.ranks(e) if r not in shared), key=lambda r: r not in results)
    inside = {r: prod(p.count for p in site.parts(r) if p.name in laid) for r in site.ranks(e)}

    def nested(ranks: Iterable[str]) -> list[_LevelLoops]:
        ordered = outer_parts_first(site.program, ranks)
        loops = [p for r in ordered for p in site.parts(r) if p.name not in laid]
        return _levels(site, e, loops, inside)

    # Ranks of every tensor are best outside, in any order; what does not go round is no matter.
    common = frozenset.intersection(*(site.ranks_of(a) for a in (*e.reads, e.target)))
    outer = [r for r in own if r in common]
    moving = [r for r in own if any(p.name not in laid and p.count > 1 for p in site.parts(r))]
    free = [r for r in moving if r not in common]
    still = [r for r in own if r not in common and r not in moving]
    orders = islice(permutations(free), _ORDERS)
    nests = (nested((*outer, *order, *still)) for order in orders)

    def slow(nest: list[_LevelLoops]) -> _Slow:
        slowest, moved = _moved(site, e, nest, inside)
        loops = (*together, *(p for level in nest for p in level.loops))
        busy = layout.laid.cycles([(p.rank, p.count) for p in loops])
        return max(slowest, busy / site.architecture.clock_hz), slowest, moved

    return min(((nest, slow(nest)) for nest in nests), key=lambda found: found[1])


def _levels(
    site: _Site, e: Einsum, loops: list[_LoopPart], inside: dict[str, int]
) -> list[_LevelLoops]:
    """Loops by memory, outermost first: each memory is given as many as its tiles allow.

    Half of a memory is left to what others keep there; a component's Einsums share the rest.
    """
    users = 2 * len(next(g for g in site.groups if e.name in g))
    outermost, *inner = site.architecture.memories
    levels: list[_LevelLoops] = []
    end = len(loops)
    # A memory holds the tiles of those inside it, so that they may be no larger than it.
    rooms = list(accumulate((memory.capacity_bytes for memory in inner), _smaller))
    # From the inside out: a loop that an inner memory takes makes the tiles of outer ones larger.
    for memory, room in reversed([*zip(inner, rooms, strict=True)]):
        start = end
        while start:
            part = loops[start - 1]
            grown = inside | {part.rank: inside[part.rank] * part.count}
            if room is not None and users * _tile_bytes(site, e, grown) > room:
                break
            inside, start = grown, start - 1
        levels.append(_LevelLoops(memory, tuple(loops[start:end])))
        end = start
    levels.append(_LevelLoops(outermost, tuple(loops[:end])))
    return levels[::-1]


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two capacities, None being without an end."""
    return other if one is None else one if other is None else min(one, other)


def _tile_bytes(site: _Site, e: Einsum, inside: dict[str, int]) -> Fraction:
    """Bytes of the tiles of all tensors that an Einsum touches, at the most."""
    return site.architecture.word_bytes * sum(
        prod(inside[r] for r in site.ranks_of(a)) for a in dict.fromkeys((*e.reads, e.target))
    )


def _moved(
    site: _Site, e: Einsum, levels: list[_LevelLoops], inside: dict[str, int]
) -> tuple[Fraction, Fraction]:
    """Seconds that the slowest memory takes for an Einsum, and bytes that all move, at the most.

    What comes into a tile is read from the memory outside it. A result whose tile comes again
    is read back and written once more (Timeloop's rules, without ragged edges).
    """
    slowest = total = Fraction(0)
    tile = dict(inside)
    around = [p for level in levels for p in level.loops]
    for level in reversed(levels):
        # Tiles of what is inside this memory: they come under all loops down to its own.
        moved = Fraction(0)
        for access in dict.fromkeys((*e.reads, e.target)):
            ranks = site.ranks_of(access)
            under = [*around]
            while under and under[-1].rank not in ranks:
                under.pop()
            arriving = prod(p.count for p in under) * prod(tile[r] for r in ranks)
            moved += arriving
            if access == e.target:
                distinct = prod(p.count for p in under if p.rank in ranks)
                moved += arriving - distinct * prod(tile[r] for r in ranks)
        moved *= site.architecture.word_bytes
        total += moved
        if level.memory.bandwidth_bytes_per_s is not None:
            slowest = max(slowest, moved / level.memory.bandwidth_bytes_per_s)
        for part in level.loops:
            tile[part.rank] *= part.count
        around = around[: len(around) - len(level.loops)]
    return slowest, total
