"""Which way an access goes in a subspace, for each of the places where its tensor may be kept."""

from __future__ import annotations

from archsim.bound.legality import crossed_stream, interruption, is_there
from archsim.bound.record import Bound, BoundEinsum
from archsim.bound.residency import Home, Residency
from archsim.cost.accesses import in_own_registers, way_of
from archsim.space.access_map import AccessMap

from ..space.region import Region
from .known_costs import NO_ROUTE, KnownCosts, Route


def loops_of(e: BoundEinsum, access_map: AccessMap) -> tuple[object, ...]:
    """All of an Einsum that decides whether another finds what it leaves: its array, the loops
    that step through the tensor at each level, and what is laid out."""
    levels = {loop.level for loop in e.going} | {1 + max((x.level for x in e.going), default=0)}
    stepping = tuple((n, e.stepping(access_map, n)) for n in sorted(levels))
    return e.array.name, stepping, frozenset(x.member for x in e.spatial)


class AccessRoutes:
    """The routes of one subspace; those that others of its region have, too, are known.

    Parameters
    ----------
    base : Bound
        A mapping of the subspace.
    known : KnownCosts
        Of the region; what is new is added.
    """

    def __init__(self, space: Region, base: Bound, known: KnownCosts) -> None:
        self._space = space
        self._base = base
        self._known = known
        self._inner = base.register_level - 1
        self._nests: dict[tuple[int, bool], int] = {}
        self._kinds: dict[str, tuple[tuple[bool, tuple[int, ...]], ...]] = {}
        self._route_of: dict[int, Route] = {}

    def __getitem__(self, number: int) -> Route:
        """The route of a number that ``of`` gave."""
        if number not in self._route_of:
            self._route_of |= {n: route for route, n in self._known.routes.items()}
        return self._route_of[number]

    def of(self, own: BoundEinsum, writer: BoundEinsum | None, position: int) -> list[int]:
        """The number of the route of an access, for each of the tensor's places; ``NO_ROUTE``
        where it would be lost.

        Parameters
        ----------
        own, writer : BoundEinsum
            Whose access it is, and who writes the tensor, in some ways; all others are as in the
            subspace's mapping. None: it is an input.
        position : int
            Among the Einsum's ``touches``.
        """
        found: dict[int, int] = {}
        for registers, places in self._places(own.touches[position].access.tensor):
            key = (own.name, position, registers, *self._loops(own, writer, position, registers))
            known = self._known.alternatives
            if key not in known:
                known[key] = self._worked_out(own, writer, position, places)
            found.update(zip(places, known[key], strict=True))
        return [found[place] for place in range(len(found))]

    def _places(self, tensor: str) -> tuple[tuple[bool, tuple[int, ...]], ...]:
        """Numbers of a tensor's places: those in registers, and those in memories alone."""
        if tensor not in self._kinds:
            kept = [r.registers(tensor) for r in self._residencies(tensor)]
            kinds = (
                (kind, tuple(n for n, x in enumerate(kept) if bool(x) is kind))
                for kind in (False, True)
            )
            self._kinds[tensor] = tuple((kind, places) for kind, places in kinds if places)
        return self._kinds[tensor]

    def _loops(
        self, own: BoundEinsum, writer: BoundEinsum | None, position: int, registers: bool
    ) -> tuple[object, ...]:
        """The loops of who has to do with a tensor: all that decide which way an access goes."""
        others: tuple[int, ...] = ()
        if position < len(own.reads):
            # What is read is perhaps there, as another that reads it has brought it.
            place, operand = self._base.position, own.operands[position]
            names = (*operand.readers, *(same.einsum for same in operand.same))
            before = (r for r in dict.fromkeys(names) if place[r] < place[own.name])
            others = tuple(self._nest(self._base.by_name[r], registers) for r in before)
        made = NO_ROUTE if writer is None else self._nest(writer, registers)
        return self._nest(own, registers), made, others

    def _nest(self, e: BoundEinsum, registers: bool) -> int:
        """The number of what decides what an Einsum finds, and what others find of it.

        What memories hold, loops inside of all of them do not change.
        """
        if (id(e), registers) not in self._nests:
            number = (
                self._known.nest(e)
                if registers
                else self._known.outer_nest(
                    e, self._inner, line=self._base.architecture.tree.is_line
                )
            )
            self._nests[id(e), registers] = number
        return self._nests[id(e), registers]

    def _worked_out(
        self,
        own: BoundEinsum,
        writer: BoundEinsum | None,
        position: int,
        places: tuple[int, ...],
    ) -> list[int]:
        numbers = self._known.routes
        mixed = self._base.with_loops_of(own if writer is None else writer, own)
        residencies = self._residencies(own.touches[position].access.tensor)
        found: list[int] = []
        for place in places:
            route = _route(mixed.kept_otherwise(residencies[place]), own, position)
            number = NO_ROUTE if route is None else numbers.setdefault(route, len(numbers))
            found.append(number)
        return found

    def _residencies(self, tensor: str) -> list[Residency]:
        """The places of all tensors, with each of one's alternatives."""
        known = self._known.residencies
        if tensor not in known:
            levels = {m.name: n for n, m in enumerate(self._space.architecture.memories)}
            kept = dict(self._base.residency.places)
            found: list[Residency] = []
            for places in self._space.places[tensor]:
                kept[tensor] = tuple(Home(name, levels.get(name)) for name in places)
                found.append(Residency(places=tuple(kept.items())))
            known[tensor] = found
        return known[tensor]


def _route(bound: Bound, e: BoundEinsum, number: int) -> Route | None:
    """Where one access goes through; None where the tensor would be lost."""
    # Accesses are the reads in order, and then the write.
    if number == len(e.reads):
        if interruption(bound, e) is not None:
            return None
        return way_of(bound, e, number), False
    if not is_there(bound, e, number) or crossed_stream(bound, e, e.operands[number]):
        return None
    return way_of(bound, e, number), in_own_registers(bound, e, number)
