"""Steady states of a run: repeated states, and tasks that advance at a constant rate."""

from __future__ import annotations

from .tables import LIMIT, KernelProgram, Marks, Numbers, State


def _shift(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> int:
    """Return by how much the state is later than a mark's; -1 if the states differ otherwise.

    All differences in time must be equal to the first one: a state whose tasks end at 10 and 14
    repeats one of 3 and 7, later by 7, but not one of 3 and 8.
    """
    need, result, leave = p.need, s.result, s.leave
    mask, tasks, resources = len(s.kind) - 1, len(need), len(s.free)
    shift = -1
    # Most differences show in the resources' free times, else in the newest or oldest period.
    for r in range(resources):
        there = slot * resources + r
        # A resource that was not used since the mark is used by nothing that repeats: its free time
        # decides nothing and is not shifted either (``_advance``).
        if s.used[r] != m.used[there]:
            if shift < 0:
                shift = s.free[r] - m.free[there]
            if s.free[r] - m.free[there] != shift:
                return -1
    for q in range(reach):
        if s.kind[(period - q) & mask] != m.kind[slot * m.back + q]:
            return -1
    for newest in (True, False):
        for i in range(tasks):
            for q in range(min(need[i], 1)) if newest else range(need[i] - 1, 0, -1):
                here = ((period - q) & mask) * tasks + i
                there = (slot * m.back + q) * tasks + i
                now, was = result[here], m.result[there]
                if now < 0 or was < 0:
                    if now != was:
                        return -1
                    continue
                if shift < 0:
                    shift = now - was
                if now - was != shift or leave[here] - m.leave[there] != shift:
                    return -1
    # Still -1: nothing that takes time happened, and the state is equal.
    return max(shift, 0)


def _copy(
    into: Numbers, at: int, ring: Numbers, newest: int, mask: int, rows: int, width: int
) -> None:
    """Copy the newest rows of a ring into a table; ``native`` has a copy of its own."""
    for q in range(rows):
        row = ((newest - q) & mask) * width
        into[at : at + width] = ring[row : row + width]
        at += width


def _mark(p: KernelProgram, s: State, m: Marks, slot: int, period: int) -> None:
    """Store the state to compare later states with."""
    mask, tasks, resources, back = len(s.kind) - 1, len(p.need), len(s.free), m.back
    _copy(m.kind, slot * back, s.kind, period, mask, back, 1)
    _copy(m.result, slot * back * tasks, s.result, period, mask, back, tasks)
    _copy(m.leave, slot * back * tasks, s.leave, period, mask, back, tasks)
    _copy(m.last, slot * tasks, s.last, 0, 0, 1, tasks)
    _copy(m.free, slot * resources, s.free, 0, 0, 1, resources)
    _copy(m.used, slot * resources, s.used, 0, 0, 1, resources)


def _advance(p: KernelProgram, s: State, m: Marks, slot: int, period: int, time: int) -> bool:
    """Shift all that happened since the mark in time; idle resources stay.

    False if the times would not fit.
    """
    result, leave, need, last = s.result, s.leave, p.need, s.last
    mask, tasks, resources = len(s.kind) - 1, len(need), len(s.free)
    for i in range(tasks):
        for q in range(need[i]):
            at = ((period - q) & mask) * tasks + i
            if result[at] > LIMIT - time:
                return False
            if result[at] >= 0:
                result[at] += time
                leave[at] += time
        if last[i] != m.last[slot * tasks + i]:
            if last[i] > LIMIT - time:
                return False
            last[i] += time
    for r in range(resources):
        if s.used[r] != m.used[slot * resources + r]:
            if s.free[r] > LIMIT - time:
                return False
            s.free[r] += time
    return True


def _even(p: KernelProgram, s: State, m: Marks, reach: int, period: int) -> bool:
    """Return whether each task advanced at a constant rate in all periods that dependencies
    reach.

    The rates, and the times at which resources were free before this period, are stored. False also
    if all rates are equal: then the state repeats.
    """
    result, need, resource, kinds = s.result, p.need, p.resource, s.kind
    mask, tasks = len(kinds) - 1, len(need)
    row = (period & mask) * tasks
    kind = kinds[period & mask]
    for q in range(reach + 1):
        if kinds[(period - q) & mask] != kind:
            return False
    for r in range(len(m.pace)):
        m.pace[r] = -1
    least, most = LIMIT, -1
    for i in range(tasks):
        if p.occupancy[kind * tasks + i] < 0:
            for q in range(need[i] + 1):
                if result[((period - q) & mask) * tasks + i] >= 0:
                    return False
            m.rate[i] = 0
            continue
        now = result[row + i]
        rate = now - result[((period - 1) & mask) * tasks + i]
        # All periods that a later one may reach count, not the last two alone.
        for q in range(1, max(need[i], 1) + 1):
            then = result[((period - q) & mask) * tasks + i]
            if then < 0 or now - then != rate * q:
                return False
        m.rate[i] = rate
        m.pace[resource[i]] = rate
        # The last task of a resource leaves its value: ``held`` is when the resource was free as
        # the first task of this period came. ``_ahead`` goes on from there, task by task.
        m.held[resource[i]] = s.leave[row + i] - rate
        least, most = min(least, rate), max(most, rate)
    return least < most


def _ahead(p: KernelProgram, s: State, m: Marks, period: int) -> int:
    """Return the periods until a task first waits for another dependency, at constant rates.

    The dependency that a task waits for advances at the task's rate. All its other dependencies are
    behind that one, and catch up if their rate is higher. A task that starts 40 after its room was
    there, with room that comes 2 later each period than the task, keeps its rate for 20 periods:
    ``lag // nearer``. A task that waited for nothing does not advance evenly: 0.
    """
    result, leave, rates, pace, held = s.result, s.leave, m.rate, m.pace, m.held
    mask, tasks, waits = len(s.kind) - 1, len(rates), len(p.before)
    row, kind = (period & mask) * tasks, s.kind[period & mask]
    least = LIMIT
    for i in range(tasks):
        busy = p.occupancy[kind * tasks + i]
        if busy < 0:
            continue
        start, rate, r = leave[row + i] - busy, rates[i], p.resource[i]
        lag, nearer = start - held[r], pace[r] - rate
        # The task started as its resource was freed by a task of the same rate.
        waited_for = lag == 0 and nearer == 0
        if nearer > 0:
            least = min(least, lag // nearer)
        pace[r], held[r] = rate, leave[row + i]
        for d in range(p.first[i], p.first[i + 1]):
            back = p.ago[kind * waits + d]
            if back < 0:
                continue
            at, other = ((period - back) & mask) * tasks, p.before[d]
            there = leave[at + other] if p.room[d] else result[at + other]
            if there < 0:
                continue
            lag, nearer = start - there, rates[other] - rate
            waited_for = waited_for or (lag == 0 and nearer == 0)
            if nearer > 0:
                least = min(least, lag // nearer)
        if not waited_for:
            return 0
    return least


def _go_on(p: KernelProgram, s: State, m: Marks, period: int, rounds: int) -> bool:
    """Advance some periods with each task at its rate. False if the times would not fit."""
    result, leave, rates, need = s.result, s.leave, m.rate, p.need
    mask, tasks = len(s.kind) - 1, len(need)
    row = (period & mask) * tasks
    for i in range(tasks):
        if rates[i] > 0 and rounds > (LIMIT - result[row + i]) // rates[i]:
            return False
    for i in range(tasks):
        if result[row + i] < 0:
            continue
        time = rounds * rates[i]
        for q in range(max(need[i], 1) + 1):
            at = ((period - q) & mask) * tasks + i
            result[at] += time
            leave[at] += time
        s.last[i] = result[row + i]
    for r in range(len(s.free)):
        if m.pace[r] >= 0:
            s.free[r] += rounds * m.pace[r]
    return True


HELPERS = (_shift, _mark, _advance, _even, _ahead, _go_on)
"""Functions of this module that the kernel calls."""
