"""Latency and power of a run on the machine as built: its design with measured losses.

A run takes as long as its busiest memory, or its arrays, and the waits of its pipeline. Memories
and arrays are as much slower as they sustain less than their rates, and of the time of all arrays
but the busiest, a share is exposed; the waits stay. A kernel, which runs one nest, starts after the
one before has ended, and each further Einsum of a nest delays the first results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from types import MappingProxyType

from ..spec.losses import Losses
from .record import AsBuilt, Loss, PartUse, RunRecord, added, limits

LAUNCH = "launch"
"""Name of the loss by the start of kernels."""

FILL = "fill"
"""Name of the loss until each Einsum of a kernel has values of the one before it."""

RATES: Mapping[str, str] = MappingProxyType({"compute": "rate", "bandwidth": "bandwidth"})
"""Quantity of which an array or a memory sustains a share, by its kind."""

OVERLAP = "overlap"
"""Name of the loss by arrays that wait for one another."""


def as_built(result: RunRecord, losses: Losses | None) -> AsBuilt | None:
    """Return what a run of one nest takes on the machine as built; None if nothing is measured.

    Parameters
    ----------
    result : RunRecord
        Run of one nest, as designed.
    losses : Losses or None
        Losses of the machine.
    """
    if losses is None:
        return None
    found = (
        (LAUNCH, losses.launch_s),
        (FILL, losses.fill_s * max(len(result.einsums) - 1, 0)),
        *_slower(result, losses),
    )
    return _with_losses(result.latency_s, result.energy_pj, found)


def _slower(result: RunRecord, losses: Losses) -> Iterable[tuple[str, float]]:
    """Yield the seconds by which sustained rates, and arrays that wait, make a run longer."""
    busy = limits(result)
    if not busy:
        return
    designed = busy[0].seconds
    slowed = sorted(
        ((x.seconds / losses.share(x.name), x) for x in busy), key=itemgetter(0), reverse=True
    )
    longest, slowest = slowed[0]
    # No part's name has a space, so that a memory called "fill" is told from the loss.
    yield f"{slowest.name} {RATES[slowest.kind]}", longest - designed
    computing = [seconds for seconds, limit in slowed if limit.kind == "compute"]
    exposed = losses.exposed_share * sum(computing[1:])
    yield OVERLAP, max(0.0, computing[0] + exposed - longest) if computing else 0.0


def as_built_of_parts(parts: tuple[PartUse, ...]) -> AsBuilt | None:
    """Return what parts that run in sequence take on the machine as built; None if unknown."""
    runs = [(part.times, part.result.as_built) for part in parts]
    if any(run is None for _, run in runs):
        return None
    known = [(times, run) for times, run in runs if run is not None]
    found = added((x.name, times * x.seconds) for times, run in known for x in run.losses)
    energy_pj = sum(times * run.energy_pj for times, run in known)
    return _with_losses(sum(part.latency_s for part in parts), energy_pj, found.items())


def with_losses(result: RunRecord, losses: Losses) -> float:
    """Return the seconds of a run, of one nest or of parts, on a machine with some losses."""
    if result.parts:
        return sum(part.times * with_losses(part.result, losses) for part in result.parts)
    found = as_built(result, losses)
    assert found is not None, "losses are given"
    return found.latency_s


def _with_losses(
    latency_s: float, energy_pj: float, losses: Iterable[tuple[str, float]]
) -> AsBuilt:
    found = tuple(Loss(name=name, seconds=seconds) for name, seconds in losses if seconds > 0)
    latency_s += sum(loss.seconds for loss in found)
    power_w = energy_pj / 1e12 / latency_s if latency_s else 0.0
    return AsBuilt(latency_s=latency_s, energy_pj=energy_pj, average_power_w=power_w, losses=found)
