"""What a search asks of the subspaces of open regions, one at a time, and what it is told.

Questions and answers are small: whoever answers has the regions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from einsum_cascade.errors import MappingError
from einsum_cascade.memo import cached_property

from ..engine_run import EngineRun, run_mapping
from ..objectives import SearchObjective
from ..space.fusion import spread, subspaces_of
from ..space.region import Region, Subspace
from ..space.ways import Way
from ..space.written import mapping_of
from .kernels.arrays import Floats, Ints
from .known_costs import KnownCosts
from .known_tables import TablesOf
from .subspaces import Proposal, SubspaceSearch
from .tables import SubspaceRefusedError

_OF_SUBSPACE = 4
"""Engine runs of one subspace; what it has beside is as good or worse, so far as bounds tell."""


_FEW_MORE = 2
"""A sketch saves little where there are no more than so many times its ways altogether."""


@dataclass(frozen=True, kw_only=True)
class OpenRegion:
    """A region that is searched, and what no mapping of it is below."""

    region: Region
    bound: float
    subspaces: tuple[Subspace, ...]
    """Spread over all that are alike."""
    known: KnownCosts = field(default_factory=KnownCosts)

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
        plain, every = (sum(map(len, r.ways.values())) for r in (self.plain, self.region))
        return every <= _FEW_MORE * plain


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
    ways: dict[str, Way]
    places: dict[str, tuple[str, ...]]

    @property
    def key(self) -> Hashable:
        """What tells it from all other mappings of a search."""
        chosen = (*self.ways.items(), *self.places.items())
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
            tables = self.tables_of(region, subspace, relaxed=self.relaxed, known=opened.known)
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
        return [*found[:1], *others[: _OF_SUBSPACE - 1]]

    def run(self, offer: Offer) -> RunAnswer:
        """What the engine says of an offer."""
        opened = self.opened[offer.region]
        skeleton = opened.subspaces[offer.subspace].skeleton
        mapping = mapping_of(opened.region, skeleton, offer.sizes, offer.ways, offer.places)
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
        ways=found.ways,
        places=found.places,
    )
