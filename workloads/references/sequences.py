"""Attention over sequences whose weights are unusual: positions, turned keys, pointers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


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
        weights = _softmax((PE @ query) @ (PE @ key).T / np.sqrt(WQ.shape[-1]))
        mixed += weights @ (X @ value) @ out
    both = np.concatenate([X, mixed], axis=-1)
    return {"Z": np.maximum(both @ np.concatenate([W1, W2]), 0) @ W3}


def bidirectional_causal_attention(
    Q: Array, K: Array, V: Array, TH: Array, KEEP: Array
) -> dict[str, Array]:
    """BICO attention (arXiv 2311.07468): scores ``q R(-|p - m|) k / sqrt(2 U)``.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, U, 2), (..., P, U, 2) and (..., P, F); pairs are complex numbers.
    TH : array
        Angle of every pair per position, (..., U).
    KEEP : array
        0 at keys that are masked, (..., P).
    """
    query, key = Q[..., 0] + 1j * Q[..., 1], K[..., 0] + 1j * K[..., 1]
    length, pairs = query.shape[-2:]
    result = np.zeros(V.shape)
    for at in np.ndindex(Q.shape[:-3]):
        kept = KEEP[at] == 1
        for p in range(length):
            if not kept.any():
                continue
            distance = np.abs(p - np.arange(length))[:, None]
            turned = key[at] * np.exp(-1j * distance * TH[at])
            scores = (query[at][p].conj() * turned).real.sum(axis=-1) / np.sqrt(2 * pairs)
            result[at][p] = _softmax(scores[kept]) @ V[at][kept]
    return {"O": result}


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
    shares = _softmax(logits + BIAS)
    return {"A": shares[..., :-1], "AE": shares[..., -1]}


def in_context_regression(X: Array, Y: Array, XQ: Array, OM: Array, MU: Array) -> dict[str, Array]:
    """``sum_h MU_h sum_l Y_l softmax_l(OM_h x_l . x_q)`` (arXiv 2503.12734).

    Parameters
    ----------
    X, Y, XQ : array
        Examples (B, L, D), their labels (B, L), and queries (B, D).
    OM, MU : array
        Scale and weight of every head, (H,).
    """
    products = np.einsum("bld,bd->bl", X, XQ)
    heads = [mu * (_softmax(om * products) * Y).sum(axis=-1) for om, mu in zip(OM, MU, strict=True)]
    return {"YQ": np.sum(heads, axis=0)}
