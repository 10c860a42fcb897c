"""Limits of an exact search: how much of a mapspace it explores."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits of a search. What they leave out counts in the gap, and is told."""

    regions: float = 12
    """Regions that are opened where cycles tell which are good."""
    untimed: float = 40
    """The same where they do not."""
    sketches: float = 4
    """Subspaces of every region that are sketched."""
    more_sketches: float = 36
    """Those that are sketched besides, of the regions that promise most."""
    of_interest: float = 4
    """What a sketch finds to be so many times worse than the best is no estimate of anything."""
    further: float = 2
    """A region whose sketches are so many times worse than the best is not sketched further."""
    subspaces: float = 160
    """Subspaces that are tabulated in all ways."""
    patience: float = 24
    """Tabulated subspaces after which a search ends that found nothing better in them."""
    patience_near: float = 10
    """The same where the best is within ``near`` of what nothing can be below."""
    near: float = 0.02
    again: float = 10
    """Subspaces that are tabulated to settle which of those as good is best otherwise."""
    again_regions: float = 6


USUAL = Effort()
"""A few seconds for most cascades."""

BRIEF = Effort(
    regions=2,
    untimed=3,
    sketches=2,
    more_sketches=0,
    subspaces=4,
    again=2,
    again_regions=1,
)
"""What promises most, where the best of a space is a hint and no answer."""

THOROUGH = Effort(
    regions=inf,
    untimed=inf,
    sketches=0,
    more_sketches=0,
    subspaces=inf,
    patience=inf,
    patience_near=inf,
    again=0,
    again_regions=0,
)
"""All of a space, however long that takes."""
