"""The event kernel compiled, for runs of more events than are quick in Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import compiled_with
from . import kernel
from .tables import KernelProgram, Log, Marks, Numbers, State


def _copy(
    into: Numbers, at: int, ring: Numbers, newest: int, mask: int, rows: int, width: int
) -> None:
    """As in ``repeats``, one after the other: what Numba says of slices of unlike lengths takes
    longer to compile than any function of the kernel."""
    for q in range(rows):
        row = ((newest - q) & mask) * width
        for n in range(width):
            into[at + q * width + n] = ring[row + n]


_run = compiled_with((_copy, *kernel.HELPERS), kernel.run)


def run(
    p: KernelProgram, s: State, m: Marks, log: Log, reach: int, budget: int, jumping: bool
) -> int:
    """As ``kernel.run``, on the same tables."""
    state, marks, rows = _arrays(s), _arrays(m), _arrays(log)
    status = _run(_arrays(p), state, marks, rows, reach, budget, jumping)
    for tables, arrays in ((s, state), (m, marks), (log, rows)):
        for table, array in zip(tables, arrays, strict=True):
            if isinstance(table, list):
                table[:] = array.tolist()
    return status


def _arrays(tables: KernelProgram | State | Marks | Log) -> Any:
    """The same tables as arrays of numpy, which are all that Numba knows."""
    arrays: dict[str, Any] = {
        name: np.array(table, np.int64)
        for name, table in tables._asdict().items()
        if isinstance(table, list)
    }
    return tables._replace(**arrays)
