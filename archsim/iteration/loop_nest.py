"""Loop nests over an iteration space: exact counts of deliveries, tiles and points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from einsum_cascade.memo import Memoized, cached_property, memoized

from .bands import EVERYTHING, Window
from .loops import (
    Axis,
    Extents,
    Loop,
    count_distinct,
    count_points,
    even_deliveries,
    even_tiles,
    first_tile,
)
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
        return size(self.even[1]) * self.deliveries_of_even_tiles(relevant)

    def deliveries_of_even_tiles(self, relevant: tuple[bool, ...]) -> int:
        """Count how often a tile is delivered, if all tiles have one size.

        Of 4 tiles of keys by 4 tiles of queries a causal mask keeps 10, in each of 8 heads and for
        each of 64 embeddings:

        >>> from .bands import Band
        >>> loops = tuple(
        ...     Loop(member="", axis=axis, stride=stride, level=0, variable="")
        ...     for axis, stride in enumerate((1, 2, 2, 1))
        ... )
        >>> causal = Window(plus=1, minus=2, band=Band(-7, 0, 8, 8), governed=4)
        >>> nest = LoopNest(loops=loops, extents=(8, 8, 8, 64), window=causal)
        >>> nest.deliveries_of_even_tiles((True, True, False, True))
        5120
        """
        assert self.even is not None, "all tiles have one size"
        (counts, _), window = self.even, self.window or EVERYTHING
        if window.band.empty:
            return 0
        fixed = self._constant_trip_counts
        if all(fixed):
            return even_deliveries(counts, relevant)
        # A loop of one iteration changes nothing, nor do the innermost loops that leave the tile.
        depths = [depth for depth, count in enumerate(counts) if count > 1]
        while depths and not relevant[depths[-1]]:
            depths.pop()
        if depths and fixed[depths[-1]]:
            # Every iteration of the other loops has several tiles inside: none stays.
            relevant = (True,) * len(self.loops)
        times = 1
        if all(relevant[depth] for depth in depths):
            times = prod(counts[depth] for depth in depths if fixed[depth])
            depths = [depth for depth in depths if not fixed[depth]]
        moves = tuple(relevant[depth] for depth in depths)
        alone, left, band = self._projected(window, depths)
        return times * windowed_deliveries(alone, moves, left, band, one)

    @memoized
    def distinct(self, counted: tuple[bool, ...]) -> int:
        """Count the distinct index combinations of the ``counted`` loops; any other loop is
        entered once."""
        if self.window is None:
            return count_distinct(self.loops, counted, self.extents)
        if self.even is None:
            return windowed_distinct(self.loops, counted, self.extents, self.window, one)
        return self.distinct_of_even_tiles(self.window, counted)

    def distinct_of_even_tiles(self, window: Window, counted: tuple[bool, ...]) -> int:
        """Count the distinct index combinations of the ``counted`` loops, if all tiles have one
        size.

        Parameters
        ----------
        window : Window
            Window of the nest.
        counted : tuple of bool
            See ``distinct``.
        """
        assert self.even is not None, "all tiles have one size"
        counts, _ = self.even
        if window.band.empty:
            return 0
        along = [window.side(loop.axis) is not None for loop in self.loops]
        depths = [depth for depth, count in enumerate(counts) if along[depth] and count > 1]
        marks = zip(counts, counted, along, strict=True)
        times = prod(n for n, wanted, a in marks if wanted and not a)
        wanted = tuple(counted[depth] for depth in depths)
        if all(wanted):
            # Ungoverned loops inside run all iterations.
            times *= prod(counts[depth] for depth in depths if depth >= window.governed)
            depths = [depth for depth in depths if depth < window.governed]
            wanted = wanted[: len(depths)]
        alone, left, band = self._projected(window, depths)
        return times * windowed_distinct(alone, wanted, left, band, one)

    @cached_property
    def _constant_trip_counts(self) -> list[bool]:
        """Flags of the loops: True if a loop has equally many iterations wherever it is entered."""
        window = self.window or EVERYTHING
        return [
            depth >= window.governed or window.side(loop.axis) is None
            for depth, loop in enumerate(self.loops)
        ]

    def _projected(
        self, window: Window, depths: list[int]
    ) -> tuple[tuple[Loop, ...], Extents, Window]:
        """Return the loops at ``depths`` without their names, the extents of their axes, and their
        window."""
        loops = [self.loops[depth] for depth in depths]
        axes = list(dict.fromkeys(loop.axis for loop in loops))
        place: dict[int | None, int] = {axis: number for number, axis in enumerate(axes)}
        plus, minus = place.get(window.plus), place.get(window.minus)
        band = Window(
            plus=plus,
            minus=minus,
            plus_scale=1 if plus is None else window.plus_scale,
            minus_scale=1 if minus is None else window.minus_scale,
            band=window.band,
            governed=sum(depth < window.governed for depth in depths),
        )
        alone = tuple(Loop("", place[loop.axis], loop.stride, 0, "") for loop in loops)
        return alone, tuple(self.extents[axis] for axis in axes), band

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
        if self.even is None:
            tiles = windowed_distinct(self.loops, relevant, self.extents, self.window, size)
        else:
            tiles = size(self.even[1]) * self.distinct(relevant)
        return min(whole, tiles)


@dataclass(frozen=True, kw_only=True)
class LoopSpace(Memoized):
    """Iteration space with its loops: ``temporal`` ones around ``spatial`` ones along an array.

    10 rows in tiles of 4, with the rows of a tile on 4 lanes:

    >>> rows = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> lanes = Loop(member="M0", axis=0, stride=1, level=0, variable="m", dimension="lanes")
    >>> axis = Axis(name="M", extent=10, variables=(("m", 1),))
    >>> space = LoopSpace(axes=(axis,), temporal=(rows,), spatial=(lanes,))
    >>> space.iterations, space.points, space.fills((True,)), space.fills((False,))
    (3, 10, 10, 4)
    """

    axes: tuple[Axis, ...]
    temporal: tuple[Loop, ...]
    spatial: tuple[Loop, ...]
    window: Window | None = None
    """Window of the iterations that the mask keeps; None if all iterations run."""

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
        rank (member)."""
        found: dict[str, int] = {}
        rest = list(self.extents)
        for loop in self.temporal:
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
            rest[loop.axis] = min(rest[loop.axis], loop.stride)
        for loop in self.spatial:
            found[loop.member] = -(-rest[loop.axis] // loop.stride)
        return found

    @cached_property
    def loop_is_nonunit(self) -> tuple[bool, ...]:
        """Flags of the loops, temporal loops first: True if a loop has more than one iteration."""
        return tuple([n > 1 for n in self.trip_counts.values()])

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
        return self.changes((True,) * len(self.temporal))

    @memoized
    def changes(self, moved: tuple[bool, ...]) -> int:
        """Count how many values of a tensor the array's first processing element takes one after
        the other.

        Parameters
        ----------
        moved : tuple of bool
            True for each temporal loop that brings another value.
        """
        return self.whole.delivered(moved, one)

    @memoized
    def fills(self, moved: tuple[bool, ...]) -> int:
        """Count how many values of a tensor all processing elements take together.

        Processing elements without points do not count.

        Parameters
        ----------
        moved : tuple of bool
            See ``changes``.
        """
        return self.whole.delivered(moved, partial(count_points, self.spatial))
