"""Heads whose scores lose with distance, beside BLOOM's attention written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference


def bloom_slopes(heads: int) -> Any:
    """``build_alibi_tensor`` of BLOOM, for a power of two."""
    base = 2 ** (-(2 ** -(np.log2(heads) - 3)))
    return np.power(base, np.arange(1, heads + 1))


def bloom_attention(q: Any, k: Any, v: Any) -> Any:
    """A bias of slope times the key's own position: a row is shifted, softmax is the same.

    Heads first: (H, P, E), (H, M, E) and (H, M, F).
    """
    keys, tokens = k.shape[1], q.shape[1]
    bias = bloom_slopes(len(q))[:, None, None] * np.arange(keys)
    scores = bias + np.einsum("hpe,hme->hpm", q, k) / np.sqrt(q.shape[-1])
    seen = np.arange(keys) <= np.arange(keys - tokens, keys)[:, None]
    weights = np.where(seen, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0)
    return np.einsum("hpm,hmf->hpf", weights / weights.sum(axis=-1, keepdims=True), v)


@pytest.mark.parametrize(("P", "M"), [(7, 7), (3, 9), (1, 6)])
@pytest.mark.parametrize("M0", [1, 4, 9])
@pytest.mark.parametrize("S", [1, 2])
def test_a_layer_of_bloom(P: int, M: int, M0: int, S: int) -> None:
    """Without groups, as BLOOM is; two heads that share keys are two with the same ones."""
    H, E, F = 8, 4, 3
    G = H // S
    rng = np.random.default_rng(P + 10 * M0)
    q, k, v = (rng.normal(size=s) for s in ((H, P, E), (G, M, E), (G, M, F)))
    wanted = bloom_attention(q, np.repeat(k, S, axis=0), np.repeat(v, S, axis=0))
    inputs = {
        # One sequence; slopes are the same for all.
        "Q": q.reshape(1, G, S, P, E) / np.sqrt(E),
        "K": k[None],
        "V": v[None],
        "SL": bloom_slopes(H).reshape(G, S),
    }
    found = Cascade.load("grouped-query-attention-alibi").evaluate(inputs, M0=M0)["AV"]
    np.testing.assert_allclose(found.reshape(H, P, F), wanted, rtol=1e-12, atol=1e-13)
    reference = find_reference("grouped_query_attention_alibi")
    assert reference is not None
    alone = reference(**inputs)["AV"]
    np.testing.assert_allclose(alone.reshape(H, P, F), wanted, rtol=1e-12, atol=1e-13)
