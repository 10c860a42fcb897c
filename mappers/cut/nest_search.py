"""Several fused nests that run one after the other: the best cut of a cascade, as a shortest path.

Tensors that one nest hands to another cross the outermost memory. Each nest is thus a separate
problem, and cycles and energies add up. Only nests on paths that may still be the shortest are
searched. On machines of many cores each nest has its own partitioning. Cascades that split a
reduction over cores are searched before the part's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, pairwise
from math import inf, prod
from time import monotonic

from archsim.energy import memory_access
from archsim.nest.sequence import join_nests
from archsim.plan.bandwidth_bound import bandwidth_bounds
from archsim.plan.job import MakeMapping
from archsim.plan.parts import PartProblem
from archsim.plan.selection import promising_split_reductions
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping, Tile
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.algebra.excerpt import (
    crossing,
    cut_blocks,
    excerpt,
    sizes_of_excerpt,
    tiled_families,
)
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from workloads.parts.part import Part

from ..construct.generators import GENERATORS
from ..exact.policy import BRIEF, USUAL, Effort
from ..local.local_search import improve_locally
from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Certificate, Searched
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.incumbents import Incumbents, best_first, space_of
from ..problem.objectives import EDP, ENERGY, LATENCY
from ..problem.protocol import Progress, SearchProblem, at_once, silent
from ..problem.search_log import with_better
from ..relax.multi_core import partitionings_of
from ..relax.relaxation import Family, FamilyMember, Query, Relaxation
from ..relax.search import best_mapping, family_of
from ..space.mapspace import Mapspace
from . import policy

Names = tuple[str, ...]
"""Names of a nest's Einsums, in the order of the cascade."""

Nests = tuple[tuple[int, int], ...]
"""Nests of a path. Each is a pair: the index of its first block, and the index behind its last."""


def _names_of(blocks: Iterable[Names]) -> Names:
    """Return the names of all Einsums of some blocks."""
    return tuple(chain.from_iterable(blocks))


def space_of_nest(
    whole: Mapspace, names: Names, pinned: Collection[tuple[str, int]] = ()
) -> Mapspace:
    """Return the mapspace of a nest: some of a cascade's Einsums on the same machine.

    Parameters
    ----------
    pinned : collection of tuple of str and int
        Sizes of tiles, by rank member, on which several nests must agree.

    Raises
    ------
    InputError
        As ``Mapspace.of``.
    """
    program = whole.program.memo(excerpt, names)
    given = sizes_of_excerpt(whole.program, program, whole.given | dict(pinned))
    return Mapspace.of(program, whole.architecture, given, slow=whole.slow)


def tensor_bytes(space: Mapspace, tensor: str) -> float:
    """Return the bytes of a whole tensor; infinite if the mapping decides its size.

    A tensor with all tiles of a rank has the size of the whole rank, for any tile size.

    Examples
    --------
    >>> from archsim import Architecture
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> shapes = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 8, "M": 32}
    >>> space = Mapspace.of(program, Architecture.load("fusemax"), shapes)
    >>> program.tensor_ranks["BQK"], tensor_bytes(space, "BQK")
    (('M1', 'M0', 'P'), 1024.0)
    """
    ranks = _counted_ranks(space.program, tensor)
    if any(rank not in space.shapes for rank in ranks):
        return inf
    return space.mapping_problem.tensor_bytes(tensor, prod(space.shapes[rank] for rank in ranks))


def _counted_ranks(program: Program, tensor: str) -> Names:
    """Return the ranks whose sizes multiply to a tensor's size.

    A whole rank replaces its members if the tensor has all of them.
    """
    own = program.tensor_ranks[tensor]
    found: dict[str, None] = dict.fromkeys(program.parallel)
    for rank in own:
        whole = program.whole_rank(rank)
        is_complete = whole != rank and {*program.rank_of[whole].partition} <= {*own}
        found[whole if is_complete else rank] = None
    return tuple(found)


def shortest_path(first: int, last: int, cost: Callable[[int, int], float]) -> tuple[float, Nests]:
    """Return the lowest total cost of nests that cover all blocks, and these nests.

    Parameters
    ----------
    first, last : int
        First block, and the first block behind the last one.
    cost : callable
        Returns the cost of the nest from one block up to another; infinite where there is none.

    Examples
    --------
    >>> shortest_path(0, 3, lambda a, b: 5.0 if b - a == 3 else (b - a) ** 2)
    (3.0, ((0, 1), (1, 2), (2, 3)))
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {first: (0.0, (first,))}
    for end in range(first + 1, last + 1):
        total, begin = min((best[n][0] + cost(n, end), n) for n in range(first, end))
        best[end] = total, (*best[begin][1], end)
    total, ends = best[last]
    return total, tuple(pairwise(ends))


NESTS_SUFFIX = ", nest by nest"
"""Suffix of the strategy's name in a certificate if several nests are best."""


def search_cuts(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
    """Search for the best mapping with one nest or several.

    On one core, an exhaustive search of one nest comes first, then searches of several nests. On
    many cores, the bandwidth bounds of all cuts decide if and when several nests are searched.

    Raises
    ------
    MappingError
        As ``exhaustive``.
    """
    if problem.space.architecture.has_instances:
        return search_multi_core(effort, problem, progress)
    found = best_mapping(effort, problem, progress)
    if not problem.space.constraints:
        found = search_nests(problem, found, partial(_search_nest, effort))
    return found


def _search_nest(effort: Effort, problem: SearchProblem) -> Searched:
    """Search one of several nests, with less effort than a single nest of all Einsums gets."""
    brief = family_of(problem.space).is_brief
    least = BRIEF if brief else policy.nest_effort(effort)
    return best_mapping(least, problem, silent)


_MAKERS = (GENERATORS.make, GENERATORS.fuse)
"""Generators of mappings of a nest, the quicker one first."""


@dataclass(kw_only=True)
class _Nest:
    """Consecutive blocks of the cascade, mapped as one nest, and all that is known of it."""

    names: Names
    pinned: tuple[tuple[str, str, int], ...]
    """Rank, member and size of each tile on which all nests must agree."""
    bound: float = 0.0
    """Lower bound of the objective for mappings of this nest."""
    run: EngineRun | None = None
    """Best run of this nest so far, if any."""
    is_feasible: bool = True
    made: int = 0
    """Number of generated mappings so far: one Einsum after the other, then fused, which takes
    longer."""
    searched: Certificate | None = None
    inner_bound: float = 0.0
    """Lower bound that follows from searches of nests inside of this one."""

    @property
    def value(self) -> float:
        """Objective of the best run so far; infinite without a run."""
        return inf if self.run is None else self.run.value

    @property
    def optimistic(self) -> float:
        """Least objective that a search of this nest may still find."""
        if not self.is_feasible:
            return inf
        return self.value if self.searched is not None else max(self.bound, self.inner_bound)


def search_nests(
    problem: SearchProblem, found: Searched, search: Callable[[SearchProblem], Searched]
) -> Searched:
    """Search several nests on one core, and return the best mapping with one nest or several.

    Parameters
    ----------
    problem : SearchProblem
        Problem of the whole cascade, without constraints.
    found : Searched
        Best mapping of one nest.
    search : callable
        Searches each nest. Raises an ``InputError`` where no mapping is legal.

    Returns
    -------
    Searched
        Its certificate covers mappings of one and of several nests, except cuts beyond
        ``MAX_BLOCKS``.
    """
    if found.certificate.ended == INTERRUPTED:
        return found
    return _NestSearch(problem, found, search).best()


@dataclass
class _NestSearch:
    """Search of all cuts of one cascade; it refines the nests on the shortest path so far."""

    problem: SearchProblem
    found: Searched
    search: Callable[[SearchProblem], Searched]
    begun: float = field(default_factory=monotonic)
    einsums_searched: int = 0
    ended: str = ""

    def __post_init__(self) -> None:
        self.space = self.problem.space
        self.objective = self.problem.objective
        self.value = self.objective.of(self.found.result)
        self.path: Nests = ()
        # A sum of roots bounds the root of a product of sums (Cauchy and Schwarz).
        self.power = 0.5 if self.objective.code == EDP else 1.0
        self.bound_of_pruned_cuts = inf
        self.has_all_cuts = True
        self.blocks = self._blocks()
        self.nests: dict[tuple[int, int], _Nest] = {}

    def best(self) -> Searched:
        """Return the best mapping with one nest or several."""
        if len(self.blocks) > 1:
            self._refine()
        run = self._joined() if self.path else None
        before = self.found.certificate
        if run is None:
            return replace(self.found, certificate=self._certificate(before))
        certificate = self._certificate(
            replace(before, strategy=before.strategy + NESTS_SUFFIX, value=run.value)
        )
        return with_better(self.problem, self.found, run, certificate, self.begun)

    def _joined(self) -> EngineRun | None:
        """Run all nests of the best path as one mapping; return None if it is illegal."""
        nests = [self.nests[place] for place in self.path]
        mappings = (_with_pinned(n.run.mapping, n.pinned) for n in nests if n.run is not None)
        whole = Mapping(name=f"best-{self.objective.name}", cascade=self.space.program.name)
        try:
            return run_mapping(self.space, join_nests(whole, tuple(mappings)), self.objective)
        except InputError:
            return None

    # ------------------------------------------------------------------ cuts

    def _blocks(self) -> tuple[Names, ...]:
        """Return the Einsums of each block. Blocks end where a cut may improve the objective."""
        finest = self.space.program.memo(cut_blocks)
        bounds: list[tuple[float, int]] = []
        for at in range(1, len(finest)):
            bound = self._bound_of_cut(_names_of(finest[:at]))
            if bound < self.value * (1 - self.problem.tolerance):
                bounds.append((bound, at))
            else:
                self.bound_of_pruned_cuts = min(self.bound_of_pruned_cuts, bound)
        self.has_all_cuts = len(bounds) < policy.MAX_BLOCKS
        cuts = sorted(at for _, at in sorted(bounds)[: policy.MAX_BLOCKS - 1])
        ends = pairwise([0, *cuts, len(finest)])
        return tuple(_names_of(finest[first:last]) for first, last in ends)

    def _bound_of_cut(self, before: Names) -> float:
        """Return a lower bound of the objective for mappings with a cut behind the given Einsums.

        Masked tensors across the cut do not count, as the mask may leave little of them.
        """
        program = self.space.program
        masked = {e.name for e in with_masks(program).einsums if e.where is not None}
        sizes = [tensor_bytes(self.space, t) for t in crossing(program, before) if t not in masked]
        seconds, energy = self._cost_of_moving(2 * sum(size for size in sizes if size < inf))
        floor = self.found.result.floor
        clock_hz = float(self.space.architecture.clock_hz)
        cycles = max(floor.latency_s, floor.bandwidth_s + seconds if seconds else 0.0) * clock_hz
        energy += floor.energy_pj
        return {LATENCY: cycles, ENERGY: energy}.get(self.objective.code, cycles * energy)

    def _cost_of_moving(self, moved_bytes: float) -> tuple[float, float]:
        """Return seconds and pJ to move bytes at the outermost memory, half of them read, half
        written."""
        machine, outermost = self.space.architecture, self.space.architecture.memories[0]
        bandwidth, price = outermost.bandwidth_bytes_per_s, memory_access(machine, outermost)
        if moved_bytes == inf:
            return inf, inf
        seconds = 0.0 if bandwidth is None else moved_bytes / float(bandwidth)
        lines = moved_bytes * 8 / float(outermost.line_bits)
        return seconds, lines / 2 * (price.read_pj + price.write_pj)

    def _nest(self, place: tuple[int, int]) -> _Nest:
        if place not in self.nests:
            names = _names_of(self.blocks[slice(*place)])
            self.nests[place] = _Nest(names=names, pinned=tuple(self._pinned(names)))
        return self.nests[place]

    def _pinned(self, names: Names) -> Iterator[tuple[str, str, int]]:
        """Yield rank, member and size of the tiles on which a nest must agree with other nests.

        These are tiles that the cascade itself cuts. Their sizes are those of the best mapping with
        one nest, if it states them. Otherwise the innermost member is as long as the widest array.
        """
        program = self.space.program
        others = tuple(e.name for e in program.einsums if e.name not in names)
        read = {a.tensor for e in program.einsums if e.name in names for a in e.reads}
        handed = (*crossing(program, names), *(t for t in crossing(program, others) if t in read))
        sizes = dict(self.found.result.shape)
        families = dict.fromkeys(f for t in handed for f in tiled_families(program, t))
        widest = max(d.size for a in self.space.architecture.arrays for d in a.dimensions)
        for family in families:
            members = program.rank_of[family].partition[1:]
            for member in members:
                if member not in self.space.given:
                    usual = min(widest, self.space.shapes[family]) if member == members[-1] else 1
                    yield family, member, sizes.get(member, usual)

    # ------------------------------------------------------------------ nests

    def _refine(self) -> None:
        """Refine nests of the most optimistic path until no path can be better than the best
        mapping."""
        while not self._is_over():
            optimistic, path = self._shortest(lambda nest: nest.optimistic)
            nests = [self.nests[place] for place in path]
            if optimistic >= self._root_below(self.problem.tolerance):
                return
            least = min(nest.made for nest in nests)
            if least and optimistic >= self._root_below(policy.MIN_GAIN):
                return
            if least < len(_MAKERS):
                for nest in nests:
                    if nest.made == least:
                        nest.made += 1
                        self._make(nest, _MAKERS[least])
            else:
                place = self._next_to_search(path, optimistic)
                if place is None:
                    return
                self._search(self.nests[place])
                self._propagate_bound(place)
            self._take_best_path()

    def _is_over(self) -> bool:
        if not self.ended and self.problem.is_over():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    def _root_below(self, share: float) -> float:
        """Return the path length of a mapping that is better than the best one by a given share."""
        return float((self.value * (1 - share)) ** self.power)

    def _take_best_path(self) -> None:
        """Keep the shortest path of known runs if it is better than the best mapping so far."""
        value, path = self._shortest(lambda nest: nest.value)
        if value >= self._root_below(self.problem.tolerance):
            return
        if self.objective.code == EDP:
            runs = [self.nests[place].run for place in path]
            results = [run.result for run in runs if run is not None]
            value = sum(r.cycles for r in results) * sum(r.energy_pj for r in results)
        if value < self.value * (1 - self.problem.tolerance):
            self.value, self.path = value, path

    def _shortest(self, cost: Callable[[_Nest], float]) -> tuple[float, Nests]:
        """Return the length of the shortest path with at least two nests, and its nests."""
        whole = (0, len(self.blocks))

        def cost_of(first: int, last: int) -> float:
            if (first, last) == whole:
                return inf
            return float(cost(self._nest((first, last))) ** self.power)

        return shortest_path(*whole, cost_of)

    def _next_to_search(self, path: Nests, optimistic: float) -> tuple[int, int] | None:
        """Return the nest of a path to search next; None if no nest is left to search.

        The candidate is the nest that may save most. A shorter nest inside of it comes first under
        two conditions. Its lower bound is about as high, and it is on a path that is about as
        short.
        """
        left = policy.MAX_EINSUMS_SEARCHED - self.einsums_searched
        waiting = (place for place in path if self.nests[place].searched is None)
        small = [place for place in waiting if len(self.nests[place].names) <= left]
        if not small:
            return None
        place = max(small, key=lambda p: self.nests[p].value - self.nests[p].bound)
        (first, last), nest = place, self.nests[place]
        ends = range(first, last + 1)
        found = [place]
        for inner in ((a, b) for a in ends for b in ends if a < b and (a, b) != place):
            other = self.nests[inner]
            if other.made and other.searched is None and other.is_feasible:
                length = self._length_around(inner) + other.optimistic**self.power
                is_near = length <= optimistic * (1 + policy.MIN_GAIN)
                if is_near and other.bound >= policy.INNER_COST_SHARE * nest.bound:
                    found.append(inner)
        return min(found, key=lambda p: (p[1] - p[0], p))

    def _length_around(self, place: tuple[int, int]) -> float:
        """Return the optimistic length of the shortest paths before and behind a nest."""
        first, last = place

        def cost_of(begin: int, end: int) -> float:
            return float(self._nest((begin, end)).optimistic ** self.power)

        before, _ = shortest_path(0, first, cost_of)
        behind, _ = shortest_path(last, len(self.blocks), cost_of)
        return before + behind

    def _propagate_bound(self, place: tuple[int, int]) -> None:
        """Raise the lower bounds of all nests that contain a nest just searched.

        An outer nest costs at least as much as the inner one, less the handoff cost. Tensors
        between the inner nest and the rest may stay inside of the outer nest.
        """
        mine = self.nests[place]
        if self.objective.code == EDP:
            return
        for (first, last), nest in self.nests.items():
            if (first, last) != place and first <= place[0] and place[1] <= last:
                bound = mine.value - self._handoff_cost(mine, nest)
                nest.inner_bound = max(nest.inner_bound, bound)

    def _handoff_cost(self, inner: _Nest, outer: _Nest) -> float:
        """Return the cost to read all tensors between a nest and the rest of an outer nest."""
        moved = 0.0
        for e in self.space.program.einsums:
            for access in e.reads if e.name in outer.names else ():
                if access.tensor in outer.names:
                    is_across = (e.name in inner.names) != (access.tensor in inner.names)
                    moved += tensor_bytes(self.space, access.tensor) if is_across else 0.0
        seconds, energy = self._cost_of_moving(moved)
        clock_hz = float(self.space.architecture.clock_hz)
        return energy if self.objective.code == ENERGY else seconds * clock_hz

    def _space(self, nest: _Nest) -> Mapspace:
        pinned = [(member, size) for _, member, size in nest.pinned]
        return space_of_nest(self.space, nest.names, pinned)

    def _make(self, nest: _Nest, make: MakeMapping) -> None:
        """Run a generated mapping of a nest; raise the nest's lower bound to the run's floor."""
        if not nest.is_feasible:
            return
        try:
            space = self._space(nest)
        except InputError:
            nest.is_feasible = False
            return
        try:
            mapping = make(space.program, space.architecture, space.given)
            run = run_mapping(space, mapping, self.objective)
        except InputError:
            return
        nest.bound = max(nest.bound, self.objective.floor(run.result))
        if run.value < nest.value:
            nest.run = run

    def _search(self, nest: _Nest) -> None:
        self.einsums_searched += len(nest.names)
        problem = SearchProblem(
            space=self._space(nest),
            objective=self.objective,
            tolerance=self.problem.tolerance,
            known=nest.run,
            is_over=self.problem.is_over,
        )
        try:
            found = self.search(problem)
        except InputError:
            nest.is_feasible = nest.run is not None
            nest.searched = replace(
                self.found.certificate, candidates=0, evaluated=0, reasons=(), runs=0
            )
            return
        nest.searched = found.certificate
        nest.bound = max(nest.bound, found.certificate.bound)
        nest.run = EngineRun.of(self.objective, found.mapping, found.result)
        if found.certificate.ended:
            self.ended = found.certificate.ended

    # ------------------------------------------------------------------ certificate

    def _certificate(self, own: Certificate) -> Certificate:
        """Return a certificate that covers mappings of one nest and of several."""
        others = [n.searched for n in self.nests.values() if n.searched is not None]
        bound = min(self.found.certificate.bound, max(own.floor, self._bound_of_several()))
        whole = own.with_effort_of(others).bounded(own.value, bound)
        return replace(whole, ended=own.ended or self.ended)

    def _bound_of_several(self) -> float:
        """Return a lower bound of the objective for all mappings with several nests."""
        if not self.has_all_cuts:
            return 0.0
        if len(self.blocks) < 2:
            return self.bound_of_pruned_cuts
        proven, _ = self._shortest(lambda nest: nest.bound if nest.is_feasible else inf)
        return float(min(self.bound_of_pruned_cuts, proven ** (1 / self.power)))


def _with_pinned(mapping: Mapping, pinned: Iterable[tuple[str, str, int]]) -> Mapping:
    """Return a nest's mapping with the sizes of the tiles that it shares with other nests."""
    own = {t.member for t in mapping.tiles}
    tiles = (Tile(rank=r, member=m, size=n) for r, m, n in pinned if m not in own)
    return replace(mapping, tiles=(*tiles, *mapping.tiles))


def search_multi_core(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
    """Search for the best mapping with one partitioning, or with several nests, each with its own.

    Several nests are searched first if their bandwidth bound is clearly below that of one nest.
    Otherwise they are searched only if their bound is clearly below the latency of one nest.

    Raises
    ------
    MappingError
        As ``exhaustive``.
    """
    if problem.objective.code != LATENCY or problem.space.constraints:
        return best_mapping(effort, problem, progress)
    cuts = CutEstimates(problem.space)
    seconds, nests = cuts.best
    promised = seconds * float(problem.space.architecture.clock_hz)
    share = policy.MAX_PROMISED_SHARE
    if len(nests) < 2 or (problem.known and promised > share * problem.known.value):
        return best_mapping(effort, problem, progress)
    if seconds <= share * cuts.uncut:
        # The latency of several nests shows which partitionings need not be searched.
        run, certificates = _search_each(effort, problem, nests, progress)
        found = best_mapping(effort, _with_known(problem, run, certificates), progress)
        certificate = found.certificate.with_effort_of(certificates)
        if run is not None and found.mapping == run.mapping:
            certificate = replace(certificate, strategy=certificate.strategy + NESTS_SUFFIX)
        return replace(found, certificate=certificate)
    found = best_mapping(effort, problem, progress)
    begun, value = monotonic(), problem.objective.of(found.result)
    if found.certificate.ended or promised > share * value:
        return found
    run, certificates = _search_each(effort, problem, nests, progress)
    certificate = found.certificate.with_effort_of(certificates)
    if run is None or run.value >= value * (1 - problem.tolerance):
        return replace(found, certificate=certificate)
    floor, strategies = problem.objective.floor(run.result), certificate.strategy + NESTS_SUFFIX
    certificate = replace(certificate, strategy=strategies, floor=floor).bounded(run.value, floor)
    return with_better(problem, found, run, certificate, begun)


def _search_each(
    effort: Effort, problem: SearchProblem, nests: tuple[Names, ...], progress: Progress
) -> tuple[EngineRun | None, tuple[Certificate, ...]]:
    """Search each nest; return the run of all best mappings together, if legal, and the
    certificates."""
    searched: list[Searched] = []
    whole = Mapping(name="best-latency", cascade=problem.space.program.name)
    run = None
    with suppress(InputError):  # no mapping of a nest is legal
        for names in nests:
            space = space_of_nest(problem.space, names)
            of_nest = replace(problem, space=space, known=None, others=())
            searched.append(best_mapping(effort, of_nest, progress))
        mapping = join_nests(whole, tuple(s.mapping for s in searched))
        run = run_mapping(problem.space, mapping, problem.objective)
    return run, tuple(s.certificate for s in searched)


def _with_known(
    problem: SearchProblem, run: EngineRun | None, certificates: tuple[Certificate, ...]
) -> SearchProblem:
    """Return the problem with a run as its incumbent, already over after an interrupt."""
    if any(c.ended == INTERRUPTED for c in certificates):
        problem = replace(problem, is_over=at_once)
    if run is None or (problem.known is not None and problem.known.value <= run.value):
        return problem
    others = problem.others if problem.known is None else (problem.known, *problem.others)
    return replace(problem, known=run, others=others)


@dataclass
class CutEstimates:
    """Bandwidth bounds of all cuts of a cascade, with the best partitioning of each nest."""

    whole: Mapspace

    @cached_property
    def blocks(self) -> tuple[Names, ...]:
        """Einsums of each block; a cut is possible between two blocks.

        No cut is behind an Einsum whose result has tiles of a rank that the cascade itself cuts.
        All nests would have to cut this rank alike.
        """
        program = self.whole.program
        found: list[Names] = []
        before: Names = ()
        for block in program.memo(cut_blocks):
            hands_on_tiles = any(tiled_families(program, t) for t in crossing(program, before))
            is_full = len(found) == policy.MAX_MULTI_CORE_BLOCKS
            if found and (hands_on_tiles or is_full):
                found[-1] = (*found[-1], *block)
            else:
                found.append(block)
            before = (*before, *block)
        return tuple(found)

    @cached_property
    def best(self) -> tuple[float, tuple[Names, ...]]:
        """Shortest time in seconds over all cuts, and the Einsums of each nest."""
        seconds, path = shortest_path(0, len(self.blocks), self.cost)
        return seconds, tuple(_names_of(self.blocks[first:last]) for first, last in path)

    @property
    def uncut(self) -> float:
        """Shortest time in seconds with a single partitioning of all Einsums."""
        return self.cost(0, len(self.blocks))

    def cost(self, first: int, last: int) -> float:
        """Return the shortest seconds of a nest, including writing the tensors handed to it.

        The seconds of the nest itself are the lowest bandwidth bound among its partitionings.
        """
        try:
            space = space_of_nest(self.whole, _names_of(self.blocks[first:last]))
        except InputError:
            return inf
        bounds = bandwidth_bounds(space.mapping_problem, partitionings_of(space))
        return self._handoff_time(first) + min(bounds)

    def _handoff_time(self, first: int) -> float:
        """Return the seconds to write all tensors across a cut; each nest counts its own reads."""
        bandwidth = self.whole.architecture.home.bandwidth_bytes_per_s
        if bandwidth is None or not first:
            return 0.0
        handed = crossing(self.whole.program, _names_of(self.blocks[:first]))
        return sum(tensor_bytes(self.whole, tensor) for tensor in handed) / float(bandwidth)


def search_machine(effort: Effort | None, problem: SearchProblem, progress: Progress) -> Searched:
    """Search the best mapping of one part, beginning with its incumbents.

    Parameters
    ----------
    effort : Effort or None
        Limits of the search; the usual ones for None.

    Raises
    ------
    MappingError
        As ``exhaustive``.
    """
    began = monotonic()
    found = search_cuts(effort or USUAL, problem, progress)
    return improve_locally(problem, found, began)


class SplitReductions(Query[Incumbents]):
    """Query for incumbents from cascades that split a reduction over cores.

    Each such cascade is a relaxation of the part's own; its mappings need no lifting.

    Parameters
    ----------
    effort : Effort or None
        Limits of the search; the usual ones for None.
    problem : SearchProblem
        Problem of the part's own cascade.
    known : Incumbents
        Incumbents of the part's own cascade.
    """

    def __init__(
        self,
        effort: Effort | None,
        part: Part,
        problem: SearchProblem,
        known: Incumbents,
        progress: Progress,
    ) -> None:
        machine = problem.space.architecture
        self.cascades: tuple[str, ...] = ()
        if problem.objective.code == LATENCY and not problem.space.constraints:
            # Only cascades whose partial reductions promise less latency are searched.
            whole = PartProblem(part, machine, GENERATORS)
            self.cascades = tuple(promising_split_reductions(whole))
        members = (
            FamilyMember(make=partial(_other_cascade, part, machine, cascade))
            for cascade in self.cascades
        )
        super().__init__(problem.space, Family(members=tuple(members)))
        self.effort, self.progress = effort or USUAL, progress
        self.problem, self.known = problem, known
        self.certificates: list[Certificate] = []

    def enumerated(self) -> Incumbents:
        """Return the incumbents of the part's own cascade."""
        return self.known

    def is_done(self) -> bool:
        """Return whether it was interrupted, or has a mapping and its time is up."""
        return self.ended == INTERRUPTED or (self.known.best is not None and self.problem.is_over())

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search another cascade, and add its best mapping to the incumbents if it is better."""
        del left
        best, objective = self.known.best, self.problem.objective
        problem = replace(self.problem, space=relaxation.space, known=best)
        found = search_cuts(self.effort, problem, self.progress)
        self.certificates.append(found.certificate)
        self.ended = found.certificate.ended or self.ended
        for mapping in relaxation.lift(found.mapping):
            run = EngineRun.of(objective, mapping, found.result)
            if best is None or run.value < best.value:
                runs = best_first(self.problem, (run, *self.known.runs))
                self.known = replace(self.known, runs=runs)

    def answer(self) -> Incumbents:
        """Return the incumbents of all cascades; errors are those of the part's own."""
        return self.known


def _other_cascade(part: Part, machine: Architecture, cascade: str) -> Relaxation:
    """Return the mapspace of another cascade, whose mappings name it as given here."""
    space = replace(space_of(part, machine, cascade), slow=False)
    return Relaxation(space=space, lift=lambda found: iter((replace(found, cascade=cascade),)))
