"""Which region is sketched next: a few subspaces of each, then more of those that look best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .effort import Effort
from .opened import RegionState

_AT_ONCE = 6
"""Subspaces that are sketched of the most promising region before another is."""

_FIRST = 2
"""Subspaces of every region that are sketched before more of any."""

_EARLY = 4
"""Regions that are sketched as far as any before all others, where bounds tell little of them:
something good is known soon."""


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
    effort: Effort
    more: float
    early: bool
    is_near: Callable[[float], bool]
    turn: list[RegionState] = field(default_factory=list)

    def few(self, most: float) -> RegionState | None:
        """A region that has had fewer sketches than each is to have; none that is worse than
        ``most`` but for the first of them."""
        first, few = min(_FIRST, self.effort.sketches), self.effort.sketches
        rounds: list[tuple[Sequence[RegionState], float, float]] = [
            (self.regions, first, _FIRST),
            (self.regions, few, _FIRST),
        ]
        if self.early:
            rounds.insert(0, (self.regions[:_EARLY], few, few))
        for regions, enough, unasked in rounds:
            for region in regions:
                if region.wants(enough, unasked, most) and not self.is_near(region.bound):
                    return region
        return None

    def is_glance(self, sketched: int) -> bool:
        """Whether it is time, after so many sketches, to search the best of them in all ways."""
        return self.early and sketched == self.effort.sketches * min(_EARLY, len(self.regions))

    def again(self, worst: Callable[[], float]) -> RegionState | None:
        """A region of those that promise most, until there are enough sketches.

        Parameters
        ----------
        worst : callable
            Asked each time before one is taken: what looks worse is worth a glance alone.
        """
        self.turn = [r for r in self.turn if r.left and not self.is_near(r.bound)]
        if not self.turn and self.more > 0:
            most = worst()
            able = [r for r in self.regions if r.left and not self.is_near(r.bound)]
            able = [r for r in able if r.estimate <= most]
            best = min(able, key=lambda r: (r.estimate, r.bound), default=None)
            self.turn = [best] * _AT_ONCE if best is not None else []
            self.more -= len(self.turn)
        return self.turn.pop() if self.turn else None
