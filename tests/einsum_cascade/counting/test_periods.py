"""Counting by periods gives the same number as enumerating all points."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from einsum_cascade.counting.point_counts import (
    Inequality,
    _by_periods,
    _count_around,
    _count_coupled,
    periodic_steps,
)
from einsum_cascade.counting.points import CountedAxis

X, Y, L = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "xyl")
OFFSETS = st.integers(-9, 9)


@st.composite
def inequalities(draw: st.DrawFn) -> sympy.Expr:
    """Return one that repeats along both variables, mostly."""
    below = draw(st.sampled_from([1, 2, 3, 4, 6, 2**L]))
    sign, apart = draw(st.sampled_from([1, -1])), draw(OFFSETS)
    step = draw(st.integers(1, 3))
    one, other = sympy.floor((step * X + draw(OFFSETS)) / below), sympy.floor(step * Y / below)
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return sign * (X - Y) + apart
    if kind == 1:
        return sign * (one - other) + draw(st.integers(-1, 1))
    if kind == 2:
        return Y - 2 * sympy.floor((Y + apart) / 2)
    if kind == 3:
        return sign * (L - 1)
    return sign * (sympy.ceiling((X - Y) / below) + apart)


@settings(max_examples=examples(40), deadline=None)
@given(
    forms=st.lists(inequalities(), min_size=1, max_size=3),
    size=st.integers(1, 40),
    steps=st.integers(1, 60),
    level=st.integers(1, 5),
)
def test_points_are_those_of_going_through_them(
    forms: list[sympy.Expr], size: int, steps: int, level: int
) -> None:
    at = {
        X: np.arange(size)[:, None, None],
        Y: np.arange(steps)[None, :, None],
        L: np.arange(level)[None, None, :],
    }
    read = [Inequality.of(sympy.sympify(f)) for f in forms]
    wanted = np.ones((size, steps, level), dtype=bool)
    for form in read:
        wanted = wanted & form.holds(at)
    x, y, levels = (CountedAxis(s, n, 1, n) for s, n in ((X, size), (Y, steps), (L, level)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("einsum_cascade.counting.policy.MIN_VALUES_FOR_PERIODS", 1)
        found = _by_periods(x, [y, levels], read)
    assert found in (None, int(wanted.sum()))
    if steps >= max(size, level):
        assert (found is None) == (periodic_steps(X, Y, read) is None)


@settings(max_examples=examples(30), deadline=None)
@given(
    bounds=st.lists(st.tuples(st.booleans(), st.integers(-2, 2), OFFSETS), max_size=4),
    slopes=st.tuples(st.sampled_from([-2, -1, 1, 2]), st.sampled_from([-2, -1, 1, 2])),
    tiles=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_points_around_a_hub_are_those_of_going_through_them(
    bounds: list[tuple[bool, int, int]], slopes: tuple[int, int], tiles: tuple[int, int, int]
) -> None:
    total = 11
    axes = [CountedAxis(s, -(-total // t), t, total) for s, t in zip((Y, X, L), tiles, strict=True)]
    exact = [slopes[last] * (X, L)[last] + c * Y + n for last, c, n in bounds]
    forms = [Inequality.of(sympy.sympify(f)) for f in exact]
    wanted = 0
    for at in product(*(range(a.size) for a in axes)):
        values = dict(zip((Y, X, L), at, strict=True))
        inside = [min(a.tile, total - n * a.tile) for a, n in zip(axes, at, strict=True)]
        wanted += int(all(f.holds(values) for f in forms)) * prod(inside)
    assert _count_around(axes[0], axes, forms) == wanted


def test_a_chain_of_inequalities_is_counted_along_its_middle() -> None:
    """To enumerate two of the three variables takes 10 G combinations."""
    n = 100_000
    axes = tuple(CountedAxis(s, n, 1, n) for s in (X, Y, L))
    assert _count_coupled(axes, (X - Y, Y - L + 1)) == (n - 1) * n * (n + 1) // 6


def test_what_does_not_repeat_is_told() -> None:
    for text in ("x - 2*y", "floor(x/4) - y", "floor(x*y/3) - 5"):
        form = Inequality.of(sympy.sympify(text, {"x": X, "y": Y}))
        assert periodic_steps(X, Y, [form]) is None
