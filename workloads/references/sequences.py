"""Attention whose weights come from positions alone, and attention that only points."""

from __future__ import annotations

import numpy as np

from .functions import Array, softmax


def positional_attention(
    PE: Array,
    X: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    WO: Array,
    W1: Array,
    W2: Array,
    W3: Array,
) -> dict[str, Array]:
    """A layer of the positional Transformer (arXiv 2410.01686).

    Parameters
    ----------
    PE, X : array
        Positions (I, A), the same for every input, and inputs (B, I, D).
    WQ, WK, WV, WO : array
        Heads: (H, A, E), (H, A, E), (H, D, F) and (H, F, D).
    W1, W2, W3 : array
        Network over [X ; Y]: (D, G) for X, (D, G) for Y, and (G, D).
    """
    mixed = np.zeros_like(X)
    for query, key, value, out in zip(WQ, WK, WV, WO, strict=True):
        weights = softmax((PE @ query) @ (PE @ key).T / np.sqrt(WQ.shape[-1]))
        mixed += weights @ (X @ value) @ out
    both = np.concatenate([X, mixed], axis=-1)
    return {"Z": np.maximum(both @ np.concatenate([W1, W2]), 0) @ W3}


def oat_pointer(
    X: Array, C: Array, WD: Array, WE: Array, W: Array, BIAS: Array
) -> dict[str, Array]:
    """The pointer of OAT (arXiv 2407.13335) over objects and an end token.

    Parameters
    ----------
    X, C : array
        Decoder states (B, T, D) and encoded objects (B, N, D).
    WD, WE : array
        Projections of the heads, (H, D, E) both.
    W, BIAS : array
        Linear read-out over heads (H,), and its bias.

    Returns
    -------
    dict
        Probabilities of the objects, ``A`` (B, T, N), and of the end, ``AE`` (B, T).
    """
    logits = np.zeros((X.shape[0], X.shape[1], C.shape[1] + 1))
    for decoder, encoder, weight in zip(WD, WE, W, strict=True):
        heads = (X @ decoder) @ np.swapaxes(C @ encoder, -1, -2)
        ended = np.concatenate([heads, np.zeros((*heads.shape[:2], 1))], axis=-1)
        logits += weight * ended / np.sqrt(WD.shape[-1])
    shares = softmax(logits + BIAS)
    return {"A": shares[..., :-1], "AE": shares[..., -1]}
