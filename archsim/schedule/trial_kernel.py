"""A short run in an order of issue, compiled: ``makespan`` and ``heads_tails`` say what is done
and why."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled_inside
from .placing_kernel import BEYOND, Ints, OrderTables, copy_row, last_end

LATE = -1
"""In place of an end: not before a limit, or never, as some task waits for itself."""

_CHECK = 4
"""As in ``makespan``."""


@compiled_inside
def by_position(position: Ints, order: Ints) -> None:
    """Tasks as their positions are, those of one position as they are written."""
    for i in range(len(position)):
        at = i
        while at > 0 and position[order[at - 1]] > position[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i


@compiled_inside
def work_ends(t: OrderTables, steps: int, stage: Ints, order: Ints, after: Ints) -> int:
    """As ``heads_tails.work_ends``, of which ``after`` is kept, and ``least_end``."""
    least = 0
    for r in range(len(t.work)):
        early = late = 0
        low, high = BEYOND, 0
        for n in range(len(order) if t.busiest[r] == 1 else 0):
            i = order[n]
            if t.resource[i] != r:
                continue
            now = stage[i]
            low, high = min(low, now), max(high, now)
            # Turns before its first one, and those from its last one on.
            filled = left = 0
            for m in range(len(order)):
                other = order[m]
                if t.resource[other] == r:
                    behind = now - stage[other]
                    # ``other`` has one turn more within the period in which this one is.
                    if behind >= 0:
                        filled += (behind + int(m < n)) * t.occupancy[other]
                    if behind <= 0:
                        left += (int(m >= n) - behind) * t.occupancy[other]
            early = max(early, t.heads[i] - filled)
            late = max(late, t.tails[i] - left)
        after[r] = late
        least = max(least, (early if steps > high - low + 1 else 0) + steps * t.work[r] + late)
    return least


@compiled_inside
def _fires(t: OrderTables, ago: Ints, by: Ints, order: Ints) -> bool:
    """As ``makespan._firing_order``; False where tasks wait for one another within a period."""
    done = np.zeros(len(by), np.int64)
    open_at = np.empty(len(t.work), np.int64)
    fired = 0
    while fired < len(by):
        known = fired
        for r in range(len(open_at)):
            open_at[r] = 1
        for i in by:
            r = t.resource[i]
            if done[i] == 1 or open_at[r] == 0:
                continue
            for e in range(len(ago)):
                if ago[e] == 0 and t.after[e] == i and done[t.before[e]] == 0:
                    # Nor do those behind it on its resource come now.
                    open_at[r] = 0
                    break
            if open_at[r] == 1:
                done[i] = 1
                order[fired] = i
                fired += 1
        if fired == known:
            return False
    return True


@compiled_inside
def _least_left(
    t: OrderTables, steps: int, stage: Ints, free: Ints, after: Ints, period: int
) -> int:
    """As ``_Trials._least``."""
    ahead = np.empty(len(free), np.int64)
    for r in range(len(free)):
        ahead[r] = free[r] + after[r]
    for i in range(len(stage)):
        left = steps - period + stage[i] - 1
        if left > 0:
            ahead[t.resource[i]] += min(left, steps) * t.occupancy[i]
    most = ahead[0]
    for end in ahead:
        if end > most:
            most = end
    return int(most)


@compiled_inside
def end_of(t: OrderTables, steps: int, stage: Ints, by: Ints, after: Ints, limit: int) -> int:
    """As ``_Trials.end``; ``LATE`` for None."""
    tasks, edges = len(stage), len(t.weight)
    ago, into = np.empty(edges, np.int64), np.zeros(tasks + 1, np.int64)
    furthest = 0
    for e in range(edges):
        ago[e] = t.tokens[e] + stage[t.after[e]] - stage[t.before[e]]
        if ago[e] < 0:
            return LATE
        furthest = max(furthest, ago[e])
        into[t.after[e] + 1] += 1
    for i in range(tasks):
        into[i + 1] += into[i]
    waits, filled = np.empty(edges, np.int64), np.empty(tasks, np.int64)
    copy_row(filled, into)
    for e in range(edges):
        waits[filled[t.after[e]]] = e
        filled[t.after[e]] += 1
    order = np.empty(tasks, np.int64)
    if not _fires(t, ago, by, order):
        return LATE
    begin: int = stage[0]
    late: int = stage[0]
    for behind in stage:
        begin, late = min(begin, behind), max(late, behind)
    periods = steps + late - begin
    # Rows of the periods that the next one depends on, one in place of the oldest.
    rows = min(furthest, periods) + 1
    history = np.empty((rows, tasks), np.int64)
    free, last = np.zeros(len(t.work), np.int64), np.zeros(tasks, np.int64)
    for n in range(periods):
        row = n % rows
        period = begin + n
        for task in order:
            history[row, task] = -1
            if not 0 <= period - stage[task] < steps:
                continue
            start = free[t.resource[task]]
            for k in range(into[task], into[task + 1]):
                e = waits[k]
                if ago[e] <= n:
                    # Starts are not negative; a step that is not there holds nobody up.
                    earlier = history[(n - ago[e]) % rows, t.before[e]]
                    if earlier >= 0:
                        start = max(start, earlier + t.weight[e])
            history[row, task] = last[task] = start
            free[t.resource[task]] = start + t.occupancy[task]
        if (
            n % _CHECK == 0
            and n < steps - 1
            and _least_left(t, steps, stage, free, after, period) >= limit
        ):
            return LATE
    end = last_end(last, t.latency)
    return end if end < limit else LATE
