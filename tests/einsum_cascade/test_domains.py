"""Domains of inputs, and ranks whose shape the cascade fixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archsim.validation.inputs import random_inputs, random_parameters, random_shapes
from einsum_cascade import Cascade, CascadeError
from einsum_cascade.errors import EvaluationError
from einsum_cascade.rewrites.proof import proof_shapes
from einsum_cascade.rewrites.proof import random_inputs as proof_inputs

TEXT = """
cascade: constrained
ranks: {N: points, G: groups, T: {is: taps, shape: 3}}
inputs: {X: [N, T], MASK: [N], LABEL: [N], TAU: [], DECAY: [N]}
output: Y
parameters: {k, lam}
domains: {MASK: 0..1, LABEL: 0..G-1, TAU: [0.5, 2], DECAY: [0.1, 1], k: 2..G, lam: [0.5, 1]}
einsums: |
  Y[g] = X[n, t] * MASK[n] * DECAY[n] / TAU * k * lam where LABEL[n] == g
"""
CASCADE = Cascade.parse(TEXT)
GOOD: dict[str, Any] = {
    "X": np.ones((4, 3)),
    "MASK": np.array([0, 1, 1, 0]),
    "LABEL": np.array([0, 1, 2, 1]),
    "TAU": 0.5,
    "DECAY": np.array([0.1, 1, 0.5, 0.2]),
}


def test_the_text_comes_back() -> None:
    assert Cascade.parse(CASCADE.text()) == CASCADE
    assert "LABEL: 0..G-1" in CASCADE.text()
    assert "shape: 3" in CASCADE.text()
    other = Cascade.parse(TEXT.replace("0..G-1", "0..G"))
    assert other != CASCADE
    assert Cascade.parse(other.text()) == other
    assert Cascade.parse(TEXT.replace("shape: 3", "shape: 5")) != CASCADE


def test_it_runs_on_what_is_inside() -> None:
    found = CASCADE.evaluate(GOOD, G=3, k=2, lam=1.0)["Y"]
    np.testing.assert_allclose(found, [0.0, 3 * 1 / 0.5 * 2, 3 * 0.5 / 0.5 * 2])
    beyond = CASCADE.evaluate({**GOOD, "TAU": 4.0}, G=3, k=2, lam=1.0)["Y"]
    np.testing.assert_allclose(beyond, found / 8)  # an interval is only where numbers are drawn


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MASK", [0, 2, 1, 0], r"input 'MASK' is 2 at \[1\], but .* whole number from 0 to 1"),
        ("MASK", [0, 0.5, 1, 0], r"input 'MASK' is 0.5 at \[1\]"),
        (
            "LABEL",
            [0, 1, 2, 3],
            r"'LABEL' is 3 at \[3\], but it must be a whole number from 0 to 2",
        ),
        ("LABEL", [0, -1, 2, 1], "'LABEL' is -1"),
        ("k", 4, "parameter 'k' is 4, but it must be a whole number from 2 to 3"),
        ("k", float("inf"), "parameter 'k' is inf"),
        ("X", np.ones((4, 2)), "T is 3 in 'constrained', not 2"),
    ],
)
def test_it_refuses_what_is_outside(name: str, value: Any, message: str) -> None:
    given = {**GOOD, "k": 2, "lam": 1.0, name: value}
    arrays = {n: given.pop(n) for n in GOOD}
    with pytest.raises(EvaluationError, match=message):
        CASCADE.evaluate(arrays, G=3, **given)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MASK: 0..1", "MASK: 1..0", "no whole number is in 1..0"),
        ("MASK: 0..1", "MASK: 0.5..1", "'MASK' lies between two numbers"),
        ("MASK: 0..1", "MASK: 0..K", "unknown rank 'K' in a domain"),
        ("MASK: 0..1", "MASK: [0, 1, 2]", "'MASK' lies between two numbers"),
        ("MASK: 0..1", "MASK: [1, 0]", "the domain of 'MASK' is empty or has no end"),
        ("MASK: 0..1", "MUSK: 0..1", "'domains' names 'MUSK'.*\n.*\n.*\n.*did you mean 'MASK'"),
        ("TAU: [0.5, 2]", "TAU: positive", "'TAU' lies between two numbers"),
        ("shape: 3", "shape: 0", "'shape' is a positive whole number, not 0"),
        ("shape: 3", "shape: many", "'shape' is a positive whole number, not many"),
        ("shape: 3", "shape: 3, like: N", "has a shape and takes it from elsewhere"),
    ],
)
def test_mistakes(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(CascadeError, match=message):
        Cascade.parse(TEXT.replace(old, new))


def test_what_is_drawn_is_inside() -> None:
    program = CASCADE.program
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shapes = random_shapes(program, {}, rng)
        assert shapes["T"] == 3
        inputs = random_inputs(program, shapes, rng)
        numbers = random_parameters(program, {}, rng, shapes)
        CASCADE.evaluate(inputs, G=shapes["G"], **numbers)
    shapes = proof_shapes(program)
    drawn = proof_inputs(program, shapes, seed=1)
    CASCADE.evaluate(drawn, G=shapes["G"], k=2, lam=0.5)


def test_counts_know_the_shape() -> None:
    counted = CASCADE.analyze().subs({"N": 4, "G": 3})
    assert sum(int(n) for n in counted.operations.values()) > 0
    with pytest.raises(CascadeError, match="T is 3"):
        CASCADE.analyze().subs({"T": 4})
