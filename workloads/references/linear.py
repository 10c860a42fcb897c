"""Linear attention, with and without decay, and with gated states.

Causal forms are plain recurrences over positions, or sums over pairs of positions. Shapes are in
the cascades' index order with any parallel ranks in front (``...``).
"""

from __future__ import annotations

import math

import numpy as np

from .functions import Array, outer, row_times, sigmoid, softmax, unit_rows


def _features(x: Array) -> Array:
    """Return elu(x) + 1, the feature map of Katharopoulos et al. (arXiv 2006.16236)."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def linear_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return normalised linear attention over all keys, with features elu + 1 (arXiv
    2006.16236).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., M, E) and (..., M, F).
    """
    weights = _features(Q) @ np.swapaxes(_features(K), -1, -2)
    return {"O": weights @ V / weights.sum(axis=-1, keepdims=True)}


def linear_attention_causal(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return normalised linear attention over the keys m <= p, by S += k v^T and z += k."""
    q, k = _features(Q), _features(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    total = np.zeros((*K.shape[:-2], K.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        if t < K.shape[-2]:
            state = state + k[..., t, :, None] * V[..., t, None, :]
            total = total + k[..., t, :]
        above = np.einsum("...e,...ef->...f", q[..., t, :], state)
        below = np.einsum("...e,...e->...", q[..., t, :], total)
        rows.append(above / below[..., None])
    return {"O": np.stack(rows, axis=-2)}


def lightning_attention(Q: Array, K: Array, V: Array, lam: float) -> dict[str, Array]:
    """Return causal linear attention with decay ``lam``: S = lam S + k v^T, o = q S.

    There is no feature map and no normalisation (TransNormerLLM, arXiv 2405.17381; RetNet before
    its norm).
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = lam * state
        if t < K.shape[-2]:
            state = state + K[..., t, :, None] * V[..., t, None, :]
        rows.append(np.einsum("...e,...ef->...f", Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def lightning_attention_backward(
    Q: Array,
    K: Array,
    V: Array,
    DO: Array,
    lam: float,
) -> dict[str, Array]:
    """Return gradients of ``lightning_attention`` for P = M from ``DO``, the gradient of its
    output.

    ``DQ[t] = S[t] DO[t]`` going forwards; ``R[t] = lam R[t+1] + q[t] DO[t]^T``, ``DK[t] = R[t]
    v[t]`` and ``DV[t] = R[t]^T k[t]`` going backwards.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    back = np.zeros_like(state)
    dq, dk, dv = np.zeros_like(Q), np.zeros_like(K), np.zeros_like(V)
    for t in range(Q.shape[-2]):
        state = lam * state + K[..., t, :, None] * V[..., t, None, :]
        dq[..., t, :] = np.einsum("...ef,...f->...e", state, DO[..., t, :])
    for t in reversed(range(Q.shape[-2])):
        back = lam * back + Q[..., t, :, None] * DO[..., t, None, :]
        dk[..., t, :] = np.einsum("...ef,...f->...e", back, V[..., t, :])
        dv[..., t, :] = np.einsum("...ef,...e->...f", back, K[..., t, :])
    return {"DQ": dq, "DK": dk, "DV": dv}


def transnormer_attention(
    X: Array, WQ: Array, WK: Array, WV: Array, WU: Array, LAM: Array
) -> dict[str, Array]:
    """Return TransNormerLLM's token mixer, ``Norm(attention) * U`` over all heads (arXiv
    2307.14995).

    ``Q = silu(X WQ)``, ``K = silu(X WK)``, ``V = X WV``, ``U = X WU``; every head is
    ``lightning_attention`` with its own decay; the norm divides a position by the root mean square
    over all heads and channels.

    Parameters
    ----------
    X : array, shape (..., P, D)
    WQ, WK, WV, WU : array, shape (..., D, H, E) or (..., D, H, F)
    LAM : array, shape (..., H)
        Decays between 0 and 1.

    Returns
    -------
    dict
        ``O`` of shape (..., H, P, F).
    """

    def projected(weights: Array) -> Array:
        return np.asarray(np.einsum("...pd,...dhe->...hpe", X, weights))

    q, k = (x / (1 + np.exp(-x)) for x in (projected(WQ), projected(WK)))
    v = projected(WV)
    heads = np.zeros_like(v)
    for h in range(LAM.shape[-1]):
        state = np.zeros((*v.shape[:-3], q.shape[-1], v.shape[-1]))
        for t in range(X.shape[-2]):
            state = LAM[..., h, None, None] * state
            state = state + k[..., h, t, :, None] * v[..., h, t, None, :]
            heads[..., h, t, :] = np.einsum("...e,...ef->...f", q[..., h, t, :], state)
    size = np.sqrt((heads * heads).mean(axis=(-3, -1), keepdims=True))
    return {"O": heads / size * projected(WU)}


def normalised_attention(X: Array, WN: Array, Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return causal linear attention over ``exp(WN . x)``, a learned normaliser (arXiv
    2405.15731).

    Parameters
    ----------
    X, WN : array
        Tokens (..., P, D), and weights (..., D) of their normalisers.
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    """
    weights = np.tril(Q @ np.swapaxes(K, -1, -2))
    return {"O": weights @ V * np.exp(-np.einsum("...pd,...d->...p", X, WN))[..., None]}


def based_attention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return causal attention with weights ``1 + s + s^2 / 2`` (Based, arXiv 2402.18668)."""
    scores = Q @ np.swapaxes(K, -1, -2)
    weights = np.tril(((scores + 1) ** 2 + 1) / 2)
    return {"O": weights @ V / weights.sum(axis=-1, keepdims=True)}


def lightning_decay_paper(H: int, L: int) -> dict[str, Array]:
    """Return decays ``exp(-(8h/H) (1 - l/L))`` of heads and layers (arXiv 2401.04658, eq. 10)."""
    rows = [[math.exp(-(8 * h / H) * (1 - x / L)) for h in range(H)] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_code(H: int, L: int) -> dict[str, Array]:
    """Return decays ``exp(-slope_h (1 - l/(L-1) + 1e-5))`` with ALiBi's slopes, as the authors'
    code."""
    slopes = _alibi_slopes(H)
    rows = [[math.exp(-s * (1 - x / (L - 1) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_minimax(H: int, L: int) -> dict[str, Array]:
    """Return decays ``exp(-2^(-8(h+1)/H) (1 - l/(L-1+1e-5) + 1e-5))`` (MiniMax-01 in
    transformers)."""
    slopes = [2.0 ** (-8 * (h + 1) / H) for h in range(H)]
    rows = [[math.exp(-s * (1 - x / (L - 1 + 1e-5) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def _alibi_slopes(heads: int) -> list[float]:
    """Return ALiBi's slopes (arXiv 2108.12409): a geometric sequence for a power of two.

    Another number takes the slopes of the power of two below, then every other slope of the power
    above for the remaining heads.
    """
    power = 1
    while 2 * power <= heads:
        power *= 2
    first = 2.0 ** (-8 / power)
    slopes = [first ** (h + 1) for h in range(power)]
    between = 2.0 ** (-4 / power)
    return slopes + [between ** (2 * h + 1) for h in range(heads - power)]


def rwkv6(R: Array, K: Array, V: Array, G: Array, U: Array) -> dict[str, Array]:
    """Return RWKV-6 (arXiv 2404.05892): the state before the own key, and the own key times a
    bonus.

    Parameters
    ----------
    G : array, shape (..., P, E)
    U : array, shape (..., E)
        The bonus, which all sequences of a batch share.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(R.shape[-2]):
        own = outer(K[..., t, :], V[..., t, :])
        rows.append(row_times(R[..., t, :], state + np.asarray(U)[..., :, None] * own))
        state = np.exp(G[..., t, :])[..., None] * state + own
    return {"O": np.stack(rows, axis=-2)}


def rwkv7(R: Array, K: Array, V: Array, G: Array, KK: Array, AL: Array) -> dict[str, Array]:
    """Return RWKV-7 (arXiv 2503.14456): ``S = S (diag(exp g) - kk (AL kk)^T) + v k^T``, then a
    read.

    The state is [F, E], as in the authors' code; ``kk`` is ``KK`` scaled to length one.
    """
    unit = unit_rows(KK)
    state = np.zeros((*K.shape[:-2], V.shape[-1], K.shape[-1]))
    rows = []
    for t in range(R.shape[-2]):
        kk, k, v = unit[..., t, :], K[..., t, :], V[..., t, :]
        turn = np.exp(G[..., t, :])[..., None] * np.eye(K.shape[-1])
        turn = turn - outer(kk, AL[..., t, :] * kk)
        state = state @ turn + outer(v, k)
        rows.append((state @ R[..., t, :, None])[..., 0])
    return {"O": np.stack(rows, axis=-2)}


def kimi_delta_attention(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> dict[str, Array]:
    """Return KDA (arXiv 2510.26692): ``S = (I - beta k k^T) diag(exp g) S + beta k v^T``.

    Queries and keys are scaled to length one, and queries by 1/sqrt(E); ``G`` is (..., P, E).
    """
    queries, keys = unit_rows(Q) / np.sqrt(Q.shape[-1]), unit_rows(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        k, beta = keys[..., t, :], BETA[..., t, None, None]
        kept = np.eye(K.shape[-1]) - beta * outer(k, k)
        state = kept @ (np.exp(G[..., t, :])[..., None] * state)
        state = state + beta * outer(k, V[..., t, :])
        rows.append(row_times(queries[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def delta_product(Q: Array, K: Array, V: Array, BETA: Array, G: Array, J: int) -> dict[str, Array]:
    """Return DeltaProduct (arXiv 2502.10297): J delta steps per token, behind one decay.

    Parameters
    ----------
    Q : array, shape (..., P, E)
    K, V, BETA : array, shape (..., N, E), (..., N, F), (..., N)
        J consecutive steps for every token (the last may have fewer); keys are scaled to length
        one. Steps may also have an axis of their own: (..., P, J, E), ..., (..., P, J).
    G : array, shape (..., P)
    """
    if BETA.ndim > G.ndim:
        K, V, BETA = (x.reshape(*G.shape[:-1], -1, *x.shape[G.ndim + 1 :]) for x in (K, V, BETA))
    keys = unit_rows(K)
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        state = np.exp(G[..., t])[..., None, None] * state
        for n in range(t * J, min((t + 1) * J, K.shape[-2])):
            k, beta = keys[..., n, :], BETA[..., n, None, None]
            kept = np.eye(K.shape[-1]) - beta * outer(k, k)
            state = kept @ state + beta * outer(k, V[..., n, :])
        rows.append(row_times(Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def mlstm(Q: Array, K: Array, V: Array, FG: Array, IG: Array) -> dict[str, Array]:
    """Return mLSTM (arXiv 2405.04517) in its first form: ``C = sigmoid(f) C + exp(i) k v^T``.

    ``h = q C / max(|q n|, 1)`` with the normaliser ``n = sigmoid(f) n + exp(i) k`` and queries
    scaled by 1/sqrt(E). A stabiliser would change the range of numbers only, and is left out.
    """
    state = np.zeros((*K.shape[:-2], K.shape[-1], V.shape[-1]))
    norm = np.zeros((*K.shape[:-2], K.shape[-1]))
    rows = []
    for t in range(Q.shape[-2]):
        keep, enter = sigmoid(FG[..., t])[..., None], np.exp(IG[..., t])[..., None]
        state = keep[..., None] * state + enter[..., None] * outer(K[..., t, :], V[..., t, :])
        norm = keep * norm + enter * K[..., t, :]
        query = Q[..., t, :] / np.sqrt(Q.shape[-1])
        below = np.maximum(np.abs((query * norm).sum(axis=-1, keepdims=True)), 1.0)
        rows.append(row_times(query, state) / below)
    return {"O": np.stack(rows, axis=-2)}


def rg_lru(X: Array, RG: Array, IG: Array, L: Array) -> dict[str, Array]:
    """Return RG-LRU (arXiv 2402.19427): ``h = a h + sqrt(1 - a^2) i x``, ``a = sigmoid(-L)^(8
    r)``.

    Parameters
    ----------
    X, RG, IG : array, shape (..., P, C)
        ``r`` and ``i`` are the sigmoids of ``RG`` and ``IG``; the first token has the factor 1.
    L : array, shape (C,)
    """
    return {"Y": rg_lru_prefill(X, RG, IG, L)["Y"]}


def rg_lru_prefill(X: Array, RG: Array, IG: Array, L: Array) -> dict[str, Array]:
    """Return ``rg_lru`` and the state after the last token."""
    first = (sigmoid(IG) * X)[..., :1, :]
    rest = rg_lru_resumed(X[..., 1:, :], RG[..., 1:, :], IG[..., 1:, :], L, first[..., 0, :])
    return {"Y": np.concatenate([first, rest["Y"]], axis=-2), "SO": rest["SO"]}


def rg_lru_resumed(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """Return ``rg_lru`` from a state (..., C) on: no token is the first."""
    state, rows = SI, np.empty(X.shape)
    for t in range(X.shape[-2]):
        state = rg_lru_step(X[..., t, :], RG[..., t, :], IG[..., t, :], L, state)["SO"]
        rows[..., t, :] = state
    return {"Y": rows, "SO": state}


def rg_lru_step(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """Return ``rg_lru`` of one token: ``X``, ``RG``, ``IG`` and the state ``SI`` are (..., C)."""
    a = sigmoid(-L) ** (8 * sigmoid(RG))
    return {"SO": a * SI + np.sqrt(1 - a * a) * sigmoid(IG) * X}


def lightning_attention_grouped(Q: Array, K: Array, V: Array, LAM: Array) -> dict[str, Array]:
    """Return Lightning Attention (arXiv 2401.04658) with S query heads for each of G heads of
    keys.

    Parameters
    ----------
    Q : array, shape (..., G, S, P, E)
    K, V : array, shape (..., G, P, E) and (..., G, P, F)
    LAM : array, shape (G, S)
        Decay of a query head.
    """
    shape = (*Q.shape[:-2], Q.shape[-1], V.shape[-1])
    state = np.zeros(shape)
    rows = []
    for t in range(Q.shape[-2]):
        own = outer(K[..., t, :], V[..., t, :])[..., None, :, :]
        state = LAM[..., None, None] * state + own
        rows.append(row_times(Q[..., t, :], state))
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
    """Return Mamba-3 (arXiv 2603.15569) of one head, with complex states instead of rotations.

    Parameters
    ----------
    CT, BT : array, shape (..., P, I, 2)
        Pairs of channels; each is one complex number, which rotates by ``pi tanh(AN) DT`` per step.
    X, Z : array, shape (..., P, F)
    DT, LM : array, shape (..., P)
        Steps, and the new key's share of a step (the old key has the rest).
    AN : array, shape (..., P, I)
    A, DSK : array, shape (...)
        Decay of a head, negative, and weight of its input.
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
    """Return Mamba-3 with R inputs and outputs per head, and complex states as in ``mamba3``.

    Parameters
    ----------
    CT, BT : array, shape (..., P, R, I, 2)
    MX, MZ, MO : array, shape (H, R, F)
        Weights of inputs, gates and outputs, the same for all sequences.
    X, Z, DT, LM, AN, A, DSK : array
        Shapes as in ``mamba3``.
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
    """Return log-linear attention (arXiv 2506.04761) over pairs, by the highest bit that
    differs.

    Parameters
    ----------
    A : array, shape (..., P)
    LS : array, shape (..., P, L)
        Level 0 weighs the own key. Level l weighs keys whose position
        differs from the query's in bit l - 1 and in no higher bit. Higher levels weigh 0.
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
    """Return gated slot attention (arXiv 2409.07146): a slot holds a decayed sum of earlier
    tokens.

    Parameters
    ----------
    G : array, shape (..., P, N)
        Logarithms of the decays; slot n adds ``1 - exp(G)`` of a token.
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
