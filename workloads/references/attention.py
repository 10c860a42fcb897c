"""Softmax attention and its variants. Scores are not scaled: fold 1/sqrt(E) into ``Q``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .functions import Array


def _scores(Q: Array, K: Array) -> Array:
    return np.asarray(Q @ np.swapaxes(K, -1, -2))


def _weights(scores: Array, kept: npt.NDArray[np.bool_] | None = None) -> Array:
    """Softmax along the last axis over the kept scores; rows that keep none are zero."""
    if kept is None:
        kept = np.ones(scores.shape[-2:], bool)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf, where=kept)
    top = np.where(np.isfinite(top), top, 0.0)
    raised = np.where(kept, np.exp(np.where(kept, scores - top, 0.0)), 0.0)
    total = raised.sum(axis=-1, keepdims=True)
    return np.asarray(raised / np.where(total > 0, total, 1.0))


def _positions(Q: Array, K: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Query positions as a column and key positions as a row."""
    return np.arange(Q.shape[-2])[:, None], np.arange(K.shape[-2])[None, :]


def softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """``AV = softmax(Q K^T) V`` over all keys.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    return {"AV": _weights(_scores(Q, K)) @ V}


def softmax_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Softmax attention of query p over the keys m <= p."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), m <= p) @ V}


def sliding_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Softmax attention of query p over the keys p - W < m <= p."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), (m <= p) & (m > p - W)) @ V}


def softmax_attention_temperature(Q: Array, K: Array, V: Array, tau: float) -> dict[str, Array]:
    """Softmax attention of scores divided by ``tau``."""
    return {"AV": _weights(_scores(Q, K) / tau) @ V}


def softmax_attention_sink(Q: Array, K: Array, V: Array, S: Array) -> dict[str, Array]:
    """Softmax attention with one more score ``S`` of shape (...), which has no value."""
    scores = _scores(Q, K)
    sink = np.broadcast_to(np.asarray(S)[..., None, None], (*scores.shape[:-1], 1))
    weights = _weights(np.concatenate([scores, sink], axis=-1))
    return {"AV": weights[..., :-1] @ V}


def squared_softmax_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Attention weighted by the square of the softmax, not normalised again."""
    return {"AV": _weights(_scores(Q, K)) ** 2 @ V}


def causal_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Softmax attention of query p over the keys m <= p + M - P: the last query sees all."""
    p, m = _positions(Q, K)
    return {"AV": _weights(_scores(Q, K), m <= p + K.shape[-2] - Q.shape[-2]) @ V}


def window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Softmax attention over the last ``W`` keys up to m = p + M - P, aligned as causal."""
    p, m = _positions(Q, K)
    last = p + K.shape[-2] - Q.shape[-2]
    return {"AV": _weights(_scores(Q, K), (m <= last) & (m > last - W)) @ V}


def two_sided_window_attention(Q: Array, K: Array, V: Array, W: float) -> dict[str, Array]:
    """Softmax attention over ``W`` keys before m = p + M - P, that one, and ``W`` behind it."""
    p, m = _positions(Q, K)
    middle = p + K.shape[-2] - Q.shape[-2]
    return {"AV": _weights(_scores(Q, K), abs(m - middle) <= W) @ V}
