"""Common factors are in front as sympy has them."""

from __future__ import annotations

import pytest
import sympy

from einsum_cascade import Cascade
from einsum_cascade.counting.factors import factor_terms
from einsum_cascade.counting.sums import SumOverSymbols

M, P, W, i, j = sympy.symbols("M P W i j", integer=True, positive=True)
FUNCTIONS = sympy.Max(0, M - P * M), sympy.Min(W, P), sympy.floor((M + P) / 2), 2**W

EXPRESSIONS = (
    M,
    sympy.Integer(6),
    4 * M * P + 2 * P,
    -4 * M * P - 2 * P,
    4 * M * P - 2 * P,
    M * (M - 1) / 2 + M * P,
    M * (M - 1) / 2 + M / 3,
    M**2 / 2 - M / 2,
    3 * M * (2 * P + 2) ** 2 + M * (P + 1),
    P * (M * (P + 1) + M**2),
    M / P + M * P,
    sum(n * f * M for n, f in enumerate(FUNCTIONS, 1)),
    P * FUNCTIONS[0] ** 2 + P * FUNCTIONS[1] * M - P * M**2,
    sympy.Piecewise((M * P + M, P > W), (0, True)),
    2**W * M + M,
    sympy.sqrt(M) * P + P,
    sympy.log(M * P + M) * M + M,
    SumOverSymbols(M * P * i + M * i, (i, 0, P - 1)) * W + W,
    SumOverSymbols(M + i, (i, 0, P - 1)),
    SumOverSymbols(SumOverSymbols(M * sympy.Min(i, j), (i, 0, P - 1)), (j, 0, M - 1)),
)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_factors_are_those_of_sympy(expression: sympy.Expr) -> None:
    assert factor_terms(expression) == sympy.factor_terms(expression)


@pytest.mark.parametrize(
    "name", ["attention-sliding-window", "log-linear-attention", "agent-attention"]
)
def test_factors_of_counts_are_those_of_sympy(name: str) -> None:
    analysis = Cascade.load(name).analyze()
    for counted in (e.points for e in analysis.by_einsum):
        spread = sympy.expand(counted)
        assert factor_terms(spread) == sympy.factor_terms(spread)
