"""The compiled choice of an order of issue, beside the one in Python."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from math import ceil
from random import Random

import pytest
from random_graphs import bounded, random_graph

from archsim.schedule import modulo
from archsim.schedule.cycle_mean import maximum_cycle_mean
from archsim.schedule.event_graph import EventGraph, GraphDependency, GraphTask
from archsim.schedule.makespan import makespan
from archsim.schedule.modulo import JitThreshold
from archsim.schedule.order_kernel import fit


def period_of(graph: EventGraph) -> int:
    """The shortest that dependencies and resources allow."""
    mean = maximum_cycle_mean(len(graph.tasks), graph.edges, least=max(graph.work)).mean
    return max(ceil(mean), 1)


def drawn(seed: int) -> EventGraph:
    """A graph with room or without, of few steps or many."""
    random = Random(seed)
    graph = random_graph(random)
    return bounded(random, graph) if seed % 3 else graph


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_the_same_order_is_chosen(first: int) -> None:
    """Whatever the period that is begun with: one at which little fits, too."""
    chosen: dict[bool, int] = {True: 0, False: 0}
    for seed in range(first, first + 60):
        graph = drawn(seed)
        shortest = period_of(graph)
        for period in {max(shortest // 2, *graph.work, 1), shortest, shortest + 1, 3 * shortest}:
            found = modulo._compiled(graph, period)
            assert found == modulo._in_python(graph, period), (seed, period)
            assert found is not None
            chosen[any(found.stage)] += 1
    assert min(chosen.values()) > 5, chosen


@pytest.mark.parametrize("scale", [1, 10**6, 10**9, 10**12, 10**15, 10**30])
def test_times_of_any_size(scale: int) -> None:
    """Where none may be too long for 64 bits; the others are left to Python."""
    for seed in range(30):
        graph = drawn(seed)
        period = period_of(graph) * scale
        longer = EventGraph(
            tasks=tuple(
                replace(t, occupancy=t.occupancy * scale, latency=t.latency * scale)
                for t in graph.tasks
            ),
            dependencies=tuple(d._replace(delay=d.delay * scale) for d in graph.dependencies),
            steps=graph.steps,
        )
        slacks = [int(slack * period) for slack in modulo._SLACKS]
        found = modulo._compiled(longer, period)
        if fit(longer.at_most(modulo._TRIAL_STEPS), period, slacks):
            assert scale < 10**30
            assert found == modulo._in_python(longer, period)
        else:
            assert scale > 10**9
            assert found is None


def test_a_task_that_takes_no_time_is_not_put_where_it_waits_for_itself() -> None:
    """B comes at the end of A's period, which is where the next one begins: there A comes first,
    and needs the room that B leaves."""
    a = GraphTask(name="A", resource="x", occupancy=Fraction(3), latency=Fraction(8))
    b = GraphTask(name="B", resource="x", occupancy=Fraction(0), latency=Fraction(5))
    data = GraphDependency(before=0, after=1, distance=0, delay=Fraction(8))
    room = GraphDependency(before=1, after=0, distance=3, delay=Fraction(0), room=True)
    graph = EventGraph(tasks=(a, b), dependencies=(data, room), steps=40)
    issue = modulo._in_python(graph, period_of(graph))
    assert issue == modulo._compiled(graph, period_of(graph))
    # As nothing is ahead, each step waits for the one before: 39 times 8, and the last one's 13.
    assert makespan(graph, issue).cycles == 39 * 8 + 13


def test_the_first_graphs_of_a_process_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some where Numba is there, more where it is not."""
    for there, most in ((True, 16), (False, 250)):
        first = JitThreshold()
        if there:
            monkeypatch.setitem(sys.modules, "numba", modulo)
        else:
            monkeypatch.delitem(sys.modules, "numba", raising=False)
        over = [first.over() for _ in range(most + 2)]
        assert over == [False] * most + [True] * 2
