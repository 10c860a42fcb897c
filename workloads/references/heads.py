"""Attention whose heads share keys and values. Scores are not scaled (see ``attention``)."""

from __future__ import annotations

import numpy as np

from .functions import Array, sigmoid, softmax


def _attend(q: Array, k: Array, v: Array) -> Array:
    """One head: (..., P, E), (..., M, E) and (..., M, F) to (..., P, F)."""
    return np.asarray(softmax(q @ np.swapaxes(k, -1, -2)) @ v)


def multi_query_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Every head of ``Q`` (..., H, P, E) attends the same ``K`` (..., M, E), ``V`` (..., M, F)."""
    heads = [_attend(Q[..., h, :, :], K, V) for h in range(Q.shape[-3])]
    return {"AV": np.stack(heads, axis=-3)}


def grouped_query_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """The S query heads of a group attend the same keys (Ainslie et al., arXiv 2305.13245).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., G, S, P, E), (..., G, M, E) and (..., G, M, F).
    """
    heads = [_attend(Q[..., s, :, :], K, V) for s in range(Q.shape[-3])]
    return {"AV": np.stack(heads, axis=-3)}


def _seen(Q: Array, K: Array, W: float) -> list[list[int]]:
    """For every query the keys it sees: the last ``W`` up to its own, the last query's the last."""
    queries, keys = Q.shape[-2], K.shape[-2]
    ends = [p + keys - queries for p in range(queries)]
    return [[m for m in range(keys) if end - W < m <= end] for end in ends]


def _row(q: Array, k: Array, v: Array, sink: Array | None, cap: float | None, bias: Array) -> Array:
    """One query of one head, (E), over the keys that it sees; zero where it sees none."""
    scores = k @ q + bias
    if cap is not None:
        scores = cap * np.tanh(scores / cap)
    if sink is not None:
        scores = np.append(scores, sink)
    if not len(scores):
        return np.zeros(v.shape[-1])
    return np.asarray(softmax(scores)[: len(v)] @ v)


def _grouped_rows(
    Q: Array,
    K: Array,
    V: Array,
    W: float,
    Z: Array | None = None,
    *,
    cap: float | None = None,
    SL: Array | None = None,
) -> dict[str, Array]:
    """Query by query of each head."""
    found = np.zeros((*Q.shape[:-1], V.shape[-1]))
    seen = _seen(Q, K, W)
    for *ahead, g, s, p in np.ndindex(Q.shape[:-1]):
        group = (*ahead, g)
        keys = seen[p]
        sink = None if Z is None else Z[(*group, s)]
        query, key, value = Q[(*group, s, p)], K[group][keys], V[group][keys]
        far = p + K.shape[-2] - Q.shape[-2] - np.array(keys, dtype=float)
        bias = np.zeros(len(keys)) if SL is None else -SL[(*group, s)] * far
        found[(*group, s, p)] = _row(query, key, value, sink, cap, bias)
    return {"AV": found}


def grouped_query_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """``grouped_query_attention`` of query p over the keys m <= p + M - P."""
    return _grouped_rows(Q, K, V, np.inf)


def grouped_query_attention_window(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """``grouped_query_attention`` over the last ``W`` keys up to m = p + M - P."""
    return _grouped_rows(Q, K, V, W)


def grouped_query_attention_sink(Q: Array, K: Array, V: Array, Z: Array) -> dict[str, Array]:
    """As causal, and one more score a head, ``Z`` of shape (..., G, S), which has no value."""
    return _grouped_rows(Q, K, V, np.inf, Z)


def grouped_query_attention_sink_window(
    Q: Array, K: Array, V: Array, Z: Array, W: float
) -> dict[str, Array]:
    """As with a window, and one more score a head, ``Z`` of shape (..., G, S)."""
    return _grouped_rows(Q, K, V, W, Z)


def grouped_query_attention_softcap(Q: Array, K: Array, V: Array, cap: float) -> dict[str, Array]:
    """As causal, of the scores ``cap * tanh(x / cap)`` (Gemma 2, arXiv 2408.00118)."""
    return _grouped_rows(Q, K, V, np.inf, cap=cap)


def grouped_query_attention_softcap_window(
    Q: Array, K: Array, V: Array, cap: float, W: float
) -> dict[str, Array]:
    """As with a window, of the scores ``cap * tanh(x / cap)``."""
    return _grouped_rows(Q, K, V, W, cap=cap)


def grouped_query_attention_alibi(Q: Array, K: Array, V: Array, SL: Array) -> dict[str, Array]:
    """As causal; a score loses the slope of its head, ``SL`` (..., G, S), for every step back."""
    slopes = np.broadcast_to(SL, Q.shape[:-2])
    return _grouped_rows(Q, K, V, np.inf, SL=slopes)


def grouped_query_attention_gated(Q: Array, K: Array, V: Array, GT: Array) -> dict[str, Array]:
    """As causal, and times a sigmoid of ``GT``, of shape (..., G, S, P, F)."""
    return {"Y": _grouped_rows(Q, K, V, np.inf)["AV"] * sigmoid(GT)}


def latent_attention(
    QN: Array, QR: Array, C: Array, KR: Array, WK: Array, WV: Array
) -> dict[str, Array]:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), keys and values expanded.

    Parameters
    ----------
    QN, QR : array
        Queries without and with rotary positions, (..., H, P, D) and (..., H, P, R).
    C, KR : array
        The cache: latents (..., M, L) and rotated keys (..., M, R), shared by all heads.
    WK, WV : array
        Up-projections (H, D, L) and (H, F, L), without ranks in front.
    """
    heads = []
    for h in range(QN.shape[-3]):
        keys = np.concatenate([C @ np.swapaxes(WK[h], -1, -2), KR], axis=-1)
        values = C @ np.swapaxes(WV[h], -1, -2)
        queries = np.concatenate([QN[..., h, :, :], QR[..., h, :, :]], axis=-1)
        heads.append(_attend(queries, keys, values))
    return {"AV": np.stack(heads, axis=-3)}
