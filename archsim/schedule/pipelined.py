"""Overlapping tasks as an event program: the order of issue, and room for what runs ahead."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

from einsum_cascade.errors import MappingError, Problem

from ..bound.record import Bound
from ..steps.run_length import length, steps_by_class
from ..steps.units import GroupPart, Walk
from .cycle_mean import DeadlockError, maximum_cycle_mean
from .draft import DOUBLE, Draft
from .event_graph import EventGraph, GraphDependency, GraphTask, Issue, period_edges
from .modulo import modulo_schedule
from .program import IssueError, StepDependency, StepProgram, StepTask, ordered


def overlapped(
    bound: Bound,
    steps: Walk,
    lookahead: int = DOUBLE,
    start: tuple[tuple[str, Fraction], ...] = (),
    ends: tuple[tuple[str, Fraction], ...] = (),
) -> StepProgram:
    """A unit whose tasks overlap as far as dependencies, resources and room allow.

    Raises
    ------
    MappingError
        Tasks wait for one another in a circle, or for room that never comes.
    """
    draft = Draft(bound, steps)
    _data(draft, lookahead)
    program = draft.program(start, ends)
    for graph in (_average(draft, program, max), _average(draft, program, min)):
        issue, period = _issue(bound, graph)
        try:
            return ordered(_staged(draft, program, graph, issue, period, lookahead))
        except IssueError:
            continue
    try:
        return ordered(_staged(draft, program, graph, _flat_issue(graph), period, lookahead))
    except IssueError as error:
        text = f"these wait for one another within one step: {' -> '.join(error.names)}"
        raise MappingError(Problem(text, bound.mapping.schedule.span)) from None


def _data(draft: Draft, lookahead: int) -> None:
    """Who waits for whose results, and for room where what runs ahead is held back."""
    tasks, outside = draft.tasks, draft.outside
    for before, after, distance in draft.flows():
        draft.wait(before, after, distance, f"{before} -> {after}")
        apart = tasks[before].resource != tasks[after].resource
        if apart and not {before, after} & outside:
            far = max((d for d in distance if d is not None), default=0) + lookahead
            draft.wait(after, before, far, f"room for {before} ({lookahead} tiles in flight)", True)
    for memory, consumer in draft.feeds(drains=False):
        if consumer not in outside:
            draft.wait(memory, consumer, 0, f"{memory} -> {consumer}")
            draft.wait(consumer, memory, lookahead + 1, f"room to prefetch: {memory}", True)
    for memory, producer in draft.feeds(drains=True):
        if producer not in outside:
            draft.wait(producer, memory, 0, f"{producer} -> {memory}")
    draft.pace(lookahead)
    members: dict[str, list[str]] = {}
    for p in draft.group.parts:
        if p.e.name not in outside:
            members.setdefault(p.e.array.name, []).append(p.e.name)
    for array, names in members.items():
        draft.wait(names[-1], names[0], lookahead, f"{lookahead} tiles in flight on {array}", True)


def _average(draft: Draft, program: StepProgram, pick: object) -> EventGraph:
    """The average step of a unit, for the order of issue.

    Einsums outside loops take the time of their slice, but wait for nothing.
    """
    steps = length(program.run_lengths)
    turns = steps_by_class(program.run_lengths)
    inner = [i for i, t in enumerate(program.tasks) if t.role != "drain"]
    place = {i: n for n, i in enumerate(inner)}
    tasks = []
    for i in inner:
        t = program.tasks[i]
        total = sum(
            (turns.get(k, 0) * x for k, x in enumerate(t.occupancy) if x is not None), Fraction(0)
        )
        share = total / steps
        tasks.append(
            GraphTask(name=t.name, resource=t.resource, occupancy=share, latency=share + t.late)
        )
    found: list[GraphDependency] = []
    for d in program.dependencies:
        distances = [x for x in d.distance if x is not None]
        names = {program.tasks[d.before].name, program.tasks[d.after].name}
        if d.before in place and d.after in place and distances and not names & draft.outside:
            before = tasks[place[d.before]]
            found.append(
                GraphDependency(
                    before=place[d.before],
                    after=place[d.after],
                    distance=max(distances) if pick is max else min(distances),
                    delay=before.occupancy if d.room else before.latency,
                    why=d.why,
                    room=d.room,
                )
            )
    return EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=steps)


def _issue(bound: Bound, graph: EventGraph) -> tuple[Issue, int]:
    """The order of issue of the average step, and units between two steps."""
    if not graph.tasks:
        return Issue(stage=(), position=()), 1
    try:
        issue = modulo_schedule(graph)
        mean = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue)).mean
    except DeadlockError as error:
        names = " -> ".join(graph.tasks[e.before].name for e in error.edges)
        held = [d.why for d in graph.dependencies if d.room and d.distance <= 0]
        what = f"; there is no {held[0]}" if held else ""
        text = f"these wait for one another within one step: {names}{what}"
        raise MappingError(Problem(text, bound.mapping.schedule.span)) from None
    return issue, max(1, ceil(mean), max(issue.position) + 1)


def _flat_issue(graph: EventGraph) -> Issue:
    return Issue(stage=(0,) * len(graph.tasks), position=tuple(range(len(graph.tasks))))


def _staged(
    draft: Draft,
    program: StepProgram,
    graph: EventGraph,
    issue: Issue,
    period: int,
    lookahead: int,
) -> StepProgram:
    """The program with a stage and a priority for every task, and the rest of its room.

    Tasks inside take theirs from the issue of the average step; what is written leaves in
    the period after it is there, behind what is read.
    """
    unit = graph.unit
    when: dict[str, Fraction] = {}
    rank: dict[str, int] = {}
    for i, inner in enumerate(graph.tasks):
        when[inner.name] = Fraction(issue.stage[i] * period + issue.position[i])
        rank[inner.name] = 1
    sooner = [p for p in draft.group.parts if p.early]
    later = [p for p in draft.group.parts if not p.early]
    for p in (*reversed(sooner), *later):
        if p.e.name in draft.outside:
            when[p.e.name] = _apart(draft, program, p, when, unit, period)
    stages: dict[str, tuple[int, tuple[Fraction, int]]] = {}
    for t in program.tasks:
        if t.name in when:
            stage, position = divmod(when[t.name], period)
            stages[t.name] = (int(stage), (position, rank[t.name]))
    for t in program.tasks:
        if t.name not in stages:
            ready = _ready(program, t, when, unit)
            loads = [
                stages[o.name] for o in program.tasks if o.resource == t.resource and o is not t
            ]
            early = max((priority for _, (priority, _) in loads), default=Fraction(0))
            stages[t.name] = (int(ready // period) + 1, (early, 2))
    tasks = tuple(
        replace(
            t,
            stage=stages[t.name][0],
            priority=stages[t.name][1],
            settled=rank.get(t.name) == 1,
        )
        for t in program.tasks
    )
    periods = {t.name: ceil(_longest(t) * unit / period) for t in tasks}
    return _roomy(draft, replace(program, tasks=tasks), lookahead, periods)


def _ready(program: StepProgram, task: StepTask, when: dict[str, Fraction], unit: int) -> Fraction:
    """When all is there that a drain hands on, or what sets its pace has begun."""
    waits = [d for d in program.dependencies if program.tasks[d.after] is task]
    before = {d.before: d.room for d in waits}
    makers = [(program.tasks[i], room) for i, room in before.items()]
    times = (when[m.name] + (0 if room else _longest(m) * unit) for m, room in makers)
    return max(times, default=Fraction(0))


def _longest(task: StepTask) -> Fraction:
    return max(x for x in task.occupancy if x is not None) + task.late


def _apart(
    draft: Draft,
    program: StepProgram,
    part: GroupPart,
    when: dict[str, Fraction],
    unit: int,
    period: int,
) -> Fraction:
    """When an Einsum outside loops goes, at its place in some period.

    One that needs what the loops make goes in the first period in which that is there. One
    whose result the loops need goes so early that it is done in time, but not before the
    round before has begun.
    """
    names = [t.name for t in program.tasks]
    data = [d for d in program.dependencies if not d.room]
    task = program.tasks[names.index(part.e.name)]
    early = {p.e.name for p in draft.group.parts if p.early}
    made = [program.tasks[d.before] for d in data if names[d.after] == task.name]
    made = [m for m in made if m.name in when and not (part.early and m.name in early)]
    ready = max((when[m.name] + _longest(m) * unit for m in made), default=None)
    place = when[task.name] % period
    takers = [names[d.after] for d in data if names[d.before] == task.name]
    due = min((when[n] for n in takers if n in when), default=None)
    if part.early and due is not None:
        start = due - _longest(task) * unit
        start = place + period * ((start - place) // period)
        start = max(start, due - period * draft.group.round(part))
        if ready is None or start >= ready:
            return start
    return place if ready is None else place + period * ceil((ready - place) / period)


def _roomy(
    draft: Draft, program: StepProgram, lookahead: int, periods: dict[str, int]
) -> StepProgram:
    """Adds what holds back producers of tasks that lag.

    What is written may lag as far as its place in the order of issue. An Einsum outside
    loops and those it hangs on may be apart twice as long as the order and its ``periods``
    ask for, but no longer than a round of the loops: one tile is made, one is used.
    """
    names = [t.name for t in program.tasks]
    kinds = len(draft.steps.classes)
    rounds = {p.e.name: draft.group.round(p) + 1 for p in draft.group.parts}
    found: list[StepDependency] = []
    for d in program.dependencies:
        before, after = program.tasks[d.before], program.tasks[d.after]
        apart = {names[d.after], names[d.before]} & draft.outside
        if d.room or before.resource == after.resource or not (apart or after.role == "drain"):
            continue
        lag = after.stage - before.stage
        loose = (min(rounds[n], 2 * (abs(lag) + periods[n]) + lookahead + 1) for n in sorted(apart))
        found.append(
            StepDependency(
                before=d.after,
                after=d.before,
                distance=(max(lookahead + 1, lag + 1, *loose),) * kinds,
                room=True,
                why=f"room for what goes to {names[d.after]}",
            )
        )
    return replace(program, dependencies=(*program.dependencies, *found))
