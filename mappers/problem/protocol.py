"""Interface of a search strategy: its problem, clock, progress, and garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, runtime_checkable

from ..space.mapspace import Mapspace
from .certificate import Searched
from .engine_run import EngineRun
from .objectives import SearchObjective

TOLERANCE = 1e-3
"""As far as the two engines agree: a better mapping could not be told apart."""

Advance = Callable[[int], None]
"""Called with each amount of work that is done."""

Progress = Callable[[int], Advance]
"""Told how much work there is; gives what to call with each amount."""


def silent(total: int) -> Advance:
    """Progress that nobody looks at.

    Parameters
    ----------
    total : int
        The amount of work; not looked at either.
    """
    del total
    return lambda _: None


ProgressOfParts = Callable[[str, int], Advance]
"""Receives the name and amount of work of each part; returns the callback for each amount done."""


def quiet(part: str, total: int) -> Advance:
    """Ignore the progress of all parts."""
    del part
    return silent(total)


def never() -> bool:
    """No search has to end early."""
    return False


def at_once() -> bool:
    """A search has to end with the best that is known."""
    return True


_MOST = 0.8
"""Of the time for a search and for runs of what it found, what the search takes at most."""


class Clock:
    """Time that several searches share.

    Parameters
    ----------
    limit_s : float, optional
        Seconds from now on for all of them; no limit without.
    """

    def __init__(self, limit_s: float | None) -> None:
        self._end = None if limit_s is None else monotonic() + limit_s
        self._rest = 0.0 if limit_s is None else (1 - _MOST) * limit_s

    def part(self, searches: int) -> Clock:
        """The time of the first of some searches, to be shared out among what it does."""
        if self._end is None:
            return self
        return Clock(max(0.0, self._end - monotonic()) / searches)

    def most(self) -> Clock:
        """The time of a search, where what it finds needs what is left then."""
        if self._end is None:
            return self
        return Clock(_MOST * max(0.0, self._end - monotonic()))

    def late(self) -> Callable[[], bool]:
        """Tells whether runs that come after ``most`` have had their time: from when it is first
        asked all that is left, or their part of it where a search took longer than it should."""
        if self._end is None:
            return never
        whole, rest, end = self._end, self._rest, 0.0

        def is_late() -> bool:
            nonlocal end
            end = end or max(whole, monotonic() + rest)
            return monotonic() >= end

        return is_late

    def share(self, searches: int) -> Callable[[], bool]:
        """Tells whether the first of some searches has had its share of what is left."""
        if self._end is None:
            return never
        end = monotonic() + max(0.0, self._end - monotonic()) / searches
        return lambda: monotonic() >= end


@dataclass(frozen=True)
class SearchProblem:
    """What is searched, and what for.

    Parameters
    ----------
    space : Mapspace
        The mappings there are.
    objective : SearchObjective
        What is to be small.
    tolerance : float
        Mappings that could be better by less than this share need not be run.
    known : EngineRun, optional
        A mapping to begin with, that need not be of the space. It is what is found where
        nothing of the space is better.
    is_over : callable
        Whether time for the search is up.
    others : tuple of EngineRun
        More such mappings, none better than that one. Of mappings that are as good as what is found
        the best in the other objective is taken, these among them.
    is_late : callable
        Whether time for what comes after the search is up, too.
    """

    space: Mapspace
    objective: SearchObjective
    tolerance: float = TOLERANCE
    known: EngineRun | None = None
    is_over: Callable[[], bool] = never
    others: tuple[EngineRun, ...] = ()
    is_late: Callable[[], bool] = never


@runtime_checkable
class Mapper(Protocol):
    """A search strategy. ``mappers.strategies`` has their names; options are its own fields."""

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """The best mapping found.

        The engine has run what is found (``engine_run.run_mapping``), and its certificate
        says how much of the space was looked at, and how much better another mapping could be.

        Raises
        ------
        NoLegalMappingError
            No mapping is known and none was found legal; says why.
        MappingError
            The strategy cannot search this space.
        """
        ...


COLLECT_AFTER = 50_000
"""Objects made between two looks for garbage, as in the command line itself."""


@contextmanager
def infrequent_collection() -> Iterator[None]:
    """Look for garbage seldom while something runs, and then as often as before.

    As it comes, Python looks through all that a search knows again and again: a seventh of its
    time. Where nobody looks at all it stays so.

    >>> with infrequent_collection():
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
