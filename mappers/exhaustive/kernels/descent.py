"""The inner loop of an exhaustive search: the best choices of one tiling, by branch and bound.

Decisions are taken one after the other: Einsums choose arrays in the order of the cascade,
and a tensor chooses its places when all that touch it have theirs. What is decided costs
what its entries say, what is not at least what ``to_go`` says. A branch is left where that is
no better than the best found, or needs more than a memory holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from archsim.compiled import compiled

from ...objectives import ENERGY, LATENCY
from .arrays import Floats, Ints
from .cost_to_go import EINSUM, TENSOR, Choices, least_to_go, state_of

LEAVES, BOUND, CAPACITY, ILLEGAL, WORSE, UNSEEN = range(6)
"""Places in ``Search.tally``: combinations tried, and left out because of the bound, of a
memory's capacity, because a tensor is lost, for another alternative that is better in every
way, or because a tiling took too long."""

VALUE, TIE, LEAST = range(3)
"""Places in a row of ``Search.values``: the best value, what decides between equals, and
what no choice of the tiling is below."""


class Search(NamedTuple):
    """State of a search and what it found: per tiling the value, what it ties by, choices."""

    values: Floats
    """(tilings, 3)"""
    chosen: Ints
    """(tilings, decisions), -1 where nothing is better than the limit."""
    tally: Floats


@compiled
def _value(
    objective: int, costs: Floats, more: Floats, weights: Floats, to_go: Floats, state: int
) -> float:
    """The least objective of what has cost so much, and more, and is in a state of the frontier.

    The first row of weights is energy; the others add up columns of cycles.
    """
    energy = costs[0] + more[0] + to_go[state, 0]
    if objective == ENERGY:
        return float(energy)
    cycles = 0.0
    for g in range(1, weights.shape[0]):
        total = to_go[state, g]
        for column in range(1, costs.shape[0]):
            total += weights[g, column] * (costs[column] + more[column])
        cycles = max(cycles, total)
    return float(cycles if objective == LATENCY else cycles * energy)


@compiled
def _add_tensor(
    c: Choices,
    cost: Floats,
    decision: int,
    places: int,
    picked: Ints,
    total: Floats,
) -> bool:
    """Add what a tensor costs in some places; False where it would be lost."""
    tensor, alternatives = c.decisions[decision, 1], c.decisions[decision, 2]
    writer = c.writers[tensor]
    written = picked[writer] if writer >= 0 else 0
    writers = c.alternatives[writer] if writer >= 0 else 1
    for row in range(c.first[tensor], c.first[tensor + 1]):
        own = picked[c.accesses[row, 0]]
        entry = c.accesses[row, 1] + (own * writers + written) * alternatives + places
        place = c.rows[entry]
        if place < 0:
            return False
        for column in range(total.shape[0]):
            total[column] += cost[place, column]
    return True


@compiled
def _size_of(c: Choices, tile: Floats, tensor: int, memory: int, picked: Ints) -> float:
    """Bytes of a tensor's largest tile at a memory, of Einsums in the ways that are picked."""
    largest = 0.0
    for row in range(c.first_tile[tensor], c.first_tile[tensor + 1]):
        place, einsum, way = c.tiles[row]
        if place == memory and (way < 0 or picked[einsum] == way):
            largest = max(largest, tile[row])
    return float(largest)


@compiled
def _alternatives(
    c: Choices, cost: Floats, decision: int, picked: Ints, options: Floats, usable: Ints
) -> int:
    """Costs of the alternatives of a decision; how many of them are not legal.

    Sets ``usable`` to 1, to 0 where a tensor is lost, and to -1 where another alternative
    costs no more in any column and keeps the tensor in no other memory.
    """
    kind, number = c.decisions[decision, 0], c.decisions[decision, 1]
    alternatives, columns = c.decisions[decision, 2], options.shape[1]
    lost = 0
    for choice in range(alternatives):
        usable[choice] = 1
        if kind == EINSUM:
            row = c.rows[c.works[number] + choice]
            for column in range(columns):
                options[choice, column] = cost[row, column]
            continue
        for column in range(columns):
            options[choice, column] = 0.0
        if not _add_tensor(c, cost, decision, choice, picked, options[choice]):
            usable[choice] = 0
            lost += 1
    if kind == TENSOR:
        for choice in range(alternatives):
            for other in range(alternatives):
                if usable[choice] == 1 and usable[other] == 1 and choice != other:
                    better = True
                    for column in range(columns):
                        better = better and options[other, column] <= options[choice, column]
                    for memory in range(c.kept.shape[2]):
                        here, there = c.kept[number, choice, memory], c.kept[number, other, memory]
                        better = better and (here or not there)
                    if better:
                        usable[choice] = -1
    return lost


@compiled
def _always(c: Choices, tile: Floats, none: Ints, room: Floats) -> None:
    """Bytes that the decisions from each on need whatever is chosen; ``none`` is picked."""
    end = c.decisions.shape[0]
    for memory in range(room.shape[1]):
        room[end, memory] = 0.0
        for depth in range(end - 1, -1, -1):
            room[depth, memory] = room[depth + 1, memory]
            if c.decisions[depth, 0] == TENSOR:
                tensor = c.decisions[depth, 1]
                always = True
                for places in range(c.decisions[depth, 2]):
                    always = always and c.kept[tensor, places, memory]
                if always:
                    room[depth, memory] += _size_of(c, tile, tensor, memory, none)


@compiled
def _holds(c: Choices, used: Floats, room: Floats) -> bool:
    """Whether memories have room for what is used and what is there whatever is chosen."""
    for memory in range(used.shape[0]):
        if used[memory] + room[memory] > c.capacities[memory]:
            return False
    return True


@compiled
def _fits(
    c: Choices, tensor: int, places: int, tile: Floats, picked: Ints, used: Floats, room: Floats
) -> bool:
    """Add the bytes of a tensor in some places; False where they are too many."""
    for memory in range(used.shape[0]):
        if c.kept[tensor, places, memory]:
            used[memory] += _size_of(c, tile, tensor, memory, picked)
    return _holds(c, used, room)


@compiled
def _bounds(c: Choices, cost: Floats, weights: Floats, to_go: Floats) -> None:
    """The least weighted costs to go, for every row of weights."""
    weighted = np.zeros((cost.shape[0], weights.shape[0]))
    for g in range(weights.shape[0]):
        for column in range(cost.shape[1]):
            if weights[g, column] != 0.0:
                for row in range(cost.shape[0]):
                    weighted[row, g] += weights[g, column] * cost[row, column]
    least_to_go(c, weighted, to_go)


@compiled
def _sum(amounts: Floats) -> float:
    total = 0.0
    for n in range(amounts.shape[0]):
        total += amounts[n]
    return total


@compiled
def _promising(
    c: Choices,
    objective: int,
    depth: int,
    state_here: tuple[Floats, Floats, Ints, Ints],
    weights: Floats,
    to_go: Floats,
    found: tuple[Ints, Floats],
    cap: float,
) -> int:
    """The usable alternatives of a decision, the most promising first; how many there are.

    Those that lead above ``cap`` in the other objective are none.
    """
    other = ENERGY if objective == LATENCY else LATENCY
    costs, options, usable, picked = state_here
    order, values = found
    count = 0
    number, alternatives = c.decisions[depth, 1], c.decisions[depth, 2]
    for choice in range(alternatives):
        if usable[choice] != 1:
            continue
        if c.decisions[depth, 0] == EINSUM:
            picked[number] = choice
        state = state_of(c, depth + 1, picked)
        values[choice] = _value(objective, costs, options[choice], weights, to_go, state)
        if cap < np.inf and _value(other, costs, options[choice], weights, to_go, state) > cap:
            continue
        place = count
        while place > 0 and values[order[place - 1]] > values[choice]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = choice
        count += 1
    return count


@compiled
def search(
    c: Choices,
    objective: int,
    limit: float,
    slack: float,
    nodes: int,
    cap: float,
    weights: Floats,
    cost: Floats,
    tile: Floats,
    s: Search,
) -> None:
    """The best choices of every tiling whose objective is below ``limit``.

    Parameters
    ----------
    limit, slack : float
        Nothing as high is looked for, nor what is better than the best by less than a share.
    nodes : int
        Decisions looked at for one tiling at the most.
    cap : float
        What the other objective (of energy and latency) must not be above.
    weights : array, (sums, columns)
        Sums of columns to bound by: energy alone, then cycles.
    cost, tile : arrays, (tilings, rows, columns) and (tilings, tiles)
    """
    end, columns, memories = c.decisions.shape[0], cost.shape[2], c.capacities.shape[0]
    # It is 0, but no literal: those are types of their own, compiled for once more.
    first = c.first_state[0]
    widest = 1
    for depth in range(end):
        widest = max(widest, c.decisions[depth, 2])
    other = ENERGY if objective == LATENCY else LATENCY
    to_go = np.empty((c.first_state[end] + 1, weights.shape[0]))
    below = np.ones(end + 1)
    room = np.zeros((end + 1, memories))
    so_far = np.zeros((end + 1, columns))
    nothing = np.zeros(columns)
    used = np.zeros((end + 1, memories))
    options = np.empty((end, widest, columns))
    order = np.empty((end, widest), np.int64)
    values = np.empty((end, widest))
    usable = np.empty(widest, np.int64)
    count = np.zeros(end, np.int64)
    at = np.zeros(end, np.int64)
    none = np.full(c.works.shape[0], -1, np.int64)
    picked = np.zeros(c.works.shape[0], np.int64)
    for depth in range(end - 1, -1, -1):
        below[depth] = below[depth + 1] * c.decisions[depth, 2]
    for tiling in range(cost.shape[0]):
        here = cost[tiling]
        _always(c, tile[tiling], none, room)
        _bounds(c, here, weights, to_go)
        best, second = limit, np.inf
        for step in range(end):
            s.chosen[tiling, step] = -1
        s.values[tiling, VALUE] = s.values[tiling, TIE] = np.inf
        least = _value(objective, so_far[0], nothing, weights, to_go, first)
        before, looked = _sum(s.tally), 0
        s.values[tiling, LEAST] = least
        if least >= best * (1 - slack):
            s.tally[BOUND] += below[0]
            continue
        if not _holds(c, used[0], room[0]):
            s.tally[CAPACITY] += below[0]
            continue
        depth, entered = first, True
        while depth >= 0 and looked < nodes:
            looked += 1
            number, alternatives = c.decisions[depth, 1], c.decisions[depth, 2]
            if entered:
                lost = _alternatives(c, here, depth, picked, options[depth], usable)
                place = (so_far[depth], options[depth], usable, picked)
                found = (order[depth], values[depth])
                count[depth] = _promising(c, objective, depth, place, weights, to_go, found, cap)
                s.tally[ILLEGAL] += lost * below[depth + 1]
                s.tally[WORSE] += (alternatives - lost - count[depth]) * below[depth + 1]
                at[depth] = -1
                entered = False
            at[depth] += 1
            if at[depth] >= count[depth]:
                depth -= 1
                continue
            choice = order[depth, at[depth]]
            # In order of values: all that follow are worse, too.
            if values[depth, choice] > best:
                s.tally[BOUND] += (count[depth] - at[depth]) * below[depth + 1]
                depth -= 1
                continue
            for column in range(columns):
                so_far[depth + 1, column] = so_far[depth, column] + options[depth, choice, column]
            for memory in range(memories):
                used[depth + 1, memory] = used[depth, memory]
            if c.decisions[depth, 0] == EINSUM:
                picked[number] = choice
            elif not _fits(
                c, number, choice, tile[tiling], picked, used[depth + 1], room[depth + 1]
            ):
                s.tally[CAPACITY] += below[depth + 1]
                continue
            state = state_of(c, depth + 1, picked)
            tie = _value(other, so_far[depth + 1], nothing, weights, to_go, state)
            # Of what beats the best by no more than the slack, only what ties better goes on.
            close = values[depth, choice] >= best * (1 - slack)
            if close and tie >= second * (1 - slack):
                s.tally[BOUND] += below[depth + 1]
            elif depth + 1 < end:
                depth += 1
                entered = True
            else:
                s.tally[LEAVES] += 1
                best, second = min(best, values[depth, choice]), tie
                s.values[tiling, VALUE], s.values[tiling, TIE] = best, tie
                for step in range(end):
                    s.chosen[tiling, step] = order[step, at[step]]
        if looked == nodes:
            s.tally[UNSEEN] += below[0] - (_sum(s.tally) - before)
            s.values[tiling, LEAST] = least
        else:
            s.values[tiling, LEAST] = max(least, best * (1 - slack))
