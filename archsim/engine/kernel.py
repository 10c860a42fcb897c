"""Event kernel: fires tasks and jumps over repeated states.

It is plain Python, which runs short programs, and ``native`` compiles it. A program is flat:
``code`` holds one instruction a row, ``(STEP, class, 0, 0, 0)``, or ``(LOOP, count, slot, steps
of the body, more)`` and ``(END, first of the body, slot, steps, top)``. All state is in tables of
the caller, so that a run can be stopped and resumed.

At the end of each iteration of a loop the state is compared with a mark that moves on by powers
of two (Brent's method). Where the two differ by a shift in time alone, whole multiples of the
distance between them are skipped, exactly: the coming iterations repeat. The last two rounds are
run where turns are logged, so that the log shows them.

Tasks that run ahead of one another, each at its own rate, reach no repeated state until the task
ahead has no room left. As long as each task waits for the same dependency as before, it continues
at its rate: a loop of one step is advanced to the iteration in which a task would first wait for
another.

Rows that differ only in loops that run ``more`` iterations longer in each row (``with_rows``)
stand between ``(ROWS, count, slot, 0, 0)`` and ``(NEXT, first of the row, slot, steps, more)``.
If the state after a row repeats that after an earlier row, and all such loops in between had
settled on repetitions that divide their growth, the next rows end in that state too, and each
round takes longer than the one before by the same time: two rounds give that time. ``with_rows``
lets a loop grow only if every resource of its row is busy in it.
"""

from __future__ import annotations

from math import gcd

from . import steady_state as repeats
from .policy import ITERATIONS_BETWEEN_LOOKS, MAX_ROWS
from .steady_state import _advance, _ahead, _even, _go_on, _mark, _shift
from .tables import (
    CODE_FIELDS,
    DONE,
    END,
    EVEN,
    FIRED,
    LAST,
    LIMIT,
    LOG_FIELDS,
    LOGGED,
    LOOP,
    LOOP_FIELDS,
    NEXT,
    OVERFLOW,
    PAUSED,
    PC,
    PERIOD,
    PHASE,
    REACH,
    REMAINING,
    ROW,
    ROWS,
    SHIFT,
    SINCE,
    SKIPPED,
    STEP,
    TOP_LENGTH,
    TOP_SHIFT,
    TOP_STEPS,
    KernelProgram,
    Log,
    Marks,
    State,
)


def _note(s: State, log: Log, task: int, step: int, start: int, end: int) -> None:
    """Write a turn to the log."""
    # The first ``head`` turns stay; later turns go round the ``tail`` rows behind them.
    at = s.regs[LOGGED]
    most = len(log.rows) // LOG_FIELDS
    head = most - log.tail
    if at >= head:
        at = head + (at - head) % log.tail
    at *= LOG_FIELDS
    log.rows[at] = task
    log.rows[at + 1] = step
    log.rows[at + 2] = start
    log.rows[at + 3] = end
    s.regs[LOGGED] += 1


def _fire(p: KernelProgram, s: State, log: Log, period: int) -> None:
    """Issue one period's tasks in order."""
    # Python reads local names much faster than fields.
    kinds, result, leave, free, used, last = s.kind, s.result, s.leave, s.free, s.used, s.last
    occupancy, stage, first, ago = p.occupancy, p.stage, p.first, p.ago
    before, room, late, resource = p.before, p.room, p.late, p.resource
    mask, tasks, waits = len(kinds) - 1, len(stage), len(before)
    row = (period & mask) * tasks
    fired = 0
    # ``kind`` is the class of this task's step, ``stage`` steps behind the newest. A task that does
    # not run there, or has begun no step yet (-1), leaves -1, for which no task waits.
    for i in range(tasks):
        kind = kinds[(period - stage[i]) & mask]
        busy = occupancy[kind * tasks + i] if kind >= 0 else -1
        if busy < 0:
            result[row + i] = -1
            leave[row + i] = -1
            continue
        # A task starts when its resource is free and its dependencies are met: turns ``back``
        # periods ago, whose rows are still in the ring.
        r = resource[i]
        start = free[r]
        for d in range(first[i], first[i + 1]):
            back = ago[kind * waits + d]
            if back >= 0:
                at = ((period - back) & mask) * tasks + before[d]
                there = leave[at] if room[d] else result[at]
                if there > start:
                    start = there
        end = start + busy
        free[r] = end
        used[r] += 1
        leave[row + i] = end
        # ``leave`` is when the resource is free again, ``result`` when the result can be used.
        end += late[i]
        result[row + i] = end
        if end > last[i]:
            last[i] = end
        fired += 1
        if log.tail > 0:
            step = period - stage[i] + s.regs[SKIPPED]
            _note(s, log, i, step, start, start + busy)
    s.regs[FIRED] += fired


def _settled(s: State, slot: int, count: int, more: int) -> None:
    """Tell the rows around a loop the repetition on which the loop has settled."""
    loops = s.loops
    at, rows = slot * LOOP_FIELDS, (slot - 1) * LOOP_FIELDS
    each = loops[at + SINCE]
    # A loop of 6, 8, 10, ... iterations that repeats every 3 is whole repetitions longer after 3
    # rows. One that repeats every 4 is so after 2 rows: both together after 6 rows.
    apart = each // gcd(each, abs(more))
    even = loops[rows + EVEN] * (apart // gcd(apart, loops[rows + EVEN]))
    loops[rows + EVEN] = even if even <= MAX_ROWS else 0
    if more < 0:
        # A shrinking loop settles as long as it has the iterations before the repetition began
        # (``least``); ``LAST`` is the last row in which it has them.
        now = count + more * loops[rows + ROW]
        least = now - loops[at + REMAINING] - each
        loops[rows + LAST] = min(loops[rows + LAST], (count - least) // -more)


def _skipped(s: State, log: Log, steps: int) -> None:
    """Skip steps."""
    s.regs[SKIPPED] += steps
    if log.tail > 0:
        _note(s, log, -1, steps, 0, 0)


def _iterated(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, pc: int
) -> bool:
    """Skip repeated iterations at the end of an iteration, or move the mark.

    False if the times would not fit.
    """
    loops, code, at, end = s.loops, p.code, slot * LOOP_FIELDS, pc * CODE_FIELDS
    period = s.regs[PERIOD] - 1
    # Each iteration is compared with one mark, which stays for 1, 2, 4, ... iterations. A
    # repetition is found once the mark lies in it and stays for its length (Brent, BIT 20, 1980).
    if loops[at + PHASE] == 1:
        loops[at + SINCE] += 1
        shift = _shift(p, s, m, slot, reach, period)
        if shift >= 0:
            loops[at + PHASE] = 2
            return _repeated(p, s, m, log, slot, pc, shift)
        alone = code[end + 1] == pc - 1
        if (
            alone
            and loops[at + SINCE] % ITERATIONS_BETWEEN_LOOKS == 0
            and _even(p, s, m, reach, period)
        ):
            # At least two iterations are run as they are.
            rounds = min(_ahead(p, s, m, period), loops[at + REMAINING] - 2)
            if rounds > 0:
                loops[at + REMAINING] -= rounds
                loops[at + PHASE] = 0
                _skipped(s, log, rounds)
                return _go_on(p, s, m, period, rounds)
        if loops[at + SINCE] < loops[at + REACH]:
            return True
        loops[at + REACH] *= 2
    else:
        loops[at + PHASE] = 1
        loops[at + REACH] = 1
    loops[at + SINCE] = 0
    _mark(p, s, m, slot, period)
    return True


def _repeated(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, pc: int, shift: int
) -> bool:
    """Skip iterations that repeat those since the mark. False if the times would not fit."""
    loops, code, at, end = s.loops, p.code, slot * LOOP_FIELDS, pc * CODE_FIELDS
    # Whole repetitions that are left; the rest of the loop is run.
    rounds = loops[at + REMAINING] // loops[at + SINCE]
    if log.tail > 0:
        rounds -= 1
    steps, begin = code[end + 3], (code[end + 1] - 1) * CODE_FIELDS
    count, more = code[begin + 1], code[begin + 4]
    if more != 0:
        _settled(s, slot, count, more)
        count += more * loops[at - LOOP_FIELDS + ROW]
    length = count * steps
    # The longest loop outside all others gives the period of the run.
    if code[end + 4] > 0 and length > s.regs[TOP_LENGTH]:
        s.regs[TOP_LENGTH] = length
        s.regs[TOP_SHIFT] = shift
        s.regs[TOP_STEPS] = loops[at + SINCE] * steps
    if rounds <= 0:
        return True
    if shift > 0 and rounds > LIMIT // shift:
        return False
    loops[at + REMAINING] -= rounds * loops[at + SINCE]
    _skipped(s, log, rounds * loops[at + SINCE] * steps)
    return _advance(p, s, m, slot, s.regs[PERIOD] - 1, rounds * shift)


def _next_row(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, pc: int
) -> bool:
    """Skip rounds of evenly growing rows at the end of a row, or move the mark.

    False if the times would not fit.
    """
    loops, at, end = s.loops, slot * LOOP_FIELDS, pc * CODE_FIELDS
    period = s.regs[PERIOD] - 1
    loops[at + SINCE] += 1
    since, even = loops[at + SINCE], loops[at + EVEN]
    before = loops[at + SHIFT]
    marked = loops[at + PHASE] == 1
    shift = -1
    if marked and even > 0 and since % even == 0 and (before < 0 or since == loops[at + REACH]):
        shift = _shift(p, s, m, slot, reach, period)
    if shift >= 0 and before >= 0:
        loops[at + PHASE] = 2
        row = loops[at + ROW]
        # Skip all rounds but one, and none with a loop too short to settle.
        left = loops[at + LAST] + 1 - row
        rounds = min(loops[at + REMAINING] // since - 1, left // since)
        if rounds <= 0:
            return True
        # Two consecutive rounds took ``before`` and ``shift``: the next take shift + more, shift +
        # 2 * more, ...
        more = shift - before
        # Each round takes ``more`` longer than the one before; rows grow in steps alike.
        pairs, rows = rounds * (rounds + 1) // 2, rounds * since
        if rounds > LIMIT // max(shift, 1) or pairs > LIMIT // max(abs(more), 1):
            return False
        # Row n has each + growth * n steps; ``rows`` rows from ``row`` on are skipped.
        each, growth = p.code[end + 3], p.code[end + 4]
        loops[at + REMAINING] -= rows
        loops[at + ROW] += rows
        _skipped(s, log, each * rows + growth * (row * rows + rows * (rows - 1) // 2))
        return _advance(p, s, m, slot, period, rounds * shift + pairs * more)
    if shift >= 0:
        # One round is known: another of as many rows tells how rounds grow.
        loops[at + SHIFT], loops[at + REACH] = shift, since
    elif marked and even > 0 and since < loops[at + REACH]:
        return True
    else:
        if not marked:
            loops[at + REACH] = 1
        elif even > 0:
            loops[at + REACH] *= 2
        loops[at + SHIFT] = -1
    loops[at + PHASE] = 1
    loops[at + SINCE] = 0
    loops[at + EVEN], loops[at + LAST] = 1, LIMIT
    _mark(p, s, m, slot, period)
    return True


def _begin(p: KernelProgram, s: State, pc: int, slot: int) -> None:
    """Enter a loop, or the first of some rows."""
    loops, more, at = s.loops, p.code[pc * CODE_FIELDS + 4], slot * LOOP_FIELDS
    count = p.code[pc * CODE_FIELDS + 1]
    if more != 0:
        count += more * loops[at - LOOP_FIELDS + ROW]
    loops[at + REMAINING] = count
    loops[at + PHASE] = 0
    loops[at + ROW] = 0


def _ended(p: KernelProgram, s: State, pc: int, slot: int) -> None:
    """Tell the rows around a loop that it ended before it had settled."""
    loops, at = s.loops, slot * LOOP_FIELDS
    begin = (p.code[pc * CODE_FIELDS + 1] - 1) * CODE_FIELDS
    if loops[at + PHASE] != 2 and p.code[begin + 4] != 0:
        loops[at - LOOP_FIELDS + EVEN] = 0


def run(
    p: KernelProgram, s: State, m: Marks, log: Log, reach: int, budget: int, jumping: bool
) -> int:
    """Run a program until it ends or has fired ``budget`` tasks; a paused run continues.

    Parameters
    ----------
    log : Log
        Log of turns; with ``tail`` 0, nothing is logged.
    reach : int
        Number of step classes on which the future depends.
    jumping : bool
        True to skip repetitions.

    Returns
    -------
    int
        ``DONE``, ``PAUSED`` (call again), or ``OVERFLOW``.
    """
    code, regs, loops = p.code, s.regs, s.loops
    mask, stop = len(s.kind) - 1, regs[FIRED] + budget
    instructions = len(code) // CODE_FIELDS
    while regs[PC] < instructions:
        pc = regs[PC]
        now = pc * CODE_FIELDS
        what = code[now]
        if what == STEP:
            period = regs[PERIOD]
            s.kind[period & mask] = code[now + 1]
            _fire(p, s, log, period)
            regs[PERIOD] = period + 1
            regs[PC] = pc + 1
            if regs[FIRED] >= stop:
                return PAUSED
            continue
        slot = code[now + 2]
        at = slot * LOOP_FIELDS
        regs[PC] = pc + 1
        if what in (LOOP, ROWS):
            _begin(p, s, pc, slot)
            continue
        loops[at + REMAINING] -= 1
        if loops[at + REMAINING] == 0:
            if what == END:
                _ended(p, s, pc, slot)
            continue
        regs[PC] = code[now + 1]
        if what == NEXT:
            loops[at + ROW] += 1
        if not jumping or loops[at + PHASE] == 2:
            continue
        if what == END:
            fits = _iterated(p, s, m, log, slot, reach, pc)
        else:
            fits = _next_row(p, s, m, log, slot, reach, pc)
        if not fits:
            return OVERFLOW
        if loops[at + REMAINING] == 0:
            regs[PC] = pc + 1
    return DONE


HELPERS = (
    *repeats.HELPERS,
    *(_note, _fire, _settled, _skipped, _repeated, _iterated, _next_row, _begin, _ended),
)
"""Functions that ``run`` calls, each after those that it calls itself."""
