"""References for linear attention and recurrences over positions, with and without a given
state."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .functions import (
    Array,
    empty_state,
    outer,
    row_times,
    running,
    scan,
    sigmoid,
    softmax,
    unit_rows,
)


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
    return {"O": lightning_attention_prefill(Q, keys, values, lam)["O"]}


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
        return np.flip(lightning_attention_prefill(q, k, v, lam)["O"], -2)

    return {
        "DQ": lightning_attention_prefill(DO, V, K, lam)["O"],
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
    heads = lightning_attention_prefill(q, k, projected(WV), LAM[..., None, None])["O"]
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
    return _lightning_decays(8 * np.arange(H) / H, 1 - np.arange(L) / L)


def lightning_decay_code(H: int, L: int) -> dict[str, Array]:
    """Return decays ``exp(-slope_h (1 - l/(L-1) + 1e-5))`` with ALiBi's slopes, as the authors'
    code."""
    return _lightning_decays(_alibi_slopes(H), 1 - np.arange(L) / (L - 1) + 1e-5)


def lightning_decay_minimax(H: int, L: int) -> dict[str, Array]:
    """Return decays ``exp(-2^(-8(h+1)/H) (1 - l/(L-1+1e-5) + 1e-5))`` (MiniMax-01 in
    transformers)."""
    slopes = 2.0 ** (-8 * np.arange(1, H + 1) / H)
    return _lightning_decays(slopes, 1 - np.arange(L) / (L - 1 + 1e-5) + 1e-5)


def _lightning_decays(slopes: Array, layers: Array) -> dict[str, Array]:
    return {"LAM": np.exp(-np.outer(layers, slopes))}


def _alibi_slopes(heads: int) -> Array:
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
    return np.array(slopes + [between ** (2 * h + 1) for h in range(heads - power)])


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
    found = lightning_attention_prefill(Q / np.sqrt(Q.shape[-1]), enter * K, values, keep)["O"]
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
    return {
        "O": lightning_attention_prefill(Q, keys, V[..., None, :, :], LAM[..., None, None])["O"]
    }


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


def retention(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return RetNet's retention (arXiv 2307.08621): ``S = gamma S + k^T v``, ``o = q S``.

    ``gamma = 1 - 2^(-5-h)`` for head h from 0. Projections, rotation, group norm and gate are left
    out.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., H, P, E), (..., H, P, E) and (..., H, P, F): the heads are a rank.
    """
    return {"O": retention_prefill(Q, K, V)["O"]}


def retention_normalised(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``retention`` with each head's output over its root mean square, without an
    epsilon."""
    o = retention(Q, K, V)["O"]
    return {"O": o / np.sqrt((o * o).mean(axis=-1, keepdims=True))}


def gated_linear_attention(Q: Array, K: Array, V: Array, G: Array) -> dict[str, Array]:
    """Return GLA (arXiv 2312.06635): ``S = diag(exp g) S + k^T v``, ``o = E^-1/2 q S``.

    ``G`` of shape (..., P, E) holds the logarithms of the gates, at most 0.
    """
    return {"O": lightning_attention_prefill(Q, K, V, np.exp(G))["O"] / np.sqrt(Q.shape[-1])}


def selective_scan(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array
) -> dict[str, Array]:
    """Return Mamba's S6 (arXiv 2312.00752), as ``selective_scan_ref`` of its authors.

    Per channel c with N states: ``delta = softplus(DT + BD)``, ``h = exp(delta A) h + delta B u``,
    ``y = C h + DS u``, gated by ``silu(Z)``.

    Parameters
    ----------
    U, DT, Z : array, shape (..., P, C)
    A : array, shape (..., C, N)
        Negative rates of decay.
    BT, CT : array, shape (..., P, N)
        Input and output weights, which all channels share.
    BD, DS : array, shape (..., C)
    """
    return {"O": selective_scan_prefill(U, DT, BD, A, BT, CT, DS, Z)["O"]}


def state_space_dual(X: Array, A: Array, BT: Array, CT: Array) -> dict[str, Array]:
    """Return Mamba-2 (arXiv 2405.21060) of one head: ``h = exp(a) h + B^T x``, ``y = C h``.

    Parameters
    ----------
    X : array, shape (..., P, F)
        Inputs, already multiplied by the step.
    A : array, shape (..., P)
        Logarithms of the decays, at most 0.
    BT, CT : array, shape (..., P, N)
    """
    return {"Y": lightning_attention_prefill(CT, BT, X, np.exp(A)[..., None])["O"]}


def gated_delta_rule(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> dict[str, Array]:
    """Return Gated DeltaNet (arXiv 2412.06464): the state decays, then is corrected at one key.

    ``S = exp(g) S``; ``S += k^T beta (v - k S)``; ``o = E^-1/2 q S`` with rows of Q and K scaled to
    length one.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    BETA, G : array, shape (..., P)
        Strengths of the corrections (0 to 1), and logarithms of the decays, at most 0.
    """
    return kimi_delta_attention(Q, K, V, BETA, np.broadcast_to(G[..., None], K.shape))


def delta_rule(Q: Array, K: Array, V: Array, BETA: Array) -> dict[str, Array]:
    """Return DeltaNet (arXiv 2406.06484): ``S = (I - beta k^T k) S + beta k^T v``."""
    return kimi_delta_attention(Q, K, V, BETA, np.zeros(K.shape))


def kimi_delta_attention(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> dict[str, Array]:
    """Return KDA (arXiv 2510.26692): ``S = (I - beta k k^T) diag(exp g) S + beta k v^T``.

    Queries and keys are scaled to length one, and queries by 1/sqrt(E); ``G`` is (..., P, E).
    """
    found = scan(kimi_delta_attention_step, empty_state(K, V), Q=Q, K=K, V=V, BETA=BETA, A=G)
    return {"O": found["O"]}


def qlstm(U: Array, WF: Array, WI: Array, WO: Array) -> dict[str, Array]:
    """Return the qLSTM recurrence (arXiv 2405.15731), whose gates depend on the input alone.

    ``h = sigmoid(u WF) h + sigmoid(u WI) u``, ``y = sigmoid(u WO) h``, channel by channel.

    Parameters
    ----------
    U : array, shape (..., P, C)
    WF, WI, WO : array, shape (..., C, D)
        Weights from channels to channels; D = C.
    """
    return {"Y": sigmoid(U @ WO) * running(sigmoid(U @ WF), sigmoid(U @ WI) * U)}


def qlstm_reversed(U: Array, WF: Array, WI: Array, WO: Array, AL: Array) -> dict[str, Array]:
    """Return ``qlstm`` with the forget gate ``sigmoid(-f) ** relu(alpha)``.

    The gate equals S6's ``exp(-alpha softplus(f))``; ``AL`` has the shape (..., C).
    """
    forget = sigmoid(-(U @ WF)) ** np.maximum(AL, 0)[..., None, :]
    return {"Y": sigmoid(U @ WO) * running(forget, sigmoid(U @ WI) * U)}


def dynamical_system(LAM: Array, BU: Array, CY: Array, DY: Array, U: Array) -> dict[str, Array]:
    """Return the recurrence ``h = Lam h + B u``, ``y = C h + D u`` (arXiv 2405.15731).

    Parameters
    ----------
    LAM : array, shape (..., P, N)
        Diagonals of the transition matrices, one per position.
    BU, CY, DY : array
        Shapes (..., P, N, D), (..., P, D, N) and (..., P, D, D).
    U : array, shape (..., P, D)
    """
    u = U[..., None]
    state = running(LAM, (BU @ u)[..., 0])
    return {"Y": (CY @ state[..., None] + DY @ u)[..., 0]}


def lightning_attention_step(
    Q: Array, K: Array, V: Array, SI: Array, lam: float | Array
) -> dict[str, Array]:
    """Return one token of lightning attention: ``S = lam S + k v^T``, ``o = q S`` (arXiv
    2405.17381).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., E), (..., E) and (..., F).
    SI : array, shape (..., E, F)
    """
    state = lam * SI + outer(K, V)
    return {"O": row_times(Q, state), "SO": state}


def lightning_attention_resumed(
    Q: Array, K: Array, V: Array, lam: float | Array, SI: Array | None = None
) -> dict[str, Array]:
    """Return ``lightning_attention_step`` for every position of Q, K and V of shapes (..., P, .).

    Parameters
    ----------
    lam : float or array, broadcast to K
        Decays, which may differ between tokens and channels of the keys.
    SI : array, shape (..., E, F)
        State before the first token; zeros by default.
    """
    state = empty_state(K, V) if SI is None else SI
    decays = np.broadcast_to(lam, K.shape)[..., None]
    return scan(lightning_attention_step, state, Q=Q, K=K, V=V, lam=decays)


lightning_attention_prefill = lightning_attention_resumed


def _retention_decays(heads: int) -> Array:
    return np.array([1 - 2.0 ** (-5 - h) for h in range(heads)])[:, None, None]


def retention_step(Q: Array, K: Array, V: Array, SI: Array) -> dict[str, Array]:
    """Return ``lightning_attention_step`` with RetNet's decays, ``1 - 2^(-5-h)`` (arXiv
    2307.08621).

    Shapes (..., H, E), (..., H, E), (..., H, F) and (..., H, E, F): the heads are a rank.
    """
    return lightning_attention_step(Q, K, V, SI, _retention_decays(SI.shape[-3]))


def retention_resumed(Q: Array, K: Array, V: Array, SI: Array | None = None) -> dict[str, Array]:
    """Return ``retention_step`` for every position of Q, K and V of shapes (..., H, P, .), by
    default from a state of zeros."""
    return lightning_attention_resumed(Q, K, V, _retention_decays(K.shape[-3]), SI)


retention_prefill = retention_resumed


def state_space_dual_step(
    X: Array, A: Array, BT: Array, CT: Array, SI: Array, S: int
) -> dict[str, Array]:
    """Return one token of Mamba-2 (arXiv 2405.21060): ``h = exp(a) h + B^T x``, ``y = C h``.

    Parameters
    ----------
    X, A : array, shapes (..., H, F) and (..., H)
    BT, CT : array, shape (..., G, N)
        Head h uses the row of group ``h // S``.
    SI : array, shape (..., H, N, F)
    S : int
        Heads of a group.
    """
    of = np.arange(X.shape[-2]) // S
    decay = np.exp(A)[..., None, None]
    found = lightning_attention_step(CT[..., of, :], BT[..., of, :], X, SI, decay)
    return {"Y": found["O"], "SO": found["SO"]}


def state_space_dual_resumed(
    X: Array, A: Array, BT: Array, CT: Array, S: int, SI: Array | None = None
) -> dict[str, Array]:
    """Return ``state_space_dual_step`` for every position of X, BT, CT (..., P, .) and A (...,
    P), by default from a state of zeros."""
    state = empty_state(BT, X) if SI is None else SI
    return scan(partial(state_space_dual_step, S=S), state, X=X, A=A, BT=BT, CT=CT)


state_space_dual_prefill = state_space_dual_resumed


def gated_delta_rule_step(
    Q: Array, K: Array, V: Array, BETA: Array, A: Array, SI: Array, S: int
) -> dict[str, Array]:
    """Return one token of the gated delta rule (arXiv 2412.06464) with heads in groups.

    Parameters
    ----------
    Q, K : array, shape (..., G, E)
        Head h uses the row of group ``h // S``.
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
    """Return one token of Kimi Delta Attention (arXiv 2510.26692): a decay per channel of the
    key.

    The state decays, ``exp(a) S``; then its entry for the key moves towards the value by BETA.

    Parameters
    ----------
    Q, K, A : array, shape (..., H, E)
        Queries and keys are scaled to length one, and queries by 1/sqrt(E).
    V : array, shape (..., H, F)
    BETA : array, shape (..., H)
    SI : array, shape (..., H, E, F)
    """
    q, k = unit_rows(Q), unit_rows(K)
    state = np.exp(A)[..., None] * SI
    error = BETA[..., None] * (V - row_times(k, state))
    state = state + outer(k, error)
    return {"O": row_times(q, state) / np.sqrt(Q.shape[-1]), "SO": state}


def rwkv7_step(
    R: Array, K: Array, V: Array, G: Array, KK: Array, AL: Array, SI: Array
) -> dict[str, Array]:
    """Return one token of RWKV-7 (arXiv 2503.14456).

    The state becomes ``S = (diag(exp g) - kk (AL kk)^T)^T S + k v^T``.

    Parameters
    ----------
    R, K, G, KK, AL : array, shape (..., H, E)
        Removal keys KK are scaled to length one; G holds logarithms of the decays.
    V : array, shape (..., H, F)
    SI : array, shape (..., H, E, F)
    """
    unit = unit_rows(KK)
    transition = np.exp(G)[..., None] * np.eye(K.shape[-1]) - outer(AL * unit, unit)
    state = transition @ SI + outer(K, V)
    return {"O": row_times(R, state), "SO": state}


def selective_scan_step(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array, SI: Array
) -> dict[str, Array]:
    """Return one token of Mamba's S6 (arXiv 2312.00752), as ``selective_scan``.

    Parameters
    ----------
    U, DT, BD, DS, Z : array, shape (..., C)
    A, SI : array, shape (..., C, N)
    BT, CT : array, shape (..., N)
    """
    delta = np.logaddexp(0, DT + BD)
    state = np.exp(delta[..., None] * A) * SI + outer(delta * U, BT)
    y = (state * CT[..., None, :]).sum(axis=-1) + DS * U
    return {"O": y * Z * sigmoid(Z), "SO": state}


def selective_scan_resumed(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array, SI: Array
) -> dict[str, Array]:
    """Return ``selective_scan_step`` for every position of U, DT, Z (..., P, C) and BT, CT (...,
    P, N)."""
    step = partial(selective_scan_step, BD=BD, A=A, DS=DS)
    return scan(step, SI, U=U, DT=DT, BT=BT, CT=CT, Z=Z)


def selective_scan_prefill(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array
) -> dict[str, Array]:
    """Return ``selective_scan_resumed`` from a state of zeros."""
    state = np.zeros((*U.shape[:-2], *A.shape[-2:]))
    return selective_scan_resumed(U, DT, BD, A, BT, CT, DS, Z, state)


def depthwise_convolution(X: Array, W: Array, P: int) -> dict[str, Array]:
    """Return a causal convolution of each channel, then SiLU: ``silu(sum_t X[p + t] W[t])``.

    Parameters
    ----------
    X : array, shape (..., M, C)
        T - 1 earlier tokens, then the P tokens that are computed.
    W : array, shape (..., T, C)
    P : int
    """
    y = depthwise_convolution_linear(X, W, P)["Y"]
    return {"Y": y * sigmoid(y)}


def depthwise_convolution_linear(X: Array, W: Array, P: int) -> dict[str, Array]:
    """Return a causal convolution of each channel: ``sum_t X[p + t] W[t]``.

    Shapes are those of ``depthwise_convolution``.

    Tokens behind the end of X (M < P + T - 1) add nothing.
    """
    taps = W.shape[-2]
    rows = []
    for p in range(P):
        met = X[..., p : p + taps, :]
        rows.append((met * W[..., : met.shape[-2], :]).sum(axis=-2))
    return {"Y": np.stack(rows, axis=-2)}
