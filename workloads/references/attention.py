"""References for softmax attention: scores, masks, shared heads, and the backward pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .functions import ALL, Array, Kept, sigmoid, softmax

Positions = npt.NDArray[np.int64]


def _scores(Q: Array, K: Array) -> Array:
    """Return all products of queries and keys; keys without a rank of heads are shared by heads."""
    return np.asarray(Q @ np.swapaxes(_shared(K, Q), -1, -2))


def _shared(keys: Array, of_heads: Array) -> Array:
    """Return keys or values with the axis of the query heads that share them, if they lack it."""
    return keys if keys.ndim == of_heads.ndim else keys[..., None, :, :]


def _attend(scores: Array, V: Array, kept: Kept = ALL) -> dict[str, Array]:
    """Return the values weighted by the softmax of the kept scores."""
    return {"AV": softmax(scores, kept) @ _shared(V, scores)}


def _positions(Q: Array, K: Array) -> tuple[Positions, Positions]:
    """Return positions of queries as a column, and of keys as a row; the last query is at the
    last key."""
    queries, keys = Q.shape[-2], K.shape[-2]
    return np.arange(queries)[:, None] + keys - queries, np.arange(keys)[None, :]


def softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``AV = softmax(Q K^T) V`` over all keys.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F). In all functions of this module, query
        heads (..., S, P, E) share keys and values without the rank S (arXiv 2305.13245).
    """
    return _attend(_scores(Q, K), V)


def softmax_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return softmax attention of query p over the keys m <= p."""
    return sliding_window_attention(Q, K, V, np.inf)


def sliding_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the keys p - W < m <= p."""
    p, m = np.arange(Q.shape[-2])[:, None], np.arange(K.shape[-2])
    return _attend(_scores(Q, K), V, (m <= p) & (m > p - W))


def softmax_attention_temperature(Q: Array, K: Array, V: Array, tau: float) -> dict[str, Array]:
    """Return softmax attention of scores divided by ``tau``."""
    return _attend(_scores(Q, K) / tau, V)


def softmax_attention_sink(Q: Array, K: Array, V: Array, S: Array) -> dict[str, Array]:
    """Return softmax attention with one more score ``S`` of shape (...), which has no value."""
    return _attend(*_with_sink(_scores(Q, K), V, S))


def _with_sink(scores: Array, V: Array, S: Array) -> tuple[Array, Array]:
    """Return scores and values with one more key, whose score is ``S`` and whose value is 0."""
    sink = np.broadcast_to(np.asarray(S)[..., None, None], (*scores.shape[:-1], 1))
    nothing = np.zeros((*V.shape[:-2], 1, V.shape[-1]))
    return np.concatenate([scores, sink], axis=-1), np.concatenate([V, nothing], axis=-2)


def squared_softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return attention weighted by the squared softmax, which is not normalised again."""
    return {"AV": softmax(_scores(Q, K)) ** 2 @ V}


def causal_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return softmax attention of query p over the keys m <= p + M - P: the last query sees all
    keys."""
    return window_attention(Q, K, V, np.inf)


def window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the ``W`` keys up to m = p + M - P."""
    return _attend(_scores(Q, K), V, _window(Q, K, W))


def _window(Q: Array, K: Array, W: float = np.inf) -> Kept:
    """Return a mask: True for the ``W`` keys up to a query's own position."""
    at, m = _positions(Q, K)
    return (m <= at) & (m > at - W)


def two_sided_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Return softmax attention of query p over the keys from p + M - P - W to p + M - P + W."""
    at, m = _positions(Q, K)
    return _attend(_scores(Q, K), V, abs(m - at) <= W)


def flash_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``AV = softmax(Q K^T) V`` and the log-sum-exp ``L`` of every row of scores.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    return _attend_and_sum(Q, K, V)


def flash_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``flash_attention`` over the keys m <= p + M - P; ``L`` is -inf for a query without
    keys."""
    return _attend_and_sum(Q, K, V, _window(Q, K))


def _attend_and_sum(Q: Array, K: Array, V: Array, kept: Kept = ALL) -> dict[str, Array]:
    """Return softmax attention and the log-sum-exp of every row's kept scores."""
    scores = _scores(Q, K)
    total = np.logaddexp.reduce(np.where(kept, scores, -np.inf), axis=-1)
    return {**_attend(scores, V, kept), "L": total}


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
    return _gradients(np.exp(_scores(Q, K) - L[..., None]), Q, K, V, AV, DO)


def _gradients(
    weights: Array, Q: Array, K: Array, V: Array, AV: Array, DO: Array
) -> dict[str, Array]:
    """Return the gradients of attention from its known weights."""
    row = np.sum(DO * AV, axis=-1, keepdims=True)
    scores = weights * (_scores(DO, V) - row)
    return {
        "DQ": scores @ K,
        "DK": np.swapaxes(scores, -1, -2) @ Q,
        "DV": np.swapaxes(weights, -1, -2) @ DO,
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
    keys, values = _shared(K, Q), _shared(V, Q)
    kept = _window(Q, keys)
    exponents = np.where(kept, _scores(Q, keys) - L[..., None], -np.inf)
    found = _gradients(np.exp(exponents), Q, keys, values, AV, DO)
    return {"DQ": found["DQ"], "DK": found["DK"].sum(axis=-3), "DV": found["DV"].sum(axis=-3)}


def softcap_attention(Q: Array, K: Array, V: Array, cap: float) -> dict[str, Array]:
    """Return causal attention of the scores ``cap * tanh(x / cap)`` (Gemma 2, arXiv 2408.00118)."""
    return grouped_query_attention_softcap_window(Q, K, V, cap, np.inf)


def alibi_attention(Q: Array, K: Array, V: Array, SL: Array) -> dict[str, Array]:
    """Return causal attention with ALiBi (arXiv 2108.12409): a score loses ``SL`` per step of
    distance.

    ``SL`` of shape (..., H) holds the slopes of the heads.
    """
    at, m = _positions(Q, K)
    scores = _scores(Q, K) - np.asarray(SL)[..., None, None] * (at - m)
    return _attend(scores, V, m <= at)


def t5_attention(
    Q: Array, K: Array, V: Array, TAB: Array, BB: npt.NDArray[np.int64], BA: npt.NDArray[np.int64]
) -> dict[str, Array]:
    """Return attention over all keys with ``TAB[h, bucket]`` added to the scores of head h (T5).

    Parameters
    ----------
    TAB : array, shape (..., N)
        Biases of each head and bucket; all sequences share them.
    BB, BA : array of whole numbers, shapes (M,) and (P,)
        Buckets of a key by its distance before the query, and after the query.
    """
    at, m = _positions(Q, K)
    after = np.maximum(m - at, 0)
    bucket = np.where(m <= at, BB[np.maximum(at - m, 0)], BA[np.minimum(after, len(BA) - 1)])
    return _attend(_scores(Q, K) + np.take(TAB, bucket, axis=-1), V)


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
    at, m = _positions(Q, K)
    scores = _scores(Q, K) + np.take(TAB, BB[np.maximum(at - m, 0)], axis=-1)
    return _attend(scores, V, m <= at)


def prefix_attention(Q: Array, K: Array, V: Array, L: float) -> dict[str, Array]:
    """Return attention of every query over the first L keys and the keys up to its own position."""
    at, m = _positions(Q, K)
    return _attend(_scores(Q, K), V, (m <= at) | (m < L))


def chunked_local_attention(Q: Array, K: Array, V: Array, C: float) -> dict[str, Array]:
    """Return causal attention of each query over the keys of its own chunk of C."""
    at, m = _positions(Q, K)
    own = np.floor_divide(at, C) == np.floor_divide(m, C)
    return _attend(_scores(Q, K), V, own & (m <= at))


def gated_attention(Q: Array, K: Array, V: Array, GT: Array) -> dict[str, Array]:
    """Return causal attention times ``sigmoid(GT)``, of shape (..., P, F)."""
    return {"Y": causal_attention(Q, K, V)["AV"] * sigmoid(GT)}


def forgetting_attention(Q: Array, K: Array, V: Array, FG: Array) -> dict[str, Array]:
    """Return causal attention whose weights are multiplied by all gates behind their key.

    ``FG`` of shape (..., P) holds the gates' logarithms, at most 0; P = M.
    """
    rows = []
    for p in range(Q.shape[-2]):
        since = [FG[..., u + 1 : p + 1].sum(axis=-1) for u in range(K.shape[-2])]
        rows.append(np.stack(since, axis=-1))
    return _attend(_scores(Q, K) + np.stack(rows, axis=-2), V, _window(Q, K))


def softpick_attention(Q: Array, K: Array, V: Array, eps: float) -> dict[str, Array]:
    """Return ``relu(exp(x) - 1) V / sum |exp(x) - 1|`` over the keys up to the query's position.

    Numerator and sum are divided by the largest exp(x) before ``eps`` is added to the sum.
    """
    kept = _window(Q, K)
    scores = _scores(Q, K)
    top = np.max(np.where(kept, scores, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
    raised = np.where(kept, np.expm1(np.where(kept, scores, 0.0)), 0.0)
    total = np.abs(raised).sum(axis=-1, keepdims=True)
    below = np.where(top == -np.inf, 1.0, total + eps * np.exp(np.where(top == -np.inf, 0, top)))
    return {"AV": np.maximum(raised, 0.0) / below @ V}


def differential_attention(
    Q: Array, K: Array, V: Array, LQ: Array, LK: Array, W: Array, lam0: float, eps: float
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
    lam = np.exp(LQ[0] @ LK[0]) - np.exp(LQ[1] @ LK[1]) + lam0
    maps = softmax(_scores(Q, K), _window(Q, K))
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
    found = []
    for query, pages in zip(Q, TABLE, strict=True):
        keys, values = (
            np.swapaxes(np.concatenate([pool[page] for page in pages.flat])[:M], 0, 1)
            for pool in (KP, VP)
        )
        found.append(causal_attention(query, keys, values)["AV"])
    return {"AV": np.stack(found)}


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
    return {"AV": paged_attention(Q[..., None, :], KP, VP, TABLE, M)["AV"][..., 0, :]}


def grouped_query_attention_sink(Q: Array, K: Array, V: Array, Z: Array) -> dict[str, Array]:
    """Return causal grouped attention with one more score per head, ``Z`` (..., G, S), without a
    value."""
    return grouped_query_attention_sink_window(Q, K, V, Z, np.inf)


def grouped_query_attention_sink_window(
    Q: Array, K: Array, V: Array, Z: Array, W: float
) -> dict[str, Array]:
    """Return windowed grouped attention with one more score per head, ``Z`` (..., G, S)."""
    # The sink comes after all keys, and every query sees it.
    kept = np.insert(_window(Q, K, W), K.shape[-2], True, axis=-1)
    return _attend(*_with_sink(_scores(Q, K), V, Z), kept)


def grouped_query_attention_softcap_window(
    Q: Array, K: Array, V: Array, cap: float, W: float
) -> dict[str, Array]:
    """Return windowed grouped attention of the scores ``cap * tanh(x / cap)``."""
    return _attend(cap * np.tanh(_scores(Q, K) / cap), V, _window(Q, K, W))


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
        heads.append(softmax_attention(queries, keys, values)["AV"])
    return {"AV": np.stack(heads, axis=-3)}


multi_query_attention = grouped_query_attention = softmax_attention
grouped_query_attention_causal = causal_attention
grouped_query_attention_window = window_attention
grouped_query_attention_softcap = softcap_attention
grouped_query_attention_alibi = alibi_attention
grouped_query_attention_gated = gated_attention
