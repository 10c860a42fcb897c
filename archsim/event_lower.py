"""From a lowered mapping to event programs: the real tiles, in the order of issue."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.ir import Access

from .arch import Memory
from .cycle_mean import DeadlockError, maximum_cycle_mean
from .event_graph import Dependency, EventGraph, Issue, Task, period_edges
from .event_program import EventDependency, EventProgram, EventTask, IssueError, ordered
from .issue import modulo_schedule
from .lower import Lowered
from .step_flows import Role
from .step_walk import Part, Unit, Walk, walk
from .step_word import length, tally
from .tasks import read_shifts, reduction_latency, transfer_cycles

_DOUBLE = 2
"""Tiles in flight where a schedule says nothing of them: one used, one on its way."""


def unit_walk(lowered: Lowered, unit: Unit) -> Walk:
    """The steps of a unit, with the distances its running values ask for."""
    wanted = {m for p in unit.parts for _, shifts in _reads(lowered, unit, p) for m, _ in shifts}
    return walk(unit, frozenset(wanted))


Shifts = tuple[tuple[str, int], ...]


def _reads(lowered: Lowered, unit: Unit, part: Part) -> list[tuple[Access, Shifts]]:
    """Operands that other Einsums of the unit (or itself, earlier) make."""
    names = {p.e.name for p in unit.parts}
    found: list[tuple[Access, Shifts]] = []
    for access in part.e.einsum.reads:
        if access.tensor in names:
            shifts = read_shifts(lowered, part.e, access)
            members = {x.member for x in unit.loops}
            if shifts is not None and all(m in members for m, _ in shifts):
                found.append((access, shifts))
    return found


class Draft:
    """Tasks and dependencies of a unit, by name, before they are put in order."""

    def __init__(self, lowered: Lowered, steps: Walk) -> None:
        self.lowered = lowered
        self.steps = steps
        self.unit = steps.unit
        self.outside = frozenset(self.unit.outside)
        self.tasks: dict[str, EventTask] = {}
        self.dependencies: list[tuple[str, str, tuple[int | None, ...], bool, str]] = []
        for memory in lowered.architecture.memories:
            self._memory(memory, "load", [c.loads for c in steps.classes])
        for number, p in enumerate(self.unit.parts):
            self.add(
                EventTask(
                    name=p.e.name,
                    resource=p.e.array.name,
                    occupancy=tuple(
                        c.busy[number] if c.runs[number] else None for c in steps.classes
                    ),
                    late=Fraction(reduction_latency(p.e)),
                )
            )
        for memory in lowered.architecture.memories:
            self._memory(memory, "drain", [c.drains for c in steps.classes])

    def add(self, task: EventTask) -> None:
        """One more task."""
        self.tasks[task.name] = task

    def _memory(
        self, memory: Memory, role: Role, moved: list[tuple[tuple[Fraction, ...], ...]]
    ) -> None:
        place = self.lowered.architecture.memories.index(memory)
        word = self.lowered.architecture.word_bytes
        cycles = [
            transfer_cycles(self.lowered, memory, sum((e[place] for e in m), Fraction(0)) * word)
            for m in moved
        ]
        if any(cycles):
            self.add(
                EventTask(
                    name=f"{memory.name} {role}",
                    resource=memory.name,
                    occupancy=tuple(c or None for c in cycles),
                    role=role,
                )
            )

    def wait(
        self,
        before: str,
        after: str,
        distance: int | tuple[int | None, ...],
        why: str,
        room: bool = False,
    ) -> None:
        """``after`` waits for ``before``."""
        if isinstance(distance, int):
            distance = (distance,) * len(self.steps.classes)
        self.dependencies.append((before, after, distance, room, why))

    def moves(self, part: int, memory: int, drains: bool) -> bool:
        """Whether an Einsum takes from a memory, or hands to it."""
        return any((c.drains if drains else c.loads)[part][memory] for c in self.steps.classes)

    def distances(self, shifts: Shifts) -> tuple[int | None, ...]:
        """Steps between writing and reading, by class; None where nothing was written."""
        place = {x.member: i for i, x in enumerate(self.unit.loops)}
        found: list[int | None] = []
        for c in self.steps.classes:
            back = [(c.back[place[m]], shift) for m, shift in shifts]
            known = [b * shift for b, shift in back if b is not None]
            found.append(sum(known) if len(known) == len(back) else None)
        return tuple(found)

    def flows(self) -> list[tuple[str, str, tuple[int | None, ...]]]:
        """(producer, consumer, distance by class) of the unit's own values."""
        return [
            (access.tensor, p.e.name, self.distances(shifts))
            for p in self.unit.parts
            for access, shifts in _reads(self.lowered, self.unit, p)
        ]

    def feeds(self, drains: bool) -> list[tuple[str, str]]:
        """(memory task, Einsum) for all that is loaded, or drained."""
        way = "drain" if drains else "load"
        return [
            (f"{memory.name} {way}", p.e.name)
            for m, memory in enumerate(self.lowered.architecture.memories)
            for i, p in enumerate(self.unit.parts)
            if f"{memory.name} {way}" in self.tasks and self.moves(i, m, drains)
        ]

    def program(
        self,
        start: tuple[tuple[str, Fraction], ...] = (),
        ends: tuple[tuple[str, Fraction], ...] = (),
    ) -> EventProgram:
        """The draft as a program, its tasks in written order."""
        number = {n: i for i, n in enumerate(self.tasks)}
        return EventProgram(
            tasks=tuple(self.tasks.values()),
            dependencies=tuple(
                EventDependency(before=number[b], after=number[a], distance=d, room=room, why=why)
                for b, a, d, room, why in self.dependencies
            ),
            word=self.steps.word,
            start=start,
            ends=ends,
        )


# ------------------------------------------------------------------ overlapping


def overlapped(
    lowered: Lowered,
    steps: Walk,
    lookahead: int = _DOUBLE,
    start: tuple[tuple[str, Fraction], ...] = (),
    ends: tuple[tuple[str, Fraction], ...] = (),
) -> EventProgram:
    """A unit whose tasks overlap as far as dependencies, resources and room allow.

    Raises
    ------
    MappingError
        Tasks wait for one another in a circle, or for room that never comes.
    """
    draft = Draft(lowered, steps)
    _data(draft, lookahead)
    program = draft.program(start, ends)
    for graph in (_average(draft, program, max), _average(draft, program, min)):
        issue, period = _issue(lowered, graph)
        try:
            return ordered(_staged(draft, program, graph, issue, period, lookahead))
        except IssueError:
            continue
    try:
        return ordered(_staged(draft, program, graph, _flat_issue(graph), period, lookahead))
    except IssueError as error:
        text = f"these wait for one another within one step: {' -> '.join(error.names)}"
        raise MappingError(Problem(text, lowered.mapping.schedule.span)) from None


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
    _paced(draft, lookahead)
    members: dict[str, list[str]] = {}
    for p in draft.unit.parts:
        if p.e.name not in outside:
            members.setdefault(p.e.array.name, []).append(p.e.name)
    for array, names in members.items():
        draft.wait(names[-1], names[0], lookahead, f"{lookahead} tiles in flight on {array}", True)


def _paced(draft: Draft, lookahead: int) -> None:
    """Memories that serve Einsums outside loops alone keep pace with those inside."""
    inside = [p.e.name for p in draft.unit.parts if p.e.name not in draft.outside]
    tied = {x for before, after, *_ in draft.dependencies for x in (before, after)}
    for name, task in draft.tasks.items():
        if task.role != "work" and name not in tied and inside:
            draft.wait(name, inside[0], lookahead + 1, f"pace of {name}", True)
            draft.wait(inside[-1], name, lookahead + 1, f"pace of {name}", True)


def _average(draft: Draft, program: EventProgram, pick: object) -> EventGraph:
    """The average step of a unit, for the order of issue.

    Einsums outside loops take the time of their slice, but wait for nothing.
    """
    steps = length(program.word)
    turns = tally(program.word)
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
            Task(name=t.name, resource=t.resource, occupancy=share, latency=share + t.late)
        )
    found: list[Dependency] = []
    for d in program.dependencies:
        distances = [x for x in d.distance if x is not None]
        names = {program.tasks[d.before].name, program.tasks[d.after].name}
        if d.before in place and d.after in place and distances and not names & draft.outside:
            before = tasks[place[d.before]]
            found.append(
                Dependency(
                    before=place[d.before],
                    after=place[d.after],
                    distance=max(distances) if pick is max else min(distances),
                    delay=before.occupancy if d.room else before.latency,
                    why=d.why,
                    room=d.room,
                )
            )
    return EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=steps)


def _issue(lowered: Lowered, graph: EventGraph) -> tuple[Issue, int]:
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
        raise MappingError(Problem(text, lowered.mapping.schedule.span)) from None
    return issue, max(1, ceil(mean), max(issue.position) + 1)


def _flat_issue(graph: EventGraph) -> Issue:
    return Issue(stage=(0,) * len(graph.tasks), position=tuple(range(len(graph.tasks))))


def _staged(
    draft: Draft,
    program: EventProgram,
    graph: EventGraph,
    issue: Issue,
    period: int,
    lookahead: int,
) -> EventProgram:
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
    data = [d for d in program.dependencies if not d.room]
    for p in draft.unit.parts:
        if p.e.name in draft.outside:
            when[p.e.name] = _apart(draft, program, p, when, unit, period)
    stages: dict[str, tuple[int, tuple[Fraction, int]]] = {}
    for t in program.tasks:
        if t.name in when:
            stage, position = divmod(when[t.name], period)
            stages[t.name] = (int(stage), (position, rank[t.name]))
    for t in program.tasks:
        if t.name not in stages:
            makers = [
                program.tasks[d.before] for d in data if program.tasks[d.after].name == t.name
            ]
            ready = max((when[m.name] + _longest(m) * unit for m in makers), default=Fraction(0))
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
    return _roomy(draft, replace(program, tasks=tasks), lookahead)


def _longest(task: EventTask) -> Fraction:
    return max(x for x in task.occupancy if x is not None) + task.late


def _apart(
    draft: Draft,
    program: EventProgram,
    part: Part,
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
    made = [program.tasks[d.before] for d in data if names[d.after] == task.name]
    ready = max((when[m.name] + _longest(m) * unit for m in made if m.name in when), default=None)
    place = when[task.name] % period
    takers = [names[d.after] for d in data if names[d.before] == task.name]
    due = min((when[n] for n in takers if n in when), default=None)
    if part.early and due is not None:
        early = due - _longest(task) * unit
        early = place + period * ((early - place) // period)
        early = max(early, due - period * draft.unit.round(part))
        if ready is None or early >= ready:
            return early
    return place if ready is None else place + period * ceil((ready - place) / period)


def _roomy(draft: Draft, program: EventProgram, lookahead: int) -> EventProgram:
    """Adds what holds back producers of tasks that lag: as far as they lag, at the least."""
    names = [t.name for t in program.tasks]
    kinds = len(draft.steps.classes)
    rounds = {p.e.name: draft.unit.round(p) + 1 for p in draft.unit.parts}
    found: list[EventDependency] = []
    for d in program.dependencies:
        before, after = program.tasks[d.before], program.tasks[d.after]
        apart = {names[d.after], names[d.before]} & draft.outside
        if d.room or before.resource == after.resource or not (apart or after.role == "drain"):
            continue
        far = max(lookahead + 1, after.stage - before.stage + 1, *(rounds[n] for n in apart))
        found.append(
            EventDependency(
                before=d.after,
                after=d.before,
                distance=(far,) * kinds,
                room=True,
                why=f"room for what goes to {names[d.after]}",
            )
        )
    return replace(program, dependencies=(*program.dependencies, *found))


# ------------------------------------------------------------------ phases


def phased(
    lowered: Lowered,
    steps: Walk,
    start: tuple[tuple[str, Fraction], ...] = (),
    ends: tuple[tuple[str, Fraction], ...] = (),
) -> EventProgram:
    """A unit in groups with a barrier between them.

    A barrier waits for all that the group before it runs, and for reduction results that
    its own group needs (those that the schedule exposes). Inside a group Einsums on two
    arrays go side by side, element by element.
    """
    schedule = lowered.mapping.schedule
    place = {t.einsum: (i, t.shift) for i, g in enumerate(schedule.groups) for t in g}
    draft = Draft(lowered, steps)
    groups = len(schedule.groups)
    ahead = max(shift for _, shift in place.values())
    _barriers(draft, place, groups)
    _across(draft, place, groups)
    for memory, consumer in draft.feeds(drains=False):
        if consumer not in draft.outside:
            draft.wait(memory, consumer, 0, f"{memory} -> {consumer}")
            draft.wait(consumer, memory, _DOUBLE, f"room to prefetch: {memory}", True)
    for memory, producer in draft.feeds(drains=True):
        if producer not in draft.outside:
            draft.wait(producer, memory, 0, f"{producer} -> {memory}")
            draft.wait(memory, producer, _DOUBLE, f"room for what goes to {memory}", True)
    _paced(draft, _DOUBLE - 1)
    for name, task in draft.tasks.items():
        stage, priority = _turn(draft, name, place, groups, ahead)
        settled = name in place
        draft.tasks[name] = replace(task, stage=stage, priority=priority, settled=settled)
    try:
        return ordered(draft.program(start, ends))
    except IssueError as error:
        text = f"these wait for one another in their phases: {' -> '.join(error.names)}"
        raise MappingError(Problem(text, schedule.span)) from None


_Place = dict[str, tuple[int, int]]
"""Group and shift of every Einsum."""


def _barrier(group: int) -> str:
    return f"phase {group + 1}"


def _barriers(draft: Draft, place: _Place, groups: int) -> None:
    """One task a group that waits for the group before it, and starts its own."""
    kinds = len(draft.steps.classes)
    for g in range(groups):
        draft.add(
            EventTask(
                name=_barrier(g),
                resource="phases",
                occupancy=(Fraction(0),) * kinds,
                role="barrier",
            )
        )
    for name, (group, shift) in place.items():
        # Barriers run for the period's own step, an Einsum for the one ``shift`` away.
        draft.wait(_barrier(group), name, shift, f"{_barrier(group)} begins")
        then = (group + 1) % groups
        draft.wait(name, _barrier(then), int(then == 0) - shift, f"{_barrier(group)} ends", True)


def _across(draft: Draft, place: _Place, groups: int) -> None:
    """Results of earlier phases: their consumer's barrier waits for them, and it itself."""
    exposes = draft.lowered.mapping.schedule.exposes
    for before, after, distance in draft.flows():
        (group, shift), (then, later) = place[before], place[after]
        exposed = exposes is None or before in exposes
        known = [d for d in distance if d is not None]
        turns = [(d + shift - later) * groups + then - group for d in known]
        if not turns or min(turns) <= 0:
            continue
        draft.wait(before, after, distance, f"{before} -> {after}", not exposed)
        if exposed:
            moved = tuple(None if d is None else d - later for d in distance)
            draft.wait(before, _barrier(then), moved, f"{before} -> {_barrier(then)}")


def _turn(
    draft: Draft, name: str, place: _Place, groups: int, ahead: int
) -> tuple[int, tuple[Fraction, int]]:
    """Stage and priority of a task: by its group, barriers first, memories around."""
    if name in place:
        group, shift = place[name]
        return ahead - shift, (Fraction(group), 1)
    task = draft.tasks[name]
    if task.role == "barrier":
        number = next(g for g in range(groups) if _barrier(g) == name)
        return ahead, (Fraction(number), 0)
    if task.role == "drain":
        # One period after the results are there, so that it does not keep operands waiting.
        makers = [place[e][1] for memory, e in draft.feeds(drains=True) if memory == name]
        return ahead - min(makers) + 1, (Fraction(-1), 2)
    readers = [place[e][1] for memory, e in draft.feeds(drains=False) if memory == name]
    return ahead - max(readers), (Fraction(-1), 0)
