"""Balanced partition of a masked rank: cores' shares of the rank with equal work.

Queries of a causal layer differ in work: the last quarter of the queries has seven sixteenths of
the work. The shares are contiguous, and cut so that all cores take equally long. One share is bound
as a sample. It gives the cycles of each array for each point that the mask keeps, and from these
follows the time of any row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Final

from ..iteration.bands import BandUnion, BoxedBand
from .masks import bands_of_several
from .policy import BALANCE_TOLERANCE
from .record import Bound, BoundEinsum
from .tiling import Tiling

_BEYOND_ANY_ROW: Final = 1 << 60
"""Row beyond the end of any rank."""


def balanced_begins(
    tiling: Tiling, rank: str, parts: int, sample: Bound, begin: int
) -> tuple[int, ...]:
    """Return the first coordinates of the cores' parts of a rank, chosen to make the longest part
    as short as possible.

    Parts begin at multiples of the rows that an array works on at once. If Einsums differ in these
    rows, the smallest number counts. Parts no larger than that number of rows get equal sizes: each
    takes as long as its last row, and an array that holds a whole part has no room for a longer
    one.

    Parameters
    ----------
    sample : Bound
        Mapping of one part, whose masks know where the part begins.
    begin : int
        First coordinate of that part.

    Returns
    -------
    tuple of int
        First coordinates, from 0; fewer than ``parts`` if fewer take no longer.
    """
    extent = tiling.shapes[rank]
    grain = _rows_at_once(sample, rank)
    if grain * parts >= extent:
        return tuple(range(0, extent, -(-extent // parts)))
    work = _row_work(sample, rank, begin)

    @cache
    def until(row: int) -> tuple[float, ...]:
        return tuple(sum(w.until(row) for w in ways) for ways in work)

    return equal_parts(until, extent, parts, grain)


def equal_parts(
    until: Callable[[int], tuple[float, ...]], extent: int, parts: int, grain: int
) -> tuple[int, ...]:
    """Return the first rows of contiguous parts; the largest work of any part is as small as
    possible.

    Parameters
    ----------
    until : callable
        Function that returns the work in all rows before one, by worker.
    grain : int
        Parts begin at multiples of it.

    Examples
    --------
    Row n of 64 has n + 1 keys. The first of two halves would take a quarter of the time; instead
    the parts have 45 rows (1,035 keys) and 19 rows (1,045 keys).

    >>> equal_parts(lambda row: (row * (row + 1) / 2,), 64, 2, 1)
    (0, 45)
    >>> equal_parts(lambda row: (row * (row + 1) / 2,), 64, 4, 8)
    (0, 32, 48, 56)
    """
    total = until(extent)
    # Work along a band grows or falls, so the step of rows with the most work is at an end.
    step = max(
        b - a
        for first in (0, (extent - 1) // grain * grain)
        for a, b in zip(until(first), until(min(extent, first + grain)), strict=True)
    )
    # With this much work a part, greedy parts suffice: each but the last has its share.
    low, high = max(total) / parts, max(total)
    found: tuple[int, ...] = (0,)
    while high - low > step * BALANCE_TOLERANCE:
        most = (low + high) / 2
        begins = _greedy(until, extent, parts, grain, most)
        if begins is None:
            low = most
        else:
            found, high = begins, most
    return found


def _greedy(
    until: Callable[[int], tuple[float, ...]], extent: int, parts: int, grain: int, most: float
) -> tuple[int, ...] | None:
    """Return the first rows of as few parts as possible, each with at most ``most`` work. Return
    None if that takes more than ``parts`` parts."""
    begins = [0]
    while True:
        before = until(begins[-1])

        def fits(row: int, before: tuple[float, ...] = before) -> bool:
            return all(b - a <= most for a, b in zip(before, until(row), strict=True))

        if fits(extent):
            return tuple(begins)
        # Find the last multiple of the grain up to which rows fit, by bisection.
        low, high = begins[-1] // grain, -(-extent // grain)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle * grain) else (low, middle)
        if low * grain == begins[-1] or len(begins) == parts:
            return None
        begins.append(low * grain)


def _rows_at_once(sample: Bound, rank: str) -> int:
    """Return the number of coordinates of a rank that lie along an array at once. If Einsums
    differ, the smallest number above 1 counts."""
    axis = sample.program.whole_rank(rank)
    found = (
        prod(e.trip_counts[loop.member] for loop in e.spatial if e.axes[loop.axis].name == axis)
        for e in sample.einsums
        if rank.lower() in e.variables
    )
    at_once = min((rows for rows in found if rows > 1), default=1)
    return -(-at_once // _elements_per_coordinate(sample.tiling, rank))


def _elements_per_coordinate(tiling: Tiling, rank: str) -> int:
    """Return the elements of the whole rank in one coordinate: several if the rank counts tiles of
    the cascade's own."""
    family = tiling.program.family_of(rank)
    if family is None:
        return 1
    members = tiling.program.rank_of[family].partition
    return prod(tiling.shapes[m] for m in members[members.index(rank) + 1 :])


@dataclass(frozen=True, slots=True)
class _RowWork:
    """Work of one array in each row of a rank, for Einsums with equal masks."""

    cycles: float
    """Cycles for one point that the mask keeps; without a mask, cycles for one row."""
    mask: BandUnion | None
    unit: int
    """Number of the mask's rows in one coordinate of the rank."""

    def until(self, row: int) -> float:
        """Return the cycles of all rows before ``row``."""
        if self.mask is None:
            return self.cycles * row
        return self.cycles * self.mask.points_before(row * self.unit)


def _row_work(sample: Bound, rank: str, begin: int) -> list[list[_RowWork]]:
    """List, for each array, the work of its Einsums in the rows of a rank."""
    found: dict[str, dict[_RowWork, float]] = {}
    for e in sample.einsums:
        if (work := _work_of_einsum(sample, e, rank, begin)) is not None:
            key = replace(work, cycles=0.0)
            here = found.setdefault(e.array.name, {})
            here[key] = here.get(key, 0.0) + work.cycles
    return [
        [replace(key, cycles=cycles) for key, cycles in here.items()] for here in found.values()
    ]


def _work_of_einsum(sample: Bound, e: BoundEinsum, rank: str, begin: int) -> _RowWork | None:
    """Return the work of an Einsum by row; None if the Einsum does not iterate over the rank."""
    if rank.lower() not in e.variables:
        return None
    rows = sample.tiling.shapes[rank]
    family = sample.program.whole_rank(rank)
    unit = _elements_per_coordinate(sample.tiling, rank)
    enclosing = _band_of_window(e, family, begin * unit)
    if enclosing is None:
        return _RowWork(float(e.cycles) / rows, None, 1)
    mask = BandUnion(_bands_of_disjunction(sample, e, family, begin * unit) or (enclosing,))
    points = mask.points_before((begin + rows) * unit) - mask.points_before(begin * unit)
    return _RowWork(float(e.cycles) / points if points else 0.0, mask, unit)


def _band_of_window(e: BoundEinsum, rows: str, begin: int) -> BoxedBand | None:
    """Return the band of an Einsum's mask, extended to all rows of the partitioned rank. Return
    None if the mask does not restrict these rows.

    The rows of the sample begin at ``begin``.
    """
    window = e.window
    sides = () if window is None else (window.plus, window.minus)
    names = [None if side is None else e.axes[side].name for side in sides]
    if window is None or rows not in names:
        return None
    # Rows are y of a band.
    band = window.band.swapped() if names[0] == rows else window.band
    last = band.columns - 1
    return BoxedBand(band.low - begin, band.high - begin, 0, last, 0, _BEYOND_ANY_ROW)


def _bands_of_disjunction(
    sample: Bound, e: BoundEinsum, rows: str, begin: int
) -> tuple[BoxedBand, ...]:
    """Return the bands whose union is the mask, extended to all rows of the partitioned rank.
    Return an empty tuple if the mask is no such union.

    The rows of the sample begin at ``begin``.
    """
    bands = bands_of_several(sample, e)
    others = {r for b in bands for r in (b.plus, b.minus) if r not in (None, rows)}
    if len(others) != 1:
        return ()
    last = sample.tiling.shapes[str(*others)] - 1
    everything = BoxedBand(-_BEYOND_ANY_ROW, _BEYOND_ANY_ROW, 0, last, 0, _BEYOND_ANY_ROW)
    found: list[BoxedBand] = []
    for band in bands:
        if band.minus is not None:
            turned = band.swapped() if band.plus == rows else band
            boxed = everything._replace(low=turned.low - begin, high=turned.high - begin)
        elif band.plus == rows:
            boxed = everything._replace(first_y=max(0, band.low + begin), last_y=band.high + begin)
        else:
            boxed = everything._replace(first_x=max(0, band.low), last_x=min(last, band.high))
        found.append(boxed)
    return tuple(found)
