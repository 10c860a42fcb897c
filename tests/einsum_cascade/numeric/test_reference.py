"""Reference execution: attention in every form, masks, recurrences, selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum_cascade import Cascade, EvaluationError
from einsum_cascade.numeric.reference import IterativeLoop, einsums_of, schedule
from workloads.references import find_reference

Arrays = dict[str, np.ndarray[Any, Any]]
ERRORS = {"float64": 1e-14, "float32": 2e-6, "float16": 4e-3, "bfloat16": 3e-2}


def attention_inputs(
    P: int, M: int, E: int, F: int, lead: tuple[int, ...] = (), seed: int = 0
) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = {"Q": (P, E), "K": (M, E), "V": (M, F)}
    return {n: rng.normal(size=lead + s) / s[1] ** 0.25 for n, s in shapes.items()}


def softmax_attention(inputs: Arrays, keep: Any = None) -> np.ndarray[Any, Any]:
    """By the definition; rows that keep nothing are 0."""
    scores = np.einsum("...pe,...me->...pm", inputs["Q"], inputs["K"])
    weights = np.exp(scores)
    if keep is not None:
        p, m = np.indices(scores.shape[-2:])
        weights = weights * keep(p, m)
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total) @ inputs["V"]


def close(found: Any, expected: Any, error: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=error, atol=error)


# ------------------------------------------------------------------------- attention


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("lead", [(), (2, 3)], ids=["one head", "B and H"])
def test_attention_without_tiles(dtype: str, lead: tuple[int, ...]) -> None:
    inputs = attention_inputs(5, 7, 4, 6, lead)
    for form in ("naive", "naive-deferred", "3pass", "3pass-deferred"):
        out = Cascade.load(f"attention-{form}").evaluate(inputs, dtype=dtype)
        assert list(out) == ["AV"]
        assert out["AV"].shape == (*lead, 5, 6)
        assert out["AV"].dtype.name == dtype
        close(out["AV"], softmax_attention(inputs), ERRORS[dtype])


@pytest.mark.parametrize("form", ["1pass", "2pass"])
@pytest.mark.parametrize("dtype", ERRORS)
def test_attention_in_tiles_of_every_size(form: str, dtype: str) -> None:
    cascade = Cascade.load(f"attention-{form}")
    for M in (1, 6, 7):
        inputs = attention_inputs(3, M, 2, 2, (2, 1), seed=M)
        expected = softmax_attention(inputs)
        for M0 in range(1, M + 3):
            out = cascade.evaluate(inputs, dtype=dtype, M0=M0)
            close(out["AV"], expected, ERRORS[dtype])


def test_attention_tiles_by_their_number() -> None:
    inputs = attention_inputs(3, 10, 2, 2)
    cascade = Cascade.load("attention-1pass")
    close(cascade.evaluate(inputs, M1=5, M0=2)["AV"], softmax_attention(inputs))
    everything = cascade.evaluate(inputs, keep="all", M0=4)
    assert everything["RM"].shape == (4, 3)
    assert everything["BQK"].shape == (3, 4, 3)
    assert (everything["RM"][0] == -np.inf).all()
    # The last tile holds two keys; the rest of it does not exist.
    assert (everything["SLN"][2, 2:] == 0).all()
    assert (everything["SLN"][:2] > 0).all()
    assert set(everything) == {e.name for e in cascade.program.einsums}


def test_large_scores_need_the_maximum() -> None:
    inputs = attention_inputs(4, 9, 8, 3)
    inputs["Q"] = inputs["Q"] * 1000
    for form, size in (("3pass", {}), ("1pass", {"M0": 4}), ("2pass", {"M0": 2})):
        out = Cascade.load(f"attention-{form}").evaluate(inputs, **size)["AV"]
        assert np.isfinite(out).all()
    with pytest.raises(EvaluationError, match=r"'A' is not a number at"):
        Cascade.load("attention-naive").evaluate(inputs)


MASKS = {
    "m <= p": lambda p, m: m <= p,
    "m <= p and m > p - 3": lambda p, m: (m <= p) & (m > p - 3),
    "m > p": lambda p, m: m > p,
    "m == 2 or not m > 1": lambda p, m: (m == 2) | (m <= 1),
    "m < 0": lambda p, m: m < 0,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", ["naive", "naive-deferred", "3pass", "3pass-deferred"])
def test_a_mask_on_the_scores_reaches_everything(mask: str, form: str) -> None:
    """Written once; masked scores enter no maximum and no sum, and empty rows are 0."""
    text = Cascade.load(f"attention-{form}").text()
    line = next(x for x in text.splitlines() if "= Q[p, e] * K[m, e]" in x)
    cascade = Cascade.parse(text.replace(line, f"{line} where {mask}"))
    for P, M in ((6, 6), (3, 8), (8, 3)):
        inputs = attention_inputs(P, M, 3, 2, (2, 2), seed=P)
        close(cascade.evaluate(inputs)["AV"], softmax_attention(inputs, MASKS[mask]))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", ["1pass", "2pass"])
def test_a_mask_on_tiled_scores(mask: str, form: str) -> None:
    """Whole tiles may be masked, first, last or all."""
    text = Cascade.load(f"attention-{form}").text()
    line = next(x for x in text.splitlines() if "= Q[p, e] * K[m1*M0 + m0, e]" in x)
    tiled = mask.replace("m ", "m1*M0 + m0 ")
    cascade = Cascade.parse(text.replace(line, f"{line} where {tiled}"))
    inputs = attention_inputs(8, 8, 3, 2, (1, 2))
    for M0 in (1, 2, 3, 8, 9):
        close(cascade.evaluate(inputs, M0=M0)["AV"], softmax_attention(inputs, MASKS[mask]))


def test_tiles_above_the_diagonal_may_be_skipped() -> None:
    """A step of the iteration that is not there leaves the state as it was."""
    text = Cascade.load("attention-1pass").text()
    for old, new in (
        ("K[m1*M0 + m0, e]", "K[m1*M0 + m0, e] where m1*M0 + m0 <= p"),
        (":: max[m0]", ":: max[m0] where m1*M0 <= p"),
    ):
        text = text.replace(old, new)
    inputs = attention_inputs(9, 9, 3, 2)
    out = Cascade.parse(text).evaluate(inputs, keep="all", M0=2)
    close(out["AV"], softmax_attention(inputs, lambda p, m: m <= p))
    assert (out["LM"][1:, 0] == 0).all()  # absent
    close(out["RM"][1:, 0], out["RM"][1, 0])


def test_infinite_scores_are_masks() -> None:
    """A mask added as -inf works, whole rows of it too."""
    text = Cascade.load("attention-3pass").text()
    text = text.replace("inputs: {Q:", "inputs: {Z: [P, M], Q:")
    text = text.replace("= Q[p, e] * K[m, e]", "= Z[p, m] + R[m, p]")
    text = text.replace("  QK[", "  R[m, p] = Q[p, e] * K[m, e]\n  QK[", 1)
    inputs = attention_inputs(5, 4, 3, 2)
    bias = np.zeros((5, 4))
    bias[0, 1:] = bias[1, :] = -np.inf
    cascade = Cascade.parse(text)
    expected = softmax_attention(inputs, lambda p, m: bias[p, m] == 0)
    for dtype, error in ERRORS.items():
        close(cascade.evaluate({**inputs, "Z": bias}, dtype=dtype)["AV"], expected, error)


# ------------------------------------------------------------------------- linear


RECURRENT = """
cascade: recurrent
ranks: {T: positions, E: width, F: width of values}
inputs: {Q: [T, E], K: [T, E], V: [T, F]}
output: O
parameters: [lam]
init: "S[0, e, f] = 0"
einsums: |
  S[t+1, e, f] = lam * S[t, e, f] + K[t, e] * V[t, f]
  O[t, f] = Q[t, e] * S[t+1, e, f]
"""

CHUNKED = """
cascade: chunked
ranks: {T: {is: positions, partition: [C, R]}, U: {is: keys, partition: [D, S], like: T},
        E: width, F: width of values}
inputs: {Q: [T, E], K: [T, E], V: [T, F]}
output: O
parameters: [lam]
init: "KV[0, e, f] = 0"
einsums: |
  W[c, r, s] = Q[c*R + r, e] * K[c*R + s, e] * lam ** (r - s) where s <= r and c*R + s < T
  OI[c, r, f] = W[c, r, s] * V[c*R + s, f] where c*R + s < T
  OX[c, r, f] = lam ** (r + 1) * Q[c*R + r, e] * KV[c, e, f]
  SKV[c, e, f] = lam ** (R - 1 - r) * K[c*R + r, e] * V[c*R + r, f]
  KV[c+1, e, f] = lam ** R * KV[c, e, f] + SKV[c, e, f]
  O[c*R + r, f] = OI[c, r, f] + OX[c, r, f]
"""


def test_lightning_attention_parallel_recurrent_and_chunked() -> None:
    parallel = Cascade.load("lightning-attention")
    recurrent = Cascade.parse(RECURRENT)
    chunked = Cascade.parse(CHUNKED.replace("U: {is: keys, partition: [D, S], like: T}", "S: keys"))
    for T in (1, 5, 8):
        inputs = attention_inputs(T, T, 3, 2, seed=T)
        for lam in (1.0, 0.5):
            expected = parallel.evaluate(inputs, lam=lam)["O"]
            close(recurrent.evaluate(inputs, lam=lam)["O"], expected)
            for R in range(1, T + 2):
                close(chunked.evaluate(inputs, lam=lam, R=R, S=R)["O"], expected)


@pytest.mark.parametrize("expression", ["elu(X[k]) + 1", "1 + elu(X[k])", "features(X[k])"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_elu_plus_one_keeps_its_digits_far_below_zero(expression: str, dtype: str) -> None:
    text = "cascade: c\nranks: {K: elements}\ninputs: {X: [K]}\noutput: Y\n"
    text += "functions: {features(x): elu(x) + 1}\n" * ("features" in expression)
    cascade = Cascade.parse(f"{text}einsums: Y[k] = {expression}\n")
    x = np.array([-80.0, -40.0, -17.0, -1e-3, 0.0, 0.5, 3.0, -np.inf])
    found = cascade.evaluate({"X": x}, dtype=dtype)["Y"].astype(np.float64)
    np.testing.assert_allclose(found, np.where(x > 0, x + 1, np.exp(x)), rtol=ERRORS[dtype] * 10)


@pytest.mark.parametrize("form", ["", "-causal", "-recurrent", "-chunked"])
def test_linear_attention_of_small_features_is_that_of_their_reference(form: str) -> None:
    inputs = attention_inputs(6, 6, 4, 3)
    inputs = {n: x - 45.0 * (n != "V") for n, x in inputs.items()}
    name = f"linear-attention{form}"
    found = Cascade.load(name).evaluate(inputs, **({"P0": 3} if form == "-chunked" else {}))["O"]
    reference = find_reference(Cascade.load(name).program.reference)
    np.testing.assert_allclose(found, reference.function(**inputs)["O"], rtol=1e-11)


def test_only_recurrences_run_in_loops() -> None:
    steps = schedule(Cascade.load("attention-1pass").program)
    loops = [s for s in steps if isinstance(s, IterativeLoop)]
    assert [(s.variable, {e.name for e in einsums_of(s)}) for s in loops] == [
        ("m1", {"RM"}),
        ("m1", {"SPD", "RD"}),
        ("m1", {"SPNV", "RNV"}),
    ]
    assert not any(
        isinstance(s, IterativeLoop) for s in schedule(Cascade.load("attention-2pass").program)
    )


# ------------------------------------------------------------------------- recurrences


def test_nested_recurrences() -> None:
    cascade = Cascade.parse(
        """
cascade: nested
ranks: {I: outer, J: inner}
inputs: {A: [I, J]}
output: [X, Y]
init: |
  X[0] = 1
  Y[i, 0] = 0
einsums: |
  Y[i, j+1] = Y[i, j] + A[i, j] * X[i]
  X[i+1] = X[i] + 0.5 * Y[i, J]
"""
    )
    a = np.random.default_rng(0).normal(size=(4, 3))
    x, ys = 1.0, []
    xs = [x]
    for row in a.tolist():
        y = [0.0]
        for value in row:
            y.append(y[-1] + value * x)
        ys.append(y)
        x += 0.5 * y[-1]
        xs.append(x)
    out = cascade.evaluate({"A": a})
    close(out["X"], xs)
    close(out["Y"], ys)


def test_a_recurrence_along_two_ranks() -> None:
    """The length of the longest common subsequence, by its table."""
    cascade = Cascade.parse(
        """
cascade: longest-common-subsequence
ranks: {I: first, J: second}
inputs: {A: [I], B: [J]}
output: [D, L]
init: |
  D[0, j] = 0
  D[i, 0] = 0
einsums: |
  E[i, j] = where(A[i] == B[j], 1, 0)
  UP[i, j] = where(i >= 1, D[i, j+1], 0)
  LEFT[i, j] = where(j >= 1, D[i+1, j], 0)
  D[i+1, j+1] = where(E[i, j] > 0, D[i, j] + 1, max(UP[i, j], LEFT[i, j]))
  L = D[I, J]
"""
    )
    first, second = "abcbdab", "bdcaba"
    inputs = {"A": [ord(c) for c in first], "B": [ord(c) for c in second]}
    assert cascade.evaluate(inputs)["L"] == 4


def test_steps_that_are_not_there() -> None:
    cascade = Cascade.parse(
        """
cascade: skipping
ranks: {T: steps}
inputs: {A: [T]}
output: [S, R]
init: "S[0] = 10 ; R[0] = 0"
einsums: |
  S[t+1] = S[t] + A[t] where t >= 1 and A[t] > 0
  R[t+1] = A[t] where t != 2
"""
    )
    out = cascade.evaluate({"A": [5.0, 1.0, -7.0, 2.0]})
    assert out["S"].tolist() == [10, 10, 11, 11, 13]
    assert out["R"].tolist() == [0, 5, 1, 1, 2]
