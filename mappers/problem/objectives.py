"""What a search looks for the least of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from archsim.result.result import Result


ENERGY, LATENCY, EDP = range(3)
"""Objectives as compiled code knows them: energy in pJ; latency in cycles; their product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchObjective:
    """A number of a result to be made small.

    ``exact`` says that batches work out the number itself; else they work out a bound, as
    no mapping is faster than its busiest array or memory.
    """

    name: str
    unit: str
    code: int
    exact: bool
    of: Callable[[Result], float]
    floor: Callable[[Result], float]
    """The same of the result's floor: what no mapping is below."""
    other: str | None = None
    """The objective that decides between mappings that are as good."""

    def tie(self, result: Result) -> float:
        """What decides between mappings that are as good: the less, the better."""
        return 0.0 if self.other is None else OBJECTIVES[self.other].of(result)


def _energy(result: Result) -> float:
    return sum(energy for _, energy in result.energy_by_component)


def _floor_energy(result: Result) -> float:
    return result.floor.energy_pj


def _floor_cycles(result: Result) -> float:
    return result.cycles / result.over_floor if result.floor.latency_s else 0.0


OBJECTIVES = {
    o.name: o
    for o in (
        SearchObjective(
            name="energy",
            unit="pJ",
            code=ENERGY,
            exact=True,
            of=_energy,
            floor=_floor_energy,
            other="latency",
        ),
        SearchObjective(
            name="latency",
            unit="cycles",
            code=LATENCY,
            exact=False,
            of=lambda r: r.cycles,
            floor=_floor_cycles,
            other="energy",
        ),
        SearchObjective(
            name="edp",
            unit="pJ cycles",
            code=EDP,
            exact=False,
            of=lambda r: _energy(r) * r.cycles,
            floor=lambda r: _floor_energy(r) * _floor_cycles(r),
        ),
    )
}
"""Objectives by name."""


def objective_called(name: str) -> SearchObjective:
    """The objective of a name.

    Parameters
    ----------
    name : str
        As ``archsim map --objective`` takes it.

    Raises
    ------
    SpecError
        There is none; says the nearest.
    """
    if name not in OBJECTIVES:
        raise SpecError(f"there is no objective '{name}'; {did_you_mean(name, OBJECTIVES)}")
    return OBJECTIVES[name]
