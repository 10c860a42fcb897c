"""Groups and cycles against networkx, which knows graphs well and loads slowly."""

import networkx
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascade.graphs import connected, on_cycles, strongly_connected

NAMES = st.sampled_from("abcdefgh")
EDGES = st.lists(st.tuples(NAMES, NAMES), max_size=12)


@given(names=st.lists(NAMES, max_size=6), edges=EDGES)
def test_groups_are_the_connected_components_in_the_same_order(names, edges):
    graph = networkx.Graph()
    graph.add_nodes_from(names)
    graph.add_edges_from(edges)
    assert connected(names, edges) == tuple(map(frozenset, networkx.connected_components(graph)))


@given(edges=EDGES)
def test_an_edge_is_on_a_cycle_where_its_end_leads_back_to_its_start(edges):
    graph = networkx.DiGraph(edges)
    back = {(a, b) for a, b in edges if networkx.has_path(graph, b, a)}
    assert on_cycles(edges) == back


@given(edges=EDGES)
def test_what_is_reached_comes_before_what_reaches_it(edges):
    graph = networkx.DiGraph(edges)
    groups = strongly_connected({n: list(graph.successors(n)) for n in graph})
    assert set(groups) == set(map(frozenset, networkx.strongly_connected_components(graph)))
    place = {name: i for i, group in enumerate(groups) for name in group}
    assert all(place[b] <= place[a] for a, b in edges)
