"""Event kernel: fires the tasks of a program and jumps over repeated states.

The code is plain Python on flat tables and runs short programs directly; ``tables`` compiles it for
longer ones. A program is flat: ``code`` holds one instruction a row. The instructions are ``(STEP,
class, 0, 0, 0)``, ``(LOOP, count, slot, steps of the body, more)`` and ``(END, first of the body,
slot, steps, top)``. The caller owns the tables that hold all state, so that a run can be stopped
and resumed.

At the end of each iteration of a loop, the state is compared with a mark: a stored earlier state
that moves on by powers of two (Brent's method). If the two states differ only by a shift in time,
the coming iterations repeat. Whole multiples of the distance between the states are then skipped,
exactly. If slices are logged, the last two rounds are run, so that the log shows them.

Tasks may run ahead of one another, each at its own rate. The state then repeats only when the task
ahead has no room left. As long as each task waits for the same dependency as before, it continues
at its rate. A loop of one step is therefore advanced to the iteration in which a task would first
wait for another dependency.

Rows are equal apart from loops that run ``more`` iterations longer in each row (``with_rows``).
They stand between ``(ROWS, count, slot, 0, 0)`` and ``(NEXT, first of the row, slot, steps,
more)``. Suppose that the state after a row repeats the state after an earlier row. Suppose also
that all such loops in between had settled on repetitions that divide their growth. Then the next
rows end in that state too. Each round takes longer than the one before by the same time, and two
rounds give that time. ``with_rows`` lets a loop grow only if every resource of its row is busy in
it.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

from ..tables import Numbers, copy_row
from .policy import ITERATIONS_BETWEEN_LOOKS, MAX_ROWS

STEP, LOOP, END, ROWS, NEXT = range(5)
CODE_FIELDS = 5
"""Number of fields in an instruction; the start of this module explains them."""

PC, PERIOD, FIRED, SKIPPED, LOGGED, TOP_SHIFT, TOP_STEPS, TOP_LENGTH = range(8)
"""Indices into ``regs``.

The first five are: next instruction, period, fired tasks, skipped steps, log entries. The last
three describe the longest outermost loop that repeats: shift and steps of a round, and all steps.
"""
REGISTERS = 8

REMAINING, SINCE, REACH, PHASE, ROW, SHIFT, EVEN, LAST = range(8)
"""Indices into a row of ``loops``, which holds the state of one loop.

The phase is 0 before the first mark, 1 after it, and 2 once the loop is done. Entries for rows also
have their number, and the shift of the round before the mark (-1: unknown). They have the number of
rows after which all loops are whole repetitions longer (0: not all settle), and the last row in
which loops are long enough.
"""
LOOP_FIELDS = 8

LOG_FIELDS = 4
"""Number of fields in a log entry: task, step, start and end of a slice."""

DONE, PAUSED, OVERFLOW = 0, 1, 2
"""Status codes that ``run`` returns."""

NEVER = 1 << 62
"""Number larger than any row or period of a run."""


class KernelProgram(NamedTuple):
    """Program as flat tables, made by ``events.flatten``.

    ``occupancy`` is by class and task (-1: the task does not run). ``ago`` is by class and
    dependency, in periods (-1: no wait). Dependencies of task i are those from ``first[i]`` to
    ``first[i + 1]``. The future depends on the last ``need[i]`` periods of task i.

    For tasks A and B and classes 0 to 2 the occupancies are ``[A0, B0, A1, B1, A2, B2]``: that of
    task i in class k is at ``k * tasks + i``.
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
    limit: int
    """Largest time that the run may reach, in time units."""


class State(NamedTuple):
    """State of a run as flat tables.

    ``kind`` is the class of the newest step, by period. ``result`` and ``leave`` are ends of tasks
    (-1: the task did not run). All three are rings over a power of two of periods. ``used`` counts
    how often each task ran.

    Period t is row ``t % rows`` of a ring, which is ``t & (rows - 1)``; task i of the period is at
    ``row * tasks + i``.
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
    """Stored earlier states (marks), by depth of loop, with which later states are compared.

    Each mark has the last ``back`` periods, oldest first. For the last period, ``rate`` is the time
    by which each task ended later than in the period before. ``pace`` is that time for each
    resource (-1: idle), and ``held`` is the time at which the resource was free.
    """

    back: int
    kind: Numbers
    result: Numbers
    leave: Numbers
    free: Numbers
    used: Numbers
    rate: Numbers
    pace: Numbers
    held: Numbers


class Log(NamedTuple):
    """Logged slices as (task, step, start, end); the last ``tail`` rows form a ring.

    Task -1 stands for skipped steps; its step field is the number of skipped steps.
    """

    rows: Numbers
    tail: int


def _shift(p: KernelProgram, s: State, m: Marks, slot: int, reach: int, period: int) -> int:
    """Return by how much time the state is later than a mark; -1 if the states also differ
    otherwise.

    All differences in time must be equal to the first one. A state whose tasks end at 10 and 14
    repeats one of 3 and 7, later by 7, but not one of 3 and 8.
    """
    need, result, leave = p.need, s.result, s.leave
    mask, tasks, resources = len(s.kind) - 1, len(need), len(s.free)
    last, shift = (slot + 1) * m.back - 1, -1
    # Most differences show in the resources' free times, else in the newest or oldest period.
    for i in range(tasks):
        # A resource that was not used since the mark is used by nothing that repeats: its free time
        # decides nothing and is not shifted either (``_advance``).
        if s.used[i] != m.used[slot * tasks + i]:
            r = p.resource[i]
            later = s.free[r] - m.free[slot * resources + r]
            if shift < 0:
                shift = later
            if later != shift:
                return -1
    for q in range(reach):
        if s.kind[(period - q) & mask] != m.kind[last - q]:
            return -1
    for newest in (True, False):
        for i in range(tasks):
            for q in range(min(need[i], 1)) if newest else range(need[i] - 1, 0, -1):
                here = ((period - q) & mask) * tasks + i
                there = (last - q) * tasks + i
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
    into: Numbers, slot: int, ring: Numbers, newest: int, mask: int, rows: int, width: int
) -> None:
    """Copy the newest ``rows`` rows of a ring, oldest first, into a slot of a table.

    Each slot has ``rows`` rows.
    """
    at, oldest = slot * rows * width, (newest - rows + 1) & mask
    end = min(oldest + rows, mask + 1)
    copy_row(into, at, ring[oldest * width : end * width])
    # The rest is at the start of the ring.
    copy_row(into, at + (end - oldest) * width, ring[: (rows - end + oldest) * width])


def _mark(p: KernelProgram, s: State, m: Marks, slot: int, period: int) -> None:
    """Store the state as a mark, with which later states are compared."""
    mask, tasks, resources, back = len(s.kind) - 1, len(p.need), len(s.free), m.back
    _copy(m.kind, slot, s.kind, period, mask, back, 1)
    _copy(m.result, slot, s.result, period, mask, back, tasks)
    _copy(m.leave, slot, s.leave, period, mask, back, tasks)
    copy_row(m.free, slot * resources, s.free)
    copy_row(m.used, slot * tasks, s.used)


def _advance(p: KernelProgram, s: State, m: Marks, slot: int, period: int, time: int) -> bool:
    """Shift the times of all tasks that ran since the mark; idle resources keep their times.

    Returns False if the times would exceed the limit.
    """
    result, leave, need, last = s.result, s.leave, p.need, s.last
    mask, tasks, resources = len(s.kind) - 1, len(need), len(s.free)
    for i in range(tasks):
        for q in range(need[i]):
            at = ((period - q) & mask) * tasks + i
            if result[at] > p.limit - time:
                return False
            if result[at] >= 0:
                result[at] += time
                leave[at] += time
    for r in range(resources):
        m.pace[r] = 0
    for i in range(tasks):
        if s.used[i] != m.used[slot * tasks + i]:
            if last[i] > p.limit - time:
                return False
            last[i] += time
            m.pace[p.resource[i]] = time
    for r in range(resources):
        if s.free[r] > p.limit - m.pace[r]:
            return False
        s.free[r] += m.pace[r]
    return True


def _even(p: KernelProgram, s: State, m: Marks, reach: int, period: int) -> bool:
    """Return whether each task advanced at a constant rate over all periods that dependencies
    reach.

    The rates are stored, with the times at which resources were free before this period. The result
    is False also if all rates are equal, because then the state repeats.
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
    least, most = p.limit, -1
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
    """Return the periods until a task first waits for another dependency, if rates stay constant.

    The dependency that a task waits for advances at the task's rate. All other dependencies of the
    task are behind, and catch up if their rate is higher. For example, a task starts 40 after its
    room was there, and the room comes 2 later each period than the task. The task keeps its rate
    for 20 periods: ``lag // nearer``. A task that waited for nothing does not advance evenly; the
    result is 0.
    """
    result, leave, rates, pace, held = s.result, s.leave, m.rate, m.pace, m.held
    mask, tasks, waits = len(s.kind) - 1, len(rates), len(p.before)
    row, kind = (period & mask) * tasks, s.kind[period & mask]
    least = NEVER
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
    """Advance all tasks by some periods, each at its rate. Returns False if times exceed the
    limit.
    """
    result, leave, rates, need = s.result, s.leave, m.rate, p.need
    mask, tasks = len(s.kind) - 1, len(need)
    row = (period & mask) * tasks
    for i in range(tasks):
        if rates[i] > 0 and rounds > (p.limit - result[row + i]) // rates[i]:
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


def _note(s: State, log: Log, task: int, step: int, start: int, end: int) -> None:
    """Write one slice to the log."""
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
    """Issue one period's tasks in order and record their times."""
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
        used[i] += 1
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
    """Record that a loop has settled on a repetition, for the rows around the loop."""
    loops = s.loops
    at, rows = slot * LOOP_FIELDS, (slot - 1) * LOOP_FIELDS
    each = loops[at + SINCE]
    # A loop of 6, 8, 10, ... iterations that repeats every 3 is whole repetitions longer after 3
    # rows. One that repeats every 4 is so after 2 rows: both together after 6 rows.
    stride = each // gcd(each, abs(more))
    even = loops[rows + EVEN] * (stride // gcd(stride, loops[rows + EVEN]))
    loops[rows + EVEN] = even if even <= MAX_ROWS else 0
    if more < 0:
        # A shrinking loop settles as long as it has the iterations before the repetition began
        # (``least``); ``LAST`` is the last row in which it has them.
        now = count + more * loops[rows + ROW]
        least = now - loops[at + REMAINING] - each
        loops[rows + LAST] = min(loops[rows + LAST], (count - least) // -more)


def _skipped(s: State, log: Log, steps: int) -> None:
    """Record that steps were skipped."""
    s.regs[SKIPPED] += steps
    if log.tail > 0:
        _note(s, log, -1, steps, 0, 0)


def _iterated(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, pc: int
) -> bool:
    """Finish an iteration of a loop: skip repeated iterations, or move the mark.

    Returns False if the times would exceed the limit.
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
    """Skip iterations that repeat the iterations since the mark.

    Returns False if the times would exceed the limit.
    """
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
    if shift > 0 and rounds > p.limit // shift:
        return False
    loops[at + REMAINING] -= rounds * loops[at + SINCE]
    _skipped(s, log, rounds * loops[at + SINCE] * steps)
    return _advance(p, s, m, slot, s.regs[PERIOD] - 1, rounds * shift)


def _next_row(
    p: KernelProgram, s: State, m: Marks, log: Log, slot: int, reach: int, pc: int
) -> bool:
    """Finish a row: skip rounds of evenly growing rows, or move the mark.

    Returns False if the times would exceed the limit.
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
        if rounds > p.limit // max(shift, 1) or pairs > p.limit // max(abs(more), 1):
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
    loops[at + EVEN], loops[at + LAST] = 1, NEVER
    _mark(p, s, m, slot, period)
    return True


def _begin(p: KernelProgram, s: State, pc: int, slot: int) -> None:
    """Enter a loop, or the first row of a sequence of rows."""
    loops, more, at = s.loops, p.code[pc * CODE_FIELDS + 4], slot * LOOP_FIELDS
    count = p.code[pc * CODE_FIELDS + 1]
    if more != 0:
        count += more * loops[at - LOOP_FIELDS + ROW]
    loops[at + REMAINING] = count
    loops[at + PHASE] = 0
    loops[at + ROW] = 0


def _ended(p: KernelProgram, s: State, pc: int, slot: int) -> None:
    """Record that a loop ended before it had settled, for the rows around the loop."""
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
        Log of slices; with ``tail`` 0, nothing is logged.
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
    *(_shift, _copy, _mark, _advance, _even, _ahead, _go_on),
    *(_note, _fire, _settled, _skipped, _repeated, _iterated, _next_row, _begin, _ended),
)
"""Functions that ``run`` calls, ordered so that each comes after the functions it calls."""
