"""What the decisions still to be taken cost at the least, worked out backwards.

A weighted sum of columns is additive: what is still to come then depends only on the arrays
of those Einsums whose tensors have no places yet, the *frontier*. Few Einsums are in it at
a time, so that the least cost to go is worked out for every state of the frontier. With a
weight on energy alone it is exact but for the capacities of memories; with weights on
cycles that add up to one it is below the largest column, and so below latency.

An example: S costs 10 on array 0 and 14 on array 1, A after it 9 and 5, and to hand S from the
one to the other costs 0 in the same array's registers, else 4 through the buffer. Where S is on
array 0, the rest costs ``min(9 + 0, 5 + 4) = 9`` at the least, where it is on array 1
``min(9 + 4, 5 + 0) = 5``: these are the states of the frontier after S. Before S nothing is
decided, and the least of all is ``min(10 + 9, 14 + 5) = 19``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled

from .arrays import Floats, Ints

EINSUM, TENSOR = range(2)


class Choices(NamedTuple):
    """The decisions of a subspace, flat.

    Rows of ``decisions``: kind, number of the Einsum or tensor, alternatives. ``works`` is by
    Einsum. Accesses of tensor t, rows (Einsum, first entry), are those from ``first[t]`` on.
    Tiles of tensor t (rows of ``tiles``: memory, Einsum, the way in which it has this one or -1:
    in all) are those from ``first_tile[t]`` on, their bytes given by tiling. Before decision d the
    frontier are the rows (Einsum, its factor in the number of a state) of ``frontier`` from
    ``first_frontier[d]`` on, and states are numbered from ``first_state[d]``.
    """

    decisions: Ints
    works: Ints
    writers: Ints
    alternatives: Ints
    """Of every Einsum."""
    accesses: Ints
    first: Ints
    rows: Ints
    """Of every entry the row of its costs; -1 where it is not legal."""
    kept: NDArray[np.bool_]
    tiles: Ints
    first_tile: Ints
    capacities: Floats
    frontier: Ints
    first_frontier: Ints
    first_state: Ints


@compiled
def state_of(c: Choices, decision: int, picked: Ints) -> int:
    """The number of the frontier's state before a decision."""
    state = c.first_state[decision]
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        state += picked[c.frontier[row, 0]] * c.frontier[row, 1]
    return int(state)


@compiled
def _unpack(c: Choices, decision: int, state: int, picked: Ints) -> None:
    """Set the arrays of the frontier's Einsums; -1 for all others."""
    picked[:] = -1
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        number = c.frontier[row, 0]
        picked[number] = state // c.frontier[row, 1] % c.alternatives[number]


@compiled
def _least_of_access(
    c: Choices, cost: Floats, row: int, writer: int, places: int, alternatives: int, picked: Ints
) -> float:
    """The least cost of an access, its Einsum and the writer on any array that is not picked."""
    own = c.accesses[row, 0]
    writers = c.alternatives[writer] if writer >= 0 else 1
    least = np.inf
    for k in range(c.alternatives[own]):
        if picked[own] >= 0 and picked[own] != k:
            continue
        for w in range(writers):
            if writer >= 0 and picked[writer] >= 0 and picked[writer] != w:
                continue
            # The write itself, or the read of a running value: both are done in one way.
            if writer == own and w != k:
                continue
            entry = c.accesses[row, 1] + (k * writers + w) * alternatives + places
            if c.rows[entry] >= 0:
                least = min(least, cost[c.rows[entry]])
    return float(least)


@compiled
def least_to_go(c: Choices, cost: Floats, to_go: Floats) -> None:
    """The least weighted cost from every state of every frontier on.

    Parameters
    ----------
    cost : array, (rows,)
        Weighted costs.
    to_go : array, (states,)
        Filled: of the states before decision d those from ``c.first_state[d]`` on.
    """
    end = c.decisions.shape[0]
    picked = np.empty(c.works.shape[0], np.int64)
    to_go[c.first_state[end]] = 0.0
    for decision in range(end - 1, -1, -1):
        kind, number, alternatives = c.decisions[decision]
        first = c.first_state[decision]
        for state in range(c.first_state[decision + 1] - first):
            _unpack(c, decision, state, picked)
            best = np.inf
            for choice in range(alternatives):
                if kind == EINSUM:
                    picked[number] = choice
                    value = cost[c.rows[c.works[number] + choice]]
                else:
                    value = 0.0
                    # Who is forgotten chooses anew for each access: it costs no more than together.
                    for row in range(c.first[number], c.first[number + 1]):
                        value += _least_of_access(
                            c, cost, row, c.writers[number], choice, alternatives, picked
                        )
                value += to_go[state_of(c, decision + 1, picked)]
                best = min(best, value)
            to_go[first + state] = best
