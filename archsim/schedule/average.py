"""Latency of a mapping under its schedule.

Latency runs from the first transfer to the arrival of the last output in the outermost
memory. All three kinds read the same tasks: ``sequential`` runs one group of Einsums
after the other (each Einsum its own group if none are given), a group as long as its
busiest array or its transfers; ``phases`` puts a barrier between groups
of Einsums; ``pipelined`` lets everything overlap that dependencies, resources and the
number of tiles in flight allow. What a memory moves is spread evenly over the steps, and
so is an Einsum that stays outside inner loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean

from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.occupancy import busy_cycles, memory_bytes, reduction_latency, transfer_cycles
from ..spec.mapping import FIT, PhaseTask
from .cycle_mean import CriticalCycle, DeadlockError, maximum_cycle_mean
from .event_graph import EventGraph, GraphTask, period_edges
from .makespan import makespan
from .modulo import modulo_schedule
from .tasks import StepGraph, alone, first_fill, fitted_lookahead, last_drain, step_graph


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of a whole run and what they are made of."""

    cycles: Fraction
    steps: int
    period: Fraction
    """Cycles per step in the steady state."""
    bound_by: str
    critical: tuple[str, ...]
    lookahead: int | None = None
    simulated: int | None = None
    """GraphTask events fired to know it (event engine)."""
    notes: tuple[str, ...] = ()

    @property
    def fill_drain(self) -> Fraction:
        """What is not steady state."""
        return self.cycles - self.period * self.steps


def time_mapping(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    """Latency of a bound mapping in cycles.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies.
    """
    kinds = {"sequential": _sequential, "phases": _phases, "pipelined": _pipelined}
    return kinds[bound.mapping.schedule.kind](bound, counts)


# ------------------------------------------------------------------ sequential


def _sequential(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    total = Fraction(0)
    slowest = (Fraction(-1), "", "")
    by_name = {c.einsum: c for c in counts}
    for group in bound.groups:
        parts: dict[str, Fraction] = {}
        late: dict[str, int] = {}
        for e in bound.einsums:
            if e.name in group:
                name = e.array.name
                parts[name] = parts.get(name, Fraction(0)) + busy_cycles(bound, e)
                late[name] = max(late.get(name, 0), reduction_latency(e))
        for name, cycles in late.items():
            parts[name] += cycles
        for memory in bound.architecture.memories:
            moved = memory_bytes(bound, tuple(by_name[n] for n in group), memory)
            parts[memory.name] = transfer_cycles(bound, memory, moved)
        what, longest = max(parts.items(), key=lambda p: p[1])
        total += longest
        slowest = max(slowest, (longest, what, ", ".join(group)))
    return Timing(
        cycles=total,
        steps=1,
        period=total,
        bound_by=slowest[1],
        critical=(f"{slowest[2]} on {slowest[1]}",),
    )


# ------------------------------------------------------------------ phases


def _phases(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    step = step_graph(bound, counts, lookahead=1)
    tasks = {t.name: t for t in step.graph.tasks}
    _check_groups(bound, step)
    groups = bound.mapping.schedule.groups
    lengths: list[tuple[Fraction, str]] = []
    for group in groups:
        load: dict[str, Fraction] = {}
        for member in group:
            task = tasks[member.einsum]
            load[task.resource] = load.get(task.resource, Fraction(0)) + task.occupancy
        lengths.append(max((cycles, resource) for resource, cycles in load.items()))
    waits = [_exposed(bound, step, index, lengths) for index in range(len(groups))]
    period = sum((cycles for cycles, _ in lengths), Fraction(0)) + sum(waits, Fraction(0))
    memory = max(
        (t for t in step.graph.tasks if t.resource not in _array_names(bound)),
        key=lambda t: t.occupancy,
        default=None,
    )
    limit, critical = _phase_bound(lengths, waits, groups)
    if memory is not None and memory.occupancy > period:
        period, limit, critical = memory.occupancy, memory.name, (f"transfers of {memory.name}",)
    ends = first_fill(bound, _inside(bound, step)) + last_drain(bound)
    alone = _alone(bound, (*step.prologue, *step.epilogue))
    cycles = period * bound.steps + _partial_steps(tasks, groups) + alone + ends
    limit, critical = _unless_ends(bound, cycles, ends, (limit, critical))
    return Timing(
        cycles=cycles, steps=bound.steps, period=period, bound_by=limit, critical=critical
    )


def _unless_ends(
    bound: Bound, cycles: Fraction, ends: Fraction, limit: tuple[str, tuple[str, ...]]
) -> tuple[str, tuple[str, ...]]:
    """What bounds a run: the outermost memory where first fill and last drain are most of it."""
    name = bound.architecture.memories[0].name
    return (name, (f"first fill and last drain of {name}",)) if 2 * ends > cycles else limit


def _array_names(bound: Bound) -> set[str]:
    return {a.name for a in bound.architecture.arrays}


def _phase_bound(
    lengths: list[tuple[Fraction, str]],
    waits: list[Fraction],
    groups: tuple[tuple[PhaseTask, ...], ...],
) -> tuple[str, tuple[str, ...]]:
    """The array the phases spend most of their time on, or the exposed latency."""
    share: dict[str, Fraction] = {}
    for cycles, resource in lengths:
        share[resource] = share.get(resource, Fraction(0)) + cycles
    share["reduction latency"] = sum(waits, Fraction(0))
    limit = max(share, key=lambda k: share[k])
    index = max(range(len(groups)), key=lambda i: lengths[i][0] + waits[i])
    names = ", ".join(t.einsum for t in groups[index])
    critical: tuple[str, ...] = (f"phase {index + 1} of {len(groups)} ({names})",)
    if waits[index]:
        critical = (*critical, f"{float(waits[index]):g} cycles of exposed reduction latency")
    return limit, critical


def _partial_steps(
    tasks: dict[str, GraphTask], groups: tuple[tuple[PhaseTask, ...], ...]
) -> Fraction:
    """Work on the first tiles before the first whole step, and on the last ones after it.

    A task on the tile ``n`` steps before still has ``n`` of them to do when all others are
    done; one that runs ahead begins as much earlier.
    """
    total = Fraction(0)
    for sign in (-1, 1):
        for step in range(1, max((sign * t.shift for g in groups for t in g), default=0) + 1):
            for group in groups:
                load: dict[str, Fraction] = {}
                for member in group:
                    if sign * member.shift >= step:
                        task = tasks[member.einsum]
                        load[task.resource] = load.get(task.resource, Fraction(0)) + task.occupancy
                total += max(load.values(), default=Fraction(0))
    return total


def check_groups(bound: Bound, counts: tuple[EinsumCount, ...]) -> None:
    """Refuse phases that leave an Einsum out, or run one before what it needs.

    Raises
    ------
    SpecError
        A phase names no Einsum of the cascade.
    MappingError
        The order of the phases contradicts the dependencies.
    """
    _check_groups(bound, step_graph(bound, counts, lookahead=1))


def _check_groups(bound: Bound, step: StepGraph) -> None:
    """Every Einsum once, and nothing before what it needs."""
    schedule = bound.mapping.schedule
    place = {t.einsum: (i, t.shift) for i, g in enumerate(schedule.groups) for t in g}
    names = [e.name for e in bound.einsums]
    problems = [
        Problem(f"a phase names '{n}'", schedule.span, did_you_mean(n, names))
        for n in (*place, *(schedule.exposes or ()))
        if n not in names
    ]
    if problems:
        raise SpecError(problems)
    problems = [Problem(f"no phase runs {n}", schedule.span) for n in names if n not in place]
    tasks = step.graph.tasks
    for d in step.graph.dependencies:
        before, after = tasks[d.before].name, tasks[d.after].name
        if before in place and after in place and not d.room:
            (group, shift), (then, later) = place[before], place[after]
            if (group - shift * len(schedule.groups)) > (
                then - later * len(schedule.groups) + d.distance * len(schedule.groups)
            ):
                text = f"{after} runs in an earlier phase than {before}, which it needs"
                problems.append(Problem(text, schedule.span))
    if problems:
        raise MappingError(problems)


def _exposed(
    bound: Bound, step: StepGraph, index: int, lengths: list[tuple[Fraction, str]]
) -> Fraction:
    """Cycles the barrier after a phase waits for reductions that started in it."""
    schedule = bound.mapping.schedule
    groups = schedule.groups
    place = {t.einsum: (i, t.shift) for i, g in enumerate(groups) for t in g}
    tasks = step.graph.tasks
    worst = Fraction(0)
    for d in step.graph.dependencies:
        before, after = tasks[d.before], tasks[d.after]
        late = before.latency - before.occupancy
        if d.room or not late or before.name not in place or after.name not in place:
            continue
        if schedule.exposes is not None and before.name not in schedule.exposes:
            continue
        (group, shift), (then, later) = place[before.name], place[after.name]
        ahead = then - group + (shift - later + d.distance) * len(groups)
        if group == index and ahead > 0:
            between = sum(
                (lengths[k % len(groups)][0] for k in range(group + 1, group + ahead)), Fraction(0)
            )
            worst = max(worst, late - between)
    return worst


# ------------------------------------------------------------------ pipelined


def settled_lookahead(bound: Bound) -> int:
    """Tiles in flight of a pipelined schedule, ``fit`` worked out.

    Raises
    ------
    MappingError
        More than the registers hold.
    """
    wanted = bound.mapping.schedule.lookahead
    most = fitted_lookahead(bound)
    lookahead = most if wanted == FIT else int(wanted)
    if lookahead > most:
        text = f"{lookahead} tiles in flight do not fit into the registers: they hold {most}"
        hint = "write fewer, or 'lookahead: fit'"
        raise MappingError(Problem(text, bound.mapping.schedule.span, hint))
    return lookahead


def _pipelined(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    lookahead = settled_lookahead(bound)
    step = step_graph(bound, counts, lookahead)
    graph = step.graph
    try:
        issue = modulo_schedule(graph)
        cycle = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue))
    except DeadlockError as error:
        names = " -> ".join(graph.tasks[e.before].name for e in error.edges)
        text = f"these Einsums wait for one another within one step: {names}"
        raise MappingError(Problem(text, bound.mapping.schedule.span)) from None
    run = makespan(graph, issue)
    ends = first_fill(bound, _inside(bound, step)) + last_drain(bound)
    cycles = run.cycles + _alone(bound, (*step.prologue, *step.epilogue)) + ends
    limit, critical = _unless_ends(bound, cycles, ends, _pipelined_bound(graph, cycle))
    return Timing(
        cycles=cycles,
        steps=bound.steps,
        period=cycle.mean / graph.unit,
        bound_by=limit,
        critical=critical,
        lookahead=lookahead,
    )


def _pipelined_bound(graph: EventGraph, cycle: CriticalCycle) -> tuple[str, tuple[str, ...]]:
    resources = {graph.tasks[e.after].resource for e in cycle.edges}
    whys = [e.why for e in cycle.edges]
    if len(resources) == 1 and all(w in resources for w in whys):
        names = tuple(graph.tasks[e.after].name for e in cycle.edges)
        return next(iter(resources)), names
    period = cycle.mean / graph.unit
    for resource in dict.fromkeys(t.resource for t in graph.tasks):
        here = [t for t in graph.tasks if t.resource == resource]
        if sum(t.occupancy for t in here) == period:
            # The cycle of dependencies found is no longer than this resource is busy.
            return resource, tuple(t.name for t in here if t.occupancy)
    return "dependencies", tuple(whys)


def _inside(bound: Bound, step: StepGraph) -> tuple[str, ...]:
    out = (*step.prologue, *step.epilogue)
    return tuple(e.name for e in bound.einsums if e.name not in out)


def _alone(bound: Bound, names: tuple[str, ...]) -> Fraction:
    """Cycles of one run of each of some Einsums, one after another."""
    runs = (alone(bound, e) + reduction_latency(e) for e in bound.einsums if e.name in names)
    return sum(runs, Fraction(0))
