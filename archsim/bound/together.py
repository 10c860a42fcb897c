"""What instances that each have picks or keys of their own hold together, in a memory that they
share.

Queries that are spread over cores pick keys by themselves, and may pick the same: of what comes to
a memory that feeds them all there are no more different elements than there are positions to pick.
Where the picks of all tiles together are as many as the positions, the memory has room for all of
these, and each comes in once, whoever picks it: as a tile of one core stays that has as many picks
as there are positions (``AccessMap.moving_in``). Of keys under a window each has a tile of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

from ..space.access_map import AccessMap, Picked
from ..space.iteration import Extents
from .part_reach import tiles_apart
from .record import Bound, BoundEinsum


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTogether:
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


def held_together(
    bound: Bound, e: BoundEinsum, access_map: AccessMap, level: int, tile: Extents
) -> HeldTogether | None:
    """What a memory holds for all instances, if their picks are as many as there are positions.

    Parameters
    ----------
    bound : Bound
        What one instance runs.
    e : BoundEinsum
        One of its Einsums.
    access_map : AccessMap
        One of the Einsum's ``touches``.
    level : int
        Index of a memory that feeds instances, or is outside of one.
    tile : tuple of int
        What an instance's loops leave of each axis.

    Returns
    -------
    HeldTogether or None
        None also where what is picked does not depend on ranks in parts.
    """
    if bound.instances is None or e.is_initial or access_map not in e.reads:
        return None
    whole = bound.instances.whole.by_name[e.name]
    of_all = whole.reads[e.reads.index(access_map)]
    picked = next((p for p in of_all.parts if isinstance(p, Picked) and p.by), None)
    if picked is None or bound.instances.ring.rank(access_map.access.tensor) is not None:
        return None
    spread = [s for s in bound.instances.spread if s.level >= level and s.variable in picked.by]
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
    if not picked.all_held(tuple(extents)):
        return None
    shared = frozenset(s.variable for s in spread)
    return HeldTogether(e=whole, access_map=of_all, by=picked.by, shared=shared)


def size_of_all(
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
        As of ``held_together``.
    size : int
        Elements that it holds, or reads, for one of them.
    to : int, optional
        Index of the memory for which it reads.
    """
    if bound.instances is None:
        return size
    copies = bound.instances.copies(access_map, level)
    found = size * copies
    for s in bound.instances.spread:
        if (apart := tiles_apart(bound, e, access_map, level, tile, s)) is not None:
            along = apart.axis
            whole = access_map.size((*tile[:along], e.extents[along], *tile[along + 1 :]))
            found = min(apart.most * found, copies * whole)
    held = held_together(bound, e, access_map, level if to is None else to, tile)
    if held is None:
        return found
    others = prod(
        s.parts
        for s in bound.instances.spread
        if s.level >= level and s.variable in access_map.moving and s.variable not in held.shared
    )
    return min(found, others * held.all_of(held.access_map.size)(tile))
