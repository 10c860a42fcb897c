"""From a mapping, shapes and a machine to a result, by either engine."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Name, Parameter, Program, walk

from ..bound.binding import bind as bind_closed
from ..bound.footprint import Requirement, requirements
from ..bound.initial import with_starts
from ..bound.record import Bound
from ..cost.accesses import EinsumCount, touched
from ..cost.energy import charges
from ..cost.estimators import areas
from ..cost.folds import folds_of
from ..cost.occupancy import busy_cycles, work_cycles
from ..cost.spill import count_mapping, spill_note
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
from ..schedule.average import Timing
from ..spec.arch import Architecture, ProcessingArray
from ..spec.mapping import Mapping
from .roofs import roofs_of
from .steady_state import time_closely

if TYPE_CHECKING:
    from mappers.choices.choose import ChoiceMemory


def bind(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    known: ChoiceMemory | None = None,
) -> Bound:
    """``bound.binding.bind``, open choices made by ``mappers.choices``.

    ``known`` remembers what open choices do from one machine to the next of one layout.
    """
    if not mapping.choices:
        return bind_closed(program, mapping, architecture, shapes)
    from mappers.choices.choose import ChoiceMemory, choose

    return bind_closed(
        program,
        mapping,
        architecture,
        shapes,
        choose=partial(choose, memory=known or ChoiceMemory()),
    )


def evaluate_mapping(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    workload: str = "",
    engine: str = "analytical",
) -> Result:
    """Counts, latency, energy, area and bounds of a mapping. Raises as ``bind`` does."""
    bound = bind(program, mapping, architecture, shapes)
    return evaluate_bound(bound, workload=workload, engine=engine)


def evaluate_bound(
    bound: Bound,
    *,
    workload: str = "",
    engine: str = "analytical",
    counts: tuple[EinsumCount, ...] = (),
) -> Result:
    """Counts, latency, energy, area and bounds of a mapping that is bound.

    ``counts`` are those of ``count_mapping`` on a machine of the same layout, if known.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, nothing takes time, or the
        engine does not count something yet.
    """
    counts = counts or count_mapping(bound)
    if engine == "event":
        from ..events.engine import time_events

        timing = time_events(bound, counts).timing
    else:
        timing = time_closely(bound, counts)
    if not timing.cycles:
        text = "nothing takes time: every operation takes 0 cycles and no memory has a bandwidth"
        raise MappingError(Problem(text, bound.mapping.span))
    return _result(bound, counts, timing, workload, engine)


def _result(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    timing: Timing,
    workload: str,
    engine: str,
) -> Result:
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
        einsums=_einsums(bound, counts, timing),
        schedule=ScheduleReport(
            kind=bound.mapping.schedule.kind,
            steps=timing.steps,
            period_cycles=float(timing.period),
            fill_drain_cycles=float(timing.fill_drain),
            critical=timing.critical,
            lookahead=timing.lookahead,
            simulated_events=timing.simulated,
        ),
        tiles=tuple((m.name, bound.tiling.bound(m)) for m in bound.tiling.members.values()),
        notes=(*_notes(bound), *timing.notes),
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
    assert array is not None, "arrays are checked when lowering"
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


def compulsory_elements(bound: Bound) -> int:
    """Elements of all inputs and outputs that are touched: each moved once at the least."""
    sizes: dict[str, int] = {}
    ends = {*(t.name for t in bound.program.inputs), *bound.program.outputs}
    for e in with_starts(bound):
        for access_map in (*e.reads, e.write):
            name = access_map.access.tensor
            if name in ends:
                elements = touched(bound, e, access_map, bound.register_level)
                sizes[name] = max(sizes.get(name, 0), elements)
    return sum(sizes.values())


def _stand_ins(bound: Bound, array: ProcessingArray) -> str:
    """Which operations the array's table lacks, and what is done and billed instead."""
    needed = {kind for e in bound.einsums if e.array.name == array.name for kind, _ in e.operations}
    found: list[str] = []
    for kind in sorted(needed):
        if array.listed(kind) is None:
            operation = array.operation(kind)
            assert operation is not None, "operations are checked when lowering"
            how = "a cycle, unbilled" if kind == "copy" else f"done as {operation.kind}"
            found.append(f"{kind} is not listed ({how})")
    return "; ".join(found)


def _mask_parameters(bound: Bound) -> list[Parameter]:
    """Parameters on which masks, and so the counts, depend."""
    used = {
        node.name
        for e in bound.einsums
        if e.einsum.where is not None
        for node in walk(e.einsum.where)
        if isinstance(node, Name)
    }
    return [p for p in bound.program.parameters if p.name in used and p.default is not None]


def _notes(bound: Bound) -> tuple[str, ...]:
    """What the machine's data and the mapping leave unbilled, in sentences."""
    architecture = bound.architecture
    found: list[str] = []
    if bound.mapping.chosen:
        picked = ", ".join(f"{name} {what}" for name, what in bound.mapping.chosen)
        found.append(f"chosen by the mapping's objective: {picked}")
    if note := spill_note(bound):
        found.append(note)
    found.extend(bound.unskipped)
    found += [f"{p.name} = {p.default:g}" for p in _mask_parameters(bound)]
    masked = [e.name for e in bound.einsums if e.window is not None]
    if masked:
        found.append(
            f"{', '.join(masked)}: tiles that the mask leaves without a point are not run; the "
            "others are run whole"
        )
    for array in architecture.arrays:
        stood_in = _stand_ins(bound, array)
        if stood_in:
            found.append(f"{array.name}: {stood_in}")
        if array.registers.billed == "one":
            found.append(
                f"{array.name}: register accesses of its own Einsums are billed for one element "
                f"of {array.elements}"
            )
    for memory in architecture.memories:
        if memory.bandwidth_bytes_per_s is None:
            found.append(f"{memory.name}: bandwidth is taken as unlimited")
    found.append("leakage, clock and on-chip network energy are not billed")
    return tuple(found)
