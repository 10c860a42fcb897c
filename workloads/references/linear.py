"""Linear attention with and without decay; causal forms as recurrences over positions."""

from __future__ import annotations

import math

import numpy as np

from .functions import Array


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


def transnormer_attention(
    X: Array, WQ: Array, WK: Array, WV: Array, WU: Array, LAM: Array
) -> dict[str, Array]:
    """TransNormerLLM's token mixer: ``Norm(attention) * U`` over all heads (arXiv 2307.14995).

    ``Q = silu(X WQ)``, ``K = silu(X WK)``, ``V = X WV``, ``U = X WU``; every head is
    ``lightning_attention`` with its own decay; the norm divides a position by the root mean
    square over all heads and channels.

    Parameters
    ----------
    X : array, shape (..., P, D)
    WQ, WK, WV, WU : array, shape (..., D, H, E) or (..., D, H, F)
    LAM : array, shape (..., H)
        Decays between 0 and 1.

    Returns
    -------
    dict
        ``O`` of shape (..., H, P, F).
    """

    def projected(weights: Array) -> Array:
        return np.asarray(np.einsum("...pd,...dhe->...hpe", X, weights))

    q, k = (x / (1 + np.exp(-x)) for x in (projected(WQ), projected(WK)))
    v = projected(WV)
    heads = np.zeros_like(v)
    for h in range(LAM.shape[-1]):
        state = np.zeros((*v.shape[:-3], q.shape[-1], v.shape[-1]))
        for t in range(X.shape[-2]):
            state = LAM[..., h, None, None] * state
            state = state + k[..., h, t, :, None] * v[..., h, t, None, :]
            heads[..., h, t, :] = np.einsum("...e,...ef->...f", q[..., h, t, :], state)
    size = np.sqrt((heads * heads).mean(axis=(-3, -1), keepdims=True))
    return {"O": heads / size * projected(WU)}


def normalised_attention(X: Array, WN: Array, Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Causal linear attention over ``exp(WN . x)``, a learned normaliser (arXiv 2405.15731).

    Parameters
    ----------
    X, WN : array
        Tokens (..., P, D) and what makes normalisers of them (..., D).
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    """
    weights = np.tril(Q @ np.swapaxes(K, -1, -2))
    return {"O": weights @ V * np.exp(-np.einsum("...pd,...d->...p", X, WN))[..., None]}


def based_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Based (arXiv 2402.18668): causal attention that weighs by ``1 + s + s^2 / 2``."""
    scores = Q @ np.swapaxes(K, -1, -2)
    weights = np.tril(((scores + 1) ** 2 + 1) / 2)
    return {"O": weights @ V / weights.sum(axis=-1, keepdims=True)}


def lightning_decay_paper(H: int, L: int) -> dict[str, Array]:
    """``exp(-(8h/H) (1 - l/L))``: arXiv 2401.04658, eq. 10."""
    rows = [[math.exp(-(8 * h / H) * (1 - x / L)) for h in range(H)] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_code(H: int, L: int) -> dict[str, Array]:
    """``exp(-slope_h (1 - l/(L-1) + 1e-5))`` with ALiBi's slopes: the authors' module."""
    slopes = _alibi_slopes(H)
    rows = [[math.exp(-s * (1 - x / (L - 1) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_minimax(H: int, L: int) -> dict[str, Array]:
    """``exp(-2^(-8(h+1)/H) (1 - l/(L-1+1e-5) + 1e-5))``: MiniMax-01 in transformers."""
    slopes = [2.0 ** (-8 * (h + 1) / H) for h in range(H)]
    rows = [[math.exp(-s * (1 - x / (L - 1 + 1e-5) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def _alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slopes (arXiv 2108.12409): a geometric sequence for a power of two.

    For another number, those of the power of two below, and every other one of the power
    above for the heads that are left.
    """
    power = 1
    while 2 * power <= heads:
        power *= 2
    first = 2.0 ** (-8 / power)
    slopes = [first ** (h + 1) for h in range(power)]
    between = 2.0 ** (-4 / power)
    return slopes + [between ** (2 * h + 1) for h in range(heads - power)]
