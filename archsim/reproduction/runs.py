"""Runs of a reproduction: their requests, their outcomes, and their quantities by name."""

from __future__ import annotations

from dataclasses import dataclass

from einsum_cascade.errors import InputError, did_you_mean

from ..result.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Request of a run, with the arguments of ``simulate``: names of files, and settings."""

    workload: str
    architecture: str
    mappings: tuple[str, ...]
    workload_settings: tuple[str, ...] = ()
    architecture_settings: tuple[str, ...] = ()


Outcome = Result | str
"""Outcome of a run: its result, or the reason why there is none."""


PLAIN = ("latency_s", "energy_pj", "traffic_bytes", "area_um2")
"""Names of quantities that are one number per run, as in ``Result``."""

RATIOS = ("speedup", "energy")
"""Names of quantities relative to a baseline: baseline latency over own, own energy over baseline
energy."""

BY_NAME = ("utilization", "area")
"""Names of quantities of one array or component: ``utilization.array_2d``, ``area.global_buffer``.
"""


def is_share(quantity: str) -> bool:
    """Return whether a quantity is a share, which is shown in percent."""
    return quantity == "energy" or quantity.startswith("utilization.")


def quantity_of(result: Result, quantity: str) -> float:
    """Return a quantity of a run by its name.

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
    """Return the ratio of a quantity to a baseline's; for a speedup, baseline latency over own
    latency."""
    if quantity == "speedup":
        return baseline.latency_s / own.latency_s
    if quantity == "energy":
        return own.energy_pj / baseline.energy_pj
    return quantity_of(own, quantity) / quantity_of(baseline, quantity)
