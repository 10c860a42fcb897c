"""Fitted tile sizes: the largest legal size by bisection, and the capacities for which it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..nest.parametric import ParametricNest
from ..nest.record import Bound
from ..nest.tiling import Tiling, recut, tile_size
from ..spec.arch import Architecture
from ..spec.mapping import EVEN, WHOLE_OR_ONE, Mapping, TileSize
from .dependences import illegalities
from .footprint import Requirement, whole_tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityInterval:
    """Capacities with which every size that was tried fits, or does not, as it did.

    What is tried next follows from what fitted before: all that is between is fitted alike.
    """

    least: tuple[tuple[str, Fraction], ...]
    """By memory of a limited capacity, bytes of the most that fitted."""
    below: tuple[tuple[str, Fraction], ...]
    """By memory, bytes of the least that did not fit there."""

    def contains(self, architecture: Architecture) -> bool:
        """Whether a machine of the same layout, but for capacities, is one of those.

        >>> room = CapacityInterval(least=(("buffer", Fraction(3 << 20)),), below=())
        >>> machine = Architecture.load("fusemax")
        >>> [m.name for m in machine.memories if m.capacity_bytes], room.contains(machine)
        (['global_buffer'], False)
        """
        capacities = {
            m.name: m.capacity_bytes for m in architecture.memories if m.capacity_bytes is not None
        }
        return (
            [name for name, _ in self.least] == [*capacities]
            and all(capacities[name] >= size for name, size in self.least)
            and all(capacities[name] < size for name, size in self.below)
        )


class CapacityQueries:
    """What is asked of memories while tiles are fitted, and whether they had it."""

    def __init__(self, needed: Iterable[Requirement]) -> None:
        self._least = {r.level: r.required_bytes for r in needed if r.capacity_bytes is not None}
        self._below: dict[str, Fraction] = {}

    def fits(self, needed: Iterable[Requirement]) -> bool:
        """Whether all limited memories hold what they must of one size that is tried.

        Parameters
        ----------
        needed : iterable of Requirement
            Of the limited memories; those behind the first that is too small are not looked at.
        """
        found: list[Requirement] = []
        for r in needed:
            if not r.fits:
                below = self._below.get(r.level, r.required_bytes)
                self._below[r.level] = min(below, r.required_bytes)
                return False
            found.append(r)
        for r in found:
            self._least[r.level] = max(self._least[r.level], r.required_bytes)
        return True

    @property
    def room(self) -> CapacityInterval:
        """Capacities with which all answers are the same."""
        return CapacityInterval(least=tuple(self._least.items()), below=tuple(self._below.items()))


def capacity_interval_of(bound: Bound) -> CapacityInterval | None:
    """Where tiles of a bound mapping were fitted, the capacities it is the same for (a fact).

    Binding tells it of mappings whose tiles were fitted (``Bound.tell``); others have none.
    """
    del bound
    return None


_TRIAL_DIVISION_LIMIT = 1 << 17
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
    parametric_nest: ParametricNest,
    bound: Bound,
    shapes: dict[str, int],
    sizes: dict[str, int],
    member: str,
    queries: CapacityQueries,
) -> Bound:
    """The mapping bound with the largest size of a tile that is legal, by bisection.

    Every level is to hold whole tiles, also of what streams: so the published evaluation has them.
    All of the rank is tried first: it often fits.
    A size divides the tile's count; one written ``even`` is that of so many tiles as equal
    as they can be; one written ``whole or one`` is all of it, or one.

    Parameters
    ----------
    parametric_nest : Arrangement
        Of the mapping: it binds other sizes.
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
            tried[size] = _with_tiles(parametric_nest, best, tiling, queries)
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
    parametric_nest: ParametricNest, like: Bound, tiling: Tiling, queries: CapacityQueries
) -> Bound | None:
    """The mapping in other tiles, if that is legal."""
    trial = parametric_nest.bound(tiling, like)
    if trial is None or not queries.fits(whole_tiles(trial)):
        return None
    return None if trial.pattern_memo(illegalities) else trial


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
    while prime * prime <= rest and prime < _TRIAL_DIVISION_LIMIT:
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
