"""Gated and recurrent relatives of linear attention, each as a loop over positions.

Shapes are in the cascade's index order with any parallel ranks in front (``...``); P is the
sequence, E and F are the widths of keys and values. A state is carried from one position to
the next, as the papers' recurrent forms say; no chunks, no matrices over pairs of positions.
"""

from __future__ import annotations

import numpy as np

from .functions import Array, sigmoid


def _softplus(x: Array) -> Array:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


def _unit(x: Array) -> Array:
    """Rows of Euclidean length one."""
    return np.asarray(x / np.sqrt((x * x).sum(axis=-1, keepdims=True)))


def _outer(a: Array, b: Array) -> Array:
    return np.asarray(a[..., :, None] * b[..., None, :])


def _times(a: Array, state: Array) -> Array:
    """The row vector ``a`` times a matrix."""
    return np.asarray((a[..., :, None] * state).sum(axis=-2))


def retention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """RetNet's retention (arXiv 2307.08621): ``S = gamma S + k^T v``, ``o = q S``.

    ``gamma = 1 - 2^(-5-h)`` for head h from 0. Neither the projections nor the rotation
    before it, nor the group norm and gate behind it.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., H, P, E), (..., H, P, E) and (..., H, P, F): the heads are a rank.
    """
    heads = Q.shape[-3]
    gamma = np.array([1 - 2.0 ** (-5 - h) for h in range(heads)])[:, None, None]
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = gamma * state + _outer(K[..., t, :], V[..., t, :])
        rows.append(_times(Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def retention_normalised(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """``retention``, each head's output divided by its root mean square, without an epsilon."""
    o = retention(Q, K, V)["O"]
    return {"O": o / np.sqrt((o * o).mean(axis=-1, keepdims=True))}


def gated_linear_attention(Q: Array, K: Array, V: Array, G: Array) -> dict[str, Array]:
    """GLA (arXiv 2312.06635): ``S = diag(exp g) S + k^T v``, ``o = E^-1/2 q S``.

    ``G`` of shape (..., P, E) holds the logarithms of the gates, at most 0.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = np.exp(G[..., t, :])[..., None] * state + _outer(K[..., t, :], V[..., t, :])
        rows.append(_times(Q[..., t, :], state) / np.sqrt(Q.shape[-1]))
    return {"O": np.stack(rows, axis=-2)}


def selective_scan(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array
) -> dict[str, Array]:
    """Mamba's S6 (arXiv 2312.00752), as ``selective_scan_ref`` of its authors.

    Per channel c with N states: ``delta = softplus(DT + BD)``,
    ``h = exp(delta A) h + delta B u``, ``y = C h + DS u``, gated by ``silu(Z)``.

    Parameters
    ----------
    U, DT, Z : array, shape (..., P, C)
    A : array, shape (..., C, N)
        Negative.
    BT, CT : array, shape (..., P, N)
        Shared by all channels.
    BD, DS : array, shape (..., C)
    """
    state = np.zeros((*U.shape[:-2], *A.shape[-2:]))
    rows = []
    for t in range(U.shape[-2]):
        delta = _softplus(DT[..., t, :] + BD)
        state = np.exp(delta[..., None] * A) * state
        state = state + _outer(delta * U[..., t, :], BT[..., t, :])
        y = (state * CT[..., t, None, :]).sum(axis=-1) + DS * U[..., t, :]
        rows.append(y * Z[..., t, :] * sigmoid(Z[..., t, :]))
    return {"O": np.stack(rows, axis=-2)}


def state_space_dual(X: Array, A: Array, BT: Array, CT: Array) -> dict[str, Array]:
    """Mamba-2 (arXiv 2405.21060), one head: ``h = exp(a) h + B^T x``, ``y = C h``.

    Parameters
    ----------
    X : array, shape (..., P, F)
        Inputs, already times the step.
    A : array, shape (..., P)
        Logarithms of the decays, at most 0.
    BT, CT : array, shape (..., P, N)
    """
    state = np.zeros((*BT.shape[:-2], BT.shape[-1], X.shape[-1]))
    rows = []
    for t in range(X.shape[-2]):
        decay = np.exp(A[..., t])[..., None, None]
        state = decay * state + _outer(BT[..., t, :], X[..., t, :])
        rows.append(_times(CT[..., t, :], state))
    return {"Y": np.stack(rows, axis=-2)}


def gated_delta_rule(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> dict[str, Array]:
    """Gated DeltaNet (arXiv 2412.06464): the state forgets, then is corrected at one key.

    ``S = exp(g) S``; ``S += k^T beta (v - k S)``; ``o = E^-1/2 q S`` with rows of Q and K
    scaled to length one.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    BETA, G : array, shape (..., P)
        How strongly to correct (0 to 1), and the logarithms of the decays, at most 0.
    """
    q, k = _unit(Q), _unit(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = np.exp(G[..., t])[..., None, None] * state
        error = BETA[..., t, None] * (V[..., t, :] - _times(k[..., t, :], state))
        state = state + _outer(k[..., t, :], error)
        rows.append(_times(q[..., t, :], state) / np.sqrt(Q.shape[-1]))
    return {"O": np.stack(rows, axis=-2)}


def delta_rule(Q: Array, K: Array, V: Array, BETA: Array) -> dict[str, Array]:
    """DeltaNet (arXiv 2406.06484): ``S = (I - beta k^T k) S + beta k^T v``."""
    q, k = _unit(Q), _unit(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        beta = BETA[..., t, None, None]
        turn = np.eye(K.shape[-1]) - beta * _outer(k[..., t, :], k[..., t, :])
        state = turn @ state + beta * _outer(k[..., t, :], V[..., t, :])
        rows.append(_times(q[..., t, :], state) / np.sqrt(Q.shape[-1]))
    return {"O": np.stack(rows, axis=-2)}


def qlstm(U: Array, WF: Array, WI: Array, WO: Array) -> dict[str, Array]:
    """The qLSTM recurrence (arXiv 2405.15731): gates depend on the input alone.

    ``h = sigmoid(u WF) h + sigmoid(u WI) u``, ``y = sigmoid(u WO) h``, channel by channel.

    Parameters
    ----------
    U : array, shape (..., P, C)
    WF, WI, WO : array, shape (..., C, D)
        From channels to channels; D = C.
    """
    state = np.zeros(U.shape[:-2] + U.shape[-1:])
    rows = []
    for t in range(U.shape[-2]):
        u = U[..., t, :]
        state = sigmoid(_times(u, WF)) * state + sigmoid(_times(u, WI)) * u
        rows.append(sigmoid(_times(u, WO)) * state)
    return {"Y": np.stack(rows, axis=-2)}


def qlstm_reversed(U: Array, WF: Array, WI: Array, WO: Array, AL: Array) -> dict[str, Array]:
    """``qlstm`` with the forget gate ``sigmoid(-f) ** relu(alpha)``.

    It equals S6's ``exp(-alpha softplus(f))``; ``AL`` of shape (..., C).
    """
    state = np.zeros(U.shape[:-2] + U.shape[-1:])
    rows = []
    for t in range(U.shape[-2]):
        u = U[..., t, :]
        forget = sigmoid(-_times(u, WF)) ** np.maximum(AL, 0)
        state = forget * state + sigmoid(_times(u, WI)) * u
        rows.append(sigmoid(_times(u, WO)) * state)
    return {"Y": np.stack(rows, axis=-2)}


def dynamical_system(LAM: Array, BU: Array, CY: Array, DY: Array, U: Array) -> dict[str, Array]:
    """The dynamical systems framework (arXiv 2405.15731): ``h = Lam h + B u``, ``y = C h + D u``.

    Parameters
    ----------
    LAM : array, shape (..., P, N)
        Diagonals of the transition matrices, one a position.
    BU, CY, DY : array
        Shapes (..., P, N, D), (..., P, D, N) and (..., P, D, D).
    U : array, shape (..., P, D)
    """
    state = np.zeros(LAM.shape[:-2] + LAM.shape[-1:])
    rows = []
    for t in range(U.shape[-2]):
        u = U[..., t, :, None]
        state = LAM[..., t, :] * state + (BU[..., t, :, :] @ u)[..., 0]
        rows.append((CY[..., t, :, :] @ state[..., None] + DY[..., t, :, :] @ u)[..., 0])
    return {"Y": np.stack(rows, axis=-2)}
