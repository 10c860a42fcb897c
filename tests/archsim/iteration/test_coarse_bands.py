"""Bands whose edges are moved to the corners of tiles: no tile tells them from what they were."""

from __future__ import annotations

from itertools import product
from random import Random

from archsim.iteration.bands import Band, BandProgression


def tiles(length: int, size: int) -> list[tuple[int, int]]:
    """First element and length of all tiles of multiples of a size, and of all of them."""
    found = {
        (begin, min(more, length - begin))
        for begin in range(0, length, size)
        for more in (size, 2 * size)
    }
    return sorted({*found, (0, length)})


def test_the_same_tiles_hold_a_point_and_are_full() -> None:
    met = moved = 0
    for seed in range(400):
        random = Random(seed)
        plus, minus = random.randint(1, 12), random.randint(1, 12)
        ends = sorted(random.randint(-minus - 2, plus + 2) for _ in range(2))
        band, size = Band(ends[0], ends[1], plus, minus), random.randint(1, 5)
        if band.empty:
            continue
        coarse = band.coarse(size)
        moved += coarse != band
        assert (coarse.columns, coarse.rows) == (plus, minus)
        for (x, wide), (y, deep) in product(tiles(plus, size), tiles(minus, size)):
            was, now = (Band(b.low - x + y, b.high - x + y, wide, deep) for b in (band, coarse))
            assert (now.empty, now.full) == (was.empty, was.full)
            met += 1
    assert met > 1000 < moved * 20


def test_where_nothing_is_cut_any_more_all_are_alike() -> None:
    one, other = Band(-7, 0, 8, 8).coarse(0), Band(3, 9, 20, 4).coarse(0)
    assert one == other
    assert not one.empty
    assert not one.full


def test_bands_further_on_are_boxes_moved_and_trimmed() -> None:
    random = Random(3)
    seen = set()
    for _ in range(2000):
        low, high = random.randint(-12, 12), random.randint(-12, 12)
        plus, minus = random.randint(1, 8), random.randint(1, 8)
        moved, number = random.randint(-3, 3), random.randint(0, 5)
        ramp = BandProgression(6, 0, plus, Band(low, high, plus, minus), moved)
        by = number * moved
        here = Band(low + by, high + by, plus, minus)
        whole = all(low + by <= x - y <= high + by for x in range(plus) for y in range(minus))
        assert ramp.at(number) == (None if whole else here.trimmed())
        assert here.trimmed().points == here.points
        seen.add(whole)
    assert seen == {True, False}
