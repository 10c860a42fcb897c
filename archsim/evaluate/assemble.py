"""A result assembled from counts, timing and prices."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from ..bound.footprint import Requirement, requirements
from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.energy import charges
from ..cost.estimators import areas
from ..cost.folds import folds_of
from ..cost.occupancy import busy_cycles, work_cycles
from ..result.record import (
    ArrayUse,
    Bounds,
    EinsumUse,
    LevelBuffer,
    LevelTraffic,
    Result,
    ScheduleReport,
    in_machine_order,
)
from ..schedule.timing import Timing
from .floor import compulsory_elements, floor_of
from .notes import notes_of
from .roofs import roofs_of


def assemble(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    timing: Timing,
    workload: str,
    engine: str,
) -> Result:
    """The record of a run: what was counted, how long it took, and what both cost.

    Parameters
    ----------
    counts : tuple of EinsumCount
        Accesses and operations of every Einsum, in elements.
    timing : Timing
        Cycles of the run, by either engine.
    """
    architecture = bound.architecture
    bill = charges(architecture, counts)
    cycles = float(timing.cycles)
    return Result(
        workload=workload,
        architecture=architecture.name,
        mapping=bound.mapping.name,
        engine=engine,
        shape=bound.shapes,
        latency_s=float(timing.cycles / architecture.clock_hz),
        cycles=cycles,
        bound_by=timing.bound_by,
        arrays=_arrays(bound, counts, timing),
        traffic=_traffic(bound, counts),
        buffers=_buffers(requirements(bound)),
        energy_by_component=in_machine_order(
            _summed((c.component, c.energy_pj) for c in bill),
            (m.name for m in architecture.memories),
            (a.name for a in architecture.arrays),
        ),
        energy_by_einsum=_summed((c.einsum, c.energy_pj) for c in bill),
        area_by_component=areas(architecture),
        bounds=_bounds(bound, counts),
        floor=floor_of(bound, counts),
        einsums=_einsums(bound, counts, timing),
        schedule=ScheduleReport(
            kind=bound.mapping.schedule.kind,
            steps=timing.steps,
            period_cycles=float(timing.period),
            fill_drain_cycles=float(timing.fill_drain),
            critical=timing.critical,
            lookahead=timing.lookahead,
            simulated_events=timing.simulated,
            timed_by=timing.timed_by,
        ),
        tiles=tuple((m.name, bound.tiling.bound(m)) for m in bound.tiling.members.values()),
        notes=(*notes_of(bound), *timing.notes),
        charges=tuple((c.einsum, c.component, c.energy_pj) for c in bill),
        roofs=roofs_of(bound),
        folds=tuple(f for e in bound.einsums if (f := folds_of(bound, e)) is not None),
    )


def _summed(pairs: Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for name, value in pairs:
        found[name] = found.get(name, 0.0) + value
    return tuple(found.items())


def _busy_share(bound: Bound, count: EinsumCount) -> Fraction:
    """Points over what the array's elements could do in the iterations taken."""
    array = bound.architecture.array(count.array)
    assert array is not None, "arrays are checked when binding"
    if not count.iterations:  # a mask that lets nothing through
        return Fraction(0)
    return Fraction(count.points, count.iterations * array.elements)


def _arrays(bound: Bound, counts: tuple[EinsumCount, ...], timing: Timing) -> tuple[ArrayUse, ...]:
    found: list[ArrayUse] = []
    for array in bound.architecture.arrays:
        occupied = busy = Fraction(0)
        for e, count in zip(bound.einsums, counts, strict=True):
            if e.array is array:
                cycles = busy_cycles(bound, e)
                occupied += cycles
                busy += work_cycles(e) * _busy_share(bound, count)
        found.append(
            ArrayUse(
                array=array.name,
                occupied_cycles=float(occupied),
                busy_cycles=float(busy),
                utilization=float(busy / timing.cycles),
            )
        )
    return tuple(found)


def _einsums(
    bound: Bound, counts: tuple[EinsumCount, ...], timing: Timing
) -> tuple[EinsumUse, ...]:
    found: list[EinsumUse] = []
    for e, count in zip(bound.einsums, counts, strict=True):
        cycles = busy_cycles(bound, e)
        found.append(
            EinsumUse(
                name=e.name,
                array=e.array.name,
                cycles=float(cycles),
                operations=count.operations,
                utilization=float(work_cycles(e) * _busy_share(bound, count) / timing.cycles),
                traffic=_traffic(bound, (count,)),
            )
        )
    return tuple(found)


def _traffic(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[LevelTraffic, ...]:
    word = bound.architecture.word_bytes
    found: list[LevelTraffic] = []
    for memory in bound.architecture.memories:
        here = [a for c in counts for a in c.accesses if a.place == memory.name]
        found.append(
            LevelTraffic(
                level=memory.name,
                read_bytes=_number(sum(a.reads for a in here) * word),
                write_bytes=_number(sum(a.writes for a in here) * word),
            )
        )
    return tuple(found)


def _number(value: Fraction) -> float:
    """An exact integer where the value is one, so that JSON shows it exactly."""
    return int(value) if value.denominator == 1 else float(value)


def _buffers(found: tuple[Requirement, ...]) -> tuple[LevelBuffer, ...]:
    return tuple(
        LevelBuffer(
            level=r.level,
            required_bytes=_number(r.required_bytes),
            capacity_bytes=r.capacity_bytes,
        )
        for r in found
        if r.capacity_bytes is not None
    )


def _bounds(bound: Bound, counts: tuple[EinsumCount, ...]) -> Bounds:
    """Array work alone, traffic alone at full bandwidth, and compulsory traffic."""
    architecture = bound.architecture
    work: dict[str, Fraction] = {}
    for e in bound.einsums:
        work[e.array.name] = work.get(e.array.name, Fraction(0)) + busy_cycles(bound, e)
    transfers = [Fraction(0)]
    for memory, traffic in zip(architecture.memories, _traffic(bound, counts), strict=True):
        if memory.bandwidth_bytes_per_s is not None:
            transfers.append(Fraction(traffic.total_bytes) / memory.bandwidth_bytes_per_s)
    return Bounds(
        compute_s=float(max(work.values()) / architecture.clock_hz),
        bandwidth_s=float(max(transfers)),
        traffic_bytes=_number(compulsory_elements(bound) * architecture.word_bytes),
    )
