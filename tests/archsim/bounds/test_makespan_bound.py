"""Each Einsum on one array: how long the busiest takes at the least."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim import Architecture, simulate
from archsim.bounds import makespan as assigned
from archsim.bounds.makespan import makespan_bound
from workloads import load

Cycles = dict[int, Fraction]


def by_all_ways(einsums: list[Cycles], arrays: int) -> Fraction:
    """Every Einsum on every array that can do it."""
    best = Fraction(10**9)
    for ways in product(*einsums):
        loads = [Fraction(0)] * arrays
        for array, cycles in zip(ways, einsums, strict=True):
            loads[array] += cycles[array]
        best = min(best, max(loads))
    return best


def some(cycles: tuple[int, ...], unit: int) -> Cycles:
    """On the arrays with a number of cycles; one at least."""
    able = {n: Fraction(c, unit) for n, c in enumerate(cycles) if c > 0}
    return able or {0: Fraction(0)}


EINSUMS = st.builds(some, st.tuples(*[st.integers(-2, 30)] * 3), st.sampled_from([1, 3, 7]))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(EINSUMS, min_size=1, max_size=6))
def test_no_way_to_assign_einsums_is_below_it_and_one_is_as_good(einsums: list[Cycles]) -> None:
    found = makespan_bound(einsums, 3)
    assert found == by_all_ways(einsums, 3)
    assert makespan_bound(einsums[::-1], 3) == found


def test_where_there_are_too_many_ways_it_is_below_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight pieces of odd sizes on two arrays: after a few assignments it knows less."""
    sizes = (97, 83, 79, 71, 67, 61, 59, 53)
    einsums = [{0: Fraction(n), 1: Fraction(n + k)} for k, n in enumerate(sizes)]
    exact = by_all_ways(einsums, 2)
    monkeypatch.setattr(assigned, "MAX_ASSIGNMENTS", 10**6)
    assert makespan_bound(einsums, 2) == exact
    monkeypatch.setattr(assigned, "MAX_ASSIGNMENTS", 6)
    assert Fraction(sum(sizes), 2) <= makespan_bound(einsums, 2) < exact


def test_a_floor_does_not_give_a_part_of_an_einsum_to_another_array() -> None:
    """In decode on FSA two products share the only array that multiplies matrices in time: with a
    part of one among the accumulators the floor was 0.8 times as high."""
    work = load("llama-3-8b", phase="decode", cached_len=4095, batch=1)
    result = simulate(work, Architecture.load("fsa"))
    assert result.floor.compute_s * 1.5e9 == pytest.approx(65_540, rel=0.01)
