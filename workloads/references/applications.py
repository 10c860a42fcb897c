"""References for attention in particular networks: for images, clicks, routes and sounds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .functions import Array, attend_by_head, layer_norm, sigmoid, softmax


def positional_attention(
    PE: Array, X: Array, WQ: Array, WK: Array, WV: Array, WO: Array, W1: Array, W2: Array, W3: Array
) -> dict[str, Array]:
    """Evaluate a layer of the positional Transformer (arXiv 2410.01686).

    Parameters
    ----------
    PE, X : array
        Positions (I, A), the same for every input, and inputs (B, I, D).
    WQ, WK, WV, WO : array
        Heads: (H, A, E), (H, A, E), (H, D, F) and (H, F, D).
    W1, W2, W3 : array
        Network over [X ; Y]: (D, G) for X, (D, G) for Y, and (G, D).
    """
    mixed = attend_by_head(PE, PE, X, (WQ, WK, WV, WO))
    both = np.concatenate([X, mixed], axis=-1)
    return {"Z": np.maximum(both @ np.concatenate([W1, W2]), 0) @ W3}


def oat_pointer(
    X: Array, C: Array, WD: Array, WE: Array, W: Array, BIAS: Array
) -> dict[str, Array]:
    """Evaluate the pointer of OAT (arXiv 2407.13335) over objects and an end token.

    Parameters
    ----------
    X, C : array
        Decoder states (B, T, D) and encoded objects (B, N, D).
    WD, WE : array
        Projections of the heads, (H, D, E) both.
    W, BIAS : array
        Linear read-out over heads (H,), and its bias.

    Returns
    -------
    dict
        Probabilities of the objects, ``A`` (B, T, N), and of the end, ``AE`` (B, T).
    """
    logits = np.zeros((X.shape[0], X.shape[1], C.shape[1] + 1))
    for decoder, encoder, weight in zip(WD, WE, W, strict=True):
        heads = (X @ decoder) @ np.swapaxes(C @ encoder, -1, -2)
        ended = np.concatenate([heads, np.zeros((*heads.shape[:2], 1))], axis=-1)
        logits += weight * ended / np.sqrt(WD.shape[-1])
    shares = softmax(logits + BIAS)
    return {"A": shares[..., :-1], "AE": shares[..., -1]}


def _step(x: Array, hidden: Array, cell: Array, W: Array, U: Array) -> tuple[Array, Array]:
    """Evaluate a step of an LSTM: ``x`` (..., C), state (..., U), weights (4, U, C) and (4, U,
    U)."""
    into, forget, new, out = (x @ W[g].T + hidden @ U[g].T for g in range(4))
    cell = sigmoid(forget) * cell + sigmoid(into) * np.tanh(new)
    return sigmoid(out) * np.tanh(cell), cell


def lstm_attention(
    X: Array, W: Array, UH: Array, BG: Array, WA: Array, BA: Array, UA: Array
) -> dict[str, Array]:
    """Evaluate an LSTM over words and attention over its hidden states (arXiv 2110.08771).

    Parameters
    ----------
    X : array
        Sentences (..., T, C).
    W, UH, BG : array
        Gates of the LSTM: (4, U, C), (4, U, U), and biases (4, U).
    WA, BA, UA : array
        Score of a state: a layer (U, A) with its bias, and the vector (A,) it is compared with.
    """
    biased = np.concatenate([W, BG[..., None]], axis=-1)
    words = np.concatenate([X, np.ones((*X.shape[:-1], 1))], axis=-1)
    cell = hidden = np.zeros((*X.shape[:-2], BG.shape[-1]))
    states: list[Array] = []
    for word in np.moveaxis(words, -2, 0):
        hidden, cell = _step(word, hidden, cell, biased, UH)
        states.append(hidden)
    seen = np.stack(states, axis=-2)
    weights = softmax(np.tanh(seen @ WA + BA) @ UA)
    return {"O": np.einsum("...t,...tu->...u", weights, seen)}


def look_once_to_hear_lstm(
    X: Array,
    WF: Array,
    UF: Array,
    WB: Array,
    UB: Array,
    OF: Array,
    OB: Array,
    WT: Array,
    UT: Array,
    OT: Array,
    T0: Array,
    C0: Array,
    eps: float,
) -> dict[str, Array]:
    """Evaluate a bidirectional LSTM over bins and an LSTM over time (Look Once to Hear, arXiv
    2405.06289).

    Each LSTM has a residual connection and a norm.

    Parameters
    ----------
    X : array
        Frames (T, N, C).
    WF, UF, OF, WB, UB, OB : array
        Forward and backward LSTM (4, U, C), (4, U, U), and their projections (U, C).
    WT, UT, OT : array
        LSTM over time, with the same shapes.
    T0, C0 : array
        Hidden and cell state of the LSTM over time before the first frame, (N, U).
    """
    bins = range(X.shape[1])
    result = np.zeros_like(X)
    hidden, cell = T0, C0
    for t, frame in enumerate(X):
        mixed = frame.copy()
        normed = layer_norm(frame, eps)
        for W, U, out, order in ((WF, UF, OF, bins), (WB, UB, OB, reversed(bins))):
            state = memory = np.zeros(U.shape[1])
            for n in order:
                state, memory = _step(normed[n], state, memory, W, U)
                mixed[n] += state @ out
        hidden, cell = _step(layer_norm(mixed, eps), hidden, cell, WT, UT)
        result[t] = mixed + hidden @ OT
    return {"Y": result}


def look_once_to_hear_attention(
    X: Array,
    WQ: Array,
    WK: Array,
    WV: Array,
    WP: Array,
    KB: Array,
    VB: Array,
    slope: float,
    eps: float,
) -> dict[str, Array]:
    """Attend from every frame to itself and the L frames before, over all bins of a frame at
    once.

    The layer is part of Look Once to Hear (arXiv 2405.06289).

    Parameters
    ----------
    X : array
        Frames (T, N, C).
    WQ, WK, WV, WP : array
        Heads (H, C, E), (H, C, E), (H, C, F) and (H, F, C).
    KB, VB : array
        Keys (H, L, N, E) and values (H, L, N, F) of the frames before the first.
    slope, eps : float
        Slope of the rectifier below zero, and epsilon of the norms.
    """

    def shaped(x: Array, axes: int) -> Array:
        return layer_norm(np.where(x > 0, x, slope * x), eps, axes)

    result = np.zeros_like(X)
    keys, values = list(np.swapaxes(KB, 0, 1)), list(np.swapaxes(VB, 0, 1))
    for t, frame in enumerate(X):
        query = shaped(np.einsum("nc,hce->hne", frame, WQ), 2)
        keys.append(shaped(np.einsum("nc,hce->hne", frame, WK), 2))
        values.append(shaped(np.einsum("nc,hcf->hnf", frame, WV), 2))
        mixed = np.zeros_like(frame)
        for h in range(len(WQ)):
            window = [k[h].ravel() for k in keys[t:]]
            weights = softmax(np.stack(window) @ query[h].ravel() / np.sqrt(query[h].size))
            mixed += np.einsum("w,wnf->nf", weights, np.stack([v[h] for v in values[t:]])) @ WP[h]
        result[t] = frame + shaped(mixed, 2)
    return {"Y": result}


def _cell_means(image: Array, height: int, width: int) -> Array:
    """Return means over cells of an image (rows, columns, ...); the last cells may be smaller."""
    rows = range(0, image.shape[0], height)
    columns = range(0, image.shape[1], width)
    means = [
        [image[y : y + height, x : x + width].mean(axis=(0, 1)) for x in columns] for y in rows
    ]
    return np.asarray(means)


def _depthwise(image: Array, weights: Array) -> Array:
    """Convolve each channel with its own 3 x 3 filter: (Y, X, F) with (F, 3, 3)."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    found = np.zeros_like(image)
    for dy, dx in np.ndindex(3, 3):
        found += padded[dy : dy + height, dx : dx + width] * weights[:, dy, dx]
    return found


def agent_attention(
    Q: Array, K: Array, V: Array, B1: Array, B2: Array, WD: Array, CY: int, CX: int
) -> dict[str, Array]:
    """Evaluate agent attention (arXiv 2312.08874) over a map without a class token.

    Parameters
    ----------
    Q, K, V : array
        Shapes (B, H, Y, X, E), (B, H, Y, X, E) and (B, H, Y, X, F).
    B1, B2 : array
        Biases (H, AY, AX, Y, X) and (H, Y, X, AY, AX).
    WD : array
        Depthwise filters (H, F, 3, 3).
    CY, CX : int
        Rows and columns of the cell that one agent is pooled from.
    """
    batch, heads, height, width, channels = Q.shape
    result = np.zeros((batch, heads, height, width, V.shape[-1]))
    for b, h in np.ndindex(batch, heads):
        agents = _cell_means(Q[b, h], CY, CX).reshape(-1, channels)
        queries, keys = Q[b, h].reshape(-1, channels), K[b, h].reshape(-1, channels)
        values = V[b, h].reshape(height * width, -1)
        first = agents @ keys.T / np.sqrt(channels) + B1[h].reshape(len(agents), -1)
        gathered = softmax(first) @ values
        second = queries @ agents.T / np.sqrt(channels) + B2[h].reshape(-1, len(agents))
        returned = softmax(second) @ gathered
        result[b, h] = returned.reshape(height, width, -1) + _depthwise(V[b, h], WD[h])
    return {"O": result}


def super_token_attention(
    X: Array, WQ: Array, WK: Array, WV: Array, WO: Array, CI: int, CJ: int
) -> dict[str, Array]:
    """Evaluate super token attention (arXiv 2211.11167) with one iteration of association.

    Parameters
    ----------
    X : array
        Pixels (I, J, C); zeros are appended where cells do not divide the image.
    WQ, WK, WV, WO : array
        Projections (H, C, D), (H, C, D), (H, C, F) and (H, F, C).
    CI, CJ : int
        Rows and columns of a cell.
    """
    height, width = X.shape[:2]
    X = np.pad(X, ((0, -height % CI), (0, -width % CJ), (0, 0)))
    means = _cell_means(X, CI, CJ)
    rows, columns, channels = means.shape
    shares: dict[tuple[int, int, int, int], float] = {}
    sums, masses = np.zeros_like(means), np.zeros((rows, columns, 1))
    for y, x in np.ndindex(X.shape[:2]):
        around = [(y // CI + i, x // CJ + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        inside = [0 <= i < rows and 0 <= j < columns for i, j in around]
        # A neighbour outside the grid is a zero vector, and takes a share of the weight.
        scores = [X[y, x] @ means[s] if ok else 0.0 for s, ok in zip(around, inside, strict=True)]
        weights = softmax(np.asarray(scores) / np.sqrt(channels))
        for share, at, ok in zip(weights, around, inside, strict=True):
            if ok:
                shares[(y, x, *at)] = share
                sums[at] += share * X[y, x]
                masses[at] += share
    tokens = (sums / (masses + 1e-12)).reshape(-1, channels)
    cells = attend_by_head(tokens, tokens, tokens, (WQ, WK, WV, WO)).reshape(means.shape)
    result = np.zeros_like(X)
    for (y, x, *cell), share in shares.items():
        result[y, x] += share * cells[tuple(cell)]
    return {"Y": result[:height, :width]}


def reversed_attention(
    X: Array,
    Q: Array,
    K: Array,
    V: Array,
    WP: Array,
    W1: Array,
    W2: Array,
    ML: Array,
    temperature: float,
) -> dict[str, Array]:
    """Evaluate the reversed attention of DependencyViT (arXiv 2304.03282).

    Parameters
    ----------
    X : array
        Tokens (J, D), from which the gates are made.
    Q, K, V : array
        Shapes (H, J, E), (H, J, E) and (H, J, F).
    WP, W1, W2 : array
        Head selector (D, H); message controller (D, C) and (C,).
    ML : array
        The message controller of the layer before, (J,).
    temperature : float
        Temperature of the head selector.
    """
    forward = softmax(np.einsum("hje,hie->hji", Q, K) / np.sqrt(Q.shape[-1]))
    selector = softmax(X @ WP / temperature)
    inner = X @ W1
    gelu = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    message = ML * sigmoid(gelu @ W2)
    return {"Y": np.einsum("hji,jh,j,hjf->hif", forward, selector, message, V), "MN": message}


def visual_attention_redistribution(
    X: Array,
    DIMS: npt.NDArray[np.int64],
    IMAGE: Array,
    Q: Array,
    K: Array,
    V: Array,
    tau: float,
    rho: float,
    summ: float,
    stay: float,
    eps: float,
) -> dict[str, Array]:
    """Evaluate causal attention whose image-centric heads move weight off sinks (arXiv
    2503.03321).

    Parameters
    ----------
    X, DIMS : array
        Hidden states (M, D) and the dimensions that show a sink (U,).
    IMAGE : array
        1 at image tokens, (M,).
    Q, K, V : array
        Shapes (H, P, E), (H, M, E) and (H, M, F).
    tau, rho, summ, stay, eps : float
        Threshold of a sink, the largest share of sinks in the image's weight, the
        smallest weight of the image, the share a sink keeps, and the norm's epsilon.
    """
    deviation = np.sqrt(np.mean(X * X, axis=1) + eps)
    sink = np.abs(X[:, DIMS] / deviation[:, None]).max(axis=1) > tau
    image = IMAGE == 1
    result = np.zeros((*Q.shape[:2], V.shape[-1]))
    for h, p in np.ndindex(Q.shape[:2]):
        visible = max(p + 1 + K.shape[1] - Q.shape[1], 0)
        if not visible:
            continue
        weights = softmax(K[h] @ Q[h, p], np.arange(K.shape[1]) < visible)
        whole, lost = weights[image].sum(), weights[image & sink].sum()
        if (sink & image).any() and lost <= rho * whole and whole >= summ:
            budget = (1 - stay) * weights[sink].sum()
            rest = image & ~sink
            weights[rest] += budget * weights[rest] / weights[rest].sum()
            weights[sink] *= stay
        result[h, p] = weights @ V[h]
    return {"AV": result}


def isolation_attention(
    Q: Array,
    K: Array,
    V: Array,
    SUB: Array,
    KR: Array,
    VR: Array,
    TO: npt.NDArray[np.int64],
    IN: Array,
) -> dict[str, Array]:
    """Evaluate attention of subjects that see the background and their own reference only.

    Parameters
    ----------
    Q, K, V : array
        The image, (..., P, E), (..., P, E) and (..., P, F).
    SUB : array
        The subject of every token, 0 for the background, (..., P).
    KR, VR : array
        References, one a subject, (..., S, N, E) and (..., S, N, F).
    TO, IN : array
        Index of the reference token of a subject at a token of the image, and
        1 where one exists: (..., S, P).
    """
    result = np.zeros((*Q.shape[:-1], V.shape[-1]))
    for at in np.ndindex(Q.shape[:-2]):
        subject, place, present = SUB[at], TO[at], IN[at]
        for p, query in enumerate(Q[at]):
            visible = (subject == subject[p]) | (subject == 0) | (subject[p] == 0)
            keys, values = [K[at][visible]], [V[at][visible]]
            if subject[p] > 0:
                own = int(subject[p]) - 1
                fetched = place[own][present[own] == 1]
                keys.append(KR[at][own][fetched])
                values.append(VR[at][own][fetched])
            weights = softmax(np.concatenate(keys) @ query)
            result[at][p] = weights @ np.concatenate(values)
    return {"O": result}


def injected_query_attention(
    Q: Array, QR: Array, SRC: Array, K: Array, V: Array, weight: float
) -> dict[str, Array]:
    """Evaluate attention of every view to itself, with queries mixed with those of a source.

    Parameters
    ----------
    Q, K, V : array
        The views, (..., N, P, E), (..., N, P, E) and (..., N, P, F).
    QR, SRC : array
        Queries of the sources (..., R, P, E), and the source of every view (..., N).
    weight : float
        Share of the source in the queries.
    """
    injected = np.take_along_axis(QR, SRC.astype(int)[..., None, None], axis=-3)
    mixed = (1 - weight) * Q + weight * injected
    return {"O": softmax(mixed @ np.swapaxes(K, -1, -2)) @ V}


def head_importance(Q: Array, K: Array, V: Array, DA: Array) -> dict[str, Array]:
    """Score the heads of a layer by the gradient of the loss with respect to a mask of each head.

    Parameters
    ----------
    Q, K, V : array
        Shapes (B, H, P, E), (B, H, M, E) and (B, H, M, F).
    DA : array
        Gradient at the outputs of the heads, (B, H, P, F).

    Returns
    -------
    dict
        Mean size ``I`` (H,) of a token's part of the gradient, and ``IN``, of length one.
    """
    outputs = softmax(Q @ np.swapaxes(K, -1, -2)) @ V
    importance = np.abs(np.sum(outputs * DA, axis=-1)).mean(axis=(0, 2))
    return {"I": importance, "IN": importance / np.linalg.norm(importance)}


def channel_spatial_gate(X: Array, W1: Array, W2: Array, WS: Array) -> dict[str, Array]:
    """Multiply a map by a gate per channel, from the mean, and a gate per place, from a 3 x 3
    filter.

    Parameters
    ----------
    X : array
        Feature map (..., I, J, C).
    W1, W2, WS : array
        Network of the channel gate (..., C, R) and (..., R, C), filter (..., 3, 3).
    """
    hidden = np.maximum(np.einsum("...ijc,...cr->...r", X, W1) / np.prod(X.shape[-3:-1]), 0)
    channels = np.einsum("...r,...rc->...c", hidden, W2)
    means = np.pad(X.mean(axis=-1), [(0, 0)] * (X.ndim - 3) + [(1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(means, (3, 3), axis=(-2, -1))
    places = np.einsum("...ijyx,...yx->...ij", windows, WS)
    return {"Y": X * sigmoid(channels)[..., None, None, :] * sigmoid(places)[..., None]}


def _object_scores(mask: Array, owners: Array, objects: int) -> Array:
    """Return the best score of every object's clicks, for every point."""
    scores = np.full((len(mask), objects), -np.inf)
    for u, owner in enumerate(owners.astype(int)):
        scores[:, owner] = np.maximum(scores[:, owner], mask[:, u])
    return scores


def click_attention(
    X: Array,
    PX: Array,
    Q: Array,
    PQ: Array,
    OF: Array,
    WM1: Array,
    WM2: Array,
    WAQ: Array,
    WAK: Array,
    WAV: Array,
    WAO: Array,
    WBQ: Array,
    WBK: Array,
    WBV: Array,
    WBO: Array,
    WCQ: Array,
    WCK: Array,
    WCV: Array,
    WCO: Array,
    WF1: Array,
    WF2: Array,
    eps: float,
    O: int,  # noqa: E741
) -> dict[str, Array]:
    """Evaluate a decoder block of AGILE3D (arXiv 2306.00977), with the mask of the block before.

    Parameters
    ----------
    X, PX : array
        Points of the scene and their positions, (N, D).
    Q, PQ : array
        Clicks and their positions, (U, D).
    OF : array
        The object of every click, (U,); 0 is the background.
    WM1, WM2, WF1, WF2 : array
        Networks of the mask module and of the block, (D, C) and (C, D).
    WAQ, ..., WCO : array
        Clicks to scene (A), clicks to clicks (B), scene to clicks (C): heads (H, D, E) and,
        for the last letter O, (H, E, D).
    eps, O : float, int
        Epsilon of the norms, and number of objects.

    Returns
    -------
    dict
        Clicks ``Q3`` (U, D), scene ``Y`` (N, D), and scores of the objects ``OBJ`` (N, O).
    """
    scores = _object_scores(X @ (np.maximum(layer_norm(Q, eps) @ WM1, 0) @ WM2).T, OF, O)
    allowed = scores.argmax(axis=1)[None, :] == OF[:, None]
    allowed[~allowed.any(axis=1)] = True
    met = attend_by_head(Q + PQ, X + PX, X, (WAQ, WAK, WAV, WAO), allowed)
    clicks = layer_norm(Q + met, eps)
    posed = clicks + PQ
    clicks = layer_norm(clicks + attend_by_head(posed, posed, clicks, (WBQ, WBK, WBV, WBO)), eps)
    clicks = layer_norm(clicks + np.maximum(clicks @ WF1, 0) @ WF2, eps)
    scene = attend_by_head(X + PX, clicks + PQ, clicks, (WCQ, WCK, WCV, WCO))
    return {"Q3": clicks, "Y": layer_norm(X + scene, eps), "OBJ": scores}
