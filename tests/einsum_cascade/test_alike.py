"""Ranks that are declared to have one shape: queries and keys of one sequence."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascade import Cascade, CascadeError, EvaluationError
from einsum_cascade.notation.printer import program_text
from einsum_cascade.shapes import resolve_shapes

TEXT = """
cascade: running-sum
ranks: {P: queries, M: {is: keys, like: P}, F: features}
inputs: {X: [M, F], Q: [P]}
output: S
init: |
  R[0, f] = 0
einsums: |
  R[p+1, f] = R[p, f] + X[p, f]
  S[p, f] = Q[p] * R[p+1, f]
"""


def test_a_rank_alike_may_walk_the_other() -> None:
    x, q = np.arange(8.0).reshape(4, 2), np.array([1.0, 2.0, 3.0, 4.0])
    found = Cascade.parse(TEXT).evaluate({"X": x, "Q": q})["S"]
    np.testing.assert_allclose(found, q[:, None] * np.cumsum(x, axis=0))


def test_without_the_declaration_it_may_not() -> None:
    with pytest.raises(CascadeError, match="'p' walks rank 'P', but 'X' has 'M' here"):
        Cascade.parse(TEXT.replace("{is: keys, like: P}", "keys"))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(EvaluationError, match="M and P are declared alike, but M = 3, P = 4"):
        Cascade.parse(TEXT).evaluate({"X": np.zeros((3, 2)), "Q": np.zeros(4)})


def test_one_shape_gives_the_other() -> None:
    assert resolve_shapes(Cascade.parse(TEXT).program, {"P": 5, "F": 2})["M"] == 5
    assert resolve_shapes(Cascade.parse(TEXT).program, {"M": 5, "F": 2})["P"] == 5


def test_it_is_printed_and_read_back() -> None:
    program = Cascade.parse(TEXT).program
    assert Cascade.parse(program_text(program)).program == program
    assert program.alike("M", "P")
    assert program.alike("P", "M")
    assert not program.alike("P", "F")


@pytest.mark.parametrize(
    ("ranks", "reason"),
    [
        ("{P: queries, M: {like: N}, F: features}", "'M' is like 'N', which is no rank"),
        ("{P: queries, M: {like: M}, F: features}", "'M' is like 'M', which is no rank"),
        ("{P: queries, M: {like: p}, F: features}", "'p' cannot be a name here"),
    ],
)
def test_mistakes(ranks: str, reason: str) -> None:
    text = TEXT.replace("{P: queries, M: {is: keys, like: P}, F: features}", ranks)
    with pytest.raises(CascadeError, match=reason):
        Cascade.parse(text)
