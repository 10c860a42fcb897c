"""The kernel that chooses: what it leaves out where ties are not to be settled."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from portions import left

from archsim import Architecture
from einsum_cascade import Cascade
from mappers.exact.kernels.descent import LEAST, TIE, VALUE, search
from mappers.exact.subspaces import fresh_state, priced, with_multipliers
from mappers.exact.tables import Tables, tabulate
from mappers.problem.objectives import LATENCY
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace

SHAPES = {"B": 2, "H": 3, "E": 32, "F": 48, "P": 1100, "M": 1300}
MANY = 10**7
"""Decisions: none is left unseen."""


def values(
    tables: Tables, cost: NDArray[np.float64], tile: NDArray[np.float64], *, settle: bool
) -> NDArray[np.float64]:
    """Return the kernel's results for every tiling."""
    choices = tables.choices
    columns = np.eye(tables.columns)
    sums = [columns[0], *columns]
    weights = with_multipliers(sums, len(choices.capacities))
    state = fresh_state(choices, len(cost), np.zeros(6))
    limits = (np.inf, 0.0, MANY, np.inf, settle, 0)
    search(choices, LATENCY, *limits, weights, cost, tile, state)
    return state.values


@pytest.mark.parametrize("machine", ["flat", left("tpu-v4i")])
def test_without_ties_the_value_is_the_same_and_the_tie_no_better(machine: str) -> None:
    program = Cascade.load("attention-3pass").program
    space = Mapspace.of(program, Architecture.load(machine), SHAPES).regions(2)[0]
    looser = 0
    for subspace in subspaces_of(space)[:6]:
        tables = tabulate(space, subspace)
        for _, cost, tile in priced(space, subspace, tables):
            settled = values(tables, cost[:8], tile[:8], settle=True)
            quick = values(tables, cost[:8], tile[:8], settle=False)
            assert quick[:, VALUE].tolist() == settled[:, VALUE].tolist()
            assert quick[:, LEAST].tolist() == settled[:, LEAST].tolist()
            assert (quick[:, TIE] >= settled[:, TIE]).all()
            looser += int((quick[:, TIE] > settled[:, TIE]).sum())
            break
    assert looser, "equals are there to be left out"
