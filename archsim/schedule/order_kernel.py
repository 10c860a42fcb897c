"""The choice of an order of issue, compiled: the same as that of ``modulo``, of equals too."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled
from .placing_kernel import BEYOND, Ints, OrderTables, candidates, copy_row, in_order
from .trial_kernel import LATE, by_position, end_of, work_ends

CHOSEN, UNPLACED, ILLEGAL = range(3)
"""What ``choose`` comes to: an order, none that keeps all dependencies at the period, or only such
as wait for themselves within a period."""


@compiled
def choose(
    t: OrderTables, period: int, slacks: Ints, steps: int, sure: int, plain: bool, chosen: Ints
) -> int:
    """Choose an order of issue.

    Parameters
    ----------
    period : int
        Units of time between two steps, for those that overlap.
    slacks : numpy.ndarray
        (patterns,): waits added between resources.
    steps : int
        So many are tried.
    sure : int
        What no run ends before in any order.
    plain : bool
        Whether steps do not overlap.
    chosen : numpy.ndarray
        (2, tasks): gets the stages and positions.

    Returns
    -------
    int
        ``CHOSEN``, ``UNPLACED`` or ``ILLEGAL``.
    """
    tasks, known = len(t.resource), 1
    for choices in t.choices:
        known *= choices
    most = known if plain else known * (1 + len(slacks))
    stage, position = np.zeros((most, tasks), np.int64), np.empty((most, tasks), np.int64)
    by, after = np.empty(tasks, np.int64), np.empty(len(t.work), np.int64)
    in_order(t, position)
    least = np.empty(most, np.int64)
    for n in range(known):
        by_position(position[n], by)
        least[n] = work_ends(t, steps, stage[n], by, after)
        if least[n] == sure:
            end = end_of(t, steps, stage[n], by, after, sure + 1)
            if end != LATE:
                copy_row(chosen[0], stage[n])
                copy_row(chosen[1], position[n])
                return CHOSEN
    if not plain:
        more = candidates(t, period, slacks, stage[known:], position[known:])
        if more == 0:
            return UNPLACED
        for n in range(known, known + more):
            by_position(position[n], by)
            least[n] = work_ends(t, steps, stage[n], by, after)
        known += more
    best, best_end = -1, BEYOND
    for _ in range(known):
        now = 0
        for n in range(known):
            if least[n] < least[now]:
                now = n
        if least[now] > best_end or (least[now] == best_end and now > best):
            break
        by_position(position[now], by)
        work_ends(t, steps, stage[now], by, after)
        limit = best_end + 1 if now < best else best_end
        end = end_of(t, steps, stage[now], by, after, limit)
        if end != LATE:
            best, best_end = now, end
        # It is not tried again.
        least[now] = BEYOND
    if best < 0:
        return ILLEGAL
    copy_row(chosen[0], stage[best])
    copy_row(chosen[1], position[best])
    return CHOSEN
