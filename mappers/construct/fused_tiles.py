"""Tiles under shared loops: cuts for arrays, the problem left inside, and its footprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from archsim.nest.masks import skip_masked_tiles
from archsim.nest.record import Bound
from archsim.spec.arch import Architecture, Memory, ProcessingArray
from archsim.spec.mapping import EinsumMapping, Tile
from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Access, Affine, Einsum, Gather, Program

from ..space.array_tiles import arrays_of, family_tiles, sides_of
from . import policy
from .context import LoopPart, MappingContext, gathered_in
from .einsum_by_einsum import Slow, mapped_einsum, nest_of
from .fused_loops import SharedLoops, free_ranks, steps_of
from .spatial_factorisation import (
    ArrayLayout,
    fitted,
    least_cycles,
    reduction_delay,
    soonest,
    soonest_fed,
)
from .traffic_estimate import LevelLoops


def widths_of(program: Program) -> Iterator[tuple[int | None, str]]:
    """Yield lengths of parts (None: an array's width), and the rank with twice that length.

    Of two ranks that a cascade cuts one may have the room that the other leaves: beside 128 queries
    an SM holds the gradients of 64 keys, but not of 128.

    Parameters
    ----------
    program : Program
    """
    cut = [r for r in program.ranks if r.partition]
    each_alone = len(cut) > 1 and not any(r.like for r in cut)
    for width in (*policy.PART_WIDTHS, *policy.SHORT_PART_WIDTHS):
        yield width, ""
        if each_alone and width is not None and width not in policy.SHORT_PART_WIDTHS:
            yield from ((width, r.name) for r in cut)


def parts_in_widths(
    program: Program, given: dict[str, int], architecture: Architecture
) -> Iterator[tuple[int | None, tuple[Tile, ...], dict[str, int]]]:
    """Yield lengths of parts with their tiles and all shapes, without duplicates.

    Raises
    ------
    SpecError
        Shapes are missing or contradict one another.
    """
    seen: list[dict[str, int]] = []
    for width, longer in widths_of(program):
        try:
            tiles, shapes = family_tiles(program, architecture, given, width, longer)
        except SpecError:
            if not seen:
                raise
            continue
        if shapes in seen:
            continue
        seen.append(dict(shapes))
        shapes |= {m: min(shapes[m], shapes[r.name]) for r in program.ranks for m in r.partition}
        yield width, tuple(tiles), shapes


InnerQuestion = tuple[
    str, tuple[tuple[int, int, tuple[LoopPart, ...]], ...], bool, bool, str | None
]
"""Identity of an Einsum's mapping inside of shared loops.

It has the Einsum, for each rank the size inside, the whole size and its own parts, whether
stretches lie side by side, whether the Einsum is alone, and its array if that is given.
"""


@dataclass(frozen=True, kw_only=True)
class InnerContext(MappingContext):
    """Context of an Einsum inside of shared loops, whose shapes are what one iteration leaves."""

    whole: MappingContext
    around: frozenset[str]
    """Names of the loops."""
    alone: bool = False
    """True if tensors of the outermost memory arrive under the Einsum's own loops as well."""

    @classmethod
    def of(cls, context: MappingContext, around: frozenset[str]) -> InnerContext:
        """Return the inside of some loops of a context, memoised."""
        return context.memo(_inside, around)

    def _cut(self, rank: str) -> tuple[LoopPart, ...]:
        """Return the parts of a rank that no shared loop goes over."""
        return tuple(p for p in self.whole.parts(rank) if p.name not in self.around)

    def question(self, e: Einsum, *, alone: bool, on: str | None) -> InnerQuestion:
        """Return everything that decides an Einsum's mapping, for one cascade and machine."""
        ranks = ((self.shapes[r], self.whole.shapes[r], self.parts(r)) for r in self.ranks(e))
        return e.name, tuple(ranks), self.stretched, alone, on

    def shared(self, name: str) -> tuple[str, ...]:
        """Return no ranks: shared loops are outside."""
        del name
        return ()

    def unlayable(self, name: str) -> frozenset[str]:
        """Return the ranks along which values run."""
        return frozenset(self.program.iterative.get(name, ()))

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Coordinates of all ranks, whatever loops are around."""
        return self.whole.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Return the words that a memory moves for a tile.

        What is gathered under shared loops has the same traffic at the outermost memory in any
        layout, so that it does not count there.
        """
        outermost = memory.name == self.architecture.home.name
        if not self.alone and outermost and self.gathers(access):
            return 0
        return super().tile_words(access, ranks, tile, memory)

    def room_bits(self, number: int, memory: Memory) -> int | None:
        """Return the bits of an inner memory for an Einsum's own loops; None: no limit.

        Inside of shared loops the second memory holds its tiles whatever an Einsum's own loops are.
        """
        if self.stretched and number == 1 and not self.alone:
            return None
        return super().room_bits(number, memory)

    def together(self, name: str) -> int:
        """Return the number of Einsums that share the memories: all of them."""
        del name
        return len(self.program.einsums)


def _inside(context: MappingContext, around: frozenset[str]) -> InnerContext:
    shapes = dict(context.shapes)
    for rank in shapes:
        # 4,096 keys have parts M1 (32 of 128) and M0 (128 of 1): inside of M1 there are 128.
        gone_round = [p for p in context.parts(rank) if p.name in around]
        if gone_round:
            shapes[rank] = min(shapes[rank], gone_round[-1].stride)
    return InnerContext(
        program=context.program,
        architecture=context.architecture,
        shapes=shapes,
        fitted=context.fitted and context.stretched,
        stretched=context.stretched,
        whole=context,
        around=around,
    )


def _by_itself(context: InnerContext) -> InnerContext:
    return replace(context, alone=True)


def inner_mapping(
    context: InnerContext, e: Einsum, *, alone: bool, on: ProcessingArray | None = None
) -> EinsumMapping:
    """Return an Einsum inside of shared loops, on its fastest array or a given one.

    Its own loops are at the inner memories, or at any if it is ``alone``.

    Parameters
    ----------
    context : InnerContext
    e : Einsum
    alone : bool
        True if the Einsum goes through the outermost memory by itself.
    on : ProcessingArray, optional
        An array that can do it.
    """
    context = context.memo(_by_itself) if alone else context
    best: tuple[tuple[Slow, int], ArrayLayout, list[LevelLoops]] | None = None
    for layout in _layouts(context, e, on):
        # No order of its loops is faster than the array by itself.
        if best is not None and layout.cycles / context.architecture.clock_hz > best[0][0][0]:
            continue
        nest, slow = nest_of(context, e, layout)
        found = slow, reduction_delay(context, e, layout)
        if best is None or found < best[0]:
            best = found, layout, nest
    assert best is not None, "there is no Einsum without a layout"
    _, layout, levels = best
    if len(levels) > 1 and not alone:
        # Tensors of the outermost memory arrive under shared loops alone.
        first, second, *others = levels
        levels = [replace(second, loops=(*first.loops, *second.loops)), *others]
    return mapped_einsum(e, layout, levels)


def inner_cycles(context: InnerContext, e: Einsum) -> dict[str, Fraction]:
    """Return the cycles of one run of an Einsum inside of shared loops, on each array."""
    able = arrays_of(context.program, e, context.architecture)
    return {array.name: soonest(context, e, array)[0].cycles for array in able}


def _layouts(context: InnerContext, e: Einsum, on: ProcessingArray | None) -> list[ArrayLayout]:
    """Return the fastest layouts, also with two dimensions of one size exchanged."""
    found = soonest_fed(context, e, on)
    for layout in tuple(found):
        sizes = {d.name: d.size for d in layout.array.dimensions}
        if len(layout.along) == 2 and len({sizes[d] for d, _ in layout.along}) == 1:
            (one, first), (other, second) = layout.along
            # Outer parts of a rank that lies along both dimensions come first.
            swapped = (
                ((other, first), (one, second))
                if context.fitted
                else ((one, second), (other, first))
            )
            found.append(replace(layout, along=swapped))
    return [x for n, x in enumerate(found) if x not in found[:n]]


def cuts_of(context: MappingContext) -> Iterator[MappingContext]:
    """Yield contexts with each rank cut by itself, where steps or odd sides leave arrays idle."""
    filling = _cut_for_steps(context)
    if filling is not None:
        yield filling
        return
    if {*sides_of(context.architecture)} <= {*context.strides}:
        return
    if any(
        context.shapes[m] > context.shapes[r.name]
        for r in context.program.ranks
        for m in r.partition
    ):
        return
    # Parallel ranks may lie side by side, or have loops outside and one coordinate inside.
    one = replace(context, shapes=context.shapes | dict.fromkeys(context.program.parallel, 1))
    seen: list[dict[str, tuple[int, ...]]] = []
    for inside in (context, one):
        took = _fastest_cycles(inside)
        if _full_cycles(inside) < policy.MAX_BUSY_SHARE_OF_ODD_SIDES * sum(took.values()):
            cuts = fitted(inside, took).cuts
            if cuts not in seen:
                yield replace(context, cuts=cuts, fitted=True)
            seen.append(cuts)


def _fastest_cycles(context: MappingContext) -> dict[str, Fraction]:
    """Return the cycles of each Einsum in its fastest layout."""
    return {e.name: soonest(context, e)[0].cycles for e in context.program.einsums}


def _full_cycles(context: MappingContext) -> Fraction:
    """Return the cycles of all Einsums with as many busy elements as their ranks allow."""
    return sum((least_cycles(context, e) for e in context.program.einsums), Fraction(0))


def leaves_idle(contexts: list[MappingContext], promised: list[Fraction]) -> bool:
    """Return whether all estimates exceed the fastest context's cycles with full arrays by far."""
    least = min(map(_full_cycles, contexts), default=0)
    return all(cycles > policy.MAX_IDLE_RATIO * least for cycles in promised)


def side_by_side_steps(context: MappingContext) -> Iterator[tuple[str, MappingContext]]:
    """Yield independent ranks, and contexts with 2, 4, ... of their coordinates side by side.

    They fill the elements that hold what steps carry, where short steps leave arrays idle. Loops go
    over the other coordinates.
    """
    if _cut_for_steps(context) is None:
        return
    most = max(a.elements for a in context.architecture.arrays)
    for rank in free_ranks(context):
        cuts: tuple[int, ...] = (1, 2)
        while cuts[-1] < min(context.shapes[rank], most):
            # Two along one side of an array and two along the other are four.
            yield rank, replace(context, cuts={rank: cuts}, fitted=True)
            cuts = (*cuts, 2 * cuts[-1])


def in_stretches(context: MappingContext) -> tuple[MappingContext, MappingContext]:
    """Return a context, and one with stretches side by side inside of shared loops.

    Then 8 heads fill what 128 keys by 64 values leave of 256 x 256 elements: 2 heads beside the
    keys and 4 beside the values. Neither side has room for all 8.
    """
    return context, replace(context, stretched=True)


def _cut_for_steps(context: MappingContext) -> MappingContext | None:
    """Return a context with each rank cut by itself if short steps leave arrays idle, else None."""
    running = [*steps_of(context)] or [r for rs in context.program.iterative.values() for r in rs]
    if not running:
        return None
    inside = InnerContext.of(context, frozenset(p.name for r in running for p in context.parts(r)))
    took = _fastest_cycles(inside)
    if _full_cycles(inside) * policy.MAX_IDLE_RATIO > sum(took.values()):
        return None
    return replace(context, cuts=fitted(inside, took).cuts, fitted=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowBand:
    """Band of a mask between ranks that are much longer than the band is wide."""

    ranks: tuple[str, ...]
    """The two ranks; the innermost part of a rank that the cascade cuts itself."""
    width: int
    """Coordinates of one rank that the mask lets through for each coordinate of the other."""


def narrow_band(bound: Bound) -> NarrowBand | None:
    """Return the band of a mapping's masks if it is narrow, else None.

    A mask skips tiles outside of the band. Where tiles are longer than the band is wide, most of
    their points are run in vain: 256 queries by 256 keys for a window of 5.
    """
    for e in skip_masked_tiles(bound).einsums:
        window = e.window
        if window is None or window.plus is None or window.minus is None:
            continue
        band, names = window.band, [e.axes[n].name for n in (window.plus, window.minus)]
        width = -(-band.points // max(band.columns, band.rows))
        if width * policy.MIN_RANK_TO_BAND_WIDTH > min(band.columns, band.rows):
            return None
        ranks = (bound.program.rank_of[name] for name in names)
        return NarrowBand(
            ranks=tuple(r.partition[-1] if r.partition else r.name for r in ranks),
            width=max(1, width),
        )
    return None


def cuts_for_band(
    context: MappingContext, band: NarrowBand
) -> Iterator[tuple[str, MappingContext]]:
    """Yield ranks, and contexts with blocks of them about as long as a band is wide.

    Other ranks are cut for the arrays inside of these blocks, each by itself.
    """
    widest = max(context.strides, default=1)
    for rank, other in (band.ranks, band.ranks[::-1]):
        if context.program.rank_of[rank].family:
            continue
        # Powers of two: a band of 100 has blocks of 64, 32 and 16.
        sizes = (
            1 << (band.width // n).bit_length() - 1
            for n in policy.BLOCKS_PER_BAND_WIDTH
            if band.width >= n
        )
        for size in dict.fromkeys((widest, *sizes)):
            if 1 < size < context.shapes[rank]:
                yield rank, _cut_for_blocks(context, rank, other, size)


def _cut_for_blocks(context: MappingContext, rank: str, other: str, size: int) -> MappingContext:
    """Return the context inside of blocks of one rank, with tiles of another that are no longer."""
    begun = replace(context, cuts={rank: (size,), other: (size,)})
    around = [p.name for r in (rank, other) for p in begun.parts(r)[:-1]]
    around += [p.name for r in steps_of(context) if r != other for p in begun.parts(r)]
    inside = InnerContext.of(begun, frozenset(around))
    took = _fastest_cycles(inside)
    cuts = dict(fitted(inside, took).cuts)
    for name in (rank, other):
        finer = (n for n in cuts.get(name, ()) if n < size and size % n == 0)
        cuts[name] = (*finer, size)
    return replace(context, cuts=cuts, fitted=True)


def has_no_room(context: MappingContext, plan: SharedLoops) -> bool:
    """Return whether the second memory cannot hold the tiles even with all loops outside of it.

    Fewer loops outside have larger tiles. False where this is not quick to tell.
    """
    architecture = context.architecture
    second = architecture.memories[1]
    if second.capacity_bytes is None or second.ring or not architecture.tree.is_line:
        return False
    return least_bytes(context, plan) > second.capacity_bytes


def least_bytes(context: MappingContext, plan: SharedLoops) -> Fraction | int:
    """Return the least bytes of tiles in the second memory, with shared loops outside of it.

    Parameters
    ----------
    context : MappingContext
        Context with its ranks cut.
    plan : SharedLoops
        Loops over its ranks. Operands of Einsums that use the outermost memory alone do not count,
        nor do indices whose elements are not quick to count. A gather has as many elements as
        indices or positions, whichever are fewer.
    """
    program, tiles = context.program, dict[str, Fraction | int]()
    touched = program.memo(_touched)
    for e in program.einsums:
        around = plan.around(context, e)
        if plan.is_alone(around):
            continue
        shapes = InnerContext.of(context, around).shapes
        for tile in touched[e.name]:
            size = prod([shapes[r] for r in tile.ranks])
            if tile.gather is not None:
                size *= _elements(context, tile.gather, tile.beside, shapes)
            tiles[tile.tensor] = max(size, tiles.get(tile.tensor, 0))
    words = sum(size * context.words.of(tensor) for tensor, size in tiles.items())
    return words * context.architecture.word_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _CoveredTile:
    """Tile of a tensor that an Einsum accesses."""

    tensor: str
    ranks: tuple[str, ...]
    """Ranks whose coordinates are distinct elements."""
    gather: Access | None = None
    """The access, where it gathers along one index."""
    beside: tuple[str, ...] = ()
    """Ranks of the run at each gathered position: T in K[I[j]*T + t]."""


def _elements(
    context: MappingContext, access: Access, beside: tuple[str, ...], shapes: Sizes[str, int]
) -> int:
    """Return the elements along a gathered index: the fewer of gathered indices and positions."""
    found = gathered_in(context.program, context.shapes, access, shapes)
    (number,) = (n for n, i in enumerate(access.indices) if isinstance(i, Gather))
    length = context.shapes[context.program.tensor_ranks[access.tensor][number]]
    at_each = prod(shapes[r] for r in beside)
    return min(length, min(found.indices, found.positions) * at_each)


def _touched(program: Program) -> dict[str, tuple[_CoveredTile, ...]]:
    """Return the tiles that each Einsum accesses."""
    return {
        e.name: tuple(_tile(program, a) for a in dict.fromkeys((*e.reads, e.target)))
        for e in program.einsums
    }


def _tile(program: Program, access: Access) -> _CoveredTile:
    others = [i for i in access.indices if isinstance(i, Affine)]
    names = [i.as_variable for i in others]
    moved = {v for i, name in zip(others, names, strict=True) if name is None for v in i.variables}
    # The footprint has one copy of a running value.
    running = program.iterative.get(access.tensor, ())
    gathers = [i for i in access.indices if isinstance(i, Gather)]
    if gathers and (moved or running or len(gathers) > 1 or not _one_by_one(gathers[0])):
        return _CoveredTile(tensor=access.tensor, ranks=())  # neighbours may share elements
    plain = (n.upper() for n in dict.fromkeys(names) if n is not None and n not in moved)
    ranks = dict.fromkeys((*program.parallel, *(r for r in plain if r not in running)))
    if not gathers:
        return _CoveredTile(tensor=access.tensor, ranks=tuple(ranks))
    beside = tuple(v.upper() for v in gathers[0].offset.variables)
    moving = tuple(v.upper() for v in gathers[0].variables if v.upper() not in ranks)
    if not {*beside} <= {*moving} or _cut_twice(program, (*ranks, *moving)):
        return _CoveredTile(tensor=access.tensor, ranks=())
    return _CoveredTile(tensor=access.tensor, ranks=tuple(ranks), gather=access, beside=beside)


def _one_by_one(index: Gather) -> bool:
    """Return whether gathered indices are distinct and each position is one run of a rank."""
    inner = [i.as_variable if isinstance(i, Affine) else None for i in index.access.indices]
    beside = [t.variable for t in index.offset.terms if t.variable]
    names = [n.upper() for n in (*inner, *beside) if n is not None]
    return (
        None not in inner
        and len(beside) < 2
        and all(t.coefficient == 1 and not t.shapes for t in index.offset.terms)
        and len({*names}) == len(names)
        and not {*beside} & {*inner}
    )


def _cut_twice(program: Program, ranks: tuple[str, ...]) -> bool:
    """Return whether two of some ranks are parts of one rank, whose last part may be short."""
    wholes = [program.rank_of[r].family or r for r in ranks if r in program.rank_of]
    return len({*wholes}) < len(wholes)


def shared_out(
    work: Mapping[str, Mapping[str, Fraction]], arrays: Mapping[str, str]
) -> dict[str, str]:
    """Return the array of each Einsum after moves that relieve the busiest array.

    Parameters
    ----------
    work : mapping
        Cycles of each Einsum on the arrays that can do it.
    arrays : mapping
        Initial array of each Einsum.

    Examples
    --------
    Two products and an exponential, all equally fast on both arrays:

    >>> cycles = {"QK": Fraction(64), "SN": Fraction(6), "AV": Fraction(64)}
    >>> alike = {name: dict.fromkeys("ab", n) for name, n in cycles.items()}
    >>> shared_out(alike, dict.fromkeys(alike, "a"))
    {'QK': 'b', 'SN': 'a', 'AV': 'a'}
    """
    found = dict(arrays)
    # Each move leaves the busiest array less to do, and there are finitely many: it ends.
    while (better := _better(work, found)) is not None:
        found = better
    return found


def _better(
    work: Mapping[str, Mapping[str, Fraction]], arrays: dict[str, str]
) -> dict[str, str] | None:
    """Return the arrays after the best move or exchange that relieves the busiest one, or None."""
    names = dict.fromkeys(array for able in work.values() for array in able)
    loads = {
        a: sum((work[n][a] for n, on in arrays.items() if on == a), Fraction(0)) for a in names
    }
    busiest = max(loads, key=lambda a: loads[a])
    least, best = loads[busiest], None
    for name in (n for n, on in arrays.items() if on == busiest):
        for other in work[name]:
            if other == busiest:
                continue
            there = (n for n, on in arrays.items() if on == other and busiest in work[n])
            for back in (None, *there):
                moved = loads | {
                    busiest: loads[busiest] - work[name][busiest],
                    other: loads[other] + work[name][other],
                }
                if back is not None:
                    moved[busiest] += work[back][busiest]
                    moved[other] -= work[back][other]
                if max(moved.values()) < least:
                    least = max(moved.values())
                    best = arrays | {name: other} | ({} if back is None else {back: busiest})
    return best
