"""A result assembled from counts, timing and prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from einsum_cascade.operations import kind_and_format

from ..bound.footprint import requirements
from ..bound.record import Bound, BoundEinsum
from ..cost.accesses import Amount, EinsumCount
from ..cost.energy import charges
from ..cost.estimators import areas
from ..cost.folds import folds_of
from ..cost.instances import of_all_instances, through_ports
from ..cost.leakage import leakage_charges
from ..cost.occupancy import busy_cycles, work_cycles
from ..result.record import (
    ArrayUse,
    Bounds,
    EinsumUse,
    LevelBuffer,
    LevelTraffic,
    Named,
    Result,
    ScheduleReport,
    in_machine_order,
)
from ..schedule.timing import Timing
from ..space.exact import total
from ..spec.arch import Architecture
from .floor import LeastWork, compulsory_words, floor_of
from .notes import notes_of
from .roofs import roofs_of


@dataclass(frozen=True, slots=True)
class EnergyBy:
    """Picojoules of a run by component, in the machine's order, and by Einsum."""

    by_component: Named
    by_einsum: Named


def assemble(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    timing: Timing,
    workload: str,
    engine: str,
    least: LeastWork | None = None,
) -> Result:
    """The record of a run: what was counted, how long it took, and what both cost.

    Parameters
    ----------
    counts : tuple of EinsumCount
        Accesses and operations of every Einsum, in elements.
    timing : Timing
        Cycles of the run, by either engine.
    least : LeastWork, optional
        Of the same work on the same arrays, if known.
    """
    architecture = bound.architecture
    seconds = float(timing.cycles / architecture.clock_hz)
    whole = bound if bound.instances is None else bound.instances.whole
    own, counts = counts, of_all_instances(bound, counts)
    bill = charges(architecture, counts, bound.words) + leakage_charges(architecture, seconds)
    charged = tuple((c.einsum, c.component, c.energy_pj) for c in bill)
    energy = energy_by(architecture, charged)
    work = [_work(bound, e, *both) for e, *both in zip(bound.einsums, own, counts, strict=True)]
    traffic = _traffic(bound, counts)
    cycles = float(timing.cycles)
    return Result(
        workload=workload,
        architecture=architecture.name,
        mapping=bound.mapping.name,
        engine=engine,
        shape=bound.shapes,
        latency_s=seconds,
        cycles=cycles,
        bound_by=timing.bound_by,
        arrays=_arrays(bound, work, timing),
        traffic=traffic,
        buffers=buffers_of(architecture, (r.required_bytes for r in requirements(bound))),
        energy_by_component=energy.by_component,
        energy_by_einsum=energy.by_einsum,
        area_by_component=areas(architecture),
        bounds=_bounds(whole, work, _traffic(bound, through_ports(bound, own))),
        floor=floor_of(whole, counts, least),
        einsums=_einsums(bound, work, timing),
        schedule=_schedule(bound, timing),
        tiles=tuple((m.name, bound.tiling.bound(m)) for m in bound.tiling.members.values()),
        notes=(*notes_of(bound), *timing.notes),
        charges=charged,
        roofs=roofs_of(bound),
        folds=tuple(f for e in bound.einsums if (f := folds_of(bound, e)) is not None),
    )


def energy_by(machine: Architecture, charges: Sequence[tuple[str, str, float]]) -> EnergyBy:
    """A bill by component, in the machine's order, and by Einsum.

    Parameters
    ----------
    machine : Architecture
        Whose memories and arrays the components are.
    charges : sequence of (Einsum, component, pJ)
        As of a result.
    """
    by_component: dict[str, float] = {}
    by_einsum: dict[str, float] = {}
    for einsum, component, energy in charges:
        by_component[component] = by_component.get(component, 0.0) + energy
        by_einsum[einsum] = by_einsum.get(einsum, 0.0) + energy
    ordered = in_machine_order(
        by_component.items(),
        (m.name for m in machine.memories),
        (a.name for a in machine.arrays),
    )
    return EnergyBy(ordered, tuple(by_einsum.items()))


def _schedule(bound: Bound, timing: Timing) -> ScheduleReport:
    return ScheduleReport(
        kind=bound.mapping.schedule.kind,
        steps=timing.steps,
        period_cycles=float(timing.period),
        fill_drain_cycles=float(timing.fill_drain),
        critical=timing.critical,
        lookahead=timing.lookahead,
        simulated_events=timing.simulated,
        timed_by=timing.timed_by,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What an Einsum does on its array, in cycles of the whole run."""

    count: EinsumCount
    occupied: Fraction
    busy: Fraction
    """Those in which it computes, weighed by the share of the array's elements at work."""


def _work(bound: Bound, e: BoundEinsum, own: EinsumCount, count: EinsumCount) -> _Work:
    """Of an Einsum that one instance counts by itself, and all of them together."""
    busy = Fraction(0)
    if own.iterations:  # else a mask lets nothing through
        elements = e.array.elements * bound.architecture.copies(e.array.name)
        # Of 4 iterations on 128 elements 512 points could be done: with 384 three quarters of the
        # cycles count.
        numerator, denominator = work_cycles(e).as_integer_ratio()
        busy = Fraction(numerator * count.points, denominator * own.iterations * elements)
    return _Work(count=count, occupied=busy_cycles(bound, e), busy=busy)


def _arrays(bound: Bound, work: list[_Work], timing: Timing) -> tuple[ArrayUse, ...]:
    found: list[ArrayUse] = []
    for array in bound.architecture.arrays:
        here = [w for w in work if w.count.array == array.name]
        occupied = total((1, w.occupied) for w in here)
        busy = total((1, w.busy) for w in here)
        found.append(
            ArrayUse(
                array=array.name,
                occupied_cycles=float(occupied),
                busy_cycles=float(busy),
                utilization=float(busy / timing.cycles),
            )
        )
    return tuple(found)


def _einsums(bound: Bound, work: list[_Work], timing: Timing) -> tuple[EinsumUse, ...]:
    return tuple(
        EinsumUse(
            name=w.count.einsum,
            array=w.count.array,
            cycles=float(w.occupied),
            operations=_by_kind(w.count),
            utilization=_quotient(w.busy, timing.cycles),
            traffic=_traffic(bound, (w.count,)),
            formats=tuple([x for name, _ in w.count.operations if (x := kind_and_format(name))[1]]),
        )
        for w in work
    )


def _quotient(one: Fraction, other: Fraction) -> float:
    """The nearest number to a quotient, which nobody needs in lowest terms."""
    (a, b), (c, d) = one.as_integer_ratio(), other.as_integer_ratio()
    return a * d / (b * c)


def _by_kind(count: EinsumCount) -> tuple[tuple[str, int], ...]:
    """Operations by kind, whatever their format."""
    found: dict[str, int] = {}
    for name, times in count.operations:
        kind, _ = kind_and_format(name)
        found[kind] = found.get(kind, 0) + times
    return tuple(found.items())


def _traffic(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[LevelTraffic, ...]:
    word_bits, words = bound.architecture.word_bits, bound.words
    links = [m.name for m in bound.architecture.memories if m.ring]
    reads: dict[str, Amount] = {m.name: 0 for m in bound.architecture.memories}
    writes = dict(reads)
    for count in counts:
        for a in count.accesses:
            if a.place in reads:
                reads[a.place] += a.reads * words.of(a.tensor)
                writes[a.place] += a.writes * words.of(a.tensor)
    return tuple(
        LevelTraffic(
            level=level,
            read_bytes=_bytes(read * word_bits) if read else 0,
            write_bytes=_bytes(writes[level] * word_bits) if writes[level] else 0,
            links=level in links,
        )
        for level, read in reads.items()
    )


def _bytes(bits: Amount) -> float:
    """So many bits in bytes, as ``_number`` has them."""
    if isinstance(bits, Fraction):
        return _number(bits / 8)
    whole, rest = divmod(bits, 8)
    return bits / 8 if rest else whole


def _number(value: Fraction) -> float:
    """An exact integer where the value is one, so that JSON shows it exactly."""
    return int(value) if value.denominator == 1 else float(value)


def buffers_of(machine: Architecture, needed: Iterable[Fraction]) -> tuple[LevelBuffer, ...]:
    """What memories of a capacity must hold, and can.

    Parameters
    ----------
    machine : Architecture
        Whose they are.
    needed : iterable of Fraction
        Bytes of all of its memories, the outermost first.
    """
    return tuple(
        LevelBuffer(
            level=memory.name,
            required_bytes=_number(required),
            capacity_bytes=memory.capacity_bytes,
        )
        for memory, required in zip(machine.memories, needed, strict=True)
        if memory.capacity_bytes is not None
    )


def _bounds(bound: Bound, work: list[_Work], traffic: tuple[LevelTraffic, ...]) -> Bounds:
    """Array work alone, traffic alone at full bandwidth, and compulsory traffic.

    ``traffic`` is that of one instance where a memory has several.
    """
    architecture = bound.architecture
    cycles = [
        total((1, w.occupied) for w in work if w.count.array == array.name)
        for array in architecture.arrays
    ]
    transfers = [Fraction(0)]
    for memory, moved in zip(architecture.memories, traffic, strict=True):
        if memory.bandwidth_bytes_per_s is not None:
            transfers.append(Fraction(moved.total_bytes) / memory.bandwidth_bytes_per_s)
    return Bounds(
        compute_s=float(max(cycles) / architecture.clock_hz),
        bandwidth_s=float(max(transfers)),
        traffic_bytes=_number(compulsory_words(bound) * architecture.word_bytes),
    )
