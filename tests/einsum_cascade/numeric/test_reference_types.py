"""Reference execution: number types, rounding and accumulation."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from small_cascades import small


def test_accumulation_types() -> None:
    """Ones added up in float16 stop at 2048; in bfloat16 at 256."""
    ones = {"X": np.ones(5000)}
    for more, expected in (
        ("", 5000),
        ("accumulate: {Z: float64}\n", 5000),
        ("accumulate: {Z: float16}\n", 2048),
        ("accumulate: {Z: bfloat16}\n", 256),
    ):
        cascade = small("Z = X[a] * X[a]", "X: [A]", more=more)
        for dtype in ("float16", "float32"):
            out = cascade.evaluate(ones, dtype=dtype)["Z"]
            assert out.dtype.name == dtype
            assert float(out) == float(np.float16(expected))
    wide = small("Z = X[a]", "X: [A]", more="accumulate: {Z: float64}\n")
    narrow = small("Z = X[a]", "X: [A]")
    x = np.array([2.0**24, 1.0, -(2.0**24)], np.float32)
    assert wide.evaluate({"X": x}, dtype="float32")["Z"] == 1
    assert narrow.evaluate({"X": x}, dtype="float32")["Z"] == 0


def test_one_rounding_an_einsum() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    cascade = small("Z[a] = exp(X[a] * Y[a]) / (1 + X[a])", "X: [A], Y: [A]")
    for name, kind in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        a, b = (v.astype(kind).astype(np.float32) for v in (x, y))
        expected = (np.exp(a * b) / (1 + a)).astype(kind)
        for dtype in (name, kind, np.dtype(kind)):
            out = cascade.evaluate({"X": x, "Y": y}, dtype=dtype)["Z"]
            assert out.dtype == np.dtype(kind)
            assert (out == expected).all()


def test_the_inputs_own_type() -> None:
    cascade = small("Z[a] = X[a] + Y[a]", "X: [A], Y: [A]")
    half, whole = np.ones(2, np.float16), np.ones(2, np.int32)
    kinds = [
        (half, whole, "float16"),
        (whole, whole, "float64"),
        (half, half.astype("f4"), "float32"),
    ]
    for x, y, expected in kinds:
        assert cascade.evaluate({"X": x, "Y": y}, dtype=None)["Z"].dtype == expected


def test_coordinates_are_exact_in_narrow_types() -> None:
    cascade = small("Z[a] = X[a] where a != A - 2\nI[a] = a + 0 * X[a]", "X: [A]", "[Z, I]")
    x = np.ones(5000)
    out = cascade.evaluate({"X": x}, dtype="float16")
    assert np.flatnonzero(out["Z"] == 0).tolist() == [4998]
    assert out["I"][2047] == 2047


def test_results_are_new_arrays() -> None:
    x = np.arange(3.0)
    cascade = small("Y[a] = X[a]\nZ[a] = Y[a]", "X: [A]", "[Y, Z]")
    out = cascade.evaluate({"X": x}, keep="all")
    assert not any(np.shares_memory(a, x) for a in out.values())
    assert not np.shares_memory(out["Y"], out["Z"])
    out["Z"][0] = 99
    assert x.tolist() == [0, 1, 2]
