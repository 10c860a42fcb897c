"""What room in a memory is worth: rents, so that bounds know how much memories hold.

What is still to come costs at the least what it would with memories of any size
(``cost_to_go``). Where memories are small that is far too little: all would be kept. So whatever
is kept pays a rent for the share of the memory that it takes, and the rent of the whole memory is
taken off again. What fits takes no more than the whole, so that this is a bound for any rents that
are not negative (Lagrangian multipliers of the capacities); as for mixtures of arrays, the best are
looked for: where more is kept than fits rents rise, where there is room they fall (Held, Wolfe and
Crowder, *Validation of subgradient optimization*, 1974). A cap of the other objective is such a
limit, too.

An example: a memory holds one of two tensors, each of which saves 10 cycles there. For no rent both
are kept, and 0 cycles are left. For a rent of 10 either costs 10 wherever it is: 20 less the rent
of the memory are 10, which no choice that fits is below.
"""

from __future__ import annotations

import numpy as np

from archsim.compiled import compiled_inside

from ...objectives import ENERGY
from .arrays import Floats
from .cost_to_go import EINSUM, Choices, Plan, least_to_go

_ROUNDED = 1e-9
"""The share of a bound that rounding may have added to it."""

_SHORTER = 0.7
"""How much shorter a step is after one that led to no better bound."""

_BEYOND = 1.02
"""How far beyond what is to be shown steps aim: they come near what they aim at, but not to it."""


@compiled_inside
def share_of(size: float, capacity: float) -> float:
    """What share of a memory some bytes take; of one that holds nothing, the bytes."""
    return size / max(capacity, 1.0)


@compiled_inside
def least_sizes(c: Choices, tile: Floats, found: Floats) -> None:
    """What share of every memory a tensor takes at the least, in whatever ways: (tensors,
    memories), filled.

    Parameters
    ----------
    tile : array, (tiles,)
        Bytes of one tiling's.
    """
    for tensor in range(found.shape[0]):
        first, end = c.first_tile[tensor], c.first_tile[tensor + 1]
        for memory in range(found.shape[1]):
            largest = 0.0
            for row in range(first, end):
                place, einsum, way = c.tiles[row]
                if place != memory or way > 0:
                    continue
                if way < 0:
                    largest = max(largest, tile[row])
                    continue
                least = np.inf
                for other in range(c.alternatives[einsum]):
                    size = 0.0
                    for mine in range(first, end):
                        same = c.tiles[mine, 0] == memory and c.tiles[mine, 1] == einsum
                        if same and c.tiles[mine, 2] == other:
                            size = max(size, tile[mine])
                    least = min(least, size)
                largest = max(largest, least)
            found[tensor, memory] = share_of(largest, c.capacities[memory])


@compiled_inside
def rents_of(
    c: Choices, sizes: Floats, weights: Floats, g: int, most: Floats, rent: Floats, off: Floats
) -> None:
    """What tensors pay in their places, (tensors, places, sums), and what is taken off: of one sum.

    Parameters
    ----------
    weights : array, (sums, columns + memories)
    g : int
        The number of the sum.
    most : array, (columns + memories,)
        What a column, or a memory, must not be above; infinite without a limit.
    """
    columns = weights.shape[1] - sizes.shape[1]
    off[g] = 0.0
    for column in range(weights.shape[1]):
        if most[column] < np.inf:
            off[g] -= weights[g, column] * most[column]
    for tensor in range(rent.shape[0]):
        for places in range(rent.shape[1]):
            rent[tensor, places, g] = 0.0
            for memory in range(sizes.shape[1]):
                if c.kept[tensor, places, memory]:
                    share = sizes[tensor, memory]
                    rent[tensor, places, g] += weights[g, columns + memory] * share


@compiled_inside
def weighed(cost: Floats, weights: Floats) -> Floats:
    """Sums of columns of all rows: (rows, sums)."""
    found = np.zeros((cost.shape[0], weights.shape[0]))
    for g in range(weights.shape[0]):
        for column in range(cost.shape[1]):
            if weights[g, column] != 0.0:
                for row in range(cost.shape[0]):
                    found[row, g] += weights[g, column] * cost[row, column]
    return found


@compiled_inside
def _least_row(p: Plan, weighted: Floats, listed: int) -> int:
    """The row of a range that costs least; -1 where it is empty."""
    least, found = np.inf, -1
    for place in range(p.ranges[listed], p.ranges[listed + 1]):
        row = p.rows[place]
        if weighted[row, 0] < least:
            least, found = weighted[row, 0], row
    return found


@compiled_inside
def _taken(
    c: Choices,
    p: Plan,
    cost: Floats,
    sizes: Floats,
    bound: tuple[Floats, Floats, Floats],
    found: Floats,
) -> None:
    """What the choices cost of which a bound is the sum: every column, and every memory's share.

    Parameters
    ----------
    bound : weighted, rent, to_go
        Of one sum, as of ``least_to_go``.
    found : array, (columns + memories,)
        Filled.
    """
    weighted, rent, to_go = bound
    columns = cost.shape[1]
    for column in range(found.shape[0]):
        found[column] = 0.0
    state = c.first_state[0]
    for decision in range(c.decisions.shape[0]):
        number, alternatives = c.decisions[decision, 1], c.decisions[decision, 2]
        least, chosen = np.inf, -1
        if c.decisions[decision, 0] == EINSUM:
            for choice in range(alternatives):
                after = p.after[state] + choice * p.step[decision]
                value = weighted[c.rows[c.works[number] + choice], 0] + to_go[after, 0]
                if value < least:
                    least, chosen = value, choice
            row = c.rows[c.works[number] + chosen]
            for column in range(columns):
                found[column] += cost[row, column]
            state = p.after[state] + chosen * p.step[decision]
            continue
        accesses = p.accesses[decision]
        begun = p.first_range[decision]
        begun += (p.alike[state] - p.first_alike[decision]) * alternatives * accesses
        for places in range(alternatives if accesses else 0):
            value = rent[number, places, 0]
            for access in range(accesses):
                row = _least_row(p, weighted, begun + places * accesses + access)
                value += weighted[row, 0] if row >= 0 else np.inf
            if value < least:
                least, chosen = value, places
        if chosen >= 0:
            for access in range(accesses):
                row = _least_row(p, weighted, begun + chosen * accesses + access)
                for column in range(columns):
                    found[column] += cost[row, column]
            for memory in range(sizes.shape[1]):
                if c.kept[number, chosen, memory]:
                    found[columns + memory] += sizes[number, memory]
        state = p.after[state]


@compiled_inside
def _step(
    objective: int, taken: Floats, most: Floats, columns: int, scale: float, along: Floats
) -> float:
    """The way in which a bound rises, ``along`` which weights go; its square.

    Weights of limits rise where more is taken than there is, and fall where there is room. Those
    that latency is a mean of add up to one.
    """
    mean, square = 0.0, 0.0
    if objective != ENERGY:
        for column in range(1, columns):
            mean += taken[column] / (columns - 1)
    for column in range(along.shape[0]):
        along[column] = 0.0
        if most[column] < np.inf:
            # How much more than there is was taken, as a share: a memory asked for twice what it
            # holds has 1, one that is half empty -0.5.
            along[column] = taken[column] / most[column] - 1.0
        elif objective != ENERGY and 0 < column < columns:
            along[column] = (taken[column] - mean) / scale
        square += along[column] ** 2
    return square


@compiled_inside
def _go(
    objective: int,
    weights: Floats,
    most: Floats,
    columns: int,
    scale: float,
    along: Floats,
    far: float,
) -> None:
    """Change weights along a step, to such as bound."""
    total = 0.0
    for column in range(along.shape[0]):
        # A rent is in what the objective counts in, for all of a memory (``most`` is 1 there).
        unit = scale / most[column] if most[column] < np.inf else 1.0
        weights[0, column] = max(0.0, weights[0, column] + far * along[column] * unit)
        if most[column] == np.inf and 0 < column < columns:
            total += weights[0, column]
    if objective != ENERGY:
        for column in range(1, columns):
            if total > 0.0:
                weights[0, column] /= total
            else:
                weights[0, column] = 1.0 / (columns - 1)


@compiled_inside
def raised(
    c: Choices,
    p: Plan,
    objective: int,
    limits: tuple[float, int],
    most: Floats,
    cost: Floats,
    sizes: Floats,
    weights: Floats,
) -> float:
    """A bound of one tiling, raised.

    Parameters
    ----------
    objective : int
        Whether energy is bounded, or latency.
    limits : goal, times
        What is enough to show, and how many steps are tried at the most.
    most : array, (columns + memories,)
        As of ``rents_of``, infinite for all columns of the objective.
    weights : array, (1, columns + memories)
        To begin with, and the best found.

    Returns
    -------
    float
        What no choice is below.
    """
    goal, times = limits
    columns = cost.shape[1]
    to_go = np.empty((c.first_state[c.decisions.shape[0]] + 1, 1))
    rent = np.empty((sizes.shape[0], c.kept.shape[1], 1))
    off, taken, along = np.empty(1), np.empty(most.shape[0]), np.empty(most.shape[0])
    kept = weights.copy()
    best, aim, shorter = -np.inf, goal, 1.0
    for _ in range(times):
        weighted = weighed(cost, weights)
        rents_of(c, sizes, weights, 0, most, rent, off)
        least_to_go(c, p, weighted, rent, off, to_go)
        bound = to_go[c.first_state[0], 0]
        if bound > best:
            best = bound
            kept[:] = weights
            # What is far above is aimed at step by step.
            aim = min(goal, 2 * best)
        else:
            shorter *= _SHORTER
        if best >= goal or best <= 0.0 or best == np.inf:
            break
        _taken(c, p, cost, sizes, (weighted, rent, to_go), taken)
        square = _step(objective, taken, most, columns, aim, along)
        if square == 0.0:
            break
        # As far as would lead ``towards`` there if the bound rose as steeply all the way (Polyak's
        # rule).
        towards = best + shorter * (_BEYOND * aim - best)
        _go(objective, weights, most, columns, aim, along, (towards - bound) / aim / square)
    weights[:] = kept
    return best * (1 - _ROUNDED)
