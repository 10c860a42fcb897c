"""Spatial factorisation: layouts of an Einsum on an array that leave few processing elements idle.

Ranks are cut for the array's dimensions. Folds of systolic arrays are estimated from the layout
alone. The layouts with the fewest cycles are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, permutations
from math import ceil, prod

from archsim.result.record import Folds
from archsim.spec.arch import Dimension, ProcessingArray
from einsum_cascade.ir import Access, Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import einsum_operations

from ..space.array_tiles import arrays_of, nested_strides
from . import policy
from .context import LoopPart, MappingContext, gathers

Run = tuple[str, tuple[int, ...]]
"""Name of a rank, and the strides of its members that lie side by side on an array."""


@dataclass(frozen=True, slots=True)
class CutRank:
    """A rank with its cuts, and the number of innermost members that are laid out on an array.

    Examples
    --------
    25 coordinates in 4 tiles of 7 take 4 rounds with the 7 side by side:

    >>> CutRank(25, (1, 7), laid=1).rounds
    4
    """

    size: int
    strides: tuple[int, ...] = (1,)
    """Stride of each member in coordinates, ascending from 1."""
    laid: int = 0

    @property
    def rounds(self) -> int:
        """Number of iterations of the temporal loops over members that are not laid out."""
        return 1 if self.laid == len(self.strides) else -(-self.size // self.strides[self.laid])

    def within(self, room: int, *, cut: bool) -> Iterator[tuple[CutRank, int]]:
        """Yield copies of the rank with more of it laid out, each with the added length.

        Parameters
        ----------
        room : int
            Largest length in coordinates.
        cut : bool
            True if the rank may be cut once more.

        Examples
        --------
        40 coordinates on an axis of 9 are 5 rounds of 8, 6 of 7, or 7 of 6:

        >>> [length for _, length in CutRank(40).within(9, cut=True)]
        [8, 7, 6]
        """
        first, parts = self.laid, len(self.strides)
        if first == parts:
            return
        begin, length = self.strides[first], 1
        for part in range(first, parts):
            above = self.strides[part + 1] if part + 1 < parts else self.size
            length *= -(-above // self.strides[part])
            if length > room:
                break
            yield CutRank(self.size, self.strides, part + 1), length
        if not cut:
            return
        if first + 1 < parts:
            lengths = _even(self.strides[first + 1] // begin, room)
        else:
            lengths = _stretches(-(-self.size // begin), room)
        for length in lengths:
            strides = (*self.strides[: first + 1], begin * length, *self.strides[first + 1 :])
            yield CutRank(self.size, strides, first + 1), length


def _stretches(count: int, room: int) -> Iterator[int]:
    """Yield tile lengths up to ``room`` that cut ``count`` coordinates evenly, longest first."""
    least = max(2, -(-count // room))
    lengths = (-(-count // n) for n in range(least, least + policy.MAX_STRETCH_LENGTHS))
    return (n for n in dict.fromkeys(lengths) if n > 1)


def _even(count: int, room: int) -> Iterator[int]:
    """Yield the longest proper divisor of ``count`` that is at most ``room``, if there is any."""
    divisors = (n for n in range(min(room, count - 1), 1, -1) if count % n == 0)
    return (n for n in [next(divisors, 0)] if n)


_Beam = list[tuple[int, int, dict[str, CutRank], tuple[Run, ...]]]
"""Candidate layouts along one axis. Each has its temporal iterations, the free length of the axis,
all ranks, and the members laid out on the axis."""


@dataclass(frozen=True, slots=True)
class LaidRanks:
    """Ranks with their cuts, and the array dimensions along which they are laid out."""

    ranks: dict[str, CutRank]
    rounds: int
    """Number of iterations of all temporal loops together."""
    along: tuple[tuple[str, tuple[Run, ...]], ...] = ()
    """Members laid out along each dimension in use; outer members of a rank come first."""

    def onto(self, dimension: Dimension, *, cut: bool) -> list[LaidRanks]:
        """Return layouts with one more dimension filled or left empty, fewest iterations first."""
        beam: _Beam = [(self.rounds, dimension.size, self.ranks, ())]
        found = [*beam]
        for _ in range(policy.MAX_RANKS_PER_AXIS):
            more: list[tuple[int, int, CutRank, str, dict[str, CutRank], tuple[Run, ...]]] = []
            for rounds, room, ranks, along in beam:
                have = {name for name, _ in along}
                for name, rank in ranks.items():
                    before = rank.rounds
                    if name in have or before == 1 or room == 1:
                        continue
                    for laid, length in rank.within(room, cut=cut):
                        if (after := laid.rounds) < before:
                            # ``rounds`` is a product over all ranks: the factor of this rank is
                            # replaced.
                            fewer = rounds // before * after
                            more.append((fewer, room // length, laid, name, ranks, along))
            if not more:
                break
            more = sorted(more, key=lambda x: (x[0], -x[1]))[: policy.LAYOUTS_CONTINUED]
            beam = [
                (
                    rounds,
                    room,
                    ranks | {name: laid},
                    (*along, (name, laid.strides[ranks[name].laid : laid.laid])),
                )
                for rounds, room, laid, name, ranks, along in more
            ]
            found += beam
        found.sort(key=lambda x: x[0])
        return [
            LaidRanks(
                ranks, rounds, ((dimension.name, along), *self.along) if along else self.along
            )
            for rounds, _, ranks, along in found[: policy.LAYOUTS_CONTINUED]
        ]


def layouts_along(
    array: ProcessingArray, ranks: dict[str, CutRank], *, cut: bool
) -> list[LaidRanks]:
    """Return the layouts on an array with the fewest temporal iterations, in ascending order.

    Parameters
    ----------
    ranks : dict of str to CutRank
        Ranks that may be laid out; none is laid out so far.
    cut : bool
        True if ranks may be cut further to improve a layout.
    """
    found: list[LaidRanks] = []
    for order in permutations(array.dimensions):
        beam = [LaidRanks(ranks, prod(r.rounds for r in ranks.values()))]
        for dimension in order:
            beam = [x for state in beam for x in state.onto(dimension, cut=cut)]
            beam.sort(key=lambda x: x.rounds)
            beam = beam[: policy.LAYOUTS_CONTINUED]
        found += beam
        if len({d.size for d in array.dimensions}) == 1:
            break
    return sorted(found, key=lambda x: x.rounds)


Ranks = frozenset[str]
"""Ranks along which a tensor varies."""

Rounds = Sequence[tuple[str, int]]
"""Temporal loops, outermost first: rank and iterations of each loop."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """Spatial loops of an Einsum on an array, and the ranks along which its tensors vary."""

    array: ProcessingArray
    along: tuple[tuple[str, Ranks], ...]
    reads: tuple[Ranks, ...]
    result: Ranks
    point_cycles: Fraction
    """Cycles that a processing element takes for one point."""

    @cached_property
    def _shared(self) -> tuple[frozenset[str], ...]:
        """Array dimensions along which each read, and at last the result, does not vary."""
        return tuple(
            frozenset(d for d, ranks in self.along if not ranks & varies)
            for varies in (*self.reads, self.result)
        )

    @cached_property
    def _own(self) -> tuple[tuple[Ranks, bool], ...]:
        """Ranks of each tensor that varies along most dimensions, and True if it must be loaded.

        A result need not be loaded. Neither need any operand in a one-dimensional array, as each
        processing element is at the edge.
        """
        least = min(map(len, self._shared))
        touched = (*self.reads, self.result)
        row = len(self.array.dimensions) == 1
        return tuple(
            (varies, place < len(self.reads) and not row)
            for place, (varies, axes) in enumerate(zip(touched, self._shared, strict=True))
            if len(axes) == least
        )

    @cached_property
    def _load_cycles(self) -> int:
        reduced = self._shared[-1]
        return min(d.size for d in self.array.dimensions if d.name in reduced or not reduced)

    @cached_property
    def _skew(self) -> tuple[tuple[str, int], ...]:
        hopping = frozenset[str]().union(*self._shared)
        return tuple((d.name, d.size - 1) for d in self.array.dimensions if d.name in hopping)

    def least_cycles(self, rounds: Rounds) -> Fraction:
        """Return the fewest ``cycles`` among promising loop orders.

        The innermost loops are over ranks that no loaded tensor has, or over ranks that some
        stationary tensor lacks.
        """
        if self._broadcasts:
            return self.cycles(rounds)
        loaded = frozenset[str]().union(*(varies for varies, is_loaded in self._own if is_loaded))
        orders = [(loaded, varies) for varies, _ in self._own]
        orders += [(varies, loaded) for varies, _ in self._own]
        return min(
            self.cycles(sorted(rounds, key=lambda x: (x[0] not in outer, x[0] not in then)))
            for outer, then in orders
        )

    @property
    def _broadcasts(self) -> bool:
        return self.array.operands == "broadcast" or not self.along

    def cycles(self, rounds: Rounds) -> Fraction:
        """Return the cycles that an Einsum occupies the array: work, skew and operand loads.

        Parameters
        ----------
        rounds : sequence of (str, int)
            All temporal loops, outermost first.
        """
        work = self.point_cycles * prod(count for _, count in rounds)
        if self._broadcasts:
            return work
        changes = [(_changes(varies, rounds), loaded) for varies, loaded in self._own]
        loads = max((n for n, loaded in changes if loaded), default=0)
        load = self._load_cycles
        # Without a bound mapping, loaded operands are assumed to come from elsewhere.
        streams = self.array.overlap == "streams"
        lost = Folds(
            einsum="",
            array=self.array.name,
            folds=min(n for n, _ in changes),
            skew=() if streams else self._skew,
            loads=loads,
            load_cycles=load,
            overlap=self.array.overlap is True,
            stall=max(0, ceil(load - work / loads)) if loads else 0,
            drain=load - 1 if streams else 0,
        )
        return work + lost.cycles


def _changes(varies: Ranks, rounds: Rounds) -> int:
    """Return how often the value that a processing element holds of a tensor changes."""
    # Of loops m 4, n 3 and k 5, outermost first, a value that varies along m changes 4 times, one
    # that varies along n 12 times: loops inside of the innermost that moves it leave it in place.
    going = [(rank, count) for rank, count in rounds if count > 1]
    while going and going[-1][0] not in varies:
        going.pop()
    return prod(count for _, count in going)


_Along = tuple[tuple[str, tuple[LoopPart, ...]], ...]
"""Array dimensions in use, and the rank members laid out along each."""


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """An array, the rank members along its dimensions, and the cycles that it is busy."""

    array: ProcessingArray
    along: tuple[tuple[str, tuple[str, ...]], ...]
    laid: Laid
    rounds: dict[str, int]
    """Iterations of the temporal loops over each rank; a ragged last tile counts as one."""
    cycles: Fraction
    """Busy cycles in the fastest loop order for this layout."""

    @property
    def names(self) -> set[str]:
        """Names of the rank members that are laid out, such as M0."""
        return {name for _, names in self.along for name in names}


def soonest(
    context: MappingContext, e: Einsum, on: ProcessingArray | None = None
) -> list[ArrayLayout]:
    """Return the fastest layouts of an Einsum; ties go to the first one found.

    If loads cost cycles, several fast layouts are returned, and all layouts that fill the arrays.
    Their memory traffic differs.

    Parameters
    ----------
    context : MappingContext
        The cascade and the machine.
    e : Einsum
        One of the cascade's Einsums.
    on : ProcessingArray, optional
        An array that can do it; by default any may.

    Returns
    -------
    list of ArrayLayout
        One, unless loads cost cycles or Einsums that share loops are laid out in stretches.

    Raises
    ------
    MappingError
        No array can do all of its operations.
    """
    able = arrays_of(context.program, e, context.architecture) if on is None else (on,)
    if context.fitted:
        return _fitted(context, e, able)
    filling = [_layouts(context, e, a, filling=True) for a in able]
    if all(a.operands == "broadcast" for a in able):
        return sorted(chain(*filling), key=lambda layout: layout.cycles)[:1]
    others = (_layouts(context, e, a) for a in able)
    soon = sorted(chain(*filling, *others), key=lambda layout: layout.cycles)
    if not context.architecture.tree.is_line:
        # The stationary operand decides which of several memories has most traffic.
        return [
            x
            for n, x in enumerate(soon)
            if x not in soon[:n] and x.cycles <= policy.MAX_SHARING_SLOWDOWN * soon[0].cycles
        ]
    best = soon[: policy.MAX_SYSTOLIC_LAYOUTS]
    return [*best, *(x for x in chain(*filling) if x not in best)]


def sharing(context: MappingContext, e: Einsum) -> ArrayLayout:
    """Return the layout that reads the fewest operands at a time, among the nearly fastest ones.

    32 x 32 results share 32 elements of one operand and 32 of the other. But 32 sums for each of 32
    results need 1,024 elements of one operand. Raises as ``soonest``.
    """
    first = soonest(context, e)[0]
    able = arrays_of(context.program, e, context.architecture)
    others = chain(*(_layouts(context, e, a) for a in able))
    near = (x for x in others if x.cycles <= policy.MAX_SHARING_SLOWDOWN * first.cycles)
    return min((first, *near), key=lambda x: (_operands_at_once(context, e, x), x.cycles))


def layouts_of(context: MappingContext, e: Einsum) -> list[ArrayLayout]:
    """Return all examined layouts of an Einsum, on every capable array, the fastest first."""
    able = arrays_of(context.program, e, context.architecture)
    found = (_layouts(context, e, a, filling=filling) for a in able for filling in (True, False))
    return sorted(chain(*found), key=lambda layout: layout.cycles)


def _layouts(
    context: MappingContext, e: Einsum, array: ProcessingArray, *, filling: bool = False
) -> list[ArrayLayout]:
    """Return an Einsum's layouts on an array that begin each axis with any rank, or that fill it.

    A tensor that varies along all axes is loaded for each of its values. Ranks of a mask are better
    temporal, so that their empty tiles are skipped.
    """
    able = layable(context, e) - context.masked(e.name)
    ranks = [r for r in context.ranks(e) if r in able and context.shapes[r] > 1]
    axes = min(len(ranks), len(array.dimensions))
    found = (
        (_laid_out(context, e, order) for order in _axis_orders(array))
        if filling
        else (
            _laid_out(context, e, next(_axis_orders(array)), first, filled=filled)
            for first in islice(permutations(ranks, axes), policy.MAX_LOOP_ORDERS)
            for filled in (True, False)
        )
    )
    alongs: dict[tuple[tuple[str, tuple[str, ...]], ...], _Along] = {}
    for x in found:
        along = tuple((d.name, x[d.name]) for d in array.dimensions if d.name in x)
        alongs.setdefault(tuple((d, tuple([p.name for p in parts])) for d, parts in along), along)
    takes = array.cycles_of(einsum_operations(context.program, e))
    return [_layout(context, e, array, along, takes) for along in alongs.values()]


def _axis_orders(array: ProcessingArray) -> Iterator[tuple[Dimension, ...]]:
    """Yield the orders in which the axes of an array are filled.

    The first order begins with an axis without reduction latency, which gets the rank that fills it
    best. The order of axes in the machine's file has no effect.
    """
    first = sorted(array.dimensions, key=lambda d: (d.reduction_latency_cycles, -d.size))
    return permutations(first)


def _laid_out(
    context: MappingContext,
    e: Einsum,
    order: tuple[Dimension, ...],
    first: tuple[str, ...] = (),
    *,
    filled: bool = True,
) -> dict[str, tuple[LoopPart, ...]]:
    """Fill each axis in turn with the rank that fills it best, then with ranks that fit whole.

    Axes begin with the ranks in ``first``, if given. Each axis gets one rank only unless it is to
    be ``filled``. For example, 64 queries take half of a dimension of 128 processing elements. 2
    heads that fit whole take the rest.
    """
    able = layable(context, e)
    free = dict.fromkeys(r for r in context.ranks(e) if r in able)
    along: dict[str, tuple[LoopPart, ...]] = {}
    for number, dimension in enumerate(order):
        room, found = dimension.size, list[LoopPart]()
        while fitting := _fitting(context, free, room, whole=bool(found)):
            if found and not filled:
                break
            asked = [] if found else [x for x in fitting if x[0].rank in first[number:][:1]]
            best = max(asked or fitting, key=lambda parts: _filling(context, e, parts))
            found += best
            # A tile that is given longer than its rank takes the room of the whole tile.
            room //= max(context.extent(p) for p in best)
            free.pop(best[0].rank)
        if found:
            along[dimension.name] = tuple(found)
    return along


def _fitted(
    context: MappingContext, e: Einsum, able: Iterable[ProcessingArray]
) -> list[ArrayLayout]:
    """Return layouts of ranks that are each cut by itself, the fastest first.

    Ties go to the shortest delay of sums, then to the fewest operands read at a time.
    """
    able_ranks = layable(context, e)  # a set: the Einsum's ranks give the order among equals
    ranks = {r: context.parts(r)[::-1] for r in context.ranks(e) if r in able_ranks}
    cut = tuple(
        (r, CutRank(context.shapes[r], tuple(p.stride for p in ps))) for r, ps in ranks.items()
    )
    found = [
        _layout(context, e, a, tuple((d, _parts_of(context, runs)) for d, runs in x.along), takes)
        for a in able
        for takes in (a.cycles_of(einsum_operations(context.program, e)),)
        for x in context.memo(_layouts_along, a, cut, False)
    ]

    def slowness(x: ArrayLayout) -> tuple[Fraction, int, int]:
        return (x.cycles, reduction_delay(context, e, x), _operands_at_once(context, e, x))

    found.sort(key=slowness)
    # Layouts of systolic arrays differ in loads. Layouts of broadcast arrays differ in cycles only,
    # except for the traffic of their memories where many Einsums share loops.
    if found[0].array.operands != "broadcast":
        return found[: policy.MAX_SYSTOLIC_LAYOUTS]
    return [x for x in found if x.cycles <= policy.MAX_SHARING_SLOWDOWN * found[0].cycles][
        : None if context.stretched else 1
    ]


def _parts_of(context: MappingContext, runs: Iterable[Run]) -> tuple[LoopPart, ...]:
    return tuple(p for rank, strides in runs for p in context.parts(rank) if p.stride in strides)


def reduction_delay(context: MappingContext, e: Einsum, layout: ArrayLayout) -> int:
    """Return the cycles by which sums are late because they are reduced across an array's
    dimensions."""
    delays = {d.name: d.reduction_latency_cycles for d in layout.array.dimensions}
    reduced = {*context.ranks(e)} - context.ranks_of(e.target)
    names = {p.name for r in reduced for p in context.parts(r)}
    return sum(delays[d] for d, parts in layout.along if names.intersection(parts))


def _operands_at_once(context: MappingContext, e: Einsum, layout: ArrayLayout) -> int:
    """Return the number of operand elements that an array reads at a time."""
    names = layout.names
    laid = {r: prod(p.count for p in context.parts(r) if p.name in names) for r in context.ranks(e)}
    return sum(prod(laid[r] for r in context.ranks_of(a)) for a in e.reads)


def _layout(
    context: MappingContext,
    e: Einsum,
    array: ProcessingArray,
    along: _Along,
    point_cycles: Fraction,
) -> ArrayLayout:
    laid = Laid(
        array=array,
        along=tuple((d, frozenset(p.rank for p in parts)) for d, parts in along),
        reads=tuple(context.ranks_of(a) for a in e.reads),
        result=context.ranks_of(e.target),
        point_cycles=point_cycles,
    )
    wide = dict.fromkeys(context.ranks(e), 1)
    for part in (p for _, parts in along for p in parts):
        wide[part.rank] *= part.count
    rounds = {r: -(-context.shapes[r] // n) for r, n in wide.items()}
    return ArrayLayout(
        array=array,
        along=tuple((d, tuple(p.name for p in parts)) for d, parts in along),
        laid=laid,
        rounds=rounds,
        cycles=laid.least_cycles([*rounds.items()]),
    )


def _filling(
    context: MappingContext, e: Einsum, parts: tuple[LoopPart, ...]
) -> tuple[Fraction, int]:
    """Return a score of how well rank members fill an axis; higher is better.

    The first number is the coordinates per iteration. The second favours ranks of few tensors, as
    the tiles of all tensors with the rank become larger.
    """
    have = [a for a in (*e.reads, e.target) if parts[0].rank in context.ranks_of(a)]
    size = context.shapes[parts[0].rank]
    # 100 coordinates in rounds of 64 are 50 a round on average, as many as in rounds of 50.
    return Fraction(size, -(-size // prod(p.count for p in parts))), -len(have)


def layable(context: MappingContext, e: Einsum) -> frozenset[str]:
    """Return the ranks of an Einsum that may be laid out on an array.

    Ranks along which values run are excluded, and ranks with an inner member in the same Einsum.
    """
    return context.program.memo(_with_none_inside, context.ranks(e)) - context.unlayable(e.name)


def _with_none_inside(program: Program, ranks: tuple[str, ...]) -> frozenset[str]:
    """Return those of the given ranks that have no inner member among them."""
    mine = frozenset(ranks)
    return mine - {
        member
        for rank in program.ranks
        for place, member in enumerate(rank.partition)
        if mine & {*rank.partition[place + 1 :]}
    }


def _fitting(
    context: MappingContext, ranks: Iterable[str], room: int, *, whole: bool
) -> list[tuple[LoopPart, ...]]:
    """Return, for each rank, its members that fit a length; ranks that fit one coordinate are left
    out."""
    found = ((context.shapes[rank], *context.within(rank, room)) for rank in ranks)
    return [parts for size, parts, wide in found if parts and (wide >= size or not whole)]


def soonest_fed(
    context: MappingContext, e: Einsum, on: ProcessingArray | None = None
) -> list[ArrayLayout]:
    """Return an Einsum's fastest layouts.

    If the Einsum gathers, the time to read gathered operands counts too.
    """
    found = soonest(context, e, on)
    gathered = [a for a in e.reads if gathers(a)]
    if not gathered:
        return found
    others = (x for x in layouts_of(context, e) if on is None or x.array == on)
    near = (x for x in others if x.cycles <= policy.MAX_GATHER_SLOWDOWN * found[0].cycles)
    # Where each rank is cut by itself, other layouts may be far slower than the fastest.
    distinct = {(x.array.name, x.along): x for x in (*found, *near)}.values()
    return sorted(distinct, key=lambda x: _fed(context, e, x, gathered))[
        : policy.MAX_GATHER_LAYOUTS
    ]


def _fed(
    context: MappingContext, e: Einsum, layout: ArrayLayout, gathered: list[Access]
) -> Fraction:
    """Return an Einsum's seconds if gathered operands are read again in every iteration."""
    memory = context.memories(layout.array.name)[-1]
    seconds = layout.cycles / context.architecture.clock_hz
    if memory.bandwidth_bytes_per_s is None:
        return seconds
    tile = context.laid_tile(e, layout.names)
    words = sum(context.tile_words(a, context.ranks_of(a), tile, memory) for a in gathered)
    moved = words * prod(layout.rounds.values()) * context.architecture.word_bytes
    return max(seconds, moved / memory.bandwidth_bytes_per_s)


def fitted(context: MappingContext, took: dict[str, Fraction]) -> MappingContext:
    """Return the context with each rank cut by itself to suit the Einsums' best layouts.

    The slowest Einsum chooses its cuts first.

    Parameters
    ----------
    context : MappingContext
        A cascade and a machine, all ranks cut at the sides of its arrays.
    took : dict of str to Fraction
        Cycles of each Einsum with these cuts.
    """
    cuts: dict[str, tuple[int, ...]] = {}
    # Greedy: the slowest Einsum chooses first, and later Einsums may only cut its cuts further.
    for e in sorted(context.program.einsums, key=lambda e: -took[e.name]):
        cuts |= {r: cut.strides for r, cut in _best(context, e, cuts).ranks.items()}
    # Ranks that no layout cuts keep their cuts, which memories use.
    longer = {r: nested_strides(context.strides, inner=s) for r, s in cuts.items() if len(s) > 1}
    return replace(context, cuts=longer, fitted=True)


def least_cycles(context: MappingContext, e: Einsum) -> Fraction:
    """Return an Einsum's cycles if as many processing elements are busy as its ranks allow."""
    wide = prod(context.shapes[r] for r in layable(context, e) & {*context.ranks(e)})
    points = prod(context.shapes[r] for r in context.ranks(e))
    able = arrays_of(context.program, e, context.architecture)
    return min(_point_cycles(context, e, a) * points / min(wide, a.elements) for a in able)


def _best(context: MappingContext, e: Einsum, cuts: dict[str, tuple[int, ...]]) -> LaidRanks:
    """Return an Einsum's layout with the fewest cycles; each axis may cut each rank once more."""
    able = layable(context, e)
    ranks = tuple(
        (r, CutRank(context.shapes[r], cuts.get(r, (1,))))
        for r in context.ranks(e)
        if r in able and context.shapes[r] > 1
    )
    found = (
        (_point_cycles(context, e, array), context.memo(_layouts_along, array, ranks, True)[0])
        for array in arrays_of(context.program, e, context.architecture)
    )
    _, best = min(found, key=lambda x: x[0] * x[1].rounds)
    return best


def _layouts_along(
    context: MappingContext,
    array: ProcessingArray,
    ranks: tuple[tuple[str, CutRank], ...],
    cut: bool,
) -> list[LaidRanks]:
    """Return ``layouts_along`` for ranks in a form that ``MappingContext.memo`` can compare."""
    del context
    return layouts_along(array, dict(ranks), cut=cut)


def _point_cycles(context: MappingContext, e: Einsum, array: ProcessingArray) -> Fraction:
    return array.cycles_of(einsum_operations(context.program, e))
