"""The references of the recurrent family against the same recurrences unrolled."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
import unrolled

from workloads.references import find_reference

Array = np.ndarray[Any, Any]

NAMES = (
    *("retention", "gated_linear_attention", "state_space_dual", "selective_scan"),
    *("delta_rule", "gated_delta_rule", "qlstm", "qlstm_reversed", "dynamical_system"),
)
SHAPES = {
    "retention": {"Q": "HPE", "K": "HPE", "V": "HPF"},
    "selective_scan": {"U": "PC", "DT": "PC", "BD": "C", "A": "CN", "DS": "C", "Z": "PC"},
    "dynamical_system": {"LAM": "PN", "BU": "PND", "CY": "PDN", "DY": "PDD", "U": "PD"},
}
USUAL = {
    "Q": "PE",
    "K": "PE",
    "V": "PF",
    "G": "PE",
    "BETA": "P",
    "X": "PF",
    "A": "P",
    "BT": "PN",
    "CT": "PN",
    "U": "PC",
    "WF": "CC",
    "WI": "CC",
    "WO": "CC",
    "AL": "C",
}
SIZES = {"H": 3, "P": 7, "E": 3, "F": 2, "C": 4, "N": 3, "D": 2}


def drawn(name: str, seed: int, front: tuple[int, ...] = ()) -> dict[str, Array]:
    """Random inputs of a reference; gates and decays where they belong."""
    found = find_reference(name)
    assert found is not None
    rng = np.random.default_rng(seed)
    inputs = {}
    for tensor in inspect.signature(found.function).parameters:
        letters = SHAPES.get(name, {}).get(tensor) or USUAL[tensor]
        if name == "gated_delta_rule" and tensor == "G":
            letters = "P"
        size = (*front, *(SIZES[x] for x in letters))
        values = rng.normal(size=size)
        if tensor in ("G", "A"):
            values = -abs(values)
        elif tensor in ("BETA", "LAM"):
            values = 1 / (1 + np.exp(-values))
        inputs[tensor] = values
    return inputs


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_a_recurrence_is_its_sum_over_earlier_positions(name: str, seed: int) -> None:
    inputs = drawn(name, seed)
    found = find_reference(name)
    assert found is not None
    (result,) = found(**inputs).values()
    expected = getattr(unrolled, name)(**inputs)
    np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_parallel_ranks_are_independent(name: str) -> None:
    inputs = drawn(name, 5, (2,))
    found = find_reference(name)
    assert found is not None
    (whole,) = found(**inputs).values()
    for b in range(2):
        (one,) = found(**{n: x[b] for n, x in inputs.items()}).values()
        np.testing.assert_allclose(whole[b], one, rtol=1e-13, atol=1e-14)


def decays(name: str, heads: int, layers: int) -> Array:
    found = find_reference(name)
    assert found is not None
    return found(H=heads, L=layers)["LAM"]


def test_the_three_decay_schedules_are_three() -> None:
    """Return the rates of the first of many layers, for 64 heads (arXiv 2401.04658 and its
    code)."""
    rate = {
        n: -np.log(decays(f"lightning_decay_{n}", 64, 80)) for n in ("paper", "code", "minimax")
    }
    assert rate["paper"][0, 0] == 0
    assert rate["paper"][0, 63] == pytest.approx(7.875)
    assert rate["code"][0, 0] == pytest.approx(0.917, abs=5e-4)
    assert rate["code"][0, 63] == pytest.approx(0.0039, abs=5e-5)
    assert (np.diff(rate["paper"][0]) > 0).all()
    assert (np.diff(rate["code"][0]) < 0).all()
    np.testing.assert_allclose(rate["code"][-1], rate["code"][0] * 1e-5 / (1 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(rate["code"], rate["minimax"], rtol=0, atol=2e-7)
    assert rate["paper"][79, 63] == pytest.approx(7.875 / 80)


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 8, 12, 40])
def test_slopes_of_any_number_of_heads(heads: int) -> None:
    """Slopes follow ALiBi's recursive definition by the next lower power of two."""

    def slopes(n: int) -> list[float]:
        if math.log2(n).is_integer():
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]
        below = 2 ** math.floor(math.log2(n))
        return slopes(below) + slopes(2 * below)[0::2][: n - below]

    rate = -np.log(decays("lightning_decay_code", heads, 2)[0])
    np.testing.assert_allclose(rate, np.array(slopes(heads)) * (1 + 1e-5), rtol=1e-9)
