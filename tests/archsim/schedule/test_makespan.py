"""The makespan of event graphs against a discrete-event simulation without shortcuts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import lcm
from random import Random

import pytest
from event_queue import run_events
from portions import some
from random_graphs import bounded, random_graph, random_issue

from archsim.engine.timing import makespan
from archsim.schedule.event_graph import (
    EventGraph,
    GraphDependency,
    GraphTask,
    Issue,
    maximum_cycle_mean,
    period_edges,
)
from archsim.schedule.modulo import modulo_schedule


@pytest.mark.parametrize("seed", some(range(250), 2))
def test_equals_the_event_queue(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random)
    for issue in (modulo_schedule(graph), random_issue(random, graph)):
        expected, _ = run_events(graph, issue)
        assert makespan(graph, issue).cycles == expected


@pytest.mark.parametrize("seed", range(40))
def test_advances_by_the_maximum_cycle_mean(seed: int) -> None:
    """Twice as many steps take longer by the cycle mean each, once the start is over."""
    random = Random(1000 + seed)
    graph = bounded(random, random_graph(random))
    issue = modulo_schedule(graph)
    mean = maximum_cycle_mean(len(graph.tasks), period_edges(graph, issue)).mean / graph.unit
    # A multiple of every number of tokens a critical cycle can have here.
    steps = lcm(*range(1, 41))
    short = makespan(replace(graph, steps=steps), issue)
    long = makespan(replace(graph, steps=2 * steps), issue)
    assert (long.cycles - short.cycles) / steps == mean
    assert long.fired < 3000 * len(graph.tasks)


def _two(lookahead: int, steps: int, late: int = 1000) -> EventGraph:
    """A fast producer and consumer with a late result and a window between them."""
    tasks = (
        GraphTask(name="a", resource="x", occupancy=Fraction(1), latency=Fraction(1 + late)),
        GraphTask(name="b", resource="y", occupancy=Fraction(1), latency=Fraction(1)),
    )
    flow = GraphDependency(before=0, after=1, distance=0)
    room = GraphDependency(before=1, after=0, distance=lookahead, room=True)
    return EventGraph(tasks=tasks, dependencies=(flow, room), steps=steps)


@pytest.mark.parametrize("lookahead", [1, 2, 3, 13, 37, 100])
def test_bursts_of_any_length_are_jumped_over(lookahead: int) -> None:
    """A window of w tiles gives bursts of w; 10^9 steps take as many periods as 10^4."""
    issue = Issue(stage=(0, 0), position=(0, 1))
    expected, _ = run_events(_two(lookahead, 500), issue)
    assert makespan(_two(lookahead, 500), issue).cycles == expected
    # A burst: w starts in a row, then the wait for the first result to come back.
    steps = 10**9
    bursts, rest = divmod(steps - 1, lookahead)
    last = bursts * max(1002, lookahead) + rest
    found = makespan(_two(lookahead, steps), issue)
    assert found.cycles == last + 1001 + 1
    assert found.fired < 10_000


def test_parts_without_a_link_do_not_wait_for_one_another() -> None:
    """Two rates never repeat together; apart they do, and the longer one decides."""
    tasks = tuple(
        GraphTask(name=n, resource=n, occupancy=Fraction(c), latency=Fraction(c))
        for n, c in (("fast", 2), ("slow", 3))
    )
    graph = EventGraph(tasks=tasks, dependencies=(), steps=10**12)
    found = makespan(graph, Issue(stage=(0, 0), position=(0, 1)))
    assert found.cycles == 3 * 10**12
    assert found.fired < 200


def test_a_wide_window_on_one_resource_costs_nothing() -> None:
    """What a value of 10^6 steps ago allows, the order of its resource implies."""
    task = GraphTask(name="a", resource="x", occupancy=Fraction(2), latency=Fraction(2000))
    carried = GraphDependency(before=0, after=0, distance=10**6)
    graph = EventGraph(tasks=(task,), dependencies=(carried,), steps=10**9)
    found = makespan(graph, Issue(stage=(0,), position=(0,)))
    assert found.cycles == 2 * (10**9 - 1) + 2000
    assert found.fired < 200


def test_times_stay_exact_beyond_64_bits() -> None:
    third = Fraction(10**18 + 1, 3)
    task = GraphTask(name="a", resource="x", occupancy=third, latency=third)
    graph = EventGraph(tasks=(task,), dependencies=(), steps=10**12)
    found = makespan(graph, Issue(stage=(0,), position=(0,)))
    assert found.cycles == third * 10**12


def test_a_single_step_is_the_longest_path() -> None:
    graph = replace(_two(3, 1), steps=1)
    assert makespan(graph, Issue(stage=(0, 0), position=(0, 1))).cycles == 1002


def test_an_order_that_no_other_can_surpass_is_taken() -> None:
    """A producer that never waits for room keeps in step with its consumer."""
    assert modulo_schedule(_two(4, 100, late=0)).stage == (0, 0)


def test_where_the_busiest_resource_never_waits_fill_and_drain_are_all_there_is() -> None:
    """A fill of 30, 3 units a step on the slower resource, and 7 after its last one."""
    tasks = tuple(
        GraphTask(name=n, resource=n, occupancy=Fraction(c), latency=Fraction(late))
        for n, c, late in (("first", 2, 30), ("slow", 3, 5), ("last", 1, 5))
    )
    flow = tuple(GraphDependency(before=i, after=i + 1, distance=0) for i in (0, 1))
    room = GraphDependency(before=2, after=0, distance=90, room=True)
    graph = EventGraph(tasks=tasks, dependencies=(*flow, room), steps=10**9)
    found = makespan(graph, Issue(stage=(0, 10, 12), position=(0, 1, 2)))
    assert found.cycles == 30 + 3 * 10**9 + 2 + 5
    assert found.fired < 600
