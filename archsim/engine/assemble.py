"""Assembly of a result from counts, timing and prices, including the rooflines of the machine and
notes.

``priced`` computes what prices and capacities decide, so that a result on one machine gives the
results on machines with other memory capacities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from einsum_cascade.algebra.products import hoistable
from einsum_cascade.ir import Name, Parameter, walk
from einsum_cascade.operations import kind_and_format, operation_label

from ..bounds.floor import LeastWork, compulsory_words, floor_of
from ..counts.accesses import Amount, EinsumCount
from ..counts.cores import counts_at_ports, counts_of_all_cores
from ..counts.occupancy import busy_cycles, folds_of, memory_bytes, transfer_cycles
from ..counts.spill import spill_note
from ..energy import areas, charges, leakage_charges, leakage_w, unlike_word
from ..iteration.exact import total
from ..legality.footprint import requirements
from ..nest.partition import partition_obstacles
from ..nest.policy import MANY_IDLE_SHARE
from ..nest.record import Bound, BoundEinsum
from ..result.as_built import as_built
from ..result.note import Note, noted
from ..result.record import (
    ArrayRoof,
    ArrayUse,
    Bounds,
    EinsumUse,
    LevelBuffer,
    LevelTraffic,
    MemoryRoof,
    Roofs,
    ScheduleReport,
    added,
    in_machine_order,
)
from ..result.result import Result
from ..spec.arch import Architecture, ProcessingArray
from .timing import Timing


def assemble(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    timing: Timing,
    workload: str,
    engine: str,
    least: LeastWork | None = None,
) -> Result:
    """Return the result of a run from its counts, its timing, and the prices of both.

    Parameters
    ----------
    counts : tuple of EinsumCount
        Accesses and operations of every Einsum, in elements.
    timing : Timing
        Cycles of the run, by either engine.
    least : LeastWork, optional
        Least work of the same cascade on the same arrays, if known.
    """
    architecture = bound.architecture
    every = counts_of_all_cores(bound, counts)
    work = [_work(bound, e, *both) for e, *both in zip(bound.einsums, counts, every, strict=True)]
    found = Result(
        workload=workload,
        architecture=architecture.name,
        mapping=bound.mapping.name,
        engine=engine,
        shape=bound.whole.shapes,
        core_tile=() if bound.is_whole else bound.shapes,
        latency_s=float(timing.cycles / architecture.clock_hz),
        cycles=float(timing.cycles),
        bound_by=timing.bound_by,
        arrays=_arrays(bound, work, timing),
        traffic=_traffic(bound, every),
        buffers=(),
        energy_by_component=(),
        energy_by_einsum=(),
        area_by_component=(),
        bounds=_bounds(bound, counts_at_ports(bound, counts)),
        einsums=_einsums(bound, work, timing),
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
        tiles=tuple(bound.tiling.bounds.items()),
        notes=(*_notes(bound), *noted("timing", timing.notes)),
        roofs=bound.pattern_memo(_roofs_of),
        folds=tuple(f for e in bound.einsums if (f := folds_of(bound, e)) is not None),
    )
    return priced(found, bound, every, least)


def priced(
    result: Result, bound: Bound, counts: tuple[EinsumCount, ...], least: LeastWork | None = None
) -> Result:
    """Return a result with its buffers, energies, areas and floor on the machine of ``bound``.

    Parameters
    ----------
    result : Result
        Result on a machine that differs in prices and capacities at most.
    counts : tuple of EinsumCount
        Counts of all cores together.
    least : LeastWork, optional
        As in ``assemble``.
    """
    machine = bound.architecture
    bill = charges(machine, counts, bound.words) + leakage_charges(machine, result.latency_s)
    found = replace(
        result,
        buffers=_buffers(bound),
        resident_bytes=_number(requirements(bound)[machine.home_level].required_bytes),
        energy_by_component=in_machine_order(
            added((component, energy) for _, component, energy in bill).items(),
            (m.name for m in machine.memories),
            (a.name for a in machine.arrays),
        ),
        energy_by_einsum=tuple(added((einsum, energy) for einsum, _, energy in bill).items()),
        area_by_component=areas(machine),
        floor=floor_of(bound.whole, counts, least),
        charges=bill,
    )
    return replace(found, as_built=as_built(found, machine.losses, machine.power_limit_w))


def differ_in_capacities(one: Architecture, other: Architecture) -> bool:
    """Return whether two machines differ only in memory capacities."""
    return _without_capacities(one) == _without_capacities(other)


def _without_capacities(machine: Architecture) -> Architecture:
    memories = (replace(m, capacity_bytes=None, billed_bytes=None) for m in machine.memories)
    return machine.resized(tuple(memories))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """Work of an Einsum on its array, in cycles of the whole run."""

    count: EinsumCount
    occupied: Fraction
    busy: Fraction
    """Cycles in which the array computes, weighted by the share of processing elements at work."""


def _work(bound: Bound, e: BoundEinsum, own: EinsumCount, count: EinsumCount) -> _Work:
    """Return the cycles that an Einsum takes on its array, from the counts of one core and of all
    cores."""
    busy = Fraction(0)
    if own.iterations:  # without iterations, a mask lets nothing through
        elements = e.array.elements * bound.architecture.copies(e.array.name)
        # 4 iterations on 128 elements have room for 512 points: with 384 points, three quarters of
        # the cycles count.
        numerator, denominator = e.cycles.as_integer_ratio()
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
            utilization=float(w.busy / timing.cycles),
            traffic=_traffic(bound, (w.count,)),
            formats=tuple([x for name, _ in w.count.operations if (x := kind_and_format(name))[1]]),
        )
        for w in work
    )


def _by_kind(count: EinsumCount) -> tuple[tuple[str, int], ...]:
    """Return the number of operations of each kind, summed over all number formats."""
    return tuple(added((kind_and_format(name)[0], n) for name, n in count.operations).items())


def _traffic(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[LevelTraffic, ...]:
    word_bytes, words = bound.architecture.word_bytes, bound.words
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
            read_bytes=_number(read * word_bytes) if read else 0,
            write_bytes=_number(writes[level] * word_bytes) if writes[level] else 0,
            links=level in links,
        )
        for level, read in reads.items()
    )


def _number(value: Fraction) -> float:
    """Return a value as an integer if it is whole, so that JSON shows it exactly."""
    return int(value) if value.denominator == 1 else float(value)


def _buffers(bound: Bound) -> tuple[LevelBuffer, ...]:
    """Return the required bytes and capacity of each memory with a capacity."""
    return tuple(
        LevelBuffer(
            level=memory.name,
            required_bytes=_number(needed.required_bytes),
            capacity_bytes=memory.capacity_bytes,
        )
        for memory, needed in zip(bound.architecture.memories, requirements(bound), strict=True)
        if memory.capacity_bytes is not None
    )


def _bounds(bound: Bound, counts: tuple[EinsumCount, ...]) -> Bounds:
    """Return the bounds of a run: array work alone, traffic at full bandwidth, compulsory traffic.

    ``counts`` are as in ``memory_cycles``.
    """
    machine = bound.architecture
    cycles = array_cycles(bound, bound.by_name).values(), memory_cycles(bound, counts)
    compute, bandwidth = (float(max(each) / machine.clock_hz) for each in cycles)
    words = compulsory_words(bound.whole)
    return Bounds(
        compute_s=compute, bandwidth_s=bandwidth, traffic_bytes=_number(words * machine.word_bytes)
    )


def array_cycles(bound: Bound, names: Iterable[str]) -> dict[str, Fraction]:
    """Return the cycles for which the named Einsums keep each array busy."""
    einsums = (bound.by_name[name] for name in names)
    return added((e.array.name, busy_cycles(bound, e)) for e in einsums)


def memory_cycles(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[Fraction, ...]:
    """Return the cycles that each memory takes for its traffic.

    ``counts`` cover one core, and all cores at memories that feed several (``counts_at_ports``).
    """
    return tuple(
        transfer_cycles(bound, memory, memory_bytes(bound, counts, memory))
        for memory in bound.architecture.memories
    )


def _roofs_of(bound: Bound) -> Roofs:
    """Return the rooflines of the arrays that a mapping uses, and of all memories."""
    used = {e.array.name for e in bound.einsums}
    return Roofs(
        arrays=tuple(_array_roof(bound, a) for a in bound.architecture.arrays if a.name in used),
        memories=tuple(
            MemoryRoof(
                level=m.name,
                bytes_per_s=None
                if m.bandwidth_bytes_per_s is None
                else float(m.bandwidth_bytes_per_s * bound.architecture.copies(m.name)),
            )
            for m in bound.architecture.memories
        ),
    )


def _array_roof(bound: Bound, array: ProcessingArray) -> ArrayRoof:
    kinds = [k for e in bound.einsums if e.array is array for k, _ in e.operations]
    cycles = {k: o.cycles for k in kinds if (o := array.operation(k)) is not None}
    # Operations that take no time would put the roof at infinity: they are named and left out.
    listed = [o.cycles for o in array.operations if o.cycles > 0]
    fastest = min(listed, default=Fraction(1))
    elements = array.elements * bound.architecture.copies(array.name)
    return ArrayRoof(
        array=array.name,
        peak_ops_per_s=float(elements * bound.architecture.clock_hz / fastest),
        untimed=tuple(dict.fromkeys(kind_and_format(k)[0] for k, n in cycles.items() if not n)),
    )


def _stand_ins(bound: Bound, array: ProcessingArray) -> str:
    """Return a note on the operations that an array does not list, with their substitutes."""
    found: list[str] = []
    for name in _needed(bound, array):
        if array.listed(name) is None:
            operation = array.operation(name)
            assert operation is not None, "operations are checked when binding"
            unlisted = kind_and_format(name)[0] == "copy"
            how = "a cycle, unbilled" if unlisted else f"done as {operation.kind}"
            found.append(f"{operation_label(name)} is not listed ({how})")
    return "; ".join(found)


def _needed(bound: Bound, array: ProcessingArray) -> list[str]:
    """Return the names of the operations that a mapping runs on an array."""
    return sorted({n for e in bound.einsums if e.array.name == array.name for n, _ in e.operations})


def _format_notes(bound: Bound) -> Iterator[str]:
    """Yield notes on the number formats of tensors, and on operations that are priced in another
    format."""
    if not bound.program.formats.stated:
        yield from unlike_word(bound.architecture)
        return
    yield f"formats: {bound.program.formats}"
    for array in bound.architecture.arrays:
        anyhow: dict[str, None] = {}
        formats: dict[str, None] = {}
        for name in _needed(bound, array):
            kind, fmt = kind_and_format(name)
            operation = array.operation(name)
            if operation is None or kind == "copy":
                continue
            if not operation.format:
                anyhow[kind], formats[fmt or "words"] = None, None
            elif fmt and operation.format != fmt:
                yield f"{array.name}: {operation_label(name)} is done in {operation.format}"
        if anyhow:
            named = ", ".join(formats)
            yield (
                f"{array.name} names no formats of its own for {', '.join(anyhow)}, which cost the"
                f" same in {named}"
            )


def _mask_parameters(bound: Bound) -> list[Parameter]:
    """Return the parameters on which masks depend, and through them the counts."""
    used = {
        node.name
        for e in bound.einsums
        if e.einsum.where is not None
        for node in walk(e.einsum.where)
        if isinstance(node, Name)
    }
    return [p for p in bound.program.parameters if p.name in used and p.default is not None]


def _core_notes(bound: Bound) -> Iterator[str]:
    """Yield notes on how many cores the mapping uses, and on tensors that each core makes for
    itself."""
    partitions = bound.cores.partitions
    for number, memory in enumerate(bound.architecture.memories):
        for name, count in memory.instances:
            here = [s for s in partitions if (s.level, s.instances) == (number, name)]
            parts = ", ".join(f"{s.rank} in {s.parts} parts of {s.size_text}" for s in here)
            used = prod(s.parts for s in here)
            yield f"{used} of {count} {name} are used" + (f": {parts}" if parts else "")
            idle = used <= MANY_IDLE_SHARE * count
            obstacles = bound.program.memo(partition_obstacles) if idle else {}
            for rank, why in obstacles.items():
                if rank not in {s.rank for s in here} and bound.tiling.shapes.get(rank, 1) > 1:
                    yield f"{rank} is not cut over {name}: {why}"
    yield from _ring_notes(bound)
    for s in partitions:
        made = [e.name for e in bound.einsums if (e.name, s.rank) in bound.cores.replicated]
        if made:
            yield f"each of {s.parts} {s.instances} makes {', '.join(made)} for itself"


def _ring_notes(bound: Bound) -> Iterator[str]:
    """Yield notes on the data of each core, if cores are connected only by a ring of links."""
    ring, outermost = bound.cores.ring, bound.architecture.memories[0]
    if not outermost.ring:
        return
    ((name, _),) = outermost.instances
    if ring.tensors:
        parts = ", ".join(f"{t} in {ring.parts} parts of {rank}" for t, rank in ring.tensors)
        yield f"each of {ring.parts} {name} passes on to the next what it has: {parts}"
    if ring.copied:
        yield f"each of {ring.parts} {name} has a copy of {', '.join(ring.copied)} before it begins"


def _notes(bound: Bound) -> Iterator[Note]:
    """Yield notes on costs that the result does not contain, because of the machine's data or the
    mapping."""
    of_formats, of_machine = bound.pattern_memo(_pattern_notes)
    if bound.mapping.chosen:
        choices = ", ".join(f"{name} {what}" for name, what in bound.mapping.chosen)
        yield Note(f"chosen by the mapping's objective: {choices}", "mapping")
    yield from noted("mapping", bound.mapping.moved)
    yield from noted("cores", _core_notes(bound))
    yield from of_formats
    if note := spill_note(bound):
        yield Note(note, "spill")
    yield from noted("mask", bound.masking_notes)
    yield from noted("mask", (f"{p.name} = {p.default:g}" for p in _mask_parameters(bound)))
    if masked := [e.name for e in bound.einsums if e.window is not None]:
        text = f"{', '.join(masked)}: tiles without a point of the mask are skipped"
        yield Note(f"{text}, and tiles with some points are run whole", "mask")
    repeated = bound.program.memo(hoistable)
    yield from noted("mapping", (h.note(bound.program) for h in repeated))
    yield from of_machine


def _pattern_notes(bound: Bound) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """Return the notes on number formats and on the machine, which do not depend on shapes."""
    return noted("format", _format_notes(bound)), noted("price", _machine_notes(bound))


def _machine_notes(bound: Bound) -> Iterator[str]:
    """Yield notes on costs that the machine's data leave out, whatever the shapes."""
    architecture = bound.architecture
    for array in architecture.arrays:
        stood_in = _stand_ins(bound, array)
        if stood_in:
            yield f"{array.name}: {stood_in}"
        if array.registers.billed == "one":
            yield (
                f"{array.name}: register accesses of its own Einsums are billed for one element "
                f"of {array.elements}"
            )
    for memory in architecture.memories:
        if memory.bandwidth_bytes_per_s is None:
            yield f"{memory.name}: bandwidth is taken as unlimited"
    leaking = "" if leakage_w(architecture) else "leakage, "
    yield f"{leaking}clock and on-chip network energy are not billed"
