"""Orders of issue are remembered for graphs of which the same order is chosen, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from random_graphs import bounded, random_graph

from archsim.schedule import modulo, policy
from archsim.schedule.event_graph import EventGraph, Issue
from archsim.schedule.modulo import modulo_schedule
from einsum_cascade.memo import Cache


def forget() -> None:
    """Drop all orders that the process has chosen."""
    modulo._ORDERS = Cache(policy.MAX_CACHED_ORDERS)


def worked_out(graph: EventGraph) -> Issue:
    """The slow way: nothing is remembered."""
    forget()
    return modulo_schedule(graph)


def known(graph: EventGraph) -> bool:
    """Whether a graph's order is not worked out again."""
    return modulo._ORDERS.find(modulo._key(graph)) is not None


def in_other_words(graph: EventGraph) -> EventGraph:
    """The same with other names and reasons."""
    return EventGraph(
        tasks=tuple(
            replace(t, name=f"other {t.name}", resource=f"other {t.resource}") for t in graph.tasks
        ),
        dependencies=tuple(d._replace(why="another") for d in graph.dependencies),
        steps=graph.steps,
    )


def drawn(seed: int) -> EventGraph:
    random = Random(seed)
    return bounded(random, random_graph(random))


def test_orders_are_those_that_are_worked_out() -> None:
    graphs = [drawn(seed) for seed in range(40)]
    expected = [worked_out(graph) for graph in graphs]
    forget()
    for graph in graphs:
        modulo_schedule(graph)
    assert [modulo_schedule(in_other_words(graph)) for graph in graphs] == expected
    assert len(modulo._ORDERS) <= len(graphs)


def test_steps_beyond_those_that_are_tried_make_no_difference() -> None:
    graph = replace(drawn(1), steps=1000)
    expected = worked_out(replace(graph, steps=10**6))
    worked_out(graph)
    assert known(replace(graph, steps=10**6))
    assert modulo_schedule(graph) == expected
    assert not known(replace(graph, steps=2))


def slower(graph: EventGraph) -> EventGraph:
    first, *others = graph.tasks
    # By a whole unit, so that all others take as many units as before.
    more = Fraction(1)
    longer = replace(first, occupancy=first.occupancy + more, latency=first.latency + more)
    return replace(graph, tasks=(longer, *others))


def later(graph: EventGraph) -> EventGraph:
    first, *others = graph.tasks
    return replace(graph, tasks=(replace(first, latency=first.latency + 1), *others))


def alone(graph: EventGraph) -> EventGraph:
    first, *others = graph.tasks
    return replace(graph, tasks=(replace(first, resource="its own"), *others))


def room(graph: EventGraph) -> EventGraph:
    first, *others = graph.dependencies
    return replace(graph, dependencies=(first._replace(room=not first.room), *others))


def farther(graph: EventGraph) -> EventGraph:
    first, *others = graph.dependencies
    return replace(graph, dependencies=(first._replace(distance=first.distance + 1), *others))


@pytest.mark.parametrize("change", [slower, later, alone, room, farther])
def test_what_an_order_depends_on_tells_graphs_apart(
    change: Callable[[EventGraph], EventGraph],
) -> None:
    graphs = (drawn(seed) for seed in range(40))
    graph = next(g for g in graphs if g.dependencies and len(g.members) < len(g.tasks))
    worked_out(graph)
    assert known(graph)
    assert not known(change(graph))
