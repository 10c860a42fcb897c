"""Causal sums in chunks: the Lightning form, its variants, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from element_by_element import run
from rewrite_cases import assert_same, equations

from einsum_cascade import Cascade, CascadeError, RewriteError
from einsum_cascade.rewrites import rewrite

HEAD = """
cascade: causal
ranks: {E: width, F: value width, P: queries, M: keys}
inputs: {Q: [P, E], K: [M, E], V: [M, F]}
output: O
"""
SCORES = "einsums: |\n  QK[p, m] = Q[p, e] * K[m, e] where m <= p\n"


def test_constant_decay_gives_the_lightning_form() -> None:
    """KERNELS: intra-chunk scores, decayed queries on a state, decayed keys into it."""
    derivation = rewrite(Cascade.load("lightning-attention"), "chunk", prove_it=False)
    assert equations(derivation.program) == [
        "RKV[0, e, f] = 0",
        "QK[p1, p0, m0] = Q[p1*P0 + p0, e] * K[p1*M0 + m0, e] where m0 <= p0",
        "W[p1, p0, m0] = QK[p1, p0, m0] * lam ** (p0 - m0) where m0 <= p0",
        "IO[p1, p0, f] = W[p1, p0, m0] * V[p1*M0 + m0, f] where m0 <= p0",
        "DQ[p1, p0, e] = Q[p1*P0 + p0, e] * lam ** (p0 + 1)",
        "XO[p1, p0, f] = DQ[p1, p0, e] * RKV[p1, e, f]",
        "O[p1*P0 + p0, f] = IO[p1, p0, f] + XO[p1, p0, f]",
        "DK[p1, m0, e] = K[p1*M0 + m0, e] * lam ** (M0 - 1 - m0) where p1 * M0 + m0 < M",
        "LKV[p1, e, f] = DK[p1, m0, e] * V[p1*M0 + m0, f]",
        "PKV[p1, e, f] = RKV[p1, e, f] * lam ** M0",
        "RKV[p1+1, e, f] = PKV[p1, e, f] + LKV[p1, e, f]",
    ]
    text = derivation.text()
    assert "lam ** (p - m) = lam ** (p0 + 1) * lam ** ((p1 - 1 - m1)*M0)" in text
    assert "m <= p when m1 = p1 and m0 <= p0, or m1 < p1" in text
    assert_same(Cascade.load("lightning-attention").program, derivation.program)


def test_without_decay_the_state_is_only_added_to() -> None:
    derivation = rewrite(Cascade.load("linear-attention-causal"), "chunk:P,M", prove_it=False)
    lines = equations(derivation.program)
    assert "RPhiKV[p1+1, e, f] = RPhiKV[p1, e, f] + LPhiKV[p1, e, f]" in lines
    assert "RPhiK[p1+1, e] = RPhiK[p1, e] + LPhiK[p1, e]" in lines
    assert not any("**" in line for line in lines)
    assert_same(Cascade.load("linear-attention-causal").program, derivation.program)


def test_the_state_has_no_rank_of_the_sequence_but_the_chunk() -> None:
    program = rewrite(Cascade.load("lightning-attention"), "chunk", prove_it=False).program
    assert program.tensor_ranks["RKV"] == ("P1", "E", "F")
    assert program.rank_of["M"].like == "P"
    assert program.rank_of["M0"].like == "P0"


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7, 12, 16])
def test_any_chunk_gives_the_recurrence(chunk: int) -> None:
    """Against the recurrence KV = lam * KV + k v, o = q KV, position by position."""
    program = rewrite(Cascade.load("lightning-attention"), "chunk", prove_it=False).program
    rng = np.random.default_rng(chunk)
    q, k, v = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    state = np.zeros((3, 2))
    expected = []
    for t in range(12):
        state = 0.9 * state + np.outer(k[t], v[t])
        expected.append(q[t] @ state)
    shapes = {"E": 3, "F": 2, "P": 12, "M": 12, "P0": chunk, "M0": chunk, "P1": -(-12 // chunk)}
    flat = Cascade(dataclasses.replace(program, parallel=()))
    found = run(flat.program, {"Q": q, "K": k, "V": v}, shapes, {"lam": 0.9})
    np.testing.assert_allclose(found["O"], np.array(expected), rtol=1e-10)
    again = flat.evaluate({"Q": q, "K": k, "V": v}, P0=chunk, lam=0.9)
    np.testing.assert_allclose(again["O"], np.array(expected), rtol=1e-10)


VARIANTS = {
    "exponential decay": (
        "parameters: [s]\n"
        + SCORES
        + "  W[p, m] = QK[p, m] * exp(-s * (p - m)) where m <= p\n"
        + "  O[p, f] = W[p, m] * V[m, f] where m <= p",
        "PKV[p1, e, f] = RKV[p1, e, f] * exp(-s * M0)",
    ),
    "decay written backwards": (
        "parameters: [lam]\n"
        + SCORES
        + "  O[p, f] = QK[p, m] * V[m, f] / lam ** (m - p) where p >= m",
        "RKV[p1, e, f] * lam ** M0",
    ),
    "decay per channel": (
        "einsums: |\n"
        + "  A[e] = sigmoid(Q[0, e])\n"
        + "  QK[p, m] = Q[p, e] * K[m, e] * A[e] ** (p - m) where m <= p\n"
        + "  O[p, f] = QK[p, m] * V[m, f] where m <= p",
        "PKV[p1, e, f] = RKV[p1, e, f] * A[e] ** M0",
    ),
    "strictly causal": (
        "parameters: [lam]\n"
        + SCORES.replace("m <= p", "m < p")
        + "  W[p, m] = QK[p, m] * lam ** (p - m) where m < p\n"
        + "  O[p, f] = W[p, m] * V[m, f] where m < p",
        "where m0 < p0",
    ),
    "scaled decay": (
        "parameters: [lam]\n"
        + SCORES
        + "  W[p, m] = QK[p, m] * lam ** (p - m + 2) / sqrt(E) where m <= p\n"
        + "  O[p, f] = W[p, m] * V[m, f] where m <= p",
        "RKV[p1, e, f] * lam ** M0",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name: str) -> None:
    body, line = VARIANTS[name]
    cascade = Cascade.parse(HEAD + body)
    done = rewrite(cascade, "chunk", prove_it=False).program
    assert any(line in e for e in equations(done)), equations(done)
    assert_same(cascade.program, done)


def test_a_prefix_sum_in_chunks() -> None:
    text = """
cascade: prefix
ranks: {P: out, M: in, F: features}
inputs: {X: [M, F]}
output: S
einsums: |
  S[p, f] = X[m, f] where m <= p
"""
    text = text.replace("inputs: {X: [M, F]}", "inputs: {X: [M, F], G: [P]}").replace(
        "X[m, f] where", "G[p] * X[m, f] where"
    )
    done = rewrite(Cascade.parse(text), "chunk", prove_it=False).program
    assert "RX[p1+1, f] = RX[p1, f] + LX[p1, f]" in equations(done)
    assert_same(Cascade.parse(text).program, done)


REFUSED = {
    "softmax is not linear": (
        SCORES
        + "  W[p, m] = exp(QK[p, m]) where m <= p\n"
        + "  O[p, f] = W[p, m] * V[m, f] where m <= p",
        "'W' is not linear in what it reads",
    ),
    "no mask": (
        "einsums: |\n  QK[p, m] = Q[p, e] * K[m, e]\n  O[p, f] = QK[p, m] * V[m, f]",
        "no reduction has a causal mask",
    ),
    "sliding window": (
        SCORES.replace("m <= p", "m <= p and m > p - 3")
        + "  O[p, f] = QK[p, m] * V[m, f] where m <= p and m > p - 3",
        "its mask is not m <= p alone",
    ),
    "decay that changes": (
        "parameters: [lam]\n"
        + SCORES
        + "  W[p, m] = QK[p, m] * lam ** (p * m) where m <= p\n"
        + "  O[p, f] = W[p, m] * V[m, f] where m <= p",
        "its weight is not a constant to the power p - m",
    ),
    "maximum": (
        SCORES
        + "  G[p] = QK[p, m] :: max[m] where m <= p\n"
        + "  O[p, f] = G[p] * QK[p, m] * V[m, f] where m <= p",
        "at 'G': it is a max, not a sum",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    body, reason = REFUSED[name]
    with pytest.raises(RewriteError, match=reason):
        Cascade.parse(HEAD + body).rewrite("chunk")


def test_ranks_must_exist_and_be_whole() -> None:
    cascade = Cascade.load("lightning-attention")
    with pytest.raises(RewriteError, match="no rank 'N'"):
        cascade.rewrite("chunk:P,N")
    with pytest.raises(RewriteError, match="'M' is partitioned"):
        cascade.rewrite("partition:M=M1,M0", "chunk:P,M")
    with pytest.raises(RewriteError, match="no reduction over 'P' has a causal mask"):
        cascade.rewrite("chunk:M,P")


def test_alike_ranks_have_one_shape() -> None:
    from einsum_cascade.shapes import resolve_shapes

    program = rewrite(Cascade.load("lightning-attention"), "chunk", prove_it=False).program
    shapes = resolve_shapes(program, {"E": 2, "F": 2, "P": 12, "P0": 4})
    assert (shapes["M"], shapes["M0"], shapes["P1"]) == (12, 4, 3)
    with pytest.raises(CascadeError, match="M0 and P0 are declared alike, but M0 = 3, P0 = 4"):
        resolve_shapes(program, {"E": 2, "F": 2, "P": 12, "P0": 4, "M0": 3})


# ------------------------------------------------------------------------ recurrences


def test_a_causal_sum_becomes_the_recurrence() -> None:
    """KV = lam * KV + k v; o = q KV, and the scores are gone."""
    derivation = rewrite(Cascade.load("lightning-attention"), "make_iterative:O", prove_it=False)
    assert equations(derivation.program) == [
        "RKV[0, e, f] = 0",
        "PKV[p, e, f] = RKV[p, e, f] * lam",
        "RKV[p+1, e, f] = PKV[p, e, f] + K[p, e] * V[p, f]",
        "O[p, f] = RKV[p+1, e, f] * Q[p, e]",
    ]
    assert_same(Cascade.load("lightning-attention").program, derivation.program)


def test_linear_attention_becomes_two_recurrences() -> None:
    cascade = Cascade.load("linear-attention-causal")
    derivation = rewrite(cascade, "make_iterative:NV", "make_iterative:D", prove_it=False)
    lines = equations(derivation.program)
    assert "RPhiK[p+1, e] = RPhiK[p, e] + PhiK[p, e]" in lines
    assert not any(line.startswith("W[") for line in lines)
    assert_same(cascade.program, derivation.program)


def test_a_strict_mask_reads_the_state_before_the_step() -> None:
    body, _ = VARIANTS["strictly causal"]
    cascade = Cascade.parse(HEAD + body)
    done = rewrite(cascade, "make_iterative:O", prove_it=False).program
    assert "O[p, f] = PKV[p, e, f] * Q[p, e]" in equations(done)
    assert_same(cascade.program, done)


@pytest.mark.parametrize("operator", ["max", "min", "prod"])
@pytest.mark.parametrize("mask", ["m <= p", "p > m"])
def test_a_prefix_reduction_becomes_a_running_one(operator: str, mask: str) -> None:
    text = f"""
cascade: prefix
ranks: {{P: out, M: in, F: features}}
inputs: {{X: [M, F], G: [P]}}
output: Y
einsums: |
  S[p, f] = X[m, f] :: {operator}[m] where {mask}
  Y[p, f] = where(p > 0, S[p, f] * G[p], 0)
"""
    done = rewrite(Cascade.parse(text), "make_iterative:S", prove_it=False).program
    index = "p+1" if mask == "m <= p" else "p"
    assert f"S[p, f] = RS[{index}, f]" in equations(done)
    assert_same(Cascade.parse(text).program, done)


def test_prefix_refusals() -> None:
    cascade = Cascade.parse(HEAD + REFUSED["sliding window"][0])
    with pytest.raises(RewriteError, match="its mask is not m <= p alone"):
        cascade.rewrite("make_iterative:O")
    cascade = Cascade.parse(HEAD + REFUSED["maximum"][0])
    with pytest.raises(RewriteError, match="what it reduces depends on 'p' beside the mask"):
        cascade.rewrite("make_iterative:G")
