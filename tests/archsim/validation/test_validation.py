"""Validation of cascades against references."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from itertools import product
from typing import Any

import numpy as np
import pytest
from portions import left, some

from archsim import validate
from archsim.validation.inputs import random_inputs, random_parameters, random_shapes
from archsim.validation.trial import ValidationReport, tolerance
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import EvaluationError
from einsum_cascade.yaml.library import builtin_names
from workloads.references import Reference, find_reference

DTYPES = ("float64", "float32", "float16", "bfloat16")

GATHERED = """
cascade: gathered
ranks: {M: keys, P: queries, J: chosen, E: width}
inputs: {S: [M, P], K: [M, E], X: [P]}
output: O
einsums: |
  I[j, p] << topk(S[m, p], j)
  O[p, e] = K[I[j, p], e] * K[X[p], e]
"""


def validated(name: str, **kwargs: Any) -> ValidationReport:
    cascade = Cascade.load(name)
    return validate_cascade(cascade, reference=find_reference(cascade.program.reference), **kwargs)


EVERY = [("float64", name, 1) for name in builtin_names("cascades")]
LONG = ("native-sparse-attention-overlapped",)
"""Cascades that take seconds, value by value."""


@pytest.mark.parametrize(
    ("dtype", "name", "trials"),
    [
        *(left(*case) if case[1] in LONG else case for case in EVERY),
        *some(product(("float16", "bfloat16"), builtin_names("cascades"), (1,)), 18),
        *some(product(("float64",), builtin_names("cascades"), (3,)), 18),
    ],
)
def test_every_builtin_cascade(name: str, dtype: str, trials: int) -> None:
    report = validated(name, dtype=dtype, seed=7, trials=trials)
    assert report.ok, report
    assert report.cascade == name
    assert report.independent
    assert report.dtype == dtype
    assert 0 <= report.max_rel_error <= report.tolerance
    if dtype != "float64":
        assert report.max_abs_error > 0


def test_a_wrong_cascade_is_found_in_every_type() -> None:
    text = Cascade.load("attention-1pass").text().replace("+ SPD[m1, p]", "+ 1.2 * SPD[m1, p]")
    for dtype in DTYPES:
        report = validate_cascade(
            Cascade.parse(text),
            dtype=dtype,
            shapes={"M": 13, "M0": 4},
            reference=find_reference("softmax_attention"),
        )
        assert not report.ok
        assert report.max_rel_error > report.tolerance


def test_a_small_mistake_is_found_in_float16() -> None:
    """A dropped decay of one step out of many is larger than the tolerance."""
    text = (
        Cascade.load("lightning-attention").text().replace("lam ** (p - m)", "lam ** (p - m + 1)")
    )
    report = validate_cascade(
        Cascade.parse(text), dtype="float16", reference=find_reference("lightning_attention")
    )
    assert not report.ok


def test_same_seed_same_report() -> None:
    assert validated("attention-2pass", seed=3) == validated("attention-2pass", seed=3)
    assert validated("attention-2pass", seed=3) != validated("attention-2pass", seed=4)


def test_shapes_and_parameters_are_used() -> None:
    given = {"P": 6, "M": 10, "M0": 4, "B": 2}
    report = validated("attention-1pass", shapes=given)
    assert given.items() <= dict(report.shapes).items()
    assert dict(report.shapes)["M1"] == 3
    assert validated("lightning-attention", parameters={"lam": 1.0}).ok


def test_without_a_reference_it_says_so() -> None:
    cascade = Cascade.parse(GATHERED)
    report = validate_cascade(cascade, dtype="float16")
    assert (report.against, report.independent) == ("itself in float64", False)
    assert (report.ok, report.verdict) == (None, "not checked")
    assert report.to_dict()["verdict"] == "not checked"
    assert validated("attention-naive").independent
    # A nest that is run in the place of the equations is checked against them.
    by_nest = validate_cascade(cascade, run=cascade.evaluate)
    assert (by_nest.ok, by_nest.against) == (True, "its equations in float64")


def test_what_is_no_number_fails_without_a_reference_too() -> None:
    text = Cascade.load("attention-naive").text().replace("exp(QK[m, p])", "exp(50 * QK[m, p])")
    report = validate_cascade(Cascade.parse(text), dtype="float16")
    assert (report.ok, report.verdict) == (False, "FAILED")


def attention(Q: Any, K: Any, V: Any) -> Any:
    scores = np.exp(Q @ np.swapaxes(K, -1, -2))
    return scores / scores.sum(-1, keepdims=True) @ V


def test_a_function_of_ones_own_is_a_reference() -> None:
    report = validate("attention-3pass", reference=attention)
    assert (report.verdict, report.against, report.independent) == ("ok", "attention", True)
    wrong = validate("attention-3pass", reference=lambda Q, K, V: {"AV": 2 * attention(Q, K, V)})
    assert (wrong.verdict, wrong.against) == ("FAILED", "<lambda>")
    with pytest.raises(EvaluationError, match="'attention' knows no S"):
        validate("attention-sink", reference=attention)
    assert validate("attention-1pass").against == "softmax_attention"
    with pytest.raises(EvaluationError, match="not both"):
        validate("attention-1pass", reference=attention, against="attention-3pass")


@pytest.mark.parametrize(
    ("cascade", "other"),
    [
        ("attention-3pass", "attention-1pass"),
        ("attention-2pass", "attention-naive"),
        ("linear-attention-recurrent", "linear-attention-chunked"),
    ],
)
def test_another_cascade_is_a_reference(cascade: str, other: str) -> None:
    """Its tiles are of sizes of their own; that a cascade is wrong is found by another."""
    report = validate(cascade, against=other)
    assert (report.verdict, report.against, report.independent) == ("ok", other, True)


def test_another_cascade_finds_what_is_wrong() -> None:
    text = Cascade.load("attention-1pass").text()
    wrong = Cascade.parse(text.replace("exp(RM[m1, p] - RM[m1+1, p])", "exp(RM[m1, p])"))
    assert validate(wrong, against="attention-3pass").verdict == "FAILED"
    with pytest.raises(EvaluationError, match="inputs of 'attention-sink' and 'attention-1pass'"):
        validate("attention-sink", against="attention-1pass")


def test_overflow_fails_the_check() -> None:
    text = Cascade.load("attention-naive").text().replace("exp(QK[m, p])", "exp(300 * QK[m, p])")
    report = validate_cascade(
        Cascade.parse(text), dtype="float16", reference=find_reference("softmax_attention")
    )
    assert not report.ok
    assert report.max_abs_error == math.inf
    assert "not a number" in report.failure
    assert json.loads(json.dumps(report.to_dict()))["max_abs_error"] is None


def test_report_is_frozen_and_json() -> None:
    report = validated("attention-3pass")
    found = json.loads(json.dumps(report.to_dict()))
    assert {"cascade", "dtype", "max_abs_error", "max_rel_error", "tolerance", "ok"} <= set(found)
    with pytest.raises(FrozenInstanceError):
        report.ok = False  # type: ignore[misc]


def test_another_runner() -> None:
    cascade = Cascade.load("attention-3pass")

    def broken(inputs: Any, **kwargs: Any) -> dict[str, np.ndarray[Any, Any]]:
        return {n: 1.5 * a for n, a in cascade.evaluate(inputs, **kwargs).items()}

    reference = find_reference("softmax_attention")
    assert not validate_cascade(cascade, reference=reference, run=broken).ok
    assert validate_cascade(cascade, reference=reference, run=cascade.evaluate).ok


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dtype": "float8"}, "'float8' is not a number type"),
        ({"shapes": {"Z": 3}}, "'Z' is not a rank"),
        ({"shapes": {"P": -3}}, "positive whole number, not -3"),
        ({"shapes": {"M": 10, "M1": 2, "M0": 3}}, "M1 must be"),
    ],
)
def test_bad_requests(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        validated("attention-1pass", **kwargs)


def test_references_that_do_not_fit() -> None:
    cascade = Cascade.load("attention-3pass")
    for name, message in (("lightning_attention", "needs lam"), ("log_softmax", "needs X")):
        with pytest.raises(EvaluationError, match=message):
            validate_cascade(cascade, reference=find_reference(name))
    sinked = Cascade.load("attention-sink")
    with pytest.raises(EvaluationError, match="knows no S"):
        validate_cascade(sinked, reference=find_reference("softmax_attention"))
    flat = Reference("flat", lambda Q, K, V: {"AV": Q.sum(-1)})
    with pytest.raises(EvaluationError, match="'AV' has shape"):
        validate_cascade(cascade, reference=flat)
    two = Reference("two", lambda Q, K, V: {"A": Q, "B": K})
    with pytest.raises(EvaluationError, match="does not give AV; it gives A, B"):
        validate_cascade(cascade, reference=two)


def test_random_inputs_fit_the_cascade() -> None:
    program = Cascade.parse(GATHERED).program
    rng = np.random.default_rng(0)
    for _ in range(30):
        shapes = random_shapes(program, {}, rng)
        assert shapes["J"] <= shapes["M"]
        inputs = random_inputs(program, shapes, rng)
        assert inputs["X"].dtype.kind == "i"
        assert (inputs["X"] >= 0).all()
        assert (inputs["X"] < shapes["M"]).all()
        Cascade(program).evaluate(inputs, J=shapes["J"])


def test_random_shapes_are_varied() -> None:
    program = Cascade.load("attention-1pass").program
    rng = np.random.default_rng(0)
    found = [random_shapes(program, {}, rng) for _ in range(60)]
    assert any(s["M"] % s["M0"] for s in found)
    assert any(s["M"] % s["M0"] == 0 and 1 < s["M0"] < s["M"] for s in found)
    assert {s["M1"] for s in found} >= {1, 2, 3}
    # Whatever is given, the rest is filled in.
    assert random_shapes(program, {"M1": 3, "M0": 2}, rng)["M"] == 6
    assert random_shapes(program, {"M1": 1}, rng)["M1"] == 1


def test_random_parameters() -> None:
    rng = np.random.default_rng(0)
    lightning = Cascade.load("lightning-attention").program
    assert 0.5 <= random_parameters(lightning, {}, rng)["lam"] <= 1
    assert random_parameters(lightning, {"lam": 2.0}, rng) == {"lam": 2.0}
    norm = Cascade.load("layer-norm").program
    assert random_parameters(norm, {}, rng) == {"eps": 0.00001}


def test_tolerance_follows_its_formula() -> None:
    program = Cascade.load("attention-3pass").program
    shapes = {"P": 2, "M": 5, "E": 3, "F": 2}
    # Six results; three roundings a map, and reduced elements: QK 3, GM, SD and AV 5, SN and A 1.
    inside = 6 * 3 + 3 + 5 + 5 + 5 + 1 + 1
    for dtype, stored, working in (("float64", 53, 53), ("float16", 11, 24)):
        expected = 4 * (6**0.5 * 2.0**-stored + inside**0.5 * 2.0**-working)
        assert tolerance(program, shapes, dtype) == pytest.approx(expected)
    looped = Cascade.load("attention-1pass").program
    shapes = {"P": 1, "M": 8, "M1": 4, "M0": 2, "E": 1, "F": 1}
    # RM, SPD, RD, SPNV and RNV at each of four tiles, and seven more.
    results = 7 + 5 * 4
    inside = 3 * results + 2 * 4 + 3 + 5 * 4
    expected = 4 * (results**0.5 + inside**0.5) * 2.0**-53
    assert tolerance(looped, shapes, "float64") == pytest.approx(expected)


def test_shapes_that_hang_together_are_drawn_together() -> None:
    text = """
cascade: windows
ranks: {P: outputs, S: taps, N: {is: all, like: L}, L: length, Z: values, J: picked}
inputs: {X: [Z], W: [S], Y: [N], U: [L]}
outputs: [A, I, T]
einsums: |
  A[p] = X[2*p + s + 1] * W[s]
  I[j] << topk(Y[n], j)
  T = U[l]
"""
    cascade = Cascade.parse(text)
    for seed in range(20):
        shapes = random_shapes(cascade.program, {}, np.random.default_rng(seed))
        assert shapes["J"] <= shapes["N"]
        assert shapes["Z"] >= 2 * shapes["P"] + shapes["S"] - 1
    assert validate_cascade(cascade).ok is None


def test_inputs_and_parameters_come_from_their_domains() -> None:
    text = """
cascade: decayed
ranks: {M: keys}
inputs: {G: [M], X: [M]}
output: O
parameters: [lam]
domains: {G: [-2, -1], lam: [3, 4]}
einsums: |
  O = exp(G[m]) * X[m] * lam
"""
    program = Cascade.parse(text).program
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inputs = random_inputs(program, {"M": 50}, rng)
        assert -2 <= inputs["G"].min() < inputs["G"].max() <= -1
        assert inputs["X"].min() < 0 < inputs["X"].max()
        assert 3 <= random_parameters(program, {}, rng)["lam"] <= 4
        assert random_parameters(program, {"lam": 0.0}, rng) == {"lam": 0.0}
