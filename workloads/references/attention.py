"""Softmax attention: variants of scores, masks and results, shared heads, and the backward pass.

Scores are not scaled: fold 1/sqrt(E) into ``Q``. Shapes are in the cascades' index order with any
parallel ranks in front (``...``). Unless a function says otherwise, ``Q`` is (..., P, E), ``K``
(..., M, E) and ``V`` (..., M, F).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .functions import Array, sigmoid, softmax


def _scores(Q: Array, K: Array) -> Array:
    return np.asarray(Q @ np.swapaxes(K, -1, -2))


def _weights(scores: Array, kept: npt.NDArray[np.bool_] | None = None) -> Array:
    """Return softmax along the last axis over the kept scores; rows without a kept score are
    zero."""
    if kept is None:
        kept = np.ones(scores.shape[-2:], bool)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf, where=kept)
    top = np.where(np.isfinite(top), top, 0.0)
    raised = np.where(kept, np.exp(np.where(kept, scores - top, 0.0)), 0.0)
    total = raised.sum(axis=-1, keepdims=True)
    return np.asarray(raised / np.where(total > 0, total, 1.0))


def _positions(Q: Array, K: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return query positions as a column and key positions as a row; both count from 0."""
    return np.arange(Q.shape[-2])[:, None], np.arange(K.shape[-2])[None, :]


def softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``AV = softmax(Q K^T) V`` over all keys.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    return {"AV": _weights(_scores(Q, K)) @ V}


def softmax_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return softmax attention of query p over the keys m <= p."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), m <= p) @ V}


def sliding_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the keys p - W < m <= p."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), (m <= p) & (m > p - W)) @ V}


def softmax_attention_temperature(Q: Array, K: Array, V: Array, tau: float) -> dict[str, Array]:
    """Return softmax attention of scores divided by ``tau``."""
    return {"AV": _weights(_scores(Q, K) / tau) @ V}


def softmax_attention_sink(Q: Array, K: Array, V: Array, S: Array) -> dict[str, Array]:
    """Return softmax attention with one more score ``S`` of shape (...), which has no value."""
    scores = _scores(Q, K)
    sink = np.broadcast_to(np.asarray(S)[..., None, None], (*scores.shape[:-1], 1))
    weights = _weights(np.concatenate([scores, sink], axis=-1))
    return {"AV": weights[..., :-1] @ V}


def squared_softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return attention weighted by the squared softmax, which is not normalised again."""
    return {"AV": _weights(_scores(Q, K)) ** 2 @ V}


def causal_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return softmax attention of query p over the keys m <= p + M - P: the last query sees all
    keys."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), m <= p + K.shape[-2] - Q.shape[-2]) @ V}


def window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the ``W`` keys up to m = p + M - P."""
    p, m = _positions(Q, K)
    last = p + K.shape[-2] - Q.shape[-2]
    return {"AV": _weights(_scores(Q, K), (m <= last) & (m > last - W)) @ V}


def two_sided_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the keys from p + M - P - W to p + M - P + W."""
    p, m = _positions(Q, K)
    middle = p + K.shape[-2] - Q.shape[-2]
    return {"AV": _weights(_scores(Q, K), abs(m - middle) <= W) @ V}


def _attention(scores: Array, V: Array) -> dict[str, Array]:
    """Return softmax attention and log-sum-exp of scores; rows without a key give zeros and
    -inf."""
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(top == -np.inf, 0.0, top)
    raised = np.exp(scores - top)
    total = raised.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        logarithm = (top + np.log(total))[..., 0]
    return {"AV": raised @ V / np.where(total > 0, total, 1.0), "L": logarithm}


def flash_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``AV = softmax(Q K^T) V`` and the log-sum-exp ``L`` of every row of scores.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    return _attention(Q @ np.swapaxes(K, -1, -2), V)


def flash_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``flash_attention`` over the keys m <= p + M - P; ``L`` is -inf for a query without
    keys."""
    queries, keys = Q.shape[-2], K.shape[-2]
    kept = np.tri(queries, keys, keys - queries, dtype=bool)
    return _attention(np.where(kept, Q @ np.swapaxes(K, -1, -2), -np.inf), V)


def flash_attention_backward(
    Q: Array, K: Array, V: Array, AV: Array, L: Array, DO: Array
) -> dict[str, Array]:
    """Return gradients of ``softmax(Q K^T) V`` from the gradient of its result.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    AV, L : array
        The forward pass's result (..., P, F) and log-sum-exp (..., P).
    DO : array
        The gradient of the result, (..., P, F).
    """
    weights = np.exp(np.einsum("...pe,...me->...pm", Q, K) - L[..., None])
    row = np.sum(DO * AV, axis=-1)
    through = np.einsum("...pf,...mf->...pm", DO, V)
    scores = weights * (through - row[..., None])
    return {
        "DQ": np.einsum("...pm,...me->...pe", scores, K),
        "DK": np.einsum("...pm,...pe->...me", scores, Q),
        "DV": np.einsum("...pm,...pf->...mf", weights, DO),
    }


def flash_attention_backward_grouped(
    Q: Array, K: Array, V: Array, AV: Array, L: Array, DO: Array
) -> dict[str, Array]:
    """Return gradients of causal attention whose S query heads share a head of keys and values.

    Query p sees the keys m <= p + M - P.

    Parameters
    ----------
    Q, AV, DO : array, shapes (..., G, S, P, E), (..., G, S, P, F) and (..., G, S, P, F)
    K, V : array, shapes (..., G, M, E) and (..., G, M, F)
    L : array, shape (..., G, S, P)
    """
    found: dict[str, list[Array]] = {"DQ": [], "DK": [], "DV": []}
    for s in range(Q.shape[-3]):
        q, av, out, row = Q[..., s, :, :], AV[..., s, :, :], DO[..., s, :, :], L[..., s, :]
        kept = np.tri(Q.shape[-2], K.shape[-2], K.shape[-2] - Q.shape[-2], dtype=bool)
        scores = np.where(kept, q @ np.swapaxes(K, -1, -2), -np.inf)
        weights = np.where(kept, np.exp(scores - np.where(kept, row[..., None], 0.0)), 0.0)
        through = out @ np.swapaxes(V, -1, -2)
        back = weights * (through - (out * av).sum(axis=-1, keepdims=True))
        found["DQ"].append(back @ K)
        found["DK"].append(np.swapaxes(back, -1, -2) @ q)
        found["DV"].append(np.swapaxes(weights, -1, -2) @ out)
    queries = np.stack(found["DQ"], axis=-3)
    return {"DQ": queries, "DK": sum(found["DK"]), "DV": sum(found["DV"])}  # type: ignore[dict-item]


def _aligned_positions(Q: Array, K: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return positions of queries as a column, and of keys as a row; the last query is at the
    last key."""
    queries, keys = Q.shape[-2], K.shape[-2]
    return np.arange(queries)[:, None] + keys - queries, np.arange(keys)[None, :]


def softcap_attention(Q: Array, K: Array, V: Array, cap: float) -> dict[str, Array]:
    """Return causal attention of the scores ``cap * tanh(x / cap)`` (Gemma 2, arXiv 2408.00118)."""
    at, m = _aligned_positions(Q, K)
    return {"AV": _weights(cap * np.tanh(_scores(Q, K) / cap), m <= at) @ V}


def alibi_attention(Q: Array, K: Array, V: Array, SL: Array) -> dict[str, Array]:
    """Return causal attention with ALiBi (arXiv 2108.12409): a score loses ``SL`` per step of
    distance.

    ``SL`` of shape (..., H) holds the slopes of the heads.
    """
    at, m = _aligned_positions(Q, K)
    scores = _scores(Q, K) - np.asarray(SL)[..., None, None] * (at - m)
    return {"AV": _weights(scores, m <= at) @ V}


def t5_attention(
    Q: Array,
    K: Array,
    V: Array,
    TAB: Array,
    BB: npt.NDArray[np.int64],
    BA: npt.NDArray[np.int64],
) -> dict[str, Array]:
    """Return attention over all keys with ``TAB[h, bucket]`` added to the scores of head h (T5).

    Parameters
    ----------
    TAB : array, shape (..., N)
        Biases of each head and bucket; all sequences share them.
    BB, BA : array of whole numbers, shapes (M,) and (P,)
        Buckets of a key by its distance before the query, and after the query.
    """
    at, m = _aligned_positions(Q, K)
    after = np.maximum(m - at, 0)
    bucket = np.where(m <= at, BB[np.maximum(at - m, 0)], BA[np.minimum(after, len(BA) - 1)])
    scores = _scores(Q, K) + np.take(TAB, bucket, axis=-1)
    return {"AV": _weights(scores, np.ones(bucket.shape, bool)) @ V}


def t5_causal_attention(
    Q: Array, K: Array, V: Array, TAB: Array, BB: npt.NDArray[np.int64]
) -> dict[str, Array]:
    """Return attention over the keys up to each query's own, with ``TAB[h, BB[distance]]`` added
    to scores.

    Parameters
    ----------
    TAB : array, shape (..., N)
    BB : array of whole numbers, shape (M,)
        Buckets of a key by its distance before the query.
    """
    at, m = _aligned_positions(Q, K)
    scores = _scores(Q, K) + np.take(TAB, BB[np.maximum(at - m, 0)], axis=-1)
    return {"AV": _weights(scores, m <= at) @ V}


def prefix_attention(Q: Array, K: Array, V: Array, L: float) -> dict[str, Array]:
    """Return attention of every query over the first L keys and the keys up to its own position."""
    at, m = _aligned_positions(Q, K)
    return {"AV": _weights(_scores(Q, K), (m <= at) | (m < L)) @ V}


def chunked_local_attention(Q: Array, K: Array, V: Array, C: float) -> dict[str, Array]:
    """Return causal attention of each query over the keys of its own chunk of C."""
    at, m = _aligned_positions(Q, K)
    own = np.floor_divide(at, C) == np.floor_divide(m, C)
    return {"AV": _weights(_scores(Q, K), own & (m <= at)) @ V}


def gated_attention(Q: Array, K: Array, V: Array, GT: Array) -> dict[str, Array]:
    """Return causal attention times ``sigmoid(GT)``, of shape (..., P, F)."""
    at, m = _aligned_positions(Q, K)
    return {"Y": (_weights(_scores(Q, K), m <= at) @ V) * sigmoid(GT)}


def forgetting_attention(Q: Array, K: Array, V: Array, FG: Array) -> dict[str, Array]:
    """Return causal attention whose weights are multiplied by all gates behind their key.

    ``FG`` of shape (..., P) holds the gates' logarithms, at most 0; P = M.
    """
    at, m = _aligned_positions(Q, K)
    rows = []
    for p in range(Q.shape[-2]):
        since = [FG[..., u + 1 : p + 1].sum(axis=-1) for u in range(K.shape[-2])]
        rows.append(np.stack(since, axis=-1))
    scores = _scores(Q, K) + np.stack(rows, axis=-2)
    return {"AV": _weights(scores, m <= at) @ V}


def softpick_attention(Q: Array, K: Array, V: Array, eps: float) -> dict[str, Array]:
    """Return ``relu(exp(x) - 1) V / sum |exp(x) - 1|`` over the keys up to the query's position.

    Numerator and sum are divided by the largest exp(x) before ``eps`` is added to the sum.
    """
    at, m = _aligned_positions(Q, K)
    kept = m <= at
    scores = _scores(Q, K)
    top = np.max(np.where(kept, scores, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
    raised = np.where(kept, np.expm1(np.where(kept, scores, 0.0)), 0.0)
    total = np.abs(raised).sum(axis=-1, keepdims=True)
    below = np.where(top == -np.inf, 1.0, total + eps * np.exp(np.where(top == -np.inf, 0, top)))
    return {"AV": np.maximum(raised, 0.0) / below @ V}


def differential_attention(
    Q: Array,
    K: Array,
    V: Array,
    LQ: Array,
    LK: Array,
    W: Array,
    lam0: float,
    eps: float,
) -> dict[str, Array]:
    """Return causal ``(A_0 - lam A_1) V``, each head over its root mean square, times 1 - lam0.

    Parameters
    ----------
    Q, K : array, shape (..., 2, P, E) and (..., 2, M, E)
    LQ, LK : array, shape (2, E)
        ``lam = exp(LQ_0 . LK_0) - exp(LQ_1 . LK_1) + lam0``, one number for all heads.
    W : array, shape (F,)
        The weight of the norm.
    """
    at, m = _aligned_positions(Q, K)
    lam = np.exp(LQ[0] @ LK[0]) - np.exp(LQ[1] @ LK[1]) + lam0
    maps = _weights(_scores(Q, K), m <= at)
    found = (maps[..., 0, :, :] - lam * maps[..., 1, :, :]) @ V
    size = np.sqrt(np.mean(found**2, axis=-1, keepdims=True) + eps)
    return {"Y": (1 - lam0) * W * found / size}


def paged_attention(
    Q: Array, KP: Array, VP: Array, TABLE: npt.NDArray[np.int64], M: int
) -> dict[str, Array]:
    """Return causal attention of the last P tokens over the M keys of the pages that a table
    names.

    Parameters
    ----------
    Q : array, shape (B, G, S, P, E)
    KP, VP, TABLE : array
        As for ``paged_attention_decode``.
    """
    found = np.zeros((*Q.shape[:-1], VP.shape[-1]))
    late = M - Q.shape[3]
    for b, g, s, p in np.ndindex(*Q.shape[:-1]):
        pages = TABLE[b].ravel()
        seen = max(late + p + 1, 0)
        keys = np.concatenate([KP[page][:, g] for page in pages])[:seen]
        values = np.concatenate([VP[page][:, g] for page in pages])[:seen]
        if seen:
            weights = np.exp(keys @ Q[b, g, s, p])
            found[b, g, s, p] = weights @ values / weights.sum()
    return {"AV": found}


def paged_attention_decode(
    Q: Array, KP: Array, VP: Array, TABLE: npt.NDArray[np.int64], M: int
) -> dict[str, Array]:
    """Return attention of one query of every head over the first M keys of the pages of a table.

    Parameters
    ----------
    Q : array, shape (B, G, S, E)
    KP, VP : array, shape (C, T, G, E) and (C, T, G, F)
        A pool of C pages of T keys, for all sequences.
    TABLE : array of whole numbers, shape (B, M1, N)
        Pages of each sequence, in order; M1 N T is at least M.
    """
    found = []
    for query, pages in zip(Q, TABLE, strict=True):
        keys = np.concatenate([KP[page] for page in pages.flat])[:M]
        values = np.concatenate([VP[page] for page in pages.flat])[:M]
        scores = np.einsum("gse,mge->gsm", query, keys)
        weights = _weights(scores, np.ones(len(keys), bool))
        found.append(np.einsum("gsm,mgf->gsf", weights, values))
    return {"AV": np.stack(found)}


def _attend(q: Array, k: Array, v: Array) -> Array:
    """Return softmax attention of one head: (..., P, E), (..., M, E) and (..., M, F) to (..., P,
    F)."""
    return np.asarray(softmax(q @ np.swapaxes(k, -1, -2)) @ v)


def multi_query_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return attention whose heads ``Q`` (..., H, P, E) share ``K`` (..., M, E) and ``V`` (...,
    M, F)."""
    heads = [_attend(Q[..., h, :, :], K, V) for h in range(Q.shape[-3])]
    return {"AV": np.stack(heads, axis=-3)}


def grouped_query_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return attention whose S query heads of a group share keys (Ainslie et al., arXiv
    2305.13245).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., G, S, P, E), (..., G, M, E) and (..., G, M, F).
    """
    heads = [_attend(Q[..., s, :, :], K, V) for s in range(Q.shape[-3])]
    return {"AV": np.stack(heads, axis=-3)}


def _seen(Q: Array, K: Array, W: float) -> list[list[int]]:
    """Return the keys that every query sees: the last ``W`` up to its own; the last query has
    the last."""
    queries, keys = Q.shape[-2], K.shape[-2]
    ends = [p + keys - queries for p in range(queries)]
    return [[m for m in range(keys) if end - W < m <= end] for end in ends]


def _row(q: Array, k: Array, v: Array, sink: Array | None, cap: float | None, bias: Array) -> Array:
    """Return one query of one head, (E), over the keys it sees; zero where it sees none."""
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
    """Return causal attention of grouped heads, one query of one head after another."""
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
    """Return ``grouped_query_attention`` of query p over the keys m <= p + M - P."""
    return _grouped_rows(Q, K, V, np.inf)


def grouped_query_attention_window(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return ``grouped_query_attention`` of query p over the last ``W`` keys up to m = p + M -
    P."""
    return _grouped_rows(Q, K, V, W)


def grouped_query_attention_sink(Q: Array, K: Array, V: Array, Z: Array) -> dict[str, Array]:
    """Return causal grouped attention with one more score per head, ``Z`` (..., G, S), without a
    value."""
    return _grouped_rows(Q, K, V, np.inf, Z)


def grouped_query_attention_sink_window(
    Q: Array, K: Array, V: Array, Z: Array, W: float
) -> dict[str, Array]:
    """Return windowed grouped attention with one more score per head, ``Z`` (..., G, S)."""
    return _grouped_rows(Q, K, V, W, Z)


def grouped_query_attention_softcap(Q: Array, K: Array, V: Array, cap: float) -> dict[str, Array]:
    """Return causal grouped attention of scores ``cap * tanh(x / cap)`` (Gemma 2, arXiv
    2408.00118)."""
    return _grouped_rows(Q, K, V, np.inf, cap=cap)


def grouped_query_attention_softcap_window(
    Q: Array, K: Array, V: Array, cap: float, W: float
) -> dict[str, Array]:
    """Return windowed grouped attention of the scores ``cap * tanh(x / cap)``."""
    return _grouped_rows(Q, K, V, W, cap=cap)


def grouped_query_attention_alibi(Q: Array, K: Array, V: Array, SL: Array) -> dict[str, Array]:
    """Return causal grouped attention with ALiBi: a score loses ``SL`` (..., G, S) per step of
    distance."""
    slopes = np.broadcast_to(SL, Q.shape[:-2])
    return _grouped_rows(Q, K, V, np.inf, SL=slopes)


def grouped_query_attention_gated(Q: Array, K: Array, V: Array, GT: Array) -> dict[str, Array]:
    """Return causal grouped attention times ``sigmoid(GT)``, of shape (..., G, S, P, F)."""
    return {"Y": _grouped_rows(Q, K, V, np.inf)["AV"] * sigmoid(GT)}


def latent_attention(
    QN: Array, QR: Array, C: Array, KR: Array, WK: Array, WV: Array
) -> dict[str, Array]:
    """Return multi-head latent attention (DeepSeek-V2, arXiv 2405.04434) with expanded keys and
    values.

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
