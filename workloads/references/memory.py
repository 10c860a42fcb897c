"""References for memories that learn while they read, in-context regression, and bidirectional
context."""

from __future__ import annotations

import numpy as np

from .functions import Array, Kept, empty_state, outer, row_times, sigmoid, softmax_by_log


def titans_memory(
    Q: Array, K: Array, V: Array, AL: Array, ET: Array, TH: Array, P0: int = 1
) -> dict[str, Array]:
    """Return Titans' neural memory (arXiv 2501.00663, eqs. 12-14), a linear map, token by token.

    ``S = eta S - theta grad``, ``M = (1 - alpha) M + S``, ``y = q M``. The gradient of ``|k M' -
    v|^2`` is ``2 k^T (k M' - v)``, at the memory M' before the token's chunk. With chunks of one
    token, M' is the memory before the token.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., P, E), (..., P, E) and (..., P, F).
    AL, ET, TH : array, shape (..., P)
        Forgetting, momentum and step.
    P0 : int
        Tokens of a chunk; it changes the result.
    """
    memory = empty_state(K, V)
    surprise = np.zeros_like(memory)
    rows = []
    for t in range(Q.shape[-2]):
        if t % P0 == 0:
            start = memory
        rates = [x[..., t] for x in (AL, ET, TH)]
        memory, surprise = _learned(memory, surprise, start, K[..., t, :], V[..., t, :], rates)
        rows.append(row_times(Q[..., t, :], memory))
    return {"Y": np.stack(rows, axis=-2)}


def _learned(
    memory: Array, surprise: Array, start: Array, key: Array, value: Array, rates: list[Array]
) -> tuple[Array, Array]:
    """Return the memory and the surprise after one token; the gradient is that at ``start``.

    ``rates`` are forgetting, momentum and step.
    """
    alpha, eta, theta = (rate[..., None, None] for rate in rates)
    surprise = eta * surprise - theta * 2 * outer(key, row_times(key, start) - value)
    return (1 - alpha) * memory + surprise, surprise


def in_context_regression(X: Array, Y: Array, XQ: Array, OM: Array, MU: Array) -> dict[str, Array]:
    """Return ``sum_h mu_h sum_l y_l softmax_l(omega_h x_l . x_q)`` (arXiv 2503.12734).

    Parameters
    ----------
    X, Y : array
        Examples: covariates (..., M, E) and labels (..., M).
    XQ : array, shape (..., P, E)
        Covariates to predict a label for.
    OM, MU : array, shape (..., H)
        Scales of every head's scores and of its values.
    """
    total = np.zeros(XQ.shape[:-1])
    for h in range(OM.shape[-1]):
        scores = OM[..., h, None, None] * (XQ[..., :, None, :] * X[..., None, :, :]).sum(axis=-1)
        weights = softmax_by_log(scores)
        total = total + MU[..., h, None] * (weights * Y[..., None, :]).sum(axis=-1)
    return {"O": total}


def bico_attention(
    QA: Array, QB: Array, KA: Array, KB: Array, V: Array, COS: Array, SIN: Array
) -> dict[str, Array]:
    """Return BICO (arXiv 2311.07468): rotary attention over all keys, with backward rotation of
    later keys.

    Each pair of halves is a complex number, rotated by the angle of its position: forwards for keys
    up to the query, backwards for keys after it. Scores are divided by the root of the width.

    Parameters
    ----------
    QA, QB, KA, KB : array, shape (..., P, R)
        First and second halves of queries and keys.
    V : array, shape (..., P, F)
    COS, SIN : array, shape (..., P, R)
        Cosine and sine of the angle of every position and pair.
    """
    q, k, turn = QA + 1j * QB, KA + 1j * KB, COS + 1j * SIN
    length, width = QA.shape[-2:]
    rows = []
    for i in range(length):
        scores = np.zeros((*QA.shape[:-2], length))
        for j in range(length):
            a, b = (turn[..., i, :], turn[..., j, :])
            if j > i:
                a, b = a.conj(), b.conj()
            product = q[..., i, :] * a * (k[..., j, :] * b).conj()
            scores[..., j] = product.real.sum(axis=-1) / np.sqrt(2 * width)
        weights = softmax_by_log(scores)
        rows.append((weights[..., None] * V).sum(axis=-2))
    return {"AV": np.stack(rows, axis=-2)}


def _attend(Q: Array, K: Array, V: Array, kept: Kept) -> Array:
    """Return softmax attention over the kept scores, which are divided by the root of the width."""
    scores = Q @ np.swapaxes(K, -1, -2) / np.sqrt(Q.shape[-1])
    return np.asarray(softmax_by_log(np.where(kept, scores, -np.inf)) @ V)


def _window_attention(Q: Array, K: Array, V: Array, window: float, persistent: float) -> Array:
    """Return softmax attention over the last ``window`` keys and the first ``persistent`` keys."""
    p, m = np.arange(Q.shape[-2])[:, None], np.arange(K.shape[-2])
    return _attend(Q, K, V, (m <= p) & ((p - window < m) | (m < persistent)))


def titans_mag(
    Q: Array,
    K: Array,
    V: Array,
    QM: Array,
    KM: Array,
    VM: Array,
    AL: Array,
    ET: Array,
    TH: Array,
    window: float,
    persistent: float,
) -> dict[str, Array]:
    """Return Titans with memory as gate: window attention times the sigmoid of the memory's
    output."""
    attended = _window_attention(Q, K, V, window, persistent)
    return {"O": attended * sigmoid(titans_memory(QM, KM, VM, AL, ET, TH)["Y"])}


def titans_mal(
    QM: Array,
    KM: Array,
    VM: Array,
    AL: Array,
    ET: Array,
    TH: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    window: float,
    persistent: float,
) -> dict[str, Array]:
    """Return Titans with memory as layer: window attention over projections of the memory's
    output."""
    y = titans_memory(QM, KM, VM, AL, ET, TH)["Y"]
    return {"O": _window_attention(y @ WQ, y @ WK, y @ WV, window, persistent)}


def titans_mac(
    X: Array,
    PT: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    WQM: Array,
    WKM: Array,
    WVM: Array,
    AL: Array,
    ET: Array,
    TH: Array,
    P0: int,
) -> dict[str, Array]:
    """Return Titans with memory as context: segments of ``P0`` tokens, one after the other.

    A segment attends to all persistent tokens, to all that the memory returns for it, and to itself
    causally. Its outputs y then train the memory, which gates them: ``y * sigmoid(M(y WQM))``.
    """
    memory = np.zeros((*X.shape[:-2], X.shape[-1], X.shape[-1]))
    surprise = np.zeros_like(memory)
    segments = []
    for begin in range(0, X.shape[-2], P0):
        x = X[..., begin : begin + P0, :]
        context = np.concatenate([PT, x @ WQM @ memory, x], axis=-2)
        # The query of a token sees all that is in front of the segment, and the tokens up to it.
        tokens, met = x.shape[-2], context.shape[-2]
        y = _attend(x @ WQ, context @ WK, context @ WV, np.tri(tokens, met, met - tokens, bool))
        k, v, start = y @ WKM, y @ WVM, memory
        for t in range(tokens):
            rates = [x[..., begin + t] for x in (AL, ET, TH)]
            memory, surprise = _learned(memory, surprise, start, k[..., t, :], v[..., t, :], rates)
        segments.append(y * sigmoid(y @ WQM @ memory))
    return {"O": np.concatenate(segments, axis=-2)}


def _silu(x: Array) -> Array:
    return np.asarray(x * sigmoid(x))


def titans_deep_memory(
    Q: Array, K: Array, V: Array, AL: Array, ET: Array, TH: Array, W1: Array, W2: Array, P0: int = 1
) -> dict[str, Array]:
    """Return Titans' memory ``M(x) = silu(x A) B``, trained on ``|M(k) - v|^2`` per chunk.

    Gradients are taken at the memory with which a chunk begins.

    Parameters
    ----------
    Q, K, V : array, shapes (..., P, E), (..., P, E) and (..., P, F)
    AL, ET, TH : array, shape (..., P)
        Weight decay, momentum and step of every token.
    W1, W2 : array, shapes (E, N) and (N, F), any parallel ranks in front
        Memory before the first token.
    P0 : int
        Tokens of a chunk.
    """
    lead = Q.shape[:-2]
    a, b = (np.broadcast_to(W, (*lead, *W.shape[-2:])) for W in (W1, W2))
    speed_a, speed_b = np.zeros_like(a), np.zeros_like(b)
    rows = []
    for t in range(Q.shape[-2]):
        if t % P0 == 0:
            first_a, first_b = a, b
        key = K[..., t, None, :]
        inner = key @ first_a
        hidden = _silu(inner)
        error = 2 * (hidden @ first_b - V[..., t, None, :])
        s = sigmoid(inner)
        slope = s + inner * s * (1 - s)
        back = (error @ np.swapaxes(first_b, -1, -2)) * slope
        eta, theta = ET[..., t, None, None], TH[..., t, None, None]
        speed_a = eta * speed_a - theta * np.swapaxes(key, -1, -2) @ back
        speed_b = eta * speed_b - theta * np.swapaxes(hidden, -1, -2) @ error
        kept = 1 - AL[..., t, None, None]
        a, b = kept * a + speed_a, kept * b + speed_b
        rows.append((_silu(Q[..., t, None, :] @ a) @ b)[..., 0, :])
    return {"Y": np.stack(rows, axis=-2)}
