"""Inequalities that round are counted exactly, and by halving where they are monotone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy

from einsum_cascade import Cascade
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.counting.affine_masks import AffineSpace
from einsum_cascade.counting.point_counts import Inequality, _count_coupled, count_points
from einsum_cascade.counting.symbolic import analyze

HEAD = """cascade: a
ranks: {P: queries, M: keys, L: levels}
inputs: {X: [P, M, L]}
output: Z
parameters: {C: 2}
einsums: |
"""
P, M, L = np.ogrid[:53, :61, :7]
MASKS = [
    ("floor(m / C) == floor(p / C)", lambda c: M // c == P // c),
    ("floor(m / 2 ** l) <= floor(p / 2 ** l) - l", lambda c: M // 2**L <= P // 2**L - L),
    ("p / C - m / 7 + floor(l / 3) <= 0", lambda c: 7 * P - c * M + 7 * c * (L // 3) <= 0),
    ("floor((m + 3) / C) >= 2 * floor(p / 3) + l", lambda c: (M + 3) // c >= 2 * (P // 3) + L),
    ("-floor(-m / C) < max(p - l, 4)", lambda c: -(-M // c) < np.maximum(P - L, 4)),
    ("floor(p * m / C) * l == 6", lambda c: P * M // c * L == 6),
]


@pytest.mark.parametrize(("where", "holds"), MASKS)
@pytest.mark.parametrize("c", [1, 49])  # (1 / 49) * 49 is less than 1 in floats
def test_counts_are_those_of_whole_numbers(where, holds, c):
    program = Cascade.parse(f"{HEAD}  Z[p] = X[p, m, l] * C where {where}\n").program
    shapes = {"P": 53, "M": 61, "L": 7, "C": c}
    wanted = int(np.broadcast_to(holds(c), (53, 61, 7)).sum())
    assert count_points(program, program.einsums[0], shapes) == wanted


@pytest.mark.parametrize("more", ["", " - 7", " + floor(y / 5)"])
@pytest.mark.parametrize(
    "text",
    ["y - floor(x/6)", "floor((3*x + y)/4) - 5", "y - 2*floor((9 - 2*x)/3)", "y - ceiling(x/2)"],
)
def test_bounds_of_rounded_quotients_are_found_at_once(text: str, more: str) -> None:
    x, y = (sympy.Symbol(n, integer=True, nonnegative=True) for n in "xy")
    form = Inequality.of(sympy.sympify(text + more, {"x": x, "y": y}))
    assert form.evaluations(x, 40) == 1
    at, of = np.ogrid[:40, :30]
    from_below, bound = form.bound(x, {y: of[0]}, 40)
    assert np.array_equal(form.holds({x: at, y: of}), (at >= bound) == from_below)


def test_a_long_axis_that_no_condition_bounds_is_gone_through():
    """Every other one of 2,048 queries: neither below something nor above it."""
    where = "p == 2 * floor((p + 1) / 2)"
    program = Cascade.parse(f"{HEAD}  Z[p] = X[p, m, l] * C where {where}\n").program
    shapes = {"P": 2048, "M": 3, "L": 1, "C": 1}
    assert count_points(program, program.einsums[0], shapes) == 1024 * 3


def test_blocks_of_a_length_that_no_float_divides_by_are_counted():
    program = Cascade.load("attention-chunked-local").program
    shapes = {"E": 1, "F": 1, "P": 1000, "M": 1000, "C": 49}
    assert count_points(program, program.einsums[0], shapes) == sum(p % 49 + 1 for p in range(1000))


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (
            "p == 2 ** l * floor(p / 2 ** l) + 2 ** (l - 1) and m < l",
            lambda: (2 * (P % 2**L) == 2**L) & (M < L),
        ),
        (
            "p >= 2 ** l * floor(p / 2 ** l) + l and 2 * m > l",
            lambda: (P % 2**L >= L) & (2 * M > L),
        ),
        ("p + l <= 40 and floor(m / 2 ** l) == 2", lambda: (P + L <= 40) & (M // 2**L == 2)),
    ],
)
def test_axes_that_a_short_one_ties_are_counted(where: str, holds: Callable[[], Any]) -> None:
    """The first two conditions hold of what a quotient leaves of p, again and again."""
    program = Cascade.parse(f"{HEAD}  Z[p] = X[p, m, l] * C where {where}\n").program
    wanted = int(np.broadcast_to(holds(), (53, 61, 7)).sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("einsum_cascade.counting.policy.MIN_VALUES_FOR_PERIODS", 2)
        _count_coupled.cache_clear()
        shapes = {"P": 53, "M": 61, "L": 7, "C": 2}
        assert count_points(program, program.einsums[0], shapes) == wanted


def test_levels_of_pairs_are_counted_without_going_through_the_pairs():
    # Every pair of a position and one before it, or itself, meets at one level; pairs, levels
    # and all are 2.2e7 points here.
    found = Cascade.load("log-linear-attention").analyze().subs({"P": 1024, "L": 21})
    counted = {e.einsum: e.points for e in found.by_einsum}
    assert str(counted["LW"]) == f"{1024 * 1025 // 2}*B*H"
    assert str(counted["QK"]) == f"{1024 * 1025 // 2}*B*E*H"


def test_sums_of_what_is_clipped_stay_where_a_shape_is_missing():
    found = Cascade.load("mixture-of-block-attention").analyze().subs({"P": 4096, "M": 4096})
    (gate,) = (e for e in found.by_einsum if e.einsum == "GT")
    # Term by term it was half an hour, and a term for each of 4,096 queries.
    assert "(p, 0, 4095)" in str(gate.points)
    assert len(str(gate.points)) < 100
    numbers = found.subs({"U": 512, "N": 8, "P": 4096, "M": 4096})
    (gate,) = (e for e in numbers.by_einsum if e.einsum == "GT")
    assert str(gate.points) == f"{512 * (1 + 2 + 3 + 4 + 5 + 6 + 7)}*B*E*H"


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    ("mask", "holds"),
    [
        ("not (m < A - 1 or m == 1)", lambda m, a: m >= a - 1 and m != 1),
        ("m >= A - 1", lambda m, a: m >= a - 1),
    ],
)
def test_a_mask_may_ask_for_the_length_of_a_rank_it_does_not_tie(
    size: int, mask: str, holds: Callable[[int, int], bool]
) -> None:
    text = (
        "cascade: lengths\nranks: {A: some, M: more}\ninputs: {X: [A], K: [M, A]}\noutput: Y\n"
        f"einsums: |\n  Y = K[m, a] * X[a] where {mask}\n"
    )
    (found,) = analyze(Cascade.parse(text).program).at({"A": size, "M": 5}).by_einsum
    assert found.points == size * sum(holds(m, size) for m in range(5))


@pytest.mark.parametrize("more", [0, 1, 7])
@pytest.mark.parametrize("steps", [1, 5])
def test_what_holds_everywhere_ties_nothing(more: int, steps: int) -> None:
    """Chunks that end in time, and those of which the last does not, against all points."""
    where = f"p <= m and 5*p + l < 30 - {steps} + {more}"
    program = Cascade.parse(f"{HEAD}  Z[p] = X[p, m, l] * C where {where}\n").program
    p, m, chunk = np.ogrid[:6, :8, :5]
    wanted = int(((p <= m) & (5 * p + chunk < 30 - steps + more)).sum())
    assert count_points(program, program.einsums[0], {"P": 6, "M": 8, "L": 5, "C": 1}) == wanted


def test_a_million_tokens_in_chunks_are_counted_by_their_pairs() -> None:
    """Queries and keys of chunks are tied two by two: together they are 10**12 points."""
    where = "m <= p and l < 1024 and 1024*p + l < 1048576"
    program = Cascade.parse(f"{HEAD}  Z[p] = X[p, m, l] * C where {where}\n").program
    shapes = {"P": 1024, "M": 1024, "L": 1024, "C": 1}
    assert count_points(program, program.einsums[0], shapes) == 1024 * (1024 * 1025 // 2)
    (form,) = (Inequality.of(sympy.Symbol("p") * 1024 + sympy.Symbol("l") - 1048575),)
    sizes = {sympy.Symbol("p"): 1024, sympy.Symbol("l"): 1024}
    assert form.always(sizes)
    assert not form.always({**sizes, sympy.Symbol("l"): 1025})


@pytest.mark.parametrize("name", ["kimi-delta-attention-chunked", "attention-causal-1pass", "ssd"])
def test_points_of_affine_masks_are_those_of_symbols(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = with_masks(Cascade.load(name).program)
    masked = [e for e in program.einsums if e.where is not None]
    shapes = {r.name: 3 + n for n, r in enumerate(program.ranks)}
    for rank in (r for r in program.ranks if r.partition):
        # 13 in tiles of 4 leaves a short one.
        outer, *inner = rank.partition
        shapes |= {rank.name: 13, outer: 4, **dict.fromkeys(inner, 4)}
    shapes = {r: shapes[program.model_of(r)] for r in shapes}
    assert all(AffineSpace.of(program, e, shapes) is not None for e in masked)
    counted = [count_points(program, e, shapes) for e in masked]
    monkeypatch.setattr(AffineSpace, "of", lambda *_: None)
    assert counted == [count_points(program, e, shapes) for e in masked]
    assert counted
