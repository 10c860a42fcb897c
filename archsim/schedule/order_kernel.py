"""Choice of a modulo schedule among candidate orders, on flat tables.

This is plain Python, which schedules the first graphs of a process; ``native`` compiles the same
functions for later ones. A candidate is an order of issue: each resource takes one of its orders,
and steps either do not overlap, or overlap at a period with some slack between resources. A short
run of each candidate decides.
"""

from __future__ import annotations

from . import placement
from .event_graph import EventGraph, Issue
from .order_tables import (
    Numbers,
    OrderTables,
    copy_row,
    filled,
    first_smallest,
    next_choice,
    tables_of,
)
from .placement import in_order, last_end, overlapped
from .policy import PERIODS_BETWEEN_CHECKS

CHOSEN, UNPLACED, ILLEGAL = range(3)
"""Results of ``choose``: an order; no order keeps all edges at the period; or in every order tasks
wait for themselves within a period."""

LATE = -1
"""Stands for an end that is not before a limit."""


def by_position(position: Numbers) -> Numbers:
    """Return the tasks sorted by position; tasks of one position in written order."""
    order = filled(len(position), 0)
    for i in range(len(position)):
        at = i
        while at > 0 and position[order[at - 1]] > position[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return order


def work_ends(
    t: OrderTables, steps: int, stage: Numbers, order: Numbers, before: Numbers, after: Numbers
) -> int:
    """Bound the time before and after the work of each resource in a run.

    Turns of the same resource fill part of a task's head before the task's first turn, and part
    of its tail from its last turn on. Only the busiest resources get bounds: others seldom decide.

    Parameters
    ----------
    order : table
        Tasks by position.
    before : table
        Receives the least wait of each resource for the first of something.
    after : table
        Receives the least time from the end of each resource's work to the last result.

    Returns
    -------
    int
        Lower bound of the makespan.
    """
    least = 0
    for r in range(len(t.work)):
        early = late = high = 0
        low = -1
        for n in range(len(order) if t.busiest[r] == 1 else 0):
            i = order[n]
            if t.resource[i] != r:
                continue
            now = stage[i]
            low, high = min(low, now) if low >= 0 else now, max(high, now)
            done = left = 0
            for m in range(len(order)):
                other = order[m]
                if t.resource[other] == r:
                    behind = now - stage[other]
                    # ``other`` has one turn more within the period of this turn.
                    if behind >= 0:
                        done += (behind + int(m < n)) * t.occupancy[other]
                    if behind <= 0:
                        left += (int(m >= n) - behind) * t.occupancy[other]
            early = max(early, t.heads[i] - done)
            late = max(late, t.tails[i] - left)
        # In a run so short that a task is done before another begins, a head may pass together
        # with a tail.
        before[r] = early if steps > high - low + 1 else 0
        after[r] = late
        least = max(least, before[r] + steps * t.work[r] + late)
    return least


def bound_makespan(graph: EventGraph, issue: Issue) -> tuple[int, Numbers]:
    """Return a lower bound of a graph's makespan, and the tail of each resource's work."""
    before, after = [0] * len(graph.work), [0] * len(graph.work)
    order = by_position([*issue.position])
    least = work_ends(tables_of(graph, ()), graph.steps, [*issue.stage], order, before, after)
    return least, after


def _firing_order(t: OrderTables, ago: Numbers, order: Numbers, firing: Numbers) -> bool:
    """Sort the tasks of a period so that those waited for within the period come first.

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
        open_at = filled(len(t.work), 1)
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


def _delays(t: OrderTables, e: int, ago: int, periods: int) -> bool:
    """Return whether an edge may delay a turn, beyond what the order of one resource implies."""
    if ago >= periods:
        return False
    before = t.before[e]
    # All turns of ``before`` in between come first on a common resource.
    turns = max(1, min(t.tokens[e], ago))
    common = t.resource[before] == t.resource[t.after[e]]
    return not (common and t.weight[e] <= turns * t.occupancy[before])


def _least_left(
    t: OrderTables, steps: int, stage: Numbers, free: Numbers, after: Numbers, period: int
) -> int:
    """Bound the end of a run: each resource still has turns, and results that follow them."""
    ahead = filled(len(free), 0)
    for r in range(len(free)):
        ahead[r] = free[r] + after[r]
    for i in range(len(stage)):
        # Steps left after this period, of which the task's newest is ``stage`` behind.
        left = steps - period + stage[i] - 1
        if left > 0:
            ahead[t.resource[i]] += min(left, steps) * t.occupancy[i]
    most = ahead[0]
    for end in ahead:
        most = max(most, end)
    return most


def end_of(
    t: OrderTables, steps: int, stage: Numbers, order: Numbers, after: Numbers, limit: int
) -> int:
    """Run a candidate and return its end; ``LATE`` if that is not before ``limit``, or never."""
    tasks, edges = len(stage), len(t.weight)
    begin = late = stage[0]
    for behind in stage:
        begin, late = min(begin, behind), max(late, behind)
    periods = steps + late - begin
    ago, into = filled(edges, 0), filled(tasks + 1, 0)
    window = never = 0
    for e in range(edges):
        ago[e] = t.tokens[e] + stage[t.after[e]] - stage[t.before[e]]
        if ago[e] < 0:
            return LATE
        if _delays(t, e, ago[e], periods):
            window = max(window, ago[e])
            never = min(never, -1 - t.weight[e])
            into[t.after[e] + 1] += 1
    firing = filled(tasks, 0)
    if not _firing_order(t, ago, order, firing):
        return LATE
    for i in range(tasks):
        into[i + 1] += into[i]
    waits, vacant = filled(into[tasks], 0), filled(tasks + 1, 0)
    copy_row(vacant, 0, into)
    for e in range(edges):
        if _delays(t, e, ago[e], periods):
            waits[vacant[t.after[e]]] = e
            vacant[t.after[e]] += 1
    back, delay = filled(len(waits), 0), filled(len(waits), 0)
    for k in range(len(waits)):
        back[k] = ago[waits[k]] * tasks - t.before[waits[k]]
        delay[k] = t.weight[waits[k]]
    # (window + periods, tasks): starts. ``never`` stands for a turn that does not exist, so early
    # that nobody waits for it.
    history = filled((window + periods) * tasks, never)
    free, last = filled(len(t.work), 0), filled(tasks, 0)
    resource, occupancy = t.resource, t.occupancy
    for n in range(periods):
        row = (window + n) * tasks
        for i in firing:
            if 0 <= begin + n - stage[i] < steps:
                start = free[resource[i]]
                for k in range(into[i], into[i + 1]):
                    reach = history[row - back[k]] + delay[k]
                    if reach > start:
                        start = reach
                history[row + i] = last[i] = start
                free[resource[i]] = start + occupancy[i]
        if (
            n % PERIODS_BETWEEN_CHECKS == 0
            # Later on, a task whose tail bounds the run may be done.
            and n < steps - 1
            and _least_left(t, steps, stage, free, after, begin + n) >= limit
        ):
            return LATE
    end = last_end(last, t.latency)
    return end if end < limit else LATE


def choose(
    t: OrderTables,
    period: int,
    slacks: Numbers,
    steps: int,
    sure: int,
    beyond: int,
    chosen: Numbers,
) -> int:
    """Choose the candidate whose short run ends first; of equal ones, the first.

    Parameters
    ----------
    period : int
        Units of time between two steps, where steps overlap.
    slacks : table
        Slacks between resources, in units. If empty, steps do not overlap.
    steps : int
        Length of the run.
    sure : int
        Lower bound of the end of any order.
    beyond : int
        Upper bound of all times.
    chosen : table
        (2, tasks): receives stages and positions.

    Returns
    -------
    int
        ``CHOSEN``, ``UNPLACED`` or ``ILLEGAL``.
    """
    tasks, known, plain = len(t.resource), 0, 1
    for choices in t.choices:
        plain *= choices
    most = plain * (1 + len(slacks))
    stage, position = filled(most * tasks, 0), filled(most * tasks, 0)
    least = filled(most, beyond)
    early, after = filled(len(t.work), 0), filled(len(t.work), 0)
    stage_row, position_row = filled(tasks, 0), filled(tasks, 0)
    choice = filled(len(t.work), 0)
    moved = 0
    while moved >= 0:
        in_order(t, choice, position_row)
        order = by_position(position_row)
        copy_row(position, known * tasks, position_row)
        least[known] = work_ends(t, steps, stage_row, order, early, after)
        if least[known] == sure and end_of(t, steps, stage_row, order, after, sure + 1) != LATE:
            copy_row(chosen, 0, stage_row)
            copy_row(chosen, tasks, position_row)
            return CHOSEN
        known += 1
        moved = next_choice(t, choice)
    if len(slacks) > 0:
        known = overlapped(t, period, slacks, beyond, plain, stage, position)
        if known == plain:
            return UNPLACED
    for n in range(plain, known):
        copy_row(stage_row, 0, stage[n * tasks : (n + 1) * tasks])
        order = by_position(position[n * tasks : (n + 1) * tasks])
        least[n] = work_ends(t, steps, stage_row, order, early, after)
    best, best_end = -1, beyond
    for _ in range(known):
        now = first_smallest(least)
        if least[now] > best_end or (least[now] == best_end and now > best):
            break
        copy_row(stage_row, 0, stage[now * tasks : (now + 1) * tasks])
        order = by_position(position[now * tasks : (now + 1) * tasks])
        work_ends(t, steps, stage_row, order, early, after)
        limit = best_end + 1 if now < best else best_end
        end = end_of(t, steps, stage_row, order, after, limit)
        if end != LATE:
            best, best_end = now, end
        # Each candidate is tried once.
        least[now] = beyond
    if best < 0:
        return ILLEGAL
    copy_row(chosen, 0, stage[best * tasks : (best + 1) * tasks])
    copy_row(chosen, tasks, position[best * tasks : (best + 1) * tasks])
    return CHOSEN


HELPERS = (*placement.HELPERS, by_position, work_ends, _firing_order, _delays, _least_left, end_of)
"""Functions that ``choose`` calls; each calls only those before it and those on tables."""
