"""Compiled lower bounds: cost to go of open decisions, and Lagrange multipliers of capacities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled_inside, copy_row

from ...problem.objectives import ENERGY
from .measures import Floats, Ints

EINSUM, TENSOR = range(2)

copied = compiled_inside(copy_row)


class Choices(NamedTuple):
    """Decisions of a subspace as flat arrays.

    Rows of ``decisions`` are (kind, number of the Einsum or tensor, alternatives). ``works`` has
    the first entry of each Einsum. Accesses of tensor t are rows (Einsum, first entry) from
    ``first[t]`` on. Tiles of tensor t are rows (memory, Einsum, placement or -1 for all) of
    ``tiles`` from ``first_tile[t]`` on. Their bytes depend on the tiling.

    The frontier before decision d lists the placed Einsums that later decisions depend on. Its rows
    of ``frontier`` are (Einsum, factor in the number of a state), from ``first_frontier[d]`` on. A
    state is one placement of each of these Einsums. The states before decision d are numbered from
    ``first_state[d]``.
    """

    decisions: Ints
    works: Ints
    writers: Ints
    alternatives: Ints
    """Number of placements of every Einsum."""
    accesses: Ints
    first: Ints
    rows: Ints
    """Index of the row of costs for every entry; -1 if the entry is illegal."""
    kept: NDArray[np.bool_]
    tiles: Ints
    first_tile: Ints
    capacities: Floats
    frontier: Ints
    first_frontier: Ints
    first_state: Ints


@compiled_inside
def state_of(c: Choices, decision: int, placed: Ints) -> int:
    """Return the number of the frontier's state before a decision, given all placements."""
    # States have mixed radix: with S in 2 placements and A in 3 the factors are 1 and 2, so that S
    # in placement 1 with A in placement 2 is 1 + 2 * 2 = 5 beyond the first state of the decision.
    state = c.first_state[decision]
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        state += placed[c.frontier[row, 0]] * c.frontier[row, 1]
    return int(state)


@compiled_inside
def _unpack(c: Choices, decision: int, state: int, placed: Ints) -> None:
    """Fill the placements of a state's frontier Einsums; all other Einsums get -1."""
    placed[:] = -1
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        number = c.frontier[row, 0]
        # Extract the digits: 5 // 2 % 3 = 2 for A, 5 // 1 % 2 = 1 for S.
        placed[number] = state // c.frontier[row, 1] % c.alternatives[number]


class Plan(NamedTuple):
    """Plan to compute the cost to go; it holds for any costs of the choices.

    The cost of a tensor's residency depends only on the Einsums that touch the tensor. States with
    the same placements of these Einsums form a group and share this cost. For each group and
    residency, every access of the tensor has a range of ``rows`` and costs the least of them.
    """

    after: Ints
    """(states,): state after the decision. If an Einsum is decided, the state after its first
    choice."""
    step: Ints
    """(decisions,): distance between the states after consecutive choices."""
    group: Ints
    """(states,): group of each state before a decision about a tensor."""
    first_group: Ints
    """(decisions + 1,): first group of each decision."""
    accesses: Ints
    """(decisions,): number of accesses of the decision's tensor."""
    first_range: Ints
    """(decisions,): first range of each decision. Its ranges are ordered by (group, residency,
    access)."""
    ranges: Ints
    """(ranges + 1,): first row of each range in ``rows``."""
    rows: Ints


@compiled_inside
def _touching(c: Choices, decision: int, factors: Ints) -> int:
    """Return the number of states of those frontier Einsums that touch a decision's tensor.

    Each of these Einsums gets its factor in the number of a state in ``factors``; others get 0.
    """
    number, states = c.decisions[decision, 1], 1
    for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
        einsum = c.frontier[row, 0]
        accessed = c.writers[number] == einsum
        for access in range(c.first[number], c.first[number + 1]):
            accessed = accessed or c.accesses[access, 0] == einsum
        factors[row] = states if accessed else 0
        if accessed:
            states *= c.alternatives[einsum]
    return states


@compiled_inside
def _states_planned(c: Choices, p: Plan, factors: Ints, placed: Ints) -> None:
    """Fill the plan's arrays that describe states."""
    group = 0
    for decision in range(c.decisions.shape[0]):
        kind, number = c.decisions[decision, 0], c.decisions[decision, 1]
        p.first_group[decision] = group
        p.step[decision] = 0
        together = _touching(c, decision, factors) if kind == TENSOR else 0
        for state in range(c.first_state[decision], c.first_state[decision + 1]):
            _unpack(c, decision, state - c.first_state[decision], placed)
            if kind == EINSUM:
                # Choice k moves the state by k times the Einsum's factor, or not at all if no open
                # tensor depends on it: the difference of choices 1 and 0 is the step.
                placed[number] = 1
                p.step[decision] = state_of(c, decision + 1, placed)
                placed[number] = 0
                p.step[decision] -= state_of(c, decision + 1, placed)
            p.after[state] = state_of(c, decision + 1, placed)
            p.group[state] = group
            if kind == TENSOR:
                for row in range(c.first_frontier[decision], c.first_frontier[decision + 1]):
                    p.group[state] += factors[row] * placed[c.frontier[row, 0]]
        group += together
    p.first_group[c.decisions.shape[0]] = group


@compiled_inside
def _ranges_planned(c: Choices, decision: int, p: Plan, placed: Ints, begun: int, end: int) -> int:
    """Fill the ranges of the current placements' group, from number ``begun`` on.

    Return the end of ``rows``.
    """
    number, places = c.decisions[decision, 1], c.decisions[decision, 2]
    writer = c.writers[number]
    writers = c.alternatives[writer] if writer >= 0 else 1
    for place in range(places):
        for access in range(c.first[number], c.first[number + 1]):
            p.ranges[begun] = end
            begun += 1
            own = c.accesses[access, 0]
            for k in range(c.alternatives[own]):
                for w in range(writers):
                    mine = placed[own] < 0 or placed[own] == k
                    theirs = writer < 0 or placed[writer] < 0 or placed[writer] == w
                    # A write, and a read of the running value, have the placement of their own
                    # Einsum.
                    if mine and theirs and (writer != own or w == k):
                        # Entries of an access are ordered by the placement of its Einsum, then that
                        # of the tensor's writer, then the tensor's places.
                        entry = c.accesses[access, 1] + (k * writers + w) * places + place
                        if c.rows[entry] >= 0:
                            p.rows[end] = c.rows[entry]
                            end += 1
    p.ranges[begun] = end
    return end


@compiled_inside
def planned(c: Choices) -> Plan:
    """Return the plan to compute the cost to go for a subspace's choices."""
    decisions, states = c.decisions.shape[0], c.first_state[c.decisions.shape[0]]
    factors = np.zeros(c.frontier.shape[0], np.int64)
    placed = np.empty(c.works.shape[0], np.int64)
    accesses = np.zeros(decisions, np.int64)
    first_range = np.zeros(decisions, np.int64)
    ranges = rows = 0
    for decision in range(decisions):
        first_range[decision] = ranges
        if c.decisions[decision, 0] == TENSOR:
            number, writer = c.decisions[decision, 1], c.writers[c.decisions[decision, 1]]
            writers = c.alternatives[writer] if writer >= 0 else 1
            lists = _touching(c, decision, factors) * c.decisions[decision, 2]
            accesses[decision] = c.first[number + 1] - c.first[number]
            ranges += lists * accesses[decision]
            for access in range(c.first[number], c.first[number + 1]):
                rows += lists * writers * c.alternatives[c.accesses[access, 0]]
    p = Plan(
        np.empty(states, np.int64),
        np.empty(decisions, np.int64),
        np.empty(states, np.int64),
        np.empty(decisions + 1, np.int64),
        accesses,
        first_range,
        np.zeros(ranges + 1, np.int64),
        np.empty(rows, np.int64),
    )
    _states_planned(c, p, factors, placed)
    # Always 0; a literal would have a type of its own, for which kernels are compiled once more.
    end = c.first_state[0]
    done = np.zeros(p.first_group[decisions], np.bool_)
    for decision in range(decisions):
        if c.decisions[decision, 0] == TENSOR:
            each = c.decisions[decision, 2] * accesses[decision]
            # States come in an order in which groups appear by ascending number.
            for state in range(c.first_state[decision], c.first_state[decision + 1]):
                if not done[p.group[state]]:
                    done[p.group[state]] = True
                    begun = first_range[decision]
                    begun += (p.group[state] - p.first_group[decision]) * each
                    _unpack(c, decision, state - c.first_state[decision], placed)
                    end = _ranges_planned(c, decision, p, placed, begun, end)
    return p


@compiled_inside
def _least_places(
    cost: Floats,
    p: tuple[Ints, Ints],
    begun: int,
    end: int,
    accesses: int,
    penalty: Floats,
    scratch: tuple[Floats, Floats],
    found: Floats,
) -> None:
    """Find the least cost of a tensor over all its residencies, (sums,).

    Ranges are ordered by (residency, access). Each residency adds its ``penalty``, (residencies,
    sums). An Einsum dropped from the frontier may choose anew for each access. This costs no more
    than one choice for all accesses, so that the bound stays valid.
    """
    ranges, rows = p
    least, value = scratch
    sums = found.shape[0]
    found[:] = np.inf if accesses else 0.0
    places = 0
    while begun < end:
        copied(value, 0, penalty[places])
        for access in range(begun, begun + accesses):
            least[:] = np.inf
            for place in range(ranges[access], ranges[access + 1]):
                for g in range(sums):
                    least[g] = min(least[g], cost[rows[place], g])
            for g in range(sums):
                value[g] += least[g]
        begun += accesses
        places += 1
        for g in range(sums):
            found[g] = min(found[g], value[g])


@compiled_inside
def least_to_go(
    c: Choices, p: Plan, cost: Floats, penalty: Floats, offset: Floats, to_go: Floats
) -> None:
    """Find the least weighted cost of all later decisions, from every state of every frontier.

    Parameters
    ----------
    cost : array, (rows, sums)
        Weighted costs.
    penalty : array, (tensors, places, sums)
        Additional cost of a tensor's places: the Lagrange multipliers of memory capacities.
    offset : array, (sums,)
        Constant at the end: capacities times their multipliers, negative.
    to_go : array, (states, sums)
        Filled: states before decision d are those from ``c.first_state[d]`` on.
    """
    end, sums = c.decisions.shape[0], cost.shape[1]
    scratch = np.empty(sums), np.empty(sums)
    known = np.empty((p.first_group[end], sums))
    copied(to_go[c.first_state[end]], 0, offset)
    # Backwards, so that the cost after each state is known.
    for decision in range(end - 1, -1, -1):
        number, alternatives = c.decisions[decision, 1], c.decisions[decision, 2]
        if c.decisions[decision, 0] == EINSUM:
            for state in range(c.first_state[decision], c.first_state[decision + 1]):
                to_go[state, :] = np.inf
                for choice in range(alternatives):
                    row = c.rows[c.works[number] + choice]
                    after = p.after[state] + choice * p.step[decision]
                    for g in range(sums):
                        to_go[state, g] = min(to_go[state, g], cost[row, g] + to_go[after, g])
            continue
        each = alternatives * p.accesses[decision]
        for group in range(p.first_group[decision], p.first_group[decision + 1]):
            begun = p.first_range[decision] + (group - p.first_group[decision]) * each
            flat, pays, accesses = (p.ranges, p.rows), penalty[number], p.accesses[decision]
            _least_places(cost, flat, begun, begun + each, accesses, pays, scratch, known[group])
        for state in range(c.first_state[decision], c.first_state[decision + 1]):
            for g in range(sums):
                to_go[state, g] = known[p.group[state], g] + to_go[p.after[state], g]


_ROUNDING_SHARE = 1e-9
"""Largest share of a bound that may be a rounding error; the bound is lowered by it."""

_STEP_SHRINKAGE = 0.7
"""Factor by which steps become shorter after a step that did not raise the bound."""

_STEP_OVERSHOOT = 1.02
"""Ratio of a step's target to the goal; steps approach their target but do not reach it."""


@compiled_inside
def share_of(size: float, capacity: float) -> float:
    """Return the share of a memory's capacity that bytes take; the bytes if it has none."""
    return size / max(capacity, 1.0)


@compiled_inside
def least_sizes(c: Choices, tile: Floats, found: Floats) -> None:
    """Fill the smallest share of each memory that each tensor needs, (tensors, memories).

    The smallest share is over all placements of the Einsums.

    Parameters
    ----------
    tile : array, (tiles,)
        Bytes of one tiling's tiles.
    """
    for tensor in range(found.shape[0]):
        first, end = c.first_tile[tensor], c.first_tile[tensor + 1]
        for memory in range(found.shape[1]):
            largest = 0.0
            for row in range(first, end):
                place, einsum, placement = c.tiles[row]
                if place != memory or placement > 0:
                    continue
                if placement < 0:
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
def multipliers_of(
    c: Choices,
    sizes: Floats,
    weights: Floats,
    g: int,
    column_limits: Floats,
    penalty: Floats,
    offset: Floats,
) -> None:
    """Fill the Lagrangian terms of one weighted sum: penalties and a constant.

    The penalties are those of tensors in each residency, (tensors, residencies, sums). The constant
    is ``offset``.

    Parameters
    ----------
    weights : array, (sums, columns + memories)
    g : int
        Number of the sum.
    column_limits : array, (columns + memories,)
        Limit of each column or memory; infinite without a limit.
    """
    columns = weights.shape[1] - sizes.shape[1]
    offset[g] = 0.0
    for column in range(weights.shape[1]):
        if column_limits[column] < np.inf:
            offset[g] -= weights[g, column] * column_limits[column]
    for tensor in range(penalty.shape[0]):
        for places in range(penalty.shape[1]):
            penalty[tensor, places, g] = 0.0
            for memory in range(sizes.shape[1]):
                if c.kept[tensor, places, memory]:
                    share = sizes[tensor, memory]
                    penalty[tensor, places, g] += weights[g, columns + memory] * share


@compiled_inside
def weighted_cost(cost: Floats, weights: Floats) -> Floats:
    """Return every weighted sum of the cost columns for every row, (rows, sums)."""
    found = np.zeros((cost.shape[0], weights.shape[0]))
    for g in range(weights.shape[0]):
        for column in range(cost.shape[1]):
            if weights[g, column] != 0.0:
                for row in range(cost.shape[0]):
                    found[row, g] += weights[g, column] * cost[row, column]
    return found


@compiled_inside
def _least_row(p: Plan, weighted: Floats, listed: int) -> int:
    """Return the cheapest row of a range; -1 if the range is empty."""
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
    """Fill the costs and the memory shares of the choices that attain the lower bound.

    Parameters
    ----------
    bound : weighted, penalty, to_go
        Arrays of one sum, as for ``least_to_go``.
    found : array, (columns + memories,)
        Filled.
    """
    weighted, penalty, to_go = bound
    columns = cost.shape[1]
    found[:] = 0.0
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
        begun += (p.group[state] - p.first_group[decision]) * alternatives * accesses
        for places in range(alternatives if accesses else 0):
            value = penalty[number, places, 0]
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
    objective: int, taken: Floats, column_limits: Floats, columns: int, scale: float, along: Floats
) -> float:
    """Fill the subgradient of the bound along the weights, and return its squared length.

    The weight of a limit rises if the choices exceed the limit, and falls if they stay below it.
    Weights of latency add up to one.
    """
    mean, square = 0.0, 0.0
    if objective != ENERGY:
        for column in range(1, columns):
            mean += taken[column] / (columns - 1)
    along[:] = 0.0
    for column in range(along.shape[0]):
        if column_limits[column] < np.inf:
            # The relative excess: a memory asked for twice its capacity has 1, a half empty one
            # -0.5.
            along[column] = taken[column] / column_limits[column] - 1.0
        elif objective != ENERGY and 0 < column < columns:
            along[column] = (taken[column] - mean) / scale
        square += along[column] ** 2
    return square


@compiled_inside
def _go(
    objective: int,
    weights: Floats,
    column_limits: Floats,
    columns: int,
    scale: float,
    along: Floats,
    far: float,
) -> None:
    """Move weights along a subgradient, then project them so that they give a valid bound."""
    total = 0.0
    for column in range(along.shape[0]):
        # A memory's penalty is in units of the objective, for the whole memory, whose limit is 1.
        unit = scale / column_limits[column] if column_limits[column] < np.inf else 1.0
        weights[0, column] = max(0.0, weights[0, column] + far * along[column] * unit)
        if column_limits[column] == np.inf and 0 < column < columns:
            total += weights[0, column]
    if objective != ENERGY:
        for column in range(1, columns):
            if total > 0.0:
                weights[0, column] /= total
            else:
                weights[0, column] = 1.0 / (columns - 1)


@compiled_inside
def raise_multipliers(
    c: Choices,
    p: Plan,
    objective: int,
    limits: tuple[float, int],
    column_limits: Floats,
    cost: Floats,
    sizes: Floats,
    weights: Floats,
) -> float:
    """Raise the lower bound of one tiling by a subgradient method.

    Parameters
    ----------
    objective : int
        ``ENERGY``, or another if latency is bounded.
    limits : goal, times
        Bound that suffices, and most steps.
    column_limits : array, (columns + memories,)
        As for ``multipliers_of``; infinite for all columns of the objective.
    weights : array, (1, columns + memories)
        Initial weights; replaced by the best found.

    Returns
    -------
    float
        Lower bound of all choices.
    """
    goal, times = limits
    columns = cost.shape[1]
    to_go = np.empty((c.first_state[c.decisions.shape[0]] + 1, 1))
    penalty = np.empty((sizes.shape[0], c.kept.shape[1], 1))
    offset = np.empty(1)
    taken, along = np.empty(column_limits.shape[0]), np.empty(column_limits.shape[0])
    kept = weights.copy()
    best, aim, shorter = -np.inf, goal, 1.0
    for _ in range(times):
        weighted = weighted_cost(cost, weights)
        multipliers_of(c, sizes, weights, c.first_state[0], column_limits, penalty, offset)
        least_to_go(c, p, weighted, penalty, offset, to_go)
        bound = to_go[c.first_state[0], 0]
        if bound > best:
            best = bound
            copied(kept[0], 0, weights[0])
            # A goal far above the bound is approached step by step.
            aim = min(goal, 2 * best)
        else:
            shorter *= _STEP_SHRINKAGE
        if best >= goal or best <= 0.0 or best == np.inf:
            break
        _taken(c, p, cost, sizes, (weighted, penalty, to_go), taken)
        square = _step(objective, taken, column_limits, columns, aim, along)
        if square == 0.0:
            break
        # Polyak's rule: the step that would reach ``towards`` if the bound rose at this rate.
        towards = best + shorter * (_STEP_OVERSHOOT * aim - best)
        _go(
            objective, weights, column_limits, columns, aim, along, (towards - bound) / aim / square
        )
    copied(weights[0], 0, kept[0])
    return best * (1 - _ROUNDING_SHARE)
