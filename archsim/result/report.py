"""Reports of a result: headline facts, tables by Einsum and by part, and explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..document import Column, Document, Fact, Table, names, numbers, table_of, texts
from ..quantities import area, bar, byte_size, count, energy, engineering, percent, ratio, seconds
from .record import (
    Bounds,
    EinsumUse,
    Floor,
    Folds,
    LevelBuffer,
    LevelTraffic,
    Named,
    RunRecord,
    ScheduleReport,
    Totals,
    added,
)

T = TypeVar("T")

_EXACT_BELOW = 10_000


def report(result: RunRecord) -> Document:
    """Return the one-screen report of a simulation.

    Parameters
    ----------
    result : RunRecord
        Result of ``archsim.simulate``.

    Returns
    -------
    Document
        Latency and its bounding resource, utilization, traffic and buffers, energy, area, bounds.
    """
    return Document(
        title=f"{result.workload} on {result.architecture}, mapped by {result.mapping}",
        subtitle="\n".join((*short_of_memory(result), _shape(result))),
        facts=_facts(result),
        tables=(
            *(((rewrite_table(b, result.totals),),) if (b := result.before_rewrite) else ()),
            *(((parts_table(result),),) if result.parts else ()),
            (_arrays(result),),
            (_memories(result),),
            (_einsums(result),),
            (
                _shares("energy by component", "energy", energy, result.energy_by_component),
                _shares("area by component", "area", area, result.area_by_component),
            ),
        ),
        notes=tuple(f"{n.part}: {n}" if n.part else n for n in result.notes),
    )


def explain(result: RunRecord) -> Document:
    """Return tables that divide cycles, bytes and picojoules by their sources.

    Parameters
    ----------
    result : RunRecord
        Result of one part or several; empty tables are left out.

    Returns
    -------
    Document
        Tables that ``archsim simulate --explain`` prints after the report.
    """
    tables = (
        part_schedules(result),
        _energy_matrix(result),
        _traffic_by_einsum(result),
        _operations(result),
        _folds(result),
    )
    return Document(
        title="where the cycles, bytes and picojoules come from",
        subtitle=_loops(result),
        facts=_latency_parts(result),
        tables=tuple((t,) for t in tables if t.rows),
        notes=("what latency includes and what it leaves out: docs/engine.md",),
    )


def short_of_memory(result: RunRecord) -> Iterator[str]:
    """Yield a line for each memory that is too small for the whole workload."""
    for need in result.capacity:
        if not need.fits and need.available_bytes is not None:
            sizes = byte_size(need.needed_bytes), byte_size(need.available_bytes)
            yield f"does not fit: {need.memory} needs {sizes[0]}, has {sizes[1]}"


def _shape(result: RunRecord) -> str:
    sizes, tile = (
        "  ".join(f"{rank}={size:,}" for rank, size in shape)
        for shape in (result.shape, result.core_tile)
    )
    formats = "; ".join(f"{what} {names}" for what, names in result.formats)
    core, stored = f"\none core: {tile}" if tile else "", f"\nformats: {formats}" if formats else ""
    return f"{sizes}  ({result.engine} engine){core}{stored}"


def _facts(result: RunRecord) -> tuple[Fact, ...]:
    bounds, floor = result.bounds, result.floor
    least = max(bounds.compute_s, bounds.bandwidth_s)
    outer = next((t for t in result.traffic if not t.links), None)
    facts = [
        Fact(
            "latency",
            seconds(result.latency_s),
            f"{count(result.cycles)} cycles at {engineering(result.clock_hz, 'Hz')}, "
            f"bound by {result.bound_by}",
        ),
        _bound(result, "bound", "this mapping", bounds, least),
        _bound(result, "floor", "any mapping", floor, floor.latency_s),
    ]
    facts.append(_as_built(result))
    if outer is not None:
        once = "each operator's inputs" if result.parts else "each input"
        facts.append(
            Fact(
                f"{outer.level} traffic",
                byte_size(outer.total_bytes),
                f"{once} once, each output once: {byte_size(bounds.traffic_bytes)} "
                f"({_over(outer.total_bytes, bounds.traffic_bytes)})",
            )
        )
    return (
        *facts,
        Fact("energy", energy(result.energy_pj), f"{engineering(result.power_w, 'W')} on average"),
        *_request(result),
        *_tokens(result),
        Fact("area", area(result.area_um2)),
        parts_schedule(result) if result.parts else _schedule(result),
    )


def _request(result: RunRecord) -> tuple[Fact, ...]:
    """Return the times to the first token of an answer and per further token."""
    if (request := result.request) is None:
        return ()
    first = f"of {request.answer_len:,}, after {request.prompt_len:,} of the prompt"
    remark = f"{first}; {energy(1e12 * request.first_token_j)}"
    further, joules = request.time_per_output_token_s, request.output_token_j
    rest = Fact("further tokens", "-", "the first is the only one")
    if further is not None and joules is not None:
        each = f"on average; {energy(1e12 * joules)}"
        rest = Fact("further tokens", seconds(further), each)
    return (Fact("first token", seconds(request.time_to_first_token_s), remark), rest)


def _tokens(result: RunRecord) -> tuple[Fact, ...]:
    """Return tokens per second and energy per token if a whole model runs."""
    if result.tokens is None or result.tokens_per_s is None or result.joules_per_token is None:
        return ()
    each = energy(1e12 * result.joules_per_token)
    rate = result.tokens_per_s
    shown = f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"
    return (Fact("tokens", f"{shown} tokens/s", f"{result.tokens:,} computed, {each} each"),)


def _bound(result: RunRecord, name: str, of: str, bound: Bounds | Floor, least: float) -> Fact:
    """Return a lower bound of the latency, with the bounds of arrays and memories."""
    compute, bandwidth = seconds(bound.compute_s), seconds(bound.bandwidth_s)
    return Fact(
        name,
        seconds(least),
        f"of {of}: compute {compute}, bandwidth {bandwidth}; "
        f"latency is {_over(result.latency_s, least, name)}",
    )


def _as_built(result: RunRecord) -> Fact:
    """Return the latency on the machine as built, with what makes the difference."""
    if (built := result.as_built) is None:
        return Fact(
            "as built", "-", f"as designed: no losses of {result.architecture} are measured"
        )
    losses = ", ".join(f"{x.name} {seconds(x.seconds)}" for x in built.losses) or "nothing"
    power = engineering(built.average_power_w, "W")
    spent = energy(built.energy_pj)
    whence = f"; {built.inherited}" if built.inherited else ""
    remark = f"{losses} more; {spent}, {power} on average{whence}"
    return Fact("as built", seconds(built.latency_s), remark)


def _over(value: float, bound: float, name: str = "bound") -> str:
    return f"{ratio(value / bound)} the {name}" if bound else f"the {name} is zero"


def _schedule(result: RunRecord) -> Fact:
    s = result.schedule
    ahead = f"lookahead {s.lookahead}, " if s.lookahead is not None else ""
    return Fact(
        "schedule", s.kind, f"{ahead}{_steps(s)}, {count(s.fill_drain_cycles)} of fill and drain"
    )


def _steps(schedule: ScheduleReport) -> str:
    steps = "step" if schedule.steps == 1 else "steps"
    return f"{count(schedule.steps)} {steps} of {count(schedule.period_cycles)} cycles"


def _loops(result: RunRecord) -> str:
    return "loops: " + "  ".join(f"{k}={n:,}" for k, n in result.tiles) if result.tiles else ""


def _latency_parts(result: RunRecord) -> tuple[Fact, ...]:
    s = result.schedule
    if result.parts:
        sums = f"sum over {len(result.parts)} operators, each as often as it runs"
        return (
            Fact("cycles", count(result.cycles), sums),
            Fact("fill and drain", count(s.fill_drain_cycles), "of all runs"),
            Fact("bound by", result.bound_by, f"in most of the time; longest: {s.critical[0]}"),
        )
    steady = s.steps * s.period_cycles
    return (
        Fact("cycles", count(result.cycles), "steady state + fill and drain"),
        Fact("steady state", count(steady), _steps(s)),
        Fact("fill and drain", count(s.fill_drain_cycles)),
        Fact("bound by", result.bound_by, " -> ".join(s.critical)),
    )


def _table(title: str, items: Iterable[T], *columns: tuple[Column, Callable[[T], str]]) -> Table:
    """Return a table with a row for each item; every column has a function that writes its cell."""
    rows = ([cell(item) for _, cell in columns] for item in items)
    return table_of(title, (column for column, _ in columns), rows)


def _arrays(result: RunRecord) -> Table:
    return _table(
        "arrays",
        result.arrays,
        (Column("array", "name"), lambda a: a.array),
        (Column("utilization"), lambda a: percent(a.utilization)),
        (Column("", "bar"), lambda a: bar(a.utilization)),
        (Column("busy cycles"), lambda a: count(a.busy_cycles)),
        (Column("occupied cycles"), lambda a: count(a.occupied_cycles)),
    )


def _memories(result: RunRecord) -> Table:
    buffers = {b.level: b for b in result.buffers}
    traffic = {t.level: t for t in result.traffic}
    levels = dict.fromkeys((*traffic, *buffers))
    rows = ((x, *_moved(traffic.get(x)), *_held(buffers.get(x))) for x in levels)
    heads = (*names("level"), *numbers("read", "written", "total", "footprint", "capacity", "full"))
    return table_of("memories and registers", heads, rows)


def _moved(traffic: LevelTraffic | None) -> tuple[str, str, str]:
    if traffic is None:
        return ("-", "-", "-")
    read, written = byte_size(traffic.read_bytes), byte_size(traffic.write_bytes)
    return (read, written, byte_size(traffic.total_bytes))


def _held(buffer: LevelBuffer | None) -> tuple[str, str, str]:
    if buffer is None:
        return ("-", "-", "-")
    if buffer.capacity_bytes is None:
        return (byte_size(buffer.required_bytes), "unlimited", "-")
    full = percent(buffer.required_bytes / buffer.capacity_bytes) if buffer.capacity_bytes else "-"
    return (byte_size(buffer.required_bytes), byte_size(buffer.capacity_bytes), full)


def _einsums(result: RunRecord) -> Table:
    spent = dict(result.energy_by_einsum)
    total = sum(spent.values())
    used = {e.name for e in result.einsums}
    rows = [_einsum(e, spent, total) for e in result.einsums]
    rows += [
        (name, "-", "-", "-", "-", energy(pj), _share(pj, total))
        for name, pj in spent.items()
        if name not in used
    ]
    words = (*names("Einsum"), *texts("array", "operations"))
    heads = (*words, *numbers("cycles", "of array", "energy", "share"))
    return table_of("Einsums", heads, rows)


def _einsum(einsum: EinsumUse, spent: dict[str, float], total: float) -> tuple[str, ...]:
    pj = spent.get(einsum.name)
    return (
        einsum.name,
        einsum.array,
        ", ".join(f"{_many(n)} {kind}" for kind, n in einsum.operations),
        count(einsum.cycles),
        percent(einsum.utilization),
        "-" if pj is None else energy(pj),
        "-" if pj is None else _share(pj, total),
    )


def _many(n: int) -> str:
    return f"{n:,}" if n < _EXACT_BELOW else engineering(n, "")


def _share(part: float, total: float) -> str:
    return percent(part / total) if total else "-"


def _shares(title: str, what: str, show: Callable[[float], str], parts: Named) -> Table:
    total = sum(v for _, v in parts)
    rows = ((name, show(v), _share(v, total)) for name, v in parts)
    return table_of(title, (*names("component"), *numbers(what, "share")), rows)


def _energy_matrix(result: RunRecord) -> Table:
    """Return a table of energies with a row for each Einsum and a column for each component."""
    components = tuple(dict.fromkeys(c for _, c, _ in result.charges))
    spent = added(((einsum, component), pj) for einsum, component, pj in result.charges)
    rows = (
        (e, *(energy(spent[e, c]) if (e, c) in spent else "-" for c in components))
        for e in dict.fromkeys(e for e, _, _ in result.charges)
    )
    heads = (*names("Einsum"), *numbers(*components))
    return table_of("energy by Einsum and component", heads, rows)


def _traffic_by_einsum(result: RunRecord) -> Table:
    moved = {t.level: t.total_bytes for t in result.traffic}
    rows = []
    for e in result.einsums:
        for t in e.traffic:
            if t.total_bytes:
                share = _share(t.total_bytes, moved[t.level])
                sizes = (byte_size(t.read_bytes), byte_size(t.write_bytes))
                rows.append((e.name, t.level, *sizes, share))
    heads = (*names("Einsum"), *texts("level"), *numbers("read", "written", "share of level"))
    return table_of("traffic by Einsum", heads, rows)


def _folds(result: RunRecord) -> Table:
    """Return a table of the folds of Einsums on systolic arrays, with their cycles."""
    cycles = {e.name: e.cycles for e in result.einsums}
    return _table(
        "systolic arrays, cycles: folds x (work + skew) + loads x load",
        result.folds,
        (Column("Einsum", "name"), lambda f: f.einsum),
        (Column("folds"), lambda f: count(f.runs * f.folds)),
        (Column("work"), lambda f: count((cycles[f.einsum] - f.cycles) / (f.runs * f.folds))),
        (Column("skew", "name"), _skew),
        (Column("loads"), lambda f: count(f.runs * f.loads)),
        (Column("load"), lambda f: count(f.load_cycles)),
        (Column("skew, loads"), lambda f: count(f.cycles)),
        (Column("share"), lambda f: _share(f.cycles, cycles[f.einsum])),
        (Column("paid", "name"), _paid),
    )


def _skew(folds: Folds) -> str:
    return " + ".join(f"{n:,} {axis}" for axis, n in folds.skew) or "-"


def _paid(folds: Folds) -> str:
    if not folds.overlap:
        drained = f", after {count(folds.drain)} to drain" if folds.drain else ""
        return f"each time{drained}"
    return f"once, then {count(folds.stall)} a load" if folds.stall else "once"


def _operations(result: RunRecord) -> Table:
    rows = ((e.name, kind, f"{n:,}") for e in result.einsums for kind, n in e.operations)
    heads = (*names("Einsum"), *texts("operation"), *numbers("count"))
    return table_of("operations, exactly", heads, rows)


def rewrite_table(before: Totals, after: Totals) -> Table:
    """Return a table of latency, traffic and energy before and after a rewrite."""
    rows = (
        ("latency", seconds, before.latency_s, after.latency_s),
        ("traffic", byte_size, before.traffic_bytes, after.traffic_bytes),
        ("energy", energy, before.energy_pj, after.energy_pj),
    )
    return table_of(
        "what the rewrite costs or saves",
        (Column("", "name"), *numbers("before", "after", "after / before")),
        ((name, show(x), show(y), ratio(y / x) if x else "-") for name, show, x, y in rows),
    )


def parts_table(result: RunRecord) -> Table:
    """Return a table with a row for each part, which covers all its runs; empty without parts."""
    return _table(
        "operators, one after the other",
        result.parts,
        (Column("operator", "name"), lambda p: p.name),
        (Column("runs"), lambda p: f"{p.times:,}"),
        (Column("mapping", "text"), lambda p: p.result.mapping),
        (Column("latency"), lambda p: seconds(p.latency_s)),
        (Column("share"), lambda p: _share(p.latency_s, result.latency_s)),
        (Column("bound by", "text"), lambda p: p.result.bound_by),
        (Column("traffic"), lambda p: byte_size(p.traffic_bytes)),
        (Column("energy"), lambda p: energy(p.energy_pj)),
        (Column("share"), lambda p: _share(p.energy_pj, result.energy_pj)),
    )


def parts_schedule(result: RunRecord) -> Fact:
    """Return one line that tells in which order the parts run."""
    runs = sum(p.times for p in result.parts)
    return Fact(
        "schedule",
        "in order",
        f"{runs:,} runs one after the other, "
        f"{count(result.schedule.fill_drain_cycles)} cycles of fill and drain in all",
    )


def part_schedules(result: RunRecord) -> Table:
    """Return the schedule and the loops of each part, for one run of the part."""
    return _table(
        "one run of each operator",
        result.parts,
        (Column("operator", "name"), lambda p: p.name),
        (Column("schedule", "text"), lambda p: p.result.schedule.kind),
        (Column("cycles"), lambda p: count(p.result.cycles)),
        (Column("steps"), lambda p: count(p.result.schedule.steps)),
        (Column("cycles a step"), lambda p: count(p.result.schedule.period_cycles)),
        (Column("fill and drain"), lambda p: count(p.result.schedule.fill_drain_cycles)),
        (Column("bound by", "text"), lambda p: p.result.bound_by),
        (Column("loops", "text"), lambda p: _counts(p.result.tiles)),
    )


def _counts(loops: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{name}={n:,}" for name, n in loops if n > 1)
