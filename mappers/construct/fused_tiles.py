"""Tiles under shared loops: rank cuts for the arrays, the mapping inside, and its footprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf, prod

from archsim.nest.masks import skip_masked_tiles
from archsim.nest.record import Bound
from archsim.spec.arch import Architecture, Memory, ProcessingArray
from archsim.spec.mapping import EinsumMapping, Tile
from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Access, Affine, Einsum, Gather, Program
from einsum_cascade.memo import memoized

from ..space.array_tiles import arrays_of, family_tiles, sides_of
from . import policy
from .context import LoopPart, MappingContext, gathers
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
    """Yield tile lengths to try for the ranks that a cascade cuts; None is an array's width.

    The second value names the rank with tiles of twice that length, or is empty. Longer tiles of
    one rank may fit if the tiles of another are short. Beside 128 queries an SM holds the gradients
    of 64 keys, but not of 128.

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
    """Yield each tile length with the tiles and all rank sizes, without duplicates.

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
"""Memo key of an Einsum's mapping inside of shared loops.

It names the Einsum. For each of the Einsum's ranks it gives the size inside, the whole size, and
the loops left inside. Then it tells whether several ranks may lie along one array dimension, and
whether the Einsum uses the outermost memory by itself. The last entry is the array, if one is
given.
"""


@dataclass(frozen=True, kw_only=True)
class InnerContext(MappingContext):
    """Mapping context inside of shared loops: ranks have the sizes of one iteration."""

    whole: MappingContext
    around: frozenset[str]
    """Names of the shared loops around the Einsum."""
    alone: bool = False
    """True if the Einsum's own loops, too, may fetch tiles from the outermost memory."""

    @classmethod
    def of(
        cls, context: MappingContext, around: frozenset[str], *, alone: bool = False
    ) -> InnerContext:
        """Return the context inside of some loops of a given context, memoised."""
        return context.memo(_inside, around, alone)

    @memoized
    def parts(self, rank: str) -> tuple[LoopPart, ...]:
        """Return the members of a rank that have no shared loop."""
        return tuple(p for p in self.whole.parts(rank) if p.name not in self.around)

    def question(self, e: Einsum, on: ProcessingArray | None) -> InnerQuestion:
        """Return the memo key of an Einsum's mapping: all that decides it for one cascade and
        machine."""
        ranks = ((self.shapes[r], self.whole.shapes[r], self.parts(r)) for r in self.ranks(e))
        return e.name, tuple(ranks), self.stretched, self.alone, on.name if on else None

    def shared(self, name: str) -> tuple[str, ...]:
        """Return no ranks, as all shared loops are outside of this context."""
        del name
        return ()

    def unlayable(self, name: str) -> frozenset[str]:
        """Return the ranks along which an Einsum's result is a running value."""
        return frozenset(self.program.iterative.get(name, ()))

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Full size of each rank in coordinates, regardless of the shared loops."""
        return self.whole.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Return the machine words that a memory moves for a tile.

        At the outermost memory, gathers under shared loops count as 0: all layouts move the same.
        """
        outermost = memory.name == self.architecture.home.name
        if not self.alone and outermost and gathers(access):
            return 0
        return super().tile_words(access, ranks, tile, memory)

    def capacity_bits(self, number: int, memory: Memory) -> float:
        """Return an inner memory's capacity in bits for an Einsum's own tiles; perhaps infinite.

        The second memory sets no limit if several ranks may lie along one array dimension. It then
        holds the tiles of the shared loops anyway.
        """
        if self.stretched and number == 1 and not self.alone:
            return inf
        return super().capacity_bits(number, memory)

    def sharing_einsums(self, name: str) -> int:
        """Return the number of Einsums that share the memories, which is all of the cascade's
        Einsums."""
        del name
        return len(self.program.einsums)


def _inside(context: MappingContext, around: frozenset[str], alone: bool) -> InnerContext:
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
        alone=alone,
    )


def inner_mapping(
    context: InnerContext, e: Einsum, on: ProcessingArray | None = None
) -> EinsumMapping:
    """Map an Einsum inside of shared loops, on its fastest array or on a given one.

    The Einsum's own loops are at the inner memories only, unless the context is ``alone``.

    Parameters
    ----------
    context : InnerContext
    e : Einsum
    on : ProcessingArray, optional
        An array that can do it.
    """
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
    if len(levels) > 1 and not context.alone:
        # Tensors of the outermost memory arrive under shared loops alone.
        first, second, *others = levels
        levels = [replace(second, loops=(*first.loops, *second.loops)), *others]
    return mapped_einsum(e, layout, levels)


def inner_cycles(context: InnerContext, e: Einsum) -> dict[str, Fraction]:
    """Return, for each capable array, the cycles of one run of an Einsum inside of shared loops."""
    able = arrays_of(context.program, e, context.architecture)
    return {array.name: soonest(context, e, array)[0].cycles for array in able}


def _layouts(context: InnerContext, e: Einsum, on: ProcessingArray | None) -> list[ArrayLayout]:
    """Return an Einsum's fastest layouts, also with two equally long dimensions swapped."""
    found = soonest_fed(context, e, on)
    for layout in tuple(found):
        sizes = {d.name: d.size for d in layout.array.dimensions}
        if len(layout.along) == 2 and len({sizes[d] for d, _ in layout.along}) == 1:
            (one, first), (other, second) = layout.along
            # Outer parts of a rank that lies along both dimensions come first.
            swapped = ((other, first), (one, second))
            found.append(replace(layout, along=swapped if context.fitted else swapped[::-1]))
    return [x for n, x in enumerate(found) if x not in found[:n]]


def cuts_of(context: MappingContext) -> Iterator[MappingContext]:
    """Yield contexts that cut each rank by itself, if the default cuts leave arrays idle.

    Short steps or array sides that do not divide the ranks are the cause.
    """
    filling = _cut_for_steps(context)
    if filling is not None:
        yield filling
        return
    if {*sides_of(context.architecture)} <= {*context.strides}:
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
    """Return the cycles of all Einsums on arrays as busy as the Einsums' ranks allow."""
    return sum((least_cycles(context, e) for e in context.program.einsums), Fraction(0))


def underuses_arrays(contexts: list[MappingContext], promised: list[Fraction]) -> bool:
    """Return whether all estimates are far above the cycles that busy arrays would need.

    The fewest such cycles among the contexts are taken (``_full_cycles``).

    Parameters
    ----------
    contexts : list of MappingContext
    promised : list of Fraction
        Estimated cycles of the best mappings so far.
    """
    least = min(map(_full_cycles, contexts), default=0)
    return all(cycles > policy.MAX_IDLE_RATIO * least for cycles in promised)


def unrolled_steps(context: MappingContext) -> Iterator[tuple[str, MappingContext]]:
    """Yield ranks, each with contexts that place 2, 4, ... of its coordinates side by side.

    The ranks carry no dependence between steps. Their coordinates occupy processing elements that
    short steps leave idle. Loops go over the other coordinates of the rank.
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
    """Return a context, and a copy that may place several ranks along one array dimension.

    For example, 128 keys by 64 values leave processing elements idle on an array of 256 x 256. 8
    heads fill them: 2 heads beside the keys and 4 beside the values. Neither side has room for all
    8.
    """
    return context, replace(context, stretched=True)


def _cut_for_steps(context: MappingContext) -> MappingContext | None:
    """Return a context that cuts each rank by itself, or None if steps keep the arrays busy."""
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
    """Band of a mask between two ranks that are much longer than the band is wide."""

    ranks: tuple[str, ...]
    """Names of the two ranks; for a rank that the cascade cuts, its innermost member."""
    width: int
    """Coordinates of one rank that the mask lets through for each coordinate of the other."""


def narrow_band(bound: Bound) -> NarrowBand | None:
    """Return the band of a mapping's first masked Einsum if the band is narrow, else None.

    A mask skips tiles outside of the band. In tiles longer than the band is wide, most points are
    masked but computed all the same. An example is 256 queries by 256 keys for a window of 5.
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
    """Yield each rank of a band, with contexts cut into blocks about as long as the band is wide.

    All other ranks are cut for the arrays inside of these blocks, each by itself.
    """
    widest = max(context.strides, default=1)
    for rank, other in (band.ranks, band.ranks[::-1]):
        if context.program.rank_of[rank].family:
            continue
        # Powers of two: a band of 100 has blocks of 64, 32 and 16.
        widths = (band.width // n for n in policy.BLOCKS_PER_BAND_WIDTH if band.width >= n)
        sizes = (1 << width.bit_length() - 1 for width in widths)
        for size in dict.fromkeys((widest, *sizes)):
            if 1 < size < context.shapes[rank]:
                yield rank, _cut_for_blocks(context, rank, other, size)


def _cut_for_blocks(context: MappingContext, rank: str, other: str, size: int) -> MappingContext:
    """Return a context with blocks of one rank; tiles of the other rank are at most as long.

    All ranks are then cut for the arrays inside of these blocks.
    """
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


def exceeds_capacity(context: MappingContext, plan: SharedLoops) -> bool:
    """Return whether a plan's tiles exceed the second memory even with all loops outside of it.

    Tiles are smallest then. False may also mean that this is not quick to determine.
    """
    architecture = context.architecture
    second = architecture.memories[1]
    if second.capacity_bytes is None or second.ring or not architecture.tree.is_line:
        return False
    return least_bytes(context, plan) > second.capacity_bytes


def least_bytes(context: MappingContext, plan: SharedLoops) -> Fraction | int:
    """Return a lower bound of the bytes in the second memory, with all shared loops outside of it.

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
    for e in program.einsums:
        around = plan.around(context, e)
        if plan.is_alone(around):
            continue
        shapes = InnerContext.of(context, around).shapes
        for tile in program.memo(_accessed_tiles, e.name):
            size = prod([shapes[r] for r in tile.ranks])
            if tile.gather is not None:
                size *= _elements(context, tile.gather, tile.run_ranks, shapes)
            tiles[tile.tensor] = max(size, tiles.get(tile.tensor, 0))
    words = sum(size * context.words.of(tensor) for tensor, size in tiles.items())
    return words * context.architecture.word_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _CoveredTile:
    """Description of a tensor's tile that an Einsum accesses, from which its size follows."""

    tensor: str
    ranks: tuple[str, ...]
    """Ranks along which each coordinate is another tensor element."""
    gather: Access | None = None
    """Access that gathers along one index; None if the access does not gather."""
    run_ranks: tuple[str, ...] = ()
    """Ranks that count elements from each gathered position on: T in K[I[j]*T + t]."""


def _elements(
    context: MappingContext, access: Access, run_ranks: tuple[str, ...], shapes: Sizes[str, int]
) -> int:
    """Return how many coordinates a tile covers along a gathered index.

    Each index or each position, whichever are fewer, contributes the coordinates ``beside`` it.
    """
    found = context.gathered(access, shapes)
    (number,) = (n for n, i in enumerate(access.indices) if isinstance(i, Gather))
    length = context.shapes[context.program.tensor_ranks[access.tensor][number]]
    at_each = prod(shapes[r] for r in run_ranks)
    return min(length, min(found.indices, found.positions) * at_each)


def _accessed_tiles(program: Program, name: str) -> tuple[_CoveredTile, ...]:
    """Return the tiles that an Einsum's accesses cover."""
    e = program.einsum_of[name]
    return tuple(_tile(program, a) for a in dict.fromkeys((*e.reads, e.target)))


def _tile(program: Program, access: Access) -> _CoveredTile:
    others = [i for i in access.indices if isinstance(i, Affine)]
    names = [i.as_variable for i in others]
    moved = {v for i, name in zip(others, names, strict=True) if name is None for v in i.variables}
    # The footprint has one copy of a running value.
    running = program.iterative.get(access.tensor, ())
    gathers = [i for i in access.indices if isinstance(i, Gather)]
    if gathers and (moved or running or len(gathers) > 1 or not _has_distinct_runs(gathers[0])):
        return _CoveredTile(tensor=access.tensor, ranks=())  # neighbours may share elements
    plain = (n.upper() for n in dict.fromkeys(names) if n is not None and n not in moved)
    ranks = dict.fromkeys((*program.parallel, *(r for r in plain if r not in running)))
    if not gathers:
        return _CoveredTile(tensor=access.tensor, ranks=tuple(ranks))
    run_ranks = tuple(v.upper() for v in gathers[0].offset.variables)
    moving = tuple(v.upper() for v in gathers[0].variables if v.upper() not in ranks)
    if not {*run_ranks} <= {*moving} or _cut_twice(program, (*ranks, *moving)):
        return _CoveredTile(tensor=access.tensor, ranks=())
    return _CoveredTile(
        tensor=access.tensor, ranks=tuple(ranks), gather=access, run_ranks=run_ranks
    )


def _has_distinct_runs(index: Gather) -> bool:
    """Return whether a gather's elements are simple to count.

    Its indices must be distinct variables. From each position it may read one run along one rank.
    """
    inner = [i.as_variable if isinstance(i, Affine) else None for i in index.access.indices]
    offsets = [t.variable for t in index.offset.terms if t.variable]
    names = [n.upper() for n in (*inner, *offsets) if n is not None]
    return (
        None not in inner
        and len(offsets) < 2
        and all(t.coefficient == 1 and not t.shapes for t in index.offset.terms)
        and len({*names}) == len(names)
        and not {*offsets} & {*inner}
    )


def _cut_twice(program: Program, ranks: tuple[str, ...]) -> bool:
    """Return whether two of the given ranks are members of one partitioned rank.

    The last tile of such a rank may be short, so that the product of sizes may be too large.
    """
    wholes = [program.rank_of[r].family or r for r in ranks if r in program.rank_of]
    return len({*wholes}) < len(wholes)


def shared_out(
    work: Mapping[str, Mapping[str, Fraction]], arrays: Mapping[str, str]
) -> dict[str, str]:
    """Move Einsums while this relieves the busiest array, and return each Einsum's array.

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
    """Return the arrays after the best move or exchange, or None if none relieves the busiest."""
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
