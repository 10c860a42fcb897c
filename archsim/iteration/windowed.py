"""Counts of a loop nest whose window skips tiles, with the help of periods along the band.

If a band runs straight through the tiles of the inner loops, every ``period`` iterations see equal
tiles, farther along. The edges of a band are four lines through the corners of its box. Away from
the edges counts grow evenly, so that a few terms give the sum of a progression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from math import lcm
from typing import Generic, NamedTuple, TypeVar

from typing_extensions import override

from einsum_cascade.errors import MappingError

from .bands import Band, BandProgression, Window, progressions
from .loops import Extents, Loop, inside
from .policy import COUNT_BITS, MAX_ITERATIONS_VISITED


def coalesced(
    loops: Sequence[Loop], marks: Sequence[bool], governed: int
) -> tuple[tuple[Loop, ...], tuple[bool, ...], int]:
    """Join neighbouring loops along one axis into a single loop with the inner one's stride.

    Queries in tiles of 4, single queries of each tile, and keys:

    >>> loops = [Loop("", axis, stride, 0, "") for axis, stride in ((0, 4), (0, 1), (1, 2))]
    >>> found, marks, governed = coalesced(loops, (True, True, False), 3)
    >>> [(loop.axis, loop.stride) for loop in found], marks, governed
    ([(0, 1), (1, 2)], (True, False), 2)

    Parameters
    ----------
    loops : sequence of Loop
        Loops, outermost first.
    marks : sequence of bool
        Property of every loop; only loops with equal marks are combined.
    governed : int
        Number of loops, from the outermost, in which a window skips iterations.

    Returns
    -------
    tuple
        Loops, marks and ``governed`` afterwards.
    """
    found: list[tuple[Loop, bool, bool]] = []
    for depth, (loop, mark) in enumerate(zip(loops, marks, strict=True)):
        ruled = depth < governed
        if found:
            outer, *same = found[-1]
            # Otherwise the inner loop begins anew within a tile of its own.
            whole = outer.axis == loop.axis and outer.stride % loop.stride == 0
            if whole and same == [mark, ruled]:
                found[-1] = (loop, mark, ruled)
                continue
        found.append((loop, mark, ruled))
    return (
        tuple(loop for loop, _, _ in found),
        tuple(mark for _, mark, _ in found),
        sum(ruled for _, _, ruled in found),
    )


@dataclass(frozen=True, slots=True)
class RepeatPeriod:
    """Number of iterations of a loop (``period``) after which its inner tiles repeat.

    They repeat only in iterations at least ``reach`` away from edges of the band. The period is a
    multiple of all inner tiles but the large ones. ``sizes`` are the sizes of these, whose corners
    count as edges, too.
    """

    period: int
    reach: int
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EvenStretch:
    """Iterations from ``begin`` up to ``end`` that consist of whole repeating periods."""

    begin: int
    end: int
    period: int


def repeat_periods(loops: tuple[Loop, ...], window: Window) -> tuple[tuple[RepeatPeriod, ...], ...]:
    """Return the possible periods of every loop in a nest, which follow from the tiles inside the
    loop.

    The first period of a loop fits all tiles inside. Each further period treats one more of the
    large tiles as an edge.
    """
    found: list[tuple[RepeatPeriod, ...]] = []
    for depth, loop in enumerate(loops):
        side = window.side(loop.axis)
        inner = loops[depth + 1 : window.governed]
        if side is None:
            found.append((RepeatPeriod(1, 1),))
            continue
        across = {_elements(x, window) for x in inner if x.axis != loop.axis} - {0}
        tile = max(_elements(loop, window), 1)
        larger = sorted((size for size in across if size > tile), reverse=True)
        found.append(
            tuple(_repeat_period(tile, across, larger[:n]) for n in range(len(larger) + 1))
        )
    return tuple(found)


def _repeat_period(tile: int, across: set[int], passed: Sequence[int]) -> RepeatPeriod:
    """Return the period of a loop's tiles, if the tiles in ``passed`` are treated as edges."""
    sizes = across.difference(passed)
    period = lcm(*sizes, tile) // tile
    return RepeatPeriod(period, 2 * period + max(sizes, default=0) // tile + 2, tuple(passed))


def _elements(loop: Loop, window: Window) -> int:
    """Return the elements that one iteration of a loop covers of the band's rank. Return 0 for a
    loop along neither rank."""
    side = window.side(loop.axis)
    return 0 if side is None else loop.stride * side[1]


def stretches(
    progression: BandProgression, repeat_periods: Sequence[RepeatPeriod]
) -> tuple[EvenStretch, ...]:
    """Return the repeating iterations of a progression.

    Of all possible periods, the one that leaves the fewest iterations to visit is used.
    """
    found: tuple[EvenStretch, ...] = ()
    left = progression.count
    for repeats in repeat_periods:
        # A walk visits ``reach`` iterations on either side of every edge, and the first two periods
        # and the last one between two edges.
        each = 2 * repeats.reach + 3 * repeats.period
        shortest = 2 * repeats.reach + 4 * repeats.period  # that is summed instead of visited
        edges = sum(progression.count * abs(progression.moved) // size for size in repeats.sizes)
        if progression.count < shortest or edges * each >= left:
            continue
        along = tuple(_stretches(progression, repeats))
        to_see = progression.count - sum(x.end - x.begin - 3 * x.period for x in along)
        if to_see < left:
            found, left = along, to_see
    return found


def _stretches(progression: BandProgression, repeats: RepeatPeriod) -> Iterator[EvenStretch]:
    """Yield the iterations of a progression that repeat with the given period."""
    crossed = set(_crossed(progression, repeats.sizes))
    marks = sorted({0, progression.count, *(n for n in crossed if 0 < n < progression.count)})
    for mark, following in pairwise(marks):
        begin, end = mark + repeats.reach, following - repeats.reach
        end -= (end - begin) % repeats.period
        if end - begin >= 4 * repeats.period:
            yield EvenStretch(begin, end, repeats.period)


def _crossed(progression: BandProgression, sizes: Sequence[int]) -> Iterator[int]:
    """Yield the iterations in which a band's edge meets a corner of the box, or of a large tile."""
    assert progression.band is not None, "a progression moves along an edge"
    low, high, plus, minus = progression.band
    moved = progression.moved
    for edge in (low, high):
        yield from ((corner - edge) // moved for corner in (1 - minus, 0, plus - minus, plus - 1))
        ends = sorted((edge, edge + moved * progression.count))
        for size in sizes:
            # An iteration has the band's line from x = 0, or from y = 0, to the end of the box.
            # Tiles inside begin at multiples of their size along the other axis.
            for away in (0, -minus) if moved > 0 else (0, plus):
                first, last = -(-(ends[0] - away) // size), (ends[1] - away) // size
                yield from ((away + n * size - edge) // moved for n in range(first, last + 1))


def sum_of_progressions(
    first: Sequence[int], second: Sequence[int], last: Sequence[int], times: int
) -> int | None:
    """Return the sum of several arithmetic progressions; None if one is not arithmetic.

    Each progression is given by its first two terms and its last.

    Parameters
    ----------
    first, second, last : sequence of int
        First, second and last term of each.
    times : int
        Terms of each.

    >>> sum_of_progressions([1, 10], [2, 10], [4, 10], times=4)  # 1 + 2 + 3 + 4, and four times 10
    50
    """
    total = 0
    for a, b, end in zip(first, second, last, strict=True):
        if a + (b - a) * (times - 1) != end:
            return None
        total += times * a + (b - a) * (times * (times - 1) // 2)
    return total


_Key = tuple[int, ...]


def one(_: Extents) -> int:
    """Return 1, as the size of a tile where tiles are only counted.

    All counts use this one function, because caches compare functions by identity.
    """
    return 1


class _BandedStream(NamedTuple):
    """Deliveries of the loops from some depth on: their total size, and the size of the first tile.

    ``first`` and ``last`` name the first and the last tile by the iterations that bring them."""

    total: int
    size: int
    first: _Key
    last: _Key


class _BandedStreams(NamedTuple):
    """Deliveries in consecutive iterations of a loop: ``iterations`` many, from ``begin`` on.

    A tile may still be there when the next iteration begins. ``again`` is the total size of these
    tiles.
    """

    iterations: int
    begin: int
    total: int
    again: int
    head: _BandedStream
    tail: _BandedStream


def windowed_deliveries(
    loops: tuple[Loop, ...],
    relevant: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """Return the total size of the tiles that the loops deliver; iterations without a point are
    skipped.

    Two tiles are different if the iterations of the relevant loops differ. Skipped iterations in
    between do not matter. A tile that does not change over an irrelevant loop stays (Timeloop's
    rule). Keys in tiles of 4 inside queries in tiles of 5: 10 keys come once for each tile of
    queries; queries stay.

    >>> from .bands import EVERYTHING
    >>> queries = Loop(member="P1", axis=0, stride=5, level=0, variable="p")
    >>> keys = Loop(member="M1", axis=1, stride=4, level=0, variable="m")
    >>> nest = (queries, keys)
    >>> windowed_deliveries(nest, (False, True), (15, 10), EVERYTHING, lambda e: e[1])
    30
    >>> windowed_deliveries(nest, (True, False), (15, 10), EVERYTHING, lambda e: e[0])
    15

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    relevant : tuple of bool
        True for each loop that brings another tile.
    extents : Extents
        Elements of every axis outside all loops.
    window : Window
        Window outside of which iterations are skipped.
    size : callable
        Size of a tile of given extents.
    """
    return sum(
        times * size(tile) for tile, times in tiles_delivered(loops, relevant, extents, window)
    )


@lru_cache(maxsize=1 << 8)
def tiles_delivered(
    loops: tuple[Loop, ...], relevant: tuple[bool, ...], extents: Extents, window: Window
) -> tuple[tuple[Extents, int], ...]:
    """Return the extents of all delivered tiles, each with how often tiles of these extents come.

    One walk serves all measures of a tile: elements of its tensors, lanes or points.

    Parameters
    ----------
    loops, relevant, extents, window
        See ``windowed_deliveries``.

    Examples
    --------
    Of 10 keys in tiles of 4 under a mask the last tile is shorter; both heads have the same tiles:

    >>> heads = Loop(member="H", axis=0, stride=1, level=0, variable="h")
    >>> keys = Loop(member="M1", axis=1, stride=4, level=0, variable="m")
    >>> causal = Window(plus=1, minus=None, band=Band(-9, 0, 10, 10), governed=2)
    >>> tiles_delivered((heads, keys), (True, True), (2, 10), causal)
    (((1, 4), 4), ((1, 2), 2))
    """
    if window.band.empty:
        return ()
    if all(relevant):
        # Every iteration brings a tile, so the order does not matter.
        ruled, rest = loops[: window.governed], loops[window.governed :]
        loops = (*sorted(ruled, key=lambda loop: loop.axis), *rest)
    # Tiles of different extents are counted in fields of one number. The walk only adds and
    # multiplies, so each field holds what a walk for its tile alone would find.
    fields: dict[Extents, int] = {}

    def field_of(tile: Extents) -> int:
        return 1 << COUNT_BITS * fields.setdefault(tile, len(fields))

    found = _Deliveries(loops, relevant, window, field_of).total(extents).total
    every = (1 << COUNT_BITS) - 1
    return tuple((tile, found >> COUNT_BITS * n & every) for tile, n in fields.items())


_Value = TypeVar("_Value")
_Part = TypeVar("_Part")


class _WindowWalk(ABC, Generic[_Value, _Part]):
    """Walk over a nest's iterations that hold a point; equal iterations are visited once.

    A value describes the loops from some depth on. A part describes several iterations of one loop.

    Parameters
    ----------
    marks : tuple of bool
        Property of every loop: whether it brings another tile, or is counted.
    """

    def __init__(
        self,
        loops: tuple[Loop, ...],
        marks: tuple[bool, ...],
        window: Window,
        size: Callable[[Extents], int],
    ) -> None:
        self.loops, self.marks, governed = coalesced(loops, marks, window.governed)
        self.window = replace(window, governed=governed)
        self.size = size
        self.memo: dict[tuple[int, Extents, Band | None], _Value] = {}
        self.grain = self.window.grain(self.loops)
        self.repeat_periods = repeat_periods(self.loops, self.window)
        self.visited = 0

    @abstractmethod
    def leaf(self, size: int) -> _Value:
        """Return the value of a single tile of the given size."""

    @abstractmethod
    def equal(self, count: int, begin: int, value: _Value) -> _Part:
        """Return the part of ``count`` iterations that all have the same value."""

    @abstractmethod
    def growing(
        self, begin: int, stretch: EvenStretch, at: Callable[[int], _Value]
    ) -> _Part | None:
        """Return the part of a stretch of iterations whose values grow evenly; None if they do
        not."""

    @abstractmethod
    def combined(self, depth: int, parts: list[_Part]) -> _Value:
        """Return the value of a loop from the parts of all its iterations."""

    def value_everywhere(self, depth: int, now: Extents) -> _Value | None:
        """Return the value of the loops from ``depth`` on, if it is equal wherever the band lies.
        Return None otherwise."""
        del depth, now
        return None

    def total(self, extents: Extents) -> _Value:
        """Return the value of the whole nest."""
        return self.visit(0, extents, None if self.window.band.full else self.window.band.trimmed())

    def visit(self, depth: int, now: Extents, band: Band | None) -> _Value:
        """Return the value of the loops from ``depth`` on, for a tile of extents ``now``."""
        # Inside the governed loops nothing is skipped: a tile on the edge of the band runs whole.
        if depth == self.window.governed:
            band = None
        if band is not None:
            band = band.coarse(self.grain[depth])
        key = (depth, now, band)
        if (known := self.memo.get(key)) is not None:
            return known
        if depth == len(self.loops):
            found = self.leaf(self.size(now))
        else:
            loop = self.loops[depth]
            parts = [
                part
                for progression in progressions(
                    now[loop.axis], loop.stride, band, self.window.side(loop.axis)
                )
                for part in self.climb(depth, inside(now, loop, progression.extent), progression)
            ]
            found = self.combined(depth, parts)
        self.memo[key] = found
        return found

    def climb(self, depth: int, now: Extents, progression: BandProgression) -> Iterator[_Part]:
        """Yield the parts of a progression: stretches that grow evenly, and single or equal
        iterations."""

        def at(number: int) -> _Value:
            return self.visit(depth + 1, now, progression.at(number))

        first, count = progression.first, progression.count
        # If no loop further inside skips tiles, the position of the band does not matter.
        if not progression.moved or self.grain[depth + 1] == 0:
            yield self.equal(count, first, at(0))
            return
        if (same := self.value_everywhere(depth + 1, now)) is not None:
            yield self.equal(count, first, same)
            return
        done = 0
        for stretch in stretches(progression, self.repeat_periods[depth]):
            self._look(3 * stretch.period)
            if (long := self.growing(first, stretch, at)) is not None:
                yield from (self.equal(1, first + n, at(n)) for n in range(done, stretch.begin))
                yield long
                done = stretch.end
        self._look(count - done)
        yield from (self.equal(1, first + n, at(n)) for n in range(done, count))

    def _look(self, number: int) -> None:
        """Count iterations that are visited one by one; raise an error if there are too many."""
        self.visited += number
        if self.visited > MAX_ITERATIONS_VISITED:
            text = "tiles along the window of the mask repeat too seldom to be counted"
            hint = "take tiles of which one is a multiple of the other, or fewer tokens"
            raise MappingError(text, hint=hint)


class _Deliveries(_WindowWalk[_BandedStream, _BandedStreams]):
    """Walk of ``tiles_delivered``, which counts the deliveries of tiles.

    Marked loops bring another tile.
    """

    @override
    def leaf(self, size: int) -> _BandedStream:
        return _BandedStream(size, size, (), ())

    @override
    def equal(self, count: int, begin: int, value: _BandedStream) -> _BandedStreams:
        again = (count - 1) * value.size if value.first == value.last else 0
        return _BandedStreams(count, begin, count * value.total, again, value, value)

    @override
    def growing(
        self, begin: int, stretch: EvenStretch, at: Callable[[int], _BandedStream]
    ) -> _BandedStreams | None:
        # Two periods from the front fix the slope and the last one confirms it. Tiles of all three
        # must have equal sizes, and stay or go alike, or ``again`` would be no multiple.
        period, count = stretch.period, stretch.end - stretch.begin
        times = count // period
        early = [at(stretch.begin + n) for n in range(2 * period + 1)]
        late = [at(stretch.end - period + n) for n in range(period + 1)]
        pieces = early[:period], early[period : 2 * period], late[:period]
        first, second, last = ([s.total for s in piece] for piece in pieces)
        total = sum_of_progressions(first, second, last, times=times)
        sizes = [[s.size for s in piece] for piece in pieces]
        stay = [a.last == b.first for a, b in pairwise(early)]
        staying = stay[:period], stay[period:], [a.last == b.first for a, b in pairwise(late)]
        if total is None or any(x != y[0] for y in (sizes, staying) for x in y):
            return None
        again = sum(times * early[n + 1].size for n in range(period) if stay[n])
        # The last iteration has no next one among these that finds its tile.
        if stay[period - 1]:
            again -= early[period].size
        return _BandedStreams(
            count, begin + stretch.begin, total, again, early[0], late[period - 1]
        )

    @override
    def combined(self, depth: int, parts: list[_BandedStreams]) -> _BandedStream:
        head, tail = parts[0], parts[-1]
        if self.marks[depth]:
            # The name of a tile is the iteration of this loop, followed by the name inside.
            first = (head.begin, *head.head.first)
            last = (tail.begin + tail.iterations - 1, *tail.tail.last)
            return _BandedStream(sum([p.total for p in parts]), head.head.size, first, last)
        total = sum([p.total - p.again for p in parts])
        for before, after in pairwise(parts):
            if before.tail.last == after.head.first:
                total -= after.head.size
        return _BandedStream(total, head.head.size, head.head.first, tail.tail.last)


@lru_cache(maxsize=1 << 8)
def windowed_distinct(
    loops: tuple[Loop, ...],
    counted: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """Return the sum of ``size`` over the distinct index combinations of a nest's ``counted``
    loops.

    Any other loop is entered once, in its fullest iteration. Along the window's ranks that is an
    iteration with a point for the counted indices. ``size`` must not shrink for a larger tile.

    Parameters
    ----------
    loops, extents, window, size
        See ``windowed_deliveries``.
    counted : tuple of bool
        True for each loop whose iterations are distinguished.
    """
    if all(counted):
        return windowed_deliveries(loops, counted, extents, window, size)
    if window.band.empty:
        return 0
    return _Distinct(*_postponed(loops, counted, window), window, size).total(extents)


class _Distinct(_WindowWalk[int, tuple[int, int]]):
    """Walk of ``windowed_distinct``; a part is the sum and the largest of its values.

    Marked loops are the counted ones.
    """

    @cached_property
    def uncounted_depth(self) -> int:
        """Depth from which on no counted loop goes along a rank of the window."""
        depths = enumerate(zip(self.loops, self.marks, strict=True), 1)
        return max(
            (depth for depth, (x, mark) in depths if mark and self.window.side(x.axis)), default=0
        )

    @cached_property
    def smallest_extents(self) -> dict[int, int]:
        """Extent of 1 for each of the window's axes that has uncounted loops, by axis."""
        loops = self.loops[self.uncounted_depth :]
        return {loop.axis: 1 for loop in loops if self.window.side(loop.axis)}

    @override
    def leaf(self, size: int) -> int:
        return size

    @override
    def equal(self, count: int, begin: int, value: int) -> tuple[int, int]:
        return count * value, value

    @override
    def growing(
        self, begin: int, stretch: EvenStretch, at: Callable[[int], int]
    ) -> tuple[int, int] | None:
        start, end, period = stretch.begin, stretch.end, stretch.period
        first, second, last = (
            [at(x + n) for n in range(period)] for x in (start, start + period, end - period)
        )
        total = sum_of_progressions(first, second, last, times=(end - start) // period)
        return None if total is None else (total, max(*first, *last))

    @override
    def combined(self, depth: int, parts: list[tuple[int, int]]) -> int:
        if self.marks[depth]:
            return sum([total for total, _ in parts])
        return max([most for _, most in parts])

    @override
    def value_everywhere(self, depth: int, now: Extents) -> int | None:
        if depth < self.uncounted_depth:
            return None
        # ``size`` grows with the tile, so equal values at both ends are equal in between.
        smallest = tuple(self.smallest_extents.get(axis, x) for axis, x in enumerate(now))
        value = self.visit(depth, now, None)
        return value if value == self.visit(depth, smallest, None) else None


def _postponed(
    loops: tuple[Loop, ...], counted: tuple[bool, ...], window: Window
) -> tuple[tuple[Loop, ...], tuple[bool, ...]]:
    """Return the loops in another order: loops along the window's ranks last, and uncounted ones
    last among these."""
    # The number of distinct indices does not depend on the order of loops. A loop that is entered
    # once must choose its fullest iteration for each counted index. Of several loops along one axis
    # the outer ones must be the counted ones.
    pairs = list(zip(loops, counted, strict=True))
    governed, rest = pairs[: window.governed], pairs[window.governed :]
    free = [(x, c) for x, c in governed if window.side(x.axis) is None]
    along = [(x, c) for x, c in governed if window.side(x.axis) is not None]
    # Loops along one rank are neighbours, so that they can be combined.
    behind = sorted(along, key=lambda pair: (not pair[1], pair[0].axis))
    order = [*free, *behind, *rest]
    return tuple(x for x, _ in order), tuple(c for _, c in order)
