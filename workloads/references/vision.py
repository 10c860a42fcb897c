"""Attention over images: pooled agents and super tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _cell_means(image: Array, height: int, width: int) -> Array:
    """Means over cells of an image (rows, columns, ...); the last cells may be smaller."""
    rows = range(0, image.shape[0], height)
    columns = range(0, image.shape[1], width)
    means = [
        [image[y : y + height, x : x + width].mean(axis=(0, 1)) for x in columns] for y in rows
    ]
    return np.asarray(means)


def _depthwise(image: Array, weights: Array) -> Array:
    """A 3 x 3 convolution of every channel by itself: (Y, X, F) with (F, 3, 3)."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    found = np.zeros_like(image)
    for dy in range(3):
        for dx in range(3):
            found += padded[dy : dy + height, dx : dx + width] * weights[:, dy, dx]
    return found


def agent_attention(
    Q: Array, K: Array, V: Array, B1: Array, B2: Array, WD: Array, CY: int, CX: int
) -> dict[str, Array]:
    """Agent attention (arXiv 2312.08874) over a map without a class token.

    Parameters
    ----------
    Q, K, V : array
        Shapes (B, H, Y, X, E), (B, H, Y, X, E) and (B, H, Y, X, F).
    B1, B2 : array
        Biases (H, AY, AX, Y, X) and (H, Y, X, AY, AX).
    WD : array
        Depthwise filters (H, F, 3, 3).
    CY, CX : int
        Rows and columns of the cell that one agent is pooled from.
    """
    batch, heads, height, width, channels = Q.shape
    result = np.zeros((batch, heads, height, width, V.shape[-1]))
    for b, h in np.ndindex(batch, heads):
        agents = _cell_means(Q[b, h], CY, CX)
        agents = agents.reshape(-1, channels)
        queries, keys = Q[b, h].reshape(-1, channels), K[b, h].reshape(-1, channels)
        values = V[b, h].reshape(height * width, -1)
        first = agents @ keys.T / np.sqrt(channels) + B1[h].reshape(len(agents), -1)
        gathered = _softmax(first) @ values
        second = queries @ agents.T / np.sqrt(channels) + B2[h].reshape(-1, len(agents))
        spread = _softmax(second) @ gathered
        result[b, h] = spread.reshape(height, width, -1) + _depthwise(V[b, h], WD[h])
    return {"O": result}


def super_token_attention(
    X: Array, WQ: Array, WK: Array, WV: Array, WO: Array, CI: int, CJ: int
) -> dict[str, Array]:
    """Super token attention (arXiv 2211.11167) with one iteration of association.

    Parameters
    ----------
    X : array
        Pixels (I, J, C).
    WQ, WK, WV, WO : array
        Projections (H, C, D), (H, C, D), (H, C, F) and (H, F, C).
    CI, CJ : int
        Rows and columns of a cell.
    """
    means = _cell_means(X, CI, CJ)
    rows, columns, channels = means.shape
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    shares = np.zeros((*X.shape[:2], 9))
    sums, masses = np.zeros_like(means), np.zeros((rows, columns, 1))
    for y, x in np.ndindex(X.shape[:2]):
        cell = [(y // CI + i, x // CJ + j) for i, j in around]
        inside = [0 <= i < rows and 0 <= j < columns for i, j in cell]
        # A neighbour outside of the grid is a zero vector, and takes its share.
        scores = [X[y, x] @ means[s] if ok else 0.0 for s, ok in zip(cell, inside, strict=True)]
        shares[y, x] = _softmax(np.asarray(scores) / np.sqrt(channels))
        for share, at, ok in zip(shares[y, x], cell, inside, strict=True):
            if ok:
                sums[at] += share * X[y, x]
                masses[at] += share
    tokens = (sums / (masses + 1e-12)).reshape(-1, channels)
    mixed: Array = np.zeros_like(tokens)
    for h in range(len(WQ)):
        scores_h = (tokens @ WQ[h]) @ (tokens @ WK[h]).T / np.sqrt(WQ.shape[2])
        mixed += _softmax(scores_h) @ (tokens @ WV[h]) @ WO[h]
    cells: Array = mixed.reshape(means.shape)
    result = np.zeros_like(X)
    for y, x in np.ndindex(X.shape[:2]):
        for share, (i, j) in zip(shares[y, x], around, strict=True):
            at = (y // CI + i, x // CJ + j)
            if 0 <= at[0] < rows and 0 <= at[1] < columns:
                result[y, x] += share * cells[at]
    return {"Y": result}
