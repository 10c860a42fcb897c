"""Recurrences from a state on: of one token (decode), and of several (a prefill, a chunk of one).

Shapes are in the cascade's index order with any parallel ranks in front (``...``). ``SI`` is
the state before the first token, ``SO`` that after the last. All go token by token.
"""

from __future__ import annotations

import numpy as np

from .functions import Array, sigmoid


def lightning_attention_step(
    Q: Array, K: Array, V: Array, SI: Array, lam: float | Array
) -> dict[str, Array]:
    """One token: ``S = lam S + k v^T``, ``o = q S`` (arXiv 2405.17381).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., E), (..., E) and (..., F).
    SI : array, shape (..., E, F)
    """
    state = lam * SI + K[..., :, None] * V[..., None, :]
    return {"O": np.einsum("...e,...ef->...f", Q, state), "SO": state}


def lightning_attention_resumed(
    Q: Array, K: Array, V: Array, SI: Array, lam: float | Array
) -> dict[str, Array]:
    """``lightning_attention_step`` for every position of Q, K and V of shapes (..., P, .)."""
    state, rows = SI, []
    for t in range(Q.shape[-2]):
        found = lightning_attention_step(Q[..., t, :], K[..., t, :], V[..., t, :], state, lam)
        state = found["SO"]
        rows.append(found["O"])
    return {"O": np.stack(rows, axis=-2), "SO": state}


def lightning_attention_prefill(
    Q: Array, K: Array, V: Array, lam: float | Array
) -> dict[str, Array]:
    """``lightning_attention_resumed`` from a state of zeros."""
    return lightning_attention_resumed(Q, K, V, _zeros(K, V), lam)


def _zeros(keys: Array, values: Array) -> Array:
    """The state before keys (..., P, E) and values (..., P, F): shape (..., E, F)."""
    return np.zeros((*values.shape[:-2], keys.shape[-1], values.shape[-1]))


def _retention_decays(heads: int) -> Array:
    return np.array([1 - 2.0 ** (-5 - h) for h in range(heads)])[:, None, None]


def retention_step(Q: Array, K: Array, V: Array, SI: Array) -> dict[str, Array]:
    """``lightning_attention_step`` with RetNet's decays, ``1 - 2^(-5-h)`` (arXiv 2307.08621).

    Shapes (..., H, E), (..., H, E), (..., H, F) and (..., H, E, F): the heads are a rank.
    """
    return lightning_attention_step(Q, K, V, SI, _retention_decays(SI.shape[-3]))


def retention_resumed(Q: Array, K: Array, V: Array, SI: Array) -> dict[str, Array]:
    """``retention_step`` for every position of Q, K and V of shapes (..., H, P, .)."""
    return lightning_attention_resumed(Q, K, V, SI, _retention_decays(SI.shape[-3]))


def retention_prefill(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """``retention_resumed`` from a state of zeros."""
    return retention_resumed(Q, K, V, _zeros(K, V))


def state_space_dual_step(
    X: Array, A: Array, BT: Array, CT: Array, SI: Array, S: int
) -> dict[str, Array]:
    """One token of Mamba-2 (arXiv 2405.21060): ``h = exp(a) h + B^T x``, ``y = C h``.

    Parameters
    ----------
    X, A : array, shapes (..., H, F) and (..., H)
    BT, CT : array, shape (..., G, N)
        Head h has those of group ``h // S``.
    SI : array, shape (..., H, N, F)
    S : int
        Heads of a group.
    """
    of = np.arange(X.shape[-2]) // S
    b, c = BT[..., of, :], CT[..., of, :]
    state = np.exp(A)[..., None, None] * SI + b[..., :, None] * X[..., None, :]
    return {"Y": (c[..., :, None] * state).sum(axis=-2), "SO": state}


def state_space_dual_resumed(
    X: Array, A: Array, BT: Array, CT: Array, SI: Array, S: int
) -> dict[str, Array]:
    """``state_space_dual_step`` for every position of X, BT and CT (..., P, .) and A (..., P)."""
    state, rows = SI, []
    for t in range(X.shape[-2]):
        x, b, c = (v[..., t, :] for v in (X, BT, CT))
        found = state_space_dual_step(x, A[..., t], b, c, state, S)
        state = found["SO"]
        rows.append(found["Y"])
    return {"Y": np.stack(rows, axis=-2), "SO": state}


def state_space_dual_prefill(X: Array, A: Array, BT: Array, CT: Array, S: int) -> dict[str, Array]:
    """``state_space_dual_resumed`` from a state of zeros."""
    return state_space_dual_resumed(X, A, BT, CT, _zeros(BT, X), S)


def gated_delta_rule_step(
    Q: Array, K: Array, V: Array, BETA: Array, A: Array, SI: Array, S: int
) -> dict[str, Array]:
    """One token of the gated delta rule (arXiv 2412.06464) with heads in groups.

    Parameters
    ----------
    Q, K : array, shape (..., G, E)
        Head h has those of group ``h // S``.
    V : array, shape (..., H, F)
    BETA, A : array, shape (..., H)
    SI : array, shape (..., H, E, F)
    S : int
        Heads of a group.
    """
    of = np.arange(V.shape[-2]) // S
    decays = np.broadcast_to(A[..., None], (*A.shape, Q.shape[-1]))
    return kimi_delta_attention_step(Q[..., of, :], K[..., of, :], V, BETA, decays, SI)


def kimi_delta_attention_step(
    Q: Array, K: Array, V: Array, BETA: Array, A: Array, SI: Array
) -> dict[str, Array]:
    """One token of Kimi Delta Attention (arXiv 2510.26692): a decay a channel of the key.

    The state decays, ``exp(a) S``; then what it has for the key is moved to the value by BETA.

    Parameters
    ----------
    Q, K, A : array, shape (..., H, E)
        Queries and keys are made unit vectors, queries over ``sqrt(E)``.
    V : array, shape (..., H, F)
    BETA : array, shape (..., H)
    SI : array, shape (..., H, E, F)
    """
    q, k = (x / np.sqrt((x * x).sum(axis=-1, keepdims=True)) for x in (Q, K))
    state = np.exp(A)[..., None] * SI
    found = np.einsum("...e,...ef->...f", k, state)
    state = state + k[..., :, None] * (BETA[..., None] * (V - found))[..., None, :]
    read = np.einsum("...e,...ef->...f", q, state) / np.sqrt(Q.shape[-1])
    return {"O": read, "SO": state}


def rwkv7_step(
    R: Array, K: Array, V: Array, G: Array, KK: Array, AL: Array, SI: Array
) -> dict[str, Array]:
    """One token of RWKV-7 (arXiv 2503.14456): ``S = (diag(exp g) - kk (AL kk)^T)^T S + k v^T``.

    Parameters
    ----------
    R, K, G, KK, AL : array, shape (..., H, E)
        Removal keys KK are made unit vectors; G holds logarithms of the decays.
    V : array, shape (..., H, F)
    SI : array, shape (..., H, E, F)
    """
    unit = KK / np.sqrt((KK * KK).sum(axis=-1, keepdims=True))
    removed = (AL * unit)[..., :, None] * unit[..., None, :]
    transition = np.exp(G)[..., None] * np.eye(K.shape[-1]) - removed
    state = transition @ SI + K[..., :, None] * V[..., None, :]
    return {"O": (R[..., None, :] @ state)[..., 0, :], "SO": state}


def selective_scan_step(
    U: Array,
    DT: Array,
    BD: Array,
    A: Array,
    BT: Array,
    CT: Array,
    DS: Array,
    Z: Array,
    SI: Array,
) -> dict[str, Array]:
    """One token of Mamba's S6 (arXiv 2312.00752), as ``selective_scan`` of ``recurrent``.

    Parameters
    ----------
    U, DT, BD, DS, Z : array, shape (..., C)
    A, SI : array, shape (..., C, N)
    BT, CT : array, shape (..., N)
    """
    delta = np.logaddexp(0, DT + BD)
    state = np.exp(delta[..., None] * A) * SI + (delta * U)[..., None] * BT[..., None, :]
    y = (state * CT[..., None, :]).sum(axis=-1) + DS * U
    return {"O": y * Z * sigmoid(Z), "SO": state}


def selective_scan_resumed(
    U: Array,
    DT: Array,
    BD: Array,
    A: Array,
    BT: Array,
    CT: Array,
    DS: Array,
    Z: Array,
    SI: Array,
) -> dict[str, Array]:
    """``selective_scan_step`` for every position of U, DT, Z (..., P, C), BT, CT (..., P, N)."""
    state, rows = SI, []
    for t in range(U.shape[-2]):
        u, dt, b, c, z = (x[..., t, :] for x in (U, DT, BT, CT, Z))
        found = selective_scan_step(u, dt, BD, A, b, c, DS, z, state)
        state = found["SO"]
        rows.append(found["O"])
    return {"O": np.stack(rows, axis=-2), "SO": state}


def selective_scan_prefill(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array
) -> dict[str, Array]:
    """``selective_scan_resumed`` from a state of zeros."""
    state = np.zeros((*U.shape[:-2], *A.shape[-2:]))
    return selective_scan_resumed(U, DT, BD, A, BT, CT, DS, Z, state)


def depthwise_convolution(X: Array, W: Array, P: int) -> dict[str, Array]:
    """A causal convolution of each channel, then SiLU: ``silu(sum_t X[p + t] W[t])``.

    Parameters
    ----------
    X : array, shape (..., M, C)
        T - 1 tokens of before, then P that are computed.
    W : array, shape (..., T, C)
    P : int
    """
    y = depthwise_convolution_linear(X, W, P)["Y"]
    return {"Y": y * sigmoid(y)}


def depthwise_convolution_linear(X: Array, W: Array, P: int) -> dict[str, Array]:
    """A causal convolution of each channel: ``sum_t X[p + t] W[t]``; shapes as with SiLU.

    Tokens that X does not have (M < P + T - 1) add nothing.
    """
    taps = W.shape[-2]
    rows = []
    for p in range(P):
        met = X[..., p : p + taps, :]
        rows.append((met * W[..., : met.shape[-2], :]).sum(axis=-2))
    return {"Y": np.stack(rows, axis=-2)}
