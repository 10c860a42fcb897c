"""Open regions and subspaces of a search, and the questions about them that workers answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError
from einsum_cascade.memo import cached_property

from ..problem.engine_run import EngineRun, Kind, kind_of, run_mapping
from ..problem.objectives import SearchObjective
from ..space.fusion import diversified, subspaces_of
from ..space.region import Region, RegionKey, Skeleton, Subspace, mapping_of
from . import policy
from .kernels.measures import Floats
from .subspaces import Proposal, SubspaceSearch, TableMemo
from .tables import CostMemo, SubspaceRefusedError, tabulate


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceAnswer:
    """Proposals found in a subspace, best first, and statistics of the search."""

    refused: SubspaceRefusedError | None = None
    offers: tuple[Proposal, ...] = ()
    least: float = inf
    tally: Floats = field(default_factory=lambda: np.zeros(6))
    combinations: int = 0


Question = SubspaceQuestion | Proposal
"""A subspace to search, or a proposal to run on the engine."""

Answer = SubspaceAnswer | EngineRun | MappingError
"""Result of searching a subspace, run of a proposal, or the error that refused the proposal."""


def region_of(question: Question) -> int | None:
    """Return the index of the region whose memo a question uses; None for a proposal."""
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
    tables : TableMemo or None
        Memo that keeps the cost tables of all searched subspaces; None to keep none.
    most : int
        Most proposals of a subspace where values are estimates.
    relaxed : bool
        True if values are estimates that ignore masks and gathers.
    """

    opened: Sequence[OpenRegion]
    objective: SearchObjective
    tables: TableMemo | None
    slack: float
    cap: float
    most: int
    relaxed: bool

    def __call__(self, question: Question) -> Answer:
        """Answer a question: search its subspace, or run its proposal."""
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
            make = self.tables or tabulate
            tables = make(region, subspace, relaxed=self.relaxed, memo=opened.memo)
            found = [
                replace(one, region=question.region, subspace=question.subspace)
                for one in search.search(subspace, tables)
            ]
        except SubspaceRefusedError as why:
            return SubspaceAnswer(refused=why)
        return SubspaceAnswer(
            offers=tuple(self._best(found, plain=question.plain)),
            least=search.least,
            tally=search.tally,
            combinations=tables.combinations,
        )

    def _best(self, found: list[Proposal], *, plain: bool) -> list[Proposal]:
        found.sort(key=lambda f: f.promise)
        if plain:
            return found[:1]
        if self.relaxed:
            return found[: self.most]
        # Runs wait for their first tiles: among equals, smaller tiles are at least as fast.
        others = sorted(found[1:], key=lambda f: (f.estimate, f.sizes.prod()))
        return [*found[:1], *others[: policy.MAX_RUNS_PER_SUBSPACE - 1]]

    def run(self, found: Proposal) -> EngineRun:
        """Run a proposal on the engine. Raises ``MappingError``."""
        opened = self.opened[found.region]
        subspace = opened.subspaces[found.subspace]
        mapping = found.mapping(opened.region, subspace, f"best-{self.objective.name}")
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
        return region.key, self.subspace.skeleton, plain

    def question(self, limit: float, *, plain: bool) -> SubspaceQuestion:
        """Return the question that asks for a search of the subspace."""
        return SubspaceQuestion(self.region.number, self.number, limit, plain)
