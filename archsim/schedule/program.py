"""What the event engine runs: tasks by class of step, dependencies, and the order of issue.

A run is given by the run lengths of its step classes; step ``k`` of class ``c`` issues every
task that runs in ``c``. A *period* issues task ``i`` for the step ``stage[i]`` behind the newest
one, in the order in which the tasks are listed, which is the order on each resource too. A task
starts when its resource is free and all it waits for has happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Literal, NamedTuple

from ..steps.run_length import RunLengths, renamed_classes


class StepTask(NamedTuple):
    """What a resource does in a step, by class of step.

    ``occupancy`` (cycles) is None where the task does not run; its result can be used
    ``late`` cycles after the resource is free again.
    """

    name: str
    resource: str
    occupancy: tuple[Fraction | None, ...]
    role: Literal["load", "work", "drain", "barrier"] = "work"
    late: Fraction = Fraction(0)
    stage: int = 0
    priority: tuple[Fraction, int] = (Fraction(0), 0)
    """Where it goes among the tasks of a period, as far as dependencies leave a choice."""
    outside: bool = False
    """Whether it is an Einsum that stays out of some loop of its group."""
    settled: bool = False
    """Whether its priority is its place on the resource among others that are settled."""


class StepDependency(NamedTuple):
    """``after`` at step k waits for ``before`` at step k - distance, if that ran then.

    ``distance`` is by class of the step of ``after``; None where it waits for nothing.
    ``room`` waits until the other has left its resource, else for its result.
    """

    before: int
    after: int
    distance: tuple[int | None, ...]
    room: bool = False
    pace: bool = False
    """Whether it only keeps a memory that serves nothing inside all loops from running off."""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class StepProgram:
    """Tasks in firing order, what they wait for, and the run they make.

    ``start`` holds the cycle before which a resource does nothing; ``ends`` adds, by task,
    what follows its last result.
    """

    tasks: tuple[StepTask, ...]
    dependencies: tuple[StepDependency, ...]
    run_lengths: RunLengths
    start: tuple[tuple[str, Fraction], ...] = ()
    ends: tuple[tuple[str, Fraction], ...] = ()
    once: tuple[tuple[str, Fraction], ...] = ()
    """What runs beside no step, and for how many cycles (uniform walks alone know such)."""
    lookahead: int | None = None
    """Tiles in flight, where the schedule has such."""

    @property
    def fill_and_drain(self) -> Fraction:
        """Cycles before the first step and after the last."""
        waits = (
            max((x for _, x in pairs), default=Fraction(0)) for pairs in (self.start, self.ends)
        )
        return sum(waits, Fraction(0))

    @property
    def resources(self) -> tuple[str, ...]:
        """Resources in order of their first task."""
        return tuple(dict.fromkeys(t.resource for t in self.tasks))

    def ago(self, d: StepDependency) -> list[int | None]:
        """Periods between the two turns of a dependency, by the class of the step that waits.

        Parameters
        ----------
        d : StepDependency
            One of the program's.

        Returns
        -------
        list of int or None
            Steps in between, and how many stages later the task runs that waits; negative
            where that task would be issued first. None: in such a step nothing is waited for.
        """
        after = self.tasks[d.after]
        later = after.stage - self.tasks[d.before].stage
        return [
            None if steps is None or busy is None else steps + later
            for steps, busy in zip(d.distance, after.occupancy, strict=True)
        ]

    def in_turn(self, d: StepDependency) -> bool:
        """Whether a dependency asks for no more than that its resource runs tasks in turn.

        A resource is free when the task that is waited for has left it, and that is its result, or
        all that is asked for.

        Parameters
        ----------
        d : StepDependency
            One of the program's; as of ``ago`` the task that waits is not issued first.
        """
        before = self.tasks[d.before]
        return before.resource == self.tasks[d.after].resource and (d.room or not before.late)


class IssueError(ValueError):
    """An order of issue in which a task waits for one that is issued after it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(names))
        self.names = names


def ordered(program: StepProgram) -> StepProgram:
    """The program with its tasks in an order in which everything waited for comes first.

    Raises
    ------
    IssueError
        There is no such order; names a cycle of tasks.
    """
    count = len(program.tasks)
    after: list[set[int]] = [set() for _ in range(count)]
    waits: list[set[int]] = [set() for _ in range(count)]
    for first, then in _kept(program):
        after[first].add(then)
        waits[then].add(first)
    for d in program.dependencies:
        # The least over all classes: one in which the two are of the same period decides their
        # order. A dependency without any (1) decides nothing.
        ago = min([a for a in program.ago(d) if a is not None], default=1)
        if ago < 0 or (ago == 0 and d.before == d.after):
            raise IssueError((program.tasks[d.before].name, program.tasks[d.after].name))
        if ago == 0:
            after[d.before].add(d.after)
            waits[d.after].add(d.before)
    # Of all tasks that wait for no other of the period, the one with the least priority comes
    # first.
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
    """Neighbours on a resource whose order is settled: by priority, then as written."""
    for resource in program.resources:
        settled = [
            (t.priority, i)
            for i, t in enumerate(program.tasks)
            if t.resource == resource and t.settled
        ]
        yield from pairwise(i for _, i in sorted(settled))


def _cycle(program: StepProgram, waits: list[set[int]]) -> tuple[str, ...]:
    """Tasks that wait for one another, found by walking back until one comes again."""
    at = next(i for i, w in enumerate(waits) if w)
    seen: list[int] = []
    while at not in seen:
        seen.append(at)
        at = min(i for i in waits[at] if waits[i])
    cycle = [*seen[seen.index(at) :], at]
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
    """The parts of a program that share neither a resource nor a dependency.

    Each has run lengths of its own, in which classes that are the same to it are merged.

    Parameters
    ----------
    program : StepProgram
        A program; its tasks keep their order.

    Returns
    -------
    tuple of StepProgram
        At least one of a program with tasks. Their runs take nothing from one another, so
        each may be run by itself, and the longest tells how long all take.
    """
    groups: list[set[int]] = []
    links: list[Iterable[int]] = [
        [i for i, t in enumerate(program.tasks) if t.resource == r] for r in program.resources
    ]
    links += [(d.before, d.after) for d in program.dependencies]
    for link in links:
        joined = set(link)
        for group in [g for g in groups if g & joined]:
            joined |= group
            groups.remove(group)
        groups.append(joined)
    if len(groups) == 1:
        return (_condensed(program),)
    return tuple(_condensed(_renumbered(program, sorted(group))) for group in groups)


def _condensed(part: StepProgram) -> StepProgram:
    """A part with its classes renumbered: those alike in every task are one."""
    kinds: dict[tuple[object, ...], int] = {}
    # Whole numbers are told apart sooner than fractions are.
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
