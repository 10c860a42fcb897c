"""Counts of a loop nest whose window skips tiles, by periods of the tiles along the band.

Where a band goes straight through the tiles of the inner loops, every ``period`` iterations find
the same tiles, farther along. The edges of a band are four lines through the corners of its box:
away from them counts grow evenly, and a progression is summed from a few of its terms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import lcm
from typing import NamedTuple, TypeVar

from einsum_cascade.errors import MappingError, Problem

from .bands import BandProgression, Box, Window, progressions
from .loops import Extents, Loop, inside

_Mark = TypeVar("_Mark", bound=Hashable)


def coalesced(
    loops: Sequence[Loop], marks: Sequence[_Mark], governed: int
) -> tuple[tuple[Loop, ...], tuple[_Mark, ...], int]:
    """Neighbours along one axis as one loop: its iterations are the inner one's, in their order.

    Queries in tiles of 4, single ones of each, and keys:

    >>> loops = [Loop("", axis, stride, 0, "") for axis, stride in ((0, 4), (0, 1), (1, 2))]
    >>> found, marks, governed = coalesced(loops, (True, True, False), 3)
    >>> [(loop.axis, loop.stride) for loop in found], marks, governed
    ([(0, 1), (1, 2)], (True, False), 2)

    Parameters
    ----------
    loops : sequence of Loop
        Loops, outermost first.
    marks : sequence
        Something of every loop: only those that have the same are coalesced.
    governed : int
        How many of the loops, from the outermost, a window leaves iterations out of.

    Returns
    -------
    tuple
        What ``loops``, ``marks`` and ``governed`` are then.
    """
    found: list[tuple[Loop, _Mark, bool]] = []
    for depth, (loop, mark) in enumerate(zip(loops, marks, strict=True)):
        ruled = depth < governed
        if found:
            outer, *same = found[-1]
            # Else the inner one begins anew within a tile of its own.
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
    """How iterations of a loop repeat: after ``period`` of them, ``reach`` away from edges.

    ``sizes`` are elements of those tiles inside whose corners are edges too; of all others the
    period is a multiple.
    """

    period: int
    reach: int
    sizes: tuple[int, ...] = ()

    @property
    def least(self) -> int:
        """Iterations between two edges of which fewer are gone to than there are."""
        return 2 * self.reach + 4 * self.period


@dataclass(frozen=True, slots=True)
class EvenStretch:
    """Iterations of a progression that repeat: whole periods from ``begin`` up to ``end``."""

    begin: int
    end: int
    period: int


def repeat_periods(loops: tuple[Loop, ...], window: Window) -> tuple[tuple[RepeatPeriod, ...], ...]:
    """The beats of every loop of a nest, from the tiles of the loops inside it.

    The first one goes by all tiles, each further one past fewer of those that are large.
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
        found.append(tuple(_beat(tile, across, larger[:n]) for n in range(len(larger) + 1)))
    return tuple(found)


def _beat(tile: int, across: set[int], passed: Sequence[int]) -> RepeatPeriod:
    """The beat of a loop's tiles, from corner to corner of some of the tiles inside."""
    sizes = across.difference(passed)
    period = lcm(*sizes, tile) // tile
    return RepeatPeriod(period, 2 * period + max(sizes, default=0) // tile + 2, tuple(passed))


def _elements(loop: Loop, window: Window) -> int:
    """Elements of the band's rank in one iteration of a loop; 0: it is along neither."""
    side = window.side(loop.axis)
    return 0 if side is None else loop.stride * side[1]


def stretches(
    progression: BandProgression, repeat_periods: Sequence[RepeatPeriod]
) -> tuple[EvenStretch, ...]:
    """Iterations of a progression that repeat, by that beat which leaves the fewest to go to."""
    found: tuple[EvenStretch, ...] = ()
    left = progression.count
    for beat in repeat_periods:
        # Beside every edge ``reach`` iterations on either side are gone to one by one, and of what
        # lies behind it the first two periods and the last.
        each = 2 * beat.reach + 3 * beat.period
        edges = sum(progression.count * abs(progression.moved) // size for size in beat.sizes)
        if progression.count < beat.least or edges * each >= left:
            continue
        along = tuple(_stretches(progression, beat))
        to_see = progression.count - sum(x.end - x.begin - 3 * x.period for x in along)
        if to_see < left:
            found, left = along, to_see
    return found


def _stretches(progression: BandProgression, beat: RepeatPeriod) -> Iterator[EvenStretch]:
    """Iterations of a progression that repeat by one beat."""
    crossed = set(_crossed(progression, beat.sizes))
    marks = sorted({0, progression.count, *(n for n in crossed if 0 < n < progression.count)})
    for mark, following in pairwise(marks):
        begin, end = mark + beat.reach, following - beat.reach
        end -= (end - begin) % beat.period
        if end - begin >= 4 * beat.period:
            yield EvenStretch(begin, end, beat.period)


def _crossed(progression: BandProgression, sizes: Sequence[int]) -> Iterator[int]:
    """Iterations in which an edge of the band goes through a corner of the box, or of tiles of
    some sizes inside it."""
    assert progression.box is not None, "a progression moves along an edge"
    low, high, plus, minus = progression.box
    moved = progression.moved
    for edge in (low, high):
        yield from ((corner - edge) // moved for corner in (1 - minus, 0, plus - minus, plus - 1))
        ends = sorted((edge, edge + moved * progression.count))
        for size in sizes:
            # Of the band's line through (x, y) an iteration has all from x = 0 to the box's, or
            # from y = 0; tiles inside begin at multiples of their size along the other one.
            for away in (0, -minus) if moved > 0 else (0, plus):
                first, last = -(-(ends[0] - away) // size), (ends[1] - away) // size
                yield from ((away + n * size - edge) // moved for n in range(first, last + 1))


def sum_of_progressions(
    first: Sequence[int], second: Sequence[int], last: Sequence[int], times: int
) -> int | None:
    """The sum of several progressions of ``times`` terms; None where one is none.

    Each is given by its first two terms and its last.

    Parameters
    ----------
    first, second, last : sequence of int
        The first, second and last term of each.
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


MAX_ITERATIONS_VISITED = 1 << 20
"""Iterations of one walk that are looked at one by one: more take longer than anybody waits."""

_Key = tuple[int, ...]
_T = TypeVar("_T")


def one(_: Extents) -> int:
    """The size of a tile where tiles are counted: one, whatever its extents.

    One function for all, since counts are remembered by the measure they were asked for.

    Returns
    -------
    int
        1.
    """
    return 1


def windowed_points(
    loops: tuple[Loop, ...], extents: Extents, window: Window, size: Callable[[Extents], int]
) -> int:
    """The sum of ``size`` over all iterations of a nest that hold any point.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    extents : Extents
        What is left of every axis outside all loops.
    window : Window
        The band outside of which iterations are left out.
    size : callable
        What one iteration counts, given what the loops leave of each axis.
    """
    everything = (True,) * len(loops)
    return windowed_deliveries(loops, everything, extents, window, size)


class _Walked:
    """How many iterations one walk has looked at one by one."""

    def __init__(self) -> None:
        self._number = 0

    def add(self, number: int) -> None:
        """Look at some more.

        Raises
        ------
        MappingError
            They are too many.
        """
        self._number += number
        if self._number > MAX_ITERATIONS_VISITED:
            text = "tiles along the window of the mask repeat too seldom to be counted"
            hint = "take tiles of which one is a multiple of the other, or fewer tokens"
            raise MappingError(Problem(text, hint=hint))


class _BandedStream(NamedTuple):
    """Deliveries of one sub-nest: their total size, the first one's, and both ends' tiles."""

    total: int
    size: int
    first: _Key
    last: _Key


class _BandedStreams(NamedTuple):
    """Streams of some ``iterations`` from the one numbered ``begin``.

    ``again`` is the size of the tiles that are still there when an iteration begins, all
    but the first iteration's together.
    """

    iterations: int
    begin: int
    total: int
    again: int
    head: _BandedStream
    tail: _BandedStream


def _alike(count: int, begin: int, stream: _BandedStream) -> _BandedStreams:
    again = (count - 1) * stream.size if stream.first == stream.last else 0
    return _BandedStreams(count, begin, count * stream.total, again, stream, stream)


def _growing(
    begin: int, count: int, period: int, at: Callable[[int], _BandedStream]
) -> _BandedStreams | None:
    """Streams that repeat but for how long they are; None where they do not."""
    # Two periods from the front fix the slope and the last one confirms it. Of the same three
    # tiles must be as large, and stay or go alike, or ``again`` would be no multiple.
    times = count // period
    early = [at(n) for n in range(2 * period + 1)]
    late = [at(count - period + n) for n in range(period + 1)]
    pieces = early[:period], early[period : 2 * period], late[:period]
    first, second, last = ([s.total for s in piece] for piece in pieces)
    total = sum_of_progressions(first, second, last, times=times)
    sizes = [[s.size for s in piece] for piece in pieces]
    stay = [a.last == b.first for a, b in pairwise(early)]
    staying = stay[:period], stay[period:], [a.last == b.first for a, b in pairwise(late)]
    if total is None or any(x != y[0] for y in (sizes, staying) for x in y):
        return None
    again = sum(times * early[n + 1].size for n in range(period) if stay[n])
    # The last iteration has no next one among these to find its tile again.
    if stay[period - 1]:
        again -= early[period].size
    return _BandedStreams(count, begin, total, again, early[0], late[period - 1])


def windowed_deliveries(
    loops: tuple[Loop, ...],
    relevant: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """``iteration.count_deliveries`` over the iterations that hold any point.

    A tile is told from the one before by the iterations of its relevant loops; what is
    left out in between does not matter. Many Einsums of a nest ask for the same.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    relevant : tuple of bool
        Whether each loop brings another tile.
    extents : Extents
        What is left of every axis outside all loops.
    window : Window
        The band outside of which iterations are left out.
    size : callable
        Size of a tile, given what the loops leave of each axis.
    """
    return sum(
        times * size(tile) for tile, times in tiles_delivered(loops, relevant, extents, window)
    )


_COUNT_BITS = 128
"""Bits that hold how often any tile is delivered."""


@lru_cache(maxsize=1 << 8)
def tiles_delivered(
    loops: tuple[Loop, ...], relevant: tuple[bool, ...], extents: Extents, window: Window
) -> tuple[tuple[Extents, int], ...]:
    """What loops leave of each axis where a tile is delivered, and how often: whatever is counted
    of a tile, its tensors, lanes or points, one walk says it of all.

    Parameters
    ----------
    loops, relevant, extents, window
        As of ``windowed_deliveries``.

    Examples
    --------
    Of 10 keys in tiles of 4 under a mask the last tile is shorter; both heads have as many:

    >>> heads = Loop(member="H", axis=0, stride=1, level=0, variable="h")
    >>> keys = Loop(member="M1", axis=1, stride=4, level=0, variable="m")
    >>> causal = Window(plus=1, minus=None, box=Box(-9, 0, 10, 10), governed=2)
    >>> tiles_delivered((heads, keys), (True, True), (2, 10), causal)
    (((1, 4), 4), ((1, 2), 2))
    """
    if window.box.empty:
        return ()
    if all(relevant):
        # Every iteration brings a tile, in whatever order.
        ruled, rest = loops[: window.governed], loops[window.governed :]
        loops = (*sorted(ruled, key=lambda loop: loop.axis), *rest)
    loops, relevant, governed = coalesced(loops, relevant, window.governed)
    # Tiles that differ are counted in fields of one number: a walk adds and multiplies alone, so
    # that a field holds what another walk would find of its tile.
    fields: dict[Extents, int] = {}
    walk = _Deliveries(
        loops,
        relevant,
        replace(window, governed=governed),
        lambda tile: 1 << _COUNT_BITS * fields.setdefault(tile, len(fields)),
    )
    found = walk.visit(0, extents, None if window.box.full else window.box.trimmed()).total
    every = (1 << _COUNT_BITS) - 1
    return tuple((tile, found >> _COUNT_BITS * n & every) for tile, n in fields.items())


class _Deliveries:
    """The walk of ``tiles_delivered``."""

    def __init__(
        self,
        loops: tuple[Loop, ...],
        relevant: tuple[bool, ...],
        window: Window,
        size: Callable[[Extents], int],
    ) -> None:
        self.loops = loops
        self.relevant = relevant
        self.window = window
        self.size = size
        self.memo: dict[tuple[int, Extents, Box | None], _BandedStream] = {}
        self.grain = window.grain(loops)
        self.repeat_periods = repeat_periods(loops, window)
        self.walked = _Walked()

    def visit(self, depth: int, now: Extents, box: Box | None) -> _BandedStream:
        """What the loops from one on deliver."""
        # Further inside nothing is left out: a tile on the edge of the band runs whole.
        if depth == self.window.governed:
            box = None
        if box is not None:
            box = box.coarse(self.grain[depth])
        key = (depth, now, box)
        if (known := self.memo.get(key)) is not None:
            return known
        if depth == len(self.loops):
            tile = self.size(now)
            found = _BandedStream(tile, tile, (), ())
        else:
            loop = self.loops[depth]
            parts = [
                part
                for progression in progressions(
                    now[loop.axis], loop.stride, box, self.window.side(loop.axis)
                )
                for part in self.climbed(depth, inside(now, loop, progression.extent), progression)
            ]
            found = _one_by_one(parts) if self.relevant[depth] else _staying(parts)
        self.memo[key] = found
        return found

    def climbed(
        self, depth: int, now: Extents, progression: BandProgression
    ) -> Iterator[_BandedStreams]:
        """Streams that are together all of a progression."""

        def at(number: int) -> _BandedStream:
            return self.visit(depth + 1, now, progression.at(number))

        if not progression.moved or self.grain[depth + 1] == 0:
            # Where no tile further inside is left out, it does not matter where the band is.
            yield _alike(progression.count, progression.first, at(0))
            return
        done = 0
        for stretch in stretches(progression, self.repeat_periods[depth]):
            begin, end, period = stretch.begin, stretch.end, stretch.period
            self.walked.add(3 * period)
            long = _growing(progression.first + begin, end - begin, period, _shifted(at, begin))
            if long is not None:
                yield from (_alike(1, progression.first + n, at(n)) for n in range(done, begin))
                yield long
                done = end
        self.walked.add(progression.count - done)
        yield from (_alike(1, progression.first + n, at(n)) for n in range(done, progression.count))


def _shifted(at: Callable[[int], _T], by: int) -> Callable[[int], _T]:
    """A function of a number counted from another one."""
    return lambda number: at(by + number)


def _one_by_one(parts: list[_BandedStreams]) -> _BandedStream:
    """Every iteration has a tile of its own."""
    head, tail = parts[0], parts[-1]
    # A tile's name: the iteration of this loop, and its name inside.
    first = (head.begin, *head.head.first)
    last = (tail.begin + tail.iterations - 1, *tail.tail.last)
    return _BandedStream(sum(p.total for p in parts), head.head.size, first, last)


def _staying(parts: list[_BandedStreams]) -> _BandedStream:
    """Repetitions of a stream: a tile that is still there is not delivered again."""
    total = 0
    before: _BandedStreams | None = None
    for part in parts:
        total += part.total - part.again
        if before is not None and before.tail.last == part.head.first:
            total -= part.head.size
        before = part
    head, tail = parts[0].head, parts[-1].tail
    return _BandedStream(total, head.size, head.first, tail.last)


@lru_cache(maxsize=1 << 8)
def windowed_distinct(
    loops: tuple[Loop, ...],
    counted: tuple[bool, ...],
    extents: Extents,
    window: Window,
    size: Callable[[Extents], int],
) -> int:
    """The sum of ``size`` over the distinct indices of the ``counted`` loops of a nest.

    Any other loop is entered once, in its fullest iteration. Along the window's ranks that
    is found last, among those that hold a point for the indices counted. ``size`` is no
    less for a larger tile.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    counted : tuple of bool
        Whether each loop's iterations are told apart.
    extents : Extents
        What is left of every axis outside all loops.
    window : Window
        The band outside of which iterations are left out.
    size : callable
        What one iteration counts, given what the loops leave of each axis.
    """
    if all(counted):
        return windowed_points(loops, extents, window, size)
    if window.box.empty:
        return 0
    loops, counted = _postponed(loops, counted, window)
    loops, counted, governed = coalesced(loops, counted, window.governed)
    walk = _Distinct(loops, counted, replace(window, governed=governed), size)
    return walk.visit(0, extents, None if window.box.full else window.box.trimmed())


class _Distinct:
    """The walk of ``windowed_distinct``."""

    def __init__(
        self,
        loops: tuple[Loop, ...],
        counted: tuple[bool, ...],
        window: Window,
        size: Callable[[Extents], int],
    ) -> None:
        self.loops = loops
        self.counted = counted
        self.window = window
        self.size = size
        self.memo: dict[tuple[int, Extents, Box | None], int] = {}
        self.grain = window.grain(loops)
        self.repeat_periods = repeat_periods(loops, window)
        self.walked = _Walked()
        along = [window.side(loop.axis) is not None for loop in loops]
        self.late = max((d + 1 for d, c in enumerate(counted) if c and along[d]), default=0)
        inner = zip(loops[self.late :], along[self.late :], strict=True)
        self.entered = {loop.axis for loop, a in inner if a}

    def anywhere(self, depth: int, now: Extents) -> int | None:
        """What loops inside that are entered once come to, wherever they are in the window.

        The largest tile holds as much as the smallest, so all do; None: it does not.
        """
        # ``size`` grows with the tile, so equal values at both ends are equal in between.
        least = tuple(1 if axis in self.entered else x for axis, x in enumerate(now))
        value = self.visit(depth, now, None)
        return value if value == self.visit(depth, least, None) else None

    def visit(self, depth: int, now: Extents, box: Box | None) -> int:
        """The sum over the loops from one on."""
        if depth == self.window.governed:
            box = None
        if depth == len(self.loops):
            return self.size(now)
        if box is not None:
            box = box.coarse(self.grain[depth])
        key = (depth, now, box)
        if (known := self.memo.get(key)) is not None:
            return known
        loop = self.loops[depth]
        found = [
            part
            for progression in progressions(
                now[loop.axis], loop.stride, box, self.window.side(loop.axis)
            )
            for part in self.climbed(depth, inside(now, loop, progression.extent), progression)
        ]
        if self.counted[depth]:
            self.memo[key] = sum(total for total, _ in found)
        else:
            self.memo[key] = max(most for _, most in found)
        return self.memo[key]

    def climbed(
        self, depth: int, now: Extents, progression: BandProgression
    ) -> Iterator[tuple[int, int]]:
        """Sums and the largest values of iterations, together all of a progression."""

        def at(number: int) -> int:
            return self.visit(depth + 1, now, progression.at(number))

        if not progression.moved or self.grain[depth + 1] == 0:
            value = at(0)
            yield progression.count * value, value
            return
        if depth + 1 >= self.late and (same := self.anywhere(depth + 1, now)) is not None:
            yield progression.count * same, same
            return
        done = 0
        for stretch in stretches(progression, self.repeat_periods[depth]):
            self.walked.add(3 * stretch.period)
            if long := _sum_and_most(stretch, at):
                yield from ((at(n), at(n)) for n in range(done, stretch.begin))
                yield long
                done = stretch.end
        self.walked.add(progression.count - done)
        yield from ((at(n), at(n)) for n in range(done, progression.count))


def _sum_and_most(stretch: EvenStretch, at: Callable[[int], int]) -> tuple[int, int] | None:
    """The sum and the largest of values that grow as much every period; None: they do not."""
    begin, end, period = stretch.begin, stretch.end, stretch.period
    first, second, last = (
        [at(start + n) for n in range(period)] for start in (begin, begin + period, end - period)
    )
    total = sum_of_progressions(first, second, last, times=(end - begin) // period)
    return None if total is None else (total, max(*first, *last))


def _postponed(
    loops: tuple[Loop, ...], counted: tuple[bool, ...], window: Window
) -> tuple[tuple[Loop, ...], tuple[bool, ...]]:
    """Loops along the window's ranks behind the other governed ones, those not counted last."""
    # Distinct indices are a set, so the order of loops does not matter to their number; but
    # what is entered once must choose its fullest iteration for each index counted. Taken for
    # granted: of several loops along one axis the outer ones are those counted.
    pairs = list(zip(loops, counted, strict=True))
    governed, rest = pairs[: window.governed], pairs[window.governed :]
    free = [(x, c) for x, c in governed if window.side(x.axis) is None]
    along = [(x, c) for x, c in governed if window.side(x.axis) is not None]
    # Those along one rank one after the other, so that they can be one.
    behind = sorted(along, key=lambda pair: (not pair[1], pair[0].axis))
    order = [*free, *behind, *rest]
    return tuple(x for x, _ in order), tuple(c for _, c in order)
