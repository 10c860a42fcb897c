"""The choice of an order compiled, for processes that schedule many graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled import arrays_of, compiled_with
from . import order_kernel
from .order_tables import Numbers, OrderTables, next_choice


def filled(length: int, value: int) -> Any:
    """Return a table as ``order_tables.filled`` does."""
    return np.full(length, value, np.int64)


def copy_row(into: Numbers, at: int, row: Numbers) -> None:
    """Write a row as ``order_tables.copy_row`` does.

    Numba compiles an assignment between slices of different lengths for longer than a loop.
    """
    for i in range(len(row)):
        into[at + i] = row[i]


def first_smallest(numbers: Numbers) -> Any:
    """Return a position as ``order_tables.first_smallest`` does."""
    return np.argmin(numbers)


_choose = compiled_with(
    (filled, copy_row, first_smallest, next_choice, *order_kernel.HELPERS), order_kernel.choose
)


def choose(
    t: OrderTables,
    period: int,
    slacks: Numbers,
    steps: int,
    sure: int,
    beyond: int,
    chosen: Numbers,
) -> int:
    """Choose an order as ``order_kernel.choose`` does; all times have to fit into 64 bits."""
    tables: Any = arrays_of(t)
    added: Any = np.array(slacks, np.int64)
    order: Any = np.array(chosen, np.int64)
    status = _choose(tables, period, added, steps, sure, beyond, order)
    chosen[:] = order.tolist()
    return status
