"""Grouped heads whose scores are capped, beside a layer of Gemma 2 written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from einsum_cascade.operations import operations_of
from workloads.references import find_reference

NAME = "grouped-query-attention-softcap"


def gemma_layer(
    q: Any, k: Any, v: Any, *, scalar: float, cap: float, window: int | None = None
) -> Any:
    """``eager_attention_forward`` of Gemma 2: repeat keys, scale, cap, mask, softmax.

    Parameters
    ----------
    q, k, v : array
        Heads first: (H, P, E), (KV, M, E) and (KV, M, F); H is a multiple of KV.
    scalar : float
        ``query_pre_attn_scalar``.
    """
    group = len(q) // len(k)
    k, v = np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)
    scores = np.einsum("hpe,hme->hpm", q, k) * scalar**-0.5
    scores = np.tanh(scores / cap) * cap
    at = np.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None]
    keys = np.arange(k.shape[1])[None, :]
    hidden = keys > at
    if window is not None:
        hidden |= keys <= at - window
    # Hidden after the cap: capped to -cap they would still weigh exp(-2 cap).
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("hpm,hmf->hpf", weights / weights.sum(axis=-1, keepdims=True), v)


@pytest.mark.parametrize(("P", "M"), [(7, 7), (3, 9), (1, 6)])
@pytest.mark.parametrize("window", [None, 1, 3, 100])
def test_a_layer_of_gemma(P: int, M: int, window: int | None) -> None:
    """Prefill, a chunk after a cache, and decoding, with scores on both sides of the cap."""
    G, S, E, F, cap, scalar = 2, 3, 4, 5, 2.5, 7.0
    rng = np.random.default_rng(P * 100 + (window or 0))
    q, k = rng.normal(size=(G * S, P, E)) * 3, rng.normal(size=(G, M, E)) * 3
    v = rng.normal(size=(G, M, F))
    wanted = gemma_layer(q, k, v, scalar=scalar, cap=cap, window=window)
    # Beyond the cap somewhere, else this would test little.
    assert np.abs(np.einsum("hpe,gme->hgpm", q, k) * scalar**-0.5).max() > 2 * cap
    Q = q.reshape(G, S, P, E) * scalar**-0.5
    name, more = (NAME, {}) if window is None else (f"{NAME}-window", {"W": window})
    for M0 in (1, 4, M):
        found = Cascade.load(name).evaluate({"Q": Q, "K": k, "V": v}, M0=M0, cap=cap, **more)
        got = found["AV"].reshape(G * S, P, F)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)
    reference = find_reference(name.replace("-", "_"))
    assert reference is not None
    alone = reference(Q=Q, K=k, V=v, cap=cap, **more)["AV"]
    np.testing.assert_allclose(alone.reshape(G * S, P, F), wanted, rtol=1e-12, atol=1e-13)


def test_a_cap_is_two_products_and_one_tanh() -> None:
    for name in (NAME, f"{NAME}-window", "attention-softcap-1pass"):
        found = dict(operations_of(Cascade.load(name).program)["X"])
        assert found == {"mul": 2, "tanh": 1}, name
