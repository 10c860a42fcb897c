"""Ranks whose coordinates are alike: against running the cascades on rows in another order."""

from __future__ import annotations

import numpy as np
import pytest

from einsum_cascade import Cascade
from einsum_cascade.ir import Program
from einsum_cascade.shapes import rank_asymmetry

ALIKE = (
    "attention-1pass",
    "attention-2pass",
    "attention-3pass",
    "attention-3pass-deferred",
    "attention-naive",
    "attention-naive-deferred",
    "linear-attention",
)


def run(name: str, queries: np.ndarray) -> np.ndarray:
    cascade = Cascade.load(name)
    rng = np.random.default_rng(7)
    keys, values = rng.normal(size=(2, 3, 12, 4)), rng.normal(size=(2, 3, 12, 5))
    sizes = {"M0": 4} if "M0" in {r.name for r in cascade.program.ranks} else {}
    output = cascade.program.outputs[0]
    return np.asarray(cascade.evaluate({"Q": queries, "K": keys, "V": values}, **sizes)[output])


@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_are_alike_may_come_in_any_order_and_number(name: str) -> None:
    assert rank_asymmetry(Cascade.load(name).program, "P") is None
    rng = np.random.default_rng(3)
    queries = rng.normal(size=(2, 3, 6, 4))
    order = rng.integers(0, 6, size=15)
    whole = run(name, queries)
    np.testing.assert_allclose(run(name, queries[:, :, order]), whole[:, :, order], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "rank", "what"),
    [
        ("lightning-attention", "P", "rank 'M'"),
        ("linear-attention-causal", "P", "rank 'M'"),
        ("attention-1pass", "M", "Einsum 'LM'"),
        ("attention-3pass", "M", "Einsum 'GM'"),
        ("attention-1pass", "F", None),
        ("attention-1pass", "E", "Einsum 'BQK'"),
    ],
)
def test_what_tells_coordinates_apart(name: str, rank: str, what: str | None) -> None:
    assert rank_asymmetry(Cascade.load(name).program, rank) == what


PLAIN, CUT = "rows", "{is: rows, partition: [P1, P0]}"


def program_of(ranks: str, equation: str) -> Program:
    text = f"cascade: c\nranks: {{P: {ranks}, M: keys}}\ninputs: {{X: [P, M]}}\noutput: Y\n"
    return Cascade.parse(f"{text}einsums: |\n  {equation}\n").program


@pytest.mark.parametrize(
    ("ranks", "equation", "apart"),
    [
        (CUT, "Y[p1, p0] = X[p1*P0 + p0, m]", False),
        (CUT, "Y[p1*P0 + p0, m] = X[p1*P0 + p0, m] * 2", False),
        (CUT, "Y[p1, p0] = X[p1*P0 + p0, m] * p0", True),
        (CUT, "Y[p1, p0] = X[p1*P0 + p0, m] where p0 <= m", True),
        (CUT, "Y[p1, m] = X[p1*P0 + p0, m]", True),
        (PLAIN, "Y[p, m] = X[p, m]", False),
        (PLAIN, "Y[p, m] = X[p, m] / P", True),
        (PLAIN, "Y[m] = X[p, m]", True),
        (PLAIN, "Y[p, m] = X[p, m] * p", True),
        (PLAIN, "Y[p, m] = X[p, m] where p < P - 1", True),
        (PLAIN, "Y[p, m] = X[P - 1 - p, m]", True),
    ],
)
def test_ways_to_use_a_rank(ranks: str, equation: str, apart: bool) -> None:
    assert (rank_asymmetry(program_of(ranks, equation), "P") is not None) is apart


def test_a_rank_of_the_same_shape_tells_apart() -> None:
    text = (
        "cascade: c\nranks: {P: rows, M: {is: keys, like: P}}\ninputs: {X: [P], Z: [M]}\n"
        "output: Y\neinsums: |\n  Y[p] = X[p] * Z[m]\n"
    )
    assert rank_asymmetry(Cascade.parse(text).program, "P") == "rank 'M'"
