"""References for linear layers, activation functions, normalisations and losses."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np

from .functions import Array


def linear_layer(X: Array, W: Array) -> dict[str, Array]:
    """Return ``Z = X W`` of ``X`` (..., N, D) and ``W`` (..., D, J)."""
    return {"Z": X @ W}


def linear_layer_squared_relu(X: Array, W: Array) -> dict[str, Array]:
    """Return ``Z = max(0, X W)^2``; shapes as ``linear_layer``."""
    return {"Z": np.where(X @ W > 0, (X @ W) ** 2, 0.0)}


def linear_layer_relu(X: Array, W: Array) -> dict[str, Array]:
    """Return ``Z = max(X W, 0)``; shapes as ``linear_layer``."""
    return {"Z": np.maximum(X @ W, 0.0)}


def linear_layer_softcap(X: Array, W: Array, cap: float) -> dict[str, Array]:
    """Return ``Z = cap * tanh(X W / cap)``; shapes as ``linear_layer``."""
    return {"Z": cap * np.tanh(X @ W / cap)}


def linear_layer_gelu(X: Array, W: Array) -> dict[str, Array]:
    """Return ``Z = U Phi(U)`` of ``U = X W``, with the normal distribution Phi (arXiv
    1606.08415)."""
    return {"Z": np.vectorize(_gelu, otypes=[np.float64])(X @ W)}


def _gelu(u: float) -> float:
    return u * erfc(-u / sqrt(2)) / 2


def linear_layer_swiglu(X: Array, WG: Array, WU: Array) -> dict[str, Array]:
    """Return ``Z = silu(X WG) * (X WU)`` element by element, with ``silu(g) = g / (1 +
    exp(-g))``.

    Both weights have the shape (..., D, J) (arXiv 2002.05202).
    """
    gate = X @ WG
    return {"Z": gate * np.exp(-np.logaddexp(0.0, -gate)) * (X @ WU)}


def linear_layer_swiglu_clamped(
    X: Array, WG: Array, WU: Array, limit: float, slope: float
) -> dict[str, Array]:
    """Return ``Z = (u + 1) g sigma(slope g)`` of clamped products (gpt-oss).

    ``g`` is ``X WG`` up to ``limit``, ``u`` is ``X WU`` between ``-limit`` and ``limit``; both
    weights have the shape (..., D, J).
    """
    gate, up = X @ WG, np.clip(X @ WU, -limit, limit)
    gate = np.where(gate > limit, limit, gate)
    return {"Z": (up + 1) * gate * np.exp(-np.logaddexp(0.0, -slope * gate))}


def projections(X: Array, WQ: Array, WK: Array, WV: Array) -> dict[str, Array]:
    """Return queries, keys and values of each head: ``Q[h] = X WQ[:, h]``, and so on.

    Parameters
    ----------
    X : array, shape (N, D)
    WQ, WK, WV : array, shapes (D, H, E), (D, H, E) and (D, H, F)
    """
    by_head = {"Q": WQ, "K": WK, "V": WV}
    return {name: np.stack([X @ w for w in np.moveaxis(W, 1, 0)]) for name, W in by_head.items()}


def output_projection(AV: Array, WO: Array) -> dict[str, Array]:
    """Return ``O``, the sum over heads of ``AV[h] WO[h]``; shapes (H, N, F) and (H, F, D)."""
    return {"O": (AV @ WO).sum(axis=0)}


def feed_forward(X: Array, W1: Array, W2: Array) -> dict[str, Array]:
    """Return ``Y = gelu(X W1) W2``; shapes (N, D), (D, S) and (S, D)."""
    return {"Y": linear_layer_gelu(X, W1)["Z"] @ W2}


def rotary_positions(Q: Array, base: float, first: float) -> dict[str, Array]:
    """Return queries with rotary positions (arXiv 2104.09864): both halves rotate as complex
    numbers.

    Parameters
    ----------
    Q : array, shape (..., P, 2, I)
    base, first : float
        Channel i rotates by ``base^(-i/I)`` per token; ``first`` is the position of token 0.
    """
    tokens, channels = Q.shape[-3], Q.shape[-1]
    angles = np.outer(first + np.arange(tokens), base ** -(np.arange(channels) / channels))
    turned = (Q[..., 0, :] + 1j * Q[..., 1, :]) * np.exp(1j * angles)
    return {"X": np.stack([turned.real, turned.imag], axis=-2)}


def _log_sum_exp(x: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(x, axis=-1, keepdims=True))


def softmax(X: Array) -> dict[str, Array]:
    """Return ``Y = exp(X) / sum exp(X)`` of ``X`` (..., N, V)."""
    return {"Y": np.exp(X - _log_sum_exp(X))}


def log_softmax(X: Array) -> dict[str, Array]:
    """Return ``Y = X - log sum exp(X)`` of ``X`` (..., N, V)."""
    return {"Y": X - _log_sum_exp(X)}


def cross_entropy(X: Array, T: Array) -> dict[str, Array]:
    """Return the loss per token of logits ``X`` against targets ``T``, both (..., N, V).

    ``L = log sum exp(X) - X . T``, which is the cross-entropy where each row of ``T`` sums to 1.
    """
    return {"L": _log_sum_exp(X)[..., 0] - (X * T).sum(axis=-1)}


def layer_norm(X: Array, G: Array, B: Array, eps: float) -> dict[str, Array]:
    """Return ``Y = (X - mean) / sqrt(variance + eps) * G + B`` (arXiv 1607.06450).

    Parameters
    ----------
    X : array, shape (..., N, D)
    G, B : array, shape (..., D)
    eps : float
    """
    deviation = np.sqrt(X.var(axis=-1, keepdims=True) + eps)
    centred = X - X.mean(axis=-1, keepdims=True)
    return {"Y": centred / deviation * G[..., None, :] + B[..., None, :]}


def rms_norm(X: Array, G: Array, eps: float) -> dict[str, Array]:
    """Return ``Y = X / sqrt(mean(X^2) + eps) * G`` (arXiv 1910.07467); shapes as ``layer_norm``."""
    deviation = np.sqrt(np.mean(np.square(X), axis=-1, keepdims=True) + eps)
    return {"Y": X / deviation * G[..., None, :]}


def rms_norm_projection(X: Array, G: Array, W: Array, eps: float) -> dict[str, Array]:
    """Return ``rms_norm`` followed by a linear layer ``W`` of shape (..., D, J)."""
    return {"O": rms_norm(X, G, eps)["Y"] @ W}


def deit_lt_loss(
    CLS: Array, DIST: Array, LB: Array, TB: Array, EN: Array, alpha: float = 0.5
) -> dict[str, Array]:
    """Return the loss of every image in DeiT-LT (arXiv 2404.02900).

    Parameters
    ----------
    CLS, DIST : array
        Logits (N, C) of the class token and of the distillation token.
    LB, TB : array
        Labels (N,), and classes (N,) that a teacher predicts.
    EN : array
        Effective number of images of each class (C,).
    alpha : float
        Weight of the distillation loss.
    """
    weights = 1 / EN
    weights = weights * len(weights) / weights.sum()
    labels, taught = np.asarray(LB, int), np.asarray(TB, int)
    rows = np.arange(len(labels))
    own = -log_softmax(CLS)["Y"][rows, labels]
    teacher = -log_softmax(DIST)["Y"][rows, taught]
    return {"LOSS": (1 - alpha) * own + alpha * weights[taught] * teacher}
