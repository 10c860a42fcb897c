"""Several fused nests one after the other: the best cut of a cascade, as a shortest path.

What nests hand to one another crosses the outermost memory, so that each is a problem of its own,
and cycles and energies add up. Only nests on paths that may still be the shortest are searched. On
machines of many cores each nest is partitioned on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from math import inf, prod
from time import monotonic

from archsim.energy.estimators import memory_access
from archsim.nest.sequence import join_nests
from archsim.plan.bandwidth_bound import bandwidth_bounds
from archsim.plan.job import MakeMapping
from archsim.plan.partial_results import elements_of
from archsim.spec.mapping import Mapping, Tile
from archsim.spec.tensor_words import words_of
from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.algebra.excerpt import (
    crossing,
    cut_blocks,
    excerpt,
    sizes_of_excerpt,
    tiled_families,
)
from einsum_cascade.errors import InputError
from einsum_cascade.memo import cached_property

from ..construct.generators import GENERATORS
from ..exact.policy import Effort
from ..problem.certificate import (
    INTERRUPTED,
    TIME_LIMIT,
    Certificate,
    Moment,
    RunnerUp,
    Searched,
    differences_of_nests,
)
from ..problem.engine_run import EngineRun, bound_nests, run_mapping
from ..problem.objectives import EDP, ENERGY, LATENCY
from ..problem.protocol import Mapper, Progress, SearchProblem, at_once
from ..relax.multi_core import multi_core_search, partitionings_of
from ..space.mapspace import Mapspace

_MAX_BLOCKS = 10
"""Blocks of Einsums at the most: between more of them the cheapest places to cut are looked at."""

_EINSUMS = 120
"""Einsums of all nests that are searched, at the most: a search takes as long as it has many."""

_WORTH = 0.01
"""What could be better by less than this share is not worth a search of a nest."""

_AS_MUCH = 0.95
"""The share of what a nest costs at the least that one inside of it costs, to be searched before
it: what is found for the one is most of the other, too."""

_NEST_EFFORT = Effort(
    regions=6,
    untimed=12,
    sketches=3,
    more_sketches=8,
    subspaces=24,
    patience=8,
    patience_near=4,
    again=0,
)


def nest_effort(effort: Effort) -> Effort:
    """What one of several nests is worth where one nest is worth some effort."""
    limits = {
        f.name: min(getattr(effort, f.name), getattr(_NEST_EFFORT, f.name)) for f in fields(Effort)
    }
    return Effort(**limits)


_Path = tuple[tuple[int, int], ...]
"""Nests that follow one another: the first block of each, and the first that is no more of it."""


@dataclass(kw_only=True)
class _Nest:
    """A run of blocks as a nest of its own."""

    names: tuple[str, ...]
    pinned: tuple[tuple[str, str, int], ...]
    """Rank, member and size of tiles that others cut alike."""
    least: float = 0.0
    """The objective, which no mapping is below."""
    run: EngineRun | None = None
    """The best that is known."""
    is_feasible: bool = True
    looked_at: bool = False
    fused: bool = False
    """Whether the mapping that takes longer to make was made, too."""
    searched: Certificate | None = None

    @property
    def value(self) -> float:
        """The objective of the best that is known."""
        return inf if self.run is None else self.run.value

    inside: float = 0.0
    """What it may cost at the best, as nests inside of it were searched."""

    @property
    def optimistic(self) -> float:
        """What a search may find at the best."""
        if not self.is_feasible:
            return inf
        return self.value if self.searched is not None else max(self.least, self.inside)


def search_nests(
    problem: SearchProblem, found: Searched, search: Callable[[SearchProblem], Searched]
) -> Searched:
    """The best of what was found in one nest and of all that several nests could be.

    Parameters
    ----------
    problem : SearchProblem
        Of the whole cascade, without constraints, on a machine without instances.
    found : Searched
        The best in one nest.
    search : callable
        The search of each nest. Raises an ``InputError`` where nothing is legal.

    Returns
    -------
    Searched
        Its certificate is of mappings of one and of several nests, but for cuts of which there are
        too many to look at.
    """
    if found.certificate.ended == INTERRUPTED:
        return found
    return _NestSearch(problem, found, search).best()


@dataclass
class _NestSearch:
    """All ways to cut one cascade."""

    problem: SearchProblem
    found: Searched
    search: Callable[[SearchProblem], Searched]
    begun: float = field(default_factory=monotonic)
    searched: int = 0
    ended: str = ""

    def __post_init__(self) -> None:
        self.space = self.problem.space
        self.objective = self.problem.objective
        self.value = self.objective.of(self.found.result)
        self.path: _Path = ()
        # A sum of roots bounds the root of a product of sums (Cauchy and Schwarz).
        self.power = 0.5 if self.objective.code == EDP else 1.0
        self.beside = inf
        self.complete = True
        self.blocks = self._blocks()
        self.nests: dict[tuple[int, int], _Nest] = {}

    def best(self) -> Searched:
        """What is found."""
        if len(self.blocks) > 1:
            self._look()
        if not self.path:
            return replace(self.found, certificate=self._certificate(self.found.certificate))
        nests = [self.nests[place] for place in self.path]
        runs = [nest.run for nest in nests if nest.run is not None]
        whole = Mapping(name=f"best-{self.objective.name}", cascade=self.space.program.name)
        mapping = join_nests(
            whole,
            tuple(_with_pinned(r.mapping, n.pinned) for r, n in zip(runs, nests, strict=True)),
        )
        try:
            run = run_mapping(self.space, mapping, self.objective)
        except InputError:
            self.path = ()
            return replace(self.found, certificate=self._certificate(self.found.certificate))
        return self._as_found(run)

    def _as_found(self, run: EngineRun) -> Searched:
        before = self.found
        certificate = self._certificate(
            replace(
                before.certificate,
                strategy=f"{before.certificate.strategy}, nest by nest",
                value=run.value,
            )
        )
        moments = before.history
        if moments:
            last = moments[-1]
            seconds = last.seconds + monotonic() - self.begun
            moments += (Moment(seconds, certificate.runs, run.value, certificate.bound),)
        return Searched(
            mapping=run.mapping,
            result=run.result,
            certificate=certificate,
            runner_up=self._beaten(run),
            history=moments,
        )

    def _beaten(self, run: EngineRun) -> RunnerUp | None:
        """The best in one nest, if it is of this cascade."""
        try:
            other = bound_nests(self.space, self.found.mapping)
        except InputError:
            return None
        return RunnerUp(
            mapping=self.found.mapping,
            result=self.found.result,
            differences=differences_of_nests(bound_nests(self.space, run.mapping), other),
        )

    # ------------------------------------------------------------------ where to cut

    def _blocks(self) -> tuple[tuple[str, ...], ...]:
        """Runs of Einsums between the places where a cut may be worth it."""
        finest = self.space.program.memo(cut_blocks)
        costs: list[tuple[float, int]] = []
        for at in range(1, len(finest)):
            least = self._least_cut(tuple(n for block in finest[:at] for n in block))
            if least < self.value * (1 - self.problem.tolerance):
                costs.append((least, at))
            else:
                self.beside = min(self.beside, least)
        self.complete = len(costs) < _MAX_BLOCKS
        cuts = sorted(at for _, at in sorted(costs)[: _MAX_BLOCKS - 1])
        ends = [0, *cuts, len(finest)]
        return tuple(
            tuple(n for block in finest[first:last] for n in block)
            for first, last in pairwise(ends)
        )

    def _least_cut(self, before: tuple[str, ...]) -> float:
        """What no mapping is below that hands on all that crosses a cut."""
        program = self.space.program
        masked = {e.name for e in with_masks(program).einsums if e.where is not None}
        # How much of what is masked has to be handed on is not asked.
        sizes = [self._bytes_of(t) for t in crossing(program, before) if t not in masked]
        moved = sum(size for size in sizes if size < inf)
        floor = self.found.result.floor
        seconds, energy = self._moving(2 * moved)
        clock = float(self.space.architecture.clock_hz)
        cycles = max(floor.latency_s, floor.bandwidth_s + seconds if seconds else 0.0) * clock
        energy += floor.energy_pj
        return {LATENCY: cycles, ENERGY: energy}.get(self.objective.code, cycles * energy)

    def _bytes_of(self, tensor: str) -> float:
        """Of all of a tensor; infinite where the sizes of its ranks are not known."""
        program, machine = self.space.program, self.space.architecture
        ranks = (*program.parallel, *program.tensor_ranks[tensor])
        if any(r not in self.space.shapes for r in ranks):
            return inf
        words = program.memo(words_of, machine.word_bits).of(tensor)
        return float(prod(self.space.shapes[r] for r in ranks) * words * machine.word_bytes)

    def _moving(self, moved: float) -> tuple[float, float]:
        """Seconds and energy in pJ of so many bytes of the outermost memory, half of them read."""
        machine, outermost = self.space.architecture, self.space.architecture.memories[0]
        rate, price = outermost.bandwidth_bytes_per_s, memory_access(machine, outermost)
        if moved == inf:
            return inf, inf
        seconds = 0.0 if rate is None else moved / float(rate)
        lines = moved * 8 / float(outermost.line_bits)
        return seconds, lines / 2 * (price.read_pj + price.write_pj)

    def _nest(self, place: tuple[int, int]) -> _Nest:
        if place not in self.nests:
            first, last = place
            names = tuple(n for block in self.blocks[first:last] for n in block)
            self.nests[place] = _Nest(names=names, pinned=tuple(self._pinned(names)))
        return self.nests[place]

    def _pinned(self, names: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
        """Sizes of the cascade's own tiles that a nest and others have to agree about: those of
        the best in one nest, if that is of this cascade; else as long as an array is wide."""
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

    # ------------------------------------------------------------------ which nests

    def _look(self) -> None:
        """Look at nests on the path that may be best, until none may be better."""
        while not self._over():
            optimistic, path = self._shortest(lambda nest: nest.optimistic)
            new = [place for place in path if not self.nests[place].looked_at]
            if optimistic >= self._good_enough(self.problem.tolerance):
                return
            if new:
                for place in new:
                    self._look_at(self.nests[place])
            elif optimistic >= self._good_enough(_WORTH):
                return
            elif plain := [place for place in path if not self.nests[place].fused]:
                for place in plain:
                    self._fuse(self.nests[place])
            else:
                room = _EINSUMS - self.searched
                open_ = (p for p in path if self.nests[p].searched is None)
                left = [p for p in open_ if len(self.nests[p].names) <= room]
                if not left:
                    return
                widest = max(left, key=lambda p: self.nests[p].value - self.nests[p].least)
                place = self._before(widest, optimistic)
                self._search(self.nests[place])
                self._propagate_bound(place)
            self._improve()

    def _over(self) -> bool:
        if not self.ended and self.problem.is_over():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    def _good_enough(self, share: float) -> float:
        return float((self.value * (1 - share)) ** self.power)

    def _improve(self) -> None:
        """Take the best path of mappings that are known, if it is better than the best by now."""
        value, path = self._shortest(lambda nest: nest.value)
        if value >= self._good_enough(self.problem.tolerance):
            return
        runs = [self.nests[place].run for place in path]
        if self.objective.code == EDP:
            results = [run.result for run in runs if run is not None]
            whole = sum(r.cycles for r in results) * sum(r.energy_pj for r in results)
        else:
            whole = value
        if whole < self.value * (1 - self.problem.tolerance):
            self.value, self.path = whole, path

    def _shortest(self, cost: Callable[[_Nest], float]) -> tuple[float, _Path]:
        """The least sum of costs over at least two nests, and the nests."""
        count = len(self.blocks)
        # ``best[n]`` is the least of the first n blocks; the last nest of it begins at any of them.
        best: list[tuple[float, _Path]] = [(0.0, ())]
        for last in range(1, count + 1):
            ways = (
                (best[first][0] + cost(self._nest((first, last))) ** self.power, first)
                for first in range(last)
                if (first, last) != (0, count)
            )
            total, first = min(ways)
            best.append((total, (*best[first][1], (first, last))))
        return best[count]

    def _before(self, place: tuple[int, int], optimistic: float) -> tuple[int, int]:
        """The nest that is searched before one: the shortest inside of it that costs about as much
        at the least and is on a path about as short, or it itself."""
        (first, last), nest = place, self.nests[place]
        ends = range(first, last + 1)
        found = [place]
        for inner in ((a, b) for a in ends for b in ends if a < b and (a, b) != place):
            other = self.nests[inner]
            if other.looked_at and other.searched is None and other.is_feasible:
                near = self._around(inner) + other.optimistic**self.power <= optimistic * (
                    1 + _WORTH
                )
                if near and other.least >= _AS_MUCH * nest.least:
                    found.append(inner)
        return min(found, key=lambda p: (p[1] - p[0], p))

    def _around(self, place: tuple[int, int]) -> float:
        """What the shortest paths to a nest and from it on are hoped to cost."""
        first, last = place
        return self._least_between(0, first) + self._least_between(last, len(self.blocks))

    def _least_between(self, first: int, last: int) -> float:
        """What the blocks from one to another are hoped to cost."""
        best = {first: 0.0}
        for end in range(first + 1, last + 1):
            ways = (
                best[n] + self._nest((n, end)).optimistic ** self.power for n in range(first, end)
            )
            best[end] = min(ways)
        return best[last]

    def _propagate_bound(self, place: tuple[int, int]) -> None:
        """Nests around one that was searched cost no less, but that they need not read and write
        what is handed on inside of them: by each Einsum that reads it, at the most."""
        mine = self.nests[place]
        if self.objective.code == EDP:
            return
        for (first, last), nest in self.nests.items():
            if (first, last) != place and first <= place[0] and place[1] <= last:
                nest.inside = max(nest.inside, mine.value - self._handed(mine, nest))

    def _handed(self, inner: _Nest, outer: _Nest) -> float:
        """What it costs to read and write what an inner nest gets from an outer one or gives it."""
        program = self.space.program
        moved = 0.0
        for e in program.einsums:
            for access in e.reads if e.name in outer.names else ():
                if access.tensor in outer.names:
                    across = (e.name in inner.names) != (access.tensor in inner.names)
                    moved += across * self._bytes_of(access.tensor)
        seconds, energy = self._moving(moved)
        clock = float(self.space.architecture.clock_hz)
        return energy if self.objective.code == ENERGY else seconds * clock

    def _space(self, nest: _Nest) -> Mapspace:
        program = self.space.program.memo(excerpt, nest.names)
        given = self.space.given | {member: size for _, member, size in nest.pinned}
        own = sizes_of_excerpt(self.space.program, program, given)
        return Mapspace.of(program, self.space.architecture, own, slow=self.space.slow)

    def _look_at(self, nest: _Nest) -> None:
        """Run one Einsum after the other, which tells what no mapping is below."""
        nest.looked_at = True
        self._make(nest, GENERATORS.make)

    def _fuse(self, nest: _Nest) -> None:
        """Run the mapping that is made for any cascade, and takes longer to make."""
        nest.fused = True
        self._make(nest, GENERATORS.fuse)

    def _make(self, nest: _Nest, make: MakeMapping) -> None:
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
        nest.least = max(nest.least, self.objective.floor(run.result))
        if run.value < nest.value:
            nest.run = run

    def _search(self, nest: _Nest) -> None:
        self.searched += len(nest.names)
        asked = SearchProblem(
            space=self._space(nest),
            objective=self.objective,
            tolerance=self.problem.tolerance,
            known=nest.run,
            is_over=self.problem.is_over,
        )
        try:
            found = self.search(asked)
        except InputError:
            nest.is_feasible = nest.run is not None
            nest.searched = replace(
                self.found.certificate, candidates=0, evaluated=0, reasons=(), runs=0
            )
            return
        value = self.objective.of(found.result)
        nest.searched = found.certificate
        nest.least = max(nest.least, found.certificate.bound)
        nest.run = EngineRun(value=value, mapping=found.mapping, result=found.result)
        if found.certificate.ended:
            self.ended = found.certificate.ended

    # ------------------------------------------------------------------ certificate

    def _certificate(self, own: Certificate) -> Certificate:
        """Of one nest and of several: candidates of all that were searched, and the lower bound."""
        others = [n.searched for n in self.nests.values() if n.searched is not None]
        least = min(self.found.certificate.bound, max(own.floor, self._least()))
        return replace(
            own.beside(others),
            gap=max(0.0, 1 - least / own.value) if own.value else 0.0,
            ended=own.ended or self.ended,
        )

    def _least(self) -> float:
        """What no mapping of several nests is below, as far as is known."""
        if not self.complete:
            return 0.0
        if len(self.blocks) < 2:
            return self.beside
        proven, _ = self._shortest(lambda nest: nest.least if nest.is_feasible else inf)
        return float(min(self.beside, proven ** (1 / self.power)))


def _with_pinned(mapping: Mapping, pinned: Iterable[tuple[str, str, int]]) -> Mapping:
    """A nest's mapping, which says what tiles it has in common with others."""
    known = {t.member for t in mapping.tiles}
    tiles = (Tile(rank=r, member=m, size=n) for r, m, n in pinned if m not in known)
    return replace(mapping, tiles=(*tiles, *mapping.tiles))


_MAX_PROMISED_SHARE = 0.9
"""The share of what was found that nests have to promise to stay below to be searched."""

_MAX_MULTI_CORE_BLOCKS = 16
"""Runs of Einsums between places to cut, at the most: of more the first ones are not cut apart."""

Names = tuple[str, ...]


def search_multi_core(strategy: Mapper, problem: SearchProblem, progress: Progress) -> Searched:
    """The best mapping that is spread in one way, or in several nests each in a way of its own.

    Parameters and errors as of ``multi_core_search``.
    """
    if problem.objective.code != LATENCY or problem.space.constraints:
        return multi_core_search(strategy, problem, progress)
    begun, cuts = monotonic(), CutEstimates(problem.space)
    seconds, nests = cuts.best
    promised = seconds * float(problem.space.architecture.clock_hz)
    if len(nests) < 2 or (problem.known and promised > _MAX_PROMISED_SHARE * problem.known.value):
        return multi_core_search(strategy, problem, progress)
    if seconds <= _MAX_PROMISED_SHARE * cuts.uncut:
        # What nests take shows which ways to spread all of them need not be searched.
        run, certificates = _search_nests(strategy, problem, nests, progress)
        found = multi_core_search(strategy, _from(problem, run, certificates), progress)
        certificate = found.certificate.beside(certificates)
        if run is None or found.mapping != run.mapping:
            return replace(found, certificate=certificate)
        named = f"{certificate.strategy}, nest by nest"
        return replace(found, certificate=replace(certificate, strategy=named))
    found = multi_core_search(strategy, problem, progress)
    value = problem.objective.of(found.result)
    if found.certificate.ended or promised > _MAX_PROMISED_SHARE * value:
        return found
    run, certificates = _search_nests(strategy, problem, nests, progress)
    certificate = found.certificate.beside(certificates)
    if run is None or run.value >= value * (1 - problem.tolerance):
        return replace(found, certificate=certificate)
    return _of_nests(problem, found, run, certificate, monotonic() - begun)


def _search_nests(
    strategy: Mapper, problem: SearchProblem, nests: tuple[Names, ...], progress: Progress
) -> tuple[EngineRun | None, tuple[Certificate, ...]]:
    """A cascade in the best mappings of its nests, if there are legal ones, and how their spaces
    were covered."""
    searched: list[Searched] = []
    whole = Mapping(name="best-latency", cascade=problem.space.program.name)
    run = None
    with suppress(InputError):  # a nest that nobody can map
        for names in nests:
            space = space_of_nest(problem.space, names)
            asked = replace(problem, space=space, known=None, others=())
            searched.append(multi_core_search(strategy, asked, progress))
        mapping = join_nests(whole, tuple(s.mapping for s in searched))
        run = run_mapping(problem.space, mapping, problem.objective)
    return run, tuple(s.certificate for s in searched)


def _from(
    problem: SearchProblem, run: EngineRun | None, certificates: tuple[Certificate, ...]
) -> SearchProblem:
    """The same problem, with what is known by now; over where somebody asked for what there is."""
    if any(c.ended == INTERRUPTED for c in certificates):
        problem = replace(problem, is_over=at_once)
    if run is None or (problem.known is not None and problem.known.value <= run.value):
        return problem
    others = problem.others if problem.known is None else (problem.known, *problem.others)
    return replace(problem, known=run, others=others)


def space_of_nest(whole: Mapspace, names: Names) -> Mapspace:
    """The mapspace of some of a cascade's Einsums on the same machine. Raises as that."""
    program = whole.program.memo(excerpt, names)
    given = sizes_of_excerpt(whole.program, program, whole.given)
    return Mapspace.of(program, whole.architecture, given, slow=whole.slow)


@dataclass
class CutEstimates:
    """What nests of a cascade take at the best where each is spread in the way best for it, by
    what memories have to move and arrays to do."""

    whole: Mapspace

    @cached_property
    def blocks(self) -> tuple[Names, ...]:
        """Runs of Einsums between places where a cut hands on no tiles of a rank that the cascade
        cuts, which nests would have to cut alike."""
        program = self.whole.program
        found: list[Names] = []
        before: Names = ()
        for block in program.memo(cut_blocks):
            torn = any(tiled_families(program, t) for t in crossing(program, before))
            joined = found and (torn or len(found) == _MAX_MULTI_CORE_BLOCKS)
            found = [*found[:-1], (*found[-1], *block)] if joined else [*found, block]
            before = (*before, *block)
        return tuple(found)

    @cached_property
    def best(self) -> tuple[float, tuple[Names, ...]]:
        """The least time in seconds, and the Einsums of each nest: a shortest path."""
        ends: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,))]
        for last in range(1, len(self.blocks) + 1):
            ways = (
                (ends[first][0] + self._handed(first) + self._time(first, last), ends[first][1])
                for first in range(last)
            )
            seconds, path = min(ways)
            ends.append((seconds, (*path, last)))
        seconds, path = ends[-1]
        return seconds, tuple(self._names(first, last) for first, last in pairwise(path))

    @property
    def uncut(self) -> float:
        """The least time where all Einsums are spread in one way, in seconds."""
        return self._time(0, len(self.blocks))

    def _names(self, first: int, last: int) -> Names:
        return tuple(name for block in self.blocks[first:last] for name in block)

    def _time(self, first: int, last: int) -> float:
        """What the ways to spread a nest take at the best."""
        try:
            space = space_of_nest(self.whole, self._names(first, last))
        except InputError:
            return inf
        ways = partitionings_of(space)
        return min(bandwidth_bounds(space.program, space.architecture, space.given, ways))

    def _handed(self, first: int) -> float:
        """The time to write what crosses a cut; that it is read counts where it is."""
        machine, program = self.whole.architecture, self.whole.program
        speed = machine.home.bandwidth_bytes_per_s
        if speed is None or not first:
            return 0.0
        words = program.memo(words_of, machine.word_bits)
        handed = crossing(program, self._names(0, first))
        moved = sum(
            elements_of(program, program.tensor_ranks[t], self.whole.shapes) * words.of(t)
            for t in handed
        )
        return float(moved * machine.word_bytes / speed)


def _of_nests(
    problem: SearchProblem, one: Searched, run: EngineRun, certificate: Certificate, seconds: float
) -> Searched:
    """Several nests are better than what was found in one."""
    floor = problem.objective.floor(run.result)
    certificate = replace(
        certificate,
        strategy=f"{certificate.strategy}, nest by nest",
        value=run.value,
        floor=floor,
        gap=max(0.0, 1 - floor / run.value),
    )
    moment = Moment(seconds, certificate.runs, run.value, floor)
    try:
        differences = differences_of_nests(
            bound_nests(problem.space, run.mapping), bound_nests(problem.space, one.mapping)
        )
    except InputError:
        runner_up = None  # it is of another cascade
    else:
        runner_up = RunnerUp(mapping=one.mapping, result=one.result, differences=differences)
    return Searched(
        mapping=run.mapping,
        result=run.result,
        certificate=certificate,
        runner_up=runner_up,
        history=(*one.history, moment),
    )
