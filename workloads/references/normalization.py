"""Softmax, losses and normalisations over the last axis."""

from __future__ import annotations

import numpy as np

from .functions import Array


def _log_sum_exp(x: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(x, axis=-1, keepdims=True))


def softmax(X: Array) -> dict[str, Array]:
    """``Y = exp(X) / sum exp(X)``; ``X`` of shape (..., N, V)."""
    return {"Y": np.exp(X - _log_sum_exp(X))}


def log_softmax(X: Array) -> dict[str, Array]:
    """``Y = X - log sum exp(X)``; ``X`` of shape (..., N, V)."""
    return {"Y": X - _log_sum_exp(X)}


def cross_entropy(X: Array, T: Array) -> dict[str, Array]:
    """Loss per token of logits ``X`` against targets ``T``, both (..., N, V).

    ``L = log sum exp(X) - X . T``, which is the cross-entropy where each row of ``T`` sums
    to 1.
    """
    return {"L": _log_sum_exp(X)[..., 0] - (X * T).sum(axis=-1)}


def layer_norm(X: Array, G: Array, B: Array, eps: float) -> dict[str, Array]:
    """``Y = (X - mean) / sqrt(variance + eps) * G + B`` (arXiv 1607.06450).

    Parameters
    ----------
    X : array, shape (..., N, D)
    G, B : array, shape (..., D)
    eps : float
    """
    spread = np.sqrt(X.var(axis=-1, keepdims=True) + eps)
    centred = X - X.mean(axis=-1, keepdims=True)
    return {"Y": centred / spread * G[..., None, :] + B[..., None, :]}


def rms_norm(X: Array, G: Array, eps: float) -> dict[str, Array]:
    """``Y = X / sqrt(mean(X^2) + eps) * G`` (arXiv 1910.07467); shapes as ``layer_norm``."""
    spread = np.sqrt(np.mean(np.square(X), axis=-1, keepdims=True) + eps)
    return {"Y": X / spread * G[..., None, :]}


def rms_norm_projection(X: Array, G: Array, W: Array, eps: float) -> dict[str, Array]:
    """``rms_norm`` followed by a linear layer ``W`` of shape (..., D, J)."""
    return {"O": rms_norm(X, G, eps)["Y"] @ W}


def deit_lt_loss(
    CLS: Array,
    DIST: Array,
    LB: Array,
    TB: Array,
    EN: Array,
    alpha: float = 0.5,
) -> dict[str, Array]:
    """DeiT-LT's loss of every image (arXiv 2404.02900).

    Parameters
    ----------
    CLS, DIST : array
        Logits (N, C) of the class token and of the distillation token.
    LB, TB : array
        Labels (N,) and the classes (N,) a teacher gives.
    EN : array
        Effective number of images of each class (C,).
    alpha : float
        The share of the distillation.
    """
    weights = 1 / EN
    weights = weights * len(weights) / weights.sum()
    labels, taught = np.asarray(LB, int), np.asarray(TB, int)
    rows = np.arange(len(labels))
    own = -log_softmax(CLS)["Y"][rows, labels]
    teacher = -log_softmax(DIST)["Y"][rows, taught]
    return {"LOSS": (1 - alpha) * own + alpha * weights[taught] * teacher}
