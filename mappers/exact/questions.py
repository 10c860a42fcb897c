"""Open regions and subspaces of a search, and the questions about them that workers answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from archsim.legality.binding import bind
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError, Problem
from einsum_cascade.memo import cached_property

from ..problem.engine_run import EngineRun, Kind, kind_of, run_mapping
from ..problem.objectives import SearchObjective
from ..space.fusion import diversified, subspaces_of
from ..space.grid import RegionKey
from ..space.mapspace import Mapspace
from ..space.region import Region, Skeleton, Subspace, mapping_of
from . import policy
from .kernels.measures import Floats
from .subspaces import Proposal, SubspaceSearch, TablesOf, pruned
from .tables import CostMemo, SubspaceRefusedError


@dataclass(eq=False, kw_only=True)
class OpenRegion:
    """A region that is being searched, and the progress of its search."""

    number: int
    region: Region
    bound: float
    """Lower bound of the objective for all mappings of the region."""
    subspaces: tuple[Subspace, ...]
    """Subspaces of the region; dissimilar ones follow one another (``fusion.diversified``)."""
    left: list[int]
    """Indices of the subspaces that were neither sketched nor searched, in order."""
    memo: CostMemo = field(default_factory=CostMemo)
    estimate: float = inf
    """Best estimate among the region's sketches."""
    least: float = inf
    """Lower bound of all mappings in the searched subspaces."""
    tally: Floats = field(default_factory=lambda: np.zeros(6))
    sketched: int = 0
    """Number of subspaces with a finished or pending sketch."""

    @classmethod
    def of(
        cls, region: Region, bound: float, crossed: dict[str, bool], number: int = 0
    ) -> OpenRegion:
        """Open a region.

        Parameters
        ----------
        bound : float
            Lower bound of the objective for all mappings of the region.
        crossed : dict
            Memo of ``shareable_ranks``.
        """
        found = tuple(diversified(region, subspaces_of(region, crossed)))
        left = [*range(len(found))]
        return cls(number=number, region=region, bound=bound, subspaces=found, left=left)

    @cached_property
    def plain(self) -> Region:
        """Region restricted to its simplest placements, as sketches use it."""
        return replace(self.region, plain=True)

    @cached_property
    def skips_sketches(self) -> bool:
        """True if subspaces are searched in full at once because a sketch would save little."""
        plain, every = (sum(map(len, r.placements.values())) for r in (self.plain, self.region))
        return every <= policy.MIN_PLACEMENTS_PER_SKETCHED * plain

    def wants_sketch(self, few: float, first: float, most: float = inf) -> bool:
        """Return whether the region should get another sketch.

        Parameters
        ----------
        few : float
            Number of sketches that each region should get.
        first : float
            Number of sketches that a region gets even if no estimate is good enough.
        most : float
            Largest estimate of a region that gets more than ``first`` sketches.
        """
        able = few <= first or (self.estimate < inf and self.estimate <= most)
        return bool(self.left) and self.sketched < few and able

    @property
    def mappings_per_tiling(self) -> int:
        """Number of mappings that differ in placements and residency but have the same tiling."""
        return self.region.bindings * self.region.residencies


@dataclass(frozen=True, slots=True)
class SubspaceQuestion:
    """A request to search one subspace, identified by the indices of region and subspace."""

    region: int
    subspace: int
    limit: float
    """Value that a mapping must beat."""
    plain: bool
    """True for a sketch, which examines the simplest placements only."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A proposed mapping, with the indices of its region and its subspace."""

    region: int
    subspace: int
    proposal: Proposal

    @property
    def key(self) -> Hashable:
        """Identity of the proposed mapping within its search."""
        found = self.proposal
        chosen = (*found.placements.items(), *found.places.items())
        return self.region, self.subspace, found.sizes.tobytes(), chosen

    @property
    def value(self) -> float:
        """Lower bound of the objective for the proposed mapping."""
        return self.proposal.value

    @property
    def estimate(self) -> float:
        """Estimate of the objective for the proposed mapping."""
        return self.proposal.estimate

    @property
    def promise(self) -> tuple[float, float]:
        """Sort key of offers: the estimate, then the value that decides ties."""
        return self.proposal.estimate, self.proposal.tie


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceAnswer:
    """Offers found in a subspace, best first, and statistics of the search."""

    refused: SubspaceRefusedError | None = None
    offers: tuple[Offer, ...] = ()
    least: float = inf
    tally: Floats = field(default_factory=lambda: np.zeros(6))
    combinations: int = 0


Question = SubspaceQuestion | Offer
"""A subspace to search, or an offer to run on the engine."""

Answer = SubspaceAnswer | EngineRun | MappingError
"""Result of searching a subspace, run of an offer, or the error that refused the offer."""


def region_of(question: Question) -> int | None:
    """Return the index of the region whose memo a question uses; None for an offer."""
    return question.region if isinstance(question, SubspaceQuestion) else None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Worker that answers the questions of one search.

    Parameters
    ----------
    opened : sequence of OpenRegion
        All regions of the search.
    slack, cap : float
        Parameters of ``SubspaceSearch``.
    most : int
        Most offers of a subspace where values are estimates.
    relaxed : bool
        True if values are estimates that ignore masks and gathers.
    """

    opened: Sequence[OpenRegion]
    objective: SearchObjective
    tables_of: TablesOf
    slack: float
    cap: float
    most: int
    relaxed: bool

    def __call__(self, question: Question) -> Answer:
        """Answer a question: search its subspace, or run its offer."""
        if isinstance(question, SubspaceQuestion):
            return self._search(question)
        try:
            return self.run(question)
        except MappingError as error:
            return error

    def _search(self, question: SubspaceQuestion) -> SubspaceAnswer:
        opened = self.opened[question.region]
        subspace = opened.subspaces[question.subspace]
        region = opened.plain if question.plain else opened.region
        search = SubspaceSearch(
            space=region,
            objective=self.objective.code,
            slack=self.slack,
            cap=self.cap,
            limit=question.limit,
        )
        try:
            tables = self.tables_of(region, subspace, relaxed=self.relaxed, memo=opened.memo)
            found = [
                Offer(question.region, question.subspace, f)
                for f in search.search(subspace, tables)
            ]
        except SubspaceRefusedError as why:
            return SubspaceAnswer(refused=why)
        return SubspaceAnswer(
            offers=tuple(self._best(found, plain=question.plain)),
            least=search.least,
            tally=search.tally,
            combinations=tables.combinations,
        )

    def _best(self, found: list[Offer], *, plain: bool) -> list[Offer]:
        found.sort(key=lambda f: f.promise)
        if plain:
            return found[:1]
        if self.relaxed:
            return found[: self.most]
        # Runs wait for their first tiles: among equals, smaller tiles are at least as fast.
        others = sorted(found[1:], key=lambda f: (f.estimate, f.proposal.sizes.prod()))
        return [*found[:1], *others[: policy.MAX_RUNS_PER_SUBSPACE - 1]]

    def run(self, offer: Offer) -> EngineRun:
        """Run an offer on the engine. Raises ``MappingError``."""
        opened = self.opened[offer.region]
        subspace = opened.subspaces[offer.subspace]
        name = f"best-{self.objective.name}"
        mapping = offer.proposal.mapping(opened.region, subspace, name)
        return run_mapping(opened.region, mapping, self.objective)


SubspaceKey = tuple[RegionKey, Skeleton, bool]
"""Identity of a subspace across searches: its region, its loops, and whether it is sketched."""


@dataclass(kw_only=True)
class OpenSubspace:
    """A subspace not yet searched in full, and the estimate of its sketch."""

    region: OpenRegion
    number: int
    estimate: float = inf
    answer: SubspaceAnswer | None = None
    """Answer of a search with all placements, if this search replaced the sketch."""

    @property
    def subspace(self) -> Subspace:
        """Subspace of the region that this record describes."""
        return self.region.subspaces[self.number]

    @property
    def kind(self) -> Kind:
        """Kind of the subspace's mappings, given by the ranks of their shared loops."""
        nest = self.region.region.nest(self.subspace.skeleton)
        return kind_of(rank for _, ranks in nest for rank in ranks)

    def smallest_mapping(self) -> Mapping:
        """Return the mapping with the smallest tiles and all tensors in the outermost memory."""
        region, subspace = self.region.region, self.subspace
        placements = {e: found[0] for e, found in region.placements.items()}
        # The last alternative keeps a tensor at every level: its first level is the outermost.
        places = {t: found[-1][:1] for t, found in region.all_places.items()}
        return mapping_of(region, subspace.skeleton, subspace.sizes[0], placements, places)

    def put_back(self) -> None:
        """Return the subspace to its region's list of subspaces without a sketch."""
        self.region.left = sorted((*self.region.left, self.number))

    def key(self, *, plain: bool) -> SubspaceKey:
        """Return the subspace's identity across searches."""
        region = self.region.region
        return (region.fixed, region.cuts), self.subspace.skeleton, plain

    def question(self, limit: float, *, plain: bool) -> SubspaceQuestion:
        """Return the question that asks for a search of the subspace."""
        return SubspaceQuestion(self.region.number, self.number, limit, plain)


def left_out(
    regions: Iterable[OpenRegion],
    left: Iterable[OpenSubspace],
    beaten: Callable[[float], bool],
) -> Iterator[tuple[str, int]]:
    """Yield pairs of a reason and the number of mappings left out for it; reasons may repeat.

    Parameters
    ----------
    regions : iterable of OpenRegion
        Opened regions.
    left : iterable of OpenSubspace
        Subspaces without a search of all placements.
    beaten : callable
        Returns whether no mapping with a given lower bound improves the incumbent.
    """
    for region in regions:
        yield from pruned(region.tally)
    for candidate in left:
        count = len(candidate.subspace.sizes) * candidate.region.mappings_per_tiling
        yield "no better" if beaten(candidate.region.bound) else "not looked at", count


def why_none(
    space: Mapspace,
    failed: Sequence[MappingError],
    legal: OpenSubspace | None,
    refused: Iterable[str],
) -> Sequence[Problem]:
    """Return the problems that make all mappings of a space illegal.

    Parameters
    ----------
    failed : sequence of MappingError
        Errors of the mappings that were run.
    legal : OpenSubspace or None
        A subspace with legal loops, whose smallest mapping is bound if no mapping was run.
    refused : iterable of str
        Reasons why subspaces were refused.
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
