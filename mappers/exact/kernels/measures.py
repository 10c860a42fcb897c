"""Compiled measures of tilings, and the shares of tiles that the bands of masks touch."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled, compiled_inside
from archsim.iteration.bands import covered_tiles

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class FlatMeasures(NamedTuple):
    """Measures as flat arrays; ``first_*`` are the offsets of each measure's rows, and their end.

    Rows of ``loops`` are the fields of an ``OpenLoop``. Rows of ``terms`` are (coefficient, axis);
    the digits of a term begin at ``first_digit``. Rows of ``digits`` are (stride, distinguished,
    inner tuples). The parts of a size are ranges of terms.
    """

    extents: Ints
    first_extent: Ints
    loops: Ints
    first_loop: Ints
    parts: Ints
    first_part: Ints
    terms: Ints
    first_digit: Ints
    digits: Ints


_MAX_EXAMINED_ROWS = 1 << 12
"""Largest number of rows of tiles that are examined; of more rows, only every n-th one is."""


@compiled_inside
def _stride(member: int, unit: int, limit: int, strides: Ints) -> int:
    return int(unit if member < 0 else unit * min(strides[member], limit))


@compiled_inside
def _tile(elements: int, member: int, unit: int, limit: int, strides: Ints) -> int:
    return int(max(1, min(_stride(member, unit, limit, strides), elements)))


_covered_tiles = compiled_inside(covered_tiles)


@compiled_inside
def _share(low: int, high: int, x: int, wide: int, y: int, deep: int) -> float:
    """Return the share of tiles that contain a point of a band.

    ``x`` by ``y`` points are cut into tiles of ``wide`` by ``deep``. A point is in the band if the
    difference of its coordinates is from ``low`` to ``high``.
    """
    columns, rows = -(-x // wide), -(-y // deep)
    every = -(-rows // _MAX_EXAMINED_ROWS)
    # Rows are sampled, so they are the columns of the band with its coordinates swapped.
    found = _covered_tiles(-high, -low, y, x, deep, wide, every)
    return found / (-(-rows // every) * columns)


@compiled
def band_coverages(bands: Ints, strides: Ints, found: Floats) -> None:
    """Fill the share of tiles that each band touches, for each tiling.

    Parameters
    ----------
    bands : array of int64, (bands, 12)
        Low and high; elements, member, unit and limit of each of the two ranks; and low and high
        between whole blocks.
    strides : array of int64, (tilings, members)
    found : array, (tilings, bands)
        Filled.
    """
    for band in range(bands.shape[0]):
        low, high = bands[band, 0], bands[band, 1]
        x, y = bands[band, 2], bands[band, 6]
        for row in range(strides.shape[0]):
            mine = strides[row]
            wide = _tile(x, bands[band, 3], bands[band, 4], bands[band, 5], mine)
            deep = _tile(y, bands[band, 7], bands[band, 8], bands[band, 9], mine)
            same = row > 0 and bands[band, 3] < 0 and bands[band, 7] < 0
            if same:
                found[row, band] = found[0, band]
                continue
            least, most = bands[band, 10], bands[band, 11]
            block = 1 + max(least - low, high - most)
            # Tiles are whole blocks, or pieces of blocks: the first and last pieces decide.
            piece = gcd(gcd(block, 0 if wide >= x else wide), 0 if deep >= y else deep) - 1
            found[row, band] = _share(
                min(low + piece, least), max(high - piece, most), x, wide, y, deep
            )


_STAYS, _MOVES = 0, 1
_DEEPEST = 64
"""Largest number of loops in a measure. Each has two or more iterations, and no run has 2^64."""


@compiled_inside
def _digits_of(f: FlatMeasures, term: int, extent: int) -> int:
    """Return the number of distinct digit tuples in an extent.

    The extent is split into digits, the largest stride first. Take an extent of 10 in tiles of 4.
    If tiles and positions are distinguished, it has 2 tiles of 4 tuples and 2 of a third: 10. If
    only tiles are distinguished, it has 2, and one more for the rest.
    """
    found = 0
    for row in range(f.first_digit[term], f.first_digit[term + 1]):
        stride = f.digits[row, 0]
        if f.digits[row, 1]:
            found += extent // stride * f.digits[row, 2]
            extent %= stride
            if extent == 0:
                return int(found)
        elif extent > stride:
            extent = stride
    return int(found + 1)


@compiled_inside
def _size(f: FlatMeasures, measure: int, now: Ints) -> float:
    """Return the size of a tile of given extents; NaN if it has no closed form."""
    size = 1.0
    # As ``Sum.size`` (``archsim.iteration.access_map``), but NaN where that enumerates a set with
    # gaps.
    for part in range(f.first_part[measure], f.first_part[measure + 1]):
        run, unit = 1, 0
        for term in range(f.parts[part], f.parts[part + 1]):
            coefficient = f.terms[term, 0]
            values = _digits_of(f, term, now[f.terms[term, 1]])
            if values <= 1:
                continue
            if unit == 0:
                unit, run = coefficient, values
            elif coefficient % unit != 0 or coefficient // unit > run:
                return np.nan
            else:
                run += coefficient // unit * (values - 1)
        # Distinct values are all multiples of the smallest coefficient from the first to the last.
        size *= run
    return size


@compiled_inside
def _total(
    f: FlatMeasures, measure: int, strides: Ints, now: Ints, stack: Ints, first: Floats
) -> float:
    """Return the value of one measure for one tiling, by a walk over its loops.

    ``stack`` has three numbers per loop: the extent outside of it, its whole iterations, and the
    length of a shorter last one. This length is 0 without a shorter one, and -1 while it runs.
    ``first`` has the total and the first tile of the whole iterations, and whether the last tile
    equals the first.
    """
    begin, end = f.first_loop[measure], f.first_loop[measure + 1]
    for axis in range(f.first_extent[measure], f.first_extent[measure + 1]):
        now[axis - f.first_extent[measure]] = f.extents[axis]
    depth = begin
    while True:
        while depth < end:
            axis, mode = f.loops[depth, 0], f.loops[depth, 4]
            stride = _stride(f.loops[depth, 1], f.loops[depth, 2], f.loops[depth, 3], strides)
            here = depth - begin
            stack[here, 0] = now[axis]
            whole, last = now[axis] // stride, now[axis] % stride
            if whole == 0:
                # The extent is less than a stride: one iteration takes it whole.
                whole, last = 1, 0
            else:
                now[axis] = stride
            # The loop is entered once, in its first iteration, which is the fullest
            # (``measures.ONCE``).
            if mode > _MOVES:
                whole, last = 1, 0
            stack[here, 1], stack[here, 2] = whole, last
            depth += 1
        tile = _size(f, measure, now)
        # Total of the loops from ``depth`` on, their first tile, and whether their last tile equals
        # it: keys of 10 in tiles of 4 total 4 + 4 + 2 = 10 and end with another tile than the
        # first, so that each of 3 iterations of an outer loop over queries delivers them again: 30.
        total, head, returns = tile, tile, True
        while depth > begin:
            depth -= 1
            here, axis, mode = depth - begin, f.loops[depth, 0], f.loops[depth, 4]
            whole, last = stack[here, 1], stack[here, 2]
            if last >= 0:
                if mode == _STAYS:
                    # A first tile that the end before left in place is not fetched again.
                    total = whole * total - ((whole - 1) * head if returns else 0.0)
                elif whole > 1:
                    total, returns = whole * total, False
                if last > 0:
                    first[here, 0], first[here, 1] = total, head
                    first[here, 2] = 1.0 if returns else 0.0
                    now[axis], stack[here, 2] = last, -1
                    depth += 1
                    break
            else:
                total += first[here, 0]
                if mode == _STAYS:
                    total -= head if first[here, 2] > 0 else 0.0
                else:
                    returns = False
                head = first[here, 1]
            now[axis] = stack[here, 0]
        else:
            return total


@compiled_inside
def _has_same_loops(f: FlatMeasures, measure: int, strides: Ints, others: Ints) -> bool:
    """Return whether every loop of a measure has the same stride in two tilings."""
    for loop in range(f.first_loop[measure], f.first_loop[measure + 1]):
        member = f.loops[loop, 1]
        if member >= 0 and strides[member] != others[member]:
            return False
    return True


@compiled
def measure_all(f: FlatMeasures, strides: Ints, found: Floats) -> None:
    """Fill the value of every measure for every tiling.

    Parameters
    ----------
    strides : array of int64, (tilings, members)
    found : array, (tilings, measures)
        Filled; NaN where a size is irregular.
    """
    now = np.empty(_DEEPEST, np.int64)
    stack = np.empty((_DEEPEST, 3), np.int64)
    first = np.empty((_DEEPEST, 3))
    for row in range(strides.shape[0]):
        mine = strides[row]
        for measure in range(found.shape[1]):
            # Neighbours among the tilings mostly differ in the tiles of one rank.
            if row > 0 and _has_same_loops(f, measure, mine, strides[row - 1]):
                found[row, measure] = found[row - 1, measure]
                continue
            found[row, measure] = _total(f, measure, mine, now, stack, first)
