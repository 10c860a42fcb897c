"""Attention whose heads share keys and values. Scores are not scaled (see ``attention``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _attend(q: Array, k: Array, v: Array) -> Array:
    """One head: (..., P, E), (..., M, E) and (..., M, F) to (..., P, F)."""
    return np.asarray(_softmax(q @ np.swapaxes(k, -1, -2)) @ v)


def multi_query_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Every head of ``Q`` (..., H, P, E) attends the same ``K`` (..., M, E), ``V`` (..., M, F)."""
    heads = [_attend(Q[..., h, :, :], K, V) for h in range(Q.shape[-3])]
    return {"AV": np.stack(heads, axis=-3)}


def grouped_query_attention(Q: Array, K: Array, V: Array, S: int) -> dict[str, Array]:
    """Head h of ``Q`` attends key/value head h // S (Ainslie et al., arXiv 2305.13245).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., H, P, E), (..., G, M, E) and (..., G, M, F).
    S : int
        Query heads that share a key/value head.
    """
    heads = [
        _attend(Q[..., h, :, :], K[..., h // S, :, :], V[..., h // S, :, :])
        for h in range(Q.shape[-3])
    ]
    return {"AV": np.stack(heads, axis=-3)}


def latent_attention(
    QN: Array, QR: Array, C: Array, KR: Array, WK: Array, WV: Array
) -> dict[str, Array]:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), keys and values expanded.

    Parameters
    ----------
    QN, QR : array
        Queries without and with rotary positions, (..., H, P, D) and (..., H, P, R).
    C, KR : array
        The cache: latents (..., M, L) and rotated keys (..., M, R), shared by all heads.
    WK, WV : array
        Up-projections (H, D, L) and (H, F, L), without ranks in front.
    """
    heads = []
    for h in range(QN.shape[-3]):
        keys = np.concatenate([C @ np.swapaxes(WK[h], -1, -2), KR], axis=-1)
        values = C @ np.swapaxes(WV[h], -1, -2)
        queries = np.concatenate([QN[..., h, :, :], QR[..., h, :, :]], axis=-1)
        heads.append(_attend(queries, keys, values))
    return {"AV": np.stack(heads, axis=-3)}
