"""Flat tables of whole numbers: lists in Python, arrays where Numba compiles a kernel.

A kernel is plain Python on such tables, so that one source runs either way. Python reads a list in
a quarter of the time of an array, and one axis in less than half the time of two. A table of
several rows is therefore one list, row after row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Numbers = list[int]
"""A table; in compiled code an array. A slice is a copy here and a view there: it is only read."""

MAX_COMPILED_TIME = 1 << 62
"""Units of time that fit into 64 bits with a margin."""


def filled(length: int, value: int) -> Numbers:
    """Return a table with one value everywhere."""
    return [value] * length


def copy_row(into: Numbers, at: int, row: Numbers) -> None:
    """Write a row into a table from a position on."""
    into[at : at + len(row)] = row


def first_smallest(numbers: Numbers) -> int:
    """Return the position of the smallest number; of equal ones, the first."""
    return numbers.index(min(numbers))


@dataclass
class PythonBudget:
    """Work that a process still does in Python before it compiles a kernel.

    Most processes do less. Python does this work in about the time in which Numba is imported.
    """

    before_import: int
    if_imported: int
    """Work left if another stage has imported Numba already."""

    @property
    def left(self) -> int:
        """Work that is left; nothing if zero or less."""
        return self.if_imported if "numba" in sys.modules else self.before_import

    def spend(self, work: int) -> None:
        """Take some work from what is left."""
        self.before_import -= work
        self.if_imported -= work


@cache
def compiled_kernel(
    helpers: tuple[Callable[..., object], ...], kernel: Callable[..., int]
) -> Callable[..., int]:
    """Return a kernel compiled, on the same lists (``compiled.compiled_on_tables``)."""
    # Few processes need the import, which takes longer than most runs.
    from .compiled import compiled_on_tables

    found: Any = compiled_on_tables(helpers, kernel)
    compiled: Callable[..., int] = found
    return compiled
