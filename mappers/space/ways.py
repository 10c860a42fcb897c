"""How an Einsum may run in a region: arrays, what lies along them, and orders of its own loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, prod

from archsim.spec.arch import Architecture
from einsum_cascade.ir import Einsum, Program
from einsum_cascade.memo import cached_property
from einsum_cascade.operations import operations_of

from ..arrays import arrays_of
from .array_tiles import outer_parts_first
from .constraints import NO_CONSTRAINTS, Constraints
from .factorisation import Factorisation, unlaid_ranks
from .layout import Along, LayableRank, Layout, layouts_of
from .least_shares import least_shares

_LAYOUTS = 4
"""Layouts of an Einsum on one array, at the most."""

_SMALL, _OF_SMALL = 0.02, 2
"""Of an Einsum with less than such a share of the work so many are enough."""

_NEAR = 2
"""Layouts that fill an array less by more than this factor are left aside."""

SLOWEST = 2
"""So are ways in which one Einsum takes so many times longer than all have to take together."""


@dataclass(frozen=True, slots=True)
class Way:
    """How an Einsum runs: its array, what lies along it, and the order of its own loops."""

    array: str
    along: Along
    order: tuple[str, ...]
    """Its ranks, outermost first, parallel ones and those that others share among them."""
    alone: bool = False
    """Whether it stays outside of all shared loops, before them or after."""


@dataclass(frozen=True, kw_only=True)
class EinsumWays:
    """Ways of the Einsums of a cascade whose ranks are cut so."""

    program: Program
    architecture: Architecture
    shapes: dict[str, int]
    factorisations: tuple[Factorisation, ...]
    least_cycles: float
    """What no mapping takes less than: ways that are much slower are left aside."""
    slow: bool
    """Whether these are not, as nobody asks how long anything takes."""
    plain: bool
    """Whether each Einsum has few layouts on an array, and one order of loops, alone."""
    constraints: Constraints = NO_CONSTRAINTS

    @cached_property
    def _cut_of(self) -> dict[str, Factorisation]:
        return {cut.rank: cut for cut in self.factorisations}

    def of(self, e: Einsum) -> Iterator[Way]:
        """How an Einsum may run. In a subspace some of these ways may be the same."""
        found = [
            (work, array, layout)
            for array, layouts in self._able[e.name]
            for work, layout in layouts[: self._alternatives(e)]
            if work <= _NEAR * layouts[0][0]
        ]
        if not found:
            return
        most = max(SLOWEST * self.least_cycles, min(work for work, _, _ in found))
        most = inf if self.slow else most
        # Which loop is innermost is known once it is bound: where that is open, all orders are.
        one = self.plain and not self.constraints.are_on_loops_of(e.name)
        for work, array, layout in found:
            if work <= most:
                orders = self._orders(e, layout.along)[: 1 if one else None]
                yield from (Way(array, layout.along, order) for order in orders)
        if self._may_be_alone(e):
            for array, layouts in self._able[e.name]:
                if layouts[0][0] <= most:
                    for order in self._orders(e, layouts[0][1].along):
                        yield Way(array, layouts[0][1].along, order, alone=True)

    def _alternatives(self, e: Einsum) -> int:
        """Layouts of an Einsum on one array that are looked at."""
        if self.plain:
            return _OF_SMALL
        least = min(layouts[0][0] for _, layouts in self._able[e.name])
        return _LAYOUTS if least > _SMALL * self.least_cycles else _OF_SMALL

    def _may_be_alone(self, e: Einsum) -> bool:
        """Whether an Einsum may run before all shared loops, as it needs no other, or after them,
        as no other needs it."""
        written = {x.name for x in self.program.einsums}
        first = all(a.tensor not in written for a in e.reads)
        return first or all(a.tensor != e.name for x in self.program.einsums for a in x.reads)

    @property
    def least_work(self) -> tuple[dict[str, float], ...]:
        """Cycles that each Einsum takes at the least, by the arrays that can do it."""
        return tuple(
            {array: layouts[0][0] for array, layouts in able} for able in self._able.values()
        )

    @cached_property
    def _able(self) -> dict[str, tuple[tuple[str, tuple[tuple[float, Layout], ...]], ...]]:
        """By Einsum, the arrays that can do it with its layouts there and their cycles."""
        operations = self.program.memo(operations_of)
        found = {}
        for e in self.program.einsums:
            able = []
            for array in arrays_of(self.program, e, self.architecture):
                cycles = float(array.cycles_of(operations[e.name])) * self._share(e.name)
                layouts = self.laid_out(e.name, array.name)
                if layouts:
                    able.append((array.name, tuple((cycles * x.iterations, x) for x in layouts)))
            found[e.name] = tuple(able)
        return found

    def _share(self, name: str) -> float:
        """What masks leave of an Einsum's iterations at the least."""
        shares = least_shares(self.program, self.architecture, self.shapes)
        cuts = (self._cut_of[r] for r in self.ranks(name))
        return shares.of(
            name, ((c.rank, self.shapes[c.rank], prod(n for _, n in c.fine)) for c in cuts)
        )

    def laid_out(self, name: str, array: str) -> tuple[Layout, ...]:
        """What an Einsum may lay out on an array, best first; nothing if not allowed."""
        machine = self.architecture.array(array)
        assert machine is not None, "arrays come from the machine"
        unlaid = unlaid_ranks(self.program, name)
        cuts = [self._cut_of[r] for r in self.ranks(name)]
        cuts.sort(key=lambda c: self._common[c.rank])
        free = [
            LayableRank(c.rank, self.shapes[c.rank], c.fine) for c in cuts if c.rank not in unlaid
        ]
        still = prod(self.shapes[c.rank] for c in cuts if c.rank in unlaid)
        allowed = self.constraints.layouts(name, array, self._part_of.__getitem__)
        return layouts_of(free, machine.dimensions, still, allowed)

    @cached_property
    def _part_of(self) -> dict[str, tuple[str, int]]:
        """Of every member that arrays may take its rank, and how many parts there are."""
        return {member: (cut.rank, n) for cut in self.factorisations for member, n in cut.fine}

    @cached_property
    def _common(self) -> dict[str, int]:
        """Ranks by how many Einsums have them, the most common first, parallel ones last."""
        variables = [e.variables for e in self.program.einsums]
        often = {c.rank: sum(c.rank.lower() in v for v in variables) for c in self.factorisations}
        return {rank: n for n, rank in enumerate(sorted(often, key=lambda r: -often[r]))}

    def ranks(self, name: str) -> tuple[str, ...]:
        """Ranks of an Einsum, in the order of the cuts."""
        variables = self.program.einsum_of[name].variables
        parallel = self.program.parallel
        return tuple(r for r in self._cut_of if r in parallel or r.lower() in variables)

    def _orders(self, e: Einsum, along: Along) -> tuple[tuple[str, ...], ...]:
        """Orders of an Einsum's ranks: each of those that go round once inside of all others,
        which are as written, those of the result outside of what it sums over."""
        laid = {m for _, members in along for m in members}
        ranks = self.ranks(e.name)
        results = {*(v.upper() for v in e.target.variables), *self.program.parallel}
        moving = [
            r
            for r in ranks
            if (c := self._cut_of[r]).levelled or any(m not in laid for m, n in c.fine if n > 1)
        ]
        first = sorted(ranks, key=lambda r: r not in results)
        # Of QK[p, m] = Q[p, e] * K[m, e]: (P, M, E) as written, then with P, M or E innermost.
        found = [first, *([*(x for x in first if x != r), r] for r in moving)]
        seen: dict[tuple[str, ...], tuple[str, ...]] = {}
        for order in found:
            ordered = tuple(outer_parts_first(self.program, order))
            seen.setdefault(tuple(r for r in ordered if r in moving), ordered)
        return tuple(seen.values())
