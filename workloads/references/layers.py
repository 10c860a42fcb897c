"""Linear layers, and the activation functions that follow them in feed-forward networks."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np

from .functions import Array


def linear_layer(X: Array, W: Array) -> dict[str, Array]:
    """``Z = X W``; ``X`` of shape (..., N, D), ``W`` of shape (..., D, J)."""
    return {"Z": X @ W}


def linear_layer_squared_relu(X: Array, W: Array) -> dict[str, Array]:
    """``max(0, x W) ** 2``."""
    return {"Z": np.where(X @ W > 0, (X @ W) ** 2, 0.0)}


def linear_layer_relu(X: Array, W: Array) -> dict[str, Array]:
    """``Z = max(X W, 0)``; shapes as ``linear_layer``."""
    return {"Z": np.maximum(X @ W, 0.0)}


def linear_layer_softcap(X: Array, W: Array, cap: float) -> dict[str, Array]:
    """``Z = cap * tanh(X W / cap)``; shapes as ``linear_layer``."""
    return {"Z": cap * np.tanh(X @ W / cap)}


def linear_layer_gelu(X: Array, W: Array) -> dict[str, Array]:
    """``Z = U Phi(U)`` of ``U = X W``, with the normal distribution Phi (arXiv 1606.08415)."""
    return {"Z": np.vectorize(_gelu, otypes=[np.float64])(X @ W)}


def _gelu(u: float) -> float:
    return u * erfc(-u / sqrt(2)) / 2


def linear_layer_swiglu(X: Array, WG: Array, WU: Array) -> dict[str, Array]:
    """``Z = silu(X WG) * (X WU)`` element by element, ``silu(g) = g / (1 + exp(-g))``.

    Both weights have the shape (..., D, J) (arXiv 2002.05202).
    """
    gate = X @ WG
    return {"Z": gate * np.exp(-np.logaddexp(0.0, -gate)) * (X @ WU)}


def linear_layer_swiglu_clamped(
    X: Array, WG: Array, WU: Array, limit: float, slope: float
) -> dict[str, Array]:
    """``Z = (u + 1) g sigma(slope g)`` of clamped products (gpt-oss).

    ``g`` is ``X WG`` up to ``limit``, ``u`` is ``X WU`` between ``-limit`` and ``limit``; both
    weights have the shape (..., D, J).
    """
    gate, up = X @ WG, np.clip(X @ WU, -limit, limit)
    gate = np.where(gate > limit, limit, gate)
    return {"Z": (up + 1) * gate * np.exp(-np.logaddexp(0.0, -slope * gate))}


def projections(X: Array, WQ: Array, WK: Array, WV: Array) -> dict[str, Array]:
    """Queries, keys and values of each head: ``Q[h] = X WQ[:, h]`` and so on.

    Parameters
    ----------
    X : array, shape (N, D)
    WQ, WK, WV : array, shapes (D, H, E), (D, H, E) and (D, H, F)
    """
    by_head = {"Q": WQ, "K": WK, "V": WV}
    return {name: np.stack([X @ w for w in np.moveaxis(W, 1, 0)]) for name, W in by_head.items()}


def output_projection(AV: Array, WO: Array) -> dict[str, Array]:
    """``O``: the sum over heads of ``AV[h] WO[h]``; shapes (H, N, F) and (H, F, D)."""
    return {"O": (AV @ WO).sum(axis=0)}


def feed_forward(X: Array, W1: Array, W2: Array) -> dict[str, Array]:
    """``Y = gelu(X W1) W2``; shapes (N, D), (D, S) and (S, D)."""
    return {"Y": linear_layer_gelu(X, W1)["Z"] @ W2}


def rotary_positions(Q: Array, base: float, first: float) -> dict[str, Array]:
    """Rotary positions (arXiv 2104.09864): complex numbers of two halves, turned.

    Parameters
    ----------
    Q : array, shape (..., P, 2, I)
    base, first : float
        Channel i turns by ``base^(-i/I)`` a token; the place of the first one.
    """
    tokens, channels = Q.shape[-3], Q.shape[-1]
    angles = np.outer(first + np.arange(tokens), base ** -(np.arange(channels) / channels))
    turned = (Q[..., 0, :] + 1j * Q[..., 1, :]) * np.exp(1j * angles)
    return {"X": np.stack([turned.real, turned.imag], axis=-2)}
