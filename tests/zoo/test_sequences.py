"""Positions, turned keys, pointers, regression in context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade
from workloads.references import find_reference


def reference(name: str, **arguments: Any) -> dict[str, Any]:
    found = find_reference(name)
    assert found is not None
    return found(**arguments)


def draw(seed: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def positional(seed: int) -> dict[str, Any]:
    H, A, I, D, F, G = 2, 3, 5, 4, 3, 6  # noqa: E741
    shapes = {"PE": (I, A), "X": (2, I, D), "WQ": (H, A, 3), "WK": (H, A, 3), "WV": (H, D, F)}
    return draw(seed, **shapes, WO=(H, F, D), W1=(D, G), W2=(D, G), W3=(G, D))


def test_positional_weights_do_not_see_the_input() -> None:
    given = positional(0)
    cascade = Cascade.load("positional-attention")
    first = cascade.evaluate(given, keep="all")
    second = cascade.evaluate({**given, "X": given["X"] + 1.0}, keep="all")
    close(first["W"], second["W"])
    assert "b" not in cascade.program.einsum_of["W"].target.variables
    close(first["Z"], reference("positional_attention", **given)["Z"])


def turned(seed: int, P: int = 6, U: int = 2) -> dict[str, Any]:
    given = draw(seed, Q=(P, U, 2), K=(P, U, 2), V=(P, 3))
    return given | {"TH": np.array([1.0, 0.1]), "KEEP": np.ones(P, int)}


def test_bico_depends_on_the_distance_alone() -> None:
    """Scores of equal queries and keys are the same on both sides of the diagonal."""
    given = turned(0)
    given["Q"][:] = given["Q"][0]
    given["K"][:] = given["K"][0]
    scores = Cascade.load("bidirectional-causal-attention").evaluate(given, keep="all")["S"]
    for distance in range(6):
        diagonals = np.concatenate([np.diag(scores, distance), np.diag(scores, -distance)])
        close(diagonals, np.full_like(diagonals, diagonals[0]))


def test_bico_below_the_diagonal_is_the_causal_model() -> None:
    """Rotary scores of the pretrained model, written with rotation matrices."""
    given = turned(1)
    found = Cascade.load("bidirectional-causal-attention").evaluate(given, keep="all")["SC"]
    for p in range(6):
        for m in range(p + 1):
            wanted = 0.0
            for u, theta in enumerate(given["TH"]):
                turn = (m - p) * theta
                matrix = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
                wanted += given["Q"][p, u] @ matrix @ given["K"][m, u]
            assert found[p, m] == pytest.approx(wanted)


def test_masked_keys_have_no_say() -> None:
    given = turned(2)
    given["KEEP"] = np.array([1, 0, 1, 1, 0, 1])
    cascade = Cascade.load("bidirectional-causal-attention")
    before = cascade.evaluate(given)["O"]
    moved = {**given, "V": given["V"] + 100 * (1 - given["KEEP"])[:, None]}
    close(cascade.evaluate(moved)["O"], before)


def pointer(seed: int) -> dict[str, Any]:
    B, T, N, H, D, E = 2, 3, 5, 2, 4, 3
    given = draw(seed, X=(B, T, D), C=(B, N, D), WD=(H, D, E), WE=(H, D, E), W=(H,))
    return given | {"BIAS": np.array(0.3)}


def test_pointer_probabilities() -> None:
    given = pointer(0)
    found = Cascade.load("oat-pointer").evaluate(given)
    close(found["A"].sum(-1) + found["AE"], np.ones((2, 3)))
    given["W"] = np.zeros(2)  # without scores every logit is the bias
    found = Cascade.load("oat-pointer").evaluate(given)
    close(found["AE"], np.full((2, 3), 1 / 6))


def test_two_opposite_heads_are_a_step_of_gradient_descent() -> None:
    """For small scales 2 mu om (1/L) sum (y - mean y) (x . x_q): no bias is left."""
    B, L, D = 3, 6, 4
    given = draw(0, X=(B, L, D), Y=(B, L), XQ=(B, D))
    om, mu = 1e-4, 0.7
    heads = {"OM": np.array([om, -om]), "MU": np.array([mu, -mu])}
    found = Cascade.load("in-context-regression").evaluate({**given, **heads})["YQ"]
    centred = given["Y"] - given["Y"].mean(axis=1, keepdims=True)
    step = 2 * mu * om * np.einsum("bl,bld,bd->b", centred, given["X"], given["XQ"]) / L
    np.testing.assert_allclose(found, step, rtol=1e-4)
