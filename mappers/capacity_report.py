"""What a capacity curve says to a person."""

from __future__ import annotations

from archsim.document import Column, Document, Fact, Table
from archsim.quantities import byte_size, energy

from .capacity import CapacityCurves, CapacitySeries


def capacity_report(curves: CapacityCurves) -> Document:
    """Traffic and energy at each capacity, fused and Einsum by Einsum."""
    both = [_by_capacity(curves.fused), _by_capacity(curves.einsum_by_einsum)]
    rows = [
        (byte_size(capacity), *(cell for found in both for cell in found.get(capacity, ("-", "-"))))
        for capacity in curves.capacities
    ]
    enough = next(
        (
            byte_size(p.capacity_bytes)
            for p in curves.fused.traffic
            if p.result.traffic_bytes <= curves.bound_bytes * _AT_BOUND
        ),
        "",
    )
    ended = {"": "", "interrupted": "it was interrupted"}
    return Document(
        title=f"traffic and energy of {curves.workload} on {curves.architecture} "
        f"against the capacity of {curves.memory}",
        facts=(
            Fact("bound", byte_size(curves.bound_bytes), "no mapping of the cascade moves less"),
            Fact("reached with", enough or "none of these", f"of {curves.memory}, fused"),
            Fact("mappings run", str(curves.runs)),
        ),
        tables=(
            (
                Table(
                    title=f"least {curves.outermost} traffic, and least energy",
                    columns=(
                        Column(curves.memory, "name"),
                        *(Column(t) for t in ("fused", "energy", "Einsum by Einsum", "its energy")),
                    ),
                    rows=tuple(rows),
                ),
            ),
        ),
        notes=(
            f"an access costs what it does with {byte_size(curves.own_bytes)} of {curves.memory}, "
            "whatever the capacity",
            *((ended.get(curves.ended, "ended by its time limit"),) if curves.ended else ()),
            *_not_confirmed(curves),
        ),
    )


def _not_confirmed(curves: CapacityCurves) -> tuple[str, ...]:
    """That the largest capacities have no points, where time was up before their mappings ran."""
    last = max(p.capacity_bytes for p in curves.fused.traffic)
    largest = [capacity for capacity in curves.capacities if capacity > last]
    if not curves.ended or not largest:
        return ()
    return (f"no mapping was run with {byte_size(largest[0])} or more: give it more time",)


_AT_BOUND = 1.001
"""What moves no more than this times the bound is at the bound."""


def _by_capacity(series: CapacitySeries) -> dict[int, tuple[str, str]]:
    """Shown traffic and energy, by capacity."""
    least = {p.capacity_bytes: energy(p.result.energy_pj) for p in series.energy}
    return {
        p.capacity_bytes: (byte_size(p.result.traffic_bytes), least.get(p.capacity_bytes, "-"))
        for p in series.traffic
    }
