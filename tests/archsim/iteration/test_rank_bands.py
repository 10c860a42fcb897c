"""Bands between ranks against their points, one by one."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from archsim.iteration.bands import RankBand, enclosing_band

SHAPES = {"M": 5, "P": 4}
BOUNDS = st.integers(-6, 6)
BANDS = st.builds(
    lambda ranks, low, high: RankBand(plus=ranks[0], minus=ranks[1], low=low, high=high),
    st.sampled_from((("M", "P"), ("P", "M"), ("M", None), ("P", None))),
    BOUNDS,
    BOUNDS,
)


def points(band: RankBand) -> set[tuple[int, int]]:
    """Return the points (m, p) inside a band."""

    def inside(at: dict[str, int]) -> bool:
        return band.low <= at[band.plus] - (at[band.minus] if band.minus else 0) <= band.high

    every = product(range(SHAPES["M"]), range(SHAPES["P"]))
    return {(m, p) for m, p in every if inside({"M": m, "P": p})}


@given(BANDS)
def test_a_swapped_band_has_the_same_points(band: RankBand) -> None:
    if band.minus is not None:
        assert points(band.swapped()) == points(band)
        assert band.over(SHAPES).points == len(points(band))


@given(BANDS, BANDS)
def test_the_intersection_has_the_points_of_both(one: RankBand, other: RankBand) -> None:
    both = one.intersection(other)
    if both is None:
        assert {one.plus, one.minus} != {other.plus, other.minus} or one.minus is None
    else:
        assert points(both) == points(one) & points(other)


@given(st.lists(BANDS, min_size=1, max_size=3))
def test_an_enclosing_band_has_all_points(bands: list[RankBand]) -> None:
    found = enclosing_band(bands, SHAPES)
    if found is not None:
        assert points(found) >= set().union(*map(points, bands))
