"""Attention over images: what must hold whatever the numbers."""

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


def agents(seed: int, Y: int, X: int, AY: int, AX: int) -> dict[str, Any]:
    return draw(
        seed,
        Q=(2, 2, Y, X, 3),
        K=(2, 2, Y, X, 3),
        V=(2, 2, Y, X, 2),
        B1=(2, AY, AX, Y, X),
        B2=(2, Y, X, AY, AX),
        WD=(2, 2, 3, 3),
    )


@pytest.mark.parametrize(("CY", "CX"), [(1, 1), (2, 2), (2, 3), (3, 5), (4, 6)])
def test_agents_of_any_cells(CY: int, CX: int) -> None:
    given = agents(CY, 4, 6, -(-4 // CY), -(-6 // CX))
    found = Cascade.load("agent-attention").evaluate(given, CY=CY, CX=CX)["O"]
    close(found, reference("agent_attention", **given, CY=CY, CX=CX)["O"])


def test_agents_hand_on_all_the_mass() -> None:
    """The product of the two softmaxes sums to 1 along every row."""
    given = agents(0, 4, 6, 2, 2)
    given["V"], given["WD"] = np.ones_like(given["V"]), np.zeros_like(given["WD"])
    close(Cascade.load("agent-attention").evaluate(given, CY=2, CX=3)["O"], given["V"])


def tokens(seed: int, I: int, J: int) -> dict[str, Any]:  # noqa: E741
    C, H, D, F = 4, 2, 3, 2
    shapes = {"X": (I, J, C), "WQ": (H, C, D), "WK": (H, C, D), "WV": (H, C, F), "WO": (H, F, C)}
    return draw(seed, **shapes)


@pytest.mark.parametrize(("CI", "CJ"), [(1, 1), (2, 2), (3, 2), (4, 5), (7, 7)])
def test_super_tokens_of_any_cells(CI: int, CJ: int) -> None:
    given = tokens(CI, 6, 5)
    found = Cascade.load("super-token-attention").evaluate(given, CI=CI, CJ=CJ)["Y"]
    close(found, reference("super_token_attention", **given, CI=CI, CJ=CJ)["Y"])


def test_at_the_border_some_mass_is_lost() -> None:
    """Zero neighbours outside take exp(0) each: with zero pixels exactly 1/9 each."""
    given = tokens(0, 6, 6)
    given["X"] = np.zeros_like(given["X"])
    shares = Cascade.load("super-token-attention").evaluate(given, CI=2, CJ=2, keep="all")["AF"]
    close(shares, np.full_like(shares, 1 / 9))
    given["X"] = 3.0 + np.abs(tokens(1, 6, 6)["X"])
    kept = Cascade.load("super-token-attention").evaluate(given, CI=2, CJ=2, keep="all")
    corner = kept["AF"][0, 0, 0, 0]
    assert corner[0].sum() + corner[:, 0].sum() < 1e-3  # neighbours that are not there
    close(kept["AF"].sum((-2, -1)), np.ones((3, 2, 3, 2)))
