"""Long progressions of tiles along a band, added up by a few of them.

Where a band goes straight through what loops inside have left, the next iteration but
``period`` finds the same tiles, only farther along and with so many more (or fewer) in
between: what it counts grows by as much every time. The edges of a band are four lines
through the corners of its box; between two of them, and some tiles away, that is so.
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
    """How iterations of a loop repeat: after ``period`` of them, ``reach`` away from edges."""

    period: int
    reach: int


def beats(loops: tuple[Loop, ...], window: Window) -> tuple[Beat, ...]:
    """The beat of every loop of a nest, from the tiles of the loops inside it."""
    found: list[Beat] = []
    for depth, loop in enumerate(loops):
        side = window.side(loop.axis)
        inner = loops[depth + 1 : window.governed]
        if side is None:
            found.append(Beat(1, 1))
            continue
        across = [_elements(x, window) for x in inner if x.axis != loop.axis]
        sizes = [size for size in across if size]
        tile = max(_elements(loop, window), 1)
        period = lcm(*sizes, tile) // tile if sizes else 1
        found.append(Beat(period, 2 * period + max(sizes, default=0) // tile + 2))
    return tuple(found)


def _elements(loop: Loop, window: Window) -> int:
    """Elements of the band's rank in one iteration of a loop; 0: it is along neither."""
    side = window.side(loop.axis)
    return 0 if side is None else loop.stride * side[1]


def stretches(progression: BandProgression, beat: Beat) -> Iterator[tuple[int, int]]:
    """Begin and end of the iterations of a progression that repeat, whole periods of them each."""
    assert progression.box is not None, "a progression moves along an edge"
    low, high, plus, minus = progression.box
    corners = (1 - minus, 0, plus - minus, plus - 1)
    crossed = {(corner - edge) // progression.moved for corner in corners for edge in (low, high)}
    marks = sorted({0, progression.count, *(n for n in crossed if 0 < n < progression.count)})
    for mark, following in pairwise(marks):
        begin, end = mark + beat.reach, following - beat.reach
        end -= (end - begin) % beat.period
        if end - begin >= 4 * beat.period:
            yield begin, end


def grown(
    first: Sequence[int], second: Sequence[int], last: Sequence[int], times: int
) -> int | None:
    """The sum of several progressions of ``times`` terms; None where one is none.

    Each is given by its first two terms and its last.
    """
    total = 0
    for a, b, end in zip(first, second, last, strict=True):
        if a + (b - a) * (times - 1) != end:
            return None
        total += times * a + (b - a) * (times * (times - 1) // 2)
    return total
