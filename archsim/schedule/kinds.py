"""Kinds of schedules: how each groups the Einsums, and the step program that it makes of a group.

The sequential schedule runs one group of Einsums after the other, each over all its loops. The
phased schedule puts a barrier before each group of Einsums in a step. The pipelined schedule
overlaps tasks as far as dependencies, resources and buffer space (room) allow. A new kind needs
four things: a subclass of ``ScheduleKind``, a line in ``_KINDS``, its name in
``spec.mapping.ScheduleName``, and the time of its average step in ``engine.timing``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import ceil
from typing import Final, Literal

from typing_extensions import override

from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean, raise_all

from ..counts.accesses import EinsumCount
from ..legality.footprint import DOUBLE_BUFFERED
from ..nest.record import Bound
from ..spec.mapping import FIT
from ..steps.group import FusionGroup, GroupPart, Walk, fused_group, single_group
from .event_graph import (
    DeadlockError,
    EventGraph,
    Issue,
    average_step,
    maximum_cycle_mean,
    period_edges,
)
from .lowering import ProgramBuilder, exact_walk
from .modulo import modulo_schedule
from .program import IssueError, StepDependency, StepProgram, StepTask, ordered

WaitingPolicy = Literal["all", "abroad", "none"]
"""Results that an Einsum outside loops waits for; waiting delays the Einsum to a later period.

With ``all`` it waits for the results of all tasks. With ``abroad`` it waits for results of other
arrays only, because its own array runs earlier tasks first in any case. With ``none`` it does not
wait.
"""

_WAITING_POLICIES: tuple[WaitingPolicy, ...] = ("all", "abroad", "none")


class ScheduleKind(ABC):
    """Abstract kind of schedule, which decides the order in which Einsums run."""

    in_turn = False
    """True if groups run one after the other, each over all its loops."""

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """Return the groups of Einsums that run together, in order; by default, one group of all
        Einsums."""
        return (fused_group(bound, counts, bound.einsums),)

    @abstractmethod
    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return the step program of each group, with tasks in the order in which they are issued.

        Raises
        ------
        MappingError
            The schedule contradicts the cascade's dependencies, or deadlocks.
        """


class Sequential(ScheduleKind):
    """Sequential schedule: groups of Einsums run one after the other; tasks overlap inside a
    group.

    If the mapping names no groups, each Einsum is a group of its own.
    """

    in_turn = True

    @override
    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """Return a group of jointly run Einsums for each group that the schedule names."""
        named = {e.name: e for e in bound.einsums}
        written = [tuple(named[t.einsum] for t in group) for group in bound.mapping.schedule.groups]
        return tuple(
            single_group(bound, counts, group[0])
            if len(group) == 1
            else fused_group(bound, counts, group)
            for group in written or [(e,) for e in bound.einsums]
        )

    @override
    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return a program for each group; its steps include the first fill and the last drain."""
        return tuple(
            overlapped(ProgramBuilder(bound, walk), DOUBLE_BUFFERED, ends=False) for walk in walks
        )


class Phases(ScheduleKind):
    """Phased schedule: Einsums of one phase run side by side, each on the current tile or a
    neighbour."""

    @override
    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return the program of the only group; each barrier is a task that waits for a phase to
        end."""
        (walk,) = walks
        check_phases(bound, walk.group)
        try:
            return (ordered(phased(ProgramBuilder(bound, walk))),)
        except IssueError as error:
            text = f"these wait for one another in their phases: {' -> '.join(error.names)}"
            raise MappingError(text, bound.mapping.schedule.span) from None


class Pipelined(ScheduleKind):
    """Pipelined schedule: one group of all Einsums, with ``lookahead`` tiles in flight."""

    def lookahead(self, bound: Bound, group: FusionGroup) -> int:
        """Return the number of tiles in flight on an array; the value ``fit`` is resolved.

        Raises
        ------
        MappingError
            The mapping asks for more tiles than the registers hold.
        """
        wanted = bound.mapping.schedule.lookahead
        most = fitted_lookahead(bound, group)
        lookahead = most if wanted == FIT else int(wanted)
        if lookahead > most:
            text = f"{lookahead} tiles in flight do not fit into the registers: they hold {most}"
            hint = "write fewer, or 'lookahead: fit'"
            raise MappingError(text, bound.mapping.schedule.span, hint)
        return lookahead

    @override
    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return the program of the only group; tasks are issued in the order found for its
        average step."""
        (walk,) = walks
        lookahead = self.lookahead(bound, walk.group)
        program = overlapped(ProgramBuilder(bound, walk), lookahead)
        return (replace(program, lookahead=lookahead),)


_KINDS: Final[dict[str, ScheduleKind]] = {
    "sequential": Sequential(),
    "phases": Phases(),
    "pipelined": Pipelined(),
}
"""Kinds of schedules by their names in mapping files."""


def kind_of(bound: Bound) -> ScheduleKind:
    """Return the kind of schedule that a mapping uses.

    Parameters
    ----------
    bound : Bound
        Mapping with a checked schedule, so that the kind exists.
    """
    return _KINDS[bound.mapping.schedule.kind]


def exact_walks(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[Walk, ...]:
    """Return the exact steps of each group of Einsums that run together.

    Raises
    ------
    StepsError
        As ``exact_walk``.
    """
    return tuple(exact_walk(bound, g) for g in kind_of(bound).groups(bound, counts))


def unordered(builder: ProgramBuilder, lookahead: int, *, ends: bool = True) -> StepProgram:
    """Return a program with dependencies on results and on room, but with tasks in written order.

    Parameters
    ----------
    builder : ProgramBuilder
        Builder with the tasks of a group.
    lookahead : int
        Tiles in flight on an array.
    ends : bool, default True
        As in ``ProgramBuilder.program``.
    """
    tasks, outside = builder.tasks, builder.outside
    names = [p.e.name for p in builder.group.parts]
    for consumer in names:
        _flows(builder, consumer, lookahead)
        for memory, level in () if consumer in outside else builder.loads(consumer):
            builder.wait(memory, consumer, 0, f"{level} -> {consumer}")
            why = f"room to prefetch from {level}"
            builder.wait(consumer, memory, lookahead + 1, why, room=True)
    for producer in (n for n in names if n not in outside):
        for memory, level in builder.drains(producer):
            builder.wait(producer, memory, 0, f"{producer} -> {level}")
    builder.pace(lookahead)
    members: dict[str, list[str]] = {}
    for name in builder.group.inside:
        members.setdefault(tasks[name].resource, []).append(name)
    for array, here in members.items():
        # A tile enters an array when the one ``lookahead`` steps before has left.
        why = f"{lookahead} tiles in flight on {array}"
        builder.wait(here[-1], here[0], lookahead, why, room=True)
    return builder.program(ends=ends)


def _flows(builder: ProgramBuilder, consumer: str, lookahead: int) -> None:
    """Add dependencies: consumers wait for producers, and producers on other arrays wait for
    room.
    """
    tasks = builder.tasks
    for read in builder.group.reads:
        if read.consumer != consumer:
            continue
        producer, distance = read.producer, builder.distances(read.shifts)
        builder.wait(producer, consumer, distance, f"{producer} -> {consumer}")
        elsewhere = tasks[producer].resource != tasks[consumer].resource
        if elsewhere and not {producer, consumer} & builder.outside:
            far = max((d for d in distance if d is not None), default=0) + lookahead
            why = f"room for {producer} ({lookahead} tiles in flight)"
            builder.wait(consumer, producer, far, why, room=True)


def overlapped(builder: ProgramBuilder, lookahead: int, *, ends: bool = True) -> StepProgram:
    """Return a program whose tasks overlap as far as dependencies, resources and room allow.

    Room is the number of tiles that a buffer or register file can still take.

    Parameters
    ----------
    builder, lookahead, ends
        As in ``unordered``.

    Returns
    -------
    StepProgram
        Program with tasks in firing order, each with its stage.

    Raises
    ------
    MappingError
        Tasks wait for one another in a cycle, or for room that never comes.
    """
    program = unordered(builder, lookahead, ends=ends)
    circle: tuple[str, ...] = ()
    for patience, plan in _attempts(builder, program):
        try:
            return ordered(_staged(builder, program, plan, lookahead, patience))
        except IssueError as error:
            # The error itself is not kept: its traceback would hold all these objects.
            circle = error.names
    text = f"these wait for one another within one step: {' -> '.join(circle)}"
    raise MappingError(text, builder.bound.mapping.schedule.span)


@dataclass(frozen=True, slots=True)
class _IssuePlan:
    """Order of issue of an average step, and the time between two steps in time units."""

    graph: EventGraph
    issue: Issue
    period: int


def _attempts(
    builder: ProgramBuilder, program: StepProgram
) -> Iterator[tuple[WaitingPolicy, _IssuePlan]]:
    """Yield orders of issue with their waiting policies, the most promising first.

    Waiting keeps arrays busy, but may separate tasks that have to be close. An example is the tasks
    that update a running value from step to step. In most cases the caller takes the first order.
    """
    plans: list[_IssuePlan] = []
    distances: tuple[Literal["longest", "shortest"], ...] = ("longest", "shortest")
    for distance in distances:
        graph = average_step(program, distance=distance)
        plans.append(_IssuePlan(graph, *_issue(builder.bound, graph)))
        yield _WAITING_POLICIES[0], plans[-1]
    # In written order, no task is ahead of those it waits for.
    last = plans[-1]
    tasks = len(last.graph.tasks)
    written = Issue(stage=(0,) * tasks, position=tuple(range(tasks)))
    plans.append(_IssuePlan(last.graph, written, last.period))
    yield _WAITING_POLICIES[0], plans[-1]
    yield from product(_WAITING_POLICIES[1:], plans)


def _issue(bound: Bound, graph: EventGraph) -> tuple[Issue, int]:
    """Return the order of issue of an average step, and the time between two steps in time
    units.
    """
    if not graph.tasks:
        return Issue(stage=(), position=()), 1
    try:
        issue = modulo_schedule(graph)
        edges = period_edges(graph, issue)
        mean = maximum_cycle_mean(len(graph.tasks), edges, least=max(graph.work)).mean
    except DeadlockError as error:
        names = " -> ".join(graph.tasks[e.before].name for e in error.edges)
        held = [d.why for d in graph.dependencies if d.room and d.distance <= 0]
        what = f"; there is no {held[0]}" if held else ""
        text = f"these wait for one another within one step: {names}{what}"
        raise MappingError(text, bound.mapping.schedule.span) from None
    return issue, max(1, ceil(mean), max(issue.position) + 1)


def _staged(
    builder: ProgramBuilder,
    program: StepProgram,
    plan: _IssuePlan,
    lookahead: int,
    patience: WaitingPolicy,
) -> StepProgram:
    """Return the program with a stage and a priority for every task, and with more room
    dependencies.

    Tasks inside the loops take stage and priority from the issue of the average step. A drain comes
    in the period after its results, and after the loads of that period. If the memory has a write
    buffer, the drain comes later by the depth of that buffer.
    """
    depths = {m.name: m.write_buffer for m in builder.bound.architecture.memories}
    graph, issue, period = plan.graph, plan.issue, plan.period
    longest = {t.name: _longest(t) * graph.unit for t in program.tasks}
    when: dict[str, Fraction] = {}
    for i, number in enumerate(graph.numbers):
        name = program.tasks[number].name
        # Stage and position as one time: a task of stage 2 runs two periods after the first of its
        # step.
        when[name] = Fraction(issue.stage[i] * period + issue.position[i])
    sooner = [p for p in builder.group.parts if p.early]
    later = [p for p in builder.group.parts if not p.early]
    for p in (*reversed(sooner), *later):
        if p.e.name in builder.outside:
            when[p.e.name] = _begin_of_outside(builder, program, p, when, longest, period, patience)
    stages: dict[str, tuple[int, tuple[Fraction, int]]] = {}
    for t in program.tasks:
        if t.name in when:
            stage, position = divmod(when[t.name], period)
            stages[t.name] = (int(stage), (position, 1))
    for t in program.tasks:
        if t.name not in stages:
            ready = _ready(program, t, when, longest)
            loads = (o.name for o in program.tasks if o.resource == t.resource and o is not t)
            early = max((stages[name][1][0] for name in loads), default=Fraction(0))
            stages[t.name] = (int(ready // period) + depths[t.resource], (early, 2))
    tasks = tuple(
        t._replace(stage=stages[t.name][0], priority=stages[t.name][1], settled=t.name in when)
        for t in program.tasks
    )
    periods = {name: ceil(units / period) for name, units in longest.items()}
    return _roomy(builder, replace(program, tasks=tasks), lookahead, periods)


def _ready(
    program: StepProgram, task: StepTask, when: dict[str, Fraction], longest: dict[str, Fraction]
) -> Fraction:
    """Return the time at which a drain can start, in time units.

    The results that it moves must be ready. If it waits for a pacing task, that task must have
    begun.
    """
    waits = [d for d in program.dependencies if program.tasks[d.after] is task]
    before = {d.before: d.room for d in waits}
    makers = [(program.tasks[i].name, room) for i, room in before.items()]
    times = (when[name] + (0 if room else longest[name]) for name, room in makers)
    return max(times, default=Fraction(0))


def _longest(task: StepTask) -> Fraction:
    """Return the longest time from a task's start to its result over all step classes, in
    cycles.
    """
    # Many classes take equal time: equality is found sooner than order.
    each = {x.as_integer_ratio(): x for x in task.occupancy if x is not None}
    return max(each.values()) + task.late


def _begin_of_outside(
    builder: ProgramBuilder,
    program: StepProgram,
    part: GroupPart,
    when: dict[str, Fraction],
    longest: dict[str, Fraction],
    period: int,
    patience: WaitingPolicy,
) -> Fraction:
    """Return the time at which an Einsum outside loops runs: its position in some period.

    An Einsum that needs results of the loops runs in the first period in which these results are
    ready. An Einsum whose result the loops need runs early enough for them. It does not run before
    the previous round of the loops has begun.
    """
    names = [t.name for t in program.tasks]
    data = [d for d in program.dependencies if not d.room]
    task = program.tasks[names.index(part.e.name)]
    early = {p.e.name for p in builder.group.parts if p.early}
    made = [program.tasks[d.before] for d in data if names[d.after] == task.name]
    made = [m for m in made if m.name in when and not (part.early and m.name in early)]
    if patience == "none":
        return when[task.name]
    if patience == "abroad":
        made = [m for m in made if m.resource != task.resource]
    ready = max((when[m.name] + longest[m.name] for m in made), default=None)
    place = when[task.name] % period
    takers = [names[d.after] for d in data if names[d.before] == task.name]
    due = min((when[n] for n in takers if n in when), default=None)
    if part.early and due is not None:
        start = due - longest[task.name]
        # Take the latest time at its position that is early enough.
        start = place + period * ((start - place) // period)
        start = max(start, due - period * builder.group.round(part))
        if ready is None or start >= ready:
            return start
    return place if ready is None else place + period * ceil((ready - place) / period)


def _roomy(
    builder: ProgramBuilder, program: StepProgram, lookahead: int, periods: dict[str, int]
) -> StepProgram:
    """Return the program with further room dependencies, so that no producer runs too far ahead.

    A drain may lag as far as its position in the order of issue. For an Einsum outside loops and
    its neighbours, the limit is twice the lag that the order and ``periods`` require. It is never
    more than a round of the loops: one tile is made while another is used.
    """
    names = [t.name for t in program.tasks]
    kinds = len(builder.steps.classes)
    rounds = {p.e.name: builder.group.round(p) + 1 for p in builder.group.parts}
    found: list[StepDependency] = []
    for d in program.dependencies:
        before, after = program.tasks[d.before], program.tasks[d.after]
        outside = {names[d.after], names[d.before]} & builder.outside
        if d.room or before.resource == after.resource or not (outside or after.role == "drain"):
            continue
        lag = after.stage - before.stage
        loose = (
            min(rounds[n], 2 * (abs(lag) + periods[n]) + lookahead + 1) for n in sorted(outside)
        )
        distance = (max(lookahead + 1, lag + 1, *loose),) * kinds
        why = f"room for what goes to {names[d.after]}"
        found.append(StepDependency(d.after, d.before, distance, room=True, why=why))
    return replace(program, dependencies=(*program.dependencies, *found))


def fitted_lookahead(bound: Bound, group: FusionGroup) -> int:
    """Return the largest number of tiles in flight whose waiting values fit every array's
    registers.

    A value waits if its consumer also needs a result that another array computes from the value.
    For example, scores stay in the 2D array while the 1D array updates the running maximum from
    them. Each tile in flight takes one register for each such value. Every other value is used as
    it arrives, and streaming operands pass through separate latches.
    """
    operands: dict[str, set[str]] = {p.e.name: set() for p in group.parts}
    for read in group.reads:
        if not read.shifts:
            operands[read.consumer].add(read.producer)
    where = {p.e.name: p.e.array.name for p in group.parts}
    depths = {p.e.array.name: p.e.array.registers.depth for p in group.parts}
    return max(
        1,
        min(
            # 10 registers and two waiting values per tile allow 5 tiles.
            depth // max(1, len(_waiting(bound, array, operands, where)))
            for array, depth in depths.items()
        ),
    )


def _waiting(
    bound: Bound, array: str, operands: dict[str, set[str]], where: dict[str, str]
) -> set[str]:
    """Return the values that stay in an array's registers until another array's result arrives."""
    found: set[str] = set()
    for value in operands:
        if array not in bound.residency.registers(value):
            continue
        abroad = _made_elsewhere(value, operands, where)
        consumers = [n for n, needs in operands.items() if value in needs and where[n] == array]
        if any(operands[n] & abroad for n in consumers):
            found.add(value)
    return found


def _made_elsewhere(value: str, operands: dict[str, set[str]], where: dict[str, str]) -> set[str]:
    """Return the Einsums of the same step that depend on a value by way of another array."""
    home = where[value]
    reached: set[tuple[str, bool]] = {(value, False)}
    pending = [(value, False)]
    while pending:
        name, left = pending.pop()
        for follower, needs in operands.items():
            state = (follower, left or where[follower] != home)
            if name in needs and state not in reached:
                reached.add(state)
                pending.append(state)
    return {name for name, left in reached if left}


Places = dict[str, tuple[int, int]]
"""Group number of every Einsum, and the steps by which the Einsum runs ahead."""


def phase_places(bound: Bound) -> Places:
    """Return the phase of every Einsum, and the number of steps by which it runs ahead."""
    groups = bound.mapping.schedule.groups
    return {t.einsum: (i, t.shift) for i, g in enumerate(groups) for t in g}


def check_phases(bound: Bound, group: FusionGroup) -> None:
    """Check that every Einsum occurs once in the phases, and after its producers.

    Raises
    ------
    SpecError
        A phase names no Einsum of the cascade.
    MappingError
        A phase leaves an Einsum out, or the order contradicts the dependencies.
    """
    schedule = bound.mapping.schedule
    place = phase_places(bound)
    names = [e.name for e in bound.einsums]
    problems = [
        Problem(f"a phase names '{n}'", schedule.span, did_you_mean(n, names))
        for n in (*place, *(schedule.exposes or ()))
        if n not in names
    ]
    raise_all(problems, SpecError)
    problems = [Problem(f"no phase runs {n}", schedule.span) for n in names if n not in place]
    problems += [
        Problem(f"{after} runs in an earlier phase than {before}, which it needs", schedule.span)
        for before, after in _disorder(bound, group, place)
    ]
    raise_all(problems, MappingError)


def _disorder(bound: Bound, group: FusionGroup, place: Places) -> Iterator[tuple[str, str]]:
    """Yield each producer and consumer of the steps whose phases run in the wrong order."""
    phases = len(bound.mapping.schedule.groups)
    for read in group.reads:
        before, after = read.producer, read.consumer
        if not {before, after} <= {*group.inside} or not {before, after} <= place.keys():
            continue
        distance = sum(shift * bound.inner_bound(member) for member, shift in read.shifts)
        (phase, shift), (then, later) = place[before], place[after]
        # Phases are numbered across steps: an Einsum that works ``shift`` steps further on does its
        # work on this tile as many whole periods sooner.
        if phase - shift * phases > then + (distance - later) * phases:
            yield before, after


def phased(builder: ProgramBuilder) -> StepProgram:
    """Return a group's program, in written order, with a barrier between phases.

    A barrier waits for all tasks of the previous phase. It also waits for reduction results that
    its own phase needs, because the schedule exposes their latency. Inside a phase, Einsums on two
    arrays run side by side, element by element.
    """
    place = phase_places(builder.bound)
    groups = len(builder.bound.mapping.schedule.groups)
    ahead = max(shift for _, shift in place.values())
    _barriers(builder, place, groups, ahead)
    _across(builder, place, groups)
    for name in builder.group.inside:
        for memory, level in builder.loads(name):
            builder.wait(memory, name, 0, f"{level} -> {name}")
            builder.wait(name, memory, DOUBLE_BUFFERED, f"room to prefetch from {level}", room=True)
        for memory, level in builder.drains(name):
            builder.wait(name, memory, 0, f"{name} -> {level}")
            builder.wait(memory, name, DOUBLE_BUFFERED, f"room for what goes to {level}", room=True)
    builder.pace(DOUBLE_BUFFERED - 1)
    for name, task in builder.tasks.items():
        if task.role != "barrier":
            stage, priority = _turn(builder, task, place, ahead)
            settled = name in place
            builder.tasks[name] = task._replace(stage=stage, priority=priority, settled=settled)
    return builder.program()


def _barrier(group: int) -> str:
    return f"phase {group + 1}"


def _barriers(builder: ProgramBuilder, place: Places, groups: int, ahead: int) -> None:
    """Add a barrier task for each group; it waits for the previous group, and its own group waits
    for it."""
    nothing = (Fraction(0),) * len(builder.steps.classes)
    for g in range(groups):
        barrier = StepTask(_barrier(g), resource="phases", occupancy=nothing, role="barrier")
        builder.add(barrier._replace(stage=ahead, priority=(Fraction(g), 0)))
    for name, (group, shift) in place.items():
        # Barriers run for the period's own step, an Einsum for the step ``shift`` away.
        builder.wait(_barrier(group), name, shift, f"{_barrier(group)} begins")
        then = (group + 1) % groups
        distance = int(then == 0) - shift
        builder.wait(name, _barrier(then), distance, f"{_barrier(group)} ends", room=True)


def _across(builder: ProgramBuilder, place: Places, groups: int) -> None:
    """Add dependencies of consumers, and of the barriers before them, on results of earlier
    phases.
    """
    exposes = builder.bound.mapping.schedule.exposes
    for read in builder.group.reads:
        before, after, distance = read.producer, read.consumer, builder.distances(read.shifts)
        (group, shift), (then, later) = place[before], place[after]
        exposed = exposes is None or before in exposes
        known = [d for d in distance if d is not None]
        turns = [(d + shift - later) * groups + then - group for d in known]
        if not turns or min(turns) <= 0:
            continue
        builder.wait(before, after, distance, f"{before} -> {after}", room=not exposed)
        if exposed:
            moved = tuple(None if d is None else d - later for d in distance)
            builder.wait(before, _barrier(then), moved, f"{before} -> {_barrier(then)}")


def _turn(
    builder: ProgramBuilder, task: StepTask, place: Places, ahead: int
) -> tuple[int, tuple[Fraction, int]]:
    """Return the stage and priority of a task that is no barrier.

    Tasks are ordered by group, after each group's barrier. Loads come before all groups, drains in
    the period after their results.
    """
    if task.name in place:
        group, shift = place[task.name]
        return ahead - shift, (Fraction(group), 1)
    if task.role == "drain":
        # A drain comes one period after its results, so that it does not keep operands waiting.
        makers = [place[e][1] for e in place if task.name in dict(builder.drains(e))]
        return ahead - min(makers) + 1, (Fraction(-1), 2)
    readers = [place[e][1] for e in place if task.name in dict(builder.loads(e))]
    return ahead - max(readers), (Fraction(-1), 0)
