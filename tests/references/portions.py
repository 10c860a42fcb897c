"""Which of many cases every run takes, and which are left to `make test`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings


def examples(count: int) -> int:
    """Return how many examples a run draws of as many as `make test` draws."""
    return -(-count * settings().max_examples // 100)


def portions(count: int, size: int, quick: int = 1) -> list[Any]:
    """First seeds of portions of as many cases: those after the first few are slow."""
    firsts = range(0, count, size)
    return [first if n < quick else left(first) for n, first in enumerate(firsts)]


def some(cases: Iterable[Any], every: int, start: int = 0) -> list[Any]:
    """All cases: one of so many is in every run, whichever they are, and the others are slow."""
    return [
        c if n % every == start else left(*c) if isinstance(c, tuple) else left(c)
        for n, c in enumerate(cases)
    ]


def left(*case: Any) -> Any:
    """A case that takes long, left to `make test`."""
    return pytest.param(*case, marks=pytest.mark.slow)
