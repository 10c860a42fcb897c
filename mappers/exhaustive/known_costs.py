"""What subspaces of one region have in common: an Einsum in the same loops, whose tensors go the
same ways, costs the same in all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from archsim.bound.record import BoundEinsum
from archsim.bound.residency import Residency
from archsim.cost.accesses import StopOnTheWay, Uses

from .measures import Linear, OpenMeasure


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an element costs at a place."""

    read_pj: float
    write_pj: float
    cycles: float
    """To move it; 0 where bandwidth is unlimited."""


Route = tuple[tuple[StopOnTheWay, ...], bool]
"""Places on the way of an access, and whether what it reads waits in its own registers."""

NO_ROUTE = -1
"""Of an access whose tensor would be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCosts:
    """Costs that subspaces of one region have in common."""

    places: dict[OpenMeasure, int] = field(default_factory=dict)
    """Measures, by their places in sums."""
    rows: dict[tuple[object, ...], list[Linear]] = field(default_factory=dict)
    goings: dict[tuple[object, ...], int] = field(default_factory=dict)
    """Arrays and loops of Einsums, numbered: what decides what they cost."""
    nests: dict[tuple[object, ...], int] = field(default_factory=dict)
    """The same with what is shared of the loops: what decides what an Einsum finds of others."""
    routes: dict[Route, int] = field(default_factory=dict)
    """Routes of accesses, numbered."""
    alternatives: dict[tuple[object, ...], list[int]] = field(default_factory=dict)
    """By an access and the loops of who has to do with its tensor the routes for those of the
    tensor's places that are in memories alone, or in registers."""
    registers: dict[tuple[object, ...], Uses[Linear]] = field(default_factory=dict)
    prices: dict[tuple[str, str], Price] = field(default_factory=dict)
    """By place and tensor."""
    tiles: dict[tuple[object, ...], Linear] = field(default_factory=dict)
    """Bytes that an access has at a level, by the loops outside of it."""
    residencies: dict[str, list[Residency]] = field(default_factory=dict)
    """The places of all tensors, with each alternative of one."""

    def going(self, e: BoundEinsum) -> int:
        """The number of an Einsum's array and its loops: all of it that decides its costs."""
        spatial = tuple((x.member, x.dimension) for x in e.spatial)
        key = (e.array.name, tuple((x.member, x.level) for x in e.going), spatial)
        return self.goings.setdefault(key, len(self.goings))

    def nest(self, e: BoundEinsum) -> int:
        """The number of all of an Einsum that decides what it finds, and what others find of it."""
        shared = sum(e.widths[x.member] > 1 for x in e.shared)
        key = (self.going(e), shared, e.outside)
        return self.nests.setdefault(key, len(self.nests))

    def outer_nest(self, e: BoundEinsum, inner: int, *, line: bool) -> int:
        """The number of all of an Einsum that decides what it finds in memories, and what others
        find of it there: its loops outside of the innermost of them.

        Parameters
        ----------
        inner : int
            The index of the innermost memory.
        line : bool
            Whether all arrays have the same memories.
        """
        outer = tuple((x.member, x.level) for x in e.going if x.level < inner)
        shared = sum(e.widths[x.member] > 1 and x.level < inner for x in e.shared)
        key = (outer, shared, e.outside, "" if line else e.array.name)
        return self.nests.setdefault(key, len(self.nests))
