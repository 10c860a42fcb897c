"""Timing of a run, and the average step that replaces runs that are too long."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from einsum_cascade.errors import MappingError

from ..counts.accesses import EinsumCount
from ..iteration.exact import total
from ..legality.footprint import DOUBLE_BUFFERED
from ..nest.record import Bound
from ..result.record import added
from ..schedule.event_graph import (
    CriticalCycle,
    DeadlockError,
    EventGraph,
    GraphTask,
    Issue,
    TimedEdge,
    average_step,
    maximum_cycle_mean,
    period_edges,
)
from ..schedule.kinds import (
    Phases,
    Pipelined,
    check_phases,
    kind_of,
    phase_places,
    phased,
    unordered,
)
from ..schedule.lowering import ProgramBuilder
from ..schedule.modulo import modulo_schedule
from ..schedule.program import StepDependency, StepProgram, StepTask, ordered
from ..spec.mapping import PhaseTask
from ..steps.group import FusionGroup, uniform_walk, whole_walk
from ..steps.run_length import OneStep, repeat
from .events import EventRun, run_program


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of a whole run, and the parts of which they are composed.

    The latency lasts from the first transfer to the arrival of the last output in the outermost
    memory.
    """

    cycles: Fraction
    steps: int
    period: Fraction
    """Cycles between two steps in the steady state."""
    bound_by: str
    critical: tuple[str, ...]
    lookahead: int | None = None
    simulated: int | None = None
    """Number of task events that were fired."""
    timed_by: Literal["steps", "average"] = "steps"
    """``steps`` if the real steps were run, ``average`` if an average step was timed instead."""
    notes: tuple[str, ...] = ()

    @property
    def fill_drain(self) -> Fraction:
        """Cycles of the run outside the steady state."""
        return self.cycles - self.period * self.steps


def refuse_no_time(bound: Bound, cycles: Fraction) -> None:
    """Raise an error for a run that takes no time, because its rates are undefined.

    Raises
    ------
    MappingError
        Masks let nothing through, or no work takes time.
    """
    text = "nothing takes time: every operation takes 0 cycles and no memory has a bandwidth"
    if not any(e.points for e in bound.einsums):
        # Skipped steps may still be waited for.
        text = "nothing is computed: the masks let no point through at these shapes"
    elif cycles:
        return
    raise MappingError(text, bound.mapping.span)


def time_average(
    bound: Bound, counts: tuple[EinsumCount, ...], groups: tuple[FusionGroup, ...] = ()
) -> Timing:
    """Return the time of a run in which every step of a bound mapping is an average one.

    ``groups`` are the groups of the mapping's schedule, if known.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies.
    """
    kind = kind_of(bound)
    groups = groups or kind.groups(bound, counts)
    if isinstance(kind, Pipelined):
        return _time_pipeline(bound, groups[0], kind.lookahead(bound, groups[0]))
    if isinstance(kind, Phases):
        return _time_phases(bound, groups[0])
    return _time_groups(bound, groups)


def _timed_graph(bound: Bound, program: StepProgram) -> EventGraph:
    """Return the average step of a program, in which the traffic of each memory is one task."""
    return average_step(program, memories=tuple(m.name for m in bound.architecture.memories))


def _timing(
    bound: Bound,
    program: StepProgram,
    steps: Fraction,
    period: Fraction,
    limit: tuple[str, tuple[str, ...]],
    lookahead: int | None = None,
) -> Timing:
    """Return the timing of a program from the cycles of its average steps.

    The bound of the run is the outermost memory if fill and drain take most of the time. Otherwise
    it is ``limit``, the resource that bounds the steady state, with its tasks.
    """
    ends = program.fill_and_drain
    cycles = steps + sum((cycles for _, cycles in program.once), Fraction(0)) + ends
    if 2 * ends > cycles:
        home = bound.architecture.home.name
        limit = home, (f"first fill and last drain of {home}",)
    return Timing(
        cycles=cycles,
        steps=bound.steps,
        period=period,
        bound_by=limit[0],
        critical=limit[1],
        lookahead=lookahead,
    )


def _time_groups(bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
    """Return the timing of groups that run in sequence: the sum of the times of all groups.

    The time of a group is the work of its busiest array or memory, as if it were one step. Each
    array's output latency is charged once per group.
    """
    cycles = Fraction(0)
    slowest = (Fraction(-1), "", "")
    for group in groups:
        builder = ProgramBuilder(bound, whole_walk(bound, group))
        resource, longest = _longest(bound, unordered(builder, DOUBLE_BUFFERED, ends=False))
        cycles += longest
        here = {p.e.name for p in group.parts}
        names = ", ".join(e.name for e in bound.einsums if e.name in here)
        slowest = max(slowest, (longest, resource, names))
    _, limit, names = slowest
    return Timing(
        cycles=cycles, steps=1, period=cycles, bound_by=limit, critical=(f"{names} on {limit}",)
    )


def _longest(bound: Bound, program: StepProgram) -> tuple[str, Fraction]:
    """Return the resource with the most work in a program, and that work in cycles.

    If several have equal work, arrays come before memories.
    """
    memories = [m.name for m in bound.architecture.memories if m.name in program.resources]
    times = {
        resource: program.busy(program.on(resource)) + max(t.late for t in program.on(resource))
        for resource in (*(r for r in program.resources if r not in memories), *memories)
    }
    longest = max(times, key=lambda r: times[r])
    return longest, times[longest]


def _time_pipeline(bound: Bound, group: FusionGroup, lookahead: int) -> Timing:
    """Return the timing of a pipelined schedule: all average steps, first fill and last drain."""
    program = unordered(ProgramBuilder(bound, uniform_walk(bound, group)), lookahead)
    graph = _timed_graph(bound, program)
    try:
        issue = modulo_schedule(graph)
        cycle = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue))
    except DeadlockError as error:
        names = " -> ".join(graph.tasks[e.before].name for e in error.edges)
        text = f"these Einsums wait for one another within one step: {names}"
        raise MappingError(text, bound.mapping.schedule.span) from None
    steps, period = makespan(graph, issue).cycles, cycle.mean / graph.unit
    return _timing(bound, program, steps, period, _limit(graph, cycle), lookahead)


def makespan(graph: EventGraph, issue: Issue) -> EventRun:
    """Run all steps of an event graph in an order of issue and return the outcome.

    >>> from ..schedule.event_graph import GraphDependency
    >>> tasks = (
    ...     GraphTask("A", "one", Fraction(3), Fraction(3)),
    ...     GraphTask("B", "other", Fraction(2), Fraction(2)),
    ... )
    >>> flow = GraphDependency(before=0, after=1, distance=0)
    >>> graph = EventGraph(tasks=tasks, dependencies=(flow,), steps=1000)
    >>> found = makespan(graph, Issue(stage=(0, 0), position=(0, 1)))
    >>> str(found.cycles), found.fired < 20
    ('3002', True)
    """
    tasks = tuple(
        StepTask(
            name=t.name,
            resource=t.resource,
            occupancy=(t.occupancy,),
            late=t.latency - t.occupancy,
            stage=stage,
            priority=(Fraction(position), 0),
            settled=True,
        )
        for t, stage, position in zip(graph.tasks, *issue, strict=True)
    )
    waits = tuple(
        StepDependency(before=d.before, after=d.after, distance=(d.distance,), room=d.room)
        for d, e in zip(graph.dependencies, period_edges(graph, issue), strict=False)
        if not _follows_from_turns(graph, e, d.distance)
    )
    run_lengths = repeat(graph.steps, OneStep(0))
    program = StepProgram(tasks=tasks, dependencies=waits, run_lengths=run_lengths)
    return run_program(ordered(program), most=None)


def _follows_from_turns(graph: EventGraph, edge: TimedEdge, distance: int) -> bool:
    """Return whether an edge between periods follows from the order of tasks on a common resource.

    This is so if the runs of the first task in between already take as long as the edge asks.
    """
    if graph.resource[edge.before] != graph.resource[edge.after]:
        return False
    return edge.weight <= max(1, min(distance, edge.tokens)) * graph.occupancy[edge.before]


def _limit(graph: EventGraph, cycle: CriticalCycle) -> tuple[str, tuple[str, ...]]:
    """Return what bounds a steady state: a resource that is always busy, or dependencies.

    Its tasks, or the reasons of the dependencies, come with it.
    """
    resources = {graph.tasks[e.after].resource for e in cycle.edges}
    whys = [e.why for e in cycle.edges]
    if len(resources) == 1 and all(w in resources for w in whys):
        names = tuple(graph.tasks[e.after].name for e in cycle.edges)
        return next(iter(resources)), names
    for (resource, members), work in zip(graph.members.items(), graph.work, strict=True):
        if work == cycle.mean:
            # The cycle of dependencies is no longer than the resource's busy time.
            return resource, tuple(graph.tasks[i].name for i in members if graph.occupancy[i])
    return "dependencies", tuple(whys)


def _time_phases(bound: Bound, group: FusionGroup) -> Timing:
    """Return the timing of a phased schedule.

    A period is the sum over phases of the busiest array's time and the exposed reduction latency.
    If the busiest memory takes longer than this sum, its time is the period.
    """
    check_phases(bound, group)
    phases = bound.mapping.schedule.groups
    program = phased(ProgramBuilder(bound, uniform_walk(bound, group)))
    graph = _timed_graph(bound, program)
    tasks = {t.name: t for t in graph.tasks}
    lengths = [max((n, r) for r, n in _loads(tasks, g).items()) for g in phases]
    waits = [_exposed(bound, graph, index, lengths) for index in range(len(phases))]
    period = sum((cycles for cycles, _ in lengths), Fraction(0)) + sum(waits, Fraction(0))
    limit = _phase_bound(lengths, waits, phases)
    arrays = {a.name for a in bound.architecture.arrays}
    transfers = (t for t in graph.tasks if t.resource not in arrays)
    memory = max(transfers, key=lambda t: t.occupancy, default=None)
    if memory is not None and memory.occupancy > period:
        period = memory.occupancy
        limit = memory.name, (f"transfers of {memory.name}",)
    steps = period * bound.steps + _partial_steps(tasks, phases)
    return _timing(bound, program, steps, period, limit)


def _loads(tasks: dict[str, GraphTask], group: tuple[PhaseTask, ...]) -> dict[str, Fraction]:
    """Return the cycles for which each array is busy in a phase."""
    here = (tasks[member.einsum] for member in group)
    return added((task.resource, task.occupancy) for task in here)


def _exposed(
    bound: Bound, graph: EventGraph, index: int, lengths: list[tuple[Fraction, str]]
) -> Fraction:
    """Return the cycles that the barrier after a phase waits for reductions of that phase."""
    place = phase_places(bound)
    tasks, phases = graph.tasks, len(lengths)
    worst = Fraction(0)
    for d in graph.dependencies:
        before, after = tasks[d.before], tasks[d.after]
        if d.room or before.name not in place or after.name not in place:
            continue
        (phase, shift), (then, later) = place[before.name], place[after.name]
        # Phases from the producer's to the consumer's; those in between hide the latency.
        ahead = then - phase + (shift - later + d.distance) * phases
        if phase == index and ahead > 0 and before.latency != before.occupancy:
            between = total((1, lengths[k % phases][0]) for k in range(phase + 1, phase + ahead))
            worst = max(worst, before.latency - before.occupancy - between)
    return worst


def _phase_bound(
    lengths: list[tuple[Fraction, str]],
    waits: list[Fraction],
    groups: tuple[tuple[PhaseTask, ...], ...],
) -> tuple[str, tuple[str, ...]]:
    """Return the array on which the phases spend most time, or the exposed latency if that is
    longer.

    The longest phase comes with it as the critical one.
    """
    share = added((resource, cycles) for cycles, resource in lengths)
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
    """Return the cycles of incomplete steps: first tiles before the first whole step, and last
    tiles after the last.

    A task that lags by ``n`` steps still has ``n`` tiles to do when all other tasks are done. A
    task that runs ahead begins earlier by as many tiles.
    """
    cycles = Fraction(0)
    for sign in (-1, 1):
        for step in range(1, max((sign * t.shift for g in groups for t in g), default=0) + 1):
            for group in groups:
                late = tuple(m for m in group if sign * m.shift >= step)
                cycles += max(_loads(tasks, late).values(), default=Fraction(0))
    return cycles
