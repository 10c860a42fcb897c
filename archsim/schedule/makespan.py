"""Makespan of a timed event graph for a given number of steps, exactly.

Every task starts as early as its dependencies and the order of issue allow. After a transient, the
starts of all connected tasks advance by the same amount every few periods. The system is (max,+)
linear, so that they continue to do so, and the repeated part is jumped over.

Lower bounds are heads and tails around the work of a resource (Carlier, *The one-machine sequencing
problem*, 1982). A resource cannot begin a task before the chain of results that leads to the task
(its *head*). After its last task, the chain that follows is still to come (its *tail*).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .event_graph import EventGraph, Issue
from .order_kernel import bound_makespan


@dataclass(frozen=True, slots=True)
class Makespan:
    """Cycles until the last result, and the number of periods that were run."""

    cycles: Fraction
    simulated_periods: int


@dataclass(frozen=True, slots=True)
class _Flat:
    """Connected tasks in firing order; times are in units of the graph.

    Tasks are numbered by firing order. ``tasks`` holds (number, stage, resource, occupancy,
    dependencies); the dependencies are (before, delay, periods ago), without those that the order
    of a common resource implies.
    """

    stage: tuple[int, ...]
    resource: tuple[int, ...]
    latency: tuple[int, ...]
    tasks: tuple[tuple[int, int, int, int, tuple[tuple[int, int, int], ...]], ...]
    window: int
    """Number of periods on which the next one depends."""
    work: tuple[int, ...]
    """Work of every resource of the graph for these tasks in a step."""
    after: tuple[int, ...]
    """Least time that follows the work of every resource."""


_Row = list[int | None]
"""Starts of one period's tasks; None if the task's step does not exist."""


class _PeriodRun:
    """State of a run: the time at which each resource is free, and the starts so far."""

    def __init__(self, flat: _Flat, steps: int) -> None:
        self.flat = flat
        self.steps = steps
        self.free = [0] * len(flat.work)
        self.history: list[_Row] = []
        self.last: list[int] = [0] * len(flat.stage)

    def fire(self, period: int) -> None:
        """Run one period's tasks in the order of issue."""
        free, history, last = self.free, self.history, self.last
        row: _Row = [None] * len(last)
        if len(history) > 2 * self.flat.window:
            # No task waits for an earlier period.
            del history[: -self.flat.window]
        history.append(row)
        known = len(history)
        for i, stage, resource, occupancy, incoming in self.flat.tasks:
            if not 0 <= period - stage < self.steps:
                continue
            start = free[resource]
            for before, delay, ago in incoming:
                if ago < known:
                    earlier = history[-1 - ago][before]
                    if earlier is not None and earlier + delay > start:
                        start = earlier + delay
            row[i] = last[i] = start
            free[resource] = start + occupancy

    def jump(self, time: int) -> None:
        """Move all past events ``time`` later."""
        self.free = [f + time for f in self.free]
        self.last = [s + time for s in self.last]
        recent = self.history[-self.flat.window :]
        self.history = [[None if s is None else s + time for s in row] for row in recent]

    @property
    def end(self) -> int:
        """Time at which the last result can be used; a task's starts never decrease."""
        return max(s + x for s, x in zip(self.last, self.flat.latency, strict=True))

    def settled_end(self, period: int) -> int | None:
        """Return the end if it is certain once all tasks have turns from a ``period`` on.

        No run ends before a resource has done its work and the chain that follows. If all tasks can
        keep pace with the busiest resource, and their last turns end just at that bound, the run
        ends there too, because each task starts as early as it can.
        """
        flat = self.flat
        left = self.steps - period
        rate = max(flat.work)
        starts = self._in_step(rate)
        if starts is None or left < flat.window:
            return None
        least = [
            now + left * x + late
            for now, x, late in zip(self.free, flat.work, flat.after, strict=True)
        ]
        for _, stage, resource, occupancy, _ in flat.tasks:
            least[resource] += stage * occupancy
        later = _PeriodRun(flat, self.steps)
        later.history = [[s + n * rate for s in starts] for n in range(left - flat.window, left)]
        later.last = [s + (left - 1) * rate for s in starts]
        for i, _, resource, occupancy, _ in flat.tasks:
            later.free[resource] = later.last[i] + occupancy
        for n in range(max(flat.stage)):
            later.fire(self.steps + n)
        return later.end if later.end == max(least) else None

    def _in_step(self, rate: int) -> list[int] | None:
        """Return starts in the next period if every task advances by ``rate`` units a period.

        None if some task cannot keep up.
        """
        flat, history = self.flat, self.history
        starts = [0] * len(flat.stage)
        first: dict[int, int] = {}
        for i, _, resource, _, incoming in flat.tasks:
            starts[i] = self.free[resource]
            first.setdefault(resource, i)
            for before, delay, ago in incoming:
                # A task ago - back periods after the next one waits for the turn ``back`` periods
                # ago, which was run; by then that turn is later by as many rates.
                for back in range(1, min(ago, len(history)) + 1):
                    earlier = history[-back][before]
                    if earlier is not None:
                        starts[i] = max(starts[i], earlier + delay - rate * (ago - back))
        # A round settles one more task of every chain: more rounds mean a cycle that never settles.
        for _ in range(len(starts) + 1):
            free = {r: starts[i] for r, i in first.items()}
            settled = True
            for i, _, resource, occupancy, incoming in flat.tasks:
                start = max(starts[i], free[resource])
                for before, delay, ago in incoming:
                    start = max(start, starts[before] + delay - rate * ago)
                settled = settled and start == starts[i]
                starts[i] = start
                free[resource] = start + occupancy
            for resource, i in first.items():
                if free[resource] - rate > starts[i]:
                    starts[i] = free[resource] - rate
                    settled = False
            if settled:
                return starts
        return None


_MODULUS = (1 << 61) - 1
# Polynomial hash of the last ``window`` shapes, modulo the prime 2**61 - 1. A collision costs one
# comparison, because ``_repeats`` compares the starts themselves.
_BASE = 1_000_003


class _SteadyState:
    """Detector of a steady state: periods whose starts repeat earlier ones, later.

    The next period depends on a *window* of recent periods. The window is compared with that of a
    mark that moves on by powers of two (Brent's method), so that a repetition of any length is
    found. A rolling hash of the steps between periods spares most comparisons.

    ``engine.kernel`` applies the same method to programs with nested loops.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.now = -1
        self.mark = 0
        self.kept: list[_Row] = []
        """Window at the mark."""
        self.reach = 1
        self.length = 0
        self.advance = 0
        self.shapes: deque[int] = deque()
        self.hash = 0
        self.marked = -1
        self.lost = pow(_BASE, window, _MODULUS)

    def found(self, history: list[_Row]) -> bool:
        """Return whether the last periods repeat earlier ones."""
        self.now += 1
        self._roll(history)
        if self.hash == self.marked and self._repeats(history):
            return True
        if self.now - self.mark >= self.reach:
            self.mark, self.marked, self.reach = self.now, self.hash, 2 * self.reach
            self.kept = history[-self.window :]
        return False

    def _roll(self, history: list[_Row]) -> None:
        """Add the newest period's shape to the hash, and remove the oldest one.

        A shape is the offset of each start from the first task's start, and of that start from the
        period before. Windows of equal shapes differ only in their begin. The oldest shape counts
        with the base to the power ``window`` once a new one has come (``lost``).
        """
        row = history[-1]
        before = history[-2][0] if len(history) > 1 else None
        base = row[0]
        if base is None:
            shape = hash((None, *row))
        else:
            step = None if before is None else base - before
            shape = hash((step, *[None if s is None else s - base for s in row]))
        self.shapes.append(shape)
        value = self.hash * _BASE + shape
        if len(self.shapes) > self.window:
            value -= self.lost * self.shapes.popleft()
        self.hash = value % _MODULUS

    def _repeats(self, history: list[_Row]) -> bool:
        self.length = self.now - self.mark
        if len(self.kept) < self.window:
            return False
        advance = _advance(history[-1], self.kept[-1])
        if advance is None:
            return False
        self.advance = advance
        earlier = zip(history[-self.window :], self.kept, strict=True)
        return all(_advance(row, before) == advance for row, before in earlier)


def makespan(graph: EventGraph, issue: Issue) -> Makespan:
    """Run all steps of a graph, jumping over the repeated part.

    Returns
    -------
    Makespan
        Time from the start of the first task to the availability of the last result.

    >>> from .event_graph import GraphDependency, GraphTask
    >>> make = GraphTask(name="A", resource="one", occupancy=Fraction(3), latency=Fraction(3))
    >>> use = GraphTask(name="B", resource="other", occupancy=Fraction(2), latency=Fraction(2))
    >>> flow = GraphDependency(before=0, after=1, distance=0, delay=Fraction(3))
    >>> graph = EventGraph(tasks=(make, use), dependencies=(flow,), steps=1000)
    >>> found = makespan(graph, Issue(stage=(0, 0), position=(0, 1)))
    >>> str(found.cycles), found.simulated_periods < 10
    ('3002', True)
    """
    end = simulated = 0
    for flat in _flatten(graph, issue):
        ended, periods = _run(flat, graph.steps)
        end = max(end, ended)
        simulated += periods
    return Makespan(Fraction(end, graph.unit), simulated)


def _run(flat: _Flat, steps: int) -> tuple[int, int]:
    """Return the end of connected tasks, and the number of periods that were run."""
    run = _PeriodRun(flat, steps)
    repetition: _SteadyState | None = _SteadyState(flat.window)
    late = max(flat.stage)
    # In period ``late`` the task of the highest stage has its first turn, and in ``last`` its last
    # turn.
    period, last = min(flat.stage), steps - 1 + late
    look = late + 1
    simulated = 0
    while period <= last:
        run.fire(period)
        simulated += 1
        period += 1
        if period == look and period < steps:
            # A run that is not settled yet needs about as long again.
            look *= 2
            if (end := run.settled_end(period)) is not None:
                return end, simulated
        if repetition is not None and period <= steps and repetition.found(run.history):
            rounds = (steps - period) // repetition.length
            run.jump(rounds * repetition.advance)
            period += rounds * repetition.length
            repetition = None
    return run.end, simulated


_Waits = list[list[tuple[int, int, int]]]
"""Dependencies of each task: (before, delay, periods ago)."""


def _waits(graph: EventGraph, issue: Issue) -> tuple[_Waits, int, tuple[int, ...] | None]:
    """Return the dependencies of tasks, the window of periods, and the firing order."""
    stage, occupancy = issue.stage, graph.occupancy
    incoming: _Waits = [[] for _ in graph.tasks]
    first: list[tuple[int, int]] = []
    window = 0
    for before, after, weight, tokens, together in graph.arcs:
        ago = tokens + stage[after] - stage[before]
        if ago <= 0:
            assert ago == 0, "an order of issue respects dependencies"
            first.append((before, after))
        # On one resource, all turns of the first task in between come before the second.
        if together and weight <= max(1, min(tokens, ago)) * occupancy[before]:
            continue
        incoming[after].append((before, weight, ago))
        if ago > window:
            window = ago
    return incoming, window + 1, _firing_order(graph, issue, first)


def _flatten(graph: EventGraph, issue: Issue) -> list[_Flat]:
    """Return the parts of a graph that share neither a resource nor a dependency."""
    stage, occupancy, resource = issue.stage, graph.occupancy, graph.resource
    incoming, _, order = _waits(graph, issue)
    assert order is not None, "an order of issue has no cycle within a period"
    _, after = bound_makespan(graph, issue)
    found: list[_Flat] = []
    for part in graph.parts:
        tasks = [i for i in order if i in part]
        place = {i: n for n, i in enumerate(tasks)}
        waits = [tuple((place[b], delay, ago) for b, delay, ago in incoming[i]) for i in tasks]
        found.append(
            _Flat(
                stage=tuple(stage[i] for i in tasks),
                resource=tuple(resource[i] for i in tasks),
                latency=tuple(graph.latency[i] for i in tasks),
                tasks=tuple(
                    (n, stage[i], resource[i], occupancy[i], wait)
                    for n, (i, wait) in enumerate(zip(tasks, waits, strict=True))
                ),
                window=max((ago for w in waits for _, _, ago in w), default=0) + 1,
                work=tuple(
                    x if part.intersection(members) else 0
                    for x, members in zip(graph.work, graph.members.values(), strict=True)
                ),
                after=tuple(after),
            )
        )
    return found


def _firing_order(
    graph: EventGraph, issue: Issue, first: list[tuple[int, int]]
) -> tuple[int, ...] | None:
    """Sort the tasks of a period so that those waited for within the period, ``first``, come
    first.

    None if some wait for themselves: a task that takes no time may share its position with a task
    that has to come after it.
    """
    position = issue.position
    by_position = sorted(range(len(position)), key=position.__getitem__)
    if all((position[b], b) < (position[a], a) for b, a in first):
        return tuple(by_position)
    waits: list[set[int]] = [set() for _ in position]
    for before, after in first:
        waits[after].add(before)
    for members in graph.members.values():
        order = sorted(members, key=lambda i: (position[i], i))
        for before, then in pairwise(order):
            waits[then].add(before)
    done: list[int] = []
    fired: set[int] = set()
    left = list(range(len(waits)))
    while left:
        ready = [i for i in left if waits[i] <= fired]
        if not ready:
            return None
        done.extend(ready)
        fired.update(ready)
        left = [i for i in left if i not in fired]
    return tuple(done)


def _advance(now: _Row, before: _Row) -> int | None:
    """Return by how much all tasks of a period start later than in an earlier one; None if they
    differ."""
    if now[0] is None or before[0] is None:
        return None
    advance = now[0] - before[0]
    for a, b in zip(now, before, strict=True):
        if a is None or b is None or a - b != advance:
            return None
    return advance
