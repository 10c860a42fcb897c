"""Recurrences over positions: of a whole sequence, and from a given state.

Shapes are in the cascades' index order with any parallel ranks in front (``...``); P is the
sequence, E and F are the widths of keys and values. A loop carries the state from one position to
the next, as the papers' recurrent forms do: no chunks, no matrices over pairs of positions.
"""

from __future__ import annotations

from functools import partial

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
    unit_rows,
)


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
    return {"O": decayed(Q, K, V, np.exp(G))["O"] / np.sqrt(Q.shape[-1])}


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
    return {"Y": decayed(CT, BT, X, np.exp(A)[..., None])["O"]}


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
    Q: Array, K: Array, V: Array, SI: Array, lam: float | Array
) -> dict[str, Array]:
    """Return ``lightning_attention_step`` for every position of Q, K and V of shapes (..., P,
    .)."""
    return decayed(Q, K, V, lam, SI)


def lightning_attention_prefill(
    Q: Array, K: Array, V: Array, lam: float | Array
) -> dict[str, Array]:
    """Return ``lightning_attention_resumed`` from a state of zeros."""
    return decayed(Q, K, V, lam)


def _retention_decays(heads: int) -> Array:
    return np.array([1 - 2.0 ** (-5 - h) for h in range(heads)])[:, None, None]


def retention_step(Q: Array, K: Array, V: Array, SI: Array) -> dict[str, Array]:
    """Return ``lightning_attention_step`` with RetNet's decays, ``1 - 2^(-5-h)`` (arXiv
    2307.08621).

    Shapes (..., H, E), (..., H, E), (..., H, F) and (..., H, E, F): the heads are a rank.
    """
    return lightning_attention_step(Q, K, V, SI, _retention_decays(SI.shape[-3]))


def retention_resumed(Q: Array, K: Array, V: Array, SI: Array) -> dict[str, Array]:
    """Return ``retention_step`` for every position of Q, K and V of shapes (..., H, P, .)."""
    return lightning_attention_resumed(Q, K, V, SI, _retention_decays(SI.shape[-3]))


def retention_prefill(Q: Array, K: Array, V: Array) -> dict[str, Array]:
    """Return ``retention_resumed`` from a state of zeros."""
    return lightning_attention_prefill(Q, K, V, _retention_decays(K.shape[-3]))


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
    X: Array, A: Array, BT: Array, CT: Array, SI: Array, S: int
) -> dict[str, Array]:
    """Return ``state_space_dual_step`` for every position of X, BT, CT (..., P, .) and A (...,
    P)."""
    return scan(partial(state_space_dual_step, S=S), SI, X=X, A=A, BT=BT, CT=CT)


def state_space_dual_prefill(X: Array, A: Array, BT: Array, CT: Array, S: int) -> dict[str, Array]:
    """Return ``state_space_dual_resumed`` from a state of zeros."""
    return state_space_dual_resumed(X, A, BT, CT, empty_state(BT, X), S)


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
