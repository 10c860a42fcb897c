"""What a report says of a workload's parts: the time, traffic and energy of each."""

from __future__ import annotations

from ..document import Column, Fact, Table
from ..quantities import byte_size, count, energy, percent, seconds
from .record import PartUse, Result


def parts_table(result: Result) -> Table:
    """A row per part, all its runs together; no rows where a result has no parts."""
    return Table(
        title="parts, one after the other",
        columns=(
            Column("part", "name"),
            Column("runs"),
            Column("mapping", "text"),
            *(Column(c) for c in ("latency", "share")),
            Column("bound by", "text"),
            *(Column(c) for c in ("traffic", "energy", "share")),
        ),
        rows=tuple(_part(p, result) for p in result.parts),
    )


def _part(part: PartUse, whole: Result) -> tuple[str, ...]:
    return (
        part.name,
        f"{part.times:,}",
        part.result.mapping,
        seconds(part.latency_s),
        percent(part.latency_s / whole.latency_s),
        part.result.bound_by,
        byte_size(part.traffic_bytes),
        energy(part.energy_pj),
        percent(part.energy_pj / whole.energy_pj) if whole.energy_pj else "-",
    )


def parts_schedule(result: Result) -> Fact:
    """How parts follow one another, in a line."""
    runs = sum(p.times for p in result.parts)
    return Fact(
        "schedule",
        "in parts",
        f"{runs:,} runs one after the other, "
        f"{count(result.schedule.fill_drain_cycles)} cycles of fill and drain in all",
    )


def part_schedules(result: Result) -> Table:
    """How one run of each part comes to its cycles, and its loops."""
    return Table(
        title="one run of each part",
        columns=(
            Column("part", "name"),
            Column("schedule", "text"),
            *(Column(c) for c in ("cycles", "steps", "cycles a step", "fill and drain")),
            Column("bound by", "text"),
            Column("loops", "text"),
        ),
        rows=tuple(_schedule(p) for p in result.parts),
    )


def _schedule(part: PartUse) -> tuple[str, ...]:
    s = part.result.schedule
    return (
        part.name,
        s.kind,
        count(part.result.cycles),
        count(s.steps),
        count(s.period_cycles),
        count(s.fill_drain_cycles),
        part.result.bound_by,
        " ".join(f"{name}={n:,}" for name, n in part.result.tiles if n > 1),
    )
