"""A state without a shift hinders no coordinate from standing still."""

from __future__ import annotations

import itertools

import pytest

from einsum_cascade import Cascade
from einsum_cascade.passes.nodes import nodes_of
from einsum_cascade.passes.relations import _after_edge
from einsum_cascade.passes.traversals import Traversals, _same_possible

NAMES = ("attention-sliding-window", "landmark-attention", "mamba-s6", "super-token-attention")


@pytest.mark.parametrize("is_optimistic", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_still_allows_the_same_coordinate_on_both_sides(
    name: str, is_optimistic: bool
) -> None:
    program = Cascade.load(name).program
    traversals = Traversals.of(program, nodes_of(program))
    traversals = traversals.optimistic if is_optimistic else traversals
    variables = tuple({v for n in traversals.dependences.nodes for v in n.variables})
    steps = [
        step
        for found in traversals.dependences.reached.values()
        for several in found.values()
        for step in several
    ]
    assert steps
    for step, v in itertools.product(steps, variables):
        assert not step.at.still or _same_possible(step, v, variables)


@pytest.mark.parametrize("is_optimistic", [False, True])
def test_what_is_kept_of_states_is_what_is_found_of_each(is_optimistic: bool) -> None:
    program = Cascade.load("landmark-attention").program
    traversals = Traversals.of(program, nodes_of(program))
    traversals = traversals.optimistic if is_optimistic else traversals
    found = traversals.dependences
    steps = [s for of in found.reached.values() for chains in of.values() for s in chains]
    assert len({s.at for s in steps}) < len(steps), "some states are reached twice"
    for step in steps:
        if step.before is None:
            continue
        edges = [e for e in found.edges if (e.writer, e.reader) == (step.before.node, step.node)]
        node = found.node_of[step.node]
        assert step.at.state in [
            found.closed(_after_edge(step.before.at.state, e), node) for e in edges
        ]
    for rank in ("M", "N", "P"):
        _check_pairs(traversals, rank)


def _check_pairs(traversals: Traversals, rank: str) -> None:
    """Each pair is as it is found by itself, and shared as any two coordinates say."""
    traversing = traversals.along(rank)
    directions, provenance = traversals.directions(traversing), traversals.provenance
    pairs = {(p.earlier, p.later): p for p in traversals.pairs(rank, traversing)}
    assert pairs
    for earlier, later in itertools.product(traversing, repeat=2):
        steps = traversals.dependences.reached[earlier].get(later, ())
        ends = (traversing[earlier], traversing[later])
        nodes = tuple(traversals.dependences.node_of[name] for name in (earlier, later))
        signs = tuple(
            (directions[earlier, a], directions[later, b]) for a, b in itertools.product(*ends)
        )
        order, kept = traversals._kept(rank, (nodes[0], nodes[1]), ends, signs, steps)
        pair = pairs.get((earlier, later))
        assert bool(kept) == (pair is not None)
        if pair is not None:
            assert (pair.order, pair.steps) == (order, tuple(steps[i] for i in kept))
            assert pair.shared == any(
                {*provenance.of(nodes[0], a)} & {*provenance.of(nodes[1], b)}
                for a, b in itertools.product(*ends)
            )
