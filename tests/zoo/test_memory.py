"""Titans' memory, in-context regression and BICO: what their papers say must hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference

Array = np.ndarray[Any, Any]
P, E, F = 10, 3, 2


def reference(name: str, **inputs: Any) -> Array:
    found = find_reference(name)
    assert found is not None
    (result,) = found(**inputs).values()
    return result


@pytest.fixture
def tokens() -> dict[str, Array]:
    rng = np.random.default_rng(8)
    found = {n: rng.normal(size=(P, w)) for n, w in (("Q", E), ("K", E), ("V", F))}
    scales = {"AL": 0.5, "ET": 0.9, "TH": 0.1}
    return found | {n: rng.uniform(0, s, P) for n, s in scales.items()}


# ------------------------------------------------------------------ Titans


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 10, 13])
def test_titans_chunks_take_their_gradients_at_the_start(
    chunk: int, tokens: dict[str, Array]
) -> None:
    found = Cascade.load("titans-chunked").evaluate(tokens, P0=chunk)["Y"]
    expected = reference("titans_memory", **tokens, P0=chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)


def test_titans_is_not_invariant_to_the_size_of_its_chunks(tokens: dict[str, Array]) -> None:
    """With one token a chunk it is the recurrence; otherwise it is another function."""
    cascade = Cascade.load("titans-chunked")
    token_by_token = Cascade.load("titans-recurrent").evaluate(tokens)["Y"]
    one = cascade.evaluate(tokens, P0=1)["Y"]
    np.testing.assert_allclose(one, token_by_token, rtol=1e-11, atol=1e-14)
    for chunk in (2, 5, 10):
        difference = np.abs(cascade.evaluate(tokens, P0=chunk)["Y"] - token_by_token).max()
        assert difference > 1e-3 * np.abs(token_by_token).max()


def test_titans_learns_the_gradient_of_its_loss(tokens: dict[str, Array]) -> None:
    """One token from nothing moves the memory down the slope of |k M - v|^2."""
    first = {n: a[:1] for n, a in tokens.items()}
    step = 1e-6
    slope = np.zeros((E, F))
    for at in np.ndindex(E, F):
        loss = []
        for sign in (1, -1):
            memory = np.zeros((E, F))
            memory[at] = sign * step
            loss.append(float(((first["K"][0] @ memory - first["V"][0]) ** 2).sum()))
        slope[at] = (loss[0] - loss[1]) / (2 * step)
    expected = -first["TH"][0] * first["Q"][0] @ slope
    found = Cascade.load("titans-recurrent").evaluate(first)["Y"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_titans_without_momentum_or_forgetting_is_the_delta_rule(tokens: dict[str, Array]) -> None:
    """A step of beta / 2 on |k M - v|^2 at a unit key corrects by beta."""
    beta = np.linspace(0.1, 0.9, P)
    keys = tokens["K"] / np.linalg.norm(tokens["K"], axis=1, keepdims=True)
    queries = tokens["Q"] / np.linalg.norm(tokens["Q"], axis=1, keepdims=True)
    plain = {**tokens, "K": keys, "Q": queries, "TH": beta / 2}
    plain |= {"AL": np.zeros(P), "ET": np.zeros(P)}
    found = Cascade.load("titans-recurrent").evaluate(plain)["Y"]
    inputs = {n: tokens[n] for n in "QKV"} | {"BETA": beta}
    expected = Cascade.load("delta-rule").evaluate(inputs)["O"]
    np.testing.assert_allclose(found / math.sqrt(E), expected, rtol=1e-11, atol=1e-14)


# ------------------------------------------------------------------ in-context regression


def test_two_opposite_heads_take_a_debiased_gradient_step() -> None:
    """To first order 2 mu omega mean((y - mean y) x . xq): a single head keeps the mean."""
    rng = np.random.default_rng(9)
    x, xq = rng.normal(size=(40, 4)), rng.normal(size=(5, 4))
    y = x @ rng.normal(size=4) + 3.0
    cascade = Cascade.load("in-context-regression")
    errors = []
    for omega in (1e-2, 1e-3):
        heads = {"OM": np.array([omega, -omega]), "MU": np.array([0.5, -0.5]) / omega}
        found = cascade.evaluate({"X": x, "Y": y, "XQ": xq, **heads})["O"]
        step = ((y - y.mean())[:, None] * x).mean(axis=0) @ xq.T
        errors.append(np.abs(found - step).max())
    # The next term of the series is cubic in omega, and mu divides one of them out.
    assert errors[1] < 1.1e-2 * errors[0] < 1e-2
    lone = {"OM": np.array([1e-3]), "MU": np.array([1.0])}
    biased = cascade.evaluate({"X": x, "Y": y, "XQ": xq, **lone})["O"]
    assert np.abs(biased - y.mean()).max() < 0.05


def test_in_context_regression_in_plain_loops() -> None:
    rng = np.random.default_rng(10)
    x, xq, y = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), rng.normal(size=6)
    om, mu = rng.normal(size=2), rng.normal(size=2)
    found = reference("in_context_regression", X=x, Y=y, XQ=xq, OM=om, MU=mu)
    for q in range(4):
        total = 0.0
        for h in range(2):
            raised = [math.exp(om[h] * float(x[m] @ xq[q])) for m in range(6)]
            total += mu[h] * sum(r * y[m] for m, r in enumerate(raised)) / sum(raised)
        assert found[q] == pytest.approx(total, rel=1e-12)


# ------------------------------------------------------------------ BICO


def test_bico_sees_every_key_at_a_causal_angle() -> None:
    """The score of (i, j) is q^T R(-|i - j|) k: what a causal model gives for j = i - |i - j|."""
    rng = np.random.default_rng(11)
    pairs, length = 3, 7
    rate = 10.0 ** -np.arange(pairs)
    angle = np.arange(length)[:, None] * rate
    halves = {n: rng.normal(size=(length, pairs)) for n in ("QA", "QB", "KA", "KB")}
    inputs = {
        **halves,
        "V": rng.normal(size=(length, 2)),
        "COS": np.cos(angle),
        "SIN": np.sin(angle),
    }
    scores = Cascade.load("bico-attention").evaluate(inputs, keep="all")["QK"]
    for i in range(length):
        for j in range(length):
            turned = 0.0
            for r in range(pairs):
                c, s = math.cos(abs(i - j) * rate[r]), math.sin(abs(i - j) * rate[r])
                a, b = halves["QA"][i, r], halves["QB"][i, r]
                x, y = halves["KA"][j, r], halves["KB"][j, r]
                # R(-t) k, a rotation by -t of the pair (x, y)
                turned += a * (c * x + s * y) + b * (c * y - s * x)
            assert scores[i, j] == pytest.approx(turned / math.sqrt(2 * pairs), abs=1e-12)


def test_bico_of_causal_keys_is_rotary_attention() -> None:
    """The last query has no later keys: the plain causal model's row."""
    rng = np.random.default_rng(12)
    pairs, length = 2, 5
    angle = np.arange(length)[:, None] * 0.5 ** np.arange(pairs)
    halves = {n: rng.normal(size=(length, pairs)) for n in ("QA", "QB", "KA", "KB")}
    v = rng.normal(size=(length, 3))
    found = reference("bico_attention", **halves, V=v, COS=np.cos(angle), SIN=np.sin(angle))

    def rotated(a: Array, b: Array) -> Array:
        turn = np.exp(1j * angle) * (a + 1j * b)
        return np.concatenate([turn.real, turn.imag], axis=1)

    q, k = rotated(halves["QA"], halves["QB"]), rotated(halves["KA"], halves["KB"])
    expected = reference("softmax_attention_causal", Q=q / math.sqrt(2 * pairs), K=k, V=v)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-12)


# ------------------------------------------------------------------ the norm of RetNet


def test_the_norm_takes_out_what_the_rows_were_scaled_by() -> None:
    """The scaled rows differ from plain retention, the normed ones do not."""
    rng = np.random.default_rng(13)
    heads = {"Q": rng.uniform(size=(3, 9, 4)), "K": rng.uniform(size=(3, 9, 4))}
    inputs = {**heads, "V": rng.normal(size=(3, 9, 5))}
    found = Cascade.load("retnet-parallel-norm").evaluate(inputs, keep="all")
    plain = Cascade.load("retnet-parallel").evaluate(inputs)["O"]
    assert np.abs(found["O"] - plain).max() > 0.1
    size = np.sqrt((plain * plain).mean(axis=-1, keepdims=True))
    np.testing.assert_allclose(found["Y"], plain / size, rtol=1e-11)
