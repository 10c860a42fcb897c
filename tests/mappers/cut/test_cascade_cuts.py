"""Bytes that cross a cut, and shortest paths over cuts."""

from __future__ import annotations

from itertools import combinations, pairwise
from random import Random

import pytest

from archsim import Architecture
from einsum_cascade import Cascade
from mappers.cut.nest_search import shortest_path, tensor_bytes
from mappers.space.mapspace import Mapspace

SHAPES = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 8, "M": 30}


def test_all_tiles_of_a_rank_are_the_whole_rank_whatever_their_size() -> None:
    """Tiles of 8 keys are 4 of 30, which together would be 32."""
    program, machine = Cascade.load("attention-1pass").program, Architecture.load("fusemax")
    assert program.tensor_ranks["BQK"] == ("M1", "M0", "P")
    for tile in ({}, {"M0": 8}, {"M0": 15}):
        space = Mapspace.of(program, machine, SHAPES | tile)
        assert tensor_bytes(space, "BQK") == 2 * 8 * 30 * 2
    # One maximum of each tile for each query.
    space = Mapspace.of(program, machine, SHAPES | {"M0": 8})
    assert program.tensor_ranks["LM"] == ("M1", "P")
    assert tensor_bytes(space, "LM") == 2 * 8 * 4 * 2


@pytest.mark.parametrize("seed", range(4))
def test_no_path_is_shorter_than_the_shortest(seed: int) -> None:
    random, last = Random(seed), 7
    costs = {pair: random.random() for pair in combinations(range(last + 1), 2)}
    paths = (
        (1, *inner, last) for n in range(last - 1) for inner in combinations(range(2, last), n)
    )
    lengths = {path: sum(costs[pair] for pair in pairwise(path)) for path in paths}
    length, nests = shortest_path(1, last, lambda a, b: costs[a, b])
    assert length == pytest.approx(min(lengths.values()))
    assert lengths[1, *(b for _, b in nests)] == pytest.approx(length)
    assert shortest_path(3, 3, lambda a, b: costs[a, b]) == (0.0, ())
