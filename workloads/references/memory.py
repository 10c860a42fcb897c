"""Memories that learn while they read, and attention of other kinds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def titans_memory(
    Q: Array, K: Array, V: Array, AL: Array, ET: Array, TH: Array, P0: int = 1
) -> dict[str, Array]:
    """Titans' neural memory (arXiv 2501.00663, eqs. 12-14), a linear map, token by token.

    ``S = eta S - theta grad``, ``M = (1 - alpha) M + S``, ``y = q M``, with the gradient
    ``2 k^T (k M' - v)`` of ``|k M' - v|^2`` taken at the memory M' with which the token's
    chunk began. With chunks of one token that is the memory before the token.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    AL, ET, TH : array, shape (..., P)
        Forgetting, momentum and step.
    P0 : int
        Tokens of a chunk: a part of what is computed.
    """
    memory = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    surprise = np.zeros_like(memory)
    start = memory
    rows = []
    for t in range(Q.shape[-2]):
        if t % P0 == 0:
            start = memory
        key = K[..., t, :, None]
        error = (key * start).sum(axis=-2) - V[..., t, :]
        gradient = 2 * key * error[..., None, :]
        surprise = ET[..., t, None, None] * surprise - TH[..., t, None, None] * gradient
        memory = (1 - AL[..., t, None, None]) * memory + surprise
        rows.append((Q[..., t, :, None] * memory).sum(axis=-2))
    return {"Y": np.stack(rows, axis=-2)}


def in_context_regression(X: Array, Y: Array, XQ: Array, OM: Array, MU: Array) -> dict[str, Array]:
    """``sum_h mu_h sum_l y_l softmax_l(omega_h x_l . x_q)`` (arXiv 2503.12734).

    Parameters
    ----------
    X, Y : array
        Examples: covariates (..., M, E) and labels (..., M).
    XQ : array, shape (..., P, E)
        Covariates to predict a label for.
    OM, MU : array, shape (..., H)
        Scales of every head's scores and of its values.
    """
    total = np.zeros(XQ.shape[:-1])
    for h in range(OM.shape[-1]):
        scores = OM[..., h, None, None] * (XQ[..., :, None, :] * X[..., None, :, :]).sum(axis=-1)
        weights = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        total = total + MU[..., h, None] * (weights * Y[..., None, :]).sum(axis=-1)
    return {"O": total}


def bico_attention(
    QA: Array, QB: Array, KA: Array, KB: Array, V: Array, COS: Array, SIN: Array
) -> dict[str, Array]:
    """BICO (arXiv 2311.07468): rotary attention over all keys, later ones rotated backwards.

    Each pair of halves is a complex number, turned by the angle of its position: forwards
    for keys up to the query, backwards for keys after it. Scores are divided by the root of
    the width.

    Parameters
    ----------
    QA, QB, KA, KB : array, shape (..., P, R)
        First and second halves of queries and keys.
    V : array, shape (..., P, F)
    COS, SIN : array, shape (..., P, R)
        Of the angle of every position and pair.
    """
    q, k, turn = QA + 1j * QB, KA + 1j * KB, COS + 1j * SIN
    length, width = QA.shape[-2:]
    rows = []
    for i in range(length):
        scores = np.zeros((*QA.shape[:-2], length))
        for j in range(length):
            a, b = (turn[..., i, :], turn[..., j, :])
            if j > i:
                a, b = a.conj(), b.conj()
            product = q[..., i, :] * a * (k[..., j, :] * b).conj()
            scores[..., j] = product.real.sum(axis=-1) / np.sqrt(2 * width)
        weights = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        rows.append((weights[..., None] * V).sum(axis=-2))
    return {"AV": np.stack(rows, axis=-2)}
