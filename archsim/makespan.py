"""How long a timed event graph takes for a given number of steps, exactly.

Every task starts as early as its dependencies and the order of issue allow. After a
transient the starts of all tasks advance by the same amount every few periods; as the
system is (max,+) linear they go on doing so, and the repeated part is jumped over.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .event_graph import EventGraph, Issue, period_edges

_LONGEST_CYCLE = 12
"""Periods after which a steady state may repeat."""


@dataclass(frozen=True, slots=True)
class Makespan:
    """Cycles until the last result, and how many periods were run to know it."""

    cycles: Fraction
    simulated_periods: int


@dataclass(frozen=True, slots=True)
class _Flat:
    """A graph in integers: tasks in firing order, times in ``1 / unit`` cycles.

    Dependencies that the order of their common resource implies are left out.
    """

    order: tuple[int, ...]
    stage: tuple[int, ...]
    resource: tuple[int, ...]
    occupancy: tuple[int, ...]
    latency: tuple[int, ...]
    incoming: tuple[tuple[tuple[int, int, int], ...], ...]
    """Per task its dependencies as (before, delay, periods ago)."""
    window: int
    unit: int


_Row = list[int | None]
"""Starts of one period's tasks; None where the task's step does not exist."""


class _Run:
    """The state of a run: when each resource is free, and the last periods' starts."""

    def __init__(self, flat: _Flat, steps: int) -> None:
        self.flat = flat
        self.steps = steps
        self.free = [0] * (max(flat.resource) + 1)
        self.history: list[_Row] = []
        self.end = 0

    def fire(self, period: int) -> None:
        """Run one period's tasks in the order of issue."""
        flat = self.flat
        row: _Row = [None] * len(flat.stage)
        self.history.append(row)
        for i in flat.order:
            if not 0 <= period - flat.stage[i] < self.steps:
                continue
            start = self.free[flat.resource[i]]
            for before, delay, ago in flat.incoming[i]:
                earlier = self.history[-1 - ago][before] if ago < len(self.history) else None
                if earlier is not None and earlier + delay > start:
                    start = earlier + delay
            row[i] = start
            self.free[flat.resource[i]] = start + flat.occupancy[i]
            self.end = max(self.end, start + flat.latency[i])
        del self.history[: -(flat.window + _LONGEST_CYCLE + 1)]

    def jump(self, time: int) -> None:
        """Move everything that happened ``time`` later."""
        self.free = [f + time for f in self.free]
        self.history = [[None if s is None else s + time for s in row] for row in self.history]
        self.end += time


def makespan(graph: EventGraph, issue: Issue, *, jump: bool = True) -> Makespan:
    """Run all steps of a graph.

    Parameters
    ----------
    jump : bool
        Jump over the repeated part; without it every step is fired.

    Returns
    -------
    Makespan
        Time from the start of the first task to the availability of the last result.
    """
    flat = _flatten(graph, issue)
    run = _Run(flat, graph.steps)
    last = graph.steps - 1 + max(flat.stage)
    period = 0
    simulated = 0
    jumped = not jump
    while period <= last:
        run.fire(period)
        simulated += 1
        if not jumped and period < graph.steps:
            found = _repeats(run.history, flat.window)
            if found is not None:
                rounds = (graph.steps - 1 - period) // found[0]
                run.jump(rounds * found[1])
                period += rounds * found[0]
                jumped = True
        period += 1
    return Makespan(Fraction(run.end, flat.unit), simulated)


def _flatten(graph: EventGraph, issue: Issue) -> _Flat:
    names = list(graph.members)
    incoming: list[list[tuple[int, int, int]]] = [[] for _ in graph.tasks]
    for e in graph.edges:
        ago = e.tokens + issue.stage[e.after] - issue.stage[e.before]
        assert ago >= 0, "an order of issue respects dependencies"
        same = graph.tasks[e.before].resource == graph.tasks[e.after].resource
        if not (same and e.weight <= graph.occupancy[e.before]):
            incoming[e.after].append((e.before, e.weight, ago))
    return _Flat(
        order=_firing_order(graph, issue),
        stage=issue.stage,
        resource=tuple(names.index(t.resource) for t in graph.tasks),
        occupancy=graph.occupancy,
        latency=graph.latency,
        incoming=tuple(tuple(i) for i in incoming),
        window=max((ago for i in incoming for _, _, ago in i), default=0) + 1,
        unit=graph.unit,
    )


def _firing_order(graph: EventGraph, issue: Issue) -> tuple[int, ...]:
    """Tasks of one period so that those waited for within it come first."""
    waits: list[set[int]] = [set() for _ in graph.tasks]
    for e in period_edges(graph, issue):
        if e.tokens == 0:
            waits[e.after].add(e.before)
    done: list[int] = []
    while len(done) < len(waits):
        ready = [i for i, w in enumerate(waits) if i not in done and w <= set(done)]
        assert ready, "an order of issue has no cycle within a period"
        done.extend(ready)
    return tuple(done)


def _repeats(history: list[_Row], window: int) -> tuple[int, int] | None:
    """(periods, advance) of a steady state that the last periods show, or None."""
    for length in range(1, _LONGEST_CYCLE + 1):
        if len(history) < window + length:
            return None
        advance = _advance(history[-1], history[-1 - length])
        if advance is not None and all(
            _advance(history[-back], history[-back - length]) == advance
            for back in range(2, window + 1)
        ):
            return length, advance
    return None


def _advance(now: _Row, before: _Row) -> int | None:
    """By how much all tasks of a period start later than in an earlier one, if alike."""
    advances = {None if a is None or b is None else a - b for a, b in zip(now, before, strict=True)}
    return advances.pop() if len(advances) == 1 else None
