"""What an Einsum lays out along the dimensions of an array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from archsim.spec.arch import Architecture
from einsum_cascade.ir import Program

from .array_tiles import outer_parts_first
from .factorisation import Factorisation, stepped_ranks

Along = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of an array dimension and the members along it."""


@dataclass(frozen=True, kw_only=True)
class Layouts:
    """Each dimension takes what fills it best: of equals, the rank that most Einsums have.

    Ranks along which values run, and ranks with parts of their own inside, are not laid out.
    """

    program: Program
    architecture: Architecture
    factorisations: tuple[Factorisation, ...]

    @cached_property
    def _common(self) -> dict[str, int]:
        """Ranks by how many Einsums have them, the most common first."""
        often = {
            cut.rank: sum(cut.rank.lower() in e.variables for e in self.program.einsums)
            for cut in self.factorisations
        }
        return {rank: n for n, rank in enumerate(sorted(often, key=lambda r: -often[r]))}

    def ranks(self, name: str) -> tuple[str, ...]:
        """Ranks of an Einsum that have loops below the shared ones."""
        variables = self.program.einsum_of[name].variables
        return tuple(cut.rank for cut in self.factorisations if cut.rank.lower() in variables)

    def own_order(self, name: str, *, sums_outside: bool) -> tuple[str, ...]:
        """Ranks of an Einsum as it loops over them: those of its result outermost, or those
        that it sums over."""
        e = self.program.einsum_of[name]
        results = {v.upper() for v in e.target.variables}
        found = sorted(self.ranks(name), key=lambda r: (r not in results) != sums_outside)
        return tuple(outer_parts_first(self.program, found))

    def of(self, name: str, array: str) -> Along:
        """What an Einsum lays out on an array."""
        machine = self.architecture.array(array)
        assert machine is not None, "arrays come from the machine"
        free = [cut for cut in self.factorisations if self._layable(name, cut)]
        found: list[tuple[str, tuple[str, ...]]] = []
        for dimension in machine.dimensions:
            room, members = dimension.size, list[str]()
            while free:
                best = max(free, key=lambda c: (self._fill(c, room), -self._common[c.rank]))
                fill = self._fill(best, room)
                if fill <= 1 or (members and best.levelled):
                    break
                members += self._fitting(best, room)
                room //= fill
                free.remove(best)
            if members:
                found.append((dimension.name, tuple(members)))
        return tuple(found)

    def _layable(self, name: str, cut: Factorisation) -> bool:
        return cut.rank in self.ranks(name) and cut.rank not in stepped_ranks(self.program)

    def _fitting(self, cut: Factorisation, room: int) -> list[str]:
        """The fine members that fit, outermost first."""
        found: list[str] = []
        taken = 1
        for member, count in cut.fine:
            if taken * count > room:
                break
            taken *= count
            found.insert(0, member)
        return found

    def _fill(self, cut: Factorisation, room: int) -> int:
        counts = dict(cut.fine)
        return prod(counts[m] for m in self._fitting(cut, room))
