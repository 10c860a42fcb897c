"""The decay of every head and layer of Lightning Attention: three schedules in circulation.

Heads h and layers l count from 0; H and L are how many there are. Each gives ``LAM`` of
shape (L, H), the factor by which a state shrinks from one position to the next.
"""

from __future__ import annotations

import math

import numpy as np

from .functions import Array


def lightning_decay_paper(H: int, L: int) -> dict[str, Array]:
    """``exp(-(8h/H) (1 - l/L))``: arXiv 2401.04658, eq. 10."""
    rows = [[math.exp(-(8 * h / H) * (1 - x / L)) for h in range(H)] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_code(H: int, L: int) -> dict[str, Array]:
    """``exp(-slope_h (1 - l/(L-1) + 1e-5))`` with ALiBi's slopes: the authors' module."""
    slopes = _alibi_slopes(H)
    rows = [[math.exp(-s * (1 - x / (L - 1) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def lightning_decay_minimax(H: int, L: int) -> dict[str, Array]:
    """``exp(-2^(-8(h+1)/H) (1 - l/(L-1+1e-5) + 1e-5))``: MiniMax-01 in transformers."""
    slopes = [2.0 ** (-8 * (h + 1) / H) for h in range(H)]
    rows = [[math.exp(-s * (1 - x / (L - 1 + 1e-5) + 1e-5)) for s in slopes] for x in range(L)]
    return {"LAM": np.array(rows)}


def _alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slopes (arXiv 2108.12409): a geometric sequence for a power of two.

    For another number, those of the power of two below, and every other one of the power
    above for the heads that are left.
    """
    power = 1
    while 2 * power <= heads:
        power *= 2
    first = 2.0 ** (-8 / power)
    slopes = [first ** (h + 1) for h in range(power)]
    between = 2.0 ** (-4 / power)
    return slopes + [between ** (2 * h + 1) for h in range(heads - power)]
