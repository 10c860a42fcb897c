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
    for number in range(picked.shape[0]):
        picked[number] = -1
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        number = c.frontier[row, 0]
        picked[number] = state // c.frontier[row, 1] % c.alternatives[number]


@compiled
def _add_least_of_access(
    c: Choices,
    cost: Floats,
    row: int,
    writer: int,
    places: int,
    alternatives: int,
    picked: Ints,
    least: Floats,
    total: Floats,
) -> None:
    """Add the least costs of an access, its Einsum and the writer on any array that is not picked.

    ``least`` is written over.
    """
    own = c.accesses[row, 0]
    sums = total.shape[0]
    writers = c.alternatives[writer] if writer >= 0 else 1
    mine = max(picked[own], 0), picked[own] + 1 if picked[own] >= 0 else c.alternatives[own]
    theirs = 0, writers
    if writer >= 0 and picked[writer] >= 0:
        theirs = picked[writer], picked[writer] + 1
    for g in range(sums):
        least[g] = np.inf
    for k in range(mine[0], mine[1]):
        for w in range(theirs[0], theirs[1]):
            # The write itself, or the read of a running value: both are done in one way.
            if writer == own and w != k:
                continue
            entry = c.rows[c.accesses[row, 1] + (k * writers + w) * alternatives + places]
            if entry >= 0:
                for g in range(sums):
                    least[g] = min(least[g], cost[entry, g])
    for g in range(sums):
        total[g] += least[g]


@compiled
def least_to_go(c: Choices, cost: Floats, to_go: Floats) -> None:
    """The least weighted costs from every state of every frontier on, some sums at a time.

    Parameters
    ----------
    cost : array, (rows, sums)
        Weighted costs.
    to_go : array, (states, sums)
        Filled: of the states before decision d those from ``c.first_state[d]`` on.
    """
    end, sums = c.decisions.shape[0], cost.shape[1]
    picked = np.empty(c.works.shape[0], np.int64)
    least, value = np.empty(sums), np.empty(sums)
    for g in range(sums):
        to_go[c.first_state[end], g] = 0.0
    for decision in range(end - 1, -1, -1):
        kind, number = c.decisions[decision, 0], c.decisions[decision, 1]
        alternatives = c.decisions[decision, 2]
        for state in range(c.first_state[decision], c.first_state[decision + 1]):
            _unpack(c, decision, state - c.first_state[decision], picked)
            for g in range(sums):
                to_go[state, g] = np.inf
            for choice in range(alternatives):
                if kind == EINSUM:
                    picked[number] = choice
                    row = c.rows[c.works[number] + choice]
                    for g in range(sums):
                        value[g] = cost[row, g]
                else:
                    for g in range(sums):
                        value[g] = 0.0
                    # Who is forgotten chooses anew for each access: it costs no more than together.
                    for row in range(c.first[number], c.first[number + 1]):
                        _add_least_of_access(
                            c,
                            cost,
                            row,
                            c.writers[number],
                            choice,
                            alternatives,
                            picked,
                            least,
                            value,
                        )
                after = state_of(c, decision + 1, picked)
                for g in range(sums):
                    to_go[state, g] = min(to_go[state, g], value[g] + to_go[after, g])
