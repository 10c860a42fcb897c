"""Placement of tasks at a period: candidate orders of issue in which steps overlap, or do not.

Each resource runs its tasks back to back from a phase on. Starts are the earliest at which each
task's slot comes and its operands are ready.
"""

from __future__ import annotations

from .order_tables import (
    Numbers,
    OrderTables,
    Pattern,
    copy_row,
    filled,
    next_choice,
)
from .policy import ROUNDS_BEFORE_CYCLE_SEARCH


def _grows_for_ever(
    t: OrderTables, p: Pattern, slots: Numbers, starts: Numbers, cause: Numbers
) -> bool:
    """Return whether tasks that delay one another in a cycle do so for ever.

    ``cause`` holds the edge that last delayed each task, or -1. After one turn round a cycle, a
    task with a slot is later by whole periods; every further turn delays it by as many. If no
    task of the cycle has a slot, any delay recurs.
    """
    tasks = len(cause)
    visited, cycle = filled(tasks, -1), filled(tasks, -1)
    for first in range(tasks):
        at = first
        while cause[at] >= 0 and visited[at] < 0:
            visited[at] = first
            at = t.before[cause[at]]
        if visited[at] != first:
            continue
        # The cycle contains ``at``. Begin at a task with a slot, if there is one.
        begin = at
        while slots[begin] < 0:
            begin = t.before[cause[begin]]
            if begin == at:
                break
        length, at = 0, begin
        while length == 0 or at != begin:
            cycle[length] = cause[at]
            at = t.before[cause[at]]
            length += 1
        # Causes lead backwards: the last edge found leaves ``begin``.
        start = starts[begin]
        for n in range(length - 1, -1, -1):
            start += p.weight[cycle[n]]
            slot = slots[t.after[cycle[n]]]
            if slot >= 0:
                start = slot - p.period * ((slot - start) // p.period)
        if start > starts[begin]:
            return True
    return False


def _settle(
    t: OrderTables,
    p: Pattern,
    slots: Numbers,
    starts: Numbers,
    delayed: Numbers,
    limit: int,
    tails: Numbers,
) -> bool:
    """Delay every task that waits for a delayed task, until all edges are kept.

    A task with a slot (not -1) starts in that slot of this period or of a later one.

    Returns
    -------
    bool
        False if a delayed task's tail ends at ``limit`` or later, or if delays go on for ever.
        Starts only grow, so that one tail decides.
    """
    # Local names are read faster in Python than fields of a table.
    first, followers, weight = t.first, t.after, p.weight
    tasks = len(starts)
    cause = filled(tasks, -1)
    # A round settles one more task of every chain: more rounds than tasks mean a cycle.
    for number in range(tasks + 2):
        again = False
        for before in range(tasks):
            if delayed[before] == 0:
                continue
            delayed[before] = 0
            start = starts[before]
            if start + tails[before] >= limit:
                return False
            for e in range(first[before], first[before + 1]):
                after = followers[e]
                reach = start + weight[e]
                if reach > starts[after]:
                    slot = slots[after]
                    if slot >= 0:
                        # With slot 3 of a period of 10, a start at 25 or later becomes 33.
                        reach = slot - p.period * ((slot - reach) // p.period)
                    starts[after] = reach
                    cause[after] = e
                    delayed[after] = 1
                    if after <= before:
                        again = True
        if not again:
            return True
        if number >= ROUNDS_BEFORE_CYCLE_SEARCH and _grows_for_ever(t, p, slots, starts, cause):
            return False
    return False


def _place(
    t: OrderTables,
    p: Pattern,
    ready: Numbers,
    order: Numbers,
    phase: int,
    slots: Numbers,
    starts: Numbers,
    limit: int,
    tails: Numbers,
) -> bool:
    """Give the tasks of one more resource slots from a phase on, and compute all earliest starts.

    No task starts before it was ``ready`` without these slots. False as in ``_settle``.
    """
    copy_row(starts, 0, ready)
    delayed = filled(len(starts), 0)
    slot = phase
    for i in order:
        slots[i] = slot
        start = slot
        if start < ready[i]:
            start -= p.period * ((start - ready[i]) // p.period)
        if start > ready[i]:
            starts[i] = start
            delayed[i] = 1
        slot += t.occupancy[i]
    return _settle(t, p, slots, starts, delayed, limit, tails)


def _phase_offers(
    t: OrderTables,
    p: Pattern,
    ready: Numbers,
    order: Numbers,
    anywhere: bool,
    least: int,
    ends: Numbers,
    phases: Numbers,
) -> int:
    """List the phases at which some task of a resource starts just when its operands are ready.

    Parameters
    ----------
    anywhere : bool
        False for the first resource, whose phase is 0.
    least : int
        Earliest end of all tasks without slots for this resource.
    ends, phases : table
        Receive a lower bound of the end at each phase, and the phase, in ascending order.

    Returns
    -------
    int
        Number of phases.
    """
    known = 0
    offset = 0
    for first in order:
        phase = (ready[first] - offset) % p.period if anywhere else 0
        offset += t.occupancy[first]
        repeated = False
        for n in range(known):
            repeated = repeated or phases[n] == phase
        if repeated:
            continue
        end, slot = least, phase
        for i in order:
            start = slot
            if start < ready[i]:
                start -= p.period * ((start - ready[i]) // p.period)
            # Python calls ``max`` in several times the time of a comparison.
            if start + p.tails[i] > end:
                end = start + p.tails[i]
            slot += t.occupancy[i]
        at = known
        while at > 0 and (end < ends[at - 1] or (end == ends[at - 1] and phase < phases[at - 1])):
            ends[at], phases[at] = ends[at - 1], phases[at - 1]
            at -= 1
        ends[at], phases[at] = end, phase
        known += 1
    return known


def last_end(starts: Numbers, latency: Numbers) -> int:
    """Return the time at which the last result is available."""
    end = starts[0] + latency[0]
    for i in range(1, len(starts)):
        if starts[i] + latency[i] > end:
            end = starts[i] + latency[i]
    return end


def _place_soonest(
    t: OrderTables,
    p: Pattern,
    order: Numbers,
    anywhere: bool,
    ready: Numbers,
    slots: Numbers,
    starts: Numbers,
) -> bool:
    """Place one more resource at the phase with which all tasks end soonest.

    If some phases delay no end, the last of these is taken; otherwise, the first of the best.
    Phases with the smallest lower bound are tried first, until no other phase can be better.

    Parameters
    ----------
    slots : table
        Slots of the resources placed before; receives those of this one.
    starts : table
        Receives the earliest starts.

    Returns
    -------
    bool
        False if no phase keeps all edges.
    """
    before = last_end(ready, t.latency)
    ends, phases = filled(len(order), 0), filled(len(order), 0)
    count = _phase_offers(t, p, ready, order, anywhere, before, ends, phases)
    if count > 1:
        for n in range(count - 1, -1, -1):
            # Tails may end with a task that is not delayed: its latency alone counts here.
            if ends[n] == before and _place(
                t, p, ready, order, phases[n], slots, starts, before, t.latency
            ):
                return True
    tried = filled(len(starts), 0)
    won, won_end, won_phase = False, p.beyond, 0
    for n in range(count):
        least, phase = ends[n], phases[n]
        if won and (least > won_end or (least == won_end and phase > won_phase)):
            break
        # A phase that ends as soon as the best wins if it is the smaller one.
        limit = won_end + 1 if won and phase < won_phase else won_end
        if _place(t, p, ready, order, phase, slots, tried, limit, p.tails):
            copy_row(starts, 0, tried)
            won, won_end, won_phase = True, last_end(tried, t.latency), phase
    slot = won_phase
    for i in order:
        slots[i] = slot
        slot += t.occupancy[i]
    return won


def _relax(t: OrderTables, p: Pattern, slack: int, soonest: Numbers) -> bool:
    """Compute a pattern's weights and tails, and earliest starts without any slots.

    Parameters
    ----------
    p : Pattern
        Receives its weights; its tails are those with less slack, and grow.
    soonest : table
        Earliest starts with less slack, which grow.

    Returns
    -------
    bool
        False if edges cannot be kept; more slack does not permit it either.
    """
    tasks, edges = len(t.resource), len(t.weight)
    for e in range(edges):
        p.weight[e] = t.weight[e] - p.period * t.tokens[e] + slack * t.crossing[e]
    if not _settle(t, p, filled(tasks, -1), soonest, filled(tasks, 1), p.beyond, t.latency):
        return False
    for _ in range(tasks):
        settled = True
        for e in range(edges):
            reach = p.tails[t.after[e]] + p.weight[e]
            if reach > p.tails[t.before[e]]:
                p.tails[t.before[e]] = reach
                settled = False
        if settled:
            break
    return True


def overlapped(
    t: OrderTables,
    period: int,
    slacks: Numbers,
    beyond: int,
    row: int,
    stage: Numbers,
    position: Numbers,
) -> int:
    """Write every candidate that keeps all edges at a period, from a row on.

    Returns
    -------
    int
        Number of rows with those written.
    """
    count, tasks, edges = len(t.work), len(t.resource), len(t.weight)
    weights, tails = filled(len(slacks) * edges, 0), filled(len(slacks) * tasks, 0)
    # (slacks, resources + 1, tasks): slots and starts once so many resources are placed.
    width = (count + 1) * tasks
    slots, starts = filled(len(slacks) * width, -1), filled(len(slacks) * width, 0)
    placed = filled(len(slacks) * (count + 1), 0)
    slot_row, start_row = filled(tasks, -1), filled(tasks, 0)
    growing = Pattern(period, beyond, filled(edges, 0), filled(tasks, 0))
    copy_row(growing.tails, 0, t.latency)
    for k in range(len(slacks)):
        if not _relax(t, growing, slacks[k], start_row):
            break
        copy_row(weights, k * edges, growing.weight)
        copy_row(tails, k * tasks, growing.tails)
        copy_row(starts, k * width, start_row)
        placed[k * (count + 1)] = 1
    choice = filled(count, 0)
    moved = 0
    while moved >= 0:
        unique = row
        for k in range(len(slacks)):
            weight, tail = weights[k * edges : (k + 1) * edges], tails[k * tasks : (k + 1) * tasks]
            pattern = Pattern(period, beyond, weight, tail)
            # Resources before ``moved`` have the same orders as in the last choice.
            for r in range(moved, count):
                at, done = k * width + r * tasks, k * (count + 1) + r
                placed[done + 1] = 0
                if placed[done] == 0:
                    continue
                begin = t.at[r] + choice[r] * t.size[r]
                order = t.orders[begin : begin + t.size[r]]
                ready = starts[at : at + tasks]
                copy_row(slot_row, 0, slots[at : at + tasks])
                if _place_soonest(t, pattern, order, r > 0, ready, slot_row, start_row):
                    placed[done + 1] = 1
                    copy_row(slots, at + tasks, slot_row)
                    copy_row(starts, at + tasks, start_row)
            if placed[k * (count + 1) + count] == 0:
                continue
            begin = k * width + count * tasks
            _write_issue(starts[begin : begin + tasks], period, row, stage, position)
            if not _is_repeated(unique, row, tasks, stage, position):
                row += 1
        moved = next_choice(t, choice)
    return row


def _write_issue(starts: Numbers, period: int, row: int, stage: Numbers, position: Numbers) -> None:
    """Split starts into stages, of which the smallest is 0, and positions within a period."""
    soonest = starts[0]
    for start in starts:
        soonest = min(soonest, start)
    at = row * len(starts)
    for i in range(len(starts)):
        stage[at + i] = starts[i] // period - soonest // period
        position[at + i] = starts[i] % period


def _is_repeated(first: int, row: int, tasks: int, stage: Numbers, position: Numbers) -> bool:
    """Return whether a row is equal to one from row ``first`` on."""
    at = row * tasks
    for other in range(first * tasks, at, tasks):
        i = 0
        while (
            i < tasks
            and stage[other + i] == stage[at + i]
            and position[other + i] == position[at + i]
        ):
            i += 1
        if i == tasks:
            return True
    return False


def in_order(t: OrderTables, choice: Numbers, position: Numbers) -> None:
    """Compute positions at which no step overtakes another on any resource."""
    for i in range(len(position)):
        position[i] = 2 * i
    for r in range(len(t.work)):
        latest = position[0]
        for place in position:
            latest = max(latest, place)
        begin = t.at[r] + choice[r] * t.size[r]
        for n in range(begin + t.size[r] - 1, begin - 1, -1):
            i = t.orders[n]
            if latest < position[i]:
                position[i] = latest - 1
            latest = position[i]


HELPERS = (
    _grows_for_ever,
    _settle,
    _place,
    _phase_offers,
    last_end,
    _place_soonest,
    _relax,
    _is_repeated,
    _write_issue,
    overlapped,
    in_order,
)
"""Functions that ``order_kernel`` calls; each calls only those before it and those on tables."""
