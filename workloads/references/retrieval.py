"""Attention that chooses: keys to keep, chunks to look into, heads to use, blocks to fetch.

Scores are not scaled where the cascade says so (fold 1/sqrt(E) into ``Q``). Equal scores are
chosen in the order of their positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .functions import Array, softmax


def _largest(scores: Array, count: int) -> npt.NDArray[np.int64]:
    """Positions of the largest scores, largest first."""
    return np.argsort(-scores, kind="stable")[:count]


def _one_by_one(
    function: Callable[..., dict[str, Array]], leading: tuple[int, ...], **arrays: Array
) -> dict[str, Array]:
    """A function of one head, over all leading ranks."""
    found: dict[str, Array] = {}
    for at in np.ndindex(leading):
        for name, result in function(**{n: a[at] for n, a in arrays.items()}).items():
            whole = found.setdefault(name, np.zeros((*leading, *result.shape)))
            whole[at] = result
    return found


# ------------------------------------------------------------------ recycled attention


def recycled_attention_full(Q: Array, K: Array, V: Array, J: int) -> dict[str, Array]:
    """A full step of Recycled Attention (arXiv 2411.05787) for one query.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., E), (..., M, E) and (..., M, F).
    J : int
        Keys to keep.

    Returns
    -------
    dict
        ``AV`` (..., F), and the keys and values attended most, ``CK`` and ``CV`` (..., J, .).
    """

    def step(Q: Array, K: Array, V: Array) -> dict[str, Array]:
        weights = softmax(K @ Q)
        kept = _largest(weights, J)
        return {"AV": weights @ V, "CK": K[kept], "CV": V[kept]}

    return _one_by_one(step, Q.shape[:-1], Q=Q, K=K, V=V)


def recycled_attention(Q: Array, K: Array, V: Array, CK: Array, CV: Array) -> dict[str, Array]:
    """Recycle steps: attend to the cache and the new token, then drop the least attended.

    Parameters
    ----------
    Q, K, V : array
        New tokens (..., T, E), (..., T, E) and (..., T, F).
    CK, CV : array
        The cache (..., J, E) and (..., J, F).
    """

    def steps(Q: Array, K: Array, V: Array, CK: Array, CV: Array) -> dict[str, Array]:
        keys, values = list(CK), list(CV)
        rows = []
        for query, key, value in zip(Q, K, V, strict=True):
            keys.append(key)
            values.append(value)
            weights = softmax(np.stack(keys) @ query)
            rows.append(weights @ np.stack(values))
            worst = int(np.argmin(weights))
            del keys[worst], values[worst]
        return {"AV": np.stack(rows)}

    return _one_by_one(steps, Q.shape[:-2], Q=Q, K=K, V=V, CK=CK, CV=CV)


# ------------------------------------------------------------------ hierarchical memory


def hcam(
    X: Array,
    KS: Array,
    CT: Array,
    POS: Array,
    SEEN: Array,
    WG: Array,
    WS: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    WO: Array,
    R: int,
) -> dict[str, Array]:
    """Attention to the R best chunks of a memory (HCAM, arXiv 2105.14039).

    Parameters
    ----------
    X, KS : array
        Queries (T, D) and summaries of chunks (J, D).
    CT, POS : array
        Contents (J, S, D) and positions (S, D).
    SEEN : array
        1 where a query may see a chunk, (T, J).
    WG, WS : array
        Projections of queries and summaries, (D, G).
    WQ, WK, WV, WO : array
        Projections of the heads, (H, D, E), (H, D, E), (H, D, F) and (H, F, D).
    R : int
        Chunks chosen.
    """
    scores = (X @ WG) @ (KS @ WS).T / np.sqrt(WG.shape[1])
    scores = np.where(SEEN == 1, scores, -60000.0)
    rows = []
    for t, query in enumerate(X):
        chosen = _largest(scores[t], R)
        total = np.zeros(X.shape[1])
        for chunk, share in zip(chosen, softmax(scores[t][chosen]), strict=True):
            memory = CT[chunk] + POS
            for h in range(len(WQ)):
                weights = softmax((memory @ WK[h]) @ (query @ WQ[h]) / np.sqrt(WQ.shape[2]))
                total += share * (weights @ (memory @ WV[h])) @ WO[h]
        rows.append(total)
    return {"O": np.stack(rows)}


# ------------------------------------------------------------------ mixture of heads


def mixture_of_heads(
    X: Array,
    Q: Array,
    K: Array,
    V: Array,
    WG: Array,
    WU: Array,
    WO: Array,
    shared: float,
    J: int,
) -> dict[str, Array]:
    """Multi-head attention whose heads are gated per token (MoH, arXiv 2410.11842).

    Parameters
    ----------
    X : array
        Tokens (B, P, D), from which the gates are made.
    Q, K, V : array
        Shapes (B, H, P, E), (B, H, M, E) and (B, H, M, F).
    WG, WU, WO : array
        Gates of heads (D, H), of shared against routed (D, 2), and output (H, F, D).
    shared : float
        How many heads, the first, are always on.
    J : int
        How many of the other heads are on; all of them where there are no more.
    """
    always = int(shared)
    heads = softmax(Q @ np.swapaxes(K, -1, -2)) @ V
    result = np.zeros(X.shape)
    for b, p in np.ndindex(X.shape[:2]):
        logits = X[b, p] @ WG
        balance = 2 * softmax(X[b, p] @ WU)
        gates = np.zeros(len(logits))
        gates[:always] = balance[0] * always * softmax(logits[:always])
        routed = softmax(logits[always:])
        chosen = _largest(routed, J)
        gates[always + chosen] = balance[1] * len(chosen) * routed[chosen] / routed[chosen].sum()
        for h, gate in enumerate(gates):
            result[b, p] += gate * heads[b, h, p] @ WO[h]
    return {"O": result}


# ------------------------------------------------------------------ landmarks


def _grouped_softmax(scores: Array, groups: npt.NDArray[np.int64]) -> Array:
    """A softmax in every group by itself; what has no group (-1) gets 0."""
    weights = np.zeros(len(scores))
    for group in set(groups[groups >= 0].tolist()):
        mine = groups == group
        weights[mine] = softmax(scores[mine])
    return weights


def landmark_attention(Q: Array, K: Array, V: Array, S: int) -> dict[str, Array]:
    """Causal attention by grouped softmax (Landmark Attention, arXiv 2305.16300).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., M, E), (..., M, E) and (..., M, F).
    S : int
        Tokens of a block, the last of which is its landmark.
    """

    def attend(Q: Array, K: Array, V: Array) -> dict[str, Array]:
        position = np.arange(len(K))
        block, landmark = position // S, position % S == S - 1
        rows = []
        for i, query in enumerate(Q):
            own = block == block[i]
            # The top group is number 0, the group of block c is number c + 1.
            group = np.where(own | landmark, 0, block + 1)
            group[(position > i) | (own & landmark)] = -1
            weights = _grouped_softmax(K @ query, group)
            for c in range(block[i]):
                inside = (block == c) & ~landmark
                weights[inside] *= weights[c * S + S - 1]
            weights[landmark] = 0
            rows.append(weights @ V)
        return {"O": np.stack(rows)}

    return _one_by_one(attend, Q.shape[:-2], Q=Q, K=K, V=V)


def landmark_retrieval(
    Q: Array, KL: Array, K: Array, V: Array, KW: Array, VW: Array, J: int
) -> dict[str, Array]:
    """One query on local tokens and the J blocks whose landmarks it scores highest.

    Parameters
    ----------
    Q : array
        The query (..., E).
    KL, K, V : array
        Landmark keys (..., N, E), and the blocks (..., N, S, E) and (..., N, S, F).
    KW, VW : array
        Local keys (..., L, E) and values (..., L, F).
    J : int
        Blocks fetched.
    """

    def attend(Q: Array, KL: Array, K: Array, V: Array, KW: Array, VW: Array) -> dict[str, Array]:
        fetched = _largest(KL @ Q, J)
        top = softmax(np.concatenate([KW @ Q, KL[fetched] @ Q]))
        result = top[: len(KW)] @ VW
        for share, n in zip(top[len(KW) :], fetched, strict=True):
            result = result + share * (softmax(K[n] @ Q) @ V[n])
        return {"O": result}

    return _one_by_one(attend, Q.shape[:-1], Q=Q, KL=KL, K=K, V=V, KW=KW, VW=VW)
