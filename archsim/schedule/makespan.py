"""How long a timed event graph takes for a given number of steps, exactly.

Every task starts as early as its dependencies and the order of issue allow. After a
transient the starts of all tasks that hang together advance by the same amount every few
periods; as the system is (max,+) linear they go on doing so, and the repeated part is
jumped over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from .event_graph import EventGraph, Issue


@dataclass(frozen=True, slots=True)
class Makespan:
    """Cycles until the last result, and how many periods were run to know it."""

    cycles: Fraction
    simulated_periods: int


@dataclass(frozen=True, slots=True)
class _Flat:
    """Tasks that hang together, in firing order; times are in units of the graph.

    Tasks are numbered by firing order; ``tasks`` holds them as (number, stage, resource,
    occupancy, dependencies), the dependencies as (before, delay, periods ago) without those
    that the order of a common resource implies.
    """

    stage: tuple[int, ...]
    resource: tuple[int, ...]
    latency: tuple[int, ...]
    tasks: tuple[tuple[int, int, int, int, tuple[tuple[int, int, int], ...]], ...]
    window: int
    """Periods that the next one depends on."""


_Row = list[int | None]
"""Starts of one period's tasks; None where the task's step does not exist."""


class _PeriodRun:
    """The state of a run: when each resource is free, and the starts so far."""

    def __init__(self, flat: _Flat, steps: int) -> None:
        self.flat = flat
        self.steps = steps
        self.free = [0] * (max(flat.resource) + 1)
        self.history: list[_Row] = []
        self.last: list[int] = [0] * len(flat.stage)

    def fire(self, period: int) -> None:
        """Run one period's tasks in the order of issue."""
        free, history, last = self.free, self.history, self.last
        row: _Row = [None] * len(last)
        if len(history) > 2 * self.flat.window:
            # Nothing waits for what is longer ago.
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
        """Move everything that happened ``time`` later."""
        self.free = [f + time for f in self.free]
        self.last = [s + time for s in self.last]
        recent = self.history[-self.flat.window :]
        self.history = [[None if s is None else s + time for s in row] for row in recent]

    @property
    def end(self) -> int:
        """When the last result can be used; a task's starts never decrease."""
        return max(s + x for s, x in zip(self.last, self.flat.latency, strict=True))


_CHECK = 4
"""Periods between two looks at whether a run can still win."""

_MODULUS = (1 << 61) - 1
_BASE = 1_000_003


class _SteadyState:
    """Looks for a steady state: periods whose starts repeat earlier ones', later.

    What the next period depends on, its *window* of recent periods, is compared with that
    of a mark that moves on by powers of two (Brent's method), so that a repetition of any
    length is found. A rolling hash of the steps between periods spares the comparison.

    This is the one place in Python that does so. ``events.kernel`` has the same method
    compiled, on programs whose loops are nested; it takes half a second to import, which an
    average step, of a few hundred short periods, does not.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.now = -1
        self.mark = 0
        self.kept: list[_Row] = []
        """The window at the mark."""
        self.reach = 1
        self.length = 0
        self.advance = 0
        self.shapes: deque[int] = deque()
        self.hash = 0
        self.marked = -1
        self.lost = pow(_BASE, window, _MODULUS)

    def found(self, history: list[_Row]) -> bool:
        """Whether the last periods repeat earlier ones."""
        self.now += 1
        self._roll(history)
        if self.hash == self.marked and self._repeats(history):
            return True
        if self.now - self.mark >= self.reach:
            self.mark, self.marked, self.reach = self.now, self.hash, 2 * self.reach
            self.kept = history[-self.window :]
        return False

    def _roll(self, history: list[_Row]) -> None:
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
    """
    end = simulated = 0
    for flat in _flatten(graph, issue):
        run, periods = _run(flat, graph.steps)
        end = max(end, run.end)
        simulated += periods
    return Makespan(Fraction(end, graph.unit), simulated)


def shortest(graph: EventGraph, issues: Iterable[Issue]) -> Issue:
    """The first of some orders of issue that ends a graph soonest, step by step.

    An order is given up when the work that is left cannot be done in time. The last ones are
    tried first: patience often wins, and the sooner a good one is known, the sooner others
    are given up.
    """
    best: tuple[int, Issue] | None = None
    trials = _Trials(graph)
    for issue in reversed([*issues]):
        end = trials.end(issue, None if best is None else best[0] + 1)
        if end is not None:
            best = (end, issue)
    assert best is not None, "there is an order to choose"
    return best[1]


class _Trials:
    """What is the same of all orders of issue of a graph that are tried."""

    def __init__(self, graph: EventGraph) -> None:
        self.graph = graph
        self.steps = graph.steps
        self.never = -1 - max((arc.weight for arc in graph.arcs), default=0)
        """A start so early that nothing is held up by it."""
        self.resources = len(graph.members)

    def end(self, issue: Issue, limit: int | None) -> int | None:
        """When the last result is there, in units; None if not before ``limit``."""
        incoming, window, order = _waits(self.graph, issue)
        graph, steps, stage = self.graph, self.steps, issue.stage
        tasks = [(i, stage[i], graph.resource[i], graph.occupancy[i], incoming[i]) for i in order]
        free, last = [0] * self.resources, [0] * len(tasks)
        late = max(stage)
        nobody = [self.never] * len(tasks)
        # Nothing has happened before the first period, nor in what a row has no start of.
        history = [nobody] * window
        for period in range(min(stage), steps + late):
            row = nobody[:]
            history.append(row)
            for i, behind, resource, occupancy, waits in tasks:
                if 0 <= period - behind < steps:
                    start = free[resource]
                    for before, delay, ago in waits:
                        reach = history[-1 - ago][before] + delay
                        if reach > start:
                            start = reach
                    row[i] = last[i] = start
                    free[resource] = start + occupancy
            if (
                limit is not None
                and period % _CHECK == 0
                and self._least(free, issue, period) >= limit
            ):
                return None
        end = max(s + x for s, x in zip(last, graph.latency, strict=True))
        return end if limit is None or end < limit else None

    def _least(self, free: list[int], issue: Issue, period: int) -> int:
        """What a run cannot end before: every resource still has its work to do."""
        ahead = list(free)
        graph, steps = self.graph, self.steps
        for resource, occupancy, behind in zip(
            graph.resource, graph.occupancy, issue.stage, strict=True
        ):
            left = steps - period + behind - 1
            if left > 0:
                ahead[resource] += min(left, steps) * occupancy
        return max(ahead)


def _run(flat: _Flat, steps: int) -> tuple[_PeriodRun, int]:
    """Run tasks that hang together; also says how many periods it took."""
    run = _PeriodRun(flat, steps)
    repetition: _SteadyState | None = _SteadyState(flat.window)
    period, last = min(flat.stage), steps - 1 + max(flat.stage)
    simulated = 0
    while period <= last:
        run.fire(period)
        simulated += 1
        if repetition is not None and period < steps and repetition.found(run.history):
            rounds = (steps - 1 - period) // repetition.length
            run.jump(rounds * repetition.advance)
            period += rounds * repetition.length
            repetition = None
        period += 1
    return run, simulated


_Waits = list[list[tuple[int, int, int]]]
"""By task, what it waits for: (before, delay, periods ago)."""


def _waits(graph: EventGraph, issue: Issue) -> tuple[_Waits, int, tuple[int, ...]]:
    """What tasks wait for, the periods that the next one depends on, and the firing order."""
    stage, occupancy = issue.stage, graph.occupancy
    incoming: _Waits = [[] for _ in graph.tasks]
    first: list[tuple[int, int]] = []
    window = 0
    for before, after, weight, tokens, together in graph.arcs:
        ago = tokens + stage[after] - stage[before]
        if ago <= 0:
            assert ago == 0, "an order of issue respects dependencies"
            first.append((before, after))
        # On one resource all turns of the first in between come before the second.
        if together and weight <= max(1, min(tokens, ago)) * occupancy[before]:
            continue
        incoming[after].append((before, weight, ago))
        if ago > window:
            window = ago
    return incoming, window + 1, _firing_order(graph, issue, first)


def _flatten(graph: EventGraph, issue: Issue) -> list[_Flat]:
    """The parts of a graph that share neither a resource nor a dependency."""
    stage, occupancy, resource = issue.stage, graph.occupancy, graph.resource
    incoming, _, order = _waits(graph, issue)
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
            )
        )
    return found


def _firing_order(graph: EventGraph, issue: Issue, first: list[tuple[int, int]]) -> tuple[int, ...]:
    """Tasks of one period so that those waited for within it, ``first``, come first."""
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
        assert ready, "an order of issue has no cycle within a period"
        done.extend(ready)
        fired.update(ready)
        left = [i for i in left if i not in fired]
    return tuple(done)


def _advance(now: _Row, before: _Row) -> int | None:
    """By how much all tasks of a period start later than in an earlier one, if alike."""
    if now[0] is None or before[0] is None:
        return None
    advance = now[0] - before[0]
    for a, b in zip(now, before, strict=True):
        if a is None or b is None or a - b != advance:
            return None
    return advance
