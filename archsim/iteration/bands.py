"""Bands of masked iteration spaces: their points, the tiles with points, and unions of bands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import combinations
from math import gcd
from typing import NamedTuple

from .loops import Loop, iterations


@dataclass(frozen=True, slots=True, kw_only=True)
class RankBand:
    """Points with ``low <= plus - minus <= high``, for the coordinates of two ranks, or of one."""

    plus: str
    minus: str | None
    low: int
    high: int

    def swapped(self) -> RankBand:
        """Return the same band, written with its two ranks exchanged."""
        assert self.minus is not None, "a band of one rank cannot be swapped"
        return RankBand(plus=self.minus, minus=self.plus, low=-self.high, high=-self.low)

    def intersection(self, other: RankBand) -> RankBand | None:
        """Return the band of points in both bands; None if the bands compare different ranks."""
        if (self.plus, self.minus) == (other.minus, other.plus):
            other = other.swapped()
        if (self.plus, self.minus) != (other.plus, other.minus):
            return None
        return replace(self, low=max(self.low, other.low), high=min(self.high, other.high))

    def over(self, shapes: Mapping[str, int]) -> Band:
        """Return the band inside the box of all coordinates of its ranks."""
        rows = 1 if self.minus is None else shapes[self.minus]
        return Band(self.low, self.high, shapes[self.plus], rows)

    def widened_to(self, ranks: RankBand, shapes: Mapping[str, int]) -> RankBand | None:
        """Return the narrowest band that compares another band's ranks and contains this band.

        For queries p from 0 on ``m < L`` implies ``m - p < L``. Return None if there is none.
        """
        if (self.plus, self.minus) == (ranks.plus, ranks.minus):
            return self
        if (self.plus, self.minus) == (ranks.minus, ranks.plus):
            return self.swapped()
        if self.minus is not None or ranks.minus is None:
            return None
        if self.plus == ranks.plus:
            return replace(ranks, low=self.low - (shapes[ranks.minus] - 1), high=self.high)
        if self.plus == ranks.minus:
            return replace(ranks, low=-self.high, high=shapes[ranks.plus] - 1 - self.low)
        return None


def enclosing_band(bands: Sequence[RankBand], shapes: Mapping[str, int]) -> RankBand | None:
    """Return the narrowest band around several bands; None if they compare different ranks."""
    ranks = next((b for b in bands if b.minus is not None), bands[0])
    found = [wide for b in bands if (wide := b.widened_to(ranks, shapes)) is not None]
    if len(found) < len(bands):
        return None
    return replace(ranks, low=min(b.low for b in found), high=max(b.high for b in found))


class Band(NamedTuple):
    """Points ``low <= x - y <= high`` of a box: x in ``[0, columns)``, y in ``[0, rows)``.

    Coordinates count elements. A named tuple is fast to compare: walks over tiles look up millions
    of bands. A causal mask of 4 keys (x) and 4 queries (y) keeps the points ``x - y <= 0``. The
    second of its tiles of 2 keys begins with query 2:

    >>> causal = Band(-3, 0, 4, 4)
    >>> causal.points, causal.tile(1, 2, along_x=True).points
    (10, 3)
    """

    low: int
    high: int
    columns: int
    rows: int

    @property
    def empty(self) -> bool:
        """True if no point is inside the band."""
        # Over the box x - y goes from 1 - rows to columns - 1.
        return self.low > min(self.high, self.columns - 1) or self.high < 1 - self.rows

    @property
    def full(self) -> bool:
        """True if every point of the box is inside the band."""
        return self.low <= 1 - self.rows and self.high >= self.columns - 1

    @property
    def points(self) -> int:
        """Number of points inside the band, in closed form."""
        if self.low > self.high:
            return 0
        return self._up_to(self.high) - self._up_to(self.low - 1)

    def _up_to(self, bound: int) -> int:
        """Count the points with ``x - y <= bound``: each row y has ``bound + y + 1``, cut to the
        box."""
        return _staircase(bound + 1 + self.rows, self.columns) - _staircase(bound + 1, self.columns)

    def swapped(self) -> Band:
        """Return the band with x and y exchanged."""
        return Band(-self.high, -self.low, self.rows, self.columns)

    def trimmed(self) -> Band:
        """Return the band with equal points whose bounds are no wider than the box.

        Bands with equal points become equal, so that a cache finds the counts of either.
        """
        low, high, columns, rows = self
        # Comparisons are faster than min and max here; walks over tiles trim millions of bands.
        lowest, highest = 1 - rows, columns - 1
        return Band(
            low if low > lowest else lowest, high if high < highest else highest, columns, rows
        )

    def coarse(self, size: int) -> Band:
        """Return a wider or narrower band that touches, and fills, exactly the tiles that this band
        does.

        Bands that no tile distinguishes become equal. Both edges move to the next corners of tiles;
        a band that lies between such corners stays as it is.

        >>> Band(-7, -1, 8, 8).coarse(4) == Band(-7, 0, 8, 8).coarse(4)
        True

        Parameters
        ----------
        size : int
            Elements that divide the size of every tile along x and y, except ragged last tiles; 0
            if nothing is cut any more.
        """
        if size == 0:
            return _PARTIAL_BAND
        if size == 1:
            return self
        low, high, columns, rows = self
        # Tile (i, j) of S by S holds a point from high = (i - j - 1)*S + 1 on, and is full from
        # high = (i - j + 1)*S - 1 on. Ragged last tiles do so from some n*S + 1 - rows, or n*S +
        # columns - 1, on. ``high`` goes down to the next of these. ``low``, with everything
        # mirrored, goes up.
        one, end = 1 - rows, columns - 1  # corners, in addition to 1 and -1
        high -= min((high - 1) % size, (high - one) % size, (high + 1) % size, (high - end) % size)
        low += min((1 - low) % size, (one - low) % size, (-1 - low) % size, (end - low) % size)
        return Band(low, high, columns, rows) if low <= high else self

    def tile(self, index: int, size: int, *, along_x: bool) -> Band:
        """Return the part of the band that one iteration of a loop over an axis covers.

        Parameters
        ----------
        index, size : int
            Number of the iteration from 0, and elements of the rank in one iteration.
        along_x : bool
            True if the loop goes along x, else along y.
        """
        moved = index * size
        if along_x:
            left = min(size, self.columns - moved)
            return Band(self.low - moved, self.high - moved, left, self.rows).trimmed()
        left = min(size, self.rows - moved)
        return Band(self.low + moved, self.high + moved, self.columns, left).trimmed()

    def tiles_with_points(self, size: int) -> tuple[int, int]:
        """Return the numbers of the first and the last tile along x that can hold a point, if all
        tiles were whole.

        The numbers may lie outside the loop; the caller clips them to the loop's iterations.

        >>> bands = Band(-7, 0, 8, 8), Band(-7, -4, 8, 8)
        >>> tuple(band.tiles_with_points(2) for band in bands)
        ((-4, 3), (-4, 1))

        Parameters
        ----------
        size : int
            Elements of the rank in a tile.
        """
        # Tile i has x from i*size to i*size + size - 1. Its last x and y = 0 must reach ``low``.
        # Its first x and the last y must not exceed ``high``.
        return _ceil(self.low - size + 1, size), (self.high + self.rows - 1) // size

    def full_tiles(self, size: int) -> tuple[int, int]:
        """Return the numbers of the first and the last tile along x inside the band, if all tiles
        were whole.

        Parameters
        ----------
        size : int
            See ``tiles_with_points``.

        Returns
        -------
        tuple of (int, int)
            Not clipped; the first exceeds the last if no tile is covered.
        """
        # Every x - y of the tile lies between two corners. The first x and the last y must reach
        # ``low``. The last x and y = 0 must not exceed ``high``.
        return _ceil(self.low + self.rows - 1, size), (self.high - size + 1) // size


_PARTIAL_BAND = Band(0, 0, 2, 2)
"""Example of a band that is neither empty nor full."""


@lru_cache(maxsize=1 << 12)
def coverage(band: Band, wide: int, deep: int, *, most_columns: int) -> Fraction:
    """Return the share of tiles that hold a point, for tiles of ``wide`` by ``deep`` elements.

    The share is at least that of one tile.

    Of 4 x 4 tiles of two keys and two queries a causal mask touches ten, a window of two seven:

    >>> causal, window = Band(-7, 0, 8, 8), Band(-1, 0, 8, 8)
    >>> [str(coverage(band, 2, 2, most_columns=256)) for band in (causal, window)]
    ['5/8', '7/16']

    Parameters
    ----------
    wide, deep : int
        Elements of a tile along x and along y.
    most_columns : int
        Columns of tiles that are looked at; of more columns an even sample is.
    """
    count = iterations(band.columns, wide)
    every = iterations(count, most_columns)
    found = covered_tiles(*band, wide, deep, every)
    return Fraction(max(1, found), iterations(count, every) * iterations(band.rows, deep))


def covered_tiles(
    low: int, high: int, columns: int, rows: int, wide: int, deep: int, every: int
) -> int:
    """Count the tiles that hold a point of a band, in every ``every``-th column of tiles.

    The search also compiles this function, so its arguments are plain integers.

    Parameters
    ----------
    low, high, columns, rows : int
        Fields of a ``Band``.
    wide, deep : int
        Elements of a tile along x and along y.
    every : int
        Columns of tiles from one counted column to the next.
    """
    found = 0
    for first in range(0, columns, every * wide):
        last = min(columns, first + wide) - 1
        # Neighbouring columns of points overlap in y, so no tile between the ends is empty.
        begin, end = max(0, first - high), min(rows - 1, last - low)
        if begin <= end:
            found += end // deep - begin // deep + 1
    return found


def _staircase(end: int, width: int) -> int:
    """Return the sum of ``j`` clipped to ``[0, width]`` over all integers ``j < end``."""
    top = min(max(end, 0), width)
    return top * (top - 1) // 2 + width * max(end - width, 0)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


class BoxedBand(NamedTuple):
    """Points with ``low <= x - y <= high`` whose x and y are in closed intervals, anywhere in the
    plane."""

    low: int
    high: int
    first_x: int
    last_x: int
    first_y: int
    last_y: int

    def intersection(self, other: BoxedBand) -> BoxedBand:
        """Return the band of the points that lie in both bands."""
        low, high, first_x, last_x, first_y, last_y = other
        return BoxedBand(
            max(self.low, low),
            min(self.high, high),
            max(self.first_x, first_x),
            min(self.last_x, last_x),
            max(self.first_y, first_y),
            min(self.last_y, last_y),
        )

    def points_before(self, row: int) -> int:
        """Count the points whose y is below ``row``."""
        rows = min(row, self.last_y + 1) - self.first_y
        columns = self.last_x - self.first_x + 1
        if rows <= 0 or columns <= 0:
            return 0
        moved = self.first_y - self.first_x
        return Band(self.low + moved, self.high + moved, columns, rows).points


def signed_intersections(bands: Iterable[BoxedBand]) -> tuple[tuple[int, BoxedBand], ...]:
    """Return intersections of bands with the signs that inclusion and exclusion gives them.

    The signed sum of their points counts every point of the union once. Of 8 keys (x) every query
    (y) sees the first 3, and later queries see more:

    >>> far = 1 << 60
    >>> seen = (BoxedBand(-far, 0, 0, 7, 0, far), BoxedBand(-far, far, 0, 2, 0, far))
    >>> parts = signed_intersections(seen)
    >>> [sum(sign * band.points_before(row) for sign, band in parts) for row in range(6)]
    [0, 3, 6, 9, 13, 18]
    """
    distinct = tuple(dict.fromkeys(bands))
    chosen = (c for n in range(1, len(distinct) + 1) for c in combinations(distinct, n))
    return tuple(((-1) ** (1 + len(c)), reduce(BoxedBand.intersection, c)) for c in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Band of a mask, applied to the loops of an Einsum: iterations without a point are skipped.

    Parameters
    ----------
    plus, minus : int or None
        Numbers of the axes whose coordinates are subtracted. None: the band has one rank, or the
        Einsum has no loop along the rank and covers all of it.
    plus_scale, minus_scale : int
        Elements per unit of each axis (an Einsum may iterate over tiles of a rank).
    band : Band
        Band over the whole iteration space.
    governed : int
        Number of temporal loops, from the outermost, that skip empty iterations.
    """

    plus: int | None
    minus: int | None
    plus_scale: int = 1
    minus_scale: int = 1
    band: Band
    governed: int

    def grain(self, loops: tuple[Loop, ...]) -> list[int]:
        """Return, for each depth in the nest, a divisor of the sizes of all tiles from there
        inwards.

        The divisor is 0 where the window skips nothing any more (see ``Band.coarse``).
        """
        found = [0]
        for loop in reversed(loops[: self.governed]):
            side = self.side(loop.axis)
            found.append(found[-1] if side is None else gcd(found[-1], loop.stride * side[1]))
        return [*reversed(found), *[0] * (len(loops) - self.governed)]

    def side(self, axis: int) -> tuple[bool, int] | None:
        """Return whether the band adds an axis (False: subtracts it), and its scale; None for other
        axes."""
        if axis == self.plus:
            return True, self.plus_scale
        return (False, self.minus_scale) if axis == self.minus else None

    def holds(self, begin: tuple[int, ...], extents: tuple[int, ...]) -> bool:
        """Return whether a tile holds any point.

        Parameters
        ----------
        begin, extents : tuple of int
            Begin and length of the tile along every axis, in elements of the axis.
        """
        x, wide = self._elements(self.plus, self.plus_scale, self.band.columns, begin, extents)
        y, deep = self._elements(self.minus, self.minus_scale, self.band.rows, begin, extents)
        moved = x - y
        return not Band(self.band.low - moved, self.band.high - moved, wide, deep).empty

    def _elements(
        self,
        axis: int | None,
        scale: int,
        whole: int,
        begin: tuple[int, ...],
        extents: tuple[int, ...],
    ) -> tuple[int, int]:
        """Return a tile's first element along a rank of the band, and the number of its elements
        there."""
        if axis is None:
            return 0, whole
        first = begin[axis] * scale
        return first, min(extents[axis] * scale, whole - first)


EVERYTHING = Window(plus=None, minus=None, band=Band(0, 0, 1, 1), governed=0)
"""Window that skips nothing."""


@dataclass(frozen=True, slots=True)
class BandProgression:
    """Consecutive iterations of a loop in each of which the band has moved by a constant, maybe 0.

    There are ``count`` iterations from number ``first``. ``extent`` is what each covers of the
    loop's axis. ``band`` is the band of the first iteration, not trimmed; None: all points are
    inside.
    """

    count: int
    first: int
    extent: int
    band: Band | None
    moved: int = 0

    def at(self, number: int) -> Band | None:
        """Return the band in an iteration, numbered from 0; None if all points are inside."""
        if self.band is None:
            return None
        low, high, columns, rows = self.band
        by = number * self.moved
        low, high, lowest, highest = low + by, high + by, 1 - rows, columns - 1
        if low <= lowest:
            if high >= highest:
                return None
            low = lowest
        # Trim as ``trimmed`` does, without a call: there are very many.
        return Band(low, high if high < highest else highest, columns, rows)

    def part(self, number: int, count: int = 1) -> BandProgression:
        """Return ``count`` equal iterations of the progression, from ``number`` on; 0 is the
        first."""
        return BandProgression(count, self.first + number, self.extent, self.at(number))


@lru_cache(maxsize=1 << 14)
def progressions(
    extent: int, stride: int, band: Band | None, side: tuple[bool, int] | None
) -> tuple[BandProgression, ...]:
    """Return the iterations of a loop that hold any point, in as few progressions as possible.

    Tiles of 2 keys under a causal mask of 8 by 8 all lie on its edge; each begins 2 later:

    >>> (found,) = progressions(8, 2, Band(-7, 0, 8, 8), (True, 1))
    >>> found.count, found.moved, [found.at(n).points for n in range(4)]
    (4, -2, [15, 11, 7, 3])

    Parameters
    ----------
    extent, stride : int
        Elements of the loop's axis outside the loop, and in one iteration.
    band : Band or None
        Band inside the outer loops; None: every point is inside.
    side : (bool, int) or None
        Result of ``Window.side`` for the loop's axis.
    """
    if band is None or side is None:
        return tuple(_whole(extent, stride, 0, iterations(extent, stride) - 1, band))
    plus, scale = side
    size = stride * scale
    count = iterations(extent, stride)
    along = band if plus else band.swapped()
    first, last = along.tiles_with_points(size)
    first, last = max(first, 0), min(last, count - 1)
    # The ragged last tile was taken for a whole one: the band may miss its actual part.
    if last == count - 1 and first <= last and band.tile(last, size, along_x=plus).empty:
        last -= 1
    begin, end = along.full_tiles(size)
    begin, end = max(begin, first), min(end, last)
    if begin > end:
        # No tile is covered: all lie on an edge, and belong to the first of the three groups.
        begin, end = last + 1, last
    return (
        *_moving(extent, stride, band, size, plus, range(first, begin)),
        *_whole(extent, stride, begin, end, None),
        *_moving(extent, stride, band, size, plus, range(max(begin, end + 1), last + 1)),
    )


def runs(
    extent: int, stride: int, band: Band | None, side: tuple[bool, int] | None
) -> tuple[BandProgression, ...]:
    """Return ``progressions``, but with one entry for each iteration in which the band moves.

    Parameters
    ----------
    extent, stride, band, side
        See ``progressions``.
    """
    found: list[BandProgression] = []
    for progression in progressions(extent, stride, band, side):
        if progression.moved:
            found += map(progression.part, range(progression.count))
        else:
            found.append(progression.part(0, progression.count))
    return tuple(found)


def _whole(
    extent: int, stride: int, first: int, last: int, band: Band | None
) -> Iterator[BandProgression]:
    """Yield the iterations from ``first`` to ``last`` as equal ones, and a ragged last one by
    itself."""
    if first > last:
        return
    rest = extent - last * stride
    if rest >= stride:
        yield BandProgression(last - first + 1, first, stride, band)
        return
    if last > first:
        yield BandProgression(last - first, first, stride, band)
    yield BandProgression(1, last, rest, band)


def _moving(
    extent: int, stride: int, band: Band, size: int, plus: bool, numbers: range
) -> Iterator[BandProgression]:
    """Yield the iterations on an edge of the band as a progression, and a ragged last one by
    itself."""
    if not numbers:
        return
    end = (numbers[-1] + 1) * size
    ragged = end > (band.columns if plus else band.rows)
    whole = len(numbers) - ragged
    if whole:
        moved = -size if plus else size
        by = numbers[0] * moved
        wide, deep = (size, band.rows) if plus else (band.columns, size)
        # Do not trim: ``at`` moves these bounds, and later tiles need what the first would cut off.
        raw = Band(band.low + by, band.high + by, wide, deep)
        yield BandProgression(whole, numbers[0], stride, raw, moved if whole > 1 else 0)
    if ragged:
        inner = band.tile(numbers[-1], size, along_x=plus)
        if not inner.empty:
            left = min(stride, extent - numbers[-1] * stride)
            yield BandProgression(1, numbers[-1], left, None if inner.full else inner)
