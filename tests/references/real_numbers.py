"""Operators and functions of a cascade on single real numbers, infinities among them.

Plain Python, for the oracles: nothing here is shared with ``einsum_cascade.functions``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping


def _subtract(a: float, b: float) -> float:
    return -math.inf if a == b == -math.inf else a - b


def _multiply(a: float, b: float) -> float:
    return a * b


def _divide(a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0:
        return 0.0
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _power(a: float, b: float) -> float:
    if a == 0 and b < 0:
        return math.inf
    try:
        result = a**b
    except OverflowError:
        return math.inf if a > 0 or b % 2 == 0 else -math.inf
    return math.nan if isinstance(result, complex) else float(result)


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    if x == 0:
        return -math.inf
    return math.log(x) if x > 0 else math.nan


def _sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


def _rsqrt(x: float) -> float:
    return math.inf if x == 0 else 1 / _sqrt(x)


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x)) if x >= 0 else _exp(x) / (1 + _exp(x))


def _max(*values: float) -> float:
    return math.nan if any(math.isnan(v) for v in values) else max(values)


def _min(*values: float) -> float:
    return math.nan if any(math.isnan(v) for v in values) else min(values)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(_exp(-abs(x)))


def _floor(x: float) -> float:
    return x if math.isinf(x) else float(math.floor(x))


def _silu(x: float) -> float:
    return 0.0 if x == -math.inf else x * _sigmoid(x)


def _gelu(x: float) -> float:
    return 0.0 if x == -math.inf else x * math.erfc(-x / math.sqrt(2)) / 2


BINARY: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "**": _power,
}
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "exp": _exp,
    "log": _log,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "abs": abs,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "max": _max,
    "min": _min,
    "relu": lambda x: max(x, 0.0),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "sin": lambda x: math.nan if math.isinf(x) else math.sin(x),
    "cos": lambda x: math.nan if math.isinf(x) else math.cos(x),
    "silu": _silu,
    "gelu": _gelu,
    "softplus": _softplus,
    "erf": math.erf,
    "floor": _floor,
}
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
REDUCE: Mapping[str, tuple[float, Callable[[float, float], float]]] = {
    "+": (0.0, lambda a, b: a + b),
    "prod": (1.0, _multiply),
    "max": (-math.inf, _max),
    "min": (math.inf, _min),
}
