"""The schedule as a timed event graph: tasks, dependencies, and the order of issue.

One *step* is one iteration of the shared nest. Every task happens once a step: an Einsum
on its array, or a memory moving a step's share of its traffic. A dependency of distance d
makes a task of step k wait for another of step k - d. Each resource issues its tasks in a
fixed cyclic order, task ``i`` for the step ``stage[i]`` behind the newest one, so that the
graph is (max,+) linear. Times are exact: fractions of a cycle as written, whole numbers of
a common unit where they are computed with.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from einsum_cascade.memo import cached_property


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTask:
    """What a resource does once a step.

    ``occupancy`` is how long the resource is busy; ``latency`` how long after its start
    the result can be used (at least the occupancy). Both in cycles.
    """

    name: str
    resource: str
    occupancy: Fraction
    latency: Fraction


class GraphDependency(NamedTuple):
    """``after`` (step k) starts ``delay`` cycles or more after ``before`` (step k - distance).

    ``room`` marks a limit on tiles in flight, apart from the flow of data.
    """

    before: int
    after: int
    distance: int
    delay: Fraction
    why: str = ""
    room: bool = False


class TimedEdge(NamedTuple):
    """A constraint between periods: ``weight`` units of time, ``tokens`` periods later."""

    before: int
    after: int
    weight: int
    tokens: int
    why: str = ""


class Arc(NamedTuple):
    """A dependency as a run asks for it, ``together`` if its tasks are on one resource."""

    before: int
    after: int
    weight: int
    tokens: int
    together: bool


@dataclass(frozen=True, kw_only=True)
class EventGraph:
    """Tasks with their dependencies, and how many steps they run for."""

    tasks: tuple[GraphTask, ...]
    dependencies: tuple[GraphDependency, ...]
    steps: int

    def at_most(self, steps: int) -> EventGraph:
        """The same for no more than so many steps, with all that is known of one step."""
        # Properties that are worked out once are in ``vars``; none of them depends on ``steps``.
        found = object.__new__(EventGraph)
        vars(found).update(vars(self), steps=min(self.steps, steps))
        return found

    @cached_property
    def members(self) -> dict[str, tuple[int, ...]]:
        """GraphTask numbers by resource, in written order."""
        found: dict[str, tuple[int, ...]] = {}
        for number, task in enumerate(self.tasks):
            found[task.resource] = (*found.get(task.resource, ()), number)
        return found

    @cached_property
    def resource(self) -> tuple[int, ...]:
        """The resource of every task, by number in the order of ``members``."""
        number = {name: i for i, name in enumerate(self.members)}
        return tuple(number[t.resource] for t in self.tasks)

    @cached_property
    def parts(self) -> tuple[frozenset[int], ...]:
        """Tasks that hang together by dependencies or a common resource."""
        parts = [frozenset(members) for members in self.members.values()]
        for e in self.dependencies:
            # One part, if both ends are in it already; else the two become one.
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
        """Dependencies in units, and whether they are between tasks of one resource."""
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
        """What every resource does in a step, in units."""
        return tuple(sum(self.occupancy[i] for i in m) for m in self.members.values())

    @cached_property
    def busiest(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Numbers and tasks of the resources that have most to do: one, or some alike."""
        each = enumerate(zip(self.members.values(), self.work, strict=True))
        return tuple((n, members) for n, (members, work) in each if work == max(self.work))

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """What a step takes to come to every task, at the least, in units."""
        forward = [(a.before, a.after, a.weight) for a in self.arcs if not a.tokens]
        return longest_chains([0] * len(self.tasks), forward)

    @cached_property
    def tails(self) -> tuple[int, ...]:
        """What a step takes from the start of every task to its end, at the least, in units."""
        backward = [(a.after, a.before, a.weight) for a in self.arcs if not a.tokens]
        return longest_chains(list(self.latency), backward)


def longest_chains(found: list[int], links: list[tuple[int, int, int]]) -> tuple[int, ...]:
    """The longest chains that end at every task; as many rounds as one has links.

    Parameters
    ----------
    found : list of int
        What every task has without any chain, in units; changed on the way.
    links : list of tuple
        One task, another that comes after it, and how much later, in units.
    """
    # Links between tasks that form no cycle: a chain has fewer links than there are tasks.
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
    """Cycles in units, of which each has a whole number."""
    return cycles.numerator * (unit // cycles.denominator)


class Issue(NamedTuple):
    """The fixed order of issue.

    ``stage[i]`` says how many steps behind the newest one task ``i`` runs; ``position[i]``
    orders the tasks of one period, on one resource and across resources.
    """

    stage: tuple[int, ...]
    position: tuple[int, ...]


def period_edges(graph: EventGraph, issue: Issue) -> tuple[TimedEdge, ...]:
    """All constraints of a graph under an order of issue, in periods.

    Period j runs task i on step j - stage[i]; a dependency of distance d then spans
    ``d + stage[after] - stage[before]`` periods. The order of a resource adds an edge from
    each task to the next, and from the last to the first of the next period.

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
