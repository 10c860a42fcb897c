"""Functions of arrays that several references use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Kept = npt.NDArray[np.bool_]
ALL: Kept = np.array(True)
"""Mask that keeps every score."""


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``, element by element."""
    # Far below zero the exponential overflows, and the result is zero.
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def softmax(scores: Array, kept: Kept = ALL) -> Array:
    """Return softmax along the last axis over the kept scores; rows without a kept score are
    zero."""
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf, where=kept)
    top = np.where(np.isfinite(top), top, 0.0)
    raised = np.where(kept, np.exp(np.where(kept, scores - top, 0.0)), 0.0)
    total = raised.sum(axis=-1, keepdims=True)
    return np.asarray(raised / np.where(total > 0, total, 1.0))


def softmax_by_log(scores: Array) -> Array:
    """Return softmax along the last axis, computed by a log-sum-exp, whose rounding differs."""
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


def scan(
    step: Callable[..., dict[str, Any]], state: Any, **sequences: npt.NDArray[Any]
) -> dict[str, Any]:
    """Apply a step to one token after the other.

    Parameters
    ----------
    step : callable
        Function of a token of each sequence, by keyword, and of the state ``SI``. It returns
        outputs by name, and the next state as ``SO``.
    state : array, or any value
        State before the first token.
    **sequences : array
        The second-last axis of the first sequence counts the tokens, in all sequences.

    Returns
    -------
    dict
        Outputs of all tokens by name, and the last state as ``SO``.
    """
    axis = next(iter(sequences.values())).ndim - 2
    rows: dict[str, list[Array]] = {}
    for token in zip(*(np.moveaxis(x, axis, 0) for x in sequences.values()), strict=True):
        found = step(**dict(zip(sequences, token, strict=True)), SI=state)
        state = found.pop("SO")
        for name, row in found.items():
            rows.setdefault(name, []).append(row)
    return {**{name: np.stack(found, axis=axis) for name, found in rows.items()}, "SO": state}


def empty_state(keys: Array, values: Array) -> Array:
    """Return zeros of shape (..., E, F) for keys (..., P, E) and values (..., P, F)."""
    return np.zeros((*values.shape[:-2], keys.shape[-1], values.shape[-1]))


def running(decays: Array, entries: Array, SI: Array | None = None) -> Array:
    """Return ``h = decay h + entry`` after every token (..., P, C), channel by channel.

    The state before the first token is ``SI`` (..., C); zeros by default.
    """

    def step(decays: Array, entries: Array, SI: Array) -> dict[str, Array]:
        state = decays * SI + entries
        return {"h": state, "SO": state}

    state = np.zeros_like(entries[..., 0, :]) if SI is None else SI
    return np.asarray(scan(step, state, decays=decays, entries=entries)["h"])


def attend_by_head(
    query: Array,
    key: Array,
    value: Array,
    weights: tuple[Array, Array, Array, Array],
    kept: Kept = ALL,
) -> Array:
    """Evaluate attention of (P, D) to (M, D), summed over heads, over the kept pairs (P, M).

    ``weights`` project queries, keys and values of each head, and its result.
    """
    heads: list[Array] = []
    for WQ, WK, WV, WO in zip(*weights, strict=True):
        scores = (query @ WQ) @ (key @ WK).T / np.sqrt(WQ.shape[-1])
        heads.append(softmax(scores, kept) @ (value @ WV) @ WO)
    return np.asarray(np.sum(heads, axis=0))
