"""References for attention to keys, blocks, chunks and heads that the data select."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .functions import Array, attend_by_head, sigmoid, softmax


def _best(scores: Array, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the largest scores, of equal ones the first; -inf is never selected."""
    order = np.argsort(-scores, kind="stable")[:count]
    return np.asarray(order[scores[order] > -np.inf])


def _attend(query: Array, keys: Array, values: Array) -> Array:
    """Return the attention of one query over some keys; zeros where there are none."""
    return np.asarray(softmax(keys @ query) @ values)


def deepseek_sparse_attention(
    QI: Array,
    KI: Array,
    IW: Array,
    QN: Array,
    QR: Array,
    CKV: Array,
    KR: Array,
    WK: Array,
    WV: Array,
    J: int,
) -> dict[str, Array]:
    """Return attention of all heads to every query's J best keys by the indexer (DeepSeek-V3.2).

    Keys and values are expanded from the latent, not absorbed.

    Parameters
    ----------
    QI, KI, IW : array, shapes (B, P, N, D), (B, M, D) and (B, P, N)
        Indexer: ``sum_n IW_n relu(QI_n . KI)``.
    QN, QR : array, shapes (B, H, P, A) and (B, H, P, R)
    CKV, KR : array, shapes (B, M, C) and (B, M, R)
    WK, WV : array, shapes (H, A, C) and (H, F, C)
    """
    batch, queries = QI.shape[:2]
    late = KI.shape[1] - queries
    best = np.zeros((batch, queries, J), np.int64)
    for b, p in np.ndindex(batch, queries):
        index = np.maximum(QI[b, p] @ KI[b, : max(0, p + late + 1)].T, 0.0)
        selected = _best(IW[b, p] @ index, J)
        best[b, p, : len(selected)] = selected
    return deepseek_sparse_attention_shared(best, QN, QR, CKV, KR, WK, WV)


def deepseek_sparse_attention_shared(
    IX: npt.NDArray[np.int64], QN: Array, QR: Array, CKV: Array, KR: Array, WK: Array, WV: Array
) -> dict[str, Array]:
    """Return attention of all heads to the selected keys of each query, expanded from the
    latent.

    Parameters
    ----------
    IX : array of whole numbers, shape (B, P, J)
        Indices of selected keys. A query that sees n < J keys uses the first n indices.
    QN, QR : array, shapes (B, H, P, A) and (B, H, P, R)
    CKV, KR : array, shapes (B, M, C) and (B, M, R)
    WK, WV : array, shapes (H, A, C) and (H, F, C)
    """
    batch, heads, queries = QN.shape[:3]
    late = CKV.shape[1] - queries
    found = np.zeros((batch, heads, queries, WV.shape[1]))
    for b, h, p in np.ndindex(batch, heads, queries):
        selected = IX[b, p, : max(0, p + late + 1)]
        latent = CKV[b, selected]
        keys = np.concatenate([latent @ WK[h].T, KR[b, selected]], axis=-1)
        query = np.concatenate([QN[b, h, p], QR[b, h, p]])
        found[b, h, p] = _attend(query, keys, latent @ WV[h].T)
    return {"O": found}


def native_sparse_attention(
    Q: Array, K: Array, V: Array, GC: Array, GS: Array, GW: Array, W: float, U: int, J: int
) -> dict[str, Array]:
    """Return NSA (arXiv 2502.11089): blocks of U tokens compressed by their mean, J selected,
    window W.

    Its blocks do not overlap: they are ``native_sparse_attention_overlapped`` with cells of U
    tokens, all of one weight.

    Parameters
    ----------
    Q : array, shape (..., S, P, E)
        S heads share keys, values and selected blocks.
    K, V : array, shape (..., M, E) and (..., M, F)
    GC, GS, GW : array, shape (..., S, P)
        Gates of the branches, before the sigmoid.
    """
    mean = np.full((1, U), 1 / U)
    return native_sparse_attention_overlapped(Q, K, V, K, V, K, V, mean, mean, GC, GS, GW, W, 1, J)


def mixture_of_block_attention(Q: Array, K: Array, V: Array, U: int, J: int) -> dict[str, Array]:
    """Return MoBA (arXiv 2502.13189): the own block of U keys, and the J - 1 earlier blocks with
    the best mean key."""
    found = np.zeros((*Q.shape[:-1], V.shape[-1]))
    late = K.shape[-2] - Q.shape[-2]
    for *head, p in np.ndindex(*Q.shape[:-1]):
        at = p + late
        if at < 0:
            continue
        query, k, v = Q[(*head, p)], K[tuple(head)], V[tuple(head)]
        own = at // U
        means = k[: own * U].reshape(own, U, k.shape[-1]).mean(axis=1)
        selected = [own, *_best(means @ query, J - 1)] if J > 1 else [own]
        visible = [m for n in selected for m in range(n * U, min((n + 1) * U, at + 1))]
        found[(*head, p)] = _attend(query, k[visible], v[visible])
    return {"O": found}


def path_attention(Q: Array, K: Array, V: Array, W: Array, BETA: Array) -> dict[str, Array]:
    """Return PaTH: the score of query p and key m is ``q_p H_p .. H_{m+1} k_m``, H = I - b w
    w^T.

    Parameters
    ----------
    W : array, shape (..., P, E)
        Directions, scaled to length one.
    BETA : array, shape (..., P)
    """
    found = np.zeros((*Q.shape[:-1], V.shape[-1]))
    for head in np.ndindex(*Q.shape[:-2]):
        unit = W[head] / np.linalg.norm(W[head], axis=-1, keepdims=True)
        for p in range(Q.shape[-2]):
            row = Q[head][p]
            scores = np.zeros(p + 1)
            for m in range(p, -1, -1):
                scores[m] = row @ K[head][m]
                row = row - BETA[head][m] * (row @ unit[m]) * unit[m]
            found[(*head, p)] = softmax(scores) @ V[head][: p + 1]
    return {"O": found}


def native_sparse_attention_overlapped(
    Q: Array,
    KA: Array,
    VA: Array,
    KB: Array,
    VB: Array,
    KW: Array,
    VW: Array,
    PK: Array,
    PV: Array,
    GC: Array,
    GS: Array,
    GW: Array,
    W: float,
    R: int,
    J: int,
) -> dict[str, Array]:
    """Return NSA (arXiv 2502.11089) whose compressed blocks overlap: A cells of T tokens at
    every cell.

    Parameters
    ----------
    Q : array, shape (..., S, P, E)
    KA, KB, KW, VA, VB, VW : array, shape (..., M, E) or (..., M, F)
        Keys and values of the compressed, the selected, and the window branch.
    PK, PV : array, shape (..., A, T)
        Weights of the tokens of a compressed block, in order.
    GC, GS, GW : array, shape (..., S, P)
    """
    (cells, tokens), keys = PK.shape[-2:], KA.shape[-2]
    length = cells * tokens

    def compressed(rows: Array, weights: Array) -> Array:
        blocks = [
            np.einsum("...l,...le->...e", weights, rows[..., start : start + length, :])
            for start in range(0, keys - length + 1, tokens)
        ]
        return np.stack(blocks, axis=-2) if blocks else rows[..., :0, :]

    small_k, small_v = (
        compressed(rows, weights.reshape(*weights.shape[:-2], length))
        for rows, weights in ((KA, PK), (VA, PV))
    )
    return native_sparse_attention_decode(
        Q, small_k, small_v, KB, VB, KW, VW, GC, GS, GW, W, cells, tokens, R, J
    )


def _overlapping(
    shares: Array, spans: list[tuple[int, int]], at: int, block: int, tokens: int
) -> Array:
    """Return the scores of the blocks up to a query's own; blocks always selected score
    infinity.

    A block of ``tokens`` scores the sum of the weights of compressed blocks, once per shared cell.
    """
    scores = np.zeros(max(0, at // block + 1))
    for share, (first, end) in zip(shares, spans, strict=True):
        for n in range(len(scores)):
            both = min(end, (n + 1) * block) - max(first, n * block)
            scores[n] += max(0, both) // tokens * share
    scores[:1] = np.finfo(float).max
    scores[max(0, len(scores) - 2) :] = np.finfo(float).max
    return scores


def native_sparse_attention_decode(
    Q: Array,
    KC: Array,
    VC: Array,
    KB: Array,
    VB: Array,
    KW: Array,
    VW: Array,
    GC: Array,
    GS: Array,
    GW: Array,
    W: float,
    A: int,
    T: int,
    R: int,
    J: int,
) -> dict[str, Array]:
    """Return the last tokens of ``native_sparse_attention_overlapped`` with compressed keys
    given.

    Parameters
    ----------
    Q : array, shape (..., S, P, E)
    KC, VC : array, shape (..., C, E) and (..., C, F)
        Compressed blocks of A cells of T tokens, one starting at every cell. The last cells, whose
        blocks are incomplete, are not read.
    KB, VB : array, shape (..., M, E) and (..., M, F)
    KW, VW : array, shape (..., L, E) and (..., L, F)
        The last L keys and values.
    GC, GS, GW : array, shape (..., S, P)
    """
    found = np.zeros((*Q.shape[:-1], VC.shape[-1]))
    queries, keys = Q.shape[-2], KB.shape[-2]
    for at_s in np.ndindex(*Q.shape[:-1]):
        group, at = at_s[:-2], keys - queries + at_s[-1]
        spans = [(c * T, (c + A) * T) for c in range(KC.shape[-2]) if (c + A) * T <= at + 1]
        whole = len(spans)
        per_head = [softmax(KC[group][:whole] @ q) for q in Q[group][:, at_s[-1]]]
        block_scores = _overlapping(np.sum(per_head, axis=0), spans, at, R * T, T)
        chosen = {int(n) for n in _best(block_scores, J)}
        kept = [m for m in range(at + 1) if m // (R * T) in chosen]
        # The window's keys are the last ones, counted from the newest.
        last = [-1 - back for back in range(KW.shape[-2]) if 0 <= back - (keys - 1 - at) < W]
        query = Q[at_s]
        found[at_s] = sigmoid(GC[at_s]) * (per_head[at_s[-2]] @ VC[group][:whole])
        found[at_s] += sigmoid(GS[at_s]) * _attend(query, KB[group][kept], VB[group][kept])
        found[at_s] += sigmoid(GW[at_s]) * _attend(query, KW[group][last], VW[group][last])
    return {"O": found}


def _for_each_head(
    function: Callable[..., dict[str, Array]], leading: tuple[int, ...], **arrays: Array
) -> dict[str, Array]:
    """Apply a function of one head at every index of the leading ranks."""
    found: dict[str, Array] = {}
    for at in np.ndindex(leading):
        for name, result in function(**{n: a[at] for n, a in arrays.items()}).items():
            whole = found.setdefault(name, np.zeros((*leading, *result.shape)))
            whole[at] = result
    return found


def recycled_attention_full(Q: Array, K: Array, V: Array, J: int) -> dict[str, Array]:
    """Return a full step of Recycled Attention (arXiv 2411.05787) for one query.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., E), (..., M, E) and (..., M, F).
    J : int
        Number of keys to keep.

    Returns
    -------
    dict
        ``AV`` (..., F), and the J keys and values with most weight, ``CK`` and ``CV`` (..., J, .).
    """

    def step(Q: Array, K: Array, V: Array) -> dict[str, Array]:
        weights = softmax(K @ Q)
        kept = _best(weights, J)
        return {"AV": weights @ V, "CK": K[kept], "CV": V[kept]}

    return _for_each_head(step, Q.shape[:-1], Q=Q, K=K, V=V)


def conscious_state(Q: Array, K: Array, V: Array, U: int) -> dict[str, Array]:
    """Return the elements of a state that queries attend to most (arXiv 1709.08568), weighted.

    Parameters
    ----------
    Q, K, V : array
        Shapes (B, P, E), (B, M, E) and (B, M, F).
    U : int
        Number of elements to attend to.

    Returns
    -------
    dict
        ``C`` (B, P, U, F), the element with most weight first.
    """

    def step(Q: Array, K: Array, V: Array) -> dict[str, Array]:
        scores = K @ Q
        best = np.argsort(-scores, kind="stable")[:U]
        return {"C": softmax(scores[best])[:, None] * V[best]}

    steps = Q.shape[:-1]
    K, V = (np.broadcast_to(a[:, None], (*steps, *a.shape[1:])) for a in (K, V))
    return _for_each_head(step, steps, Q=Q, K=K, V=V)


def recycled_attention(Q: Array, K: Array, V: Array, CK: Array, CV: Array) -> dict[str, Array]:
    """Return recycle steps: attend to the cache and the new token, then drop the key with least
    weight.

    Parameters
    ----------
    Q, K, V : array
        New tokens (..., T, E), (..., T, E) and (..., T, F).
    CK, CV : array
        Cache (..., J, E) and (..., J, F).
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

    return _for_each_head(steps, Q.shape[:-2], Q=Q, K=K, V=V, CK=CK, CV=CV)


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
    """Return attention to the R best chunks of a memory (HCAM, arXiv 2105.14039).

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
        Number of selected chunks.
    """
    scores = (X @ WG) @ (KS @ WS).T / np.sqrt(WG.shape[1])
    scores = np.where(SEEN == 1, scores, -60000.0)
    rows = []
    for t, query in enumerate(X):
        chosen = _best(scores[t], R)
        total = np.zeros(X.shape[1])
        for chunk, share in zip(chosen, softmax(scores[t][chosen]), strict=True):
            memory = CT[chunk] + POS
            total += share * attend_by_head(query, memory, memory, (WQ, WK, WV, WO))
        rows.append(total)
    return {"O": np.stack(rows)}


def mixture_of_heads(
    X: Array, Q: Array, K: Array, V: Array, WG: Array, WU: Array, WO: Array, shared: float, J: int
) -> dict[str, Array]:
    """Return multi-head attention whose heads are gated per token (MoH, arXiv 2410.11842).

    Parameters
    ----------
    X : array
        Tokens (B, P, D), from which the gates are made.
    Q, K, V : array
        Shapes (B, H, P, E), (B, H, M, E) and (B, H, M, F).
    WG, WU, WO : array
        Gates of heads (D, H), of shared against routed (D, 2), and output (H, F, D).
    shared : float
        Number of heads, from the first, that are always active.
    J : int
        Number of other heads that are active, at most all of them.
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
        chosen = _best(routed, J)
        gates[always + chosen] = balance[1] * len(chosen) * routed[chosen] / routed[chosen].sum()
        for h, gate in enumerate(gates):
            result[b, p] += gate * heads[b, h, p] @ WO[h]
    return {"O": result}


def landmark_attention(Q: Array, K: Array, V: Array, S: int) -> dict[str, Array]:
    """Return causal attention by grouped softmax (Landmark Attention, arXiv 2305.16300).

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., M, E), (..., M, E) and (..., M, F).
    S : int
        Tokens of a block; the last token is the landmark.
    """

    def attend(Q: Array, K: Array, V: Array) -> dict[str, Array]:
        position = np.arange(len(K))
        block, landmark = position // S, position % S == S - 1
        rows = []
        for i, query in enumerate(Q):
            own = block == block[i]
            # Group 0 is the top group; group c + 1 is that of block c.
            group = np.where(own | landmark, 0, block + 1)
            group[(position > i) | (own & landmark)] = -1
            weights, scores = np.zeros(len(K)), K @ query
            for g in np.unique(group[group >= 0]):
                weights[group == g] = softmax(scores[group == g])
            for c in range(block[i]):
                inside = (block == c) & ~landmark
                weights[inside] *= weights[c * S + S - 1]
            weights[landmark] = 0
            rows.append(weights @ V)
        return {"O": np.stack(rows)}

    return _for_each_head(attend, Q.shape[:-2], Q=Q, K=K, V=V)


def landmark_retrieval(
    Q: Array, KL: Array, K: Array, V: Array, KW: Array, VW: Array, J: int
) -> dict[str, Array]:
    """Return attention of one query to local tokens and the J blocks with the best landmarks.

    Parameters
    ----------
    Q : array
        The query (..., E).
    KL, K, V : array
        Landmark keys (..., N, E), and the blocks (..., N, S, E) and (..., N, S, F).
    KW, VW : array
        Local keys (..., L, E) and values (..., L, F).
    J : int
        Number of fetched blocks.
    """

    def attend(Q: Array, KL: Array, K: Array, V: Array, KW: Array, VW: Array) -> dict[str, Array]:
        fetched = _best(KL @ Q, J)
        top = softmax(np.concatenate([KW @ Q, KL[fetched] @ Q]))
        result = top[: len(KW)] @ VW
        for share, n in zip(top[len(KW) :], fetched, strict=True):
            result = result + share * (softmax(K[n] @ Q) @ V[n])
        return {"O": result}

    return _for_each_head(attend, Q.shape[:-1], Q=Q, KL=KL, K=K, V=V, KW=KW, VW=VW)
