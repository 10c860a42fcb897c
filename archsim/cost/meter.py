"""What counting asks of a loop nest, and the answer in whole numbers.

Counts are sums and differences of a few measures: how much is delivered under some loops,
how many of their iterations are distinct, how large a tile is. The rules of counting
(``counts``) know nothing else of a nest, so that a search can put another meter in the
place of this one and learn how counts depend on the sizes of tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..bound.record import BoundEinsum
from ..space.access_map import AccessMap
from ..space.banded import one, windowed_deliveries, windowed_distinct
from ..space.iteration import Extents, Loop, count_deliveries, count_distinct, count_points

Size = Callable[[Extents], int]
"""The size of a tile, given what loops leave of each axis."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of a tensor in a tile."""

    access_map: AccessMap

    def __call__(self, extents: Extents) -> int:
        return self.access_map.size(extents)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Elements of an array that have a point in a tile."""

    spatial: tuple[Loop, ...]

    def __call__(self, extents: Extents) -> int:
        return count_points(self.spatial, extents)


class Meter:
    """Measures in whole numbers, ragged edges and masks exact."""

    def points(self, e: BoundEinsum) -> int:
        """Points of the tiles that are run."""
        return e.points

    def iterations(self, e: BoundEinsum) -> int:
        """Temporal iterations."""
        return e.iterations

    def delivered(
        self, e: BoundEinsum, loops: tuple[Loop, ...], relevant: tuple[bool, ...], size: Size
    ) -> int:
        """Total size of the tiles that come under ``loops``, moved by the relevant ones."""
        if e.window is not None:
            return windowed_deliveries(loops, relevant, e.extents, e.window, size)
        return count_deliveries(loops, relevant, e.extents, size)

    def distinct(self, e: BoundEinsum, loops: tuple[Loop, ...], counted: tuple[bool, ...]) -> int:
        """Distinct indices of the counted ones of ``loops``."""
        if e.window is not None:
            return windowed_distinct(loops, counted, e.extents, e.window, one)
        return count_distinct(loops, counted, e.extents)

    def touched(
        self,
        e: BoundEinsum,
        loops: tuple[Loop, ...],
        relevant: tuple[bool, ...],
        access_map: AccessMap,
    ) -> int:
        """Distinct elements of a tensor in all the tiles that ever come under ``loops``."""
        if e.window is None:
            return access_map.size(e.extents)
        tiles = windowed_distinct(loops, relevant, e.extents, e.window, access_map.size)
        return min(tiles, access_map.size(e.extents))


EXACT = Meter()
"""The meter of every result."""
