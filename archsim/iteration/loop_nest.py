"""Loop nests over an iteration space: exact counts of deliveries, tiles and points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from einsum_cascade.memo import Memoized, cached_property, memoized

from .bands import EVERYTHING, Window
from .loops import Axis, Extents, Loop, count_distinct, even_deliveries, even_tiles, first_tile
from .windowed import one, windowed_deliveries, windowed_distinct


@dataclass(frozen=True, kw_only=True)
class LoopNest(Memoized):
    """Loops, outermost first, over the ``extents`` of an iteration space.

    ``window`` decides which iterations a mask skips; None skips none.

    A loop over 10 rows in tiles of 4 has 3 iterations. A tensor that does not vary along the rows
    is delivered once. A tensor that does brings 4 + 4 + 2 rows:

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
        """Extents inside the first iteration of all loops: the largest tile."""
        return first_tile(self.extents, self.loops)

    @cached_property
    def even(self) -> tuple[list[int], Extents] | None:
        """Iterations of each loop, and extents of the innermost tile; None if some last tile is
        shorter."""
        return even_tiles(self.loops, self.extents)

    def delivered(self, relevant: tuple[bool, ...], size: Callable[[Extents], int]) -> int:
        """Return the total size of all tiles that the loops deliver.

        Parameters
        ----------
        relevant : tuple of bool
            True for each loop that brings another tile; any other leaves the tile where it
            is (Timeloop's rule).
        size : callable
            Size of the tile of given extents.
        """
        if self.even is None:
            window = self.window or EVERYTHING
            return windowed_deliveries(self.loops, relevant, self.extents, window, size)
        counts, tile = self.even
        if self.window is None:
            return size(tile) * even_deliveries(counts, relevant)
        # Loops of one iteration change nothing, nor do the innermost loops that leave the tile.
        depths = [depth for depth, count in enumerate(counts) if count > 1]
        while depths and not relevant[depths[-1]]:
            depths.pop()
        times = 1
        if all(relevant[d] for d in depths) or depths[-1] not in self._skipping:
            # No tile stays: each iteration brings another one.
            relevant = (True,) * len(self.loops)
            times = prod(counts[d] for d in depths if d not in self._skipping)
            depths = [d for d in depths if d in self._skipping]
        marked = tuple([(d, relevant[d]) for d in depths])
        return size(tile) * times * self._windowed(windowed_deliveries, marked)

    @memoized
    def distinct(self, counted: tuple[bool, ...]) -> int:
        """Count the distinct index combinations of the ``counted`` loops; any other loop is
        entered once."""
        if self.window is None:
            return count_distinct(self.loops, counted, self.extents)
        if self.even is None:
            return windowed_distinct(self.loops, counted, self.extents, self.window, one)
        window, counts = self.window, self.even[0]
        depths = [d for d, x in enumerate(self.loops) if window.side(x.axis) and counts[d] > 1]
        if all(counted[d] for d in depths):
            # Loops inside the skipping ones run all iterations.
            depths = [d for d in depths if d in self._skipping]
        times = prod(n for d, n in enumerate(counts) if counted[d] and d not in depths)
        marked = tuple([(d, counted[d]) for d in depths])
        return times * self._windowed(windowed_distinct, marked)

    @cached_property
    def _skipping(self) -> list[int]:
        """Depths of the loops that skip iterations."""
        window = self.window or EVERYTHING
        return [d for d, x in enumerate(self.loops[: window.governed]) if window.side(x.axis)]

    @memoized
    def _windowed(self, count: Callable[..., int], marked: tuple[tuple[int, bool], ...]) -> int:
        """Return the count of the loops at some depths, each with its mark, in tiles of size 1.

        Loops go without names and other axes without extents, so that equal counts are known.
        """
        window = self.window or EVERYTHING
        loops = tuple(
            [Loop("", self.loops[d].axis, self.loops[d].stride, 0, "") for d, _ in marked]
        )
        axes = {loop.axis for loop in loops}
        extents = tuple([x if axis in axes else 1 for axis, x in enumerate(self.extents)])
        alone = replace(window, governed=sum(d < window.governed for d, _ in marked))
        return count(loops, tuple([mark for _, mark in marked]), extents, alone, one)

    def accessed(self, relevant: tuple[bool, ...], size: Callable[[Extents], int]) -> int:
        """Count the distinct elements in all tiles that the loops deliver in the whole run.

        Parameters
        ----------
        relevant : tuple of bool
            True for each loop that brings another tile.
        size : callable
            Size of the tile of given extents; no less for a larger one.
        """
        whole = size(self.extents)
        if self.window is None:
            return whole
        # Tiles that a mask skips are never touched; gaps inside tiles that it cuts are.
        if self.even is not None:
            return min(whole, size(self.even[1]) * self.distinct(relevant))
        return min(whole, windowed_distinct(self.loops, relevant, self.extents, self.window, size))


@dataclass(frozen=True, kw_only=True)
class LoopSpace(Memoized):
    """Iteration space with its loops, outermost first: ``shared`` and ``own`` temporal ones, then
    ``spatial`` ones along an array.

    10 rows in tiles of 4, with the rows of a tile on 4 lanes:

    >>> rows = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> lanes = Loop(member="M0", axis=0, stride=1, level=0, variable="m", dimension="lanes")
    >>> axis = Axis(name="M", extent=10, variables=(("m", 1),))
    >>> space = LoopSpace(axes=(axis,), shared=(), own=(rows,), spatial=(lanes,))
    >>> space.iterations, space.points, space.trip_counts
    (3, 10, {'M1': 3, 'M0': 4})
    """

    axes: tuple[Axis, ...]
    shared: tuple[Loop, ...]
    own: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    window: Window | None = None
    """Window of the iterations that the mask keeps; None if all iterations run."""

    @cached_property
    def temporal(self) -> tuple[Loop, ...]:
        """All temporal loops, outermost first."""
        return (*self.shared, *self.own)

    @cached_property
    def variables(self) -> frozenset[str]:
        """Rank variables of all axes."""
        return frozenset(v for axis in self.axes for v, _ in axis.variables)

    @cached_property
    def extents(self) -> Extents:
        """Extent of every axis, in elements."""
        return tuple([a.extent for a in self.axes])

    @cached_property
    def trip_counts(self) -> dict[str, int]:
        """Iterations of each loop inside the first tile of the loops around it, by partitioned
        rank (member). Of spatial loops over one axis, those with smaller strides are inside."""
        found: dict[str, int] = {}
        rest = list(self.extents)
        for loop in self.temporal:
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
            rest[loop.axis] = min(rest[loop.axis], loop.stride)
        for loop in sorted(self.spatial, key=lambda loop: -loop.stride):
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
            rest[loop.axis] = min(rest[loop.axis], loop.stride)
        return found

    @cached_property
    def nonunit_loops(self) -> tuple[Loop, ...]:
        """Temporal loops of more than one iteration; loops of one iteration have no effect."""
        return tuple(loop for loop in self.temporal if self.trip_counts[loop.member] > 1)

    @memoized
    def nest(self, level: int) -> LoopNest:
        """Return the nest of the temporal loops around the tiles that a level holds."""
        loops = tuple([loop for loop in self.temporal if loop.level < level])
        return self.whole if len(loops) == len(self.temporal) else self._over(loops)

    @cached_property
    def whole(self) -> LoopNest:
        """Nest of all temporal loops; one processing element runs all of their iterations."""
        return self._over(self.temporal)

    @cached_property
    def full_nest(self) -> LoopNest:
        """Nest of all loops; the loops along the array are inside the temporal ones."""
        return self._over((*self.temporal, *self.spatial))

    def _over(self, loops: tuple[Loop, ...]) -> LoopNest:
        return LoopNest(loops=loops, extents=self.extents, window=self.window)

    @cached_property
    def points(self) -> int:
        """Number of points in the tiles that run, including points that the mask drops inside a
        tile."""
        if self.window is None:
            return prod(self.extents)
        return self.whole.delivered((True,) * len(self.temporal), prod)

    @cached_property
    def iterations(self) -> int:
        """Number of temporal iterations of one processing element."""
        return self.whole.delivered((True,) * len(self.temporal), one)
