"""Weights from positions alone, and pointers."""

from __future__ import annotations

from typing import Any

import numpy as np
from zoo_checks import close, draw, reference

from einsum_cascade import Cascade


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
