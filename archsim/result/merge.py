"""Merge of the results of parts that run in sequence on one machine.

Latency, traffic, energy and operations add up over all runs of all parts. A utilization is busy
over elapsed cycles of the whole. A buffer must hold the need of its largest part. The bounds of the
parts add up to a bound of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, count

from .as_built import as_built_of_parts
from .note import Note
from .record import (
    ArrayRoof,
    ArrayUse,
    Bounds,
    EinsumUse,
    Floor,
    Folds,
    LevelBuffer,
    LevelTraffic,
    PartUse,
    Roofs,
    RunRecord,
    ScheduleReport,
    added,
    in_machine_order,
)
from .result import Result


def merged(
    parts: tuple[PartUse, ...],
    *,
    workload: str,
    mapping: str,
    shape: tuple[tuple[str, int], ...],
    notes: tuple[Note, ...] = (),
) -> Result:
    """Return the result of a whole workload, with the results of its parts.

    Parameters
    ----------
    parts : tuple of PartUse
        At least one, in the order they run, all on the same machine.
    shape : tuple
        Shapes of the workload to show: sizes by rank, in elements.
    notes : tuple of Note
        Omissions of the workload itself, shown before the notes of the parts.
    """
    parts = tuple(_with_distinct_names(parts))
    first = parts[0].result
    cycles = sum(p.cycles for p in parts)
    names = _names(parts)
    energy = added((c, p.times * v) for p in parts for c, v in p.result.energy_by_component)
    bound_by = added((p.result.bound_by, p.cycles) for p in parts)
    return Result(
        workload=workload,
        architecture=first.architecture,
        mapping=mapping,
        engine=first.engine,
        shape=shape,
        latency_s=sum(p.latency_s for p in parts),
        cycles=cycles,
        bound_by=max(bound_by, key=lambda name: bound_by[name]),
        arrays=tuple(_array(parts, a.array, cycles) for a in first.arrays),
        traffic=tuple(_level(parts, t.level) for t in first.traffic),
        buffers=tuple(_buffer(parts, b.level) for b in first.buffers),
        energy_by_component=in_machine_order(
            energy.items(), (t.level for t in first.traffic), (a.array for a in first.arrays)
        ),
        energy_by_einsum=tuple(
            (names[p.name, e], p.times * v) for p in parts for e, v in p.result.energy_by_einsum
        ),
        area_by_component=first.area_by_component,
        bounds=_bounds(parts),
        floor=_floor(parts),
        einsums=tuple(
            _einsum(e, names[p.name, e.name], p, cycles) for p in parts for e in p.result.einsums
        ),
        schedule=_schedule(parts, cycles),
        resident_bytes=max(p.result.resident_bytes for p in parts),
        notes=(*notes, *_notes(parts)),
        charges=tuple(
            (names[p.name, e], c, p.times * v) for p in parts for e, c, v in p.result.charges
        ),
        folds=tuple(_folds(parts, names)),
        roofs=_roofs(parts),
        parts=parts,
        as_built=as_built_of_parts(parts),
    )


def _notes(parts: tuple[PartUse, ...]) -> Iterator[Note]:
    """Yield the notes of all parts with the names of their parts; notes on all parts name none."""
    about: dict[Note, list[str]] = {}
    for p in parts:
        for note in p.result.notes:
            about.setdefault(note, []).append(f"{p.name}, {note.part}" if note.part else p.name)
    for note, names in about.items():
        yield Note(note, note.kind, "" if len(names) == len(parts) else ", ".join(names))


def _folds(parts: tuple[PartUse, ...], names: dict[tuple[str, str], str]) -> Iterator[Folds]:
    """Yield the folds of all Einsums, each repeated as often as its part runs."""
    for p in parts:
        for f in p.result.folds:
            yield replace(f, einsum=names[p.name, f.einsum], runs=p.times * f.runs)


def _bounds(parts: tuple[PartUse, ...]) -> Bounds:
    """Return the sum of the bounds of parts that run in sequence."""
    return Bounds(
        compute_s=_total(parts, lambda r: r.bounds.compute_s),
        bandwidth_s=_total(parts, lambda r: r.bounds.bandwidth_s),
        traffic_bytes=_total(parts, lambda r: r.bounds.traffic_bytes),
    )


def _floor(parts: tuple[PartUse, ...]) -> Floor:
    """Return the sum of the floors (lower bounds of any mapping) of parts that run in sequence."""
    return Floor(
        latency_s=lambda: _total(parts, lambda r: r.floor.latency_s),
        energy_pj=lambda: _total(parts, lambda r: r.floor.energy_pj),
        compute_s=lambda: _total(parts, lambda r: r.floor.compute_s),
        bandwidth_s=lambda: _total(parts, lambda r: r.floor.bandwidth_s),
    )


def _roofs(parts: tuple[PartUse, ...]) -> Roofs:
    """Return the roofs of all arrays that any part uses; all parts run on one machine."""
    found: dict[str, ArrayRoof] = {}
    for roof in (r for p in parts for r in p.result.roofs.arrays):
        known = found.setdefault(roof.array, roof)
        untimed = tuple(dict.fromkeys((*known.untimed, *roof.untimed)))
        found[roof.array] = replace(known, untimed=untimed)
    return Roofs(arrays=tuple(found.values()), memories=parts[0].result.roofs.memories)


def _with_distinct_names(parts: tuple[PartUse, ...]) -> Iterator[PartUse]:
    """Yield the parts with distinct names: a repeated name gets a number."""
    taken: set[str] = set()
    for part in parts:
        names = chain((part.name,), (f"{part.name}-{n}" for n in count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield replace(part, name=name)


def _names(parts: tuple[PartUse, ...]) -> dict[tuple[str, str], str]:
    """Return a name for every Einsum, which includes its part's name if several parts have the
    Einsum."""
    own = [
        (p.name, name)
        for p in parts
        for name in {e.name: 0.0 for e in p.result.einsums} | dict(p.result.energy_by_einsum)
    ]
    alone = [e for _, e in own]
    return {(p, e): e if alone.count(e) == 1 else f"{p}.{e}" for p, e in own}


def _total(parts: tuple[PartUse, ...], number: Callable[[RunRecord], float]) -> float:
    return sum(p.times * number(p.result) for p in parts)


def _array(parts: tuple[PartUse, ...], name: str, cycles: float) -> ArrayUse:
    uses = [(p.times, a) for p in parts for a in p.result.arrays if a.array == name]
    busy = sum(times * a.busy_cycles for times, a in uses)
    return ArrayUse(
        array=name,
        occupied_cycles=sum(times * a.occupied_cycles for times, a in uses),
        busy_cycles=busy,
        utilization=busy / cycles,
    )


def _level(parts: tuple[PartUse, ...], level: str) -> LevelTraffic:
    moved = [t.of_runs(p.times) for p in parts for t in p.result.traffic if t.level == level]
    return replace(
        moved[0],
        read_bytes=sum(t.read_bytes for t in moved),
        write_bytes=sum(t.write_bytes for t in moved),
    )


def _buffer(parts: tuple[PartUse, ...], level: str) -> LevelBuffer:
    held = [b for p in parts for b in p.result.buffers if b.level == level]
    return replace(held[0], required_bytes=max(b.required_bytes for b in held))


def _einsum(einsum: EinsumUse, name: str, part: PartUse, cycles: float) -> EinsumUse:
    times = part.times
    # A part's cycles cover all its runs, so that its utilization needs no ``times``.
    return replace(
        einsum,
        name=name,
        cycles=times * einsum.cycles,
        operations=tuple((kind, times * n) for kind, n in einsum.operations),
        utilization=einsum.utilization * (part.cycles / cycles),
        traffic=tuple(t.of_runs(times) for t in einsum.traffic),
    )


def _schedule(parts: tuple[PartUse, ...], cycles: float) -> ScheduleReport:
    """Return the schedule of all runs as a single step, bounded by the longest part."""
    ends = _total(parts, lambda r: r.schedule.fill_drain_cycles)
    averaged = any(p.result.schedule.timed_by == "average" for p in parts)
    return ScheduleReport(
        timed_by="average" if averaged else "steps",
        kind="parts",
        steps=1,
        period_cycles=cycles - ends,
        fill_drain_cycles=ends,
        critical=(max(parts, key=lambda p: p.cycles).name,),
    )
