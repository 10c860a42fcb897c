"""Tiles that bands touch, compiled."""

from __future__ import annotations

from archsim.compiled import compiled, compiled_inside

from .arrays import Floats, Ints

_LOOKED_AT = 1 << 12
"""Rows of tiles that are looked at, at the most: of more every other one, or fewer."""


@compiled_inside
def _tile(elements: int, member: int, unit: int, limit: int, strides: Ints) -> int:
    stride = unit if member < 0 else unit * min(strides[member], limit)
    return int(max(1, min(stride, elements)))


@compiled_inside
def _share(low: int, high: int, x: int, wide: int, y: int, deep: int) -> float:
    """The share of tiles of ``wide`` by ``deep`` elements, of ``x`` by ``y``, that have a point
    whose coordinates differ by ``low`` to ``high``."""
    columns, rows = -(-x // wide), -(-y // deep)
    every = -(-rows // _LOOKED_AT)
    found, seen = 0, 0
    for row in range(0, rows, every):
        first, last = row * deep, min(y, (row + 1) * deep) - 1
        # Neighbours in a row of points have neighbours in the next: no gap is between them.
        begin, end = max(0, first + low), min(x - 1, last + high)
        if begin <= end:
            found += end // wide - begin // wide + 1
        seen += 1
    return found / (seen * columns)


@compiled_inside
def _divisor(block: int, wide: int, deep: int) -> int:
    """The greatest that divides all three."""
    for other in (wide, deep):
        while other > 0:
            block, other = other, block % other
    return block


@compiled
def touched_shares(bands: Ints, strides: Ints, found: Floats) -> None:
    """The share of tiles that each band touches in each tiling.

    Parameters
    ----------
    bands : array of int64, (bands, 12)
        Low and high, and of each rank its elements, and the member, unit and limit of its tiles;
        what low and high are drawn together to where tiles are whole blocks.
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
            # Of tiles that are pieces of blocks, or whole ones, by the first and last pieces.
            piece = _divisor(block, 0 if wide >= x else wide, 0 if deep >= y else deep) - 1
            found[row, band] = _share(
                min(low + piece, least), max(high - piece, most), x, wide, y, deep
            )
