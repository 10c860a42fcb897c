"""Titans' neural memory of two layers, trained token by token as it is read."""

from __future__ import annotations

import numpy as np

from .functions import Array, sigmoid


def _silu(x: Array) -> Array:
    return np.asarray(x * sigmoid(x))


def titans_deep_memory(
    Q: Array,
    K: Array,
    V: Array,
    AL: Array,
    ET: Array,
    TH: Array,
    W1: Array,
    W2: Array,
    P0: int = 1,
) -> dict[str, Array]:
    """``M(x) = silu(x A) B``; gradients of ``|M(k) - v|^2`` at the memory a chunk begins with.

    Parameters
    ----------
    Q, K, V : array, shapes (..., P, E), (..., P, E) and (..., P, F)
    AL, ET, TH : array, shape (..., P)
        Weight decay, momentum and step of every token.
    W1, W2 : array, shapes (E, N) and (N, F), any parallel ranks in front
        The memory at the beginning.
    P0 : int
        Tokens of a chunk.
    """
    lead = Q.shape[:-2]
    a = np.broadcast_to(W1, (*lead, *W1.shape[-2:])).copy()
    b = np.broadcast_to(W2, (*lead, *W2.shape[-2:])).copy()
    speed_a, speed_b = np.zeros_like(a), np.zeros_like(b)
    rows = []
    first_a, first_b = a, b
    for t in range(Q.shape[-2]):
        if t % P0 == 0:
            first_a, first_b = a, b
        key = K[..., t, None, :]
        inner = key @ first_a
        hidden = _silu(inner)
        error = 2 * (hidden @ first_b - V[..., t, None, :])
        s = sigmoid(inner)
        slope = s + inner * s * (1 - s)
        back = (error @ np.swapaxes(first_b, -1, -2)) * slope
        eta, theta = ET[..., t, None, None], TH[..., t, None, None]
        speed_a = eta * speed_a - theta * np.swapaxes(key, -1, -2) @ back
        speed_b = eta * speed_b - theta * np.swapaxes(hidden, -1, -2) @ error
        kept = 1 - AL[..., t, None, None]
        a, b = kept * a + speed_a, kept * b + speed_b
        rows.append((_silu(Q[..., t, None, :] @ a) @ b)[..., 0, :])
    return {"Y": np.stack(rows, axis=-2)}
