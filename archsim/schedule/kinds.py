"""Kinds of schedules: their interface, the sequential and the phased schedule, and the list of
all.

The sequential schedule runs one group of Einsums after the other, each over all its loops. The
phased schedule puts a barrier before each group of Einsums in a step. A new kind needs a class that
is a ``ScheduleKind``, a line in ``_kinds``, and its name in ``spec.mapping.ScheduleName``.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from einsum_cascade.errors import MappingError, Problem, SpecError, did_you_mean

from ..counts.accesses import EinsumCount
from ..iteration.exact import total
from ..legality.footprint import DOUBLE_BUFFERED
from ..nest.record import Bound
from ..spec.mapping import PhaseTask
from ..steps.group import FusionGroup, Walk, fused_group, single_group
from ..steps.run_length import steps_by_class
from ..steps.uniform import uniform_walk, whole_walk
from .average import timed_step, unless_ends
from .event_graph import EventGraph, GraphTask
from .lowering import ProgramBuilder, exact_walk
from .pipelined import Pipelined, overlapped, unordered
from .program import IssueError, StepProgram, StepTask, ordered
from .timing import Timing


class ScheduleKind(Protocol):
    """Kind of schedule: the order in which Einsums follow one another."""

    name: str
    """Name in mapping files."""
    in_turn: bool
    """True if groups run one after the other, each over all its loops."""

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """Return the groups of Einsums that run together, in sequence."""
        ...

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return the step program of each group, with tasks in firing order.

        Raises
        ------
        MappingError
            The schedule contradicts the cascade's dependencies, or deadlocks.
        """
        ...

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Return the time of a run in which every step is an average one.

        Raises
        ------
        MappingError
            As ``programs``.
        """
        ...


def _kinds() -> tuple[ScheduleKind, ...]:
    return (
        Sequential(),
        Phases(),
        Pipelined(),
    )


def kind_of(bound: Bound) -> ScheduleKind:
    """Return the kind of a mapping's schedule.

    Parameters
    ----------
    bound : Bound
        Mapping with a checked schedule, so that the kind exists.
    """
    return next(k for k in _kinds() if k.name == bound.mapping.schedule.kind)


def time_mapping(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    """Return the latency of a bound mapping in cycles, from its average step.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies.
    """
    kind = kind_of(bound)
    return kind.average(bound, kind.groups(bound, counts))


def exact_walks(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[Walk, ...]:
    """Return the real steps of each group of Einsums that run together.

    Raises
    ------
    StepsError
        As ``exact_walk``.
    """
    return tuple(exact_walk(bound, g) for g in kind_of(bound).groups(bound, counts))


class Sequential:
    """Schedule of groups in sequence; tasks overlap inside a group.

    Without groups in the mapping, each Einsum is a group of its own.
    """

    name = "sequential"
    in_turn = True

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """Return a fusion group for each group of the schedule."""
        named = {e.name: e for e in bound.einsums}
        written = [tuple(named[t.einsum] for t in group) for group in bound.mapping.schedule.groups]
        return tuple(
            single_group(bound, counts, group[0])
            if len(group) == 1
            else fused_group(bound, counts, group)
            for group in written or [(e,) for e in bound.einsums]
        )

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return a program for each group, with its first fill and last drain among the steps."""
        return tuple(
            overlapped(ProgramBuilder(bound, walk), DOUBLE_BUFFERED, ends=False) for walk in walks
        )

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Return the sum over groups of the time of the busiest array or of the transfers.

        A group is one step that does all of its work. Each array's output latency is charged once
        per group.
        """
        total = Fraction(0)
        slowest = (Fraction(-1), "", "")
        for group in groups:
            builder = ProgramBuilder(bound, whole_walk(bound, group))
            what, longest = _longest(bound, unordered(builder, DOUBLE_BUFFERED, ends=False))
            total += longest
            here = {p.e.name for p in group.parts}
            names = ", ".join(e.name for e in bound.einsums if e.name in here)
            slowest = max(slowest, (longest, what, names))
        return Timing(
            cycles=total,
            steps=1,
            period=total,
            bound_by=slowest[1],
            critical=(f"{slowest[2]} on {slowest[1]}",),
        )


def _longest(bound: Bound, program: StepProgram) -> tuple[str, Fraction]:
    """Return the resource with the longest work of a program; arrays come before memories."""
    times = steps_by_class(program.run_lengths)
    busy: dict[str, Fraction] = {}
    late: dict[str, Fraction] = {}
    for task in (t for role in ("work", "load", "drain") for t in program.tasks if t.role == role):
        cycles = total((times.get(k, 0), x) for k, x in enumerate(task.occupancy) if x is not None)
        busy[task.resource] = busy.get(task.resource, Fraction(0)) + cycles
        late[task.resource] = max(late.get(task.resource, Fraction(0)), task.late)
    memories = [m.name for m in bound.architecture.memories if m.name in busy]
    order = [*(r for r in busy if r not in memories), *memories]
    longest = max(order, key=lambda r: busy[r] + late[r])
    return longest, busy[longest] + late[longest]


class Phases:
    """Schedule of static phases: Einsums of a phase run side by side, on this tile or a
    neighbour."""

    name = "phases"
    in_turn = False

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """Return one group of all Einsums."""
        return (fused_group(bound, counts, bound.einsums),)

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """Return the program of the one group, in which each barrier is a task that waits for a
        phase."""
        (walk,) = walks
        _check(bound, walk.group)
        try:
            return (ordered(_phased(ProgramBuilder(bound, walk))),)
        except IssueError as error:
            text = f"these wait for one another in their phases: {' -> '.join(error.names)}"
            raise MappingError(Problem(text, bound.mapping.schedule.span)) from None

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Return the sum over phases of the busiest array's time and exposed reduction
        latencies.

        A period is that sum, or the time of the busiest memory if longer.
        """
        (group,) = groups
        _check(bound, group)
        phases = bound.mapping.schedule.groups
        builder = ProgramBuilder(bound, uniform_walk(bound, group))
        # The average step needs only durations, and the Einsums that wait for results.
        place = _places(bound)
        _barriers(builder, place, len(phases))
        _across(builder, place, len(phases))
        program = builder.program()
        graph = timed_step(bound, program).graph
        tasks = {t.name: t for t in graph.tasks}
        lengths = [max((n, r) for r, n in _loads(tasks, g).items()) for g in phases]
        waits = [_exposed(bound, graph, index, lengths) for index in range(len(phases))]
        period = sum((cycles for cycles, _ in lengths), Fraction(0)) + sum(waits, Fraction(0))
        limit, critical = _phase_bound(lengths, waits, phases)
        arrays = {a.name for a in bound.architecture.arrays}
        memory = max(
            (t for t in graph.tasks if t.resource not in arrays),
            key=lambda t: t.occupancy,
            default=None,
        )
        if memory is not None and memory.occupancy > period:
            period = memory.occupancy
            limit, critical = memory.name, (f"transfers of {memory.name}",)
        ends = program.fill_and_drain
        once = sum((cycles for _, cycles in program.once), Fraction(0))
        cycles = period * bound.steps + _partial_steps(tasks, phases) + once + ends
        limit, critical = unless_ends(bound, cycles, ends, (limit, critical))
        return Timing(
            cycles=cycles, steps=bound.steps, period=period, bound_by=limit, critical=critical
        )


_Place = dict[str, tuple[int, int]]
"""Group and shift of every Einsum."""


def _places(bound: Bound) -> _Place:
    groups = bound.mapping.schedule.groups
    return {t.einsum: (i, t.shift) for i, g in enumerate(groups) for t in g}


def _check(bound: Bound, group: FusionGroup) -> None:
    """Check that every Einsum occurs once, and after its producers.

    Raises
    ------
    SpecError
        A phase names no Einsum of the cascade.
    MappingError
        A phase leaves an Einsum out, or the order contradicts the dependencies.
    """
    schedule = bound.mapping.schedule
    place = _places(bound)
    names = [e.name for e in bound.einsums]
    problems = [
        Problem(f"a phase names '{n}'", schedule.span, did_you_mean(n, names))
        for n in (*place, *(schedule.exposes or ()))
        if n not in names
    ]
    if problems:
        raise SpecError(problems)
    problems = [Problem(f"no phase runs {n}", schedule.span) for n in names if n not in place]
    problems += [
        Problem(f"{after} runs in an earlier phase than {before}, which it needs", schedule.span)
        for before, after in _disorder(bound, group, place)
    ]
    if problems:
        raise MappingError(problems)


def _disorder(bound: Bound, group: FusionGroup, place: _Place) -> Iterator[tuple[str, str]]:
    """Yield producers and consumers among the inner Einsums that run in the wrong order."""
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


def _loads(tasks: dict[str, GraphTask], group: tuple[PhaseTask, ...]) -> dict[str, Fraction]:
    """Return the cycles that each array is busy in a phase."""
    load: dict[str, Fraction] = {}
    for member in group:
        task = tasks[member.einsum]
        load[task.resource] = load.get(task.resource, Fraction(0)) + task.occupancy
    return load


def _exposed(
    bound: Bound, graph: EventGraph, index: int, lengths: list[tuple[Fraction, str]]
) -> Fraction:
    """Return the cycles that the barrier after a phase waits for reductions of that phase."""
    place = _places(bound)
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
    """Return the array on which the phases spend most time, or the exposed latency."""
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
    """Return the work on the first tiles before the first whole step, and on the last ones after
    it.

    A task on the tile ``n`` steps before still has ``n`` tiles to do when all others are done. A
    task that runs ahead begins as much earlier.
    """
    cycles = Fraction(0)
    for sign in (-1, 1):
        for step in range(1, max((sign * t.shift for g in groups for t in g), default=0) + 1):
            for group in groups:
                late = tuple(m for m in group if sign * m.shift >= step)
                cycles += max(_loads(tasks, late).values(), default=Fraction(0))
    return cycles


def _phased(builder: ProgramBuilder) -> StepProgram:
    """Return a group's program with a barrier between phases and tasks in written order.

    A barrier waits for all tasks of the phase before it, and for reduction results that its own
    phase needs (the schedule exposes their latency). Inside a phase, Einsums on two arrays run side
    by side, element by element.
    """
    place = _places(builder.bound)
    groups = len(builder.bound.mapping.schedule.groups)
    ahead = max(shift for _, shift in place.values())
    _barriers(builder, place, groups)
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
        stage, priority = _turn(builder, name, place, groups, ahead)
        settled = name in place
        builder.tasks[name] = task._replace(stage=stage, priority=priority, settled=settled)
    return builder.program()


def _barrier(group: int) -> str:
    return f"phase {group + 1}"


def _barriers(builder: ProgramBuilder, place: _Place, groups: int) -> None:
    """Add one task for each group, which waits for the previous group and starts its own."""
    kinds = len(builder.steps.classes)
    for g in range(groups):
        builder.add(
            StepTask(
                name=_barrier(g),
                resource="phases",
                occupancy=(Fraction(0),) * kinds,
                role="barrier",
            )
        )
    for name, (group, shift) in place.items():
        # Barriers run for the period's own step, an Einsum for the step ``shift`` away.
        builder.wait(_barrier(group), name, shift, f"{_barrier(group)} begins")
        then = (group + 1) % groups
        builder.wait(
            name, _barrier(then), int(then == 0) - shift, f"{_barrier(group)} ends", room=True
        )


def _across(builder: ProgramBuilder, place: _Place, groups: int) -> None:
    """Let consumers and their barriers wait for results of earlier phases."""
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
    builder: ProgramBuilder, name: str, place: _Place, groups: int, ahead: int
) -> tuple[int, tuple[Fraction, int]]:
    """Return stage and priority of a task: by group, with barriers first and memories around."""
    if name in place:
        group, shift = place[name]
        return ahead - shift, (Fraction(group), 1)
    task = builder.tasks[name]
    if task.role == "barrier":
        number = next(g for g in range(groups) if _barrier(g) == name)
        return ahead, (Fraction(number), 0)
    if task.role == "drain":
        # A drain comes one period after its results, so that it does not keep operands waiting.
        makers = [place[e][1] for e in place if name in dict(builder.drains(e))]
        return ahead - min(makers) + 1, (Fraction(-1), 2)
    readers = [place[e][1] for e in place if name in dict(builder.loads(e))]
    return ahead - max(readers), (Fraction(-1), 0)
