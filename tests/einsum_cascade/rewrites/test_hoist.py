"""Factors that stand inside a sum for nothing are told of, with what takes them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import run as command
from element_by_element import run
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from einsum_cascade import Cascade
from einsum_cascade.algebra.products import hoistable
from einsum_cascade.counting.symbolic import analyze
from einsum_cascade.rewrites import rewrite

HEAD = """cascade: scaled
ranks: {P: queries, E: width, M: keys}
inputs: {Q: [P, E], K: [M, E], W: [P], C: []}
parameters: {lam: 3}
outputs: [QK, ZW]
einsums: |
  ZW[p] = W[p] * C * lam
"""


def scaled(line: str) -> Cascade:
    return Cascade.parse(f"{HEAD}  {line}\n")


@pytest.mark.parametrize(
    ("line", "factors"),
    [
        ("QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)", "sqrt(E)"),
        ("QK[m, p] = 0.5 * Q[p, e] * K[m, e]", "0.5"),
        ("QK[m, p] = -Q[p, e] * K[m, e] / W[p]", "W[p]"),
        ("QK[m, p] = W[p] * Q[p, e] * (K[m, e] / C) where m <= p", "W[p] and C"),
        ("QK[m, p] = W[p] * (Q[p, e] - K[m, e])", None),  # multiplied and added at once
        ("QK[m, p] = exp(W[p]) * (Q[p, e] - K[m, e])", "exp(W[p])"),
        ("QK[m, p] = W[p] / (Q[p, e] - K[m, e])", None),  # something has to be divided
        ("QK[m, p] = Q[p, e] * K[m, e]", None),
        ("QK[m, p] = exp(Q[p, e] * K[m, e] / sqrt(E))", None),  # not a factor of the sum
        ("QK[m, p] = (Q[p, e] / sqrt(E)) * K[m, e] :: max[e]", None),  # no sum
        ("QK[m, p] = Q[p, 0] * K[m, 0] / E", None),  # nothing is summed
    ],
)
def test_what_stands_inside_a_sum(line: str, factors: str | None) -> None:
    told = [h.note(scaled(line).program) for h in hoistable(scaled(line).program)]
    if factors is None:
        assert told == []
    else:
        (note,) = told
        assert note.startswith(f"QK: {factors} stand")
        assert "archsim rewrite <text> factor:QK takes" in note


FACTORS = ("Q[p, e]", "K[m, e]", "W[p]", "C", "lam", "2", "sqrt(E)", "exp(K[m, e])", "(W[p] + 1)")


@settings(max_examples=examples(40), deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from("*/"), st.sampled_from(FACTORS)), min_size=1, max_size=4),
    st.sampled_from(["", " where m <= p"]),
)
def test_what_is_told_can_be_done_and_is_worth_it(
    factors: list[tuple[str, str]], mask: str
) -> None:
    text = "K[m, e] * Q[p, e]" + "".join(f" {operator} {f}" for operator, f in factors)
    cascade = scaled(f"QK[m, p] = {text}{mask}")
    told = hoistable(cascade.program)
    if not told:
        # All that a sum of two operands computes at a point is one mac, or it is all of e.
        free = [f for _, f in factors if "e]" not in f]
        assert not free
        return
    after = rewrite(cascade, "factor:QK", prove_it=False).result.program
    assert not hoistable(after)
    shapes = {"P": 3, "E": 4, "M": 3}
    before, now = (
        sum(int(n) for n in analyze(p).at(shapes).operations.values())
        for p in (cascade.program, after)
    )
    assert now < before
    rng = np.random.default_rng(0)
    inputs = {
        t.name: rng.uniform(0.5, 1.5, [shapes[r] for r in t.ranks]) for t in cascade.program.inputs
    }

    np.testing.assert_allclose(
        run(after, inputs, shapes)["QK"], run(cascade.program, inputs, shapes)["QK"], rtol=1e-12
    )


def test_commands_say_what_to_type(tmp_path: Path) -> None:
    path = tmp_path / "scaled.yaml"
    path.write_text(
        "cascade: scaled\nparallel: [B, H]\nranks: {E: w, F: v, P: queries, M: keys}\n"
        "inputs: {Q: [P, E], K: [M, E], V: [M, F]}\noutput: O\neinsums: |\n"
        "  QK[m, p] = Q[p, e] * K[m, e] / sqrt(E)\n  O[p, f] = QK[m, p] * V[m, f]\n"
    )
    typed = f"archsim rewrite {path} factor:QK"
    runs = {
        "analyze": ["analyze", str(path)],
        "simulate": ["simulate", "bert-base", "fusemax", "--set", f"cascade={path}"],
    }
    runs["simulate"] += ["--set", "seq_len=64", "--json"]
    for words in runs.values():
        found = command(*words)
        assert found.exit_code == 0, found.output
        assert typed in " ".join(found.output.split())
    hoisted = command(*runs["analyze"], "--rewrite", "factor:QK")
    assert "factor:QK" not in hoisted.output
    assert "mul    B*H*M*P " in hoisted.output
