"""Memories that learn while they read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def titans_memory(
    Q: Array,
    K: Array,
    V: Array,
    AL: Array,
    ET: Array,
    TH: Array,
    M0: Array,
    S0: Array,
    C: int,
) -> dict[str, Array]:
    """Titans' linear memory (arXiv 2501.00663, equations 12-14), token by token.

    The gradient ``2 k^T (k M - v)`` is taken at the memory with which a chunk of ``C`` tokens
    begins; momentum and forgetting run on.

    Parameters
    ----------
    Q, K, V : array
        Shapes (..., T, D), (..., T, D) and (..., T, F).
    AL, ET, TH : array
        Forgetting, momentum and step of every token, (..., T).
    M0, S0 : array
        Memory and momentum at the start, (..., D, F).
    C : int
        Tokens of a chunk.

    Returns
    -------
    dict
        What the queries read, ``O`` (..., T, F), and the memory at the end, ``MN``.
    """
    memory, momentum = M0.copy(), S0.copy()
    start = memory
    rows = []
    for t in range(Q.shape[-2]):
        if t % C == 0:
            start = memory
        key, value = K[..., t, :], V[..., t, :]
        surprise = np.einsum("...d,...df->...f", key, start) - value
        gradient = 2 * key[..., :, None] * surprise[..., None, :]
        alpha, eta, theta = (x[..., t, None, None] for x in (AL, ET, TH))
        momentum = eta * momentum - theta * gradient
        memory = (1 - alpha) * memory + momentum
        rows.append(np.einsum("...d,...df->...f", Q[..., t, :], memory))
    return {"O": np.stack(rows, axis=-2), "MN": memory}
