"""Tiles that several cores need from a shared memory: halos under a mask, and shared gathers.

A tensor that does not vary along a partitioned rank is common to all cores. Under a mask the cores
need different parts of it: each core's halo. Gathers of several cores may need equal elements. A
memory with capacity for all positions holds each element once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from ..iteration.access_map import AccessMap, GatheredIndex
from ..iteration.loops import Extents
from .partition import RankPartition
from .record import Bound, BoundEinsum


class Halo(NamedTuple):
    """Range of coordinates that one core's part needs along the other rank of a mask.

    For a causal mask partitioned by queries, it is the range of keys that the core's queries keep.
    """

    axis: int
    """Position of the other rank's axis in the Einsum's iteration space."""
    scale: int
    """Coordinates of the other rank in one unit of the axis."""
    first: int
    """First coordinate of the range, before clipping to the rank; may be negative."""
    past: int
    """Coordinate after the last one of the range, before clipping; may be beyond the rank."""
    whole: int
    """Size of the other rank."""

    @property
    def begin(self) -> int:
        """First coordinate of the range inside the rank."""
        return max(0, self.first)

    @property
    def end(self) -> int:
        """Coordinate after the last one of the range inside the rank."""
        return min(self.whole, self.past)

    def has(self, other: Halo, later: int) -> bool:
        """Return whether the halo contains another one, also after both advance by up to ``later``
        rows."""
        before = self.first <= other.first or self.first + later <= 0
        after = self.past >= other.past or self.past - later >= self.whole
        return other.end <= other.begin or (before and after)


def halo_of(e: BoundEinsum, s: RankPartition) -> Halo | None:
    """Return the halo of one core's Einsum: the range it needs along the other rank of its mask.

    The mask must compare that rank with the partitioned one.

    Parameters
    ----------
    e : BoundEinsum
        Einsum of the part.
    s : RankPartition
        Partitioned rank.

    Returns
    -------
    Halo or None
        None if no band restricts the Einsum.
    """
    window = e.window
    if window is None or window.plus is None or window.minus is None:
        return None
    band = window.band
    if _goes_along(e, window.plus, s):
        axis, scale = window.minus, window.minus_scale
        return Halo(axis, scale, -band.high, band.columns - band.low, band.rows)
    if _goes_along(e, window.minus, s):
        axis, scale = window.plus, window.plus_scale
        return Halo(axis, scale, band.low, band.high + band.rows, band.columns)
    return None


def _goes_along(e: BoundEinsum, axis: int, s: RankPartition) -> bool:
    return any(variable == s.variable for variable, _ in e.axes[axis].variables)


def halos_of(bound: Bound, e: BoundEinsum, s: RankPartition) -> tuple[Halo, ...] | None:
    """Return the halos of all parts of a rank, by kind of part; None if no mask makes the parts
    differ.

    Parameters
    ----------
    bound : Bound
        Nest of one core.
    e : BoundEinsum
        One of its Einsums.
    s : RankPartition
        Partitioned rank.
    """
    return bound.memo(_halos, e.name, s)


def _halos(bound: Bound, name: str, s: RankPartition) -> tuple[Halo, ...] | None:
    if not s.work_order or s.variable not in bound.by_name[name].variables:
        return None
    at = bound.cores.partitions.index(s)
    parts = {
        kinds[at]: nest.by_name[name]
        for kinds, nest in bound.core_nests.items()
        if not any(kind for n, kind in enumerate(kinds) if n != at)
    }
    found = [halo_of(parts[kind], s) for kind in range(len(parts))]
    known = tuple(r for r in found if r is not None)
    return known if len(known) == len(found) else None


def varies_along_halo(access_map: AccessMap, e: BoundEinsum, halo: Halo) -> bool:
    """Return whether an access touches other tensor elements as it moves along a halo.

    Parameters
    ----------
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    e : BoundEinsum
    halo : Halo
        Halo of any part.
    """
    return not access_map.moving.isdisjoint(variable for variable, _ in e.axes[halo.axis].variables)


class UniqueHalo(NamedTuple):
    """Tiles of a tensor that cores use at different times, because their halos differ."""

    axis: int
    """Axis along which the tiles differ."""
    most: int
    """Largest number of different tiles that cores use at one time."""
    shares: tuple[Fraction, ...]
    """Share of a part's tiles that arrive for this part alone, by kind of part."""


def unique_halo(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: Extents, s: RankPartition
) -> UniqueHalo | None:
    """Return how many different tiles of a tensor cores use at a time, and each core's own share.

    The tensor does not vary along the partitioned rank. Cores advance tile by tile together. If one
    core needs the tiles of all other cores, these wait for its tiles.

    Parameters
    ----------
    bound : Bound
        Nest of one core.
    e : BoundEinsum
        One of its Einsums.
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    level : int
        Index of the memory that receives the tiles, outside of the cores.
    tile : tuple of int
        Extents of a tile there.
    s : RankPartition
        Partitioned rank.

    Returns
    -------
    UniqueHalo or None
        None if all parts use the same tile.
    """
    if s.level < level or s.variable in access_map.moving:
        return None
    halos = halos_of(bound, e, s)
    if halos is None:
        return None
    axis, scale = halos[0][:2]
    if not varies_along_halo(access_map, e, halos[0]) or tile[axis] >= e.extents[axis]:
        return None
    there = [halo for halo in halos if halo.end > halo.begin]
    if len({s.size(number) for number in range(s.parts - 1)}) > 1:
        # Some parts finish a tile sooner than others.
        parts = [len(numbers) for numbers in s.kinds]
        most = sum(n for n, halo in zip(parts, halos, strict=True) if halo.end > halo.begin)
        return UniqueHalo(axis, most, tuple(map(Fraction, parts)))
    rows = _rows_in_turn(e, level, axis, s)
    if all(halos[0].has(halo, max(rows[1:]) - rows[0]) for halo in there):
        return None
    most, shares = tiles_in_step(halos, tile[axis] * scale, rows)
    # A part whose tiles another one covers, except for the last, advances by itself.
    return UniqueHalo(axis, max(2, most), shares)


def _rows_in_turn(e: BoundEinsum, level: int, axis: int, s: RankPartition) -> tuple[int, ...]:
    """Return the number of rows in one traversal of the tiles, then the rows of each kind of part.

    All are 1 if a part traverses the tiles once.
    """
    window = e.window
    loops = e.nest(level).loops
    inner = max((n for n, loop in enumerate(loops) if loop.axis == axis), default=0)
    rows = [loop for loop in loops[:inner] if _goes_along(e, loop.axis, s)]
    if window is None or not rows:
        return (1,) * (1 + len(s.kinds))
    scale = window.minus_scale if rows[0].axis == window.minus else window.plus_scale
    unit = e.extents[rows[0].axis] * scale // s.extent(0)
    step = gcd(*(loop.stride for loop in rows)) * scale
    return step, *(s.extent(kind) * unit for kind in range(len(s.kinds)))


@lru_cache(maxsize=1 << 12)
def tiles_in_step(
    halos: tuple[Halo, ...], size: int, rows: tuple[int, ...]
) -> tuple[int, tuple[Fraction, ...]]:
    """Count the different tiles that parts use at a time, and the share that only one part fetches.

    The parts begin and advance together.

    Parameters
    ----------
    halos : tuple of Halo
        Halos of all parts.
    size : int
        Elements of a tile.
    rows : tuple of int
        Rows after which parts pass through the tiles again, and the rows of each part.

    Returns
    -------
    tuple of (int, tuple of Fraction)
        The most tiles at a time; and for each part the share of its tiles that no other part has:
        no earlier part is at the tile, and none was just before.

    Examples
    --------
    Parts need 12 elements each, 8 apart, in tiles of 8. Each begins with the second element of
    a tile: each part but the last leaves the next one's first tile to it.

    >>> halos = [Halo(0, 1, 8 * n + 1, 8 * n + 13, 64) for n in range(3)]
    >>> most, shares = tiles_in_step(tuple(halos), 8, (1, 1, 1, 1))
    >>> most, [str(share) for share in shares]
    (3, ['1/2', '1/2', '1'])
    """
    most = 0
    new, every = [0] * len(halos), [0] * len(halos)
    at_once, *own = rows
    for step in range(0, max(own), at_once):
        most_tiles: dict[int, int] = {}
        spans: list[tuple[int, int]] = []
        for halo, length in zip(halos, own, strict=True):
            # Later rows of a part reach farther by their distance.
            end = min(halo.whole, halo.past - max(0, length - at_once - step))
            first = max(0, halo.first + step)
            tile, count = first // size, max(0, -(-end // size) - first // size)
            spans.append((tile, count if end > first and step < length else 0))
            most_tiles[tile] = max(most_tiles.get(tile, 0), spans[-1][1])
        most = max(most, sum(1 for count in most_tiles.values() if count))
        before: dict[int, int] = {}
        for kind, (tile, count) in enumerate(spans):
            # Other parts are at the tile up to ``same``, and were one tile ahead from 1 up to
            # ``left``.
            same, left = before.get(tile, 0), most_tiles.get(tile + 1, 0)
            there = max(same, left + 1 if left else 0)
            alone = 1 if left and not same else 0
            new[kind] += min(count, max(0, count - there) + alone)
            every[kind] += count
            before[tile] = max(same, count)
    shares = (Fraction(n, of) if of else Fraction(0) for n, of in zip(new, every, strict=True))
    return most, tuple(shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGather:
    """Gather of several cores whose elements a common memory holds once."""

    e: BoundEinsum
    """Einsum as it is in the whole work, not in one core's."""
    access_map: AccessMap
    """Access map of the gather in the whole work."""
    by: frozenset[str]
    """Rank variables that change only the gathered indices of the access."""
    shared: frozenset[str]
    """Variables in ``by`` whose ranks are partitioned over the cores."""

    def all_of(self, size: Callable[[Extents], int]) -> Callable[[Extents], int]:
        """Return a function like ``size``, but with all elements that the gather could reach.

        The returned function extends the axes in ``by`` to their whole extents.

        Parameters
        ----------
        size : callable
            Size of a tile of the whole work.
        """
        whole = {
            number: self.e.extents[number]
            for number, axis in enumerate(self.e.axes)
            if any(v in self.by for v, _ in axis.variables)
        }
        return lambda extents: size(tuple(whole.get(n, x) for n, x in enumerate(extents)))

    def delivered(self, e: BoundEinsum, level: int, size: Callable[[Extents], int]) -> int:
        """Return how many elements arrive in the memory while one core works.

        Loops over variables in ``by`` bring nothing: the memory already holds all gathered
        elements.

        Parameters
        ----------
        e : BoundEinsum
            Einsum of the core. Tiles that its mask skips count.
        level : int
            Index of the memory.
        size : callable
            See ``all_of``.
        """
        nest = replace(e.nest(level), window=None)
        moving = self.access_map.moving - self.by
        relevant = tuple(loop.variable in moving for loop in nest.loops)
        return nest.delivered(relevant, self.all_of(size))


def shared_gather(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: Extents
) -> SharedGather | None:
    """Return the gather that a memory holds once for all cores.

    The cores together must gather at least as often as there are positions.

    Parameters
    ----------
    bound, e, access_map
        See ``unique_halo``.
    level : int
        Index of a memory that feeds cores, or is outside of one.
    tile : tuple of int
        Extents of a tile of one core.

    Returns
    -------
    SharedGather or None
        None, too, if the gathered indices do not depend on partitioned ranks.
    """
    partitions = [s for s in bound.cores.partitions if s.level >= level]
    if not partitions or e.is_initial or access_map not in e.reads:
        return None
    whole = bound.whole.by_name[e.name]
    of_all = whole.reads[e.reads.index(access_map)]
    gather = next((p for p in of_all.parts if isinstance(p, GatheredIndex) and p.by), None)
    if gather is None or bound.cores.ring.rank(access_map.access.tensor) is not None:
        return None
    partitions = [s for s in partitions if s.variable in gather.by]
    axes = {a.variables[0][0]: n for n, a in enumerate(e.axes) if len(a.variables) == 1}
    same_axes = [[v for v, _ in a.variables] for a in e.axes] == [
        [v for v, _ in a.variables] for a in whole.axes
    ]
    if not partitions or not same_axes or any(s.variable not in axes for s in partitions):
        return None
    extents = list(tile)
    for s in partitions:
        number = axes[s.variable]
        extents[number] = min(whole.extents[number], extents[number] * s.parts)
    if not gather.holds_all_positions(tuple(extents)):
        return None
    shared = frozenset(s.variable for s in partitions)
    return SharedGather(e=whole, access_map=of_all, by=gather.by, shared=shared)


def size_for_all_cores(
    bound: Bound,
    e: BoundEinsum,
    access_map: AccessMap,
    level: int,
    tile: Extents,
    size: int,
    *,
    to: int | None = None,
) -> int:
    """Return how many elements of a tensor a memory holds, or reads, for all cores that it feeds.

    Parameters
    ----------
    bound, e, access_map, level, tile
        See ``shared_gather``.
    size : int
        Elements that the memory holds, or reads, for one core.
    to : int, optional
        Index of the memory for which it reads.
    """
    if not bound.cores.partitions:
        return size
    copies = bound.cores.copies(access_map, level)
    found = size * copies
    for s in bound.cores.partitions:
        if (unique := unique_halo(bound, e, access_map, level, tile, s)) is not None:
            along = unique.axis
            whole = access_map.size((*tile[:along], e.extents[along], *tile[along + 1 :]))
            found = min(unique.most * found, copies * whole)
    gather = shared_gather(bound, e, access_map, level if to is None else to, tile)
    if gather is None:
        return found
    others = bound.cores.copies(access_map, level, gather.shared)
    return min(found, others * gather.all_of(gather.access_map.size)(tile))
