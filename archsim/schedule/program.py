"""Step program for the event engine: tasks, their dependencies, and the order of issue.

A run is given by the run lengths of its step classes; step ``k`` of class ``c`` issues every task
that runs in ``c``. A *period* issues task ``i`` for the step ``stage[i]`` behind the newest one.
Tasks are listed in the order of issue, which each resource follows too. A task starts when its
resource is free and all its dependencies are met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Literal, NamedTuple

from einsum_cascade.memo import cached_property

from ..iteration.exact import total
from ..steps.run_length import RunLengths, renamed_classes, steps_by_class


class StepTask(NamedTuple):
    """Work of a resource in a step, by class of step.

    ``occupancy`` is the number of cycles for which the task keeps its resource busy; None in
    classes in which the task does not run. The result can be used ``late`` cycles after the
    resource is free again.
    """

    name: str
    resource: str
    occupancy: tuple[Fraction | None, ...]
    role: Literal["load", "work", "drain", "barrier"] = "work"
    late: Fraction = Fraction(0)
    stage: int = 0
    priority: tuple[Fraction, int] = (Fraction(0), 0)
    """Rank of the task in its period; it decides where dependencies leave a choice."""
    outside: bool = False
    """True for an Einsum that is outside some loop of its group."""
    settled: bool = False
    """True if the priority fixes the task's position among the settled tasks of its resource."""


class StepDependency(NamedTuple):
    """Dependency: task ``after`` at step k waits for task ``before`` at step k - distance.

    There is no wait if ``before`` did not run at that step. ``distance`` is given by class of the
    step of ``after``; None means no wait. With ``room``, ``after`` waits until ``before`` has left
    its resource; otherwise, for its result.
    """

    before: int
    after: int
    distance: tuple[int | None, ...]
    room: bool = False
    pace: bool = False
    """True if the dependency only paces a memory that serves no Einsum inside all loops."""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class StepProgram:
    """Tasks in the order of issue, their dependencies, and the run lengths of the step classes.

    ``start`` holds, by resource, the cycle before which the resource stays idle. ``ends`` holds, by
    task, the time that follows its last result.
    """

    tasks: tuple[StepTask, ...]
    dependencies: tuple[StepDependency, ...]
    run_lengths: RunLengths
    start: tuple[tuple[str, Fraction], ...] = ()
    ends: tuple[tuple[str, Fraction], ...] = ()
    once: tuple[tuple[str, Fraction], ...] = ()
    """Work outside the steps, with its cycles; only uniform walks have such work."""
    lookahead: int | None = None
    """Number of tiles in flight; None if the schedule does not limit them."""

    @cached_property
    def steps_by_class(self) -> dict[int, int]:
        """Number of steps of each class; a class without steps is absent."""
        return steps_by_class(self.run_lengths)

    def busy(self, tasks: Iterable[StepTask]) -> Fraction:
        """Return the total cycles for which ``tasks`` occupy their resources in the whole run."""
        times = self.steps_by_class
        return total((times.get(k, 0), x) for t in tasks for k, x in enumerate(t.occupancy) if x)

    def on(self, resource: str) -> list[StepTask]:
        """Return the tasks of a resource, in the order of issue."""
        return [t for t in self.tasks if t.resource == resource]

    @property
    def fill_and_drain(self) -> Fraction:
        """Cycles before the first step plus cycles after the last."""
        waits = (
            max((x for _, x in pairs), default=Fraction(0)) for pairs in (self.start, self.ends)
        )
        return sum(waits, Fraction(0))

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of the resources, in order of their first task."""
        return tuple(dict.fromkeys(t.resource for t in self.tasks))

    def ago(self, d: StepDependency) -> list[int | None]:
        """Return the periods between the two tasks of a dependency, by class of the waiting step.

        Parameters
        ----------
        d : StepDependency
            Dependency of the program.

        Returns
        -------
        list of int or None
            Steps in between plus the difference of stages; negative if the waiting task would be
            issued first. None: no wait in such a step.
        """
        after = self.tasks[d.after]
        later = after.stage - self.tasks[d.before].stage
        return [
            None if steps is None or busy is None else steps + later
            for steps, busy in zip(d.distance, after.occupancy, strict=True)
        ]

    def in_turn(self, d: StepDependency) -> bool:
        """Return whether the order of its resource already guarantees a dependency.

        This holds if both tasks are on one resource. The resource is free once the first task has
        left. At that time the result is available, or the dependency asks for no more than the
        departure.

        Parameters
        ----------
        d : StepDependency
            Dependency of the program; its waiting task must not be issued first (``ago``).
        """
        before = self.tasks[d.before]
        return before.resource == self.tasks[d.after].resource and (d.room or not before.late)


class IssueError(ValueError):
    """Error for an order of issue in which a task waits for another that is issued later."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(names))
        self.names = names


def ordered(program: StepProgram) -> StepProgram:
    """Return the program with its tasks sorted so that dependencies come first.

    Raises
    ------
    IssueError
        There is no such order; the error names a cycle of tasks.
    """
    count = len(program.tasks)
    after: list[set[int]] = [set() for _ in range(count)]
    waits: list[set[int]] = [set() for _ in range(count)]
    for first, then in _kept(program):
        after[first].add(then)
        waits[then].add(first)
    for d in program.dependencies:
        # The least over all classes decides: in some class both tasks belong to one period. A
        # dependency without any distance (1) decides nothing.
        ago = min([a for a in program.ago(d) if a is not None], default=1)
        if ago < 0 or (ago == 0 and d.before == d.after):
            raise IssueError((program.tasks[d.before].name, program.tasks[d.after].name))
        if ago == 0:
            after[d.before].add(d.after)
            waits[d.after].add(d.before)
    # Of all tasks without waits in the period, the one with the least priority comes first.
    ready = [(program.tasks[i].priority, i) for i in range(count) if not waits[i]]
    heapify(ready)
    order: list[int] = []
    while ready:
        _, i = heappop(ready)
        order.append(i)
        for j in after[i]:
            waits[j].discard(i)
            if not waits[j]:
                heappush(ready, (program.tasks[j].priority, j))
    if len(order) < count:
        raise IssueError(_cycle(program, waits))
    return _renumbered(program, order)


def _kept(program: StepProgram) -> Iterator[tuple[int, int]]:
    """Yield neighbouring tasks on a resource whose order is settled: by priority, then as
    written.
    """
    for resource in program.resources:
        its = ((i, t) for i, t in enumerate(program.tasks) if t.resource == resource)
        settled = sorted((t.priority, i) for i, t in its if t.settled)
        yield from pairwise(i for _, i in settled)


def _cycle(program: StepProgram, waits: list[set[int]]) -> tuple[str, ...]:
    """Return tasks that wait for one another in a cycle.

    The cycle is found by walking back until a task repeats.
    """
    at = next(i for i, w in enumerate(waits) if w)
    visited: list[int] = []
    while at not in visited:
        visited.append(at)
        at = min(i for i in waits[at] if waits[i])
    cycle = [*visited[visited.index(at) :], at]
    return tuple(program.tasks[i].name for i in reversed(cycle))


def _renumbered(program: StepProgram, order: list[int]) -> StepProgram:
    if order == [*range(len(program.tasks))]:
        return program
    place = {i: n for n, i in enumerate(order)}
    return replace(
        program,
        tasks=tuple(program.tasks[i] for i in order),
        dependencies=tuple(
            d._replace(before=place[d.before], after=place[d.after])
            for d in program.dependencies
            if d.before in place and d.after in place
        ),
    )


def components(program: StepProgram) -> tuple[StepProgram, ...]:
    """Return the independent parts of a program: no two share a resource or a dependency.

    Each part has its own run lengths. Classes that are equal for the part are merged there.

    Parameters
    ----------
    program : StepProgram
        Program; its tasks keep their order.

    Returns
    -------
    tuple of StepProgram
        Parts, at least one for a program with tasks. Their runs are independent: each may run by
        itself, and the longest gives the latency.
    """
    groups: list[set[int]] = []
    links: list[Iterable[int]] = [
        [i for i, t in enumerate(program.tasks) if t.resource == r] for r in program.resources
    ]
    links += [(d.before, d.after) for d in program.dependencies]
    for link in links:
        merged = set(link)
        for group in [g for g in groups if g & merged]:
            merged |= group
            groups.remove(group)
        groups.append(merged)
    if len(groups) == 1:
        return (_condensed(program),)
    return tuple(_condensed(_renumbered(program, sorted(group))) for group in groups)


def _condensed(part: StepProgram) -> StepProgram:
    """Return a part of a program in which step classes that are equal in every task are merged."""
    kinds: dict[tuple[object, ...], int] = {}
    # Whole numbers are compared sooner than fractions.
    times = [[x and (x.numerator, x.denominator) for x in t.occupancy] for t in part.tasks]
    classes = zip(*times, *(d.distance for d in part.dependencies), strict=True)
    numbers = [kinds.setdefault(what, len(kinds)) for what in classes]
    if len(kinds) == len(numbers):
        return part
    kept = [numbers.index(n) for n in range(len(kinds))]
    return replace(
        part,
        tasks=tuple(
            t._replace(occupancy=tuple([t.occupancy[k] for k in kept])) for t in part.tasks
        ),
        dependencies=tuple(
            d._replace(distance=tuple([d.distance[k] for k in kept])) for d in part.dependencies
        ),
        run_lengths=renamed_classes(part.run_lengths, tuple(numbers)),
    )
