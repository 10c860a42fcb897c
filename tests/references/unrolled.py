"""Linear recurrences unrolled: every state as a sum over all earlier positions.

``S[t] = A[t] S[t-1] + B[t]`` from nothing is the sum over j <= t of ``A[t] ... A[j+1] B[j]``.
Products are taken pair by pair of positions, so that nothing is carried along.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def states(transitions: list[Array], additions: list[Array]) -> list[Array]:
    """``S[t]`` for every t, from square matrices and what is added."""
    found = []
    for t in range(len(additions)):
        total = np.zeros_like(additions[0])
        for j in range(t + 1):
            product = np.eye(transitions[0].shape[0])
            for i in range(j + 1, t + 1):
                product = transitions[i] @ product
            total = total + product @ additions[j]
        found.append(total)
    return found


def read(queries: Array, found: list[Array]) -> Array:
    """``o[t] = q[t] S[t]``."""
    return np.stack([q @ s for q, s in zip(queries, found, strict=True)])


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def retention(Q: Array, K: Array, V: Array) -> Array:
    """Per head, with the decay 1 - 2^(-5-h)."""
    heads = []
    for h in range(Q.shape[0]):
        decay = np.eye(Q.shape[-1]) * (1 - 1 / 2 ** (5 + h))
        added = [np.outer(k, v) for k, v in zip(K[h], V[h], strict=True)]
        heads.append(read(Q[h], states([decay] * len(added), added)))
    return np.stack(heads)


def gated_linear_attention(Q: Array, K: Array, V: Array, G: Array) -> Array:
    """A diagonal transition of gates."""
    added = [np.outer(k, v) for k, v in zip(K, V, strict=True)]
    return read(Q, states([np.diag(np.exp(g)) for g in G], added)) / Q.shape[-1] ** 0.5


def state_space_dual(X: Array, A: Array, BT: Array, CT: Array) -> Array:
    """A transition that is a number times the identity."""
    added = [np.outer(b, x) for b, x in zip(BT, X, strict=True)]
    return read(CT, states([np.eye(BT.shape[-1]) * np.exp(a) for a in A], added))


def selective_scan(
    U: Array, DT: Array, BD: Array, A: Array, BT: Array, CT: Array, DS: Array, Z: Array
) -> Array:
    """Channel by channel, a diagonal transition of its own for each."""
    columns = []
    for c in range(U.shape[-1]):
        delta = np.log(1 + np.exp(DT[:, c] + BD[c]))
        moves = [np.diag(np.exp(d * A[c])) for d in delta]
        added = [(d * u * b)[:, None] for d, u, b in zip(delta, U[:, c], BT, strict=True)]
        y = read(CT, states(moves, added))[:, 0] + DS[c] * U[:, c]
        columns.append(y * Z[:, c] * sigmoid(Z[:, c]))
    return np.stack(columns, axis=-1)


def gated_delta_rule(Q: Array, K: Array, V: Array, BETA: Array, G: Array) -> Array:
    """The transition (I - beta k^T k) exp(g) of unit keys."""
    keys = [k / np.linalg.norm(k) for k in K]
    moves = [
        (np.eye(len(k)) - b * np.outer(k, k)) * np.exp(g)
        for k, b, g in zip(keys, BETA, G, strict=True)
    ]
    added = [b * np.outer(k, v) for k, v, b in zip(keys, V, BETA, strict=True)]
    queries = np.stack([q / np.linalg.norm(q) for q in Q])
    return read(queries, states(moves, added)) / Q.shape[-1] ** 0.5


def delta_rule(Q: Array, K: Array, V: Array, BETA: Array) -> Array:
    """The same without decay."""
    return gated_delta_rule(Q, K, V, BETA, np.zeros_like(BETA))


def qlstm(U: Array, WF: Array, WI: Array, WO: Array) -> Array:
    """A diagonal transition of forget gates."""
    added = [(sigmoid(u @ WI) * u)[:, None] for u in U]
    found = states([np.diag(sigmoid(u @ WF)) for u in U], added)
    return np.stack([sigmoid(u @ WO) * s[:, 0] for u, s in zip(U, found, strict=True)])


def qlstm_reversed(U: Array, WF: Array, WI: Array, WO: Array, AL: Array) -> Array:
    """With forget gates exp(-relu(alpha) softplus(f))."""
    added = [(sigmoid(u @ WI) * u)[:, None] for u in U]
    decays = [np.exp(-np.maximum(AL, 0) * np.log(1 + np.exp(u @ WF))) for u in U]
    found = states([np.diag(d) for d in decays], added)
    return np.stack([sigmoid(u @ WO) * s[:, 0] for u, s in zip(U, found, strict=True)])


def dynamical_system(LAM: Array, BU: Array, CY: Array, DY: Array, U: Array) -> Array:
    """A diagonal transition, input and output matrices of its own at every position."""
    found = states(
        [np.diag(x) for x in LAM], [(b @ u)[:, None] for b, u in zip(BU, U, strict=True)]
    )
    return np.stack([c @ s[:, 0] + d @ u for c, s, d, u in zip(CY, found, DY, U, strict=True)])
