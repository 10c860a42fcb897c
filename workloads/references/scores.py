"""Softmax attention whose scores, mask, weights or results are changed on the way.

Scores are not scaled: fold 1/sqrt(E) into ``Q``. Shapes are in the cascades' index order with
any parallel ranks in front (``...``); unless a function says otherwise, ``Q`` is (..., P, E),
``K`` (..., M, E) and ``V`` (..., M, F), and query p stands at position p + M - P.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .functions import Array, sigmoid

_Kept = npt.NDArray[np.bool_]


def _scores(Q: Array, K: Array) -> Array:
    return np.asarray(np.einsum("...pe,...me->...pm", Q, K))


def _positions(Q: Array, K: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the queries as a column, of the keys as a row."""
    queries, keys = Q.shape[-2], K.shape[-2]
    return np.arange(queries)[:, None] + keys - queries, np.arange(keys)[None, :]


def _weights(scores: Array, kept: _Kept) -> Array:
    """Softmax over the kept scores of a row, by the logarithm of their sum; 0 where none is."""
    seen = np.where(kept, scores, -np.inf)
    total = np.logaddexp.reduce(seen, axis=-1, keepdims=True)
    return np.asarray(np.exp(seen - np.where(total == -np.inf, 0.0, total)))


def softcap_attention(Q: Array, K: Array, V: Array, cap: float) -> dict[str, Array]:
    """Causal attention of the scores ``cap * tanh(x / cap)``, as in Gemma 2."""
    at, m = _positions(Q, K)
    return {"AV": _weights(cap * np.tanh(_scores(Q, K) / cap), m <= at) @ V}


def alibi_attention(Q: Array, K: Array, V: Array, SL: Array) -> dict[str, Array]:
    """Causal attention; a score loses the slope of its head (..., H) for every step of distance."""
    at, m = _positions(Q, K)
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
    """Attention over all keys with ``TAB[h, bucket]`` added to the scores of head h.

    Parameters
    ----------
    TAB : array, shape (..., N)
        Of the heads, the same in every batch.
    BB, BA : array of whole numbers, shapes (M,) and (P,)
        Buckets of a key so many places before the query, and after it.
    """
    at, m = _positions(Q, K)
    after = np.maximum(m - at, 0)
    bucket = np.where(m <= at, BB[np.maximum(at - m, 0)], BA[np.minimum(after, len(BA) - 1)])
    scores = _scores(Q, K) + np.take(TAB, bucket, axis=-1)
    return {"AV": _weights(scores, np.ones(bucket.shape, bool)) @ V}


def t5_causal_attention(
    Q: Array, K: Array, V: Array, TAB: Array, BB: npt.NDArray[np.int64]
) -> dict[str, Array]:
    """Attention to the keys up to each query's own, ``TAB[h, BB[distance]]`` added to scores.

    Parameters
    ----------
    TAB : array, shape (..., N)
    BB : array of whole numbers, shape (M,)
        Buckets of a key so many places before the query.
    """
    at, m = _positions(Q, K)
    scores = _scores(Q, K) + np.take(TAB, BB[np.maximum(at - m, 0)], axis=-1)
    return {"AV": _weights(scores, m <= at) @ V}


def prefix_attention(Q: Array, K: Array, V: Array, L: float) -> dict[str, Array]:
    """Every query sees the first L keys and those up to its own place."""
    at, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), (m <= at) | (m < L)) @ V}


def chunked_local_attention(Q: Array, K: Array, V: Array, C: float) -> dict[str, Array]:
    """Causal attention of each query to the keys of its own chunk of C."""
    at, m = _positions(Q, K)
    own = np.floor_divide(at, C) == np.floor_divide(m, C)
    return {"AV": _weights(_scores(Q, K), own & (m <= at)) @ V}


def gated_attention(Q: Array, K: Array, V: Array, GT: Array) -> dict[str, Array]:
    """Causal attention times ``sigmoid(GT)``, of shape (..., P, F)."""
    at, m = _positions(Q, K)
    return {"Y": (_weights(_scores(Q, K), m <= at) @ V) * sigmoid(GT)}


def forgetting_attention(Q: Array, K: Array, V: Array, FG: Array) -> dict[str, Array]:
    """Causal attention, each raised score times the product of the gates after its key.

    ``FG`` of shape (..., P) holds the gates' logarithms, at most 0; P = M.
    """
    at, m = _positions(Q, K)
    rows = []
    for p in range(Q.shape[-2]):
        since = [FG[..., u + 1 : p + 1].sum(axis=-1) for u in range(K.shape[-2])]
        rows.append(np.stack(since, axis=-1))
    scores = _scores(Q, K) + np.stack(rows, axis=-2)
    return {"AV": _weights(scores, m <= at) @ V}


def softpick_attention(Q: Array, K: Array, V: Array, eps: float) -> dict[str, Array]:
    """``relu(exp(x) - 1) V / sum |exp(x) - 1|`` over the keys up to the query's place.

    ``eps`` is added to the sum after both were divided by the largest exp(x).
    """
    at, m = _positions(Q, K)
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
    """Causal ``(A_0 - lam A_1) V``, each head divided by its root mean square, times 1 - lam0.

    Parameters
    ----------
    Q, K : array, shape (..., 2, P, E) and (..., 2, M, E)
    LQ, LK : array, shape (2, E)
        ``lam = exp(LQ_0 . LK_0) - exp(LQ_1 . LK_1) + lam0``, one number for all heads.
    W : array, shape (F,)
        The weight of the norm.
    """
    at, m = _positions(Q, K)
    lam = np.exp(LQ[0] @ LK[0]) - np.exp(LQ[1] @ LK[1]) + lam0
    maps = _weights(_scores(Q, K), m <= at)
    found = (maps[..., 0, :, :] - lam * maps[..., 1, :, :]) @ V
    size = np.sqrt(np.mean(found**2, axis=-1, keepdims=True) + eps)
    return {"Y": (1 - lam0) * W * found / size}


def paged_attention(
    Q: Array, KP: Array, VP: Array, TABLE: npt.NDArray[np.int64], M: int
) -> dict[str, Array]:
    """The last P tokens of every head over the M keys of the pages that a table names, causally.

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
    """One query of every head over the first M keys of the pages that a table names.

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
