"""Flat tables of whole numbers: lists in Python, arrays where Numba compiles a kernel.

A kernel is a plain Python function of such tables, so that one source runs in Python or compiled.
Python reads a list in a quarter of the time of an array, and one axis in less than half the time of
two. A table of several rows is therefore one list, row after row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Numbers = list[int]
"""Flat table: a list in Python, an array in compiled code.

A slice is a copy of a list but a view of an array; kernels therefore only read slices.
"""

MAX_COMPILED_TIME = 1 << 62
"""Limit of times in compiled code, in time units: they fit into 64 bits with a margin."""


def filled(length: int, value: int) -> Numbers:
    """Return a table of some length with the same value in every entry."""
    return [value] * length


def copy_row(into: Numbers, at: int, row: Numbers) -> None:
    """Copy a row into a table, from position ``at`` on."""
    into[at : at + len(row)] = row


@dataclass
class PythonBudget:
    """Amount of work that a process still does in Python before it compiles a kernel.

    Most processes never use it up. Python does this work in about the time in which Numba is
    imported.
    """

    before_import: int
    if_imported: int
    """Amount of work left if another stage has imported Numba already."""

    @property
    def left(self) -> int:
        """Amount of work that is left; zero or less means that nothing is left."""
        return self.if_imported if "numba" in sys.modules else self.before_import

    def spend(self, work: int) -> None:
        """Subtract some work from the amount that is left."""
        self.before_import -= work
        self.if_imported -= work


@cache
def compiled_kernel(
    helpers: tuple[Callable[..., object], ...], kernel: Callable[..., int]
) -> Callable[..., int]:
    """Return a compiled version of a kernel, which takes the same lists.

    ``compiled.compiled_on_tables`` compiles it together with its helpers.
    """
    # Few processes need the import, which takes longer than most runs.
    from .compiled import compiled_on_tables

    found: Any = compiled_on_tables(helpers, kernel)
    compiled: Callable[..., int] = found
    return compiled
