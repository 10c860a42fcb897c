"""Linear attention with and without decay; causal forms as recurrences over positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _features(x: Array) -> Array:
    """elu(x) + 1, the feature map of Katharopoulos et al. (arXiv 2006.16236)."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def linear_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Non-causal linear attention with features elu + 1, normalised.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    weights = _features(Q) @ np.swapaxes(_features(K), -1, -2)
    return {"O": weights @ V / weights.sum(axis=-1, keepdims=True)}


def linear_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """The same over the keys m <= p, by the recurrence S += k v^T, z += k."""
    q, k = _features(Q), _features(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    total = np.zeros((*K.shape[:-2], K.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        if t < K.shape[-2]:
            state = state + k[..., t, :, None] * V[..., t, None, :]
            total = total + k[..., t, :]
        above = np.einsum("...e,...ef->...f", q[..., t, :], state)
        below = np.einsum("...e,...e->...", q[..., t, :], total)
        rows.append(above / below[..., None])
    return {"O": np.stack(rows, axis=-2)}


def lightning_attention(Q: Array, K: Array, V: Array, lam: float) -> dict[str, Array]:
    """Causal linear attention with decay ``lam``: S = lam S + k v^T, o = q S.

    No feature map and no normalisation (TransNormerLLM, arXiv 2405.17381; RetNet before
    its norm).
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = lam * state
        if t < K.shape[-2]:
            state = state + K[..., t, :, None] * V[..., t, None, :]
        rows.append(np.einsum("...e,...ef->...f", Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def lightning_attention_backward(
    Q: Array,
    K: Array,
    V: Array,
    DO: Array,
    lam: float,
) -> dict[str, Array]:
    """Gradients of ``lightning_attention`` for P = M, given ``DO``, that of its output.

    ``DQ[t] = S[t] DO[t]`` going forwards; ``R[t] = lam R[t+1] + q[t] DO[t]^T``,
    ``DK[t] = R[t] v[t]`` and ``DV[t] = R[t]^T k[t]`` going backwards.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    back = np.zeros_like(state)
    dq, dk, dv = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    for t in range(Q.shape[-2]):
        state = lam * state + K[..., t, :, None] * V[..., t, None, :]
        dq[..., t, :] = np.einsum("...ef,...f->...e", state, DO[..., t, :])
    for t in reversed(range(Q.shape[-2])):
        back = lam * back + Q[..., t, :, None] * DO[..., t, None, :]
        dk[..., t, :] = np.einsum("...ef,...f->...e", back, V[..., t, :])
        dv[..., t, :] = np.einsum("...ef,...e->...f", back, K[..., t, :])
    return {"DQ": dq, "DK": dk, "DV": dv}
