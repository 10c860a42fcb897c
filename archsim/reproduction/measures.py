"""What is kept of a simulation: the few numbers that tables and figures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ..result.record import Named, Result

PLAIN = ("latency_s", "energy_pj", "traffic_bytes", "area_um2")
"""Quantities that are one number of a run."""

RATIOS = ("speedup", "energy")
"""Quantities against a baseline: its latency over a run's own, a run's energy over its."""

BY_NAME = ("utilization", "area")
"""Quantities of one array or component: ``utilization.array_2d``, ``area.global_buffer``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Numbers of one run, units in their names.

    ``shares`` holds the part of the elapsed time each Einsum keeps its array busy, by
    (array, Einsum).
    """

    latency_s: float
    energy_pj: float
    traffic_bytes: float
    area_um2: float
    bound_by: str
    utilization: Named
    shares: tuple[tuple[str, str, float], ...]
    energy: Named
    area: Named

    def value(self, quantity: str) -> float:
        """The number called ``latency_s`` or ``utilization.array_2d``.

        Raises
        ------
        InputError
            The run has none of that name.
        """
        word, dot, name = quantity.partition(".")
        if word in PLAIN and not dot:
            return float(getattr(self, word))
        if word in BY_NAME and dot:
            found = dict(self.utilization if word == "utilization" else self.area)
            if name in found:
                return found[name]
            raise InputError(f"there is no '{name}' to take {word} of; {did_you_mean(name, found)}")
        known = [*PLAIN, *(f"{w}.NAME" for w in BY_NAME)]
        raise InputError(f"there is no quantity '{quantity}'; {did_you_mean(quantity, known)}")


def measure(result: Result) -> Measures:
    """The measures of a result."""
    return Measures(
        latency_s=result.latency_s,
        energy_pj=result.energy_pj,
        traffic_bytes=result.traffic_bytes,
        area_um2=result.area_um2,
        bound_by=result.bound_by,
        utilization=tuple((a.array, a.utilization) for a in result.arrays),
        shares=tuple((e.array, e.name, e.utilization) for e in result.einsums),
        energy=result.energy_by_component,
        area=result.area_by_component,
    )


def ratio(quantity: str, own: Measures, baseline: Measures) -> float:
    """A quantity of a run relative to a baseline: a speedup is more where latency is less."""
    if quantity == "speedup":
        return baseline.latency_s / own.latency_s
    if quantity == "energy":
        return own.energy_pj / baseline.energy_pj
    return own.value(quantity) / baseline.value(quantity)
