"""Grouped heads with a gate on their output, beside a layer of Qwen3-Next written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference


def qwen_layer(x: Any, k: Any, v: Any, wq: Any) -> Any:
    """Queries and gates of one projection, two widths a head; softmax; the gate's sigmoid.

    Parameters
    ----------
    x : array, shape (P, D)
        The layer's input.
    k, v : array, shapes (KV, M, E)
    wq : array, shape (D, H * 2 * E)
        First E columns of a head are its queries, then E its gates.

    Returns
    -------
    queries, gates, outputs : array
        Heads first: (H, P, E); queries are scaled.
    """
    tokens, width = len(x), k.shape[-1]
    both = (x @ wq).reshape(tokens, -1, 2 * width).transpose(1, 0, 2)
    q, gates = both[..., :width] * width**-0.5, both[..., width:]
    group = len(q) // len(k)
    outputs = np.empty_like(q)
    for h in range(len(q)):
        for p in range(tokens):
            seen = k.shape[1] - tokens + p + 1
            weights = np.exp(k[h // group, :seen] @ q[h, p])
            mixed = weights @ v[h // group, :seen] / weights.sum()
            outputs[h, p] = mixed / (1 + np.exp(-gates[h, p]))
    return q, gates, outputs


@pytest.mark.parametrize(("P", "M"), [(7, 7), (3, 9), (1, 6)])
@pytest.mark.parametrize("M0", [1, 4, 9])
def test_a_layer_of_qwen(P: int, M: int, M0: int) -> None:
    G, S, E, D = 2, 3, 4, 5
    rng = np.random.default_rng(10 * P + M0)
    k, v = rng.normal(size=(2, G, M, E))
    q, gates, wanted = qwen_layer(
        rng.normal(size=(P, D)), k, v, rng.normal(size=(D, G * S * 2 * E))
    )
    grouped = {name: a.reshape(G, S, P, E) for name, a in (("Q", q), ("GT", gates))}
    found = Cascade.load("grouped-query-attention-gated").evaluate(
        {"K": k, "V": v, **grouped}, M0=M0
    )
    np.testing.assert_allclose(found["Y"].reshape(wanted.shape), wanted, rtol=1e-11, atol=1e-13)
    reference = find_reference("grouped_query_attention_gated")
    assert reference is not None
    alone = reference(K=k, V=v, **grouped)["Y"]
    np.testing.assert_allclose(alone.reshape(wanted.shape), wanted, rtol=1e-11, atol=1e-13)
