"""Regions and subspaces that a search has begun with."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ..space.region import Region, Subspace
from .subspaces import SubspaceSearch
from .tables import KnownCosts


@dataclass(kw_only=True)
class OpenRegion:
    """A region that is searched, and what no mapping of it is below."""

    region: Region
    bound: float
    search: SubspaceSearch
    sketch: SubspaceSearch
    """The same with the simplest ways alone."""
    left: list[Subspace]
    """Subspaces that nobody has looked at, spread over all that are alike."""
    estimate: float = inf
    """The best that was sketched of it."""
    known: KnownCosts = field(default_factory=KnownCosts)


@dataclass(kw_only=True)
class OpenSubspace:
    """A subspace that is still to be searched, and how good a sketch of it was."""

    region: OpenRegion
    subspace: Subspace
    estimate: float = inf
