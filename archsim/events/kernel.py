"""The event engine's inner loop, compiled: fires tasks and jumps over what repeats.

A program is flat: ``code`` holds one instruction a row, ``(STEP, class, 0, 0)``, or
``(LOOP, count, slot, steps of the body)`` and ``(END, first of the body, slot, steps)``.
All state is in arrays of the caller, so that a run can be stopped and taken up again.

At the end of each iteration of a loop the state is compared with a mark that moves on by
powers of two (Brent's method). The state is what the next periods depend on: the ends of
tasks as far back as anything waits for, the free times of resources that were used since
the mark, and the classes of steps that are not yet through. Where it is the same but for a
shift in time, whole multiples of what lies between are skipped, exactly: the graph is
(max,+) linear and the iterations to come are alike. The last two rounds are always run.
The average step, one loop of short periods, is run in Python (``schedule.makespan``), so
that the analytical engine needs no compiler.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Ints = NDArray[np.int64]

STEP, LOOP, END = 0, 1, 2

PC, PERIOD, FIRED, SKIPPED, LOGGED, TOP_SHIFT, TOP_STEPS, TOP_LENGTH = range(8)
"""Places in ``regs``: next instruction, period, tasks fired, steps skipped, log entries, and
of the longest outermost loop that repeats: the shift and steps of a round, and all steps."""
REGISTERS = 8

REMAINING, SINCE, REACH, PHASE = range(4)
"""Places in a row of ``loops``; the phase is 0 before the first mark, 1, or 2 once done."""
LOOP_FIELDS = 4

DONE, PAUSED, OVERFLOW = 0, 1, 2
"""Status codes."""

LIMIT = 1 << 62


class KernelProgram(NamedTuple):
    """What is run; see ``flat.flatten``.

    ``occupancy`` is by class and task (-1: it does not run), ``ago`` by class and
    dependency, in periods (-1: nothing to wait for). Dependencies of task i are those from
    ``first[i]`` to ``first[i + 1]``. The future depends on ``need[i]`` periods of task i.
    """

    code: Ints
    occupancy: Ints
    late: Ints
    ago: Ints
    stage: Ints
    resource: Ints
    first: Ints
    before: Ints
    room: Ints
    need: Ints


class State(NamedTuple):
    """Where a run is.

    ``kind`` (class of the period's newest step), ``result`` and ``leave`` (ends of tasks,
    -1: it did not run) are rings of a power of two of periods. ``used`` counts turns.
    """

    kind: Ints
    result: Ints
    leave: Ints
    free: Ints
    used: Ints
    last: Ints
    loops: Ints
    regs: Ints


class Marks(NamedTuple):
    """States to compare with, by depth of loop; period by period backwards."""

    kind: Ints
    result: Ints
    leave: Ints
    free: Ints
    used: Ints


class Log(NamedTuple):
    """Turns as (task, step, start, end), the last ``tail`` rows written in a ring.

    Task -1 stands for steps that were skipped, as many as its step says.
    """

    rows: Ints
    tail: int


@compiled
def _note(s: State, log: Log, task: int, step: int, start: int, end: int) -> None:
    """Write a turn down."""
    at = s.regs[LOGGED]
    head = log.rows.shape[0] - log.tail
    if at >= head:
        at = head + (at - head) % log.tail
    log.rows[at, 0] = task
    log.rows[at, 1] = step
    log.rows[at, 2] = start
    log.rows[at, 3] = end
    s.regs[LOGGED] += 1


@compiled
def _fire(p: KernelProgram, s: State, log: Log, period: int) -> None:
    """Issue one period's tasks in order."""
    mask = s.kind.shape[0] - 1
    row = period & mask
    for i in range(p.stage.shape[0]):
        kind = s.kind[(period - p.stage[i]) & mask]
        if kind < 0 or p.occupancy[kind, i] < 0:
            s.result[row, i] = -1
            s.leave[row, i] = -1
            continue
        r = p.resource[i]
        start = s.free[r]
        for d in range(p.first[i], p.first[i + 1]):
            back = p.ago[kind, d]
            if back >= 0:
                at = (period - back) & mask
                b = p.before[d]
                start = max(start, s.leave[at, b] if p.room[d] else s.result[at, b])
        end = start + p.occupancy[kind, i]
        s.free[r] = end
        s.used[r] += 1
        s.leave[row, i] = end
        s.result[row, i] = end + p.late[i]
        s.last[i] = max(s.last[i], end + p.late[i])
        s.regs[FIRED] += 1
        if log.tail > 0:
            _note(s, log, i, period - p.stage[i] + s.regs[SKIPPED], start, end)


@compiled
def _shift(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> int:
    """By how much the state is later than a mark's; -1 where it is another."""
    mask = s.kind.shape[0] - 1
    shift = -1
    for q in range(reach):
        if s.kind[(period - q) & mask] != m.kind[slot, q]:
            return -1
    # The newest periods first: where states differ, they mostly differ there.
    for q in range(m.kind.shape[1]):
        row = (period - q) & mask
        for i in range(p.need.shape[0]):
            if q >= p.need[i]:
                continue
            now, was = s.result[row, i], m.result[slot, q, i]
            if now < 0 or was < 0:
                if now != was:
                    return -1
                continue
            if shift < 0:
                shift = now - was
            if now - was != shift or s.leave[row, i] - m.leave[slot, q, i] != shift:
                return -1
    for r in range(s.free.shape[0]):
        if s.used[r] != m.used[slot, r]:
            if shift < 0:
                shift = s.free[r] - m.free[slot, r]
            if s.free[r] - m.free[slot, r] != shift:
                return -1
    return max(shift, 0)


@compiled
def _mark(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> None:
    """Keep the state to compare later ones with."""
    mask = s.kind.shape[0] - 1
    for q in range(reach):
        m.kind[slot, q] = s.kind[(period - q) & mask]
    for q in range(m.kind.shape[1]):
        row = (period - q) & mask
        for i in range(p.need.shape[0]):
            if q < p.need[i]:
                m.result[slot, q, i] = s.result[row, i]
                m.leave[slot, q, i] = s.leave[row, i]
    for r in range(s.free.shape[0]):
        m.free[slot, r] = s.free[r]
        m.used[slot, r] = s.used[r]


@compiled
def _advance(s: State, m: Marks, slot: int, time: int) -> bool:
    """Let everything have happened later; resources that stood still stand still."""
    for row in range(s.result.shape[0]):
        for i in range(s.result.shape[1]):
            if s.result[row, i] > LIMIT - time:
                return False
            if s.result[row, i] >= 0:
                s.result[row, i] += time
                s.leave[row, i] += time
    for r in range(s.free.shape[0]):
        if s.used[r] != m.used[slot, r]:
            s.free[r] += time
    return True


@compiled
def _iterated(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, steps: int
) -> bool:
    """After an iteration of a loop: skip what repeats, or move the mark on.

    False if the times would not fit.
    """
    loop = s.loops[slot]
    period = s.regs[PERIOD] - 1
    if loop[PHASE] == 1:
        loop[SINCE] += 1
        shift = _shift(p, s, m, slot, reach, period)
        if shift >= 0:
            loop[PHASE] = 2
            rounds = loop[REMAINING] // loop[SINCE] - 1
            length = p.code[s.regs[PC] - 1, 1] * steps
            if slot == 0 and length > s.regs[TOP_LENGTH]:
                s.regs[TOP_LENGTH] = length
                s.regs[TOP_SHIFT] = shift
                s.regs[TOP_STEPS] = loop[SINCE] * steps
            if rounds <= 0:
                return True
            if shift > 0 and rounds > LIMIT // shift:
                return False
            loop[REMAINING] -= rounds * loop[SINCE]
            skipped = rounds * loop[SINCE] * steps
            s.regs[SKIPPED] += skipped
            if log.tail > 0:
                _note(s, log, -1, skipped, 0, 0)
            return _advance(s, m, slot, rounds * shift)
        if loop[SINCE] < loop[REACH]:
            return True
        loop[REACH] *= 2
    else:
        loop[PHASE] = 1
        loop[REACH] = 1
    loop[SINCE] = 0
    _mark(p, s, m, slot, reach, period)
    return True


@compiled
def run(
    p: KernelProgram, s: State, m: Marks, log: Log, reach: int, budget: int, jumping: bool
) -> int:
    """Run a program, or go on with it, until it ends or ``budget`` tasks have been fired.

    Parameters
    ----------
    log : Log
        Where turns are written down; ``tail`` 0: nowhere.
    reach : int
        Classes of steps that the future depends on.
    jumping : bool
        Whether to skip what repeats.

    Returns
    -------
    int
        ``DONE``, ``PAUSED`` (call again), or ``OVERFLOW``.
    """
    mask = s.kind.shape[0] - 1
    stop = s.regs[FIRED] + budget
    while s.regs[PC] < p.code.shape[0]:
        pc = s.regs[PC]
        what = p.code[pc, 0]
        if what == STEP:
            period = s.regs[PERIOD]
            s.kind[period & mask] = p.code[pc, 1]
            _fire(p, s, log, period)
            s.regs[PERIOD] = period + 1
            s.regs[PC] = pc + 1
            if s.regs[FIRED] >= stop:
                return PAUSED
            continue
        slot = p.code[pc, 2]
        s.regs[PC] = pc + 1
        if what == LOOP:
            s.loops[slot, REMAINING] = p.code[pc, 1]
            s.loops[slot, PHASE] = 0
            continue
        s.loops[slot, REMAINING] -= 1
        if s.loops[slot, REMAINING] == 0:
            continue
        s.regs[PC] = p.code[pc, 1]
        if not jumping or s.loops[slot, PHASE] == 2:
            continue
        if not _iterated(p, s, m, log, slot, reach, p.code[pc, 3]):
            return OVERFLOW
    return DONE
