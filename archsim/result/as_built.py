"""Latency and power of a run on the machine as built: its design with measured losses.

A run takes as long as its busiest memory, or its arrays, and the waits of its pipeline. Memories
and arrays are as much slower as they sustain less than their rates, and of the time of all arrays
but the busiest, a share is exposed; the waits stay. A kernel, which runs one nest, starts after the
one before has ended, and each further Einsum of a nest delays the first results. Some power is
drawn at any load; where the average would be above the limit, the clock is lowered until it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import itemgetter
from types import MappingProxyType

from ..spec.losses import Losses
from .record import AsBuilt, InheritedLosses, Loss, PartUse, RunRecord, added, limits

LAUNCH = "launch"
"""Name of the loss by the start of kernels."""

FILL = "fill"
"""Name of the loss until each Einsum of a kernel has values of the one before it."""

RATES: Mapping[str, str] = MappingProxyType({"compute": "rate", "bandwidth": "bandwidth"})
"""Quantity of which an array or a memory sustains a share, by its kind."""

OVERLAP = "overlap"
"""Name of the loss by arrays that wait for one another."""

CLOCK = "clock"
"""Name of the loss by a clock that is lowered to stay within the power limit."""


def as_built(
    result: RunRecord, losses: Losses | None, limit_w: float | None = None
) -> AsBuilt | None:
    """Return what a run of one nest takes on the machine as built; None if nothing is measured.

    Parameters
    ----------
    result : RunRecord
        Run of one nest, as designed.
    losses : Losses or None
        Losses of the machine.
    limit_w : float or None, optional
        Power in W that the machine can sustain.
    """
    if losses is None:
        return None
    found = [
        (LAUNCH, losses.launch_s),
        (FILL, losses.fill_s * max(len(result.einsums) - 1, 0)),
        *_slower(result, losses),
    ]
    built_s = result.latency_s + sum(lost for _, lost in found)
    if limit_w is not None:
        # A lower clock makes the run longer; its energy beside the constant power stays.
        least_s = result.energy_pj / 1e12 / (limit_w - losses.constant_w)
        found.append((CLOCK, max(0.0, least_s - built_s)))
        built_s = max(built_s, least_s)
    energy_pj = result.energy_pj + 1e12 * losses.constant_w * built_s
    return _with_losses(result.latency_s, energy_pj, found, _inherited(losses))


def _inherited(losses: Losses) -> InheritedLosses | None:
    """Return the losses that were measured on another machine; None if there are none."""
    origins = {path: m.inherited_from for path, m in losses.items() if m.inherited_from}
    if not origins:
        return None
    return InheritedLosses(origin=", ".join(dict.fromkeys(origins.values())), losses=tuple(origins))


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
    runs = [_of_runs(part) for part in parts]
    if any(run is None for run in runs):
        return None
    known = [run for run in runs if run is not None]
    found = added((x.name, x.seconds) for run in known for x in run.losses)
    energy_pj = sum(run.energy_pj for run in known)
    inherited = next((run.inherited for run in known), None)
    return _with_losses(sum(p.latency_s for p in parts), energy_pj, found.items(), inherited)


def _of_runs(part: PartUse) -> AsBuilt | None:
    """Return what all runs of a part take, of which those that start together share the start."""
    if (one := part.result.as_built) is None:
        return None
    kernels = part.times / part.together
    found = [
        (x.name, (kernels if x.name in (LAUNCH, FILL) else part.times) * x.seconds)
        for x in one.losses
    ]
    built_s = part.latency_s + sum(lost for _, lost in found)
    # Beside the energy as designed, power is drawn at any load.
    constant_pj = (one.energy_pj - part.result.energy_pj) / one.latency_s if one.latency_s else 0.0
    energy_pj = part.energy_pj + constant_pj * built_s
    return _with_losses(part.latency_s, energy_pj, found, one.inherited)


def with_losses(parts: Iterable[PartUse], losses: Losses, limit_w: float | None = None) -> AsBuilt:
    """Return what parts that run in sequence take on a machine with some losses."""

    def one(result: RunRecord) -> AsBuilt | None:
        nested = result.parts
        return with_losses(nested, losses, limit_w) if nested else as_built(result, losses, limit_w)

    built = (replace(p, result=replace(p.result, as_built=one(p.result))) for p in parts)
    found = as_built_of_parts(tuple(built))
    assert found is not None, "losses are given"
    return found


def _with_losses(
    latency_s: float,
    energy_pj: float,
    losses: Iterable[tuple[str, float]],
    inherited: InheritedLosses | None,
) -> AsBuilt:
    found = tuple(Loss(name=name, seconds=seconds) for name, seconds in losses if seconds > 0)
    latency_s += sum(loss.seconds for loss in found)
    power_w = energy_pj / 1e12 / latency_s if latency_s else 0.0
    return AsBuilt(
        latency_s=latency_s,
        energy_pj=energy_pj,
        average_power_w=power_w,
        losses=found,
        inherited=inherited,
    )
