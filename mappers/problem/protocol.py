"""Search problem, with its clock, progress, and garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from archsim.processes import COLLECT_AFTER
from archsim.result.result import Result

from ..space.mapspace import Mapspace
from . import policy
from .certificate import Certificate, gap_to
from .engine_run import EngineRun
from .objectives import SearchObjective

TOLERANCE = 1e-3
"""Share by which the two engines may differ; smaller improvements could not be told apart."""

Advance = Callable[[int], None]
"""Function that is called with each amount of work that is done."""

Progress = Callable[[int], Advance]
"""Function that receives the total amount of work and returns an ``Advance``."""


def silent(total: int) -> Advance:
    """Ignore the progress of one search.

    Parameters
    ----------
    total : int
        Amount of work, ignored.
    """
    del total
    return lambda _: None


ProgressOfParts = Callable[[str, int], Advance]
"""Function that receives the name and total amount of work of a part (layer or operator) of a
workload. It returns an ``Advance``."""


def quiet(part: str, total: int) -> Advance:
    """Ignore the progress of all parts."""
    del part
    return silent(total)


def never() -> bool:
    """Return False, so that the search never ends early."""
    return False


def at_once() -> bool:
    """Return True, so that the search ends at once with the best mapping so far."""
    return True


class Clock:
    """Time limit that several searches share.

    Parameters
    ----------
    limit_s : float, optional
        Seconds from now; no limit without.
    """

    def __init__(self, limit_s: float | None) -> None:
        limit = inf if limit_s is None else limit_s
        self._end = monotonic() + limit
        self._rest = (1 - policy.SEARCH_TIME_SHARE) * limit

    def _left(self) -> float:
        return max(0.0, self._end - monotonic())

    def is_over(self) -> bool:
        """Return whether no time is left."""
        return monotonic() >= self._end

    def part(self, searches: int) -> Clock:
        """Return the clock of the next search if several searches share the time that is left."""
        return Clock(self._left() / searches)

    def most(self) -> Clock:
        """Return the clock of a search that leaves some time for runs of its results."""
        return Clock(policy.SEARCH_TIME_SHARE * self._left())

    def late(self) -> Callable[[], bool]:
        """Return a function that tells whether the time for runs after ``most`` is up.

        These runs may use all the time left when the function is first called. If the search took
        too long, they still get their share of the time limit.
        """
        end = 0.0

        def is_late() -> bool:
            nonlocal end
            end = end or max(self._end, monotonic() + self._rest)
            return monotonic() >= end

        return is_late

    def share(self, searches: int) -> Callable[[], bool]:
        """Return a function that tells whether the first of several searches has used its share."""
        end = monotonic() + self._left() / searches
        return lambda: monotonic() >= end


@dataclass(frozen=True)
class SearchProblem:
    """Search problem: a mapspace, the objective to minimise, and the incumbents.

    Parameters
    ----------
    space : Mapspace
        Mapspace to search.
    objective : SearchObjective
        Quantity to minimise.
    tolerance : float
        Share by which a mapping has to promise to be better, to be run.
    known : EngineRun, optional
        Incumbent, perhaps outside of the mapspace. It is the result if no mapping is better.
    is_over : callable
        Returns whether the time of the search is up.
    others : tuple of EngineRun
        Further incumbents, none better. Equal mappings are compared by the secondary objective.
    is_late : callable
        Returns whether the time for steps after the search is up, too.
    """

    space: Mapspace
    objective: SearchObjective
    tolerance: float = TOLERANCE
    known: EngineRun | None = None
    is_over: Callable[[], bool] = never
    others: tuple[EngineRun, ...] = ()
    is_late: Callable[[], bool] = never

    def certificate(self, best: Result, bound: float, **effort: Any) -> Certificate:
        """Return the certificate of a search for this problem.

        Parameters
        ----------
        best : Result
            Result of the mapping found.
        bound : float
            Lower bound of the objective that the search proves; the floor is another.
        **effort
            Fields of the certificate that say what was searched.
        """
        value, floor = self.objective.of(best), self.objective.floor(best)
        return Certificate(
            objective=self.objective.name,
            gap=gap_to(max(bound, floor), value),
            tolerance=self.tolerance,
            value=value,
            floor=floor,
            **effort,
        )


@contextmanager
def infrequent_collection() -> Iterator[None]:
    """Collect garbage rarely while a block runs, and as before afterwards.

    By default Python scans all objects of a search again and again, in a seventh of its time. A
    threshold of 0, which turns collection off, is kept.

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
