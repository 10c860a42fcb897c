"""Reference execution: what every construct of the language means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from real_numbers import FUNCTIONS as SCALAR
from small_cascades import small

from einsum_cascade import Cascade, EvaluationError


def close(found: object, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


def test_an_empty_reduction_is_the_identity() -> None:
    cascade = small(
        "S[a] = X[a, b] where b > a\n"
        "P[a] = X[a, b] :: prod[b] where b > a\n"
        "H[a] = X[a, b] :: max[b] where b > a\n"
        "L[a] = X[a, b] :: min[b] where b > a",
        "X: [A, B]",
        "[S, P, H, L]",
    )
    out = cascade.evaluate({"X": [[1.0, 2.0], [3.0, 4.0]]})
    assert [out[n].tolist() for n in "SPHL"] == [[2, 0], [2, 1], [2, -math.inf], [2, math.inf]]


def test_absent_elements_are_absent_wherever_they_are_read() -> None:
    cascade = small(
        "Y[a] = X[a] where a != 1\n"
        "Z[a] = Y[a] + 1\n"
        "N = Y[a] * 0 + 1 :: +[a]\n"
        "D[a] = where(a != 1, Y[a], -5)",
        "X: [A]",
        "[Y, Z, N, D]",
    )
    out = cascade.evaluate({"X": [2.0, 3.0, 4.0]})
    assert out["Y"].tolist() == [2, 0, 4]
    assert out["Z"].tolist() == [3, 0, 5]
    assert out["N"] == 2
    assert out["D"].tolist() == [2, -5, 4]


def test_a_choice_excludes_only_where_it_is_made() -> None:
    cascade = small(
        "Y[a] = X[a] where a != 1\nZ[a] = where(b > 0, Y[a], 5 + 0 * W[b])", "X: [A], W: [B]"
    )
    out = cascade.evaluate({"X": [2.0, 3.0], "W": [0.0, 0.0, 0.0]})
    assert out["Z"].tolist() == [9, 5]


def test_conditions_stop_where_they_are_decided() -> None:
    x = {"X": [1.0, -2.0, 3.0]}
    chosen = small("Z[a] = where(a >= 1 and X[a-1] > 0, 1, 2)", "X: [A]")
    assert chosen.evaluate(x)["Z"].tolist() == [2, 1, 2]
    either = small("Z[a] = 1 + 0 * X[a] where not (a < 1 or X[a-1] > 0)", "X: [A]")
    assert either.evaluate(x)["Z"].tolist() == [0, 0, 1]
    with pytest.raises(EvaluationError, match=r"beyond .* at a = 0"):
        small("Z[a] = where(X[a-1] > 0 and a >= 1, 1, 2)", "X: [A]").evaluate(x)


def test_a_condition_that_reads_beyond_decides_nothing() -> None:
    cascade = small("Z[a] = X[a] where X[a-1] > 0", "X: [A]")
    for first in (-1.0, 1.0):
        with pytest.raises(EvaluationError, match=r"'Z' reads 'X' beyond .* at a = 0"):
            cascade.evaluate({"X": [first, 1.0]})


def test_beyond_is_not_mistaken_for_absent() -> None:
    """The first element is absent, but the one before it does not exist."""
    cascade = small("Y[a] = X[a] where a >= 1\nZ[a] = Y[a-1] where a < 9", "X: [A]")
    with pytest.raises(EvaluationError, match=r"'Z' reads 'Y' beyond .* at a = 0"):
        cascade.evaluate({"X": [1.0, 2.0]})


def test_what_nothing_sets_is_not_read() -> None:
    text = """
cascade: border
ranks: [I, J]
inputs: {X: [I, J]}
output: D
init: "D[0, j] = 0"
einsums: |
  D[i+1, j+1] = D[i, j] + X[i, j]
"""
    with pytest.raises(EvaluationError, match="where nothing sets it, at i = 1, j = 0"):
        Cascade.parse(text).evaluate({"X": [[1.0, 2.0], [3.0, 4.0]]})
    for first in ("= 0", "= 0 where j > 0"):
        # The corner is set twice; what is set last counts.
        init = f'{first} ; D[i, 0] = 10"'
        whole = Cascade.parse(text.replace('= 0"', init))
        out = whole.evaluate({"X": [[1.0, 2.0], [3.0, 4.0]]})
        assert out["D"].tolist() == [[10, 0, 0], [10, 11, 2], [0, 13, 15]]


def test_tiles_of_tiles() -> None:
    """Five elements in two by two by two: the last inner tile holds nothing at all."""
    cascade = Cascade.parse(
        """
cascade: tiles
ranks: {M: {is: keys, partition: [M2, M1, M0]}}
inputs: {X: [M]}
output: [Z, T, H]
einsums: |
  H[m2, m1] = X[m2*M1*M0 + m1*M0 + m0] :: max[m0]
  S[m2, m1] = X[m2*M1*M0 + m1*M0 + m0]
  Z[m2, m1] = S[m2, m1] + 100
  C[m2*M1*M0 + m1*M0 + m0] = S[m2, m1] + m0
  T[m] = C[m]
"""
    )
    out = cascade.evaluate({"X": [1.0, 2, 3, 4, 5]}, M1=2, M0=2)
    assert out["Z"].tolist() == [[103, 107], [105, 0]]
    assert out["T"].tolist() == [3, 4, 7, 8, 5]
    assert out["H"].tolist() == [[2, 4], [5, 0]]


def test_products_with_a_sign_and_with_infinity() -> None:
    inf = math.inf
    signed = small("Z = -X[a] * -Y[a] * -2", "X: [A], Y: [A]")
    assert signed.evaluate({"X": [1.0, 2], "Y": [3.0, 4]})["Z"] == -22
    assert small("Z = X[a] * -Y[a]", "X: [A], Y: [A]").evaluate({"X": [1.0], "Y": [3.0]})["Z"] == -3
    masked = small("Z = X[a] * Y[a] where a < 1", "X: [A], Y: [A]")
    assert masked.evaluate({"X": [2.0, 0], "Y": [3.0, inf]})["Z"] == 6
    assert masked.evaluate({"X": [2.0, 0], "Y": [inf, 0]})["Z"] == inf
    ordered = small("Z = X[a] * Y[b] * W[a]", "X: [A], Y: [B], W: [A]")
    out = ordered.evaluate({"X": [1e200], "W": [1e200], "Y": [1e-200]})["Z"]
    assert out == pytest.approx(1e200)


def test_topk_takes_the_lower_position_of_equals() -> None:
    cascade = small("I[j, b] << topk(X[m, b], j)\nZ[j, b] = X[I[j, b], b]", "X: [M, B]", "[I, Z]")
    x = np.array([[3.0, 1], [7, 1], [3, 5], [7, 1], [-math.inf, 0]])
    out = cascade.evaluate({"X": x}, J=5)
    assert out["I"].dtype == np.int64
    assert out["I"][:, 0].tolist() == [1, 3, 0, 2, 4]
    assert out["I"][:, 1].tolist() == [2, 0, 1, 3, 4]
    assert out["Z"][:, 0].tolist() == [7, 7, 3, 3, -math.inf]
    more = cascade.evaluate({"X": x}, J=7)
    assert np.array_equal(more["I"][:5], out["I"])
    assert not more["I"][5:].any()  # what is absent is shown as 0
    assert not more["Z"][5:].any()


def test_topk_of_fewer_than_wanted() -> None:
    cascade = Cascade.parse(
        """
cascade: some
ranks: [M, J]
inputs: {X: [M]}
output: [I, Z, N]
einsums: |
  I[j] << topk(X[m], j) where m >= 2
  Z[j] = X[I[j]]
  N[m] = Z[j] + 0 * m :: +[j]
"""
    )
    out = cascade.evaluate({"X": [9.0, 8.0, 1.0, 2.0]}, J=3)
    assert out["I"].tolist() == [3, 2, 0]
    assert out["Z"].tolist() == [2, 1, 0]
    assert out["N"].tolist() == [3, 3, 3, 3]


def test_gathers_are_checked() -> None:
    cascade = small("Z[b] = X[I[b]]", "X: [A], I: [B]")
    x = [1.0, 2.0, 3.0]
    assert cascade.evaluate({"X": x, "I": [2, 0]})["Z"].tolist() == [3, 1]
    for wrong in (3, -1, 2**40):
        with pytest.raises(EvaluationError, match=r"'Z' reads 'X' beyond .* at b = 1"):
            cascade.evaluate({"X": x, "I": [0, wrong]})
    paged = small("Z[b, m] = X[I[b]*M + m] * Y[m]", "X: [A], I: [B], Y: [M]")
    pool = [1.0, 2.0, 3.0, 4.0]
    found = paged.evaluate({"X": pool, "I": [1, 0, 1], "Y": [1, 1]})["Z"]
    assert found.tolist() == [[3, 4], [1, 2], [3, 4]]
    with pytest.raises(EvaluationError, match=r"'Z' reads 'X' beyond .* at b = 1, m = 1"):
        paged.evaluate({"X": pool[:3], "I": [0, 1], "Y": [1, 1]})
    with pytest.raises(EvaluationError, match="beyond 2"):
        paged.evaluate({"X": pool, "I": [2**62], "Y": [1, 1]})
    guarded = small("Z[b] = X[I[b]] where b < 1", "X: [A], I: [B]")
    assert guarded.evaluate({"X": x, "I": [1, 99]})["Z"].tolist() == [2, 0]


def test_a_read_beyond_a_tensor_is_refused_unless_excluded() -> None:
    x = [1.0, 2.0, 3.0]
    assert small("Z[a] = X[a-1] where a >= 1", "X: [A]").evaluate({"X": x})["Z"].tolist() == [
        0,
        1,
        2,
    ]
    assert small("Z[a] = where(a >= 1, X[a-1], 7)", "X: [A]").evaluate({"X": x})["Z"].tolist() == [
        7,
        1,
        2,
    ]
    with pytest.raises(EvaluationError, match=r"beyond .* at a = 0") as caught:
        small("Z[a] = X[a-1] where a >= 0", "X: [A]").evaluate({"X": x})
    assert ":6:10" in str(caught.value)
    convolution = "Z[a] = X[a + b] * W[b] where a + b < A"
    out = small(convolution, "X: [A], W: [B]").evaluate({"X": x, "W": [1.0, 10.0]})
    assert out["Z"].tolist() == [21, 32, 3]
    with pytest.raises(EvaluationError, match=r"beyond .* at a = 2, b = 1"):
        small("Z[a] = X[a + b] * W[b]", "X: [A], W: [B]").evaluate({"X": x, "W": [1.0, 10.0]})


def test_a_diagonal_and_a_stride() -> None:
    x = np.arange(9.0).reshape(3, 3)
    diagonal = Cascade.parse(
        """
cascade: diagonal
ranks: {A: a, B: {like: A}}
inputs: {X: [A, A]}
output: [D, T, C]
einsums: |
  D[a] = X[a, a]
  T = X[a, a]
  C[b] = X[2*b, 0] where b < 2
"""
    )
    out = diagonal.evaluate({"X": x})
    assert out["D"].tolist() == [0, 4, 8]
    assert out["T"] == 12
    assert out["C"].tolist() == [0, 6, 0]


def test_division_and_subtraction_of_nothing() -> None:
    cascade = small("Z[a] = X[a] / Y[a]\nW[a] = X[a] - Y[a]", "X: [A], Y: [A]", "[Z, W]")
    inf = math.inf
    out = cascade.evaluate({"X": [0.0, 3.0, -inf, 2.0], "Y": [0.0, 0.0, 5.0, -inf]})
    assert out["Z"].tolist() == [0, inf, -inf, 0]
    assert out["W"].tolist() == [0, 3, -inf, inf]
    same = small("W[a] = X[a] - Y[a]", "X: [A], Y: [A]", "W")
    assert same.evaluate({"X": [-inf], "Y": [-inf]})["W"].tolist() == [-inf]
    with pytest.raises(EvaluationError, match=r"'W' is not a number at a = 1"):
        same.evaluate({"X": [1.0, inf], "Y": [1.0, inf]})


def test_not_a_number_names_the_point_and_the_types() -> None:
    cascade = Cascade.parse(
        "cascade: root\nparallel: [B]\nranks: [A]\ninputs: {X: [A]}\noutput: Z\n"
        "einsums: |\n  Z[a] = sqrt(X[a])\n"
    )
    with pytest.raises(EvaluationError, match=r"'Z' is not a number at B = 1, a = 2") as caught:
        cascade.evaluate({"X": [[1.0, 2, 3], [4, 5, -6]]}, dtype="float16")
    assert "computed in float32, stored in float16" in str(caught.value)
    masked = small("Z[a] = sqrt(X[a]) where X[a] >= 0", "X: [A]")
    assert masked.evaluate({"X": [4.0, -1.0]})["Z"].tolist() == [2, 0]


def test_user_functions_and_reductions() -> None:
    more = (
        'functions: {"clip(x, y)": "max(-y, min(x, y))", "soft(x)": "clip(x, 1) * c"}\n'
        "parameters: [c]\n"
        "reductions:\n"
        '  hypot(a, b): {is: "sqrt(a ** 2 + b ** 2)", identity: 0}\n'
        '  lse(a, b): {is: "max(a, b) + log(exp(min(a, b) - max(a, b)) + 1)", identity: -inf}\n'
    )
    cascade = small(
        "Z[a] = soft(X[a, b]) :: hypot[b]\nN = X[a, b] :: hypot[a, b] where b != a\n"
        "L[b] = X[a, b] :: lse[a] where b < 2",
        "X: [A, B]",
        "[Z, N, L]",
        more,
    )
    x = np.random.default_rng(0).normal(size=(4, 3))
    out = cascade.evaluate({"X": x}, c=2.0)
    close(out["Z"], np.sqrt(((np.clip(x, -1, 1) * 2) ** 2).sum(1)))
    rows, columns = np.indices(x.shape)
    close(out["N"], np.sqrt((x**2)[rows != columns].sum()))
    close(out["L"][:2], np.log(np.exp(x).sum(0))[:2])


FUNCTIONS = (
    *("exp", "log", "sqrt", "rsqrt", "abs", "sign", "relu", "elu", "sigmoid", "tanh"),
    *("sin", "cos", "silu", "gelu", "softplus", "erf", "floor"),
)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_far_out(function: str) -> None:
    """Against the math module, at the ends of every range and at infinity."""
    points = [0.0, 1e-300, 1e-9, 0.3, 1.0, 2.5, 6.0, 30.0, 708.0, 800.0, 1e300, math.inf]
    points += [-x for x in points]
    expected = [SCALAR[function](x) for x in points]
    kept = [(x, y) for x, y in zip(points, expected, strict=True) if not math.isnan(y)]
    cascade = small(f"Z[a] = {function}(X[a])", "X: [A]")
    out = cascade.evaluate({"X": [x for x, _ in kept]})["Z"]
    np.testing.assert_allclose(out, [y for _, y in kept], rtol=4e-15, atol=0)
