"""Softmax attention, its variants and its backward pass.

Scores are not scaled: fold 1/sqrt(E) into ``Q``.
"""

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


def _attention(scores: Array, V: Array) -> dict[str, Array]:
    """Rows without a key give zeros, and a log-sum-exp of -inf."""
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    top = np.where(top == -np.inf, 0.0, top)
    raised = np.exp(scores - top)
    total = raised.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        logarithm = (top + np.log(total))[..., 0]
    return {"AV": raised @ V / np.where(total > 0, total, 1.0), "L": logarithm}


def flash_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """``AV = softmax(Q K^T) V`` and the log-sum-exp ``L`` of every row of scores.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    return _attention(Q @ np.swapaxes(K, -1, -2), V)


def flash_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """The same over the keys m <= p + M - P; ``L`` is -inf where there is none."""
    queries, keys = Q.shape[-2], K.shape[-2]
    kept = np.tri(queries, keys, keys - queries, dtype=bool)
    return _attention(np.where(kept, Q @ np.swapaxes(K, -1, -2), -np.inf), V)


def flash_attention_backward(
    Q: Array, K: Array, V: Array, AV: Array, L: Array, DO: Array
) -> dict[str, Array]:
    """Gradients of ``softmax(Q K^T) V``, given that of its result.

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
    """The same for S query heads to a head of keys and values, over the keys m <= p + M - P.

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
