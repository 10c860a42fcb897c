"""Regions and subspaces that a search has begun with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from archsim.bound.binding import bind
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError, Problem

from ..engine_run import Kind, kind_of
from ..space.grid import RegionKey
from ..space.mapspace import Mapspace
from ..space.region import Region, Skeleton, Subspace
from ..space.written import mapping_of
from .answers import OpenRegion, SubspaceAnswer, SubspaceQuestion
from .kernels.arrays import Floats
from .subspaces import pruned


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

    def wants(self, few: float, first: float, most: float = inf) -> bool:
        """Whether it has fewer sketches than ``few``: more than the first of those alone of which
        some sketch was of interest, and is no worse than ``most``."""
        able = few <= first or (self.estimate < inf and self.estimate <= most)
        return bool(self.left) and self.sketched < few and able

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
    answer: SubspaceAnswer | None = None
    """What it has to offer in all ways, where that was asked at once."""

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

    def put_back(self) -> None:
        """Leave it to others of its region that nobody has looked at."""
        self.region.left = sorted((*self.region.left, self.number))

    def key(self, *, plain: bool) -> SubspaceKey:
        """What tells it from all others, in whatever search."""
        region = self.region.region
        return (region.fixed, region.cuts), self.subspace.skeleton, plain

    def asked(self, limit: float, *, plain: bool) -> SubspaceQuestion:
        """The question what it has to offer."""
        return SubspaceQuestion(self.region.number, self.number, limit, plain)


def left_out(
    regions: Iterable[RegionState],
    left: Iterable[OpenSubspace],
    beaten: Callable[[float], bool],
) -> Iterator[tuple[str, int]]:
    """Why mappings were left out, and how many; a reason may come several times.

    Parameters
    ----------
    regions : iterable of RegionState
        Those that were opened.
    left : iterable of OpenSubspace
        What nobody has searched in all ways.
    beaten : callable
        Whether nothing above a bound is better than the best.
    """
    for region in regions:
        yield from pruned(region.tally)
    for mine in left:
        count = len(mine.subspace.sizes) * mine.region.of_tiling
        yield "no better" if beaten(mine.region.bound) else "not looked at", count


def why_none(
    space: Mapspace,
    failed: Sequence[MappingError],
    legal: OpenSubspace | None,
    refused: Iterable[str],
) -> Sequence[Problem]:
    """Why mappings of a space are not legal: some that were looked at, or the smallest there are.

    Parameters
    ----------
    failed : sequence of MappingError
        Why those are not that were run.
    legal : OpenSubspace or None
        One whose loops are legal.
    refused : iterable of str
        Why subspaces are not.
    """
    if failed:
        return failed[0].problems
    if legal is not None:
        try:
            bind(space.program, legal.smallest_mapping(), space.architecture, space.given)
        except MappingError as error:
            hint = "with the smallest tiles, and every tensor in the outermost memory only"
            return [replace(p, hint=hint, span=None) for p in error.problems]
    reasons = "; ".join([*dict.fromkeys(refused)][:2])
    return [Problem(f"no mapping of the space is legal: {reasons}")]
