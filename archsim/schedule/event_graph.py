"""Timed event graph of an average step, its order of issue, and its cycle mean.

One *step* is one iteration of the shared nest. Every task happens once a step: an Einsum on its
array, or a memory that moves a step's share of its traffic. With a dependency of distance d, a task
of step k waits for another task of step k - d. Each resource issues its tasks in a fixed cyclic
order: task ``i`` for the step ``stage[i]`` behind the newest one. The graph is therefore (max,+)
linear. Times are exact: fractions of a cycle in the input, whole numbers of a common unit in
computations.

The length of a period in the steady state is the largest ratio of weight to tokens over all cycles
of the graph. (Baccelli et al., *Synchronization and Linearity*, section 2.5.) The search for this
ratio starts from a lower bound. A cycle above the bound is a positive cycle of reduced weights. It
gives the new bound, until no such cycle is left.

The average step of a program has one task for each task of the program, with its mean duration. The
event engine takes the order of issue from the average step. Timed alone, the average step replaces
runs that are too long. It leaves some things out:

* An Einsum outside a loop takes the time of its slice in every step, but has no dependencies: the
  average has no step in which it runs.
* Pacing of memories that serve only such Einsums is needed to run a program and to order its tasks.
  The time of an average step does not depend on it (``memories`` given).
* Drains follow results and decide no order of issue, so that the average for an order has loads
  alone. To time a step, all traffic of a memory is one task. This task waits for buffer space
  (room), and the Einsums that use its operands wait for it.
* The first fill, the last drain and work outside the steps belong to no step. The uniform walk
  keeps them apart (``StepProgram.once``), and a timing adds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Literal, NamedTuple

from einsum_cascade.memo import cached_property

from ..steps.run_length import length
from .program import StepProgram


@dataclass(frozen=True, slots=True)
class GraphTask:
    """Work of a resource that happens once a step.

    ``occupancy`` is the time for which the resource is busy; ``latency`` is the time from the start
    until the result can be used (at least the occupancy). Both are in cycles.
    """

    name: str
    resource: str
    occupancy: Fraction
    latency: Fraction


class GraphDependency(NamedTuple):
    """Dependency: task ``after`` at step k waits for task ``before`` at step k - distance.

    If ``room`` is set, the dependency limits the tiles in flight: ``after`` waits until ``before``
    has left its resource. Otherwise ``after`` waits for the result of ``before``.
    """

    before: int
    after: int
    distance: int
    why: str = ""
    room: bool = False


class TimedEdge(NamedTuple):
    """Constraint between two tasks in periods.

    ``after`` starts at least ``weight`` units of time after the start of ``before``, ``tokens``
    periods earlier.
    """

    before: int
    after: int
    weight: int
    tokens: int
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class EventGraph:
    """Tasks of an average step with their dependencies, and the number of steps."""

    tasks: tuple[GraphTask, ...]
    dependencies: tuple[GraphDependency, ...]
    steps: int
    numbers: tuple[int, ...] = ()
    """Number of the program's task for each task; the first, if loads and drains form one task."""

    def at_most(self, steps: int) -> EventGraph:
        """Return the graph with at most ``steps`` steps; cached properties are carried over."""
        # Cached properties are in ``vars``; none of them depends on ``steps``.
        found = object.__new__(EventGraph)
        vars(found).update(vars(self), steps=min(self.steps, steps))
        return found

    @cached_property
    def members(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the tasks on each resource, in written order."""
        found: dict[str, tuple[int, ...]] = {}
        for number, task in enumerate(self.tasks):
            found[task.resource] = (*found.get(task.resource, ()), number)
        return found

    @cached_property
    def resource(self) -> tuple[int, ...]:
        """Number of the resource of every task; resources are numbered as in ``members``."""
        number = {name: i for i, name in enumerate(self.members)}
        return tuple(number[t.resource] for t in self.tasks)

    @cached_property
    def unit(self) -> int:
        """Time units per cycle: the fewest that make all occupancies and latencies whole."""
        return lcm(*(x.denominator for t in self.tasks for x in (t.occupancy, t.latency)))

    @cached_property
    def occupancy(self) -> tuple[int, ...]:
        """Occupancy of every task in time units."""
        return self._units(t.occupancy for t in self.tasks)

    @cached_property
    def latency(self) -> tuple[int, ...]:
        """Latency of every task in time units."""
        return self._units(t.latency for t in self.tasks)

    def _units(self, times: Iterable[Fraction]) -> tuple[int, ...]:
        """Return times, given in cycles, as whole numbers of time units."""
        return tuple(x.numerator * (self.unit // x.denominator) for x in times)

    @cached_property
    def edges(self) -> tuple[TimedEdge, ...]:
        """Dependencies as timed edges, in time units; tokens are distances in steps."""
        found: list[TimedEdge] = []
        for before, after, distance, why, room in self.dependencies:
            delay = self.occupancy[before] if room else self.latency[before]
            found.append(TimedEdge(before, after, delay, distance, why))
        return tuple(found)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Least time from the start of a step to the start of each of its tasks, in time units."""
        chains = ((e.before, e.after, e.weight) for e in self.edges if e.tokens == 0)
        return _longest([0 for _ in self.tasks], [*chains])

    @cached_property
    def tails(self) -> tuple[int, ...]:
        """Least time from the start of every task to the last result of its step, in time units."""
        chains = ((e.after, e.before, e.weight) for e in self.edges if e.tokens == 0)
        return _longest(self.latency, [*chains])

    @cached_property
    def work(self) -> tuple[int, ...]:
        """Time for which each resource is busy in a step, in time units."""
        return tuple(sum(self.occupancy[i] for i in m) for m in self.members.values())


def _longest(least: Iterable[int], chains: list[tuple[int, int, int]]) -> tuple[int, ...]:
    """Return the earliest times that keep all delays, given as (before, after, delay).

    ``least`` holds lower bounds of the times. A cycle of delays must take no time.
    """
    found, known = [*least], None
    while found != known:
        known = [*found]
        for before, after, delay in chains:
            if found[before] + delay > found[after]:
                found[after] = found[before] + delay
    return tuple(found)


class Issue(NamedTuple):
    """Fixed order in which resources issue the tasks of a step.

    Task ``i`` runs ``stage[i]`` steps behind the newest one. ``position[i]`` orders the tasks of
    one period, on one resource and across resources.
    """

    stage: tuple[int, ...]
    position: tuple[int, ...]


def period_edges(graph: EventGraph, issue: Issue) -> tuple[TimedEdge, ...]:
    """Return all constraints of a graph under an order of issue, as edges between periods.

    Period j runs task i on step j - stage[i]. A dependency of distance d therefore spans ``d +
    stage[after] - stage[before]`` periods. The order of a resource adds an edge from each task to
    the next one. It also adds an edge from the last task to the first task of the next period.

    >>> one, two = Fraction(1), Fraction(2)
    >>> make = GraphTask(name="A", resource="one", occupancy=two, latency=two)
    >>> use = GraphTask(name="B", resource="other", occupancy=one, latency=one)
    >>> flow = GraphDependency(before=0, after=1, distance=0)
    >>> graph = EventGraph(tasks=(make, use), dependencies=(flow,), steps=8)
    >>> edges = period_edges(graph, Issue(stage=(0, 1), position=(0, 1)))
    >>> [(e.before, e.after, e.weight, e.tokens) for e in edges]  # B works a step behind A
    [(0, 1, 2, 1), (0, 0, 2, 1), (1, 1, 1, 1)]
    """
    edges = [
        e._replace(tokens=e.tokens + issue.stage[e.after] - issue.stage[e.before])
        for e in graph.edges
    ]
    for resource, members in graph.members.items():
        order = sorted(members, key=lambda i: (issue.position[i], i))
        for first, then in zip(order, order[1:] + order[:1], strict=True):
            wraps = int(then == order[0])
            edges.append(TimedEdge(first, then, graph.occupancy[first], wraps, resource))
    return tuple(edges)


@dataclass(frozen=True, slots=True)
class CriticalCycle:
    """Cycle of a graph with the largest ratio of time to periods, and that ratio in units per
    period."""

    mean: Fraction
    edges: tuple[TimedEdge, ...]


class DeadlockError(ValueError):
    """Error for a cycle without tokens, in which each task waits for itself."""

    def __init__(self, edges: tuple[TimedEdge, ...]) -> None:
        super().__init__("a cycle of dependencies within one step")
        self.edges = edges


def maximum_cycle_mean(nodes: int, edges: Sequence[TimedEdge], least: int = 0) -> CriticalCycle:
    """Return the cycle with the largest weight per token of all cycles of a graph.

    In the example, a producer takes 3 cycles and a consumer takes 2, with one tile in flight.
    Another resource is busy for 4 cycles a step:

    >>> edges = [TimedEdge(0, 1, 3, 0), TimedEdge(1, 0, 2, 1), TimedEdge(1, 1, 4, 1)]
    >>> found = maximum_cycle_mean(2, edges)
    >>> found.mean, [(e.before, e.after) for e in found.edges]
    (Fraction(5, 1), [(0, 1), (1, 0)])

    Parameters
    ----------
    nodes : int
        Tasks, numbered from 0.
    edges : sequence of TimedEdge
        Weights in units of time, tokens in periods.
    least : int
        Lower bound of the answer; returned without edges if no cycle exceeds it.

    Raises
    ------
    DeadlockError
        A cycle of positive weight carries no token.
    """
    best = CriticalCycle(Fraction(least), ())
    while cycle := positive_cycle(nodes, edges, best.mean):
        tokens = sum(e.tokens for e in cycle)
        if tokens <= 0:
            raise DeadlockError(cycle)
        best = CriticalCycle(Fraction(sum(e.weight for e in cycle), tokens), cycle)
    return best


def positive_cycle(nodes: int, edges: Sequence[TimedEdge], mean: Fraction) -> tuple[TimedEdge, ...]:
    """Return a cycle whose weight per token exceeds ``mean``, or no edges (Bellman-Ford)."""
    longest = [0] * nodes
    through: dict[int, TimedEdge] = {}
    # Multiplied by the denominator, all weights are whole: a cycle's sum is positive exactly if its
    # weight per token exceeds the mean.
    reduced = [
        (e.before, e.after, e.weight * mean.denominator - mean.numerator * e.tokens, e)
        for e in edges
    ]
    # All nodes begin at 0, as if a source led to each. Without a positive cycle, the longest paths
    # settle after as many rounds as there are nodes.
    node = -1
    for _ in range(nodes + 1):
        node = -1
        for before, after, weight, edge in reduced:
            reach = longest[before] + weight
            if reach > longest[after]:
                longest[after] = reach
                through[after] = edge
                node = after
        if node < 0:
            return ()
    # Walk back along the causes: after so many steps, every walk has entered the cycle.
    for _ in range(nodes):
        node = through[node].before
    cycle = [through[node]]
    while cycle[-1].before != node:
        cycle.append(through[cycle[-1].before])
    return tuple(reversed(cycle))


def average_step(
    program: StepProgram,
    *,
    memories: tuple[str, ...] = (),
    distance: Literal["longest", "shortest"] = "longest",
) -> EventGraph:
    """Return the average step of a program, in which each task takes its mean time over all steps.

    Parameters
    ----------
    memories : tuple of str
        Memories whose loads and drains together become one task, to time the step. Empty to find an
        order of issue, which ignores drains.
    distance : {"longest", "shortest"}
        Distance that a dependency gets if its distance differs between classes of steps.
    """
    steps = length(program.run_lengths)
    tasks: list[GraphTask] = []
    graph_tasks: dict[int, int] = {}
    groups = _groups(program, memories)
    for group in groups:
        first = program.tasks[group[0]]
        # Cycles of the whole run, spread evenly over all steps, also those in which the task does
        # not run.
        share = program.busy(program.tasks[i] for i in group) / steps
        name = first.resource if first.resource in memories else first.name
        graph_tasks |= {i: len(tasks) for i in group if program.tasks[i].role != "drain"}
        tasks.append(GraphTask(name, first.resource, share, share + first.late))
    found: list[GraphDependency] = []
    for d in program.dependencies:
        known = [x for x in d.distance if x is not None]
        outside = program.tasks[d.before].outside or program.tasks[d.after].outside
        if not known or outside or (d.pace and memories):
            continue
        if d.before in graph_tasks and d.after in graph_tasks:
            steps_between = max(known) if distance == "longest" else min(known)
            before, after = graph_tasks[d.before], graph_tasks[d.after]
            found.append(GraphDependency(before, after, steps_between, d.why, d.room))
    numbers = tuple(group[0] for group in groups)
    return EventGraph(tasks=tuple(tasks), dependencies=tuple(found), steps=steps, numbers=numbers)


def _groups(program: StepProgram, memories: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Return groups of program tasks; each group becomes one task of the average step.

    The tasks of each memory form a group, and each working task forms its own. Without memories,
    each task forms its own group, and drains are left out.
    """
    numbered = [*enumerate(program.tasks)]
    if not memories:
        return [(i,) for i, t in numbered if t.role != "drain"]
    moving = (tuple(i for i, t in numbered if t.resource == memory) for memory in memories)
    return [*filter(None, moving), *((i,) for i, t in numbered if t.role == "work")]
