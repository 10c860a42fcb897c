"""Shared loops under masks: what is promised, and blocks that are made for narrow bands."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from machines import small

from archsim import simulate
from archsim.iteration.bands import Box
from mappers.construct.fused_variants import band_coverage
from workloads import load


@pytest.mark.parametrize("seed", range(8))
def test_tiles_of_a_band_are_counted_as_one_by_one(seed: int) -> None:
    random = Random(seed)
    plus, minus = random.randint(1, 40), random.randint(1, 40)
    low = random.randint(-minus, plus)
    box = Box(low, low + random.randint(0, 12), plus, minus)
    x, y = random.randint(1, 9), random.randint(1, 9)
    held = {
        (i // x, j // y) for i in range(plus) for j in range(minus) if box.low <= i - j <= box.high
    }
    tiles = len(range(0, plus, x)) * len(range(0, minus, y))
    # The last tiles may be short, which is left aside.
    spare = len(range(0, plus, x)) + len(range(0, minus, y))
    found = band_coverage(box, x, y) * tiles
    assert max(1, len(held)) <= found <= len(held) + spare
    if plus % x == minus % y == 0 and held:
        assert found == len(held)


def test_of_many_tiles_some_are_looked_at() -> None:
    box = Box(-127, 0, 1 << 16, 1 << 16)
    share = band_coverage(box, 16, 16)
    assert share * (1 << 12) == pytest.approx(9, abs=0.1)
    assert band_coverage(Box(5, 9, 4, 4), 2, 2) == Fraction(1, 4)  # at least one


def test_blocks_are_about_as_long_as_a_window() -> None:
    """Of tiles as wide as the arrays most is outside of it: 2.6 times the floor."""
    shape = {"seq_len": 128, "batch": 1, "H": 4, "E": 8, "F": 8}
    work = load("bert-base", cascade="attention-sliding-window-1pass", W=8, **shape)
    found = simulate(work, small((8, 8), 16), "fused")
    assert 1 <= found.over_floor < 2.3


def test_heads_fill_an_array_beside_the_queries_of_a_narrow_window() -> None:
    """256 of 1,024 lanes were at work, on seven times the points of the window."""
    work = load("modernbert-base", seq_len=512)
    found, event = (simulate(work, "tpu-v4i", engine=e) for e in ("analytical", "event"))
    assert 1 <= found.over_floor < 2.5  # 11 times
    assert event.cycles == pytest.approx(found.cycles, rel=1e-3)
