"""Tables of the event kernel: lists of whole numbers, or arrays where the kernel is compiled.

Python reads a list in a quarter of the time of an array, and one axis in less than half the time of
two. A table of several rows is therefore one list, row after row. A run in Python does not import
numpy.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

STEP, LOOP, END, ROWS, NEXT = range(5)
CODE_FIELDS = 5
"""Fields of an instruction; see ``kernel``."""

PC, PERIOD, FIRED, SKIPPED, LOGGED, TOP_SHIFT, TOP_STEPS, TOP_LENGTH = range(8)
"""Places in ``regs``: next instruction, period, fired tasks, skipped steps, log entries; and for
the longest outermost loop that repeats, the shift and steps of a round, and all steps."""
REGISTERS = 8

REMAINING, SINCE, REACH, PHASE, ROW, SHIFT, EVEN, LAST = range(8)
"""Places in a row of ``loops``. The phase is 0 before the first mark, 1 after it, or 2 once
done. Rows also have their number, the shift of the round before the mark (-1: unknown), the rows
after which all loops are whole repetitions longer (0: not all settle), and the last row in which
loops are long enough."""
LOOP_FIELDS = 8

LOG_FIELDS = 4
"""Task, step, start and end of a turn."""

DONE, PAUSED, OVERFLOW = 0, 1, 2
"""Status codes."""

LIMIT = 1 << 62
"""Units of time that a run may take."""

Numbers = list[int]
"""A table; in ``native`` an array of the same length."""


class KernelProgram(NamedTuple):
    """Program as flat tables; see ``events.flatten``.

    ``occupancy`` is by class and task (-1: the task does not run), ``ago`` by class and dependency,
    in periods (-1: no wait). Dependencies of task i are those from ``first[i]`` to ``first[i +
    1]``. The future depends on ``need[i]`` periods of task i.

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


class State(NamedTuple):
    """State of a run.

    ``kind`` (class of the period's newest step), ``result`` and ``leave`` (ends of tasks, -1: the
    task did not run) are rings of a power of two of periods. ``used`` counts turns.

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
    """States to compare with, by depth of loop: the last ``back`` periods, newest first.

    For the last period, ``rate`` is the time by which each task ended later than in the period
    before; ``pace`` is the same for each resource (-1: idle), and ``held`` is when the resource was
    free.
    """

    back: int
    kind: Numbers
    result: Numbers
    leave: Numbers
    free: Numbers
    used: Numbers
    last: Numbers
    rate: Numbers
    pace: Numbers
    held: Numbers


class Log(NamedTuple):
    """Turns as (task, step, start, end), with the last ``tail`` rows as a ring.

    Task -1 stands for skipped steps; its step is their number.
    """

    rows: Numbers
    tail: int


def filled(number: int, *shape: int) -> Numbers:
    """Return a table of some shape with one number everywhere.

    >>> filled(-1, 2, 3)
    [-1, -1, -1, -1, -1, -1]
    """
    return [number] * prod(shape)
