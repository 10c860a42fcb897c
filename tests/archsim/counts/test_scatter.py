"""Scattered results: what is written where, once; on a machine, counted as it is walked."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from bound_cases import counted, walked
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_mappings import random_machine, random_mapping
from nest_walker import NestWalker
from portions import examples

from archsim import Architecture
from archsim.counts.accesses import count_einsum
from archsim.legality.binding import bind
from archsim.nest.binder import bind_loops
from archsim.nest.tiling import build_tiling
from archsim.validation.inputs import random_inputs, random_shapes
from archsim.validation.mapped import execute_mapped
from einsum_cascade import Cascade, CascadeError
from einsum_cascade.algebra.excerpt import excerpt
from einsum_cascade.errors import EvaluationError
from mappers.construct.einsum_by_einsum import einsum_by_einsum

GIVEN = """
cascade: given
ranks: {N: rows, J: kept, E: width, K: inner}
inputs: {I: [J], X: [J, K], W: [K, E], Y: [N, E]}
domains: {I: 0..N-1}
outputs: [C, S, R, D]
einsums: |
  C[I[j], e] = X[j, k] * W[k, e]
  S[e]       = C[n, e]
  R[n]       = C[n, e] :: max[e]
  D[n, e]    = exp(R[n]) + Y[n, e]
"""
PICKED = """
cascade: picked
parallel: [B]
ranks: {M: rows, J: kept, E: width, P: {is: queries, like: M}}
inputs: {SC: [M, P], X: [J, P, E], Y: [M, P]}
outputs: [C, D, T]
einsums: |
  IX[p, j]          << topk(SC[m, p], j) where m <= p
  C[IX[p, j], p, e] = X[j, p, e] * SC[IX[p, j], p]
  D[m, p]           = C[m, p, e]
  T[m, p]           = exp(D[m, p]) * Y[m, p]
"""
SHAPES = [{"N": 5, "J": 3, "E": 2, "K": 2}, {"N": 4, "J": 4, "E": 3, "K": 1}]


def drawn(text: str, seed: int) -> tuple[Cascade, dict[str, int], dict[str, Any]]:
    cascade = Cascade.parse(text)
    rng = np.random.default_rng(seed)
    shapes = random_shapes(cascade.program, {}, rng)
    return cascade, shapes, random_inputs(cascade.program, shapes, rng)


def by_hand(given: dict[str, Any]) -> dict[str, Any]:
    """GIVEN element by element; rows that nothing writes have no largest element."""
    rows, width = given["Y"].shape
    found: dict[int, Any] = {}
    for j, n in enumerate(given["I"]):
        assert int(n) not in found
        found[int(n)] = given["X"][j] @ given["W"]
    result = {"C": np.zeros((rows, width)), "R": np.zeros(rows), "D": np.zeros((rows, width))}
    for n, row in found.items():
        result["C"][n], result["R"][n] = row, row.max()
        result["D"][n] = np.exp(row.max()) + given["Y"][n]
    return result | {"S": result["C"].sum(axis=0)}


@settings(max_examples=examples(10), deadline=None, derandomize=True)
@given(st.integers(0, 999))
def test_each_element_is_where_its_position_says(seed: int) -> None:
    cascade, _, inputs = drawn(GIVEN, seed)
    found = cascade.evaluate(inputs)
    for name, wanted in by_hand(inputs).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12, atol=1e-12)


def test_what_is_picked_may_be_put_back() -> None:
    """A query that sees fewer rows than it is to pick writes as many as there are."""
    cascade, _, inputs = drawn(PICKED, 3)
    found = cascade.evaluate(inputs)
    for b, p in np.ndindex(*inputs["SC"].shape[::2]):
        scores = inputs["SC"][b, : p + 1, p]
        order = np.argsort(-scores, kind="stable")[: inputs["X"].shape[1]]
        wanted = np.zeros(found["C"].shape[1::2])
        wanted[order] = inputs["X"][b, : len(order), p] * scores[order, None]
        np.testing.assert_allclose(found["C"][b, :, p], wanted)
        there = np.isin(np.arange(len(wanted)), order)
        raised = np.where(there, np.exp(wanted.sum(axis=-1)) * inputs["Y"][b, :, p], 0)
        np.testing.assert_allclose(found["T"][b, :, p], raised)


def test_a_place_is_written_once() -> None:
    cascade = Cascade.parse(GIVEN)
    given = {"X": np.ones((3, 2)), "W": np.ones((2, 2)), "Y": np.ones((5, 2))}
    with pytest.raises(EvaluationError, match=r"'C' is written twice at \[4, 0\]"):
        cascade.evaluate({**given, "I": [4, 0, 4]})
    with pytest.raises(EvaluationError, match="'I' is 5 at"):
        cascade.evaluate({**given, "I": [4, 0, 5]})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("domains: {I: 0..N-1}\n", "", "nothing tells how long 'C' is where 'I' points"),
        ("C[I[j], e] =", "C[I[j] + 1, e] =", "as they are, without arithmetic"),
        ("C[I[j], e] =", "C[R[j], e] =", "'R' does not hold coordinates"),
        ("W[k, e]\n", "W[k, e] * Y[n, e]\n", "'n' walks the rank along which 'C' is scattered"),
        ("C[I[j], e] =", "C[I[j], e+1] =", "running or selected result like 'C'"),
    ],
)
def test_what_cannot_be_scattered_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(CascadeError, match=said):
        Cascade.parse(GIVEN.replace(old, new))


def test_it_is_printed_analysed_and_rewritten() -> None:
    cascade = Cascade.parse(GIVEN)
    assert Cascade.parse(str(cascade)).program == cascade.program
    assert r"\mathrm{C}_{\mathrm{I}_{j}, e}" in cascade._repr_latex_()
    found = cascade.analyze()
    # I, X, W, Y, and of the results the J rows of C that are written, S, R and D.
    shapes = {"N": 7, "J": 3, "E": 2, "K": 5}
    least = 3 + 15 + 10 + 14 + 6 + 2 + 7 + 14
    assert found.subs(shapes).traffic_min == least
    assert dict(found.subs(shapes).operations)["mac"] == 30
    back = Cascade.parse(GIVEN.replace("S[e]       = C[n, e]", "S[j, e] = C[I[j], e]"))
    # A row is complete where all have been put in place.
    assert back.passes("J").count == 2
    cut = cascade.rewrite("partition:J=J1,J0")
    assert cut.proof is not None
    assert cut.proof.error_float64 < 1e-12


@pytest.mark.parametrize("text", [GIVEN, PICKED])
def test_the_mapped_program_scatters_alike(text: str) -> None:
    machine = Architecture.load("fusemax")
    for seed in range(3):
        cascade, shapes, inputs = drawn(text, seed)
        how = einsum_by_einsum(cascade.program, machine, shapes)
        mapped = execute_mapped(bind(cascade.program, how, machine, shapes), inputs)
        for name, wanted in cascade.evaluate(inputs).items():
            np.testing.assert_allclose(mapped[name], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_the_walk(seed: int) -> None:
    random = Random(seed)
    program = Cascade.parse(GIVEN).program
    shapes = random.choice(SHAPES)
    machine = random_machine(random)
    mapping, sizes = random_mapping(random, program, machine, shapes)
    tiling = build_tiling(program, mapping, shapes, sizes)
    lowered = bind_loops(program, mapping, machine, tiling)
    walk = NestWalker(program, mapping, machine, shapes, sizes)
    for e in lowered.einsums:
        assert counted(count_einsum(lowered, e)) == walked(walk.walk(e.einsum)), e.name


def test_what_is_scattered_to_picks_made_elsewhere_is_as_long_as_these_are_from() -> None:
    """A nest of its own has the picks as an input, and tables of them were of rank '?'."""
    program = Cascade.parse(
        "cascade: table\nranks: {M: keys, E: width, J: picks}\ninputs: {K: [M, E]}\noutput: Z\n"
        "einsums: |\n  X[m] = K[m, e]\n  I[j] << topk(X[m], j)\n  R[I[j], e] = K[I[j], e] * 2\n"
        "  Z[e] = R[m, e]\n"
    ).program
    part = excerpt(program, ("R", "Z"))
    assert part.tensor_ranks["R"] == ("M", "E")
    assert [r.name for r in part.ranks] == ["M", "E", "J"]
    alone = excerpt(program, ("R",))
    assert alone.tensor_ranks["R"] == ("M", "E")
