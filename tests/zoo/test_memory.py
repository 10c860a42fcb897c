"""Titans' memory, in-context regression and BICO: what their papers say must hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from archsim.validation.inputs import random_inputs
from einsum_cascade import Cascade
from einsum_cascade.shapes import resolve_shapes
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


# ------------------------------------------------------------------ how Titans are wired


def titans_inputs(name: str, length: int = P) -> dict[str, Array]:
    """Random inputs of a cascade of Titans, as ``archsim validate`` draws them."""
    program = Cascade.load(name).program
    free = {r.name: 4 for r in program.ranks if not (r.family or r.like or r.partition)}
    chunk = {"P0": 3} if "P0" in program.rank_of else {}
    shapes = resolve_shapes(replace(program, parallel=()), {**free, "P": length, **chunk})
    return random_inputs(replace(program, parallel=()), shapes, np.random.default_rng(14))


def test_memory_as_gate_is_window_attention_where_nothing_is_learnt() -> None:
    """A memory of zeros opens every gate half."""
    inputs = titans_inputs("titans-mag")
    inputs["TH"] = np.zeros(P)
    found = Cascade.load("titans-mag").evaluate(inputs, window=4, persistent=0)["O"]
    scaled = {"Q": inputs["Q"] / 2, "K": inputs["K"], "V": inputs["V"]}
    expected = reference("sliding_window_attention", **scaled, W=4) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_persistent_tokens_are_always_seen() -> None:
    """With as many as there are positions the window does not matter."""
    inputs = titans_inputs("titans-mag")
    cascade = Cascade.load("titans-mag")
    everything = cascade.evaluate(inputs, window=P, persistent=0)["O"]
    np.testing.assert_allclose(
        cascade.evaluate(inputs, window=1, persistent=P)["O"], everything, rtol=1e-13
    )
    assert np.abs(cascade.evaluate(inputs, window=1, persistent=2)["O"] - everything).max() > 1e-3


def test_memory_as_layer_attends_to_what_the_memory_reads() -> None:
    inputs = titans_inputs("titans-mal")
    memory = {n.removesuffix("M"): inputs[n] for n in ("QM", "KM", "VM")}
    memory |= {n: inputs[n] for n in ("AL", "ET", "TH")}
    y = Cascade.load("titans-recurrent").evaluate(memory)["Y"]
    q, k, v = (y @ inputs[n] for n in ("WQ", "WK", "WV"))
    found = Cascade.load("titans-mal").evaluate(inputs, window=3, persistent=0)["O"]
    expected = reference("sliding_window_attention", Q=q / 2, K=k, V=v, W=3)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("segment", [1, 3, 4, 10, 12])
def test_memory_as_context_segment_by_segment(segment: int) -> None:
    """Segments that divide the length, that do not, and one that is longer."""
    inputs = titans_inputs("titans-mac")
    found = Cascade.load("titans-mac").evaluate(inputs, P0=segment)["O"]
    expected = reference("titans_mac", **inputs, P0=segment)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_memory_as_context_reaches_beyond_its_segment() -> None:
    """A token before the segment is felt through the memory, and not where it learns nothing."""
    inputs = titans_inputs("titans-mac")
    moved = {**inputs, "X": inputs["X"].copy()}
    moved["X"][0] += 1.0
    cascade = Cascade.load("titans-mac")
    apart = cascade.evaluate(moved, P0=5)["O"] - cascade.evaluate(inputs, P0=5)["O"]
    assert np.abs(apart[5:]).max() > 1e-6
    frozen = {"TH": np.zeros(P)}
    still = (cascade.evaluate({**i, **frozen}, P0=5)["O"] for i in (inputs, moved))
    np.testing.assert_array_equal(*(o[5:] for o in still))


# ------------------------------------------------------------------ TransNormerLLM


def test_transnormer_is_lightning_attention_between_its_projections() -> None:
    rng = np.random.default_rng(15)
    heads, width = 3, 5
    x = rng.normal(size=(P, width))
    weights = {n: rng.normal(size=(width, heads, 4)) for n in ("WQ", "WK", "WV", "WU")}
    decays = np.array([0.6, 0.8, 1.0])
    q, k, v, u = (np.einsum("pd,dhe->hpe", x, w) for w in weights.values())
    q, k = (a / (1 + np.exp(-a)) for a in (q, k))
    chunked = Cascade.load("lightning-attention-2")
    one = [
        chunked.evaluate({"Q": q[h], "K": k[h], "V": v[h]}, lam=decays[h], P0=4)["O"]
        for h in range(heads)
    ]
    attended = np.stack(one)
    length = np.linalg.norm(attended.transpose(1, 0, 2).reshape(P, -1), axis=1)
    expected = attended * (math.sqrt(heads * 4) / length)[None, :, None] * u
    found = Cascade.load("transnormer-attention").evaluate({"X": x, **weights, "LAM": decays})["O"]
    np.testing.assert_allclose(found, expected, rtol=1e-11)
