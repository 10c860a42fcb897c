"""Orders of issue: legal for any graph, and as good as the busiest resource allows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from random import Random

import pytest
from event_queue import delay_of, run_events
from random_graphs import bounded, chain, random_graph

from archsim.engine.timing import makespan
from archsim.schedule.event_graph import EventGraph, Issue, maximum_cycle_mean, period_edges
from archsim.schedule.modulo import modulo_schedule


@pytest.mark.parametrize("seed", range(120))
def test_every_order_is_legal(seed: int) -> None:
    """No dependency points back in time, none runs in a circle within a period, and every
    task starts on its resource in the order that was promised."""
    random = Random(seed)
    graph = bounded(random, random_graph(random))
    issue = modulo_schedule(graph)
    assert min(issue.stage) == 0
    edges = period_edges(graph, issue)
    assert all(e.tokens >= 0 for e in edges)
    maximum_cycle_mean(len(graph.tasks), edges)
    _, starts = run_events(graph, issue)
    for resource in graph.members:
        turns = sorted(
            (step + issue.stage[i], issue.position[i], i, time)
            for (i, step), time in starts.items()
            if graph.tasks[i].resource == resource
        )
        times = [time for *_, time in turns]
        assert times == sorted(times)
    for d in graph.dependencies:
        for step in range(d.distance, graph.steps):
            assert starts[d.after, step] >= starts[d.before, step - d.distance] + delay_of(graph, d)


@pytest.mark.parametrize("seed", range(40))
def test_with_room_the_busiest_array_never_waits(seed: int) -> None:
    """A chain with a wide window settles at the busiest resource's work per step."""
    graph = chain(Random(seed), lookahead=12)
    issue = modulo_schedule(graph)
    busiest = max(sum(graph.occupancy[i] for i in m) for m in graph.members.values())
    mean = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue)).mean
    assert mean == busiest


@pytest.mark.parametrize("seed", range(30))
def test_no_fixed_order_is_much_better(seed: int) -> None:
    """Against every order of stages up to two and positions, in short runs of small graphs."""
    random = Random(seed)
    graph = chain(random, lookahead=random.randint(1, 3))
    graph = replace(graph, tasks=graph.tasks[:4], steps=20)
    inside = [d for d in graph.dependencies if max(d.before, d.after) < len(graph.tasks)]
    graph = replace(graph, dependencies=tuple(inside))
    found = makespan(graph, modulo_schedule(graph)).cycles
    best = min(makespan(graph, issue).cycles for issue in every_issue(graph))
    assert found <= best * Fraction(5, 4)


def every_issue(graph: EventGraph) -> list[Issue]:
    """All legal orders with up to three stages."""
    count = len(graph.tasks)
    found = []
    for stage in product(range(3), repeat=count):
        if any(stage[d.after] + d.distance < stage[d.before] for d in graph.dependencies):
            continue
        for position in permutations(range(count)):
            edges = [
                (d.before, d.after)
                for d in graph.dependencies
                if stage[d.after] + d.distance == stage[d.before]
            ]
            if all(position[a] < position[b] for a, b in edges):
                found.append(Issue(stage=stage, position=position))
    return found
