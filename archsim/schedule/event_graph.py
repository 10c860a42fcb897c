"""Timed event graph of a schedule: tasks, dependencies, and the order of issue.

One *step* is one iteration of the shared nest. Every task happens once a step: an Einsum on its
array, or a memory that moves a step's share of its traffic. With a dependency of distance d, a task
of step k waits for another task of step k - d. Each resource issues its tasks in a fixed cyclic
order, task ``i`` for the step ``stage[i]`` behind the newest one, so that the graph is (max,+)
linear. Times are exact: fractions of a cycle in the input, whole numbers of a common unit in
computations.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from einsum_cascade.memo import cached_property


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """Constraint: ``after`` (step k) starts ``delay`` cycles or more after ``before`` (step k -
    distance).

    ``room`` marks a limit on tiles in flight, as opposed to a flow of data.
    """

    before: int
    after: int
    distance: int
    delay: Fraction
    why: str = ""
    room: bool = False


class TimedEdge(NamedTuple):
    """Constraint between periods: ``weight`` units of time, ``tokens`` periods later."""

    before: int
    after: int
    weight: int
    tokens: int
    why: str = ""


class Arc(NamedTuple):
    """Dependency of a run; ``together`` is True if its tasks share a resource."""

    before: int
    after: int
    weight: int
    tokens: int
    together: bool


@dataclass(frozen=True, kw_only=True)
class EventGraph:
    """Tasks with their dependencies, and the number of steps."""

    tasks: tuple[GraphTask, ...]
    dependencies: tuple[GraphDependency, ...]
    steps: int

    def at_most(self, steps: int) -> EventGraph:
        """Return the graph with at most so many steps, and with all cached properties."""
        # Cached properties are in ``vars``; none of them depends on ``steps``.
        found = object.__new__(EventGraph)
        vars(found).update(vars(self), steps=min(self.steps, steps))
        return found

    @cached_property
    def members(self) -> dict[str, tuple[int, ...]]:
        """Task numbers by resource, in written order."""
        found: dict[str, tuple[int, ...]] = {}
        for number, task in enumerate(self.tasks):
            found[task.resource] = (*found.get(task.resource, ()), number)
        return found

    @cached_property
    def resource(self) -> tuple[int, ...]:
        """Resource of every task, by number in the order of ``members``."""
        number = {name: i for i, name in enumerate(self.members)}
        return tuple(number[t.resource] for t in self.tasks)

    @cached_property
    def parts(self) -> tuple[frozenset[int], ...]:
        """Connected parts: tasks linked by dependencies or a common resource."""
        parts = [frozenset(members) for members in self.members.values()]
        for e in self.dependencies:
            # If both ends are in one part, nothing changes; else the two parts become one.
            touched = [p for p in parts if e.before in p or e.after in p]
            if len(touched) > 1:
                rest = [p for p in parts if p not in touched]
                parts = [*rest, frozenset().union(*touched)]
        return tuple(parts)

    @cached_property
    def unit(self) -> int:
        """Units of time per cycle that make every time a whole number."""
        times = [d.delay for d in self.dependencies]
        times += [x for t in self.tasks for x in (t.occupancy, t.latency)]
        return lcm(*(t.denominator for t in times))

    @cached_property
    def occupancy(self) -> tuple[int, ...]:
        """Occupancy of every task in units."""
        return tuple(_units(t.occupancy, self.unit) for t in self.tasks)

    @cached_property
    def latency(self) -> tuple[int, ...]:
        """Latency of every task in units."""
        return tuple(_units(t.latency, self.unit) for t in self.tasks)

    @cached_property
    def edges(self) -> tuple[TimedEdge, ...]:
        """Dependencies in units; tokens are distances in steps."""
        return tuple(
            TimedEdge(d.before, d.after, _units(d.delay, self.unit), d.distance, d.why)
            for d in self.dependencies
        )

    @cached_property
    def arcs(self) -> tuple[Arc, ...]:
        """Dependencies in units, with a mark on those within one resource."""
        return tuple(
            Arc(
                e.before,
                e.after,
                e.weight,
                e.tokens,
                self.resource[e.before] == self.resource[e.after],
            )
            for e in self.edges
        )

    @cached_property
    def work(self) -> tuple[int, ...]:
        """Work of every resource in a step, in units."""
        return tuple(sum(self.occupancy[i] for i in m) for m in self.members.values())

    @cached_property
    def busiest(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Numbers and tasks of the resources with most work: one, or several with equal work."""
        each = enumerate(zip(self.members.values(), self.work, strict=True))
        return tuple((n, members) for n, (members, work) in each if work == max(self.work))

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Least time from the start of a step to every task, in units."""
        forward = [(a.before, a.after, a.weight) for a in self.arcs if not a.tokens]
        return longest_chains([0] * len(self.tasks), forward)

    @cached_property
    def tails(self) -> tuple[int, ...]:
        """Least time from the start of every task to the end of its step, in units."""
        backward = [(a.after, a.before, a.weight) for a in self.arcs if not a.tokens]
        return longest_chains(list(self.latency), backward)


def longest_chains(found: list[int], links: list[tuple[int, int, int]]) -> tuple[int, ...]:
    """Return the length of the longest chain that ends at every task.

    Parameters
    ----------
    found : list of int
        Length at each task without a chain, in units; changed in place.
    links : list of tuple
        (Task, later task, delay in units).
    """
    # The links form no cycle: a chain has fewer links than there are tasks.
    for _ in found:
        settled = True
        for one, other, weight in links:
            if found[one] + weight > found[other]:
                found[other] = found[one] + weight
                settled = False
        if settled:
            break
    return tuple(found)


def least_of_any(graph: EventGraph) -> int:
    """Return a lower bound of the makespan of all steps in any order of issue, in units.

    Some task comes first on a busiest resource, and some task comes last.
    """
    around = (
        min(graph.heads[i] for i in members)
        + min(graph.tails[i] - graph.occupancy[i] for i in members)
        for _, members in graph.busiest
    )
    return graph.steps * max(graph.work) + max(around)


def _units(cycles: Fraction, unit: int) -> int:
    """Return cycles in units; every time is a whole number of units."""
    return cycles.numerator * (unit // cycles.denominator)


class Issue(NamedTuple):
    """Fixed order of issue.

    Task ``i`` runs ``stage[i]`` steps behind the newest one; ``position[i]`` orders the tasks of
    one period, on one resource and across resources.
    """

    stage: tuple[int, ...]
    position: tuple[int, ...]


def period_edges(graph: EventGraph, issue: Issue) -> tuple[TimedEdge, ...]:
    """Return all constraints of a graph under an order of issue, in periods.

    Period j runs task i on step j - stage[i]; a dependency of distance d then spans ``d +
    stage[after] - stage[before]`` periods. The order of a resource adds an edge from each task to
    the next, and from the last to the first of the next period.

    >>> one, two = Fraction(1), Fraction(2)
    >>> make = GraphTask(name="A", resource="one", occupancy=two, latency=two)
    >>> use = GraphTask(name="B", resource="other", occupancy=one, latency=one)
    >>> flow = GraphDependency(before=0, after=1, distance=0, delay=two)
    >>> graph = EventGraph(tasks=(make, use), dependencies=(flow,), steps=8)
    >>> edges = period_edges(graph, Issue(stage=(0, 1), position=(0, 1)))
    >>> [(e.before, e.after, e.weight, e.tokens) for e in edges]  # B works a step behind A
    [(0, 1, 2, 1), (0, 0, 2, 1), (1, 1, 1, 1)]
    """
    edges = [
        TimedEdge(
            e.before,
            e.after,
            e.weight,
            e.tokens + issue.stage[e.after] - issue.stage[e.before],
            e.why,
        )
        for e in graph.edges
    ]
    for resource, members in graph.members.items():
        order = sorted(members, key=lambda i: (issue.position[i], i))
        for first, then in zip(order, order[1:] + order[:1], strict=True):
            wraps = int(then == order[0])
            edges.append(TimedEdge(first, then, graph.occupancy[first], wraps, resource))
    return tuple(edges)
