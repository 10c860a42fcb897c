"""Rents of memories: bounds are no higher than what fits, and what they rule out is no better."""

from __future__ import annotations

from itertools import islice, product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from portions import examples

from archsim import Architecture
from archsim.compiled import compiled
from archsim.spec.overrides import parse_overrides
from einsum_cascade import Cascade
from mappers.exact.kernels.bounds import (
    EINSUM,
    TENSOR,
    Choices,
    least_sizes,
    planned,
    raise_multipliers,
)
from mappers.exact.kernels.descent import CAPACITY, LEAST, LEAVES, TIE, VALUE, search
from mappers.exact.kernels.measures import Floats
from mappers.exact.policy import MAX_MULTIPLIER_STEPS
from mappers.exact.subspaces import fresh_state, priced, weights_of
from mappers.exact.tables import tabulate
from mappers.problem.objectives import ENERGY, LATENCY
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace

MANY = 10**7
"""Decisions: none is left unseen."""


@compiled
def bound_of(
    c: Choices,
    tile: Floats,
    objective: int,
    steps: int,
    most: Floats,
    cost: Floats,
    weights: Floats,
) -> float:
    """A bound, raised in so many steps: compiled code calls that of the search, Python cannot."""
    sizes = np.empty((c.first.shape[0] - 1, c.capacities.shape[0]))
    least_sizes(c, tile, sizes)
    return raise_multipliers(c, planned(c), objective, (np.inf, steps), most, cost, sizes, weights)


def two_tensors(capacity: float) -> Choices:
    """An Einsum that reads two tensors, from outside (row 1 and 3) or from a memory (2 and 4)."""
    return Choices(
        decisions=np.array([(EINSUM, 0, 1), (TENSOR, 0, 2), (TENSOR, 1, 2)]),
        works=np.array([0]),
        writers=np.array([-1, -1]),
        alternatives=np.array([1]),
        accesses=np.array([(0, 1), (0, 3)]),
        first=np.array([0, 1, 2]),
        rows=np.arange(5),
        kept=np.array([[[False], [True]]] * 2),
        tiles=np.array([(0, 0, -1), (0, 0, -1)]),
        first_tile=np.array([0, 1, 2]),
        capacities=np.array([capacity]),
        frontier=np.array([(0, 1), (0, 1)]),
        first_frontier=np.array([0, 0, 1, 2, 2]),
        first_state=np.array([0, 1, 2, 3, 4]),
    )


@pytest.mark.slow
def test_of_two_tensors_one_fits() -> None:
    c, tile = two_tensors(100.0), np.array([100.0, 100.0])
    # Energy, cycles: 10 for a tensor that is not kept.
    cost = np.array([(0.0, 0.0), (0.0, 10.0), (0.0, 0.0), (0.0, 10.0), (0.0, 0.0)])
    most = np.array([inf, inf, 1.0])
    for rent, bound in ((0.0, 0.0), (5.0, 5.0), (10.0, 10.0), (15.0, 5.0)):
        weights = np.array([[0.0, 1.0, rent]])
        assert bound_of(c, tile, LATENCY, 1, most, cost, weights) == pytest.approx(bound)


amounts = st.lists(st.integers(0, 20), min_size=4, max_size=4)


@settings(max_examples=examples(40), deadline=None)
@given(st.tuples(amounts, amounts, amounts), st.tuples(*[st.integers(1, 9)] * 3), st.booleans())
def test_a_bound_is_no_higher_than_what_fits(
    columns: tuple[list[int], ...], room: tuple[int, ...], of_energy: bool
) -> None:
    first, second, capacity = room
    c, tile = two_tensors(float(capacity)), np.array([float(first), float(second)])
    cost = np.zeros((5, 3))
    cost[1:] = np.array(columns).T + 1
    most = np.array([inf, inf, inf, 1.0])
    cap = 25.0 if of_energy else inf
    most[1:3] = cap
    fitting = [
        cost[1 + a] + cost[3 + b]
        for a, b in product((0, 1), (0, 1))
        if a * first + b * second <= capacity
    ]
    able = [total for total in fitting if total[1:].max() <= cap]
    best = min((total[0] if of_energy else total[1:].max() for total in able), default=inf)
    weights = np.array([[1.0, 0.0, 0.0, 0.0] if of_energy else [0.0, 0.5, 0.5, 0.0]])
    objective = ENERGY if of_energy else LATENCY
    for steps in (1, 2, 5, 20):
        row = weights.copy()
        bound = bound_of(c, tile, objective, steps, most, cost, row)
        assert bound <= best
        again = bound_of(c, tile, objective, 1, most, cost, row)
        assert again == bound, "the weights are those of the best bound"


TWO_LAYERS = """
cascade: two-layers
ranks: [M, K, H, N]
inputs: {X: [M, K], W: [K, H], V: [H, N]}
output: Z
einsums: |
  Y[m, h] = X[m, k] * W[k, h]
  Z[m, n] = Y[m, h] * V[h, n]
"""

TIGHT = (
    "architecture.arrays.array_2d.shape.rows=2",
    "architecture.arrays.array_2d.shape.columns=2",
    "architecture.arrays.array_1d.shape.lanes=2",
    "architecture.memories.global_buffer.capacity=512 B",
    "architecture.memories.DRAM.bandwidth=2 GB/s",
)


@pytest.mark.parametrize("objective", [LATENCY, ENERGY])
def test_with_rents_the_best_is_the_same_and_less_is_looked_at(objective: int) -> None:
    program = Cascade.parse(TWO_LAYERS).program
    machine = Architecture.load("fusemax", parse_overrides(TIGHT))
    space = Mapspace.of(program, machine, {"M": 16, "K": 32, "H": 16, "N": 32})
    region = space.regions(1)[0]
    looked = {0: 0.0, MAX_MULTIPLIER_STEPS: 0.0}
    for subspace in islice(subspaces_of(region), 3):
        tables = tabulate(region, subspace)
        choices = tables.choices
        _, cost, tile = next(iter(priced(region, subspace, tables)))
        weights = weights_of(tables, cost[0], len(machine.arrays))
        limit = cap = inf
        # Without limits; with a limit; with a cap on the other objective, too.
        for times in (1.5, 1.2, 1.0):
            found: dict[int, NDArray[np.float64]] = {}
            for steps in looked:
                state = fresh_state(choices, len(cost), np.zeros(6))
                bounds = (limit, 0.0, MANY, cap, True, steps)
                search(choices, objective, *bounds, weights, cost, tile, state)
                found[steps] = state.values
                looked[steps] += state.tally[[LEAVES, CAPACITY]].sum()
            plain, rented = found[0], found[MAX_MULTIPLIER_STEPS]
            assert rented[:, VALUE] == pytest.approx(plain[:, VALUE], rel=1e-12)
            assert rented[:, TIE] == pytest.approx(plain[:, TIE], rel=1e-12)
            assert (rented[:, LEAST] >= plain[:, LEAST] * (1 - 1e-9)).all()
            assert (rented[:, LEAST] <= rented[:, VALUE] * (1 + 1e-9)).all()
            best = int(plain[:, VALUE].argmin())
            limit = times * min(limit, float(plain[best, VALUE]))
            cap = inf if times == 1.5 else float(plain[best, TIE])
    assert looked[MAX_MULTIPLIER_STEPS] < looked[0]
