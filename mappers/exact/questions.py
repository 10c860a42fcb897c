"""Open regions and subspaces of a search, and questions that worker processes answer."""

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
from ..space.fusion import spread, subspaces_of
from ..space.grid import RegionKey
from ..space.mapspace import Mapspace
from ..space.placements import EinsumPlacement
from ..space.region import Region, Skeleton, Subspace, mapping_of
from . import policy
from .kernels.arrays import Floats, Ints
from .subspaces import Proposal, SubspaceSearch, TablesOf, pruned
from .tables import CostMemo, SubspaceRefusedError


@dataclass(frozen=True, kw_only=True)
class OpenRegion:
    """A region that is searched, and what no mapping of it is below."""

    region: Region
    bound: float
    subspaces: tuple[Subspace, ...]
    """Spread over all that are alike."""
    memo: CostMemo = field(default_factory=CostMemo)

    @classmethod
    def of(cls, region: Region, bound: float, crossed: dict[str, bool]) -> OpenRegion:
        """A region opened; ``crossed`` is as of ``shareable_ranks``."""
        found = spread(region, subspaces_of(region, crossed))
        return cls(region=region, bound=bound, subspaces=tuple(found))

    @cached_property
    def plain(self) -> Region:
        """The same with the simplest ways alone."""
        return replace(self.region, plain=True)

    @cached_property
    def at_once(self) -> bool:
        """Whether its subspaces are searched in all ways where others are sketched."""
        plain, every = (sum(map(len, r.placements.values())) for r in (self.plain, self.region))
        return every <= policy.MIN_PLACEMENTS_PER_SKETCHED * plain


@dataclass(frozen=True, slots=True)
class SubspaceQuestion:
    """What a subspace has to offer: numbers of its region and of it there."""

    region: int
    subspace: int
    limit: float
    """Nothing as high is looked for."""
    plain: bool
    """Whether it is only sketched, in the simplest ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The best choices of one tiling of a subspace, by number; else as ``Proposal``."""

    region: int
    subspace: int
    value: float
    estimate: float
    tie: float
    sizes: Ints
    placements: dict[str, EinsumPlacement]
    places: dict[str, tuple[str, ...]]

    @property
    def key(self) -> Hashable:
        """What tells it from all other mappings of a search."""
        chosen = (*self.placements.items(), *self.places.items())
        return self.region, self.subspace, self.sizes.tobytes(), chosen

    @property
    def promise(self) -> tuple[float, float]:
        """By what offers are put in order."""
        return self.estimate, self.tie


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceAnswer:
    """What a subspace has to offer, best first, and how it was covered."""

    refused: SubspaceRefusedError | None = None
    offers: tuple[Offer, ...] = ()
    least: float = inf
    tally: Floats = field(default_factory=lambda: np.zeros(6))
    combinations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswer:
    """A run of the engine, or why there is none."""

    run: EngineRun | None = None
    refused: MappingError | None = None


Question = SubspaceQuestion | Offer
"""What a subspace has to offer, or what the engine says of an offer."""

Answer = SubspaceAnswer | RunAnswer


def region_of(question: Question) -> int | None:
    """The region of which a question makes use of what is known of it; None: of none."""
    return question.region if isinstance(question, SubspaceQuestion) else None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Answers the questions of one search.

    Parameters
    ----------
    opened : sequence of OpenRegion
        All regions of the search.
    slack, cap : float
        As of ``SubspaceSearch``.
    most : int
        Offers of a subspace, at the most, where values are estimates.
    relaxed : bool
        Whether they are: masks and gathers are left aside.
    """

    opened: Sequence[OpenRegion]
    objective: SearchObjective
    tables_of: TablesOf
    slack: float
    cap: float
    most: int
    relaxed: bool

    def __call__(self, question: Question) -> Answer:
        """The answer."""
        if isinstance(question, Offer):
            return self.run(question)
        return self._look(question)

    def _look(self, asked: SubspaceQuestion) -> SubspaceAnswer:
        opened = self.opened[asked.region]
        subspace = opened.subspaces[asked.subspace]
        region = opened.plain if asked.plain else opened.region
        search = SubspaceSearch(
            space=region,
            objective=self.objective.code,
            slack=self.slack,
            cap=self.cap,
            limit=asked.limit,
        )
        try:
            tables = self.tables_of(region, subspace, relaxed=self.relaxed, memo=opened.memo)
            found = [_offer(asked, f) for f in search.search(subspace, tables)]
        except SubspaceRefusedError as why:
            return SubspaceAnswer(refused=why)
        return SubspaceAnswer(
            offers=tuple(self._best(found, plain=asked.plain)),
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
        # The first tiles are waited for: of equals, smaller ones are faster if anything.
        others = sorted(found[1:], key=lambda f: (f.estimate, f.sizes.prod()))
        return [*found[:1], *others[: policy.MAX_RUNS_PER_SUBSPACE - 1]]

    def run(self, offer: Offer) -> RunAnswer:
        """What the engine says of an offer."""
        opened = self.opened[offer.region]
        skeleton = opened.subspaces[offer.subspace].skeleton
        mapping = mapping_of(opened.region, skeleton, offer.sizes, offer.placements, offer.places)
        mapping = replace(mapping, name=f"best-{self.objective.name}")
        try:
            return RunAnswer(run=run_mapping(opened.region, mapping, self.objective))
        except MappingError as error:
            return RunAnswer(refused=error)


def _offer(asked: SubspaceQuestion, found: Proposal) -> Offer:
    return Offer(
        region=asked.region,
        subspace=asked.subspace,
        value=found.value,
        estimate=found.estimate,
        tie=found.tie,
        sizes=found.sizes,
        placements=found.placements,
        places=found.places,
    )


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
        placements = {e: found[0] for e, found in region.placements.items()}
        # The last alternative keeps a tensor everywhere: its first level is the outermost.
        places = {t: found[-1][:1] for t, found in region.all_places.items()}
        return mapping_of(region, subspace.skeleton, subspace.sizes[0], placements, places)

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
