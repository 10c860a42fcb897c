"""A discrete-event simulation of a timed event graph: a heap of events, no shortcuts.

Every resource holds a queue of all its turns, (task, step), in the order of issue. A turn
starts when it is the first of its queue, the resource is free, and every dependency that
exists (its step is not before the first) has sent its word ``delay`` after its start.
"""

from __future__ import annotations

import heapq
from collections import deque
from fractions import Fraction

from archsim.schedule.event_graph import EventGraph, GraphDependency, Issue

Turn = tuple[int, int]
"""GraphTask number and step."""


def run_events(graph: EventGraph, issue: Issue) -> tuple[Fraction, dict[Turn, Fraction]]:
    """Cycles until the last result, and the start of every task at every step."""
    queues = _queues(graph, issue)
    waiting = {
        (d_after, step): 0 for d_after in range(len(graph.tasks)) for step in range(graph.steps)
    }
    for d in graph.dependencies:
        for step in range(d.distance, graph.steps):
            waiting[d.after, step] += 1
    busy = dict.fromkeys(queues, False)
    starts: dict[Turn, Fraction] = {}
    end = Fraction(0)
    events: list[tuple[Fraction, int, str, object]] = []
    count = 0

    def post(time: Fraction, kind: str, what: object) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (time, count, kind, what))

    for resource in queues:
        post(Fraction(0), "free", resource)
    while events:
        now, _, kind, what = heapq.heappop(events)
        if kind == "word":
            assert isinstance(what, tuple)
            waiting[what] -= 1
            resource = graph.tasks[what[0]].resource
        else:
            resource = str(what)
            busy[resource] = False
        queue = queues[resource]
        if busy[resource] or not queue or waiting[queue[0]] > 0:
            continue
        task, step = queue.popleft()
        starts[task, step] = now
        busy[resource] = True
        end = max(end, now + graph.tasks[task].latency)
        post(now + graph.tasks[task].occupancy, "free", resource)
        for d in graph.dependencies:
            if d.before == task and step + d.distance < graph.steps:
                post(now + delay_of(graph, d), "word", (d.after, step + d.distance))
    assert not any(queues.values()), "some turn never starts"
    return end, starts


def delay_of(graph: EventGraph, d: GraphDependency) -> Fraction:
    """Cycles from the start of a task until a dependency on it is met."""
    before = graph.tasks[d.before]
    return before.occupancy if d.room else before.latency


def _queues(graph: EventGraph, issue: Issue) -> dict[str, deque[Turn]]:
    turns: dict[str, list[tuple[int, int, int, int]]] = {t.resource: [] for t in graph.tasks}
    for number, task in enumerate(graph.tasks):
        for step in range(graph.steps):
            period = step + issue.stage[number]
            turns[task.resource].append((period, issue.position[number], number, step))
    return {r: deque((n, s) for _, _, n, s in sorted(found)) for r, found in turns.items()}
