"""Ranks that are declared to have one shape: queries and keys of one sequence."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascade import Cascade, CascadeError, EvaluationError
from einsum_cascade.affine import Families
from einsum_cascade.ir import Affine
from einsum_cascade.masks import conjuncts, inequalities
from einsum_cascade.notation import program_text
from einsum_cascade.shapes import resolve_shapes
from einsum_cascade.yaml.library import builtin_names

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
    assert program.share_shape("M", "P")
    assert program.share_shape("P", "M")
    assert not program.share_shape("P", "F")


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


@pytest.mark.parametrize("name", ["lightning-attention", "linear-attention-causal"])
def test_masks_aligned_at_the_first_key_want_as_many_keys_as_queries(name: str) -> None:
    """These cascades are parallel forms of recurrences with one step per key: P < M has no
    start."""
    cascade = Cascade.load(name)
    inputs = {"Q": np.ones((3, 2)), "K": np.ones((5, 2)), "V": np.ones((5, 2))}
    given = {"lam": 0.5} if name == "lightning-attention" else {}
    with pytest.raises(EvaluationError, match="M and P are declared alike, but M = 5, P = 3"):
        cascade.evaluate(inputs, **given)
    with pytest.raises(CascadeError, match="declared alike"):
        cascade.analyze().subs({"P": 3, "M": 5})


@pytest.mark.parametrize("rule", ["partition:M=M1,M0", "partition:P=P1,P0"])
def test_a_rank_that_is_like_another_may_be_cut(rule: str) -> None:
    derived = Cascade.load("lightning-attention").rewrite(rule).program
    assert derived.share_shape("M", "P")
    assert sum(bool(r.partition) for r in derived.ranks) == 1


@pytest.mark.parametrize("name", builtin_names("cascades"))
def test_a_mask_that_compares_two_positions_says_how_they_are_aligned(name: str) -> None:
    """By their shapes (``m <= p + M - P``), or by ranks that are as long as each other."""
    program = Cascade.load(name).program
    families = Families.of(program)
    parts = [
        families.fold(part)
        for e in program.einsums
        for c in conjuncts(e.where)
        for part in inequalities(c)
        if isinstance(part, Affine)
    ]
    for form in parts:
        signs = sorted(form.coefficient(v) or 0 for v in form.variables)
        ranks = [program.rank_of_variable[v] for v in form.variables]
        fixed = any(program.rank_of[r].shape for r in ranks)
        if signs == [-1, 1] and not form.shape_terms and not fixed:
            members = [program.rank_of[r].family for r in ranks]
            assert program.share_shape(*ranks) or members[0] == members[1] is not None, ranks
