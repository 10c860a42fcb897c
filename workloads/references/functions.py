"""Functions that several references apply to arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, element by element."""
    with np.errstate(over="ignore"):  # far below zero it is zero
        return np.asarray(1 / (1 + np.exp(-x)))


def softmax(scores: Array) -> Array:
    """Along the last axis, the largest score taken out first; of no scores, nothing."""
    raised = np.exp(scores - np.max(scores, axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def softmax_by_log(scores: Array) -> Array:
    """Along the last axis, by the logarithm of the sum: rounded otherwise than ``softmax``."""
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)))


def layer_norm(x: Array, eps: float, axes: int = 1) -> Array:
    """``x`` less its mean, over its deviation, along the last axes."""
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
