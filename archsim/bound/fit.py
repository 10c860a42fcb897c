"""Tiles whose size is whatever fits: the largest that is legal, by bisection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..spec.arch import Architecture
from ..spec.mapping import EVEN, WHOLE_OR_ONE, Mapping, TileSize
from .arrangement import Arrangement
from .footprint import whole_tiles
from .record import Bound
from .room import RoomAsked
from .tiling import Tiling, recut, tile_size

_TRIED = 1 << 17
"""Primes below this are found by trial division."""


def tile_sizes(mapping: Mapping, architecture: Architecture) -> tuple[dict[str, int], list[str]]:
    """Sizes of all tiles, 1 for those to be fitted, and which ones these are."""
    sizes: dict[str, int] = {}
    open_tiles: list[str] = []
    for tile in mapping.tiles:
        size = tile_size(tile, architecture)
        sizes[tile.member] = 1 if size is None else size
        if size is None:
            open_tiles.append(tile.member)
    return sizes, open_tiles


def fit_tile(
    arrangement: Arrangement,
    bound: Bound,
    shapes: dict[str, int],
    sizes: dict[str, int],
    member: str,
    asked: RoomAsked,
) -> Bound:
    """The mapping bound with the largest size of a tile that is legal, by bisection.

    Every level is to hold whole tiles, also of what streams: so the published evaluation has them.
    All of the rank is tried first: it often fits.
    A size divides the tile's count; one written ``even`` is that of so many tiles as equal
    as they can be; one written ``whole or one`` is all of it, or one.

    Parameters
    ----------
    arrangement : Arrangement
        Of the mapping: it binds other sizes and says whether they are legal.
    bound : Bound
        The mapping with the tile at 1.
    shapes : dict
        Elements of every rank.
    sizes : dict
        Of all tiles; the one found is written into it.
    member : str
        The tile to be fitted.
    asked : RoomAsked
        Whether memories have room.
    """
    tile = next(t for t in bound.mapping.tiles if t.member == member)
    outermost = bound.tiling.of_rank(tile.rank)[0]
    count = bound.tiling.bound(outermost)
    choices = _choices(tile.size, count)
    best = bound
    # Neighbouring choices may be of one size.
    tried: dict[int, Bound | None] = {}
    # The first choice, tiles of 1, is what ``bound`` has already.
    low, high = 1, len(choices) - 1
    middle = high
    while low <= high:
        size = choices[middle]
        if size not in tried:
            changed = {**sizes, member: size}
            tiling = recut(bound.tiling, bound.mapping, shapes, changed, tile.rank)
            tried[size] = _with_tiles(arrangement, best, tiling, asked)
        trial = tried[size]
        if trial is not None:
            best, low = trial, middle + 1
            sizes[member] = size
        else:
            high = middle - 1
        middle = (low + high) // 2
    return best


def _choices(size: TileSize, count: int) -> Sequence[int]:
    """Sizes of a tile that is to be fitted, in ascending order."""
    if size == WHOLE_OR_ONE:
        return sorted({1, count})
    return _Even(count) if size == EVEN else divisors(count)


class _Even(Sequence[int]):
    """The sizes of the largest of 1, 2, ... ``count`` equal tiles, the smallest first.

    Of 10: 10 tiles of 1, then 9, 8, 7, 6 or 5 tiles of 2, 4 of 3, 3 of 4, 2 of 5, 1 of 10.

    >>> [*_Even(10)]
    [1, 2, 2, 2, 2, 2, 3, 4, 5, 10]
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return -(-self._count // (self._count - index))


def _with_tiles(
    arrangement: Arrangement, like: Bound, tiling: Tiling, asked: RoomAsked
) -> Bound | None:
    """The mapping in other tiles, if that is legal."""
    trial = arrangement.bound(tiling, like)
    if trial is None or not asked.fits(whole_tiles(trial)) or arrangement.illegalities(trial):
        return None
    return trial


def divisors(number: int) -> list[int]:
    """All divisors in ascending order.

    Trial division finds small primes sooner than sympy, which factors what is left of a
    number that has large ones, is imported.

    >>> divisors(12), divisors(97)
    ([1, 2, 3, 4, 6, 12], [1, 97])

    Parameters
    ----------
    number : int
        At least 1.
    """
    found = [1]
    rest, prime = number, 2
    while prime * prime <= rest and prime < _TRIED:
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        found = [d * prime**k for d in found for k in range(power + 1)] if power else found
        prime += 1
    # Where the loop ended at the square root, what is left is a prime, or 1.
    left = _divisors(rest) if prime * prime <= rest else {1, rest}
    return sorted(d * other for d in found for other in left)


def _divisors(number: int) -> tuple[int, ...]:
    """Divisors of a number without small primes."""
    import sympy

    return tuple(int(d) for d in sympy.divisors(number))
