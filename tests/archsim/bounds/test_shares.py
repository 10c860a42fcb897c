"""Bounds of work that arrays share out, against every way to share it out, and all shares."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.bounds.makespan import tie_shares

ARRAYS = 3
Work = list[dict[int, Fraction]]

cycles = st.integers(1, 40).map(Fraction)
pieces = st.dictionaries(st.integers(0, ARRAYS - 1), cycles, min_size=1)
works = st.lists(pieces, min_size=1, max_size=5)
weights = st.tuples(*(st.integers(0, 30).map(Fraction) for _ in range(ARRAYS))).filter(any)


def least(work: Work, shares: tuple[Fraction, ...]) -> Fraction:
    """What no way to share out is below, by some shares."""
    return sum((min(c * shares[a] for a, c in able.items()) for able in work), Fraction(0)) / sum(
        shares
    )


def bound(work: Work) -> Fraction:
    return max(least(work, shares) for shares in tie_shares(work, ARRAYS, Fraction(1)))


@settings(max_examples=examples(80), deadline=None)
@given(works)
def test_no_way_to_share_out_is_below(work: Work) -> None:
    for chosen in product(*(able.items() for able in work)):
        load = [Fraction(0)] * ARRAYS
        for array, busy in chosen:
            load[array] += busy
        assert bound(work) <= max(load)


@settings(max_examples=examples(300), deadline=None)
@given(works, weights)
def test_no_other_shares_of_three_arrays_say_more(work: Work, shares: tuple[Fraction, ...]) -> None:
    assert least(work, shares) <= bound(work)


def test_an_array_more_that_can_do_all_is_no_reason_to_bound_nothing() -> None:
    """Three equal arrays: a third each, where shares of two alone would say nothing at all."""
    work = [dict.fromkeys(range(ARRAYS), Fraction(30)) for _ in range(4)]
    assert bound(work) == 40
    assert max(least(work, (Fraction(1), Fraction(1), Fraction(0))), Fraction(0)) == 0
