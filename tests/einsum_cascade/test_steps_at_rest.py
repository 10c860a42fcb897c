"""A state without a shift hinders no coordinate from standing still."""

from __future__ import annotations

import itertools

import pytest

from einsum_cascade import Cascade
from einsum_cascade.passes.nodes import nodes_of
from einsum_cascade.passes.traversals import Traversals, _same_possible

NAMES = (
    "attention-sliding-window",
    "landmark-attention",
    "mamba-s6",
    "super-token-attention",
)


@pytest.mark.parametrize("hopeful", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_still_allows_the_same_coordinate_on_both_sides(name: str, hopeful: bool) -> None:
    program = Cascade.load(name).program
    traversals = Traversals.of(program, nodes_of(program))
    traversals = traversals.hoped if hopeful else traversals
    variables = tuple({v for n in traversals.dependences.nodes for v in n.variables})
    steps = [
        step
        for found in traversals.dependences.reached.values()
        for several in found.values()
        for step in several
    ]
    assert steps
    for step, v in itertools.product(steps, variables):
        assert not step.still or _same_possible(step, v, variables)
