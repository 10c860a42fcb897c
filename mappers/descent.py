"""The inner loop of an exhaustive search: the best choices of one tiling, by branch and bound.

Decisions are taken one after the other: Einsums choose arrays in the order of the cascade,
and a tensor chooses its places when all that touch it have theirs. What is decided costs
what its entries say; what is not costs, column by column, the least of its entries. A
branch is left where that is no better than the best found, or needs more than a memory
holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled

from .batch import Floats, Ints

ENERGY, LATENCY, EDP = range(3)
"""Objectives: energy in pJ; latency in cycles; their product."""

EINSUM, TENSOR = range(2)

LEAVES, BOUND, CAPACITY, ILLEGAL, WORSE = range(5)
"""Places in ``Search.tally``: combinations tried, and left out because of the bound, of a
memory's capacity, because a tensor is lost, or for another alternative that is better in
every way."""


class Choices(NamedTuple):
    """The decisions of a unit, flat.

    Rows of ``decisions``: kind, number of the Einsum or tensor, alternatives. ``works`` is by
    Einsum. Accesses of tensor t, rows (Einsum, first entry), are those from ``first[t]`` on.
    Tiles (rows of ``tiles``: tensor, memory) are bytes given by tiling.
    """

    decisions: Ints
    works: Ints
    writers: Ints
    alternatives: Ints
    """Of every Einsum."""
    accesses: Ints
    first: Ints
    legal: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    tiles: Ints
    capacities: Floats


class Search(NamedTuple):
    """State of a search and what it found: per tiling the value, what it ties by, choices."""

    values: Floats
    """(tilings, 2)"""
    chosen: Ints
    """(tilings, decisions), -1 where nothing is better than the limit."""
    tally: Floats


@compiled
def _value(objective: int, costs: Floats, rest: Floats) -> float:
    """The objective of costs, those to come included."""
    energy = costs[0] + rest[0]
    if objective == ENERGY:
        return float(energy)
    cycles = 0.0
    for column in range(1, costs.shape[0]):
        cycles = max(cycles, costs[column] + rest[column])
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
        if not c.legal[entry]:
            return False
        for column in range(total.shape[0]):
            total[column] += cost[entry, column]
    return True


@compiled
def _least(c: Choices, cost: Floats, decision: int, least: Floats) -> None:
    """The least that a decision costs, column by column."""
    kind, number, alternatives = c.decisions[decision]
    columns = least.shape[0]
    least[:] = np.inf
    if kind == EINSUM:
        for choice in range(alternatives):
            for column in range(columns):
                least[column] = min(least[column], cost[c.works[number] + choice, column])
        return
    total = np.empty(columns)
    one = np.empty(columns)
    writer = c.writers[number]
    writers = c.alternatives[writer] if writer >= 0 else 1
    for places in range(alternatives):
        total[:] = 0.0
        for row in range(c.first[number], c.first[number + 1]):
            one[:] = np.inf
            for pair in range(c.alternatives[c.accesses[row, 0]] * writers):
                entry = c.accesses[row, 1] + pair * alternatives + places
                if c.legal[entry]:
                    for column in range(columns):
                        one[column] = min(one[column], cost[entry, column])
            total += one
        for column in range(columns):
            least[column] = min(least[column], total[column])


@compiled
def _sizes(c: Choices, tile: Floats, size: Floats) -> None:
    """Bytes of each tensor's largest tile at each memory."""
    size[:] = 0.0
    for row in range(tile.shape[0]):
        tensor, memory = c.tiles[row]
        size[tensor, memory] = max(size[tensor, memory], tile[row])


@compiled
def _remaining(c: Choices, cost: Floats, size: Floats, rest: Floats, room: Floats) -> None:
    """The least that the decisions from each on cost, and the bytes they need at the least."""
    end = c.decisions.shape[0]
    for depth in range(end - 1, -1, -1):
        _least(c, cost, depth, rest[depth])
        rest[depth] += rest[depth + 1]
        room[depth] = room[depth + 1]
        if c.decisions[depth, 0] == TENSOR:
            tensor = c.decisions[depth, 1]
            for memory in range(room.shape[1]):
                if np.all(c.kept[tensor, : c.decisions[depth, 2], memory]):
                    room[depth, memory] += size[tensor, memory]


@compiled
def _alternatives(
    c: Choices, cost: Floats, decision: int, picked: Ints, options: Floats, usable: Ints
) -> int:
    """Costs of the alternatives of a decision; how many of them are not legal.

    Sets ``usable`` to 1, to 0 where a tensor is lost, and to -1 where another alternative
    costs no more in any column and keeps the tensor in no other memory.
    """
    kind, number, alternatives = c.decisions[decision]
    lost = 0
    for choice in range(alternatives):
        options[choice] = 0.0
        usable[choice] = 1
        if kind == EINSUM:
            options[choice] += cost[c.works[number] + choice]
        elif not _add_tensor(c, cost, decision, choice, picked, options[choice]):
            usable[choice] = 0
            lost += 1
    if kind == TENSOR:
        for choice in range(alternatives):
            for other in range(alternatives):
                if usable[choice] == 1 and usable[other] == 1 and choice != other:
                    better = bool(np.all(options[other] <= options[choice]))
                    for memory in range(c.kept.shape[2]):
                        here, there = c.kept[number, choice, memory], c.kept[number, other, memory]
                        better = better and (here or not there)
                    if better:
                        usable[choice] = -1
    return lost


@compiled
def _order(options: Floats, usable: Ints, alternatives: int, order: Ints) -> int:
    """The usable alternatives, those of least energy first; how many there are."""
    count = 0
    for choice in range(alternatives):
        if usable[choice] == 1:
            place = count
            while place > 0 and options[order[place - 1], 0] > options[choice, 0]:
                order[place] = order[place - 1]
                place -= 1
            order[place] = choice
            count += 1
    return count


@compiled
def search(c: Choices, objective: int, limit: float, cost: Floats, tile: Floats, s: Search) -> None:
    """The best choices of every tiling whose objective is below ``limit``.

    Parameters
    ----------
    limit : float
        Nothing that is as high is looked for.
    cost : array, (tilings, entries, columns)
    tile : array, (tilings, tiles)
    """
    end, columns = c.decisions.shape[0], cost.shape[2]
    memories = c.capacities.shape[0]
    widest = int(c.decisions[:, 2].max())
    rest = np.zeros((end + 1, columns))
    below = np.ones(end + 1)
    room = np.zeros((end + 1, memories))
    so_far = np.zeros((end + 1, columns))
    used = np.zeros((end + 1, memories))
    options = np.empty((end, widest, columns))
    order = np.empty((end, widest), np.int64)
    usable = np.empty(widest, np.int64)
    count = np.zeros(end, np.int64)
    at = np.zeros(end, np.int64)
    size = np.zeros((c.writers.shape[0], memories))
    picked = np.zeros(c.works.shape[0], np.int64)
    for depth in range(end - 1, -1, -1):
        below[depth] = below[depth + 1] * c.decisions[depth, 2]
    for tiling in range(cost.shape[0]):
        here = cost[tiling]
        _sizes(c, tile[tiling], size)
        _remaining(c, here, size, rest, room)
        best, second = limit, np.inf
        s.chosen[tiling] = -1
        s.values[tiling] = np.inf
        if _value(objective, so_far[0], rest[0]) >= best:
            s.tally[BOUND] += below[0]
            continue
        if np.any(room[0] > c.capacities):
            s.tally[CAPACITY] += below[0]
            continue
        depth, entered = 0, True
        while depth >= 0:
            number, alternatives = c.decisions[depth, 1], c.decisions[depth, 2]
            if entered:
                lost = _alternatives(c, here, depth, picked, options[depth], usable)
                count[depth] = _order(options[depth], usable, alternatives, order[depth])
                s.tally[ILLEGAL] += lost * below[depth + 1]
                s.tally[WORSE] += (alternatives - lost - count[depth]) * below[depth + 1]
                at[depth] = -1
                entered = False
            at[depth] += 1
            if at[depth] >= count[depth]:
                depth -= 1
                continue
            choice = order[depth, at[depth]]
            so_far[depth + 1] = so_far[depth] + options[depth, choice]
            used[depth + 1] = used[depth]
            if c.decisions[depth, 0] == EINSUM:
                picked[number] = choice
            else:
                for memory in range(memories):
                    if c.kept[number, choice, memory]:
                        used[depth + 1, memory] += size[number, memory]
                if np.any(used[depth + 1] + room[depth + 1] > c.capacities):
                    s.tally[CAPACITY] += below[depth + 1]
                    continue
            value = _value(objective, so_far[depth + 1], rest[depth + 1])
            other = ENERGY if objective == LATENCY else LATENCY
            tie = _value(other, so_far[depth + 1], rest[depth + 1])
            if value > best or (value == best and tie >= second):
                s.tally[BOUND] += below[depth + 1]
            elif depth + 1 < end:
                depth += 1
                entered = True
            else:
                s.tally[LEAVES] += 1
                best, second = value, tie
                s.values[tiling, 0], s.values[tiling, 1] = value, tie
                for step in range(end):
                    s.chosen[tiling, step] = order[step, at[step]]
