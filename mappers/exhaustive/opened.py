"""Regions and subspaces that a search has begun with."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np

from archsim.spec.mapping import Mapping

from ..engine_run import Kind, kind_of
from ..space.grid import RegionKey
from ..space.region import Region, Skeleton, Subspace
from ..space.written import mapping_of
from .answers import OpenRegion, SubspaceQuestion
from .kernels.arrays import Floats


@dataclass(kw_only=True)
class RegionState:
    """What is known of an open region by now."""

    number: int
    opened: OpenRegion
    left: list[int]
    """Subspaces that nobody has looked at, in order."""
    estimate: float = inf
    """The best that was sketched of it."""
    least: float = inf
    """What no mapping of the subspaces searched is below."""
    tally: Floats = field(default_factory=lambda: np.zeros(6))
    sketched: int = 0
    """Subspaces that were sketched, or are by now."""

    @property
    def region(self) -> Region:
        """The region itself."""
        return self.opened.region

    @property
    def bound(self) -> float:
        """What no mapping of it is below."""
        return self.opened.bound

    def wants(self, few: float, first: float) -> bool:
        """Whether it has fewer sketches than ``few``: more than the first of those alone of which
        some sketch was of interest."""
        return bool(self.left) and self.sketched < few and (few <= first or self.estimate < inf)

    @property
    def of_tiling(self) -> int:
        """Mappings with the same tiling."""
        return self.region.bindings * self.region.residencies


SubspaceKey = tuple[RegionKey, Skeleton, bool]
"""What tells apart what is asked of a space: a region, loops in it, and whether in the simplest
ways alone."""


@dataclass(kw_only=True)
class OpenSubspace:
    """A subspace that is still to be searched, and how good a sketch of it was."""

    region: RegionState
    number: int
    estimate: float = inf

    @property
    def subspace(self) -> Subspace:
        """The subspace itself."""
        return self.region.opened.subspaces[self.number]

    @property
    def kind(self) -> Kind:
        """Of what kind its mappings are."""
        nest = self.region.region.nest(self.subspace.skeleton)
        return kind_of(rank for _, ranks in nest for rank in ranks)

    def smallest_mapping(self) -> Mapping:
        """One of the smallest tiles, with every tensor in the outermost memory only."""
        region, subspace = self.region.region, self.subspace
        ways = {e: found[0] for e, found in region.ways.items()}
        # The last alternative keeps a tensor everywhere: its first level is the outermost.
        places = {t: found[-1][:1] for t, found in region.all_places.items()}
        return mapping_of(region, subspace.skeleton, subspace.sizes[0], ways, places)

    def key(self, *, plain: bool) -> SubspaceKey:
        """What tells it from all others, in whatever search."""
        region = self.region.region
        return (region.fixed, region.cuts), self.subspace.skeleton, plain

    def asked(self, limit: float, *, plain: bool) -> SubspaceQuestion:
        """The question what it has to offer."""
        return SubspaceQuestion(self.region.number, self.number, limit, plain)
