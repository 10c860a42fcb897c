"""Reference execution: what it refuses, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_cascades import small

from einsum_cascade import Cascade, EvaluationError
from einsum_cascade.numeric.reference import evaluate

Q, K, V = np.zeros((5, 3)), np.zeros((7, 3)), np.zeros((7, 2))
GOOD: dict[str, Any] = {"Q": Q, "K": K, "V": V}
HUGE = 10**12


def lead(array: np.ndarray[Any, Any], *shape: int) -> np.ndarray[Any, Any]:
    return np.zeros((*shape, *array.shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V": None}, r"input 'V' \[B, H, M, F\] is missing"),
        ({"KK": K}, r"'KK' is not an input of 'attention-1pass'\n.*did you mean 'K'"),
        ({"Q": Q[0]}, r"input 'Q' has 1 dimension; it is \[B, H, P, E\] or \[P, E\]"),
        ({"Q": lead(Q, 2)}, "input 'Q' has 3 dimensions; it is"),
        ({"Q": lead(Q, 2, 3)}, r"Q come with the parallel ranks \[B, H\] and K, V without"),
        ({"K": K[:, :2]}, "rank E has shape 3 in 'Q' and 2 in 'K'"),
        ({"V": V[:6]}, "rank M has shape 7 in 'K' and 6 in 'V'"),
        ({"Q": "text"}, "input 'Q' holds .*, not real numbers"),
        ({"Q": Q * 1j}, "input 'Q' holds complex128 values"),
        ({"Q": Q.astype(object)}, "input 'Q' holds object values"),
        ({"Q": [[1.0], [1.0, 2.0]]}, "input 'Q' is not an array of numbers"),
        ({"Q": Q * np.nan}, r"input 'Q' is not a number at \[0, 0\]"),
        ({"Q": np.zeros((0, 3))}, "shape P is a positive whole number, not 0"),
    ],
)
def test_inputs_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    inputs = {n: a for n, a in {**GOOD, **change}.items() if a is not None}
    with pytest.raises(EvaluationError, match=message):
        Cascade.load("attention-1pass").evaluate(inputs, M0=2)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({}, "'M1' or 'M0'"),
        ({"M0": 0}, "shape M0 is a positive whole number, not 0"),
        ({"M0": -2}, "shape M0 is a positive whole number, not -2"),
        ({"M0": 2.0}, "shape M0 is a positive whole number, not 2.0"),
        ({"M0": True}, "shape M0 is a positive whole number, not True"),
        ({"M0": 2, "M1": 9}, r"M1 must be ceil\(M / M0\) = 4"),
        ({"M0": 2, "P": 6}, "rank P has shape 5 in 'Q', but 6 is asked for"),
        ({"MO": 2}, r"'MO' is neither a rank nor a parameter of 'attention-1pass'\n.*did you mean"),
        ({"M0": 2, "dtype": "float8"}, r"'float8' is not a number type here\n.*did you mean"),
        ({"M0": 2, "dtype": np.int32}, "'int32' is not a number type"),
        ({"M0": 2, "dtype": {}}, "is not a number type"),
        ({"M0": 2, "keep": "some"}, "keep is 'outputs' or 'all', not 'some'"),
    ],
)
def test_requests_that_do_not_fit(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Cascade.load("attention-1pass").evaluate(GOOD, **keywords)


def test_all_problems_at_once() -> None:
    with pytest.raises(EvaluationError) as caught:
        Cascade.load("lightning-attention").evaluate({"Q": Q * np.nan, "X": V})
    assert [p.message.split(" ")[1] for p in caught.value.problems] == [
        *("is", "'K'", "'V'", "'Q'", "'lam'")
    ]


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), [1.0, 2.0], 1j])
def test_parameters_are_numbers(value: Any) -> None:
    cascade = Cascade.load("lightning-attention")
    words = "is missing" if value is None else "is a number, not"
    with pytest.raises(EvaluationError, match=f"parameter 'lam' {words}"):
        cascade.evaluate(GOOD, lam=value)


def test_sizes_and_parameters_as_mappings() -> None:
    inputs = {n: np.ones_like(a[:5]) for n, a in GOOD.items()}
    program = Cascade.load("lightning-attention").program
    by_name = evaluate(program, inputs, lam=0.5)["O"]
    assert (
        evaluate(program, inputs, parameters={"lam": 0.5}, sizes={"P": 5})["O"] == by_name
    ).all()
    norm = Cascade.load("layer-norm")
    x = {"X": np.eye(3), "G": np.ones(3), "B": np.zeros(3)}
    default = norm.evaluate(x)["Y"]
    assert (norm.evaluate(x, eps=0.00001)["Y"] == default).all()
    assert (norm.evaluate(x, eps=10)["Y"] != default).any()


def test_mappings_are_mappings() -> None:
    cascade = small("Z[a] = X[a]", "X: [A]")
    with pytest.raises(EvaluationError, match="inputs is a mapping from names, not list"):
        cascade.evaluate([np.ones(3)])  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="sizes is a mapping from names, not int"):
        cascade.evaluate({"X": np.ones(3)}, sizes=3)


def test_inputs_of_every_kind_of_number() -> None:
    cascade = small("Z[a] = 2 * X[a]", "X: [A]")
    for given in (
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2], np.uint8),
        np.array([True, False]),
        range(2),
    ):
        assert cascade.evaluate({"X": given})["Z"].tolist() == [2 * float(x) for x in given]


def test_numbers_too_large_for_the_type() -> None:
    cascade = small("Z[a] = X[a]", "X: [A]")
    with pytest.raises(
        EvaluationError, match=r"input 'X' is 70000.0 at \[1\], too large for float16"
    ):
        cascade.evaluate({"X": [1.0, 70000.0]}, dtype="float16")
    assert cascade.evaluate({"X": [1.0, -np.inf]}, dtype="float16")["Z"][1] == -np.inf


def test_index_tensors_hold_whole_numbers() -> None:
    cascade = small("Z[b] = X[I[b]]", "X: [A], I: [B]")
    for wrong in ([0.0, 1.0], [True, False]):
        with pytest.raises(EvaluationError, match="input 'I' holds coordinates"):
            cascade.evaluate({"X": [1.0], "I": wrong})
    with pytest.raises(EvaluationError, match=r"beyond 2\*\*63"):
        cascade.evaluate({"X": [1.0], "I": np.array([2**63], np.uint64)})
    index = np.array([0, 0], np.int8)
    assert cascade.evaluate({"X": [3.0], "I": index}, dtype="bfloat16")["Z"].tolist() == [3, 3]


def test_more_memory_than_there_is_allowed() -> None:
    wide = {"Q": np.zeros((40000, 1)), "K": np.zeros((40000, 1)), "V": np.zeros((40000, 1))}
    with pytest.raises(EvaluationError, match=r"needs about .* GiB of arrays .*the limit is 4 GiB"):
        Cascade.load("attention-3pass").evaluate(wide)
    # The scores are never built: reassociated, the same shapes are small.
    assert Cascade.load("linear-attention").evaluate(wide)["O"].shape == (40000, 1)


def test_a_narrow_accumulator_needs_all_points_at_once() -> None:
    product = "Z[a, m] = X[a, b] * Y[b, m]", "X: [A, B], Y: [B, M]"
    given = {"X": np.zeros((1200, 1200)), "Y": np.zeros((1200, 1200))}
    narrow = small(*product, more="accumulate: {Z: bfloat16}\n")
    with pytest.raises(EvaluationError, match=r"needs about 6\.\d GiB of arrays .*Einsum 'Z'"):
        narrow.evaluate(given, dtype="float32")
    assert small(*product).evaluate(given, dtype="float32")["Z"].shape == (1200, 1200)


def test_an_index_beyond_all_bounds() -> None:
    cascade = small(f"Z[a] = X[{HUGE}*{HUGE}*a] where a < 1", "X: [A]")
    with pytest.raises(EvaluationError, match=r"grows beyond 2\*\*62"):
        cascade.evaluate({"X": [1.0, 2.0]})
    smaller = small(f"Z[a] = X[{HUGE}*a] where a < 1", "X: [A]")
    assert smaller.evaluate({"X": [1.0, 2.0]})["Z"].tolist() == [1, 0]
