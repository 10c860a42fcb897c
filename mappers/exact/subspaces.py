"""Search of a subspace: price its tilings in batches, from cost tables that searches share.

Workers of a search answer questions about subspaces of its open regions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from archsim.bounds.makespan import tie_shares
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError
from einsum_cascade.memo import cached_property

from ..problem.engine_run import EngineRun, Kind, kind_of
from ..problem.objectives import ENERGY
from ..problem.protocol import never
from ..space.factorisation import EinsumPlacement
from ..space.fusion import diversified, subspaces_of
from ..space.region import Region, RegionKey, Skeleton, Subspace, mapping_of
from . import policy
from .kernels.bounds import EINSUM, Choices
from .kernels.descent import (
    BOUND,
    CAPACITY,
    ILLEGAL,
    LEAST,
    TIE,
    UNSEEN,
    VALUE,
    WORSE,
    Search,
    search,
)
from .kernels.measures import Floats, Ints
from .measures import measured, shares_left
from .tables import CostMemo, SubspaceRefusedError, Tables, tabulate


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Best mapping of one tiling of a subspace, with its value by the cost tables."""

    value: float
    """Lower bound of the objective; latency is the time of the busiest array or memory."""
    estimate: float
    """Estimate of the objective: the lower bound plus the time to fill arrays and memories."""
    tie: float
    """Value that decides ties: latency in cycles, or energy in pJ."""
    sizes: Ints
    placements: dict[str, EinsumPlacement]
    places: dict[str, tuple[str, ...]]
    region: int = 0
    """Index of the region in its search."""
    subspace: int = 0
    """Index of the subspace in its region."""

    @property
    def key(self) -> Hashable:
        """Identity of the proposed mapping within its search."""
        chosen = (*self.placements.items(), *self.places.items())
        return self.region, self.subspace, self.sizes.tobytes(), chosen

    @property
    def promise(self) -> tuple[float, float]:
        """Sort key of proposals: the estimate, then the value that decides ties."""
        return self.estimate, self.tie

    def mapping(self, region: Region, subspace: Subspace, name: str) -> Mapping:
        """Return the proposed mapping under a given name."""
        chosen = (self.sizes, self.placements, self.places)
        return replace(mapping_of(region, subspace.skeleton, *chosen), name=name)


@dataclass(kw_only=True)
class SubspaceSearch:
    """Searcher of subspaces, with statistics of all subspaces that it has searched.

    Parameters
    ----------
    space : Region
    objective : int
        ``ENERGY``, ``LATENCY`` or ``EDP``.
    slack : float
        Share by which the limit must be beaten.
    cap : float
        Largest allowed value of the other objective (of energy and latency).
    limit : float
        Value to beat.
    least : float
        Lower bound of all searched tilings.
    """

    space: Region
    objective: int
    slack: float = 0.0
    cap: float = np.inf
    limit: float = np.inf
    least: float = np.inf

    def __post_init__(self) -> None:
        self.tally = np.zeros(6)

    def search(self, subspace: Subspace, tables: Tables) -> Iterator[Proposal]:
        """Yield the best mapping of each tiling of a subspace that may beat the limit.

        Raises
        ------
        SubspaceRefusedError
            The size of some tile has no closed form.
        """
        choices = tables.choices
        nodes = nodes_of(subspace, plain=self.space.plain)
        left = _steps_left(tables, self.space, subspace)
        for start, cost, tile in priced(self.space, subspace, tables):
            state = fresh_state(choices, len(cost), self.tally)
            # Any weights give a bound: those that suit the first tiling serve the whole batch.
            weights = weights_of(tables, cost[0], len(self.space.architecture.arrays))
            # A sketch ranks subspaces, for which ties do not matter.
            limits = (self.limit, self.slack, nodes, self.cap, not self.space.plain)
            steps = policy.MAX_MULTIPLIER_STEPS
            search(choices, self.objective, *limits, steps, weights, cost, tile, state)
            self.least = min(self.least, float(state.values[:, LEAST].min()))
            for row in range(len(cost)):
                if state.chosen[row, 0] >= 0:
                    at = start + row
                    yield self.proposal(subspace, tables, at, row, state, left=left[at])

    def proposal(
        self,
        subspace: Subspace,
        tables: Tables,
        tiling: int,
        row: int,
        state: Search,
        *,
        left: float = 1.0,
    ) -> Proposal:
        """Return the kernel's result for one tiling as a proposal.

        Parameters
        ----------
        subspace : Subspace
        tables : Tables
        tiling, row : int
            Number of the tiling in the subspace, and in the batch of the state.
        state : Search
        left : float
            Share of steps that a mask leaves.
        """
        placements: dict[str, EinsumPlacement] = {}
        places: dict[str, tuple[str, ...]] = {}
        for (kind, number, _), chosen in zip(
            tables.choices.decisions, state.chosen[row], strict=True
        ):
            if kind == EINSUM:
                placements[tables.einsums[number]] = tables.placements[number][chosen]
            else:
                tensor = tables.tensors[number]
                places[tensor] = self.space.places[tensor][chosen]
        value = float(state.values[row, VALUE])
        steps = max(1.0, left * self.space.steps(subspace, tiling))
        late = 0.0 if self.objective == ENERGY else policy.PIPELINE_FILL_STEPS / steps
        return Proposal(
            value=value,
            estimate=value * (1 + late),
            tie=float(state.values[row, TIE]),
            sizes=subspace.sizes[tiling],
            placements=placements,
            places=places,
        )


def _steps_left(tables: Tables, space: Region, subspace: Subspace) -> list[float]:
    """Return, for each tiling, the share of steps of the shared loops that a mask leaves."""
    if tables.steps_left is None:
        return [1.0] * len(subspace.sizes)
    strides = strides_of(space, subspace)
    found: list[float] = shares_left([tables.steps_left], strides)[:, 0].tolist()
    return found


PRUNED = {
    "no better": BOUND,
    "over capacity": CAPACITY,
    "tensor lost": ILLEGAL,
    "worse places": WORSE,
    "too many to look at": UNSEEN,
}
"""Reasons why mappings were left out, and the index of their number in a search's tally."""


def strides_of(space: Region, subspace: Subspace) -> Ints:
    """Return the strides of all rank members, in the order of a tiling, one row per tiling."""
    columns: list[Ints] = []
    one = np.ones(len(subspace.sizes), dtype=np.int64)
    place = {member: n for n, (_, member) in enumerate(space.tiles)}
    for rank in space.tiled_ranks:
        cut = space.factorisation_of.get(rank)
        counts = dict(cut.fine) if cut is not None else {}
        # Strides grow from the innermost member on: P0: 256, P1 open and P2 have strides 1, 256,
        # and 256 times P1.
        inner: list[Ints] = []
        stride = one
        for member in cut.members if cut is not None else (rank,):
            inner.append(stride)
            count = subspace.sizes[:, place[member]] if member in place else counts.get(member, 1)
            stride = stride * count
        columns += reversed(inner)
    return np.stack(columns, axis=1) if columns else np.zeros((len(one), 0), dtype=np.int64)


def priced(
    space: Region, subspace: Subspace, tables: Tables
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield a subspace's tilings in batches, with their costs.

    A batch has the index of its first tiling and two arrays. The first has the costs of all rows,
    (tilings, rows, columns). The second has the bytes of all tiles, (tilings, tiles).

    Parameters
    ----------
    space : Region
    subspace : Subspace
        A subspace of the region.
    tables : Tables
        Cost tables of the subspace.

    Raises
    ------
    SubspaceRefusedError
        The size of some tile has no closed form.
    """
    strides = strides_of(space, subspace)
    for start in range(0, len(strides), policy.TILINGS_PER_BATCH):
        rows = strides[start : start + policy.TILINGS_PER_BATCH]
        amounts = measured(tables.measures, rows)
        if np.isnan(amounts).any():
            raise SubspaceRefusedError("an index is too irregular", irregular=True)
        shape = (len(rows), -1, tables.columns)
        cost = (amounts @ tables.coefficients.T + tables.constants).reshape(shape)
        yield start, cost, amounts @ tables.tile_coefficients.T + tables.tile_constants


def fresh_state(choices: Choices, tilings: int, tally: Floats) -> Search:
    """Return empty arrays for the kernel's results of a batch.

    Parameters
    ----------
    choices : Choices
    tilings : int
        Tilings of the batch.
    tally : array
        Counts over all batches (``kernels.descent``), which the kernel continues.
    """
    chosen = np.empty((tilings, choices.decisions.shape[0]), np.int64)
    return Search(values=np.empty((tilings, 3)), chosen=chosen, tally=tally)


def nodes_of(subspace: Subspace, *, plain: bool = False) -> int:
    """Return the largest number of decisions to examine for one tiling.

    There are fewer in a sketch (``plain``).
    """
    fewest, most = policy.DECISIONS_PER_TILING
    together = policy.MAX_DECISIONS_PER_SKETCH if plain else policy.MAX_DECISIONS_PER_SUBSPACE
    return min(most, max(fewest, together // len(subspace.sizes)))


def weights_of(tables: Tables, cost: Floats, arrays: int) -> Floats:
    """Return weights for sums of cost columns; each sum bounds a mapping's cost from below.

    The first two sums are energy. Then come the cycles of each array and memory, mixtures of
    arrays, and the average of all cycle columns. In the best mixture (the one with the largest
    least sum) some Einsums cost the same on two arrays (``archsim.bounds.makespan``).

    Parameters
    ----------
    tables : Tables
    cost : array, (rows, columns)
        Costs of one tiling; weights that suit it serve other tilings as well.
    arrays : int
        Number of array columns, the first after energy.

    Returns
    -------
    array, (sums, columns + memories)
        Weights of cycles add up to one; Lagrange multipliers of memories are 0.
    """
    work: list[dict[int, float]] = []
    for number, alternatives in enumerate(map(len, tables.placements)):
        first = tables.choices.works[number]
        cycles = cost[tables.choices.rows[first : first + alternatives], 1 : 1 + arrays]
        # An alternative has cycles on its own array only; zeros are other alternatives.
        own = [(a, cycles[cycles[:, a] > 0, a]) for a in range(arrays)]
        work.append({a: float(found.min()) for a, found in own if found.size})
    mixtures = sorted(
        {tuple(x / sum(shares) for x in shares) for shares in tie_shares(work, arrays, 1.0)}
    )
    columns = np.eye(tables.columns)
    sums = [columns[0], *columns]
    # Every n-th mixture keeps their number below the limit.
    for shares in mixtures[:: max(1, -(-len(mixtures) // policy.MAX_ARRAY_MIXTURES))]:
        row = np.zeros(tables.columns)
        row[1 : 1 + arrays] = shares
        sums.append(row)
    even = np.zeros(tables.columns)
    even[1:] = 1 / (tables.columns - 1)
    return with_multipliers([*sums, even], len(tables.choices.capacities))


def with_multipliers(sums: Sequence[Floats], memories: int) -> Floats:
    """Return weights as rows, extended by a Lagrange multiplier of 0 for each memory."""
    rows = np.stack([*sums])
    return np.pad(rows, ((0, 0), (0, memories)))


_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMemo:
    """Memo of cost tables: it makes those of each subspace once, for any number of searches.

    All these searches must be of one mapspace. They must agree on slow arrays and on relaxed masks.
    """

    found: dict[_Key, tuple[Region, Subspace, Tables]] = field(default_factory=dict)
    """All subspaces with cost tables, including those with tables for a sketch only."""
    _refused: dict[_Key, SubspaceRefusedError] = field(default_factory=dict)

    def __call__(
        self, space: Region, subspace: Subspace, *, relaxed: bool, memo: CostMemo | None
    ) -> Tables:
        """Return the cost tables of a subspace, from the memo if it has them. Raises as
        ``tabulate``."""
        key = (space.fixed, space.cuts, space.slow, space.plain, subspace.skeleton)
        if key in self._refused:
            raise self._refused[key]
        if key not in self.found:
            try:
                tables = tabulate(space, subspace, relaxed=relaxed, memo=memo)
            except SubspaceRefusedError as why:
                self._refused[key] = why
                raise
            self.found[key] = (space, subspace, tables)
        return self.found[key][2]


def proposals_below(
    known: TableMemo,
    objective: int,
    *,
    limit: float,
    cap: float = inf,
    is_over: Callable[[], bool] = never,
) -> tuple[list[tuple[Proposal, Region, Subspace]], float]:
    """Return the best proposals under a cap, from subspaces whose cost tables have all placements.

    Parameters
    ----------
    objective : int
        ``ENERGY`` or ``LATENCY``, in pJ or cycles.
    limit : float
        Value to beat.
    cap : float
        Largest allowed value of the other objective.
    is_over : callable
        Returns whether time is up; proposals found until then are returned, and nothing is proven.

    Returns
    -------
    proposals : list of (Proposal, Region, Subspace)
        Proposals about as good as the best one, best first, with their subspaces.
    least : float
        Lower bound of all mappings of these subspaces; at most the limit.
    """
    found: list[tuple[Proposal, Region, Subspace]] = []
    least = best = limit
    for region, subspace, tables in known.found.values():
        if region.plain:
            continue
        if is_over():
            least = 0.0
            break
        search = SubspaceSearch(space=region, objective=objective, cap=cap, limit=best)
        found += ((f, region, subspace) for f in search.search(subspace, tables))
        least = min(least, search.least)
        best = min([limit, *(policy.MAX_PROPOSAL_RATIO * f.value for f, _, _ in found)])
    able = (one for one in found if one[0].value <= best)
    return sorted(able, key=lambda one: (one[0].value, one[0].tie)), least


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
