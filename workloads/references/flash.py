"""Softmax attention with what its backward pass needs, and that pass.

Scores are not scaled: fold 1/sqrt(E) into ``Q``. Gradients are then those of the scaled ``Q``.
"""

from __future__ import annotations

import numpy as np

from .functions import Array


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
