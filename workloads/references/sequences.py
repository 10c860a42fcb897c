"""Attention by position alone, pointers, and Look Once to Hear (arXiv 2405.06289) by frames."""

from __future__ import annotations

import numpy as np

from .functions import Array, layer_norm, sigmoid, softmax


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


def _step(x: Array, hidden: Array, cell: Array, W: Array, U: Array) -> tuple[Array, Array]:
    """One step of an LSTM: ``x`` (..., C), state (..., U), weights (4, U, C) and (4, U, U)."""
    into, forget, new, out = (x @ W[g].T + hidden @ U[g].T for g in range(4))
    cell = sigmoid(forget) * cell + sigmoid(into) * np.tanh(new)
    return sigmoid(out) * np.tanh(cell), cell


def look_once_to_hear_lstm(
    X: Array,
    WF: Array,
    UF: Array,
    WB: Array,
    UB: Array,
    OF: Array,
    OB: Array,
    WT: Array,
    UT: Array,
    OT: Array,
    T0: Array,
    C0: Array,
    eps: float,
) -> dict[str, Array]:
    """A bidirectional LSTM over bins, then an LSTM over time, both with norm and residual.

    Parameters
    ----------
    X : array
        Frames (T, N, C).
    WF, UF, OF, WB, UB, OB : array
        Forward and backward LSTM (4, U, C), (4, U, U), and their projections (U, C).
    WT, UT, OT : array
        LSTM over time, likewise.
    T0, C0 : array
        Its hidden and cell state before the first frame, (N, U).
    """
    bins = range(X.shape[1])
    result = np.zeros_like(X)
    hidden, cell = T0, C0
    for t, frame in enumerate(X):
        mixed = frame.copy()
        normed = layer_norm(frame, eps)
        for W, U, out, order in ((WF, UF, OF, bins), (WB, UB, OB, reversed(bins))):
            state = memory = np.zeros(U.shape[1])
            for n in order:
                state, memory = _step(normed[n], state, memory, W, U)
                mixed[n] += state @ out
        hidden, cell = _step(layer_norm(mixed, eps), hidden, cell, WT, UT)
        result[t] = mixed + hidden @ OT
    return {"Y": result}


def look_once_to_hear_attention(
    X: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    WP: Array,
    KB: Array,
    VB: Array,
    slope: float,
    eps: float,
) -> dict[str, Array]:
    """Attention of every frame to itself and the L frames before, all bins of a frame at once.

    Parameters
    ----------
    X : array
        Frames (T, N, C).
    WQ, WK, WV, WP : array
        Heads (H, C, E), (H, C, E), (H, C, F) and (H, F, C).
    KB, VB : array
        Keys (H, L, N, E) and values (H, L, N, F) of the frames before the first.
    slope, eps : float
        Of the rectifier where it is negative; of the norms.
    """

    def shaped(x: Array, axes: int) -> Array:
        return layer_norm(np.where(x > 0, x, slope * x), eps, axes)

    result = np.zeros_like(X)
    keys, values = list(np.swapaxes(KB, 0, 1)), list(np.swapaxes(VB, 0, 1))
    for t, frame in enumerate(X):
        query = shaped(np.einsum("nc,hce->hne", frame, WQ), 2)
        keys.append(shaped(np.einsum("nc,hce->hne", frame, WK), 2))
        values.append(shaped(np.einsum("nc,hcf->hnf", frame, WV), 2))
        mixed = np.zeros_like(frame)
        for h in range(len(WQ)):
            window = [k[h].ravel() for k in keys[t:]]
            scores = np.stack(window) @ query[h].ravel() / np.sqrt(query[h].size)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            mixed += np.einsum("w,wnf->nf", weights, np.stack([v[h] for v in values[t:]])) @ WP[h]
        result[t] = frame + shaped(mixed, 2)
    return {"Y": result}
