"""A loop nest over an iteration space, and what it does to tiles, counted exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from einsum_cascade.memo import cached_property

from .banded import one, windowed_deliveries, windowed_distinct
from .bands import Window
from .even_banded import banded_deliveries, banded_distinct
from .iteration import (
    Extents,
    Loop,
    RaggedTiles,
    count_distinct,
    even_deliveries,
    even_tiles,
    first_tile,
    ragged_deliveries,
    ragged_tiles,
)


@dataclass(frozen=True, kw_only=True)
class LoopNest:
    """Loops, outermost first, over the ``extents`` of an iteration space.

    ``window`` says which iterations a mask leaves out; None: no one.

    A loop over 10 rows in tiles of 4 has 3 iterations. The tiles of a tensor that does not
    vary along the rows are delivered once; those of one that does bring 4 + 4 + 2 rows:

    >>> rows = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> nest = LoopNest(loops=(rows,), extents=(10, 8))
    >>> nest.delivered((True,), lambda extents: extents[0] * extents[1])
    80
    >>> nest.delivered((False,), lambda extents: extents[1])
    8
    >>> nest.distinct((True,)), nest.first_tile
    (3, (4, 8))
    """

    loops: tuple[Loop, ...]
    extents: Extents
    window: Window | None = None

    @cached_property
    def first_tile(self) -> Extents:
        """What remains inside the first iteration of all loops: the largest tile."""
        return first_tile(self.extents, self.loops)

    @cached_property
    def _even(self) -> tuple[list[int], Extents] | None:
        return even_tiles(self.loops, self.extents)

    @cached_property
    def _ragged(self) -> RaggedTiles:
        return ragged_tiles(self.loops, self.extents)

    def delivered(self, relevant: tuple[bool, ...], size: Callable[[Extents], int]) -> int:
        """Total size of all tiles that come under the loops, moved by the relevant ones.

        Parameters
        ----------
        relevant : tuple of bool
            Whether each loop brings another tile. One that does not leaves the tile where it
            is (Timeloop's rule).
        size : callable
            Size of the tile given what the loops leave of each axis.
        """
        if self._even is None:
            if self.window is None:
                return ragged_deliveries(self._ragged, relevant, size)
            return windowed_deliveries(self.loops, relevant, self.extents, self.window, size)
        counts, inside = self._even
        if self.window is None:
            return even_deliveries(counts, relevant) * size(inside)
        return size(inside) * banded_deliveries(
            self.loops, counts, relevant, self.extents, self.window
        )

    def distinct(self, counted: tuple[bool, ...]) -> int:
        """Distinct indices of the ``counted`` loops; any other loop is entered once."""
        if counted not in self._distinct:
            self._distinct[counted] = self._count_distinct(counted)
        return self._distinct[counted]

    @cached_property
    def _distinct(self) -> dict[tuple[bool, ...], int]:
        return {}

    def _count_distinct(self, counted: tuple[bool, ...]) -> int:
        if self._even is None:
            if self.window is None:
                return count_distinct(self.loops, counted, self.extents)
            return windowed_distinct(self.loops, counted, self.extents, self.window, one)
        counts, _ = self._even
        if self.window is None:
            return prod([n for n, wanted in zip(counts, counted, strict=True) if wanted])
        return banded_distinct(self.loops, counts, counted, self.extents, self.window)

    def touched(self, relevant: tuple[bool, ...], size: Callable[[Extents], int]) -> int:
        """Distinct elements in all tiles that ever come under the loops.

        Parameters
        ----------
        relevant : tuple of bool
            Whether each loop brings another tile.
        size : callable
            Size of the tile given what the loops leave of each axis; no less for a larger one.
        """
        whole = size(self.extents)
        if self.window is None:
            return whole
        # Tiles that a mask leaves out are never touched; gaps inside those it cuts are.
        if self._even is None:
            tiles = windowed_distinct(self.loops, relevant, self.extents, self.window, size)
        else:
            tiles = size(self._even[1]) * self.distinct(relevant)
        return min(whole, tiles)
