"""Fitted tile sizes: the largest legal size, found by bisection, and the capacities for which it
remains the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt

from ..nest.binder import ParametricNest
from ..nest.policy import MAX_TRIAL_DIVISOR
from ..nest.record import Bound
from ..nest.tiling import Tiling, tile_size, with_other_sizes
from ..spec.arch import Architecture
from ..spec.mapping import EVEN, WHOLE_OR_ONE, Mapping, TileSize
from .dependences import illegalities
from .footprint import Requirement, limited_requirements


@dataclass(slots=True, kw_only=True)
class CapacityInterval:
    """Capacities of memories for which fitting a mapping's tiles gives the sizes already found.

    For these capacities every size that was tried gets the answer it got: it fits or does not fit.
    Each trial follows from earlier answers, so fitting ends with equal sizes. Each trial may narrow
    the interval.
    """

    at_least: dict[str, Fraction]
    """Largest footprint that fitted, in bytes, by limited memory."""
    below: dict[str, Fraction] = field(default_factory=dict)
    """Smallest footprint that did not fit, in bytes, by memory."""

    def contains(self, architecture: Architecture) -> bool:
        """Return whether a machine's capacities are in the interval.

        The machine's binding key must equal that of the fitted mapping.

        >>> interval = CapacityInterval(at_least={"buffer": Fraction(3 << 20)})
        >>> machine = Architecture.load("fusemax")
        >>> [m.name for m in machine.memories if m.capacity_bytes], interval.contains(machine)
        (['global_buffer'], False)
        """
        capacities = {
            m.name: m.capacity_bytes for m in architecture.memories if m.capacity_bytes is not None
        }
        return (
            [*self.at_least] == [*capacities]
            and all(capacities[name] >= size for name, size in self.at_least.items())
            and all(capacities[name] < size for name, size in self.below.items())
        )

    def fits(self, needed: Iterable[Requirement]) -> bool:
        """Return whether all limited memories hold the footprint of one tile size. The answer is
        recorded.

        Parameters
        ----------
        needed : iterable of Requirement
            Footprints in limited memories; those after the first that is too small are not read.
        """
        found: list[Requirement] = []
        for r in needed:
            if not r.fits:
                below = self.below.get(r.level, r.required_bytes)
                self.below[r.level] = min(below, r.required_bytes)
                return False
            found.append(r)
        for r in found:
            self.at_least[r.level] = max(self.at_least[r.level], r.required_bytes)
        return True


def capacity_interval_of(bound: Bound) -> CapacityInterval | None:
    """Return the capacities for which the fitted tiles of a bound mapping keep their sizes.

    Binding stores the value for mappings with fitted tiles (``Bound.seed``). For all other mappings
    it is None.
    """
    del bound
    return None


def tile_sizes(mapping: Mapping, architecture: Architecture) -> tuple[dict[str, int], list[str]]:
    """Return the sizes of all tiles by partitioned rank (member), and the members with an open
    size.

    A tile with an open size, to be fitted later, gets size 1.
    """
    sizes: dict[str, int] = {}
    open_tiles: list[str] = []
    for tile in mapping.tiles:
        size = tile_size(tile, architecture)
        sizes[tile.member] = 1 if size is None else size
        if size is None:
            open_tiles.append(tile.member)
    return sizes, open_tiles


@dataclass(frozen=True, slots=True)
class TileFitting:
    """Fitting of a mapping's tiles with open sizes, one tile after the other."""

    nest: ParametricNest
    """Parametric nest of the mapping, which is bound to each size that is tried."""
    shapes: dict[str, int]
    """Shape (number of coordinates) of every rank."""
    sizes: dict[str, int]
    """Sizes of all tiles; fitting stores the sizes it finds here."""
    interval: CapacityInterval
    """Capacities for which all sizes that were tried get the answers they got."""

    def fitted(self, bound: Bound, member: str) -> Bound:
        """Bind a mapping with the largest legal size of one tile, found by bisection.

        Every level must hold whole tiles, also of streaming tensors, as in the published
        evaluation. The whole rank is tried first because it often fits. A fitted size divides the
        number of tiles. A size written ``even`` gives tiles of nearly equal size. A size
        written ``whole or one`` is the whole rank, or one.

        Parameters
        ----------
        bound : Bound
            Mapping with the tile at 1.
        member : str
            Tile to be fitted.
        """
        tile = next(t for t in bound.mapping.tiles if t.member == member)
        outermost = bound.tiling.of_rank(tile.rank)[0]
        count, choice = _choices(tile.size, bound.tiling.bounds[outermost.name])
        best = bound
        # Neighbouring choices may have equal sizes.
        tried: dict[int, Bound | None] = {}
        # ``bound`` has the first choice, tiles of 1, already.
        low, high = 1, count - 1
        middle = high
        while low <= high:
            size = choice(middle)
            if size not in tried:
                changed = {**self.sizes, member: size}
                given = bound.tiling, bound.mapping, self.shapes, changed
                tiling = with_other_sizes(*given, tile.rank)
                tried[size] = self._trial(best, tiling)
            trial = tried[size]
            if trial is not None:
                best, low = trial, middle + 1
                self.sizes[member] = size
            else:
                high = middle - 1
            middle = (low + high) // 2
        return best

    def _trial(self, like: Bound, tiling: Tiling) -> Bound | None:
        """Return the mapping bound with other tile sizes, or None if that is illegal."""
        trial = self.nest.bound(tiling, like)
        if trial is None or not self.interval.fits(limited_requirements(trial, whole_tiles=True)):
            return None
        return None if trial.pattern_memo(illegalities) else trial


def _choices(size: TileSize, count: int) -> tuple[int, Callable[[int], int]]:
    """Return how many sizes a fitted tile may have, and the function that gives them in ascending
    order.

    Even tiles cut ``count`` units into 1, 2, ... ``count`` tiles. For 10: 10 tiles of 1, then 9, 8,
    7, 6 or 5 tiles of 2, 4 of 3, 3 of 4, 2 of 5, 1 of 10.

    >>> number, choice = _choices(EVEN, 10)
    >>> [choice(n) for n in range(number)]
    [1, 2, 2, 2, 2, 2, 3, 4, 5, 10]
    """
    if size == EVEN:
        return count, lambda n: -(-count // (count - n))
    sizes = sorted({1, count}) if size == WHOLE_OR_ONE else divisors(count)
    return len(sizes), sizes.__getitem__


def divisors(number: int) -> list[int]:
    """Return all divisors of a number in ascending order.

    Trial division takes less time than the import of sympy, except for very large numbers.

    >>> divisors(12), divisors(97)
    ([1, 2, 3, 4, 6, 12], [1, 97])

    Parameters
    ----------
    number : int
        At least 1.
    """
    if number > MAX_TRIAL_DIVISOR**2:
        import sympy

        return [int(d) for d in sympy.divisors(number)]
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
