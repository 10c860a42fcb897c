"""The least cost to go: the example that its module works out by hand, and its definition."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.compiled import compiled
from mappers.exact.kernels.bounds import EINSUM, TENSOR, Choices, least_to_go, planned
from mappers.exact.kernels.measures import Floats, Ints

S, A = 0, 1
REGISTERS, BUFFER = 0, 1


@compiled
def fill(c: Choices, cost: Floats, to_go: Floats) -> None:
    """The least cost to go: compiled code calls that of the search, Python cannot."""
    sums = cost.shape[1]
    rent = np.zeros((c.first.shape[0] - 1, c.kept.shape[1], sums))
    least_to_go(c, planned(c), cost, rent, np.zeros(sums), to_go)


def test_what_is_to_come_depends_on_the_frontier_alone() -> None:
    handed = [*product((0, 1), (0, 1), (REGISTERS, BUFFER))]  # array of A, array of S, place of S
    works = [10.0, 14.0, 9.0, 5.0]
    # A tensor that is handed on in registers stays on its array.
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
    fill(choices, np.stack([cost, free], axis=1), found)
    to_go = found[:, 0]
    assert to_go[0] == 19
    assert to_go[1:3].tolist() == [9, 5]  # S on array 0, on array 1
    assert to_go[3:7].tolist() == [0, 4, 4, 0]  # S and A on (0, 0), (1, 0), (0, 1), (1, 1)
    assert to_go[7] == 0
    assert found[:, 1].tolist() == [15, 5, 5, 0, 0, 0, 0, 0]


@st.composite
def choices(draw: st.DrawFn) -> Choices:
    """Three Einsums in a chain, of a few ways each; S and A are written and read, X is read by
    all. The first ones may be forgotten, and some entries are not legal."""
    placements = draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    places = draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    legal = draw(st.lists(st.booleans(), min_size=8, max_size=8))
    accesses, entries = [], sum(placements)
    touching = {0: (0, 1), 1: (1, 2), 2: (0, 1, 2)}
    writers = [0, 1, -1]
    for tensor, einsums in touching.items():
        for einsum in einsums:
            accesses.append((einsum, entries))
            written = placements[writers[tensor]] if writers[tensor] >= 0 else 1
            entries += placements[einsum] * written * places[tensor]
    rows = np.arange(entries)
    for n in range(sum(placements), entries):
        rows[n] = n if legal[n % len(legal)] else -1
    order = [(EINSUM, 0, placements[0]), (EINSUM, 1, placements[1]), (TENSOR, 0, places[0])]
    order += [(EINSUM, 2, placements[2]), (TENSOR, 1, places[1]), (TENSOR, 2, places[2])]
    loses_tensors = draw(st.booleans())
    kept = [[], [0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2], []]
    frontier = [[e for e in now if not (loses_tensors and e == 0)] for now in kept]
    flat = [(e, prod(placements[x] for x in now if x < e)) for now in frontier for e in now]
    states = [prod(placements[e] for e in now) for now in frontier]
    return Choices(
        decisions=np.array(order),
        works=np.cumsum([0, *placements])[:3],
        writers=np.array(writers),
        alternatives=np.array(placements),
        accesses=np.array(accesses),
        first=np.array([0, 2, 4, 7]),
        rows=rows,
        kept=np.zeros((3, 3, 0), dtype=np.bool_),
        tiles=np.zeros((0, 3), dtype=np.int64),
        first_tile=np.zeros(4, dtype=np.int64),
        capacities=np.zeros(0),
        frontier=np.array(flat, dtype=np.int64).reshape(-1, 2),
        first_frontier=np.cumsum([0, *map(len, frontier)]),
        first_state=np.cumsum([0, *states]),
    )


def by_definition(c: Choices, cost: Ints, decision: int, picked: dict[int, int]) -> float:
    """The least that is to go before a decision: every choice is tried."""
    if decision == len(c.decisions):
        return 0.0
    now = c.frontier[c.first_frontier[decision] : c.first_frontier[decision + 1], 0]
    picked = {e: picked[e] for e in now.tolist()}
    kind, number, alternatives = c.decisions[decision].tolist()
    found = np.inf
    for choice in range(alternatives):
        if kind == EINSUM:
            here = float(cost[c.rows[c.works[number] + choice]])
            rest = by_definition(c, cost, decision + 1, {**picked, number: choice})
        else:
            here = sum(
                least_of_access(c, cost, int(own), int(first), number, choice, picked)
                for own, first in c.accesses[c.first[number] : c.first[number + 1]]
            )
            rest = by_definition(c, cost, decision + 1, picked)
        found = min(found, here + rest)
    return found


def least_of_access(
    c: Choices, cost: Ints, own: int, first: int, tensor: int, place: int, picked: dict[int, int]
) -> float:
    writer, places = (
        int(c.writers[tensor]),
        int(c.decisions[c.decisions[:, 0] == TENSOR][tensor, 2]),
    )
    writers = int(c.alternatives[writer]) if writer >= 0 else 1
    rows = [
        int(c.rows[first + (k * writers + w) * places + place])
        for k in range(int(c.alternatives[own]))
        for w in range(writers)
        if picked.get(own, k) == k and picked.get(writer, w) == w and (writer != own or k == w)
    ]
    return min((float(cost[row]) for row in rows if row >= 0), default=np.inf)


@settings(max_examples=examples(60), deadline=None)
@given(choices(), st.integers(0, 99))
def test_what_is_to_go_is_the_least_of_all_choices(c: Choices, seed: int) -> None:
    cost = np.random.default_rng(seed).integers(0, 50, len(c.rows)).astype(np.float64)
    found = np.full((c.first_state[-1] + 1, 1), np.nan)
    fill(c, cost[:, None], found)
    for decision in range(len(c.decisions)):
        rows = c.frontier[c.first_frontier[decision] : c.first_frontier[decision + 1]]
        for state in range(c.first_state[decision], c.first_state[decision + 1]):
            number = state - c.first_state[decision]
            picked = {int(e): int(number // f % c.alternatives[e]) for e, f in rows}
            assert found[state, 0] == by_definition(c, cost, decision, picked)
