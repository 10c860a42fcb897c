"""The shipped references once more, in plain Python loops over single numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Matrix = list[list[float]]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """The sum of products."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def attend(
    q: Matrix,
    k: Matrix,
    v: Matrix,
    keep: Callable[[int, int], bool] = lambda p, m: True,
    temperature: float = 1.0,
    sink: float | None = None,
    power: int = 1,
) -> Matrix:
    """Softmax attention of every query over the keys it keeps, without any maximum."""
    rows = []
    for p, query in enumerate(q):
        raised = {
            m: math.exp(dot(query, key) / temperature) for m, key in enumerate(k) if keep(p, m)
        }
        total = sum(raised.values()) + (0.0 if sink is None else math.exp(sink))
        row = [0.0] * len(v[0])
        for m, value in raised.items():
            for f in range(len(row)):
                row[f] += (value / total) ** power * v[m][f]
        rows.append(row)
    return rows


def feature(x: float) -> float:
    """elu(x) + 1."""
    return x + 1 if x > 0 else math.exp(x)


def linear(q: Matrix, k: Matrix, v: Matrix, keep: Callable[[int, int], bool]) -> Matrix:
    """Normalised linear attention, one weight at a time."""
    rows = []
    for p, query in enumerate(q):
        row, total = [0.0] * len(v[0]), 0.0
        for m, key in enumerate(k):
            if keep(p, m):
                weight = dot([feature(x) for x in query], [feature(x) for x in key])
                total += weight
                row = [r + weight * x for r, x in zip(row, v[m], strict=True)]
        rows.append([r / total for r in row])
    return rows


def decayed(q: Matrix, k: Matrix, v: Matrix, lam: float) -> Matrix:
    """Causal attention weighted by lam ** (p - m), not normalised."""
    rows = []
    for p, query in enumerate(q):
        row = [0.0] * len(v[0])
        for m in range(min(p + 1, len(k))):
            weight = dot(query, k[m]) * lam ** (p - m)
            row = [r + weight * x for r, x in zip(row, v[m], strict=True)]
        rows.append(row)
    return rows


def log_sum_exp(x: Sequence[float]) -> float:
    """By the definition."""
    return math.log(sum(math.exp(e) for e in x))


def layer_norm(
    x: Sequence[float], g: Sequence[float], b: Sequence[float], eps: float
) -> list[float]:
    """One row."""
    mean = sum(x) / len(x)
    variance = sum((e - mean) ** 2 for e in x) / len(x)
    return [(e - mean) / math.sqrt(variance + eps) * w + c for e, w, c in zip(x, g, b, strict=True)]


def rms_norm(x: Sequence[float], g: Sequence[float], eps: float) -> list[float]:
    """One row."""
    square = sum(e * e for e in x) / len(x)
    return [e / math.sqrt(square + eps) * w for e, w in zip(x, g, strict=True)]
