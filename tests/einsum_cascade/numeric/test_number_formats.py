"""Formats of numbers: their bits, and rounding against a search among all values that there are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from einsum_cascade import Cascade
from einsum_cascade.number_formats import FORMATS, TensorFormats
from einsum_cascade.numeric.dtypes import rounded, unit_roundoff

CODES = {
    "fp8_e4m3": (ml_dtypes.float8_e4m3fn, 256),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, 256),
    "fp4_e2m1": (ml_dtypes.float4_e2m1fn, 16),
    "mxfp8": (ml_dtypes.float8_e4m3fn, 256),
    "mxfp6": (ml_dtypes.float6_e2m3fn, 64),
    "mxfp4": (ml_dtypes.float4_e2m1fn, 16),
}


def values_of(name: str) -> np.ndarray:
    """Return all finite values of an element."""
    kind, count = CODES[name]
    found = np.arange(count, dtype=np.uint8).view(kind).astype(float)
    return np.unique(found[np.isfinite(found)])


def some(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * 2.0 ** rng.integers(-4, 5, size=shape)


def test_bits() -> None:
    bits = {name: f.bits for name, f in FORMATS.items()}
    assert (bits["mxfp8"], bits["mxfp6"]) == (Fraction(33, 4), Fraction(25, 4))
    assert (bits["mxfp4"], bits["nvfp4"]) == (Fraction(17, 4), Fraction(9, 2))
    assert (bits["fp32"], bits["tf32"], bits["int4"]) == (32, 32, 4)


def test_the_widest_is_that_of_more_bits_then_range_then_precision() -> None:
    formats = TensorFormats(
        tensors=(("A", "fp16"), ("B", "bf16"), ("C", "mxfp8"), ("D", "int8"), ("E", "fp8_e5m2"))
    )
    assert formats.widest("AB").name == "bf16"
    assert formats.widest("CDE").name == "mxfp8"
    assert formats.widest("DE").name == "fp8_e5m2"


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp4_e2m1"])
def test_floats_go_to_the_nearest_value_that_there_is(name: str) -> None:
    there, values = values_of(name), np.append(some(1, 400), [1e9, -1e9, 0.0])
    nearest = np.abs(values[:, None] - there).min(axis=1)
    found = rounded(values, FORMATS[name])
    assert np.isin(found, there).all()
    assert np.abs(found - values) == pytest.approx(nearest)


@pytest.mark.parametrize("name", ["mxfp8", "mxfp6", "mxfp4"])
def test_blocks_share_the_power_of_two_that_the_largest_needs(name: str) -> None:
    """Return the scale is 2 to the exponent of the largest, less that of the largest element."""
    there = values_of(name)
    values = some(2, 3, 70)
    found = rounded(values, FORMATS[name])
    for row, got in zip(values, found, strict=True):
        for first in range(0, 70, 32):
            block, result = row[first : first + 32], got[first : first + 32]
            scale = 2.0 ** (np.floor(np.log2(np.abs(block).max())) - np.floor(np.log2(there.max())))
            nearest = np.abs(block[:, None] - scale * there).min(axis=1)
            assert np.abs(result - block) == pytest.approx(nearest)


@pytest.mark.parametrize("name", [*FORMATS])
def test_rounding_is_done_once_and_no_worse_than_said(name: str) -> None:
    fmt, values = FORMATS[name], some(3, 5, 64)
    found = rounded(values, fmt)
    assert np.array_equal(rounded(found, fmt), found)
    scaled = fmt.block > 1 or fmt.exponent == 0
    inside = np.abs(values) >= (0 if scaled else 1)  # nor what is below the normal numbers
    inside &= scaled | (np.abs(values) < 6)
    size = np.abs(values).max() if scaled else np.abs(values)
    assert (np.abs(found - values) / size)[inside].max() <= unit_roundoff(fmt)
    kept = rounded(np.array([-np.inf, 1.0, np.inf]), fmt)
    assert kept.tolist() == [-np.inf, 1.0, np.inf]
    assert rounded(np.zeros(3), fmt).tolist() == [0, 0, 0]


def test_a_cascade_is_evaluated_in_its_formats() -> None:
    """Check a linear layer by hand: weights in fp8, products and sums in float32, Z in bf16."""
    formats = TensorFormats(tensors=(("W", "fp8_e4m3"), ("Z", "bf16")))
    rng = np.random.default_rng(4)
    x, w = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    plain = Cascade.load("linear-layer")
    cascade = Cascade(replace(plain.program, formats=formats))
    found = cascade.evaluate({"X": x, "W": w.T}, dtype="float32")["Z"]
    eight = w.T.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    narrow = (x @ eight).astype(ml_dtypes.bfloat16).astype(np.float32)
    assert found == pytest.approx(narrow, rel=2**-8)
    assert np.array_equal(rounded(found, FORMATS["bf16"]), found)
