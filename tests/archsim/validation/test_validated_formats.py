"""Validation in formats tensor by tensor: against float64, equations and mapped nests."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import refused, run

from archsim import validate
from einsum_cascade.errors import EvaluationError, InputError

CACHES = ("bf16", "fp8_e4m3", "mxfp4")


def test_narrower_caches_lose_more() -> None:
    """Every error is of the order of its format's roundoff: 2^-8, 2^-4 and a quarter."""
    found = [
        validate("attention-1pass", dtype={"default": "fp32", "K": fmt, "V": fmt}, seed=3)
        for fmt in CACHES
    ]
    assert [report.verdict for report in found] == ["ok"] * 3
    errors = [report.max_rel_error for report in found]
    assert errors == sorted(errors)
    for error, roundoff in zip(errors, (2**-8, 2**-4, 2**-2), strict=True):
        assert roundoff / 16 < error < 4 * roundoff
    assert found[1].dtype == "K fp8_e4m3, V fp8_e4m3, others fp32"


def test_all_in_one_type_is_what_the_type_gives() -> None:
    """Rounding inputs counts here, and not where the reference gets rounded ones."""
    types = validate("linear-layer", dtype="bfloat16")
    formats = validate("linear-layer", dtype={"default": "bf16"})
    assert types.max_rel_error < formats.max_rel_error < formats.tolerance
    sums = validate("linear-layer", dtype={"default": "bf16", "accumulate": "bf16"})
    assert sums.max_rel_error >= formats.max_rel_error


def test_the_mapped_nest_rounds_as_its_equations_do() -> None:
    options = ("--json", "--dtype", "default=bf16,X=mxfp4", "--mapping", "linear-layer")
    done = json.loads(run("validate", *options).stdout)
    assert [check["mapping"] for check in done] == [None, "linear-layer"]
    assert all(check["ok"] for check in done)
    assert {check["dtype"] for check in done} == {"X mxfp4, others bf16"}


def test_what_is_refused() -> None:
    with pytest.raises(EvaluationError, match="has no tensor 'KK'") as wrong:
        validate("attention-1pass", dtype={"KK": "int8"})
    assert "did you mean 'K'?" in str(wrong.value)
    with pytest.raises(InputError, match="K: 'int9' is no format of numbers"):
        validate("attention-1pass", dtype={"K": "int9"})
    with pytest.raises(EvaluationError, match="not in int8"):
        validate("attention-1pass", dtype={"accumulate": "int8"})
    text = refused("validate", "--mapping", "linear-layer", "--dtype", "Z=mxfp4")
    assert "'Z' is computed value by value, and in mxfp4 many share a scale" in text


def test_what_no_rounding_explains_is_told() -> None:
    formats = {"default": "fp8_e4m3"}
    picks = validate("recycled-attention-full", dtype=formats)
    assert (picks.ok, picks.verdict) == (None, "not comparable")
    assert picks.beyond == "IX is decided otherwise by scores that are rounded"
    sums = validate("transnormer-attention", dtype=formats)
    assert sums.beyond == "AA comes to 2.81e+03, and fp8_e4m3 ends at 448"
    # Neither is an excuse for what is wrong: scores by the wrong function pick nothing.
    wrong = validate("attention-1pass", dtype={"default": "bf16"}, reference=_doubled)
    assert (wrong.ok, wrong.beyond, wrong.verdict) == (False, "", "FAILED")


def _doubled(Q, K, V):
    scores = np.exp(2 * Q @ np.swapaxes(K, -1, -2))
    return scores / scores.sum(axis=-1, keepdims=True) @ V
