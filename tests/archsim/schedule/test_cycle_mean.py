"""The maximum cycle mean against every simple cycle of small graphs."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.schedule.event_graph import DeadlockError, TimedEdge, maximum_cycle_mean


def every_ratio(nodes: int, edges: list[TimedEdge]) -> list[tuple[int, int]]:
    """(weight, tokens) of every simple cycle, parallel edges taken one by one."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(nodes))
    for number, e in enumerate(edges):
        # A node in the middle of each edge keeps parallel edges apart.
        graph.add_edge(e.before, ("edge", number))
        graph.add_edge(("edge", number), e.after)
    found = []
    for cycle in nx.simple_cycles(nx.DiGraph(graph)):
        used = [edges[n[1]] for n in cycle if isinstance(n, tuple)]
        found.append((sum(e.weight for e in used), sum(e.tokens for e in used)))
    return found


def graphs() -> st.SearchStrategy[tuple[int, list[TimedEdge]]]:
    return st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(
                st.builds(
                    TimedEdge,
                    st.integers(0, n - 1),
                    st.integers(0, n - 1),
                    st.integers(0, 30),
                    st.integers(0, 4),
                ),
                max_size=11,
            ),
        )
    )


@settings(max_examples=examples(400), deadline=None)
@given(graphs())
def test_equals_the_best_simple_cycle(case: tuple[int, list[TimedEdge]]) -> None:
    nodes, edges = case
    ratios = every_ratio(nodes, edges)
    if any(weight > 0 and tokens == 0 for weight, tokens in ratios):
        with pytest.raises(DeadlockError, match="within one step"):
            maximum_cycle_mean(nodes, edges)
        return
    expected = max((Fraction(w, t) for w, t in ratios if t), default=Fraction(0))
    found = maximum_cycle_mean(nodes, edges)
    assert found.mean == expected
    if expected:
        assert_is_cycle(found.edges)
        weight = sum(e.weight for e in found.edges)
        assert Fraction(weight, sum(e.tokens for e in found.edges)) == expected


def assert_is_cycle(edges: tuple[TimedEdge, ...]) -> None:
    closed = [*edges, edges[0]]
    assert all(a.after == b.before for a, b in pairwise(closed))


def test_a_deadlock_names_its_cycle() -> None:
    edges = [TimedEdge(0, 1, 3, 0, "x"), TimedEdge(1, 0, 2, 0, "y"), TimedEdge(1, 2, 9, 1)]
    with pytest.raises(DeadlockError) as caught:
        maximum_cycle_mean(3, edges)
    assert {e.why for e in caught.value.edges} == {"x", "y"}


def test_weights_and_tokens_of_any_size() -> None:
    """10^30 units over 10^6 tokens beat 10^23 over one by a hair; no float could tell."""
    slow = TimedEdge(0, 0, 10**30 + 1, 10**6)
    fast = TimedEdge(1, 1, 10**24, 1)
    assert maximum_cycle_mean(2, [slow, fast]).mean == Fraction(10**30 + 1, 10**6)


def test_a_large_graph() -> None:
    """A ring of 200 tasks with chords; the answer is built in."""
    random = Random(3)
    edges = [TimedEdge(i, (i + 1) % 200, 1, 1) for i in range(200)]
    edges += [TimedEdge(random.randrange(200), random.randrange(200), 1, 2) for _ in range(400)]
    edges += [TimedEdge(17, 18, 5, 1), TimedEdge(18, 17, 6, 1)]
    assert maximum_cycle_mean(200, edges).mean == Fraction(11, 2)
