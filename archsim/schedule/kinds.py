"""Kinds of schedules: their interface, the sequential and the phased schedule, and the list of all.

The sequential schedule runs one group of Einsums after the other, each over all its loops. The
phased schedule puts a barrier before each group of Einsums in a step. To add a kind: a class that
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
    """One way in which Einsums follow one another."""

    name: str
    """As mapping files write it."""
    in_turn: bool
    """Whether groups run one after the other, each over all its loops."""

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """What runs together, one group after the other."""
        ...

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """The step program of each group, its tasks in firing order.

        Raises
        ------
        MappingError
            The schedule contradicts the cascade's dependencies, or deadlocks.
        """
        ...

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """The time of a run whose steps are all an average one.

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
    """The kind of a mapping's schedule.

    Parameters
    ----------
    bound : Bound
        The mapping; its file was checked, so there is such a kind.
    """
    return next(k for k in _kinds() if k.name == bound.mapping.schedule.kind)


def time_mapping(bound: Bound, counts: tuple[EinsumCount, ...]) -> Timing:
    """Latency of a bound mapping in cycles, from its average step.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies.
    """
    kind = kind_of(bound)
    return kind.average(bound, kind.groups(bound, counts))


def exact_walks(bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[Walk, ...]:
    """The real steps of all that runs together, group by group.

    Raises
    ------
    StepsError
        As ``exact_walk``.
    """
    return tuple(exact_walk(bound, g) for g in kind_of(bound).groups(bound, counts))


class Sequential:
    """Each Einsum is a group of its own where none are given; a group overlaps inside."""

    name = "sequential"
    in_turn = True

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """One for each of the schedule's groups."""
        named = {e.name: e for e in bound.einsums}
        written = [tuple(named[t.einsum] for t in group) for group in bound.mapping.schedule.groups]
        return tuple(
            single_group(bound, counts, group[0])
            if len(group) == 1
            else fused_group(bound, counts, group)
            for group in written or [(e,) for e in bound.einsums]
        )

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """A program for each group, its first fill and last drain among its steps."""
        return tuple(
            overlapped(ProgramBuilder(bound, walk), DOUBLE_BUFFERED, ends=False) for walk in walks
        )

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Group after group, each as long as its busiest array or its transfers.

        A group is one step that does all of its work. What is late of an array's results is
        waited for once.
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
    """The resource that a program's work takes longest on, arrays before memories."""
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
    """Static epochs: Einsums of a phase run side by side, on this tile or a neighbour."""

    name = "phases"
    in_turn = False

    def groups(self, bound: Bound, counts: tuple[EinsumCount, ...]) -> tuple[FusionGroup, ...]:
        """All Einsums together."""
        return (fused_group(bound, counts, bound.einsums),)

    def programs(self, bound: Bound, walks: tuple[Walk, ...]) -> tuple[StepProgram, ...]:
        """The program of the one group: each barrier is a task that waits for a phase."""
        (walk,) = walks
        _check(bound, walk.group)
        try:
            return (ordered(_phased(ProgramBuilder(bound, walk))),)
        except IssueError as error:
            text = f"these wait for one another in their phases: {' -> '.join(error.names)}"
            raise MappingError(Problem(text, bound.mapping.schedule.span)) from None

    def average(self, bound: Bound, groups: tuple[FusionGroup, ...]) -> Timing:
        """Phase after phase, each as long as its busiest array, and what reductions are late.

        A period is that long, or as long as the busiest memory takes.
        """
        (group,) = groups
        _check(bound, group)
        phases = bound.mapping.schedule.groups
        builder = ProgramBuilder(bound, uniform_walk(bound, group))
        # No more of the program than is asked of its average step: what takes how long, and which
        # Einsums wait for which results.
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
    """Every Einsum once, and nothing before what it needs.

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
    """Producers and consumers among the Einsums inside that run in the wrong order."""
    phases = len(bound.mapping.schedule.groups)
    for read in group.reads:
        before, after = read.producer, read.consumer
        if not {before, after} <= {*group.inside} or not {before, after} <= place.keys():
            continue
        distance = sum(shift * bound.inner_bound(member) for member, shift in read.shifts)
        (phase, shift), (then, later) = place[before], place[after]
        # Phases numbered through, from step to step: what works on a tile ``shift`` steps further
        # on does its work on this one as many whole periods sooner.
        if phase - shift * phases > then + (distance - later) * phases:
            yield before, after


def _loads(tasks: dict[str, GraphTask], group: tuple[PhaseTask, ...]) -> dict[str, Fraction]:
    """Cycles that the arrays are busy in a phase."""
    load: dict[str, Fraction] = {}
    for member in group:
        task = tasks[member.einsum]
        load[task.resource] = load.get(task.resource, Fraction(0)) + task.occupancy
    return load


def _exposed(
    bound: Bound, graph: EventGraph, index: int, lengths: list[tuple[Fraction, str]]
) -> Fraction:
    """Cycles the barrier after a phase waits for reductions that started in it."""
    place = _places(bound)
    tasks, phases = graph.tasks, len(lengths)
    worst = Fraction(0)
    for d in graph.dependencies:
        before, after = tasks[d.before], tasks[d.after]
        if d.room or before.name not in place or after.name not in place:
            continue
        (phase, shift), (then, later) = place[before.name], place[after.name]
        # Phases from the one that makes a result to the one that needs it. Those in between hide
        # what it is late.
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
    cycles = Fraction(0)
    for sign in (-1, 1):
        for step in range(1, max((sign * t.shift for g in groups for t in g), default=0) + 1):
            for group in groups:
                late = tuple(m for m in group if sign * m.shift >= step)
                cycles += max(_loads(tasks, late).values(), default=Fraction(0))
    return cycles


def _phased(builder: ProgramBuilder) -> StepProgram:
    """A group with a barrier between its phases, its tasks in written order.

    A barrier waits for all that the phase before it runs, and for reduction results that
    its own phase needs (those that the schedule exposes). Inside a phase Einsums on two
    arrays go side by side, element by element.
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
    """One task a group that waits for the group before it, and starts its own."""
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
        # Barriers run for the period's own step, an Einsum for the one ``shift`` away.
        builder.wait(_barrier(group), name, shift, f"{_barrier(group)} begins")
        then = (group + 1) % groups
        builder.wait(
            name, _barrier(then), int(then == 0) - shift, f"{_barrier(group)} ends", room=True
        )


def _across(builder: ProgramBuilder, place: _Place, groups: int) -> None:
    """Results of earlier phases: their consumer's barrier waits for them, and it itself."""
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
    """Stage and priority of a task: by its group, barriers first, memories around."""
    if name in place:
        group, shift = place[name]
        return ahead - shift, (Fraction(group), 1)
    task = builder.tasks[name]
    if task.role == "barrier":
        number = next(g for g in range(groups) if _barrier(g) == name)
        return ahead, (Fraction(number), 0)
    if task.role == "drain":
        # One period after the results are there, so that it does not keep operands waiting.
        makers = [place[e][1] for e in place if name in dict(builder.drains(e))]
        return ahead - min(makers) + 1, (Fraction(-1), 2)
    readers = [place[e][1] for e in place if name in dict(builder.loads(e))]
    return ahead - max(readers), (Fraction(-1), 0)
