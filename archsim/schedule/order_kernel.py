"""Choice of a modulo schedule among candidate orders, computed on flat tables.

The code is plain Python and schedules the first graphs of a process directly. For later graphs,
``tables`` compiles the same functions. A candidate is an order of issue: each resource takes one of
its orders. Steps either do not overlap, or overlap at a period with some slack between resources. A
short run of each candidate decides.

To overlap steps at a period, each resource runs its tasks back to back from a phase on. Each task
starts as soon as its slot comes and its operands are ready.
"""

from __future__ import annotations

from typing import NamedTuple

from ..tables import Numbers, copy_row, filled
from .policy import ROUNDS_BEFORE_CYCLE_SEARCH

CHOSEN, UNPLACED, ILLEGAL = range(3)
"""Status codes that ``choose`` returns.

They mean: an order was chosen; no order keeps all edges at the period; in every order tasks wait
for themselves within a period.
"""

LATE = -1
"""Return value for a candidate that does not end before the limit."""


class OrderTables(NamedTuple):
    """Flat tables of an event graph and of the candidate orders of its resources.

    Times are in units of the graph.
    """

    resource: Numbers
    occupancy: Numbers
    latency: Numbers
    heads: Numbers
    """Least time from the start of a step to the start of each of its tasks."""
    tails: Numbers
    """Least time from the start of each task to the last result of its step."""
    work: Numbers
    """Time for which each resource is busy in a step."""
    first: Numbers
    """Index of the first edge that leaves each task, with a final entry for the end.

    Edges that leave task i are those from ``first[i]`` to ``first[i + 1]``; shape (tasks + 1,).
    """
    before: Numbers
    after: Numbers
    weight: Numbers
    tokens: Numbers
    crossing: Numbers
    """1 for each edge that carries data between two resources; such edges get slack."""
    choices: Numbers
    """Number of candidate orders of each resource."""
    size: Numbers
    """Number of tasks of each resource."""
    at: Numbers
    """Index in ``orders`` of the first candidate order of each resource."""
    orders: Numbers


class Pattern(NamedTuple):
    """Edges of a graph at a given period and slack."""

    period: int
    beyond: int
    """Upper bound of all times, in time units."""
    weight: Numbers
    """Weight of each edge plus slack, minus the time of the periods that its tokens span."""
    tails: Numbers
    """Least time from the start of each task to the end of all that wait for it."""


def combinations(t: OrderTables) -> int:
    """Return the number of combinations of orders of the resources.

    The result has the type of any number; a product that begins with a literal has a type of its
    own, for which kernels are compiled once more.
    """
    found = 1
    for choices in t.choices:
        found *= choices
    return found


def next_choice(t: OrderTables, choice: Numbers) -> int:
    """Advance to the next combination of orders, the last resource first.

    Returns
    -------
    int
        First resource with another order than before; -1 after the last combination.
    """
    level = len(choice) - 1
    while level >= 0 and choice[level] + 1 == t.choices[level]:
        choice[level] = 0
        level -= 1
    if level >= 0:
        choice[level] += 1
    return level


def _grows_for_ever(
    t: OrderTables, p: Pattern, slots: Numbers, starts: Numbers, cause: Numbers
) -> bool:
    """Return whether tasks that delay one another in a cycle do so for ever.

    ``cause`` holds the edge that last delayed each task, or -1. After one turn round a cycle, a
    task with a slot is later by whole periods, and every further turn delays it by as many. If no
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
    tails: Numbers,
    limit: int,
) -> bool:
    """Delay tasks until all edges are kept, and return whether that succeeds.

    A task with a slot (not -1) starts in that slot of this period or of a later one.

    Returns
    -------
    bool
        False if the tail of a delayed task ends at ``limit`` or later, or if delays go on for
        ever. Starts only grow, so that one task decides.
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
    tails: Numbers,
    limit: int,
) -> bool:
    """Give slots to the tasks of one more resource, from a phase on, and compute all earliest
    starts.

    No task starts before its time in ``ready``, the earliest start without these slots. Returns
    False as ``_settle`` does.
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
            if start + tails[i] >= limit:
                return False
            starts[i] = start
            delayed[i] = 1
        slot += t.occupancy[i]
    return _settle(t, p, slots, starts, delayed, tails, limit)


def _phases(t: OrderTables, p: Pattern, ready: Numbers, order: Numbers) -> Numbers:
    """Return the phases at which some task of a resource starts just when its operands are ready.

    They are in ascending order; a phase may be repeated.
    """
    phases = filled(len(order), 0)
    offset = 0
    for n in range(len(order)):
        phase = (ready[order[n]] - offset) % p.period
        offset += t.occupancy[order[n]]
        at = n
        while at > 0 and phase < phases[at - 1]:
            phases[at] = phases[at - 1]
            at -= 1
        phases[at] = phase
    return phases


def last_end(starts: Numbers, latency: Numbers) -> int:
    """Return the time at which the last result is available."""
    end = starts[0] + latency[0]
    for i in range(1, len(starts)):
        if starts[i] + latency[i] > end:
            end = starts[i] + latency[i]
    return end


def _least_ends(
    t: OrderTables, p: Pattern, ready: Numbers, order: Numbers, phases: Numbers, before: int
) -> Numbers:
    """Return a lower bound of the end of all tasks for each phase of one more resource.

    ``before`` is their end without slots of this resource.
    """
    least = filled(len(phases), before)
    # Local names are read faster in Python than fields of a table.
    period, tails, occupancy = p.period, p.tails, t.occupancy
    for n in range(len(phases)):
        slot, end = phases[n], before
        for i in order:
            start, soonest = slot, ready[i]
            if start < soonest:
                start -= period * ((start - soonest) // period)
            start += tails[i]
            if start > end:
                end = start
            slot += occupancy[i]
        least[n] = end
    return least


def _first_least(values: Numbers) -> int:
    """Return the position of the first of the least values."""
    first = 0
    for n in range(1, len(values)):
        if values[n] < values[first]:
            first = n
    return first


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

    If several phases delay no end, the last of these is taken. Otherwise, it is the first of the
    best phases.

    Parameters
    ----------
    anywhere : bool
        False for the first resource, whose phase is 0.
    slots : table
        Slots of the resources placed before; receives those of this one.
    starts : table
        Receives the earliest starts.

    Returns
    -------
    bool
        False if no phase keeps all edges.
    """
    phases = _phases(t, p, ready, order) if anywhere else filled(1, 0)
    before = last_end(ready, t.latency)
    least, best = _least_ends(t, p, ready, order, phases, before), -1
    for n in range(len(phases) - 1, -1, -1):
        if best >= 0 or least[n] > before:
            continue
        # Tails may end with a task that is not delayed, at ``before``; latencies do not.
        if _place(t, p, ready, order, phases[n], slots, starts, t.latency, before):
            best = n
    end, tried, bounded = p.beyond, filled(len(starts), 0), best < 0
    # Phases that may end soonest come first, until no other can end sooner.
    while bounded:
        n = _first_least(least)
        limit = end + (n < best)
        bounded = least[n] < limit
        least[n] = p.beyond + 1
        tails = p.tails if limit > before else t.latency
        if bounded and _place(t, p, ready, order, phases[n], slots, tried, tails, limit):
            copy_row(starts, 0, tried)
            end, best = last_end(tried, t.latency), n
    slot = phases[best]
    for i in order:
        slots[i] = slot
        slot += t.occupancy[i]
    return best >= 0


def _relax(t: OrderTables, p: Pattern, slack: int, soonest: Numbers) -> bool:
    """Compute a pattern's weights, and the earliest starts if no task has a slot.

    Parameters
    ----------
    p : Pattern
        Receives its weights.
    soonest : table
        Earliest starts. They enter with their values at a smaller slack, and grow.

    Returns
    -------
    bool
        False if edges cannot be kept; more slack does not permit it either.
    """
    tasks = len(t.resource)
    for e in range(len(t.weight)):
        p.weight[e] = t.weight[e] - p.period * t.tokens[e] + slack * t.crossing[e]
    if not _settle(t, p, filled(tasks, -1), soonest, filled(tasks, 1), t.latency, p.beyond):
        return False
    grows = True
    while grows:
        grows = False
        for e in range(len(t.weight) - 1, -1, -1):
            tail = p.weight[e] + p.tails[t.after[e]]
            if tail > p.tails[t.before[e]]:
                p.tails[t.before[e]] = tail
                grows = True
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
    """Write every candidate that keeps all edges at a period into rows of a table.

    Returns
    -------
    int
        Number of rows in use, including rows written before.
    """
    count, tasks, edges = len(t.choices), len(t.resource), len(t.weight)
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
        for k in range(len(slacks)):
            here = weights[k * edges : (k + 1) * edges], tails[k * tasks : (k + 1) * tasks]
            pattern = Pattern(period, beyond, here[0], here[1])
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
            row += 1
        moved = next_choice(t, choice)
    return row


def _write_issue(starts: Numbers, period: int, row: int, stage: Numbers, position: Numbers) -> None:
    """Write starts as stages, of which the smallest is 0, and positions within a period."""
    soonest = starts[0]
    for start in starts:
        soonest = min(soonest, start)
    at = row * len(starts)
    for i in range(len(starts)):
        stage[at + i] = starts[i] // period - soonest // period
        position[at + i] = starts[i] % period


def in_order(t: OrderTables, choice: Numbers, position: Numbers) -> None:
    """Write positions at which no step overtakes another on any resource."""
    for i in range(len(position)):
        position[i] = 2 * i
    for r in range(len(t.choices)):
        latest = position[0]
        for place in position:
            latest = max(latest, place)
        begin = t.at[r] + choice[r] * t.size[r]
        for n in range(begin + t.size[r] - 1, begin - 1, -1):
            i = t.orders[n]
            if latest < position[i]:
                position[i] = latest - 1
            latest = position[i]


def by_position(position: Numbers) -> Numbers:
    """Return the tasks sorted by position; tasks of equal position stay in written order."""
    order = filled(len(position), 0)
    for i in range(len(position)):
        at = i
        while at > 0 and position[order[at - 1]] > position[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return order


def _firing_order(t: OrderTables, ago: Numbers, order: Numbers, firing: Numbers) -> bool:
    """Sort the tasks of a period so that a task comes after all tasks of the period that it waits
    for.

    Parameters
    ----------
    ago : table
        Periods that each edge spans.
    order : table
        Tasks by position: tasks of one resource keep this order.
    firing : table
        Receives the order.

    Returns
    -------
    bool
        False if tasks wait for one another within a period.
    """
    done = filled(len(order), 0)
    fired = 0
    while fired < len(order):
        known = fired
        open_at = filled(len(t.choices), 1)
        waiting = filled(len(order), 0)
        for e in range(len(ago)):
            if ago[e] == 0 and done[t.before[e]] == 0:
                waiting[t.after[e]] += 1
        for i in order:
            r = t.resource[i]
            if done[i] == 1 or open_at[r] == 0:
                continue
            if waiting[i] > 0:
                # Later tasks of the resource do not fire in this round either.
                open_at[r] = 0
                continue
            done[i] = 1
            firing[fired] = i
            fired += 1
            for e in range(t.first[i], t.first[i + 1]):
                if ago[e] == 0:
                    waiting[t.after[e]] -= 1
        if fired == known:
            return False
    return True


def least_end(t: OrderTables, steps: int, stage: Numbers, position: Numbers) -> int:
    """Return a lower bound of the end of a candidate's run.

    A busiest resource waits for the head of a task, except while it works before that task's first
    turn. After all its work comes the tail of a task, except what overlaps with work after that
    task's last turn. Source: Carlier, The one-machine sequencing problem, 1982.
    """
    # Local names are read faster in Python than fields of a table.
    heads, tails, occupancy = t.heads, t.tails, t.occupancy
    least, busiest = 0, 0
    for work in t.work:
        busiest = max(busiest, work)
    for r in range(len(t.work)):
        if t.work[r] < busiest:
            continue
        early, late, span = 0, 0, 0
        tasks = t.orders[t.at[r] : t.at[r] + t.size[r]]
        for i in tasks:
            now, place, head, tail = stage[i], position[i], heads[i], tails[i] - occupancy[i]
            if head <= early and tail <= late:
                continue
            for j in tasks:
                turns = now - stage[j]
                if turns > span:
                    span = turns
                if j == i:
                    continue
                if turns >= 0:
                    head -= occupancy[j] * (turns + (position[j] <= place))
                if turns <= 0:
                    tail -= occupancy[j] * ((position[j] >= place) - turns)
            early, late = max(early, head), max(late, tail)
        # In a short run, the task with the tail may be done before the one with the head begins.
        apart = early + late if steps > span + 1 else max(early, late)
        least = max(least, apart + steps * busiest)
    return least


def end_of(t: OrderTables, steps: int, stage: Numbers, order: Numbers, limit: int) -> int:
    """Return the end of a candidate's run.

    Returns ``LATE`` if the end is not before ``limit``, or if tasks wait for one another for ever.
    """
    tasks, edges = len(stage), len(t.weight)
    # Lower bound of the end for each resource: it grows by every wait of the resource.
    resources = len(t.work)
    ends, latest, after = filled(resources, 0), filled(resources, 0), filled(resources, 0)
    begin = late = stage[0]
    for i in order:
        now, r = stage[i], t.resource[i]
        begin, late = min(begin, now), max(late, now)
        if now >= latest[r]:
            # The last task so far: its results follow the work of the resource.
            latest[r], after[r] = now, t.tails[i] - t.occupancy[i]
    for r in range(resources):
        ends[r] = steps * t.work[r] + after[r]
    periods = steps + late - begin
    ago, ahead, window = filled(edges, 0), filled(edges, 0), 1
    for e in range(edges):
        ago[e] = t.tokens[e] + stage[t.after[e]] - stage[t.before[e]]
        if ago[e] < 0:
            return LATE
        # An edge over more periods than the run has delays nothing.
        ahead[e] = min(ago[e], periods) * tasks + t.after[e]
        if window < ago[e] < periods:
            window = ago[e]
    firing = filled(tasks, 0)
    if not _firing_order(t, ago, order, firing):
        return LATE
    # (2 periods, tasks): earliest starts. Beyond the last period, nobody reads them.
    ready = filled(2 * periods * tasks, 0)
    free, last = filled(resources, 0), filled(tasks, 0)
    # Local names are read faster in Python than fields of a table.
    resource, occupancy, first, weight = t.resource, t.occupancy, t.first, t.weight
    # Tasks that all advance equally for as many periods as edges reach back go on doing so.
    advance, even, skipped, steady, n = -1, 0, 0, 0, 0
    while n + skipped < periods:
        row, period = n * tasks, begin + n + skipped
        # All tasks run from the first turn of the last one to the last turn of the first one.
        all_run = late <= period < begin + steps
        for i in firing:
            if all_run or 0 <= period - stage[i] < steps:
                r, soonest = resource[i], ready[row + i]
                start = free[r]
                if soonest > start:
                    ends[r] += soonest - start
                    if ends[r] >= limit:
                        return LATE
                    start = soonest
                if start - last[i] != advance:
                    advance, even = start - last[i], -1
                last[i] = start
                free[r] = start + occupancy[i]
                for e in range(first[i], first[i + 1]):
                    at, reach = row + ahead[e], start + weight[e]
                    if reach > ready[at]:
                        ready[at] = reach
        # Before all run, a first turn may look like an advance.
        n, even = n + 1, even + 1 if all_run else 0
        if even > window and skipped == 0:
            skipped = begin + steps - 1 - period
            for r in range(resources):
                ends[r] += skipped * (advance - t.work[r])
                if ends[r] >= limit:
                    return LATE
            steady = skipped * advance
    return last_end(last, t.latency) + steady


def choose(
    t: OrderTables, period: int, slacks: Numbers, steps: int, beyond: int, chosen: Numbers
) -> int:
    """Write the candidate whose short run ends first; among equal ones, the first.

    Parameters
    ----------
    period : int
        Units of time between two steps, where steps overlap.
    slacks : table
        Slacks between resources, in units. If empty, steps do not overlap.
    steps : int
        Length of the run.
    beyond : int
        Upper bound of all times.
    chosen : table
        (2, tasks): receives stages and positions.

    Returns
    -------
    int
        ``CHOSEN``, ``UNPLACED`` or ``ILLEGAL``.
    """
    tasks, plain = len(t.resource), combinations(t)
    most = plain * (1 + len(slacks))
    stage, position = filled(most * tasks, 0), filled(most * tasks, 0)
    choice, row = filled(len(t.choices), 0), filled(tasks, 0)
    for n in range(plain):
        in_order(t, choice, row)
        copy_row(position, n * tasks, row)
        next_choice(t, choice)
    known = plain
    if len(slacks) > 0:
        known = overlapped(t, period, slacks, beyond, plain, stage, position)
        if known == plain:
            return UNPLACED
    least = filled(known, 0)
    for n in range(known):
        row = position[n * tasks : (n + 1) * tasks]
        least[n] = least_end(t, steps, stage[n * tasks : (n + 1) * tasks], row)
    best, best_end = -1, beyond
    # Candidates that may end soonest come first, until no other can end sooner.
    while True:
        tried = _first_least(least)
        # An earlier candidate that ends as soon as the best one is chosen instead.
        limit = best_end + (tried < best)
        if least[tried] >= limit:
            break
        least[tried] = beyond + 1
        order = by_position(position[tried * tasks : (tried + 1) * tasks])
        end = end_of(t, steps, stage[tried * tasks : (tried + 1) * tasks], order, limit)
        if LATE < end < limit:
            best, best_end = tried, end
    if best < 0:
        return ILLEGAL
    copy_row(chosen, 0, stage[best * tasks : (best + 1) * tasks])
    copy_row(chosen, tasks, position[best * tasks : (best + 1) * tasks])
    return CHOSEN


HELPERS = (
    *(combinations, next_choice, _grows_for_ever, _settle, _place, _phases, last_end, _first_least),
    *(_least_ends, _place_soonest, _relax, _write_issue, overlapped, in_order),
    *(by_position, _firing_order, least_end, end_of),
)
"""Functions that ``choose`` calls, directly or not, in the order in which they are compiled.

Each calls only earlier functions of this list and the functions of ``tables``.
"""
