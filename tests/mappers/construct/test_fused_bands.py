"""Shared loops under masks: what is promised, and blocks that are made for narrow bands."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from machines import small

from archsim import simulate
from archsim.iteration.bands import Band, coverage
from mappers.exact.kernels.measures import band_coverages
from workloads import load


@pytest.mark.parametrize("seed", range(8))
def test_tiles_of_a_band_are_counted_as_one_by_one(seed: int) -> None:
    random = Random(seed)
    plus, minus = random.randint(1, 40), random.randint(1, 40)
    low = random.randint(-minus, plus)
    band = Band(low, low + random.randint(0, 12), plus, minus)
    x, y = random.randint(1, 9), random.randint(1, 9)
    held = {
        (i // x, j // y)
        for i in range(plus)
        for j in range(minus)
        if band.low <= i - j <= band.high
    }
    tiles = len(range(0, plus, x)) * len(range(0, minus, y))
    assert coverage(band, x, y, most_columns=64) * tiles == max(1, len(held))
    # The compiled search counts the same tiles.
    row = [band.low, band.high, plus, -1, x, 0, minus, -1, y, 0, band.low, band.high]
    shares = np.empty((1, 1))
    band_coverages(np.array([row]), np.zeros((1, 0), np.int64), shares)
    assert shares[0, 0] * tiles == pytest.approx(len(held))


def test_of_many_tiles_some_are_looked_at() -> None:
    band = Band(-127, 0, 1 << 16, 1 << 16)
    share = coverage(band, 16, 16, most_columns=256)
    assert share * (1 << 12) == pytest.approx(9, abs=0.1)
    assert coverage(Band(5, 9, 4, 4), 2, 2, most_columns=256) == Fraction(1, 4)  # at least one


@pytest.mark.slow
def test_blocks_are_about_as_long_as_a_window() -> None:
    """Most of a tile as wide as the arrays is outside of the band: 2.6 times the floor."""
    shape = {"seq_len": 128, "batch": 1, "H": 4, "E": 8, "F": 8}
    work = load("bert-base", cascade="attention-sliding-window-1pass", W=8, **shape)
    found = simulate(work, small((8, 8), 16), "fused")
    assert 1 <= found.over_floor < 2.3


@pytest.mark.slow
def test_heads_fill_an_array_beside_the_queries_of_a_narrow_window() -> None:
    """256 of 1,024 lanes were at work, on seven times the points of the window."""
    work = load("modernbert-base", seq_len=512)
    found, event = (simulate(work, "tpu-v4i", engine=e) for e in ("analytical", "event"))
    assert 1 <= found.over_floor < 2.5  # 11 times
    assert event.cycles == pytest.approx(found.cycles, rel=1e-3)
