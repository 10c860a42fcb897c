"""Where one of several conditions has to hold, tiles are left out by what has to hold besides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from masked_cases import masked, masked_attention, one_pass
from portions import portions

from archsim.counts.accesses import count_einsum
from einsum_cascade.counting.point_counts import count_points

BAND = "m1*M0 + m0 <= p"


@pytest.mark.parametrize("either", ["(m0 < 2 or p > 3)", "(p < 2 or not m0 == 1)"])
@pytest.mark.parametrize("first", portions(40, 10))
def test_alternatives_leave_the_band_of_the_rest(either: str, first: int) -> None:
    """Nothing was left out: 2 times the points of a causal mask were run."""
    for seed in range(first, first + 10):
        case = masked_attention(seed)
        plain, partially_masked = (
            masked(replace(case, program=one_pass(mask).program))
            for mask in (BAND, f"{BAND} and {either}")
        )
        for e, other in zip(plain.einsums, partially_masked.einsums, strict=True):
            if e.einsum.where is None:
                continue
            assert other.window == e.window is not None, f"seed {seed}, {e.name}"
            assert other.partially_masked
            run, let_through = (
                count_einsum(partially_masked, other),
                count_points(
                    partially_masked.program,
                    other.einsum,
                    {k: float(v) for k, v in case.shapes.items()},
                ),
            )
            assert run.allowed == let_through * case.shapes["B"]
            assert run.points == count_einsum(plain, e).points >= run.allowed
