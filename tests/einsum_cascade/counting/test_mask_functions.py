"""Functions inside masks: every one of the language, counted as the interpreter computes it."""

from __future__ import annotations

import numpy as np
import pytest
from portions import some

from einsum_cascade import Cascade
from einsum_cascade.functions import FUNCTIONS

HEAD = """cascade: a
ranks: {P: queries, M: keys}
inputs: {X: [P, M]}
output: Z
parameters: {W: 2}
functions: {"half(x)": "floor(x / 2)", "twice(x, y)": "half(x) + half(half(y) + x)"}
einsums: |
"""
ONE = [*(n for n in FUNCTIONS if n not in ("where", "max", "min")), "half"]
MASKS = [
    *(f"{name}({{}})" for name in ONE),
    "max({}, W, 1)",
    "min({}, 3)",
    "twice({}, W)",
    "where({} > 1, m, p)",
    "where({0} >= W, where({0} == 2, 0, {0}), half({0}) + 1)",
]


@pytest.mark.parametrize("mask", some(MASKS, 4))
def test_counts_are_those_of_the_interpreter(mask: str) -> None:
    sides = (f"m < {mask.format('p')}", f"not {mask.format('W')} >= m and {mask.format('m')} <= p")
    for where in sides:
        cascade = Cascade.parse(f"{HEAD}  Z[p] = X[p, m] + 0 * W * twice(m, p) where {where}\n")
        wanted = int(cascade.evaluate({"X": np.ones((3, 4))})["Z"].sum())
        analysis = cascade.analyze()
        (counted,) = analysis.at({"P": 3, "M": 4}).by_einsum
        (put,) = analysis.subs({"P": 3, "M": 4, "W": 2}).by_einsum
        assert counted.points == wanted, where
        assert put.points == wanted, where
        assert dict(put.operations) == dict(counted.operations)
