"""Shapes: families and members fix one another; everything else is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum_cascade import Cascade, CascadeError
from einsum_cascade.errors import SpecError
from einsum_cascade.shapes import resolve_shapes

ONE_PASS = Cascade.load("attention-1pass").program
REST = {"E": 4, "F": 5, "P": 6}

THREE = Cascade.parse(
    """
cascade: three
ranks: {P: {is: rows, partition: [P2, P1, P0]}}
inputs: {X: [P]}
output: Y
einsums: "Y[p2, p1, p0] = X[p2*P1*P0 + p1*P0 + p0]"
"""
).program


@pytest.mark.parametrize(
    ("given_", "family", "outer", "inner"),
    [
        ({"M": 12, "M0": 4}, 12, 3, 4),
        ({"M": 10, "M0": 4}, 10, 3, 4),
        ({"M": 3, "M0": 4}, 3, 1, 4),
        ({"M": 12, "M1": 3}, 12, 3, 4),
        ({"M": 10, "M1": 4}, 10, 4, 3),
        ({"M1": 3, "M0": 4}, 12, 3, 4),
        ({"M": 10, "M1": 3, "M0": 4}, 10, 3, 4),
        ({"M": 10**30, "M0": 7}, 10**30, -(-(10**30) // 7), 7),
    ],
)
def test_two_of_a_family_fix_the_third(
    given_: dict[str, int], family: int, outer: int, inner: int
) -> None:
    shapes = resolve_shapes(ONE_PASS, given_ | REST)
    assert (shapes["M"], shapes["M1"], shapes["M0"]) == (family, outer, inner)
    assert list(shapes) == ["E", "F", "P", "M", "M1", "M0"]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_three_members_cover_the_family_with_the_fewest_outer_tiles(
    p: int, p1: int, p0: int
) -> None:
    shapes = resolve_shapes(THREE, {"P": p, "P1": p1, "P0": p0})
    covered = shapes["P2"] * p1 * p0
    assert covered >= p > covered - p1 * p0
    assert resolve_shapes(THREE, shapes) == shapes


def test_parallel_ranks_are_kept_when_given() -> None:
    shapes = resolve_shapes(ONE_PASS, REST | {"M": 8, "M0": 2, "H": 3})
    assert shapes["H"] == 3
    assert "B" not in shapes


def test_numpy_integers_become_python_integers() -> None:
    shapes = resolve_shapes(ONE_PASS, REST | {"M": np.int64(2**62), "M0": np.int32(1)})
    assert type(shapes["M"]) is int
    assert shapes["M1"] == 2**62


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"M": 8, "M0": 2, "P": 0}, "shape P is a positive whole number, not 0"),
        ({"M": -8, "M0": 2}, "shape M is a positive whole number, not -8"),
        ({"M": 8, "M0": 2.0}, "shape M0 is a positive whole number, not 2.0"),
        ({"M": 8, "M0": True}, "shape M0 is a positive whole number, not True"),
        ({"M": 8, "M0": "2"}, "shape M0 is a positive whole number, not '2'"),
        ({"M": 8, "M0": math.nan}, "shape M0 is a positive whole number, not nan"),
        ({"M": 8, "M0": 2, "Pq": 1}, "'Pq' is not a rank; did you mean 'P'"),
        ({"M": 8, "M0": 2, "m1": 1}, "'m1' is not a rank; did you mean 'M1'"),
        ({"M": 8}, "shape is missing: 'M1' or 'M0'"),
        ({"M0": 8}, "shape is missing: 'M' or 'M1'"),
        ({}, "shape is missing: 2 of 'M', 'M1', 'M0'"),
        (
            {"M": 8, "M0": 2, "M1": 5},
            r"M = 8 does not agree with M1 = 5, M0 = 2: M1 must be .* = 4",
        ),
        ({"M": 6, "M1": 4}, r"M = 6 does not agree with M1 = 4, M0 = 2: M1 must be .* = 3"),
    ],
)
def test_what_does_not_fit_is_refused(given_: dict[str, int], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        resolve_shapes(ONE_PASS, REST | given_)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        resolve_shapes(ONE_PASS, {"E": 0, "Mx": 3}, SpecError)
    text = str(caught.value)
    assert "shape E is a positive" in text
    assert "'Mx' is not a rank" in text
    assert "'F' (value width), 'P' (queries), 2 of 'M', 'M1', 'M0'" in text
