"""Quantities of a run that tables and figures name: ``latency_s``, ``utilization.array_2d``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from ..result.result import Result


PLAIN = ("latency_s", "energy_pj", "traffic_bytes", "area_um2")
"""Quantities that are one number of a run, called as in ``Result``."""

RATIOS = ("speedup", "energy")
"""Quantities against a baseline: its latency over a run's own, a run's energy over its."""

BY_NAME = ("utilization", "area")
"""Quantities of one array or component: ``utilization.array_2d``, ``area.global_buffer``."""


def is_share(quantity: str) -> bool:
    """Whether a quantity is a part of a whole, shown in percent."""
    return quantity == "energy" or quantity.startswith("utilization.")


def quantity_of(result: Result, quantity: str) -> float:
    """The number of a run that is called so.

    Raises
    ------
    InputError
        The run has none of that name.
    """
    word, dot, name = quantity.partition(".")
    if word in PLAIN and not dot:
        return float(getattr(result, word))
    if word in BY_NAME and dot:
        found = result.utilization if word == "utilization" else dict(result.area_by_component)
        if name in found:
            return found[name]
        raise InputError(f"there is no '{name}' to take {word} of; {did_you_mean(name, found)}")
    known = [*PLAIN, *(f"{w}.NAME" for w in BY_NAME)]
    raise InputError(f"there is no quantity '{quantity}'; {did_you_mean(quantity, known)}")


def ratio(quantity: str, own: Result, baseline: Result) -> float:
    """A quantity of a run relative to a baseline: a speedup is more where latency is less."""
    if quantity == "speedup":
        return baseline.latency_s / own.latency_s
    if quantity == "energy":
        return own.energy_pj / baseline.energy_pj
    return quantity_of(own, quantity) / quantity_of(baseline, quantity)
