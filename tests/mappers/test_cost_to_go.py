"""The least cost to go, on the example that its module works out by hand."""

from __future__ import annotations

from itertools import product

import numpy as np

from mappers.exhaustive.kernels.cost_to_go import EINSUM, TENSOR, Choices, least_to_go

S, A = 0, 1
REGISTERS, BUFFER = 0, 1


def test_what_is_to_come_depends_on_the_frontier_alone() -> None:
    handed = [*product((0, 1), (0, 1), (REGISTERS, BUFFER))]  # array of A, array of S, place of S
    works = [10.0, 14.0, 9.0, 5.0]
    # What is handed on in registers stays on its array.
    rows = [-1 if place == REGISTERS and a != s else 4 + place for a, s, place in handed]
    choices = Choices(
        decisions=np.array([(EINSUM, S, 2), (EINSUM, A, 2), (TENSOR, 0, 2)]),
        works=np.array([0, 2]),
        writers=np.array([S]),
        alternatives=np.array([2, 2]),
        accesses=np.array([(A, len(works))]),
        first=np.array([0, 1]),
        rows=np.array([0, 1, 2, 3, *rows]),
        kept=np.zeros((1, 2, 0), dtype=np.bool_),
        tiles=np.zeros((0, 3), dtype=np.int64),
        first_tile=np.array([0, 0]),
        capacities=np.zeros(0),
        frontier=np.array([(S, 1), (S, 1), (A, 2)]),
        first_frontier=np.array([0, 0, 1, 3, 3]),
        first_state=np.array([0, 1, 3, 7, 8]),
    )
    cost = np.array([*works, 0.0, 4.0])
    # A second sum: to hand it on costs nothing.
    free = np.array([*works, 0.0, 0.0])
    found = np.full((8, 2), np.nan)
    least_to_go(choices, np.stack([cost, free], axis=1), found)
    to_go = found[:, 0]
    assert to_go[0] == 19
    assert to_go[1:3].tolist() == [9, 5]  # S on array 0, on array 1
    assert to_go[3:7].tolist() == [0, 4, 4, 0]  # S and A on (0, 0), (1, 0), (0, 1), (1, 1)
    assert to_go[7] == 0
    assert found[:, 1].tolist() == [15, 5, 5, 0, 0, 0, 0, 0]
