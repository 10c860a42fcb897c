"""The event engine's inner loop: fires tasks and jumps over what repeats.

It is Python as it stands here, which short runs are done with, and Numba's in ``native``.
A program is flat: ``code`` holds one instruction a row, ``(STEP, class, 0, 0, 0)``, or
``(LOOP, count, slot, steps of the body, more)`` and ``(END, first of the body, slot, steps, top)``.
All state is in arrays of the caller, so that a run can be stopped and taken up again.

At the end of each iteration of a loop the state is compared with a mark that moves on by
powers of two (Brent's method). The state is what the next periods depend on: the ends of
tasks as far back as anything waits for, the free times of resources that were used since
the mark, and the classes of steps that are not yet through. Where it is the same but for a
shift in time, whole multiples of what lies between are skipped, exactly: the graph is
(max,+) linear and the iterations to come are alike. The last two rounds are always run.

Rows that are alike but for loops that go on ``more`` iterations longer in each (``flat_rows``)
stand between ``(ROWS, count, slot, 0, 0)`` and ``(NEXT, first of the row, slot, steps, more)``.
Where the state after a row is that after an earlier one, and all such loops in between had
settled, on repetitions that what they have grown by is whole multiples of, the next rows end in
that state too, and each round takes longer than the one before by as much: two rounds tell by
how much. ``flat_rows`` lets a loop grow only if no resource of its row stands still in it.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Numbers = memoryview[int]
    """A table of ``tables``; in ``native`` an array of the same memory."""

STEP, LOOP, END, ROWS, NEXT = range(5)

PC, PERIOD, FIRED, SKIPPED, LOGGED, TOP_SHIFT, TOP_STEPS, TOP_LENGTH = range(8)
"""Places in ``regs``: next instruction, period, tasks fired, steps skipped, log entries, and
of the longest outermost loop that repeats: the shift and steps of a round, and all steps."""
REGISTERS = 8

REMAINING, SINCE, REACH, PHASE, ROW, SHIFT, EVEN, LAST = range(8)
"""Places in a row of ``loops``; the phase is 0 before the first mark, 1, or 2 once done. Of rows
also the number of this one, the shift of the round before the mark (-1: none is known), after how
many rows all loops are whole repetitions longer (0: not all settle), and the last row in which
they are long enough to."""
LOOP_FIELDS = 8

DONE, PAUSED, OVERFLOW = 0, 1, 2
"""Status codes."""

_NEWEST = 4
"""Periods that are compared first."""
MOST_ROWS = 1 << 20
"""Rows in a round that are still looked for."""

LIMIT = 1 << 62


class KernelProgram(NamedTuple):
    """What is run; see ``flat.flatten``.

    ``occupancy`` is by class and task (-1: it does not run), ``ago`` by class and
    dependency, in periods (-1: nothing to wait for). Dependencies of task i are those from
    ``first[i]`` to ``first[i + 1]``. The future depends on ``need[i]`` periods of task i.
    """

    code: Numbers
    occupancy: Numbers
    late: Numbers
    ago: Numbers
    stage: Numbers
    resource: Numbers
    first: Numbers
    before: Numbers
    room: Numbers
    need: Numbers


class State(NamedTuple):
    """Where a run is.

    ``kind`` (class of the period's newest step), ``result`` and ``leave`` (ends of tasks,
    -1: it did not run) are rings of a power of two of periods. ``used`` counts turns.
    """

    kind: Numbers
    result: Numbers
    leave: Numbers
    free: Numbers
    used: Numbers
    last: Numbers
    loops: Numbers
    regs: Numbers


class Marks(NamedTuple):
    """States to compare with, by depth of loop; ``back`` periods, backwards."""

    back: int
    kind: Numbers
    result: Numbers
    leave: Numbers
    free: Numbers
    used: Numbers


class Log(NamedTuple):
    """Turns as (task, step, start, end), the last ``tail`` rows written in a ring.

    Task -1 stands for steps that were skipped, as many as its step says.
    """

    rows: Numbers
    tail: int


def _note(s: State, log: Log, task: int, step: int, start: int, end: int) -> None:
    """Write a turn down."""
    at = s.regs[LOGGED]
    head = len(log.rows) - log.tail
    if at >= head:
        at = head + (at - head) % log.tail
    log.rows[at, 0] = task
    log.rows[at, 1] = step
    log.rows[at, 2] = start
    log.rows[at, 3] = end
    s.regs[LOGGED] += 1


def _fire(p: KernelProgram, s: State, log: Log, period: int) -> None:
    """Issue one period's tasks in order."""
    # Python reads what has a name of its own much sooner than a field.
    kinds, result, leave, free, used, last = s.kind, s.result, s.leave, s.free, s.used, s.last
    occupancy, stage, first, ago = p.occupancy, p.stage, p.first, p.ago
    before, room, late, resource = p.before, p.room, p.late, p.resource
    mask = len(kinds) - 1
    row = period & mask
    fired = 0
    for i in range(len(stage)):
        kind = kinds[(period - stage[i]) & mask]
        busy = occupancy[kind, i] if kind >= 0 else -1
        if busy < 0:
            result[row, i] = -1
            leave[row, i] = -1
            continue
        r = resource[i]
        start = free[r]
        for d in range(first[i], first[i + 1]):
            back = ago[kind, d]
            if back >= 0:
                at = (period - back) & mask
                there = leave[at, before[d]] if room[d] else result[at, before[d]]
                if there > start:
                    start = there
        end = start + busy
        free[r] = end
        used[r] += 1
        leave[row, i] = end
        end_of_result = end + late[i]
        result[row, i] = end_of_result
        if end_of_result > last[i]:
            last[i] = end_of_result
        fired += 1
        if log.tail > 0:
            _note(s, log, i, period - stage[i] + s.regs[SKIPPED], start, end)
    s.regs[FIRED] += fired


def _shift(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> int:
    """By how much the state is later than a mark's; -1 where it is another."""
    need, result, leave = p.need, s.result, s.leave
    mask = len(s.kind) - 1
    shift = -1
    for q in range(reach):
        if s.kind[(period - q) & mask] != m.kind[slot, q]:
            return -1
    # The newest periods first: where states differ, they mostly differ there.
    newest = min(m.back, _NEWEST)
    for begin in (0, newest):
        for i in range(len(need)):
            for q in range(begin, min(need[i], newest) if begin == 0 else need[i]):
                row = (period - q) & mask
                now, was = result[row, i], m.result[slot, q, i]
                if now < 0 or was < 0:
                    if now != was:
                        return -1
                    continue
                if shift < 0:
                    shift = now - was
                if now - was != shift or leave[row, i] - m.leave[slot, q, i] != shift:
                    return -1
    for r in range(len(s.free)):
        if s.used[r] != m.used[slot, r]:
            if shift < 0:
                shift = s.free[r] - m.free[slot, r]
            if s.free[r] - m.free[slot, r] != shift:
                return -1
    return max(shift, 0)


def _mark(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> None:
    """Keep the state to compare later ones with."""
    mask = len(s.kind) - 1
    for q in range(reach):
        m.kind[slot, q] = s.kind[(period - q) & mask]
    result, leave = m.result, m.leave
    for i in range(len(p.need)):
        for q in range(p.need[i]):
            row = (period - q) & mask
            result[slot, q, i] = s.result[row, i]
            leave[slot, q, i] = s.leave[row, i]
    for r in range(len(s.free)):
        m.free[slot, r] = s.free[r]
        m.used[slot, r] = s.used[r]


def _advance(p: KernelProgram, s: State, m: Marks, slot: int, period: int, time: int) -> bool:
    """Let all that is still asked for have happened later; resources that stood still do.

    False if the times would not fit.
    """
    result, leave, need = s.result, s.leave, p.need
    mask = len(s.kind) - 1
    for i in range(len(need)):
        for q in range(need[i]):
            row = (period - q) & mask
            if result[row, i] > LIMIT - time:
                return False
            if result[row, i] >= 0:
                result[row, i] += time
                leave[row, i] += time
    for r in range(len(s.free)):
        if s.used[r] != m.used[slot, r]:
            if s.free[r] > LIMIT - time:
                return False
            s.free[r] += time
    return True


def _settled(s: State, slot: int, count: int, more: int) -> None:
    """Let the rows around a loop know on what it has settled."""
    loops = s.loops
    rows, each = slot - 1, loops[slot, SINCE]
    # After so many rows the loop is a whole number of what repeats longer.
    apart = each // gcd(each, abs(more))
    even = loops[rows, EVEN] * (apart // gcd(apart, loops[rows, EVEN]))
    loops[rows, EVEN] = even if even <= MOST_ROWS else 0
    if more < 0:
        now = count + more * loops[rows, ROW]
        least = now - loops[slot, REMAINING] - each
        loops[rows, LAST] = min(loops[rows, LAST], (count - least) // -more)


def _iterated(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, end: int
) -> bool:
    """After an iteration of a loop: skip what repeats, or move the mark on.

    False if the times would not fit.
    """
    loops, code = s.loops, p.code
    period = s.regs[PERIOD] - 1
    if loops[slot, PHASE] == 1:
        loops[slot, SINCE] += 1
        shift = _shift(p, s, m, slot, reach, period)
        if shift >= 0:
            loops[slot, PHASE] = 2
            rounds = loops[slot, REMAINING] // loops[slot, SINCE] - 1
            steps, begin = code[end, 3], code[end, 1] - 1
            count, more = code[begin, 1], code[begin, 4]
            if more != 0:
                _settled(s, slot, count, more)
                count += more * loops[slot - 1, ROW]
            length = count * steps
            if code[end, 4] > 0 and length > s.regs[TOP_LENGTH]:
                s.regs[TOP_LENGTH] = length
                s.regs[TOP_SHIFT] = shift
                s.regs[TOP_STEPS] = loops[slot, SINCE] * steps
            if rounds <= 0:
                return True
            if shift > 0 and rounds > LIMIT // shift:
                return False
            loops[slot, REMAINING] -= rounds * loops[slot, SINCE]
            skipped = rounds * loops[slot, SINCE] * steps
            s.regs[SKIPPED] += skipped
            if log.tail > 0:
                _note(s, log, -1, skipped, 0, 0)
            return _advance(p, s, m, slot, period, rounds * shift)
        if loops[slot, SINCE] < loops[slot, REACH]:
            return True
        loops[slot, REACH] *= 2
    else:
        loops[slot, PHASE] = 1
        loops[slot, REACH] = 1
    loops[slot, SINCE] = 0
    _mark(p, s, m, slot, reach, period)
    return True


def _next_row(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, end: int
) -> bool:
    """After a row: skip rounds of rows that grow evenly, or move the mark on.

    False if the times would not fit.
    """
    loops = s.loops
    period = s.regs[PERIOD] - 1
    loops[slot, SINCE] += 1
    since, even = loops[slot, SINCE], loops[slot, EVEN]
    before = loops[slot, SHIFT]
    marked = loops[slot, PHASE] == 1
    shift = -1
    if marked and even > 0 and since % even == 0 and (before < 0 or since == loops[slot, REACH]):
        shift = _shift(p, s, m, slot, reach, period)
    if shift >= 0 and before >= 0:
        loops[slot, PHASE] = 2
        row = loops[slot, ROW]
        left = loops[slot, LAST] + 1 - row
        rounds = min(loops[slot, REMAINING] // since - 1, left // since)
        if rounds <= 0:
            return True
        more = shift - before
        # A round takes so much more than the one before; rows have so many more steps.
        pairs, rows = rounds * (rounds + 1) // 2, rounds * since
        if rounds > LIMIT // max(shift, 1) or pairs > LIMIT // max(abs(more), 1):
            return False
        skipped = p.code[end, 3] * rows + p.code[end, 4] * (row * rows + rows * (rows - 1) // 2)
        loops[slot, REMAINING] -= rows
        loops[slot, ROW] += rows
        s.regs[SKIPPED] += skipped
        if log.tail > 0:
            _note(s, log, -1, skipped, 0, 0)
        return _advance(p, s, m, slot, period, rounds * shift + pairs * more)
    if shift >= 0:
        # One round is known: another of as many rows tells how they grow.
        loops[slot, SHIFT], loops[slot, REACH] = shift, since
    elif marked and even > 0 and since < loops[slot, REACH]:
        return True
    else:
        if not marked:
            loops[slot, REACH] = 1
        elif even > 0:
            loops[slot, REACH] *= 2
        loops[slot, SHIFT] = -1
    loops[slot, PHASE] = 1
    loops[slot, SINCE] = 0
    loops[slot, EVEN], loops[slot, LAST] = 1, LIMIT
    _mark(p, s, m, slot, reach, period)
    return True


def _begin(p: KernelProgram, s: State, pc: int, slot: int) -> None:
    """Enter a loop, or the first of some rows."""
    loops, more = s.loops, p.code[pc, 4]
    count = p.code[pc, 1]
    if more != 0:
        count += more * loops[slot - 1, ROW]
    loops[slot, REMAINING] = count
    loops[slot, PHASE] = 0
    loops[slot, ROW] = 0


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
    mask = len(s.kind) - 1
    stop = s.regs[FIRED] + budget
    while s.regs[PC] < len(p.code):
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
        if what in (LOOP, ROWS):
            _begin(p, s, pc, slot)
            continue
        s.loops[slot, REMAINING] -= 1
        if s.loops[slot, REMAINING] == 0:
            if what == END and s.loops[slot, PHASE] != 2 and p.code[p.code[pc, 1] - 1, 4] != 0:
                s.loops[slot - 1, EVEN] = 0
            continue
        s.regs[PC] = p.code[pc, 1]
        if what == NEXT:
            s.loops[slot, ROW] += 1
        if not jumping or s.loops[slot, PHASE] == 2:
            continue
        if what == END:
            fits = _iterated(p, s, m, log, slot, reach, pc)
        else:
            fits = _next_row(p, s, m, log, slot, reach, pc)
        if not fits:
            return OVERFLOW
    return DONE


HELPERS = (_note, _fire, _shift, _mark, _advance, _settled, _iterated, _next_row, _begin)
"""What ``run`` calls, each after those that it calls itself."""
