"""Nests that are each spread in a way of their own, where one way for all moves more."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from brief_search import BRIEFLY
from machines import cores

from archsim import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from mappers.cut.nest_search import CutEstimates, search_multi_core
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import SearchProblem, silent
from mappers.relax.search import best_mapping
from mappers.space.mapspace import Mapspace

LATENCY = objective_called("latency")

WEIGHED = """
cascade: weighed
title: heads with weights of their own on keys that they share
ranks: {B: batch, H: heads, D: width, L: latent width, M: keys}
inputs: {X: [B, H, D], W: [H, D, L], C: [B, M, L]}
output: Z
einsums: |
  Y[b, h, l] = X[b, h, d] * W[h, d, l]
  Z[b, h, m] = Y[b, h, l] * C[b, m, l]
"""
SHAPES = {"B": 8, "H": 8, "D": 16, "L": 16, "M": 4}

MACHINE = cores(8, bandwidth="60 GB/s")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Mapspace:
    path = tmp_path_factory.mktemp("nests") / "cores.yaml"
    path.write_text(MACHINE)
    return Mapspace.of(Cascade.parse(WEIGHED).program, Architecture.load(path), SHAPES)


def parts(mapping: Mapping) -> dict[str, int | None]:
    return {s.rank: s.parts for level in mapping.nest for s in level.spatial}


@pytest.mark.slow
def test_heads_are_in_parts_for_weights_and_sequences_for_keys(space: Mapspace) -> None:
    problem = SearchProblem(space, LATENCY)
    one = best_mapping(BRIEFLY, problem, silent)
    found = search_multi_core(BRIEFLY, problem, silent)
    first, second = found.mapping.nests
    # No core reads weights of other heads, nor keys of other sequences.
    assert "B" not in parts(first)
    assert parts(second) == {"B": 8}
    assert found.result.cycles < 0.9 * one.result.cycles
    assert run_mapping(space, found.mapping, LATENCY).value == found.result.cycles
    certificate = found.certificate
    assert certificate.floor == pytest.approx(LATENCY.floor(found.result))
    assert certificate.floor <= certificate.bound <= certificate.value == found.result.cycles
    assert certificate.candidates > one.certificate.candidates
    assert found.runner_up is not None
    assert found.runner_up.mapping == one.mapping


@pytest.mark.slow
def test_other_objectives_and_what_is_good_already_have_one_nest(space: Mapspace) -> None:
    known = run_mapping(
        space, search_multi_core(BRIEFLY, SearchProblem(space, LATENCY), silent).mapping, LATENCY
    )
    problem = SearchProblem(space, LATENCY, tolerance=0.5, known=known)
    again = search_multi_core(BRIEFLY, problem, silent)
    assert again.mapping == known.mapping
    energy = SearchProblem(space, objective_called("energy"))
    assert not search_multi_core(BRIEFLY, energy, silent).mapping.nests


def test_the_shortest_path_is_the_best_of_all_cuts() -> None:
    """Against all cuts one by one, of a cascade of ten blocks."""
    program = Cascade.load("mla-absorbed-2pass").program
    shapes = {"B": 16, "H": 128, "D": 128, "R": 64, "L": 512, "F": 128, "P": 1, "M": 4096}
    cuts = CutEstimates(Mapspace.of(program, Architecture.load("ascend-910b2"), shapes))
    count = len(cuts.blocks)
    assert count == 10
    times = {(a, b): cuts.cost(a, b) for a, b in combinations(range(count + 1), 2)}
    ways = ((0, *inner, count) for n in range(count) for inner in combinations(range(1, count), n))
    assert cuts.best[0] == pytest.approx(min(sum(times[p] for p in pairwise(way)) for way in ways))


def test_no_cut_hands_on_tiles_that_nests_would_have_to_cut_alike() -> None:
    shapes = {"B": 16, "H": 128, "D": 128, "R": 64, "L": 512, "F": 128, "P": 1, "M": 4096}
    program = Cascade.load("mla-absorbed").program
    cuts = CutEstimates(Mapspace.of(program, Architecture.load("ascend-910b2"), shapes))
    first, middle, last = cuts.blocks
    assert (first, last) == (("QC",), ("AV",))
    assert (*first, *middle, *last) == tuple(e.name for e in program.einsums)
