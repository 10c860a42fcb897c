"""Our sums tell the same symbols as sympy's, and look and add up like them."""

import sympy
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascade.counting.sums import SumOverSymbols

i, j = sympy.symbols("i j", integer=True, nonnegative=True)
M, N = sympy.symbols("M N", integer=True, positive=True)
BOUNDS = st.sampled_from([sympy.Integer(0), sympy.Integer(3), M, N - 1, M + N, j, i])
BODIES = st.sampled_from(
    [sympy.Integer(1), i, j, i * j, sympy.Min(i, M), sympy.Max(N - j, i), sympy.Min(j, 2) * M]
)
LIMITS = st.lists(st.tuples(st.sampled_from([i, j]), BOUNDS, BOUNDS), min_size=1, max_size=3)


@given(body=BODIES, limits=LIMITS)
def test_free_symbols_are_those_that_sympy_finds(body, limits):
    theirs = sympy.Sum(body, *limits)
    ours = SumOverSymbols(body, *limits)
    assert ours.free_symbols == theirs.free_symbols
    assert ours.is_number == theirs.is_number
    assert str(ours) == str(theirs)


def test_a_sum_of_a_sum_takes_numbers_and_adds_up():
    inner = SumOverSymbols(sympy.Min(i, j), (j, 0, N - 1))
    outer = SumOverSymbols(inner * M, (i, 0, M - 1))
    assert outer.free_symbols == {M, N}
    found = outer.subs({M: 3, N: 4}).doit()
    assert found == 3 * sum(min(a, b) for a in range(3) for b in range(4))
