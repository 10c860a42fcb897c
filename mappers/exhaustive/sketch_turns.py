"""Which region is sketched next: a few subspaces of each, then more of those that look best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from ..objectives import LATENCY, SearchObjective
from ..space.grid import PromisedRegion
from ..space.mapspace import Mapspace
from .effort import Effort
from .opened import RegionState

R = TypeVar("R")

_AT_ONCE = 6
"""Subspaces that are sketched of the most promising region before another is."""

_FIRST = 2
"""Subspaces of every region that are sketched before more of any."""

_EARLY = 4
"""Regions that are opened, and sketched as far as any, before all others, where bounds tell little
of them: something good is known soon."""


@dataclass
class SketchTurns:
    """Whose turn it is.

    Parameters
    ----------
    regions : sequence of RegionState
        All that are open, most promising first.
    effort : Effort
        Of the search.
    more : float
        Sketches that are left when each region has had its few.
    early : bool
        Whether a few regions come before all others.
    is_near : callable
        Whether a bound says that a region has nothing much better than the best.
    """

    regions: Sequence[RegionState]
    """Grows from stage to stage."""
    effort: Effort
    more: float
    early: bool
    is_near: Callable[[float], bool]
    turn: list[RegionState] = field(default_factory=list)
    first: bool = False
    """Whether it is the turn of those that come before all others."""

    def stages(self, promising: Sequence[R]) -> Iterator[Sequence[R]]:
        """What is opened, some after the others: a few regions are, and are sketched, sooner than
        all."""
        if self.early:
            self.first = True
            yield promising[:_EARLY]
            self.first = False
            promising = promising[_EARLY:]
        yield promising

    def few(self, most: float) -> RegionState | None:
        """A region that has had fewer sketches than each is to have; none that is worse than
        ``most`` but for the first of them."""
        few = self.effort.sketches
        for enough in (min(_FIRST, few), few):
            unasked = few if self.first else _FIRST
            for region in self.regions:
                if region.wants(enough, unasked, most) and not self.is_near(region.bound):
                    return region
        return None

    def again(self, worst: Callable[[], float]) -> RegionState | None:
        """A region of those that promise most, until there are enough sketches.

        Parameters
        ----------
        worst : callable
            Asked each time before one is taken: what looks worse is worth a glance alone.
        """
        if self.first:
            return None
        self.turn = [r for r in self.turn if r.left and not self.is_near(r.bound)]
        if not self.turn and self.more > 0:
            most = worst()
            able = [r for r in self.regions if r.left and not self.is_near(r.bound)]
            able = [r for r in able if r.estimate <= most]
            best = min(able, key=lambda r: (r.estimate, r.bound), default=None)
            self.turn = [best] * _AT_ONCE if best is not None else []
            self.more -= len(self.turn)
        return self.turn.pop() if self.turn else None


def promising_regions(
    space: Mapspace,
    effort: Effort,
    timed: bool,
    cap: tuple[SearchObjective, float] | None,
) -> tuple[PromisedRegion, ...]:
    """The regions of a space that promise most, as many as there are to be opened.

    Parameters
    ----------
    timed : bool
        Whether cycles tell which are good.
    cap : tuple, optional
        Another objective, and how much of it is too much.
    """
    most = min(effort.regions if timed or cap else effort.untimed, space.size)
    within = cap[1] if cap is not None and cap[0].code == LATENCY else inf
    return space.regions(round(most), spread=not (timed or cap), within=within, fair=True)
