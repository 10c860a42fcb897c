"""AGILE3D: clicks on the objects of a scene that compete for its points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .functions import Array, layer_norm


def _attend(
    query: Array,
    key: Array,
    value: Array,
    weights: tuple[Array, Array, Array, Array],
    keep: npt.NDArray[np.bool_],
) -> Array:
    """Multi-head attention (P, D) to (M, D) over the pairs ``keep`` (P, M)."""
    WQ, WK, WV, WO = weights
    result = np.zeros(query.shape)
    for h in range(len(WQ)):
        scores = (query @ WQ[h]) @ (key @ WK[h]).T / np.sqrt(WQ.shape[2])
        scores = np.where(keep, scores, -np.inf)
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        result += raised / raised.sum(axis=1, keepdims=True) @ (value @ WV[h]) @ WO[h]
    return result


def _object_scores(mask: Array, owners: Array, objects: int) -> Array:
    """The best score of every object's clicks, for every point."""
    scores = np.full((len(mask), objects), -np.inf)
    for u, owner in enumerate(owners.astype(int)):
        scores[:, owner] = np.maximum(scores[:, owner], mask[:, u])
    return scores


def click_attention(
    X: Array,
    PX: Array,
    Q: Array,
    PQ: Array,
    OF: Array,
    WM1: Array,
    WM2: Array,
    WAQ: Array,
    WAK: Array,
    WAV: Array,
    WAO: Array,
    WBQ: Array,
    WBK: Array,
    WBV: Array,
    WBO: Array,
    WCQ: Array,
    WCK: Array,
    WCV: Array,
    WCO: Array,
    WF1: Array,
    WF2: Array,
    eps: float,
    O: int,  # noqa: E741
) -> dict[str, Array]:
    """A decoder block of AGILE3D (arXiv 2306.00977), the mask of the block before made first.

    Parameters
    ----------
    X, PX : array
        Points of the scene and their positions, (N, D).
    Q, PQ : array
        Clicks and their positions, (U, D).
    OF : array
        The object of every click, (U,); 0 is the background.
    WM1, WM2, WF1, WF2 : array
        Networks of the mask module and of the block, (D, C) and (C, D).
    WAQ, ..., WCO : array
        Clicks to scene (A), clicks to clicks (B), scene to clicks (C): heads (H, D, E) and,
        for the last letter O, (H, E, D).
    eps, O : float, int
        Of the norms; objects.

    Returns
    -------
    dict
        Clicks ``Q3`` (U, D), scene ``Y`` (N, D), and scores of the objects ``OBJ`` (N, O).
    """
    scores = _object_scores(X @ (np.maximum(layer_norm(Q, eps) @ WM1, 0) @ WM2).T, OF, O)
    allowed = scores.argmax(axis=1)[None, :] == OF[:, None]
    allowed[~allowed.any(axis=1)] = True
    clicks = layer_norm(Q + _attend(Q + PQ, X + PX, X, (WAQ, WAK, WAV, WAO), allowed), eps)
    every = np.ones((len(Q), len(Q)), bool)
    posed = clicks + PQ
    clicks = layer_norm(clicks + _attend(posed, posed, clicks, (WBQ, WBK, WBV, WBO), every), eps)
    clicks = layer_norm(clicks + np.maximum(clicks @ WF1, 0) @ WF2, eps)
    every = np.ones((len(X), len(Q)), bool)
    scene = _attend(X + PX, clicks + PQ, clicks, (WCQ, WCK, WCV, WCO), every)
    return {"Q3": clicks, "Y": layer_norm(X + scene, eps), "OBJ": scores}
