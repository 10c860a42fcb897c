"""Absent elements stay absent: missing selections, and elements that a mask removes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pointwise import evaluate_pointwise
from portions import examples
from random_picks import HEAD, picked

from einsum_cascade import Cascade


@settings(max_examples=examples(80), deadline=None, derandomize=True)
@given(picked(), st.integers(0, 2**20))
def test_a_pick_that_does_not_exist_is_absent_for_whatever_comes_later(
    text: str, seed: int
) -> None:
    program = Cascade.parse(text).program
    rng = np.random.default_rng(seed)
    shapes = {"P": 4, "M": 4, "E": 2, "J": 3, "B": 3}
    inputs = {t.name: rng.normal(size=[shapes[r] for r in t.ranks]) for t in program.inputs}
    found = Cascade(program).evaluate(inputs, keep="all", J=3)
    for tensor, wanted in evaluate_pointwise(program, inputs, shapes).items():
        np.testing.assert_allclose(found[tensor], wanted, rtol=1e-12, err_msg=f"{tensor} of {text}")


def test_scores_of_picks_that_do_not_exist_are_nothing_to_a_softmax() -> None:
    """Query 0 sees one key and has room for three picks: its softmax is over that key alone."""
    cascade = Cascade.parse(
        HEAD.replace(", B: {is: of picks, like: J}", "")
        + """outputs: [O, N]
einsums: |
  X[m, p] = S[m, p] where m <= p
  I[p, j] << topk(X[m, p], j)
  QK[p, j] = Q[p, e] * K[I[p, j], e]
  SN[p, j] = exp(QK[p, j])
  N[p] = SN[p, j]
  O[p] = SN[p, j] * V[I[p, j]] / N[p]
"""
    )
    rng = np.random.default_rng(0)
    q, k, s = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 4))
    v = np.array([5.0, 6.0, 7.0, 8.0])
    found = cascade.evaluate({"Q": q, "K": k, "S": s, "V": v}, J=3)
    scores = np.exp(q @ k.T)
    for p in range(4):
        best = sorted(range(p + 1), key=lambda m: -s[m, p])[:3]
        weights = scores[p, best]
        np.testing.assert_allclose(found["N"][p], weights.sum())
        np.testing.assert_allclose(found["O"][p], weights @ v[best] / weights.sum())


def test_what_whole_fibers_lack_is_absent_after_a_reduction_along_them() -> None:
    """``p`` alone decides: a sum over m of what is absent at p is absent, repeated mask or not."""
    head = "cascade: a\nranks: [M, P]\ninputs: {X: [M, P]}\noutputs: [R]\neinsums: |\n"
    x = np.arange(6.0).reshape(2, 3)
    for again in ("", " where p >= 1"):
        lines = ["Y[m, p] = X[m, p] where p >= 1", f"S[p] = Y[m, p]{again}", "R = exp(S[p])"]
        text = head + "".join(f"  {line}\n" for line in lines)
        found = Cascade.parse(text).evaluate({"X": x})["R"]
        np.testing.assert_allclose(found, np.exp(5) + np.exp(7))


def test_a_query_without_keys_is_there() -> None:
    """Return the mask depends on what is reduced: the reduction is over nothing, and gives that."""
    head = "cascade: a\nranks: [M, P]\ninputs: {X: [M, P]}\noutputs: [S, R]\neinsums: |\n"
    lines = ["Y[m, p] = X[m, p] where m < p", "S[p] = Y[m, p]", "R = exp(S[p])"]
    text = head + "".join(f"  {line}\n" for line in lines)
    found = Cascade.parse(text).evaluate({"X": np.ones((2, 3))})
    np.testing.assert_allclose(found["S"], [0, 1, 2])
    np.testing.assert_allclose(found["R"], 1 + np.e + np.e**2)
