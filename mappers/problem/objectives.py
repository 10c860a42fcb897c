"""Objectives that a search can minimise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from archsim.result.result import Result


ENERGY, LATENCY, EDP = range(3)
"""Codes of objectives in compiled code: energy in pJ, latency in cycles, their product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchObjective:
    """Quantity of a result that a search minimises.

    ``exact`` is True if cost tables give the quantity itself. Otherwise they give a lower bound, as
    no mapping is faster than its busiest array or memory.
    """

    name: str
    unit: str
    code: int
    exact: bool
    of: Callable[[Result], float]
    floor: Callable[[Result], float]
    """Function that returns the lower bound of the objective for any mapping."""
    other: str | None = None
    """Name of the second objective, which decides between mappings that are equal in the first."""

    def tie(self, result: Result) -> float:
        """Return the second objective of a result; 0 without a second objective."""
        return 0.0 if self.other is None else OBJECTIVES[self.other].of(result)


def _energy(result: Result) -> float:
    return sum(energy for _, energy in result.energy_by_component)


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
            floor=lambda r: r.floor.energy_pj,
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
            floor=lambda r: r.floor.energy_pj * _floor_cycles(r),
        ),
    )
}
"""All objectives by name."""


def objective_called(name: str) -> SearchObjective:
    """Return the objective with a given name.

    Parameters
    ----------
    name : str
        Name as ``archsim map --objective`` takes it.

    Raises
    ------
    SpecError
        No objective has this name; suggests the nearest one.
    """
    if name not in OBJECTIVES:
        raise SpecError(f"there is no objective '{name}'; {did_you_mean(name, OBJECTIVES)}")
    return OBJECTIVES[name]
