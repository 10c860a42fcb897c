"""Functions of arrays that several references use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, element by element."""
    # Far below zero the exponential overflows, and the result is zero.
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def softmax(scores: Array) -> Array:
    """Return softmax along the last axis; without scores the result is empty."""
    raised = np.exp(scores - np.max(scores, axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def softmax_by_log(scores: Array) -> Array:
    """Return softmax along the last axis, computed by a log-sum-exp: it rounds differently."""
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)))


def layer_norm(x: Array, eps: float, axes: int = 1) -> Array:
    """Return ``(x - mean) / sqrt(variance + eps)`` along the last axes."""
    along = tuple(range(-axes, 0))
    mean = x.mean(axis=along, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(x.var(axis=along, keepdims=True) + eps))


def outer(a: Array, b: Array) -> Array:
    """Return the outer product of two vectors along the last axes: (..., E) and (..., F)."""
    return np.asarray(a[..., :, None] * b[..., None, :])


def row_times(row: Array, state: Array) -> Array:
    """Return a row vector (..., E) times a matrix (..., E, F)."""
    return np.asarray((row[..., None, :] @ state)[..., 0, :])


def unit_rows(x: Array) -> Array:
    """Return vectors along the last axis scaled to Euclidean length one."""
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))
