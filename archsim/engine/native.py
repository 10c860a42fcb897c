"""The event kernel compiled, for runs of more events than are quick in Python."""

from __future__ import annotations

from ..compiled import arrays_of, compiled_with
from . import kernel
from .tables import KernelProgram, Log, Marks, Numbers, State


def _copy(
    into: Numbers, at: int, ring: Numbers, newest: int, mask: int, rows: int, width: int
) -> None:
    """Copy rows as ``steady_state`` does.

    Numba compiles an assignment between slices of different lengths for longer than any function of
    the kernel.
    """
    for q in range(rows):
        row = ((newest - q) & mask) * width
        for n in range(width):
            into[at + q * width + n] = ring[row + n]


_run = compiled_with((_copy, *kernel.HELPERS), kernel.run)


def run(
    p: KernelProgram, s: State, m: Marks, log: Log, reach: int, budget: int, jumping: bool
) -> int:
    """Run a program as ``kernel.run`` does, on the same tables."""
    state, marks, rows = arrays_of(s), arrays_of(m), arrays_of(log)
    status = _run(arrays_of(p), state, marks, rows, reach, budget, jumping)
    for tables, arrays in ((s, state), (m, marks), (log, rows)):
        for table, array in zip(tables, arrays, strict=True):
            if isinstance(table, list):
                table[:] = array.tolist()
    return status
