"""How often it is looked for garbage: a search makes millions of records that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = 50_000
"""Objects made between two looks for garbage, as in the command line itself."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for garbage seldom while something runs, and then as often as before.

    As it comes, Python looks through all that a search knows again and again: a seventh of its
    time. Where nobody looks at all it stays so.

    >>> with seldom_collected():
    ...     gc.get_threshold()[0] >= COLLECT_AFTER
    True
    """
    young, *old = gc.get_threshold()
    if 0 < young < COLLECT_AFTER:
        gc.set_threshold(COLLECT_AFTER, *old)
    try:
        yield
    finally:
        gc.set_threshold(young, *old)
