"""Long progressions of tiles along a band, added up by a few of them.

Where a band goes straight through what loops inside have left, the next iteration but
``period`` finds the same tiles, only farther along and with so many more (or fewer) in
between: what it counts grows by as much every time. The edges of a band are four lines
through the corners of its box; between two of them, and some tiles away, that is so.
Inside a much larger tile the band goes as straight from one of its corners to the next: there
the period is that of the smaller tiles alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm

from .bands import BandProgression, Window
from .iteration import Loop


@dataclass(frozen=True, slots=True)
class Beat:
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


def beats(loops: tuple[Loop, ...], window: Window) -> tuple[tuple[Beat, ...], ...]:
    """The beats of every loop of a nest, from the tiles of the loops inside it.

    The first one goes by all tiles, each further one past fewer of those that are large.
    """
    found: list[tuple[Beat, ...]] = []
    for depth, loop in enumerate(loops):
        side = window.side(loop.axis)
        inner = loops[depth + 1 : window.governed]
        if side is None:
            found.append((Beat(1, 1),))
            continue
        across = {_elements(x, window) for x in inner if x.axis != loop.axis} - {0}
        tile = max(_elements(loop, window), 1)
        larger = sorted((size for size in across if size > tile), reverse=True)
        found.append(tuple(_beat(tile, across, larger[:n]) for n in range(len(larger) + 1)))
    return tuple(found)


def _beat(tile: int, across: set[int], passed: Sequence[int]) -> Beat:
    """The beat of a loop's tiles, from corner to corner of some of the tiles inside."""
    sizes = across.difference(passed)
    period = lcm(*sizes, tile) // tile
    return Beat(period, 2 * period + max(sizes, default=0) // tile + 2, tuple(passed))


def _elements(loop: Loop, window: Window) -> int:
    """Elements of the band's rank in one iteration of a loop; 0: it is along neither."""
    side = window.side(loop.axis)
    return 0 if side is None else loop.stride * side[1]


def stretches(progression: BandProgression, beats: Sequence[Beat]) -> tuple[EvenStretch, ...]:
    """Iterations of a progression that repeat, by that beat which leaves the fewest to go to."""
    found: tuple[EvenStretch, ...] = ()
    left = progression.count
    for beat in beats:
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


def _stretches(progression: BandProgression, beat: Beat) -> Iterator[EvenStretch]:
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


def grown(
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

    >>> grown([1, 10], [2, 10], [4, 10], times=4)  # 1 + 2 + 3 + 4, and four times 10
    50
    """
    total = 0
    for a, b, end in zip(first, second, last, strict=True):
        if a + (b - a) * (times - 1) != end:
            return None
        total += times * a + (b - a) * (times * (times - 1) // 2)
    return total
