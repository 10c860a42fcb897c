"""Tiles that several cores need from a shared memory: halos under a mask, and shared gathers.

A tensor that does not vary along a partitioned rank is the same for all cores. Under a mask they
need different parts of it: each core's halo. Gathers of several cores may need the same elements:
a memory that has room for all positions holds each element once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import gcd, prod
from typing import NamedTuple

from ..iteration.access_map import AccessMap, GatheredIndex
from ..iteration.loops import Extents
from .partition import RankPartition
from .record import Bound, BoundEinsum


class Halo(NamedTuple):
    """Elements of the other rank of a mask that a part has a point with, from ``begin`` on."""

    axis: int
    """Of the other rank."""
    scale: int
    """Elements of that rank in a unit of the axis."""
    first: int
    """The first element, in elements of the rank, if the rank went on at both ends: may be below
    zero."""
    past: int
    """What would come after the last element then: may be beyond the rank."""
    whole: int
    """Elements of the rank."""

    @property
    def begin(self) -> int:
        """The first element."""
        return max(0, self.first)

    @property
    def end(self) -> int:
        """What comes after the last element."""
        return min(self.whole, self.past)

    def has(self, other: Halo, later: int) -> bool:
        """Whether all that another part reaches is reached, as far as rows go through it so much
        later than the first, too."""
        before = self.first <= other.first or self.first + later <= 0
        after = self.past >= other.past or self.past - later >= self.whole
        return other.end <= other.begin or (before and after)


def halo_of(e: BoundEinsum, s: RankPartition) -> Halo | None:
    """What a part's Einsum reaches of the rank that its mask compares with the one in parts.

    Parameters
    ----------
    e : BoundEinsum
        As the part has it.
    s : Spread
        The rank in parts.

    Returns
    -------
    MaskReach or None
        None where no band leaves it anything out.
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
    """What all parts of a rank reach, by kind of part; None where they need the same.

    Parameters
    ----------
    bound : Bound
        What one of the instances runs.
    e : BoundEinsum
        One of its Einsums.
    s : Spread
        The rank in parts.
    """
    return bound.memo(_reaches, e.name, s)


def _reaches(bound: Bound, name: str, s: RankPartition) -> tuple[Halo, ...] | None:
    if not s.work_order or s.variable not in bound.by_name[name].variables:
        return None
    at = bound.cores.partitions.index(s)
    parts = {
        kinds[at]: (problem or bound).by_name[name]
        for kinds, problem in bound.cores.problems.items()
        if not any(kind for n, kind in enumerate(kinds) if n != at)
    }
    found = [halo_of(parts[kind], s) for kind in range(len(parts))]
    known = tuple(r for r in found if r is not None)
    return known if len(known) == len(found) else None


def varies_along_halo(access_map: AccessMap, e: BoundEinsum, reach: Halo) -> bool:
    """Whether a tensor has other elements along what parts reach.

    Parameters
    ----------
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    e : BoundEinsum
    reach : MaskReach
        Of any of the parts.
    """
    return not access_map.moving.isdisjoint(
        variable for variable, _ in e.axes[reach.axis].variables
    )


class UniqueHalo(NamedTuple):
    """Parts of a rank each of which is at another tile."""

    axis: int
    """Along which the tiles differ."""
    most: int
    """Different tiles at a time, at the most."""
    shares: tuple[Fraction, ...]
    """By kind of part what comes in for it and is not there for another one."""


def unique_halo(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: Extents, s: RankPartition
) -> UniqueHalo | None:
    """How many tiles of a tensor parts are at together that does not move with their rank.

    Parts go on tile by tile, all at once. Where one of them needs all that any other does, the
    others wait for its tiles.

    Parameters
    ----------
    bound : Bound
        What one of the instances runs.
    e : BoundEinsum
        One of its Einsums.
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    level : int
        Index of the memory to which tiles come, outside of the instances.
    tile : tuple of int
        What loops leave there of each axis.
    s : Spread
        The rank in parts.

    Returns
    -------
    TilesApart or None
        None where all are at the same tile.
    """
    if s.level < level or s.variable in access_map.moving:
        return None
    reaches = halos_of(bound, e, s)
    if reaches is None:
        return None
    axis, scale = reaches[0][:2]
    if not varies_along_halo(access_map, e, reaches[0]) or tile[axis] >= e.extents[axis]:
        return None
    there = [reach for reach in reaches if reach.end > reach.begin]
    if len({s.size(number) for number in range(s.parts - 1)}) > 1:
        # Some do a tile sooner than others.
        return UniqueHalo(axis, len(there), (Fraction(1),) * len(reaches))
    rows = _rows_in_turn(e, level, axis, s)
    if all(reaches[0].has(reach, max(rows[1:]) - rows[0]) for reach in there):
        return None
    most, shares = tiles_in_step(reaches, tile[axis] * scale, rows)
    # One that another has all of, but for its last tile, goes on by itself.
    return UniqueHalo(axis, max(2, most), shares)


def _rows_in_turn(e: BoundEinsum, level: int, axis: int, s: RankPartition) -> tuple[int, ...]:
    """Rows for which parts go through tiles anew, and all rows of every kind of part; or that all
    go through them once."""
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
    reaches: tuple[Halo, ...], size: int, rows: tuple[int, ...]
) -> tuple[int, tuple[Fraction, ...]]:
    """Different tiles of parts that begin together and go on together, and what each brings.

    Parameters
    ----------
    reaches : tuple of MaskReach
        Of every part.
    size : int
        Elements of a tile.
    rows : tuple of int
        Rows for which parts go through tiles anew, and how many each has.

    Returns
    -------
    tuple of (int, tuple of Fraction)
        The most tiles at a time; by part the share of its tiles that is not there for another: at
        which none before it is at the time, and none was just before.

    Examples
    --------
    Four parts reach 12 elements each, 8 apart, in tiles of 8. Two of them begin with the second
    element of a tile, and so on: each but the last leaves the next one's first tile to it.

    >>> reaches = [Halo(0, 1, 8 * n + 1, 8 * n + 13, 64) for n in range(3)]
    >>> most, shares = tiles_in_step(tuple(reaches), 8, (1, 1, 1, 1))
    >>> most, [str(share) for share in shares]
    (3, ['1/2', '1/2', '1'])
    """
    most = 0
    new, every = [0] * len(reaches), [0] * len(reaches)
    at_once, *own = rows
    for step in range(0, max(own), at_once):
        longest: dict[int, int] = {}
        spans: list[tuple[int, int]] = []
        for reach, length in zip(reaches, own, strict=True):
            # The part's later rows reach farther, by as much as they are later.
            end = min(reach.whole, reach.past - max(0, length - at_once - step))
            first = max(0, reach.first + step)
            tile, count = first // size, max(0, -(-end // size) - first // size)
            spans.append((tile, count if end > first and step < length else 0))
            longest[tile] = max(longest.get(tile, 0), spans[-1][1])
        most = max(most, sum(1 for count in longest.values() if count))
        before: dict[int, int] = {}
        for kind, (tile, count) in enumerate(spans):
            # Others are there up to ``same``, and have been one sooner from 1 up to ``left``.
            same, left = before.get(tile, 0), longest.get(tile + 1, 0)
            there = max(same, left + 1 if left else 0)
            alone = 1 if left and not same else 0
            new[kind] += min(count, max(0, count - there) + alone)
            every[kind] += count
            before[tile] = max(same, count)
    shares = (Fraction(n, of) if of else Fraction(0) for n, of in zip(new, every, strict=True))
    return most, tuple(shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGather:
    """An access of which a memory holds all that instances could pick."""

    e: BoundEinsum
    """The Einsum on all of the work."""
    access_map: AccessMap
    """What it addresses."""
    by: frozenset[str]
    """Rank variables that move the picks, and nothing else of the access."""
    shared: frozenset[str]
    """Those of them that are in parts."""

    def all_of(self, size: Callable[[Extents], int]) -> Callable[[Extents], int]:
        """The size of a tile, whatever is picked, given what loops leave of the other axes.

        Parameters
        ----------
        size : callable
            That of a tile of the whole work.
        """
        whole = {
            number: self.e.extents[number]
            for number, axis in enumerate(self.e.axes)
            if any(v in self.by for v, _ in axis.variables)
        }
        return lambda extents: size(tuple(whole.get(n, x) for n, x in enumerate(extents)))

    def delivered(self, e: BoundEinsum, level: int, size: Callable[[Extents], int]) -> int:
        """What comes to the memory while one instance works, under loops that do not pick.

        Parameters
        ----------
        e : BoundEinsum
            What the instance runs. Tiles that its mask leaves out count.
        level : int
            The memory's index.
        size : callable
            As of ``all_of``.
        """
        nest = replace(e.nest(level), window=None)
        moving = self.access_map.moving - self.by
        relevant = tuple(loop.variable in moving for loop in nest.loops)
        return nest.delivered(relevant, self.all_of(size))


def shared_gather(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: Extents
) -> SharedGather | None:
    """What a memory holds for all instances, if their picks are as many as there are positions.

    Parameters
    ----------
    bound : Bound
        What one instance runs.
    e : BoundEinsum
        One of its Einsums.
    access_map : AccessMap
        One of the Einsum's ``access_maps``.
    level : int
        Index of a memory that feeds instances, or is outside of one.
    tile : tuple of int
        What an instance's loops leave of each axis.

    Returns
    -------
    HeldTogether or None
        None also where what is picked does not depend on ranks in parts.
    """
    spread = [s for s in bound.cores.partitions if s.level >= level]
    if not spread or e.is_initial or access_map not in e.reads:
        return None
    whole = bound.whole.by_name[e.name]
    of_all = whole.reads[e.reads.index(access_map)]
    picked = next((p for p in of_all.parts if isinstance(p, GatheredIndex) and p.by), None)
    if picked is None or bound.cores.ring.rank(access_map.access.tensor) is not None:
        return None
    spread = [s for s in spread if s.variable in picked.by]
    axes = {a.variables[0][0]: n for n, a in enumerate(e.axes) if len(a.variables) == 1}
    alike = [[v for v, _ in a.variables] for a in e.axes] == [
        [v for v, _ in a.variables] for a in whole.axes
    ]
    if not spread or not alike or any(s.variable not in axes for s in spread):
        return None
    extents = list(tile)
    for s in spread:
        number = axes[s.variable]
        extents[number] = min(whole.extents[number], extents[number] * s.parts)
    if not picked.holds_all_positions(tuple(extents)):
        return None
    shared = frozenset(s.variable for s in spread)
    return SharedGather(e=whole, access_map=of_all, by=picked.by, shared=shared)


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
    """Elements that a memory holds of a tensor for all instances that it feeds, or reads for them.

    Parameters
    ----------
    bound, e, access_map, level, tile
        As of ``shared_gather``.
    size : int
        Elements that it holds, or reads, for one of them.
    to : int, optional
        Index of the memory for which it reads.
    """
    if not bound.cores.partitions:
        return size
    copies = bound.cores.copies(access_map, level)
    found = size * copies
    for s in bound.cores.partitions:
        if (apart := unique_halo(bound, e, access_map, level, tile, s)) is not None:
            along = apart.axis
            whole = access_map.size((*tile[:along], e.extents[along], *tile[along + 1 :]))
            found = min(apart.most * found, copies * whole)
    held = shared_gather(bound, e, access_map, level if to is None else to, tile)
    if held is None:
        return found
    others = prod(
        s.parts
        for s in bound.cores.partitions
        if s.level >= level and s.variable in access_map.moving and s.variable not in held.shared
    )
    return min(found, others * held.all_of(held.access_map.size)(tile))
