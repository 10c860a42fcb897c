"""Gated states, each as its plain recurrence, or as a sum over pairs of positions.

Shapes are in the cascades' index order with any parallel ranks in front (``...``); P is the
sequence, E and F are the widths of keys and values. A log decay ``G`` or ``A`` is at most 0.
"""

from __future__ import annotations

import numpy as np

from .functions import Array, sigmoid, softmax


def _outer(a: Array, b: Array) -> Array:
    return np.asarray(a[..., :, None] * b[..., None, :])


def _times(row: Array, state: Array) -> Array:
    """A row vector times a matrix."""
    return np.asarray((row[..., None, :] @ state)[..., 0, :])


def _unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def rwkv6(R: Array, K: Array, V: Array, G: Array, U: Array) -> dict[str, Array]:
    """RWKV-6 (arXiv 2404.05892): the state before the own key, and that key by a bonus.

    Parameters
    ----------
    G : array, shape (..., P, E)
    U : array, shape (..., E)
        One for all sequences of a batch.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(R.shape[-2]):
        own = _outer(K[..., t, :], V[..., t, :])
        rows.append(_times(R[..., t, :], state + np.asarray(U)[..., :, None] * own))
        state = np.exp(G[..., t, :])[..., None] * state + own
    return {"O": np.stack(rows, axis=-2)}


def rwkv7(R: Array, K: Array, V: Array, G: Array, KK: Array, AL: Array) -> dict[str, Array]:
    """RWKV-7 (arXiv 2503.14456): ``S = S (diag(exp g) - kk (AL kk)^T) + v k^T``, read after.

    The state is [F, E] here, as the authors have it; ``kk`` is ``KK`` made a unit vector.
    """
    unit = _unit(KK)
    state = np.zeros((*K.shape[:-2], V.shape[-1], K.shape[-1]))
    rows = []
    for t in range(R.shape[-2]):
        kk, k, v = unit[..., t, :], K[..., t, :], V[..., t, :]
        turn = np.exp(G[..., t, :])[..., None] * np.eye(K.shape[-1])
        turn = turn - _outer(kk, AL[..., t, :] * kk)
        state = state @ turn + _outer(v, k)
        rows.append((state @ R[..., t, :, None])[..., 0])
    return {"O": np.stack(rows, axis=-2)}


def kimi_delta_attention(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> dict[str, Array]:
    """KDA (arXiv 2510.26692): ``S = (I - beta k k^T) diag(exp g) S + beta k v^T``.

    Queries and keys are made unit vectors, queries scaled by 1/sqrt(E); ``G`` is (..., P, E).
    """
    queries, keys = _unit(Q) / np.sqrt(Q.shape[-1]), _unit(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        k, beta = keys[..., t, :], BETA[..., t, None, None]
        kept = np.eye(K.shape[-1]) - beta * _outer(k, k)
        state = kept @ (np.exp(G[..., t, :])[..., None] * state)
        state = state + beta * _outer(k, V[..., t, :])
        rows.append(_times(queries[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def delta_product(Q: Array, K: Array, V: Array, BETA: Array, G: Array, J: int) -> dict[str, Array]:
    """DeltaProduct (arXiv 2502.10297): J delta steps a token, after one decay.

    Parameters
    ----------
    Q : array, shape (..., P, E)
    K, V, BETA : array, shape (..., N, E), (..., N, F), (..., N)
        J steps for every token, one after the other (the last may have fewer); keys are made
        unit vectors. Or with an axis for the steps of a token, (..., P, J, E), ..., (..., P, J).
    G : array, shape (..., P)
    """
    if BETA.ndim > G.ndim:
        K, V, BETA = (x.reshape(*G.shape[:-1], -1, *x.shape[G.ndim + 1 :]) for x in (K, V, BETA))
    keys = _unit(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = np.exp(G[..., t])[..., None, None] * state
        for n in range(t * J, min((t + 1) * J, K.shape[-2])):
            k, beta = keys[..., n, :], BETA[..., n, None, None]
            kept = np.eye(K.shape[-1]) - beta * _outer(k, k)
            state = kept @ state + beta * _outer(k, V[..., n, :])
        rows.append(_times(Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def mlstm(Q: Array, K: Array, V: Array, FG: Array, IG: Array) -> dict[str, Array]:
    """mLSTM (arXiv 2405.04517) as written first: ``C = sigmoid(f) C + exp(i) k v^T``.

    ``h = q C / max(|q n|, 1)`` with the normaliser ``n = sigmoid(f) n + exp(i) k`` and queries
    scaled by 1/sqrt(E); no stabiliser, which changes nothing but the range of numbers.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    norm = np.zeros((*K.shape[:-2], K.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        keep, enter = sigmoid(FG[..., t])[..., None], np.exp(IG[..., t])[..., None]
        state = keep[..., None] * state + enter[..., None] * _outer(K[..., t, :], V[..., t, :])
        norm = keep * norm + enter * K[..., t, :]
        query = Q[..., t, :] / np.sqrt(Q.shape[-1])
        below = np.maximum(np.abs((query * norm).sum(axis=-1, keepdims=True)), 1.0)
        rows.append(_times(query, state) / below)
    return {"O": np.stack(rows, axis=-2)}


def rg_lru(X: Array, RG: Array, IG: Array, L: Array) -> dict[str, Array]:
    """RG-LRU (arXiv 2402.19427): ``h = a h + sqrt(1 - a^2) i x``, ``a = sigmoid(-L)^(8 r)``.

    Parameters
    ----------
    X, RG, IG : array, shape (..., P, C)
        ``r`` and ``i`` are the sigmoids of ``RG`` and ``IG``; the first token comes in whole.
    L : array, shape (C,)
    """
    return {"Y": rg_lru_prefill(X, RG, IG, L)["Y"]}


def rg_lru_prefill(X: Array, RG: Array, IG: Array, L: Array) -> dict[str, Array]:
    """As ``rg_lru``, with the state after the last token."""
    first = (sigmoid(IG) * X)[..., :1, :]
    rest = rg_lru_resumed(X[..., 1:, :], RG[..., 1:, :], IG[..., 1:, :], L, first[..., 0, :])
    return {"Y": np.concatenate([first, rest["Y"]], axis=-2), "SO": rest["SO"]}


def rg_lru_resumed(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """As ``rg_lru`` from a state (..., C) on: the tokens are not the first."""
    state, rows = SI, np.empty(X.shape)
    for t in range(X.shape[-2]):
        state = rg_lru_step(X[..., t, :], RG[..., t, :], IG[..., t, :], L, state)["SO"]
        rows[..., t, :] = state
    return {"Y": rows, "SO": state}


def rg_lru_step(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """One token: ``X``, ``RG``, ``IG`` and the state ``SI`` are (..., C)."""
    a = sigmoid(-L) ** (8 * sigmoid(RG))
    return {"SO": a * SI + np.sqrt(1 - a * a) * sigmoid(IG) * X}


def lightning_attention_grouped(Q: Array, K: Array, V: Array, LAM: Array) -> dict[str, Array]:
    """Lightning Attention (arXiv 2401.04658), S query heads for each of G heads of keys.

    Parameters
    ----------
    Q : array, shape (..., G, S, P, E)
    K, V : array, shape (..., G, P, E) and (..., G, P, F)
    LAM : array, shape (G, S)
        The decay of a query head.
    """
    shape = (*Q.shape[:-2], Q.shape[-1], V.shape[-1])
    state = np.zeros(shape)
    rows = []
    for t in range(Q.shape[-2]):
        own = _outer(K[..., t, :], V[..., t, :])[..., None, :, :]
        state = LAM[..., None, None] * state + own
        rows.append(_times(Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def mamba3(
    CT: Array,
    BT: Array,
    X: Array,
    DT: Array,
    LM: Array,
    AN: Array,
    Z: Array,
    A: Array,
    DSK: Array,
) -> dict[str, Array]:
    """Mamba-3 (arXiv 2603.15569), one head, with complex states in the place of rotations.

    Parameters
    ----------
    CT, BT : array, shape (..., P, I, 2)
        Pairs of channels; each is one complex number, which turns by ``pi tanh(AN) DT`` a step.
    X, Z : array, shape (..., P, F)
    DT, LM : array, shape (..., P)
        Steps, and how much of a step the new key has (the old one has the rest).
    AN : array, shape (..., P, I)
    A, DSK : array, shape (...)
        The decay of a head, negative, and the weight of its input.
    """
    queries, keys = CT[..., 0] + 1j * CT[..., 1], BT[..., 0] + 1j * BT[..., 1]
    state = np.zeros((*X.shape[:-2], BT.shape[-2], X.shape[-1]), complex)
    before = np.zeros_like(state)
    rows = []
    for t in range(X.shape[-2]):
        dt, lam = DT[..., t, None, None], LM[..., t, None, None]
        decay = np.exp(np.asarray(A)[..., None, None] * dt)
        turn = np.exp(-1j * np.pi * np.tanh(AN[..., t, :, None]) * dt)
        own = keys[..., t, :, None] * X[..., t, None, :]
        state = decay * turn * (state + (1 - lam) * dt * before) + lam * dt * own
        before = own
        read = (np.conj(queries[..., t, :, None]) * state).real.sum(axis=-2)
        gate = Z[..., t, :] * sigmoid(Z[..., t, :])
        rows.append((read + np.asarray(DSK)[..., None] * X[..., t, :]) * gate)
    return {"Y": np.stack(rows, axis=-2)}


def mamba3_mimo(
    CT: Array,
    BT: Array,
    X: Array,
    DT: Array,
    LM: Array,
    AN: Array,
    Z: Array,
    MX: Array,
    MZ: Array,
    MO: Array,
    A: Array,
    DSK: Array,
) -> dict[str, Array]:
    """Mamba-3 with R inputs and outputs of a head, as ``mamba3`` with complex states.

    Parameters
    ----------
    CT, BT : array, shape (..., P, R, I, 2)
    MX, MZ, MO : array, shape (H, R, F)
        Weights of inputs, gates and outputs, the same for all sequences.
    X, Z, DT, LM, AN, A, DSK : array
        As of ``mamba3``.
    """
    queries, keys = CT[..., 0] + 1j * CT[..., 1], BT[..., 0] + 1j * BT[..., 1]
    state = np.zeros((*X.shape[:-2], BT.shape[-2], X.shape[-1]), complex)
    before = np.zeros_like(state)
    rows = []
    for t in range(X.shape[-2]):
        dt, lam = DT[..., t, None, None], LM[..., t, None, None]
        inputs = X[..., t, None, :] * MX
        decay = np.exp(np.asarray(A)[..., None, None] * dt)
        turn = np.exp(-1j * np.pi * np.tanh(AN[..., t, :, None]) * dt)
        own = np.swapaxes(keys[..., t, :, :], -1, -2) @ inputs
        state = decay * turn * (state + (1 - lam) * dt * before) + lam * dt * own
        before = own
        read = (np.conj(queries[..., t, :, :]) @ state).real
        gate = Z[..., t, None, :] * MZ
        read = (read + np.asarray(DSK)[..., None, None] * inputs) * gate * sigmoid(gate)
        rows.append((read * MO).sum(axis=-2))
    return {"Y": np.stack(rows, axis=-2)}


def log_linear_attention(Q: Array, K: Array, V: Array, A: Array, LS: Array) -> dict[str, Array]:
    """Log-linear attention (arXiv 2506.04761) over pairs, by the highest bit that differs.

    Parameters
    ----------
    A : array, shape (..., P)
    LS : array, shape (..., P, L)
        The weight of level 0 is that of the own key, of level l that of keys whose position
        differs from the query's in bit l - 1 and in no higher one; of higher levels, 0.
    """
    rows = []
    for t in range(Q.shape[-2]):
        found = np.zeros((*V.shape[:-2], V.shape[-1]))
        for u in range(t + 1):
            level = (t ^ u).bit_length()
            if level < LS.shape[-1]:
                weight = (Q[..., t, :] * K[..., u, :]).sum(axis=-1) * LS[..., t, level]
                weight = weight * np.exp(A[..., u + 1 : t + 1].sum(axis=-1))
                found = found + weight[..., None] * V[..., u, :]
        rows.append(found)
    return {"O": np.stack(rows, axis=-2)}


def gated_slot_attention(Q: Array, K: Array, V: Array, G: Array) -> dict[str, Array]:
    """Gated slot attention (arXiv 2409.07146): what slots hold is a sum over all earlier tokens.

    Parameters
    ----------
    G : array, shape (..., P, N)
        Logarithms of the decays; slot n takes in ``1 - exp(G)`` of a token.
    """
    found = np.zeros((*Q.shape[:-1], V.shape[-1]))
    for head in np.ndindex(*Q.shape[:-2]):
        queries, keys, values, gates = (x[head] for x in (Q, K, V, G))
        for t in range(len(queries)):
            left = np.stack([gates[u + 1 : t + 1].sum(axis=0) for u in range(t + 1)])
            held = (1 - np.exp(gates[: t + 1])) * np.exp(left)
            weights = softmax(held.T @ keys[: t + 1] @ queries[t])
            found[(*head, t)] = weights @ (held.T @ values[: t + 1])
    return {"O": found}
