"""Bands of masked iteration spaces: points, tiles that hold any, and unions of several bands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations
from math import gcd
from typing import NamedTuple

from .loops import Loop, iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """``low <= plus - minus <= high`` between two ranks' coordinates (or of one)."""

    plus: str
    minus: str | None
    low: int
    high: int


class Box(NamedTuple):
    """``low <= x - y <= high`` for x in ``[0, plus)`` and y in ``[0, minus)``, in elements.

    A tuple, since walks over tiles look up millions of them. A causal mask of 4 keys (x) and 4
    queries (y) lets through those with ``x - y <= 0``. Of its tiles of 2 keys the second
    begins with the queries from 2 on:

    >>> causal = Box(-3, 0, 4, 4)
    >>> causal.points, causal.tile(1, 2, plus=True).points
    (10, 3)
    """

    low: int
    high: int
    plus: int
    minus: int

    @property
    def empty(self) -> bool:
        """Whether no point is inside the band."""
        # Over the box x - y goes from 1 - minus to plus - 1.
        return self.low > min(self.high, self.plus - 1) or self.high < 1 - self.minus

    @property
    def full(self) -> bool:
        """Whether every point is inside the band."""
        return self.low <= 1 - self.minus and self.high >= self.plus - 1

    @property
    def points(self) -> int:
        """How many points are inside the band, in closed form."""
        if self.low > self.high:
            return 0
        return self._up_to(self.high) - self._up_to(self.low - 1)

    def _up_to(self, bound: int) -> int:
        """Points with ``x - y <= bound``: for each y, ``bound + y + 1`` of x, cut to the box."""
        return _staircase(bound + 1 + self.minus, self.plus) - _staircase(bound + 1, self.plus)

    def trimmed(self) -> Box:
        """The same points, with bounds no wider than the box.

        Boxes of the same points so become equal, and what is counted in one is found again.
        """
        low, high, plus, minus = self
        # Compared, not by min and max: walks over tiles come here millions of times.
        least, most = 1 - minus, plus - 1
        return Box(low if low > least else least, high if high < most else most, plus, minus)

    def coarse(self, size: int) -> Box:
        """A box of which the same tiles hold a point, and the same are full.

        Boxes that no tile tells apart so become equal. The edges move to the corners of tiles
        that they pass next; a band that lies between such corners stays as it is.

        >>> Box(-7, -1, 8, 8).coarse(4) == Box(-7, 0, 8, 8).coarse(4)
        True

        Parameters
        ----------
        size : int
            Elements of which all tiles are multiples, along x and y, but for ragged last ones;
            0: nothing is cut any more.
        """
        if size == 0:
            return _PARTIAL_BOX
        if size == 1:
            return self
        low, high, plus, minus = self
        # Tile (i, j) of S by S holds a point from high = (i - j - 1)*S + 1 on and is full from (i -
        # j + 1)*S - 1 on; ragged last ones from some n*S + 1 - minus, or n*S + plus - 1, on.
        # ``high`` goes down to the next of these, and ``low``, of which the same is true backwards,
        # up.
        one, end = 1 - minus, plus - 1  # corners, beside 1 and -1
        high -= min((high - 1) % size, (high - one) % size, (high + 1) % size, (high - end) % size)
        low += min((1 - low) % size, (one - low) % size, (-1 - low) % size, (end - low) % size)
        return Box(low, high, plus, minus) if low <= high else self

    def tile(self, index: int, size: int, *, plus: bool) -> Box:
        """The box that one iteration of a loop over an axis leaves.

        Parameters
        ----------
        index, size : int
            The iteration's number from 0, and elements of the band's rank in one.
        plus : bool
            Whether the loop goes along x; else it goes along y.
        """
        moved = index * size
        if plus:
            left = min(size, self.plus - moved)
            return Box(self.low - moved, self.high - moved, left, self.minus).trimmed()
        left = min(size, self.minus - moved)
        return Box(self.low + moved, self.high + moved, self.plus, left).trimmed()

    def touched(self, size: int, *, plus: bool) -> tuple[int, int]:
        """First and last tile of a length that can hold a point (as if all were whole).

        The numbers may lie outside the loop: whoever asks cuts them to its iterations.

        >>> Box(-7, 0, 8, 8).touched(2, plus=True), Box(-7, -4, 8, 8).touched(2, plus=True)
        ((-4, 3), (-4, 1))

        Parameters
        ----------
        size : int
            Elements of the band's rank in a tile.
        plus : bool
            Whether tiles are cut along x; else along y.
        """
        if plus:
            # Tile i has x from i*size to i*size + size - 1: some x - y reaches ``low`` with the
            # last x and y = 0, and is no more than ``high`` with the first x and the last y.
            return _ceil(self.low - size + 1, size), (self.high + self.minus - 1) // size
        return _ceil(1 - size - self.high, size), (self.plus - 1 - self.low) // size

    def covered(self, size: int, *, plus: bool) -> tuple[int, int]:
        """First and last tile of a length that the band covers (as if all were whole).

        Parameters
        ----------
        size : int
            Elements of the band's rank in a tile.
        plus : bool
            Whether tiles are cut along x; else along y.

        Returns
        -------
        tuple of (int, int)
            Uncut, as of ``touched``; the first is after the last where no tile is covered.
        """
        if plus:
            # As ``touched``, of all x and y: the first x and last y reach ``low``, the last x and y
            # = 0 are no more than ``high``.
            return _ceil(self.low + self.minus - 1, size), (self.high - size + 1) // size
        return _ceil(self.plus - 1 - self.high, size), (1 - size - self.low) // size


_PARTIAL_BOX = Box(0, 0, 2, 2)
"""A box that is neither empty nor full."""


def _staircase(end: int, width: int) -> int:
    """The sum of ``j`` cut to ``[0, width]`` over all whole ``j < end``."""
    top = min(max(end, 0), width)
    return top * (top - 1) // 2 + width * max(end - width, 0)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A band between two ranks, over the loops of an Einsum.

    Parameters
    ----------
    plus, minus : int or None
        Numbers of the axes whose coordinates are subtracted. None: the Einsum does not go
        along that rank, and does what it does for all of it (or the band is of one rank).
    plus_scale, minus_scale : int
        Elements per unit of each axis (an Einsum may go along a rank tile by tile).
    box : Box
        The whole iteration space.
    governed : int
        How many of the temporal loops, from the outermost, leave out what is empty.
    """

    plus: int | None
    minus: int | None
    plus_scale: int = 1
    minus_scale: int = 1
    box: Box
    governed: int

    def grain(self, loops: tuple[Loop, ...]) -> list[int]:
        """By how many loops are outside, elements of which all tiles inside are multiples.

        0 where the window leaves nothing out any more (``Box.coarse``).
        """
        found = [0]
        for loop in reversed(loops[: self.governed]):
            side = self.side(loop.axis)
            found.append(found[-1] if side is None else gcd(found[-1], loop.stride * side[1]))
        return [*reversed(found), *[0] * (len(loops) - self.governed)]

    def side(self, axis: int) -> tuple[bool, int] | None:
        """Whether an axis is added or subtracted, and its scale; None: it is neither."""
        if axis == self.plus:
            return True, self.plus_scale
        return (False, self.minus_scale) if axis == self.minus else None

    def holds(self, begin: tuple[int, ...], extents: tuple[int, ...]) -> bool:
        """Whether a tile holds any point.

        Parameters
        ----------
        begin, extents : tuple of int
            Where the tile begins along every axis and how long it is, in elements of the axis.
        """
        x, wide = self._elements(self.plus, self.plus_scale, self.box.plus, begin, extents)
        y, deep = self._elements(self.minus, self.minus_scale, self.box.minus, begin, extents)
        moved = x - y
        return not Box(self.box.low - moved, self.box.high - moved, wide, deep).empty

    def _elements(
        self,
        axis: int | None,
        scale: int,
        whole: int,
        begin: tuple[int, ...],
        extents: tuple[int, ...],
    ) -> tuple[int, int]:
        """First element of a tile along one of the ranks, and how many there are."""
        if axis is None:
            return 0, whole
        first = begin[axis] * scale
        return first, min(extents[axis] * scale, whole - first)


@dataclass(frozen=True, slots=True)
class Run:
    """Iterations of a loop that are alike: ``count`` from the one numbered ``first``.

    ``extent`` is what each leaves of the loop's axis; ``box`` None: all points are in.
    """

    count: int
    first: int
    extent: int
    box: Box | None


@dataclass(frozen=True, slots=True)
class BandProgression:
    """Iterations of a loop in which the band moves by as much every time.

    ``count`` of them from the one numbered ``first``; ``extent`` is what each leaves of the
    loop's axis. ``box`` is the first one's, its bounds as they come; None: all points are in.
    """

    count: int
    first: int
    extent: int
    box: Box | None
    moved: int = 0

    def at(self, number: int) -> Box | None:
        """What the iteration of a number, from 0, has left of the band; None: all points."""
        if self.box is None:
            return None
        low, high, plus, minus = self.box
        by = number * self.moved
        low, high, least, most = low + by, high + by, 1 - minus, plus - 1
        if low <= least:
            if high >= most:
                return None
            low = least
        # As ``trimmed`` has it, of which there are very many.
        return Box(low, high if high < most else most, plus, minus)


@lru_cache(maxsize=1 << 14)
def progressions(
    extent: int, stride: int, box: Box | None, side: tuple[bool, int] | None
) -> tuple[BandProgression, ...]:
    """Iterations of a loop that hold any point, in as few progressions as there are.

    Tiles of 2 keys under a causal mask of 8 by 8 are all on its edge; each begins 2 later:

    >>> (found,) = progressions(8, 2, Box(-7, 0, 8, 8), (True, 1))
    >>> found.count, found.moved, [found.at(n).points for n in range(4)]
    (4, -2, [15, 11, 7, 3])

    Parameters
    ----------
    extent, stride : int
        What is left of the loop's axis, and what one iteration takes of it.
    box : Box or None
        What loops outside have left of the band; None: every point is in.
    side : (bool, int) or None
        As ``Window.side`` of the loop's axis.
    """
    if box is None or side is None:
        return tuple(_whole(extent, stride, 0, iterations(extent, stride) - 1, box))
    plus, scale = side
    size = stride * scale
    count = iterations(extent, stride)
    first, last = box.touched(size, plus=plus)
    first, last = max(first, 0), min(last, count - 1)
    # The ragged last tile was taken for a whole one: the band may miss what there is of it.
    if last == count - 1 and first <= last and box.tile(last, size, plus=plus).empty:
        last -= 1
    begin, end = box.covered(size, plus=plus)
    begin, end = max(begin, first), min(end, last)
    if begin > end:
        # None is covered: all are on an edge, and go into the first of the three.
        begin, end = last + 1, last
    return (
        *_moving(extent, stride, box, size, plus, range(first, begin)),
        *_whole(extent, stride, begin, end, None),
        *_moving(extent, stride, box, size, plus, range(max(begin, end + 1), last + 1)),
    )


def runs(
    extent: int, stride: int, box: Box | None, side: tuple[bool, int] | None
) -> tuple[Run, ...]:
    """``progressions``, with every iteration that differs from its neighbours by itself.

    Parameters
    ----------
    extent, stride, box, side
        As of ``progressions``.
    """
    found: list[Run] = []
    for progression in progressions(extent, stride, box, side):
        if not progression.moved:
            found.append(
                Run(progression.count, progression.first, progression.extent, progression.at(0))
            )
            continue
        numbers = range(progression.count)
        found += [
            Run(1, progression.first + n, progression.extent, progression.at(n)) for n in numbers
        ]
    return tuple(found)


def _whole(
    extent: int, stride: int, first: int, last: int, box: Box | None
) -> Iterator[BandProgression]:
    """Iterations that are alike but for a ragged last one."""
    if first > last:
        return
    rest = extent - last * stride
    if rest >= stride:
        yield BandProgression(last - first + 1, first, stride, box)
        return
    if last > first:
        yield BandProgression(last - first, first, stride, box)
    yield BandProgression(1, last, rest, box)


def _moving(
    extent: int, stride: int, box: Box, size: int, plus: bool, numbers: range
) -> Iterator[BandProgression]:
    """Iterations on the edges of the band, a ragged last one apart."""
    if not numbers:
        return
    end = (numbers[-1] + 1) * size
    ragged = end > (box.plus if plus else box.minus)
    whole = len(numbers) - ragged
    if whole:
        moved = -size if plus else size
        by = numbers[0] * moved
        wide, deep = (size, box.minus) if plus else (box.plus, size)
        # Not trimmed: ``at`` moves these bounds, and what the first tile cuts off the next needs.
        raw = Box(box.low + by, box.high + by, wide, deep)
        yield BandProgression(whole, numbers[0], stride, raw, moved if whole > 1 else 0)
    if ragged:
        inner = box.tile(numbers[-1], size, plus=plus)
        if not inner.empty:
            left = min(stride, extent - numbers[-1] * stride)
            yield BandProgression(1, numbers[-1], left, None if inner.full else inner)


class BandStrip(NamedTuple):
    """``low <= x - row <= high`` for x from ``first`` up to ``last`` and rows from ``begin`` up to
    ``end``, all of them included."""

    low: int
    high: int
    first: int
    last: int
    begin: int
    end: int

    def both(self, other: BandStrip) -> BandStrip:
        """What another lets through, too."""
        (low, high, first, last, begin, end), o = self, other
        return BandStrip(
            max(low, o.low),
            min(high, o.high),
            max(first, o.first),
            min(last, o.last),
            max(begin, o.begin),
            min(end, o.end),
        )

    def until(self, row: int) -> int:
        """Points of all rows before one."""
        rows, wide = min(row, self.end + 1) - self.begin, self.last - self.first + 1
        if rows <= 0 or wide <= 0:
            return 0
        moved = self.begin - self.first
        return Box(self.low + moved, self.high + moved, wide, rows).points


def points_until(strips: Iterable[BandStrip], row: int) -> int:
    """Points in any of some strips, of all rows before one: those of each, less those of each two,
    and so on.

    Parameters
    ----------
    strips : iterable of Strip
    row : int

    Examples
    --------
    Of 8 keys the first 3 are seen by all, others by later queries:

    >>> far = 1 << 60
    >>> seen = [BandStrip(-far, 0, 0, 7, 0, far), BandStrip(-far, far, 0, 2, 0, far)]
    >>> [points_until(seen, row) for row in range(6)]
    [0, 3, 6, 9, 13, 18]
    """
    known = tuple(dict.fromkeys(strips))
    chosen = (c for n in range(1, len(known) + 1) for c in combinations(known, n))
    return sum((-1) ** (1 + len(c)) * reduce(BandStrip.both, c).until(row) for c in chosen)
