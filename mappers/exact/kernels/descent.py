"""Compiled branch and bound: find the best choices of one tiling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.compiled import compiled, compiled_inside

from ...problem.objectives import EDP, ENERGY, LATENCY
from .bounds import (
    EINSUM,
    TENSOR,
    Choices,
    Plan,
    copied,
    least_sizes,
    least_to_go,
    multipliers_of,
    planned,
    raise_multipliers,
    share_of,
    weighted_cost,
)
from .measures import Floats, Ints


@compiled_inside
def size_of(c: Choices, tile: Floats, tensor: int, memory: int, placed: Ints) -> float:
    """Return the bytes of a tensor's largest tile at a memory, for given placements."""
    largest = 0.0
    for row in range(c.first_tile[tensor], c.first_tile[tensor + 1]):
        place, einsum, placement = c.tiles[row]
        if place == memory and (placement < 0 or placed[einsum] == placement):
            largest = max(largest, tile[row])
    return float(largest)


@compiled_inside
def always(c: Choices, tile: Floats, none: Ints, room: Floats) -> None:
    """Fill the bytes that later decisions need at least, for each decision and memory.

    A tensor counts if a memory keeps it in each of its residencies.

    Parameters
    ----------
    none : array, (einsums,)
        Placements, of which none is chosen.
    """
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
                    room[depth, memory] += size_of(c, tile, tensor, memory, none)


@compiled_inside
def holds(capacities: Floats, used: Floats, room: Floats) -> bool:
    """Return whether each memory holds the bytes used so far and those that are needed later."""
    fits = True
    for memory in range(used.shape[0]):
        fits = fits and used[memory] + room[memory] <= capacities[memory]
    return fits


@compiled_inside
def fits(
    c: Choices,
    capacities: Floats,
    tensor: int,
    places: int,
    tile: Floats,
    placed: Ints,
    used: Floats,
    room: Floats,
) -> bool:
    """Add a tensor's bytes to the memories that keep it, and return whether all tensors fit.

    Parameters
    ----------
    tensor, places : int
        Numbers of the tensor and of its places.
    tile : array, (tiles,)
        Bytes of the tiles.
    placed : array, (einsums,)
        Placement of every Einsum.
    used : array, (memories,)
        Bytes used so far; changed.
    room : array, (memories,)
        Bytes that later decisions need in any case.
    """
    for memory in range(used.shape[0]):
        if c.kept[tensor, places, memory]:
            used[memory] += size_of(c, tile, tensor, memory, placed)
    return holds(capacities, used, room)


@compiled_inside
def _options_of_tensor(
    c: Choices, cost: Floats, decision: int, placed: Ints, options: Floats, usable: Ints
) -> int:
    """Add up a tensor's costs for each residency; return the number of residencies that lose it."""
    tensor, alternatives = c.decisions[decision, 1], c.decisions[decision, 2]
    accesses, rows, columns = c.accesses, c.rows, cost.shape[1]
    writer = c.writers[tensor]
    written = placed[writer] if writer >= 0 else 0
    writers = c.alternatives[writer] if writer >= 0 else 1
    lost = 0
    for access in range(c.first[tensor], c.first[tensor + 1]):
        own = placed[accesses[access, 0]]
        entry = accesses[access, 1] + (own * writers + written) * alternatives
        for places in range(alternatives):
            row = rows[entry + places]
            if row >= 0:
                for column in range(columns):
                    options[places, column] += cost[row, column]
            elif usable[places]:
                usable[places] = 0
                lost += 1
    return lost


@compiled_inside
def _is_better(
    options: Floats, columns: int, kept: NDArray[np.bool_], other: int, choice: int
) -> bool:
    """Return whether one residency costs no more than another in any column and uses no other
    memory."""
    for column in range(columns):
        if options[other, column] > options[choice, column]:
            return False
    for memory in range(kept.shape[1]):
        if kept[other, memory] and not kept[choice, memory]:
            return False
    return True


@compiled_inside
def options_of(
    c: Choices, cost: Floats, decision: int, placed: Ints, options: Floats, usable: Ints
) -> int:
    """Fill the costs of a decision's alternatives, and return how many of them are illegal.

    Columns of ``options`` beyond those of ``cost`` become zero. ``usable`` becomes 1 for a usable
    alternative and 0 if a tensor is lost. It becomes -1 if another alternative costs no more in any
    column and uses no other memory.

    Parameters
    ----------
    cost : array, (rows, columns)
        Costs of one tiling.
    decision : int
        Number of the decision.
    placed : array, (einsums,)
        Placement of every Einsum that has one by now.
    options : array, (alternatives, columns or more)
        Filled.
    usable : array, (alternatives,)
        Filled.
    """
    kind, number = c.decisions[decision, 0], c.decisions[decision, 1]
    alternatives, columns = c.decisions[decision, 2], cost.shape[1]
    usable[:alternatives] = 1
    options[:alternatives, :] = 0.0
    if kind == EINSUM:
        for choice in range(alternatives):
            row = c.rows[c.works[number] + choice]
            for column in range(columns):
                options[choice, column] = cost[row, column]
        return 0
    lost = _options_of_tensor(c, cost, decision, placed, options, usable)
    for choice in range(alternatives):
        for other in range(alternatives):
            able = usable[choice] == 1 and usable[other] == 1 and choice != other
            if able and _is_better(options, columns, c.kept[number], other, choice):
                usable[choice] = -1
    return lost


LEAVES, BOUND, CAPACITY, ILLEGAL, WORSE, UNSEEN = range(6)
"""Indices into ``Search.tally``. The first counts combinations tried. The others count
combinations left out because of the bound, a memory's capacity, a lost tensor, a dominating
alternative, or the limit of decisions."""

VALUE, TIE, LEAST = range(3)
"""Indices into a row of ``Search.values``: best value, value that decides ties, and lower bound of
all choices of the tiling."""


_NODES_PER_BOUND_STEP = 50
"""Number of decisions per tiling for each step that raises its bound; both take about as long."""


class Search(NamedTuple):
    """Results of a search: values and choices for each tiling, and the tally over all tilings."""

    values: Floats
    """(tilings, 3): columns are ``VALUE``, ``TIE`` and ``LEAST``."""
    chosen: Ints
    """(tilings, decisions): choices, or -1 if no choice is below the limit."""
    tally: Floats


class SizedSearch(NamedTuple):
    """Best mapping for each memory size: value, tiling (-1 if none is new) and choices."""

    values: Floats
    """(sizes,): values to beat; better values replace them."""
    tilings: Ints
    chosen: Ints
    """(sizes, decisions): choices of the best mapping."""
    tally: Floats


@compiled_inside
def _value(
    objective: int,
    costs: Floats,
    more: Floats,
    weights: Floats,
    to_go: Floats,
    state: int,
    enough: float,
) -> float:
    """Return a lower bound of the objective, given the costs so far and a state of the frontier.

    ``costs`` are those so far, ``more`` those of one further choice. The first row of weights is
    energy. The second is energy with Lagrange multipliers. All others are weighted sums of cycles.
    The bound is complete unless it exceeds ``enough``.
    """
    energy = costs[0] + more[0] + to_go[state, 0]
    if objective != LATENCY:
        penalised = to_go[state, 1]
        for column in range(costs.shape[0]):
            penalised += weights[1, column] * (costs[column] + more[column])
        energy = max(energy, penalised)
    if objective == ENERGY:
        return float(energy)
    # Energy and latency each have a bound; neither is negative, so that the product of the bounds
    # is a bound of the product.
    scale = 1.0 if objective == LATENCY else energy
    value = 0.0
    for g in range(2, weights.shape[0]):
        total = to_go[state, g]
        for column in range(costs.shape[0]):
            total += weights[g, column] * (costs[column] + more[column])
        value = max(value, total * scale)
        if value > enough:
            return float(value)
    return float(value)


@compiled_inside
def _bounds(
    c: Choices,
    plan: Plan,
    cost: Floats,
    sizes: Floats,
    weights: Floats,
    penalised: int,
    column_limits: Floats,
    to_go: Floats,
) -> None:
    """Fill the least weighted cost to go from every state, for every row of weights.

    Limits of memories and of the other objective apply to the row ``penalised`` only.
    """
    sums = weights.shape[0]
    penalty, offset = np.zeros((sizes.shape[0], c.kept.shape[1], sums)), np.zeros(sums)
    multipliers_of(c, sizes, weights, penalised, column_limits, penalty, offset)
    least_to_go(c, plan, weighted_cost(cost, weights), penalty, offset, to_go)


@compiled_inside
def _promising(
    objective: int,
    after: tuple[int, int],
    here: tuple[Floats, Floats, Ints, int],
    bounds: tuple[Floats, Floats],
    found: tuple[Ints, Floats],
    limits: tuple[float, float],
) -> int:
    """Sort the usable alternatives of a decision, most promising first, and return their number.

    Parameters
    ----------
    after : tuple of int
        State after the first alternative, and distance between states of consecutive ones.
    here : costs, options, usable, alternatives
        Arrays of the decision.
    bounds : weights, to_go
        As for ``_value``.
    found : order, values
        Filled.
    limits : best, cap
        Alternatives that exceed ``cap`` in the other objective are left out. Values above ``best``
        may be incomplete.
    """
    other = ENERGY if objective == LATENCY else LATENCY
    costs, options, usable, alternatives = here
    weights, to_go = bounds
    order, values = found
    best, cap = limits
    count = 0
    for choice in range(alternatives):
        if usable[choice] != 1:
            continue
        state = after[0] + choice * after[1]
        more = options[choice]
        values[choice] = _value(objective, costs, more, weights, to_go, state, best)
        if cap < np.inf and _value(other, costs, more, weights, to_go, state, cap) > cap:
            continue
        # Insertion sort: there are few alternatives.
        place = count
        while place > 0 and values[order[place - 1]] > values[choice]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = choice
        count += 1
    return count


class _Scratch(NamedTuple):
    """Work arrays of a descent, with one row for each decision."""

    so_far: Floats
    used: Floats
    options: Floats
    order: Ints
    values: Floats
    usable: Ints
    able: Ints
    at: Ints
    placed: Ints
    state: Ints
    """State of the frontier before each decision, and at the end of all decisions."""
    below: Floats
    """Number of combinations of each decision with all later ones."""
    nothing: Floats


@compiled_inside
def _scratch(c: Choices, columns: int) -> _Scratch:
    """Return work arrays for a number of columns, which includes one column per memory."""
    end, memories = c.decisions.shape[0], c.capacities.shape[0]
    widest = 1
    for depth in range(end):
        widest = max(widest, c.decisions[depth, 2])
    below = np.ones(end + 1)
    for depth in range(end - 1, -1, -1):
        below[depth] = below[depth + 1] * c.decisions[depth, 2]
    return _Scratch(
        np.zeros((end + 1, columns)),
        np.zeros((end + 1, memories)),
        np.empty((end, widest, columns)),
        np.empty((end, widest), np.int64),
        np.empty((end, widest)),
        np.empty(widest, np.int64),
        np.zeros(end, np.int64),
        np.zeros(end, np.int64),
        np.zeros(c.works.shape[0], np.int64),
        np.zeros(end + 1, np.int64),
        below,
        np.zeros(columns),
    )


@compiled_inside
def _shares(c: Choices, depth: int, capacities: Floats, tile: Floats, x: _Scratch) -> None:
    """Fill in the share of each memory that a tensor takes in each residency, as further costs."""
    tensor = c.decisions[depth, 1]
    columns = x.nothing.shape[0] - capacities.shape[0]
    for memory in range(capacities.shape[0]):
        share = share_of(size_of(c, tile, tensor, memory, x.placed), capacities[memory])
        for places in range(c.decisions[depth, 2]):
            if c.kept[tensor, places, memory]:
                x.options[depth, places, columns + memory] = share


@compiled_inside
def _sum(row: Floats) -> float:
    """Return the sum of a row; numpy's own sum takes seconds to compile."""
    total = 0.0
    for value in row:
        total += value
    return total


@compiled_inside
def _descend(
    c: Choices,
    plan: Plan,
    objective: int,
    limits: tuple[float, float, int, float, bool],
    weights: Floats,
    here: tuple[Floats, Floats, Floats, Floats],
    capacities: Floats,
    x: _Scratch,
    found: tuple[Floats, Ints, Floats],
) -> None:
    """Search depth first for the best choices of one tiling below a limit.

    Parameters
    ----------
    limits : limit, slack, nodes, cap, settle
        As for ``search``.
    here : cost, tile, room, to_go
        Arrays of the tiling: costs of all rows, bytes of all tiles, bytes needed in any case, and
        least costs to go.
    found : values, chosen, tally
        Arrays of ``Search`` for this tiling.
    """
    limit, slack, nodes, cap, settle = limits
    cost, tile, room, to_go = here
    result, chosen, tally = found
    end, columns = c.decisions.shape[0], x.nothing.shape[0]
    other = ENERGY if objective == LATENCY else LATENCY
    # Always 0; a literal would have a type of its own, for which kernels are compiled once more.
    first = c.first_state[0]
    best, second = limit, np.inf
    chosen[:] = -1
    result[VALUE] = result[TIE] = np.inf
    least = _value(objective, x.so_far[0], x.nothing, weights, to_go, first, np.inf)
    x.state[0] = first
    before, looked = _sum(tally), 0
    result[LEAST] = least
    if least >= best * (1 - slack):
        tally[BOUND] += x.below[0]
        return
    if not holds(capacities, x.used[0], room[0]):
        tally[CAPACITY] += x.below[0]
        return
    depth, entered = first, True
    while depth >= 0 and looked < nodes:
        looked += 1
        number, alternatives = c.decisions[depth, 1], c.decisions[depth, 2]
        if entered:
            lost = options_of(c, cost, depth, x.placed, x.options[depth], x.usable)
            if c.decisions[depth, 0] == TENSOR:
                _shares(c, depth, capacities, tile, x)
            count = _promising(
                objective,
                (plan.after[x.state[depth]], plan.step[depth]),
                (x.so_far[depth], x.options[depth], x.usable, alternatives),
                (weights, to_go),
                (x.order[depth], x.values[depth]),
                (best, cap),
            )
            x.able[depth] = count
            tally[ILLEGAL] += lost * x.below[depth + 1]
            tally[WORSE] += (alternatives - lost - count) * x.below[depth + 1]
            x.at[depth] = -1
            entered = False
        x.at[depth] += 1
        if x.at[depth] >= x.able[depth]:
            depth -= 1
            continue
        choice = x.order[depth, x.at[depth]]
        value = x.values[depth, choice]
        # Alternatives are sorted: all that follow are worse.
        if value > best:
            tally[BOUND] += (x.able[depth] - x.at[depth]) * x.below[depth + 1]
            depth -= 1
            continue
        for column in range(columns):
            more = x.options[depth, choice, column]
            # Each decision has a row of its own: going back needs no undoing.
            x.so_far[depth + 1, column] = x.so_far[depth, column] + more
        copied(x.used[depth + 1], 0, x.used[depth])
        if c.decisions[depth, 0] == EINSUM:
            x.placed[number] = choice
        elif not fits(
            c, capacities, number, choice, tile, x.placed, x.used[depth + 1], room[depth + 1]
        ):
            tally[CAPACITY] += x.below[depth + 1]
            continue
        state = plan.after[x.state[depth]] + choice * plan.step[depth]
        x.state[depth + 1] = state
        tie = _value(other, x.so_far[depth + 1], x.nothing, weights, to_go, state, np.inf)
        # A choice that beats the best by no more than the slack continues only if it wins the tie.
        close = value >= best * (1 - slack)
        if close and (not settle or tie >= second * (1 - slack)):
            tally[BOUND] += x.below[depth + 1]
        elif depth + 1 < end:
            depth += 1
            entered = True
        else:
            tally[LEAVES] += 1
            best, second = min(best, value), tie
            result[VALUE], result[TIE] = best, tie
            for step in range(end):
                chosen[step] = x.order[step, x.at[step]]
    if looked == nodes:
        tally[UNSEEN] += x.below[0] - (_sum(tally) - before)
        result[LEAST] = least
    else:
        # The search is complete: nothing beats the best by more than the slack.
        result[LEAST] = max(least, best * (1 - slack))


@compiled
def search(
    c: Choices,
    objective: int,
    limit: float,
    slack: float,
    nodes: int,
    cap: float,
    settle: bool,
    steps: int,
    weights: Floats,
    cost: Floats,
    tile: Floats,
    s: Search,
) -> None:
    """Find the best choices for every tiling whose objective is below ``limit``.

    Parameters
    ----------
    limit, slack : float
        Value to beat, and the share by which any later value must beat the best.
    nodes : int
        Most decisions examined for one tiling.
    cap : float
        Largest allowed value of the other objective (of energy and latency).
    settle : bool
        True if the other objective decides between equals.
    steps : int
        Most steps that raise the bound of a tiling.
    weights : array, (sums, columns + memories)
        Weighted sums that bound: energy alone, energy with Lagrange multipliers, then cycles. The
        second or the last sum is raised, according to the objective.
    cost, tile : arrays, (tilings, rows, columns) and (tilings, tiles)
    """
    end, columns, memories = c.decisions.shape[0], cost.shape[2], c.capacities.shape[0]
    to_go = np.empty((c.first_state[end] + 1, weights.shape[0]))
    room = np.zeros((end + 1, memories))
    sizes = np.empty((c.first.shape[0] - 1, memories))
    none = np.full(c.works.shape[0], -1, np.int64)
    x = _scratch(c, columns + memories)
    plan = planned(c)
    column_limits = np.full(columns + memories, np.inf)
    # Shares of a memory add up to at most one; the other objective is at most its cap.
    column_limits[columns:] = 1.0
    if objective == ENERGY:
        column_limits[1:columns] = cap
    elif objective == LATENCY:
        column_limits[0] = cap
    weights = weights.copy()
    penalised = 1 if objective == ENERGY else weights.shape[0] - 1
    # Each factor of a product has its own bound, which steps do not raise.
    enough = np.inf if objective == EDP else limit * (1 - slack)
    goal = enough, min(steps, nodes // _NODES_PER_BOUND_STEP)
    for tiling in range(cost.shape[0]):
        least_sizes(c, tile[tiling], sizes)
        costs, row = cost[tiling], weights[penalised : penalised + 1]
        if goal[1] > 0:
            least = raise_multipliers(c, plan, objective, goal, column_limits, costs, sizes, row)
            if least >= enough:
                s.values[tiling, VALUE] = s.values[tiling, TIE] = np.inf
                s.values[tiling, LEAST] = least
                s.chosen[tiling, :] = -1
                s.tally[BOUND] += x.below[0]
                continue
        always(c, tile[tiling], none, room)
        _bounds(c, plan, costs, sizes, weights, penalised, column_limits, to_go)
        here = (costs, tile[tiling], room, to_go)
        found = (s.values[tiling], s.chosen[tiling], s.tally)
        limits = (limit, slack, nodes, cap, settle)
        _descend(c, plan, objective, limits, weights, here, c.capacities, x, found)


@compiled
def search_sized(
    c: Choices, sizes: Floats, equal: float, nodes: int, cost: Floats, tile: Floats, s: SizedSearch
) -> None:
    """Find the least value of one column over all tilings, for each of several memory sizes.

    Bounds do not depend on memory sizes, so that they are computed once for each tiling.

    Parameters
    ----------
    sizes : array, (sizes, memories)
        Bytes of each memory; a mapping that fits one size fits all later ones.
    equal : float
        Relative difference up to which values are equal.
    nodes : int
        Most decisions examined for one tiling and size.
    cost, tile : arrays, (tilings, rows, 1) and (tilings, tiles)
    """
    end = c.decisions.shape[0]
    memories = c.capacities.shape[0]
    # Multipliers would differ for every size.
    weights, column_limits = np.zeros((2, 1 + memories)), np.full(1 + memories, np.inf)
    weights[:, 0] = 1.0
    no_penalty = np.zeros((c.first.shape[0] - 1, memories))
    to_go = np.empty((c.first_state[end] + 1, 2))
    room = np.zeros((end + 1, memories))
    none = np.full(c.works.shape[0], -1, np.int64)
    x = _scratch(c, 1 + memories)
    plan = planned(c)
    result, chosen = np.empty(3), np.empty(end, np.int64)
    for tiling in range(cost.shape[0]):
        always(c, tile[tiling], none, room)
        _bounds(c, plan, cost[tiling], no_penalty, weights, 1, column_limits, to_go)
        here = (cost[tiling], tile[tiling], room, to_go)
        limit = np.inf
        for size in range(sizes.shape[0]):
            # A mapping that fits a smaller memory fits a larger one.
            limit = min(limit, s.values[size])
            if to_go[c.first_state[0], 0] >= limit * (1 - equal):
                continue
            limits = (limit, 0.0, nodes, np.inf, True)
            found = (result, chosen, s.tally)
            _descend(c, plan, ENERGY, limits, weights, here, sizes[size], x, found)
            if chosen[0] >= 0 and result[VALUE] < limit * (1 - equal):
                limit = s.values[size] = result[VALUE]
                s.tilings[size] = tiling
                copied(s.chosen[size], 0, chosen)
