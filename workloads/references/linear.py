"""Linear attention, with and without decay, and with gated states.

Causal forms are plain recurrences over positions, or sums over pairs of positions. Shapes are in
the cascades' index order with any parallel ranks in front (``...``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .functions import (
    Array,
    decayed,
    empty_state,
    outer,
    row_times,
    running,
    scan,
    sigmoid,
    softmax,
    unit_rows,
)
from .recurrent import rwkv7_step


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
    # The sum of the keys is what the state holds for one more value, which is always 1.
    values = np.concatenate([V, np.ones((*V.shape[:-1], 1))], axis=-1)
    found = lightning_attention(_features(Q), _features(K), values, 1.0)["O"]
    return {"O": found[..., :-1] / found[..., -1:]}


def lightning_attention(Q: Array, K: Array, V: Array, lam: float) -> dict[str, Array]:
    """Return causal linear attention with decay ``lam``: S = lam S + k v^T, o = q S.

    There is no feature map and no normalisation (TransNormerLLM, arXiv 2405.17381; RetNet before
    its norm).
    """
    missing = max(0, Q.shape[-2] - K.shape[-2])
    padding = [(0, 0)] * (K.ndim - 2) + [(0, missing), (0, 0)]
    keys, values = (np.pad(x, padding)[..., : Q.shape[-2], :] for x in (K, V))
    return {"O": decayed(Q, keys, values, lam)["O"]}


def lightning_attention_backward(
    Q: Array, K: Array, V: Array, DO: Array, lam: float
) -> dict[str, Array]:
    """Return gradients of ``lightning_attention`` for P = M from ``DO``, the gradient of its
    output.

    ``DQ[t] = S[t] DO[t]`` going forwards; ``R[t] = lam R[t+1] + q[t] DO[t]^T``, ``DK[t] = R[t]
    v[t]`` and ``DV[t] = R[t]^T k[t]`` going backwards.
    """

    def backwards(*arrays: Array) -> Array:
        q, k, v = (np.flip(x, -2) for x in arrays)
        return np.flip(decayed(q, k, v, lam)["O"], -2)

    return {
        "DQ": decayed(DO, V, K, lam)["O"],
        "DK": backwards(V, DO, Q),
        "DV": backwards(K, Q, DO),
    }


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

    q, k = (x * sigmoid(x) for x in (projected(WQ), projected(WK)))
    heads = decayed(q, k, projected(WV), LAM[..., None, None])["O"]
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

    def step(R: Array, K: Array, V: Array, G: Array, SI: Array) -> dict[str, Array]:
        own = outer(K, V)
        read = row_times(R, SI + np.asarray(U)[..., :, None] * own)
        return {"O": read, "SO": np.exp(G)[..., None] * SI + own}

    return {"O": scan(step, empty_state(K, V), R=R, K=K, V=V, G=G)["O"]}


def rwkv7(R: Array, K: Array, V: Array, G: Array, KK: Array, AL: Array) -> dict[str, Array]:
    """Return RWKV-7 (arXiv 2503.14456): ``rwkv7_step`` for every token, from a state of zeros."""
    found = scan(rwkv7_step, empty_state(K, V), R=R, K=K, V=V, G=G, KK=KK, AL=AL)
    return {"O": found["O"]}


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
    state = empty_state(K, V)
    rows = []
    for t in range(Q.shape[-2]):
        state = np.exp(G[..., t])[..., None, None] * state
        for n in range(t * J, min((t + 1) * J, K.shape[-2])):
            error = V[..., n, :] - row_times(keys[..., n, :], state)
            state = state + outer(keys[..., n, :], BETA[..., n, None] * error)
        rows.append(row_times(Q[..., t, :], state))
    return {"O": np.stack(rows, axis=-2)}


def mlstm(Q: Array, K: Array, V: Array, FG: Array, IG: Array) -> dict[str, Array]:
    """Return mLSTM (arXiv 2405.04517) in its first form: ``C = sigmoid(f) C + exp(i) k v^T``.

    ``h = q C / max(|q n|, 1)`` with the normaliser ``n = sigmoid(f) n + exp(i) k`` and queries
    scaled by 1/sqrt(E). A stabiliser would change the range of numbers only, and is left out.
    """
    # The normaliser is what the state holds for one more value, which is always 1.
    values = np.concatenate([V, np.ones((*V.shape[:-1], 1))], axis=-1)
    keep, enter = sigmoid(FG)[..., None], np.exp(IG)[..., None]
    found = decayed(Q / np.sqrt(Q.shape[-1]), enter * K, values, keep)["O"]
    return {"O": found[..., :-1] / np.maximum(np.abs(found[..., -1:]), 1.0)}


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
    decays, entries = _rg_lru_rates(X, RG, IG, L)
    entries[..., 0, :] = sigmoid(IG[..., 0, :]) * X[..., 0, :]
    states = running(decays, entries)
    return {"Y": states, "SO": states[..., -1, :]}


def rg_lru_resumed(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """Return ``rg_lru`` from a state (..., C) on: no token is the first."""
    states = running(*_rg_lru_rates(X, RG, IG, L), SI)
    return {"Y": states, "SO": states[..., -1, :]}


def rg_lru_step(X: Array, RG: Array, IG: Array, L: Array, SI: Array) -> dict[str, Array]:
    """Return ``rg_lru`` of one token: ``X``, ``RG``, ``IG`` and the state ``SI`` are (..., C)."""
    decay, entry = _rg_lru_rates(X, RG, IG, L)
    return {"SO": decay * SI + entry}


def _rg_lru_rates(X: Array, RG: Array, IG: Array, L: Array) -> tuple[Array, Array]:
    """Return the decay ``a`` of every state, and what a token adds to it."""
    a = sigmoid(-L) ** (8 * sigmoid(RG))
    return a, np.sqrt(1 - a * a) * sigmoid(IG) * X


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
    keys = np.broadcast_to(K[..., None, :, :], Q.shape)
    return {"O": decayed(Q, keys, V[..., None, :, :], LAM[..., None, None])["O"]}


def mamba3(
    CT: Array, BT: Array, X: Array, DT: Array, LM: Array, AN: Array, Z: Array, A: Array, DSK: Array
) -> dict[str, Array]:
    """Return Mamba-3 (arXiv 2603.15569) of one head, with complex states instead of rotations.

    It is ``mamba3_mimo`` with one input and output, whose weights are 1.

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
    queries, keys = CT[..., None, :, :], BT[..., None, :, :]
    one = np.ones((1, X.shape[-1]))
    return mamba3_mimo(queries, keys, X, DT, LM, AN, Z, one, one, one, A, DSK)


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
    rate, bypass = np.asarray(A)[..., None, None], np.asarray(DSK)[..., None, None]

    def step(
        q: Array, k: Array, x: Array, dt: Array, lam: Array, turn: Array, z: Array, SI: Any
    ) -> dict[str, Any]:
        state, before = SI
        dt, lam = dt[..., None, None], lam[..., None, None]
        inputs, gate = x[..., None, :] * MX, z[..., None, :] * MZ
        own = np.swapaxes(k, -1, -2) @ inputs
        decay = np.exp(rate * dt) * np.exp(-1j * np.pi * np.tanh(turn[..., None]) * dt)
        state = decay * (state + (1 - lam) * dt * before) + lam * dt * own
        read = ((np.conj(q) @ state).real + bypass * inputs) * gate * sigmoid(gate)
        return {"Y": (read * MO).sum(axis=-2), "SO": (state, own)}

    queries, keys = CT[..., 0] + 1j * CT[..., 1], BT[..., 0] + 1j * BT[..., 1]
    zeros = np.zeros((*X.shape[:-2], BT.shape[-2], X.shape[-1]), complex)
    found = scan(step, (zeros, zeros), x=X, q=queries, k=keys, dt=DT, lam=LM, turn=AN, z=Z)
    return {"Y": found["Y"]}


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
