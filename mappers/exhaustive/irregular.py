"""Spaces whose mappings cannot be priced in batches as they are: masks and gathers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..protocol import SearchProblem

T = TypeVar("T")


class NotInBatchesError(Exception):
    """A space whose mappings cannot be priced in batches as they are."""


def in_batches(problem: SearchProblem, search: Callable[[bool], T]) -> T:
    """What a search finds that is told whether to leave masks and gathers aside.

    It is told to where an Einsum has a mask, or where it finds that it has to.
    """
    if not any(e.where is not None for e in problem.space.program.einsums):
        with suppress(NotInBatchesError):
            return search(False)
    return search(True)
