"""Branch and bound over a mapspace: sketch subspaces, search promising ones, run the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, nextafter
from typing import TypeVar

from archsim.legality.binding import bind
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError, Problem

from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Certificate, Searched
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.objectives import LATENCY, OBJECTIVES, SearchObjective
from ..problem.protocol import Advance, Progress, SearchProblem, never, silent
from ..problem.search_log import SearchLog
from ..space.mapspace import explain_infeasibility, no_legal_mapping
from ..space.region import Region
from . import policy
from .kernels.descent import LEAVES
from .policy import USUAL, Effort
from .process_pool import ProcessPool, usual_workers
from .subspaces import (
    PRUNED,
    Answer,
    OpenRegion,
    OpenSubspace,
    Proposal,
    Question,
    SubspaceAnswer,
    SubspaceKey,
    SubspaceQuestion,
    SubspaceSearch,
    TableMemo,
)
from .tables import SubspaceRefusedError, tabulate

T = TypeVar("T")


class NotInBatchesError(Exception):
    """Error raised if masks or gathers prevent exact prices for whole batches of mappings."""


def in_batches(problem: SearchProblem, search: Callable[[bool], T]) -> T:
    """Run an exact search if possible, else a relaxed one, and return its result.

    The search is relaxed if an Einsum has a mask, or if the exact search raises
    ``NotInBatchesError``.

    Parameters
    ----------
    search : callable
        Runs the search. Its argument is True to relax masks and gathers.
    """
    if not any(e.where is not None for e in problem.space.program.einsums):
        with suppress(NotInBatchesError):
            return search(False)
    return search(True)


@dataclass
class RegionScheduler:
    """Scheduler of sketches: decides which region gets the next one.

    Parameters
    ----------
    regions : sequence of OpenRegion
        Open regions, most promising first.
    effort : Effort
        Limits of the search.
    more : float
        Sketches that remain once each region has had its share.
    early : bool
        True if a few regions come before all others.
    is_near : callable
        Returns whether a region with a given bound can hardly improve the incumbent.
    """

    regions: Sequence[OpenRegion]
    """Open regions; each stage adds to them."""
    effort: Effort
    more: float
    early: bool
    is_near: Callable[[float], bool]
    turn: list[OpenRegion] = field(default_factory=list)
    first: bool = False
    """True while only the early regions are open."""

    def stages(self, promising: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the regions to open at each stage: the early regions, if any, then all others."""
        if self.early:
            self.first = True
            yield promising[: policy.EARLY_REGIONS]
            self.first = False
            promising = promising[policy.EARLY_REGIONS :]
        yield promising

    def few(self, most: float) -> OpenRegion | None:
        """Return a region with fewer sketches than its share, or None.

        A region whose estimates exceed ``most`` gets only the first sketches.
        """
        few = self.effort.sketches
        for enough in (min(policy.FIRST_SKETCHES, few), few):
            unasked = few if self.first else policy.FIRST_SKETCHES
            for region in self.regions:
                is_good = region.estimate < inf and region.estimate <= most
                wanted = region.sketched < enough and (enough <= unasked or is_good)
                if wanted and region.left and not self.is_near(region.bound):
                    return region
        return None

    def again(self, worst: Callable[[], float]) -> OpenRegion | None:
        """Return the most promising region while sketches are left, several times in a row.

        Parameters
        ----------
        worst : callable
            Returns the largest estimate of a region that still gets sketches.
        """
        if self.first:
            return None
        self.turn = [r for r in self.turn if r.left and not self.is_near(r.bound)]
        if not self.turn and self.more > 0:
            most = worst()
            able = [r for r in self.regions if r.left and not self.is_near(r.bound)]
            able = [r for r in able if r.estimate <= most]
            best = min(able, key=lambda r: (r.estimate, r.bound), default=None)
            self.turn = [best] * policy.SKETCHES_PER_TURN if best is not None else []
            self.more -= len(self.turn)
        return self.turn.pop() if self.turn else None


class BranchAndBound:
    """One search for the best mapping of a mapspace.

    Parameters
    ----------
    problem : SearchProblem
    effort : Effort
        Limits of the search.
    relaxed : bool
        True if estimates ignore masks and gathers, as for ``OpenMeter``.
    cap : tuple, optional
        Another objective and its largest allowed value.
    tables : TableMemo, optional
        Memo that keeps the cost tables of all searched subspaces. With a memo this process does all
        the work, so that the tables stay in it.
    log : SearchLog, optional
    before : mapping, optional
        ``leasts`` of a search for the objective of the cap; subspaces above the cap are left out.
    """

    def __init__(
        self,
        problem: SearchProblem,
        effort: Effort,
        *,
        relaxed: bool = False,
        cap: tuple[SearchObjective, float] | None = None,
        tables: TableMemo | None = None,
        log: SearchLog | None = None,
        before: dict[SubspaceKey, float] | None = None,
    ) -> None:
        self.log = log or SearchLog()
        self.before = before or {}
        self.leasts: dict[SubspaceKey, float] = {}
        """Lower bound of each searched subspace, for the objective of this search."""
        self.cap = cap
        self.tables = tables
        self.relaxed = relaxed
        self.effort = effort
        self.searches_left = effort.subspaces
        self.fruitless, self.last_improvement, self.unopened = 0, inf, inf
        self.problem = problem
        self.space, self.objective = problem.space, problem.objective
        self.tolerance = problem.tolerance
        self.tried: set[Hashable] = set()
        self.vain_runs: Counter[tuple[int, float]] = Counter()
        self.best = problem.known
        self.start = problem.known.value if problem.known is not None else inf
        self.is_over = problem.is_over
        self.ended = ""
        self.waiting: list[Proposal] = []
        self.found = self.sketched = self.all_open = self.gave_up = False
        self.best_offer: Proposal | None = None
        self.legal: OpenSubspace | None = None
        self.refused, self.failed = list[str](), list[MappingError]()
        self.opened: list[OpenRegion] = []
        more, early = (effort.more_sketches, not self._timed) if cap is None else (0.0, False)
        self.turns = RegionScheduler(
            self.opened, effort, more, early=early, is_near=self._hardly_improves
        )
        self.candidates = self.runs = self.lost = self.same_loops = 0
        self.left, self.sketches = list[OpenSubspace](), list[OpenSubspace]()
        self.crossed: dict[str, bool] = {}
        # The gap accounts for the slack: a tenth of the tolerance leaves the rest to the difference
        # between a run and its bound.
        self.slack = 0.0 if problem.objective.exact else self.tolerance / 10
        self.pool = self._new_pool()

    def run(self, advance: Advance) -> Searched:
        try:
            for some in self.turns.stages(self._promising()):
                self._open(some)
                self.all_open = not self.turns.first
                self._log_progress()
                self._sketch(advance)
            self._search_all(advance)
        except KeyboardInterrupt:
            # An interrupt asks for the incumbent; without one there is no answer.
            if self.best is None:
                raise
            self.ended = INTERRUPTED
        finally:
            self.pool.close()
        if self.best is None:
            # Constraints, capacities or illegal loops leave no mapping.
            raise explain_infeasibility(self.space) or no_legal_mapping(
                self.space, self._why_none()
            )
        self._log_progress()
        return Searched(
            mapping=self.best.mapping, result=self.best.result, certificate=self._certificate()
        )

    def _promising(self) -> tuple[Region, ...]:
        """Return the most promising regions, and record a lower bound of all other regions."""
        ranked = self._timed or self.cap is not None
        most = round(min(self.effort.regions if ranked else self.effort.untimed, self.space.size))
        within = self.cap[1] if self.cap is not None and self.cap[0].code == LATENCY else inf
        promising = self.space.regions(most, diverse=not ranked, within=within, fair=True)
        if (outside := self.space.bound_outside(promising)) < inf:
            self.unopened = outside if self._timed else 0.0
        return promising

    def _open(self, promising: Iterable[Region]) -> None:
        """Open the regions that may improve the incumbent, in a new process pool."""
        self.pool.close()
        self.pool = self._new_pool()
        for region in promising:
            bound = region.bound if self._timed else 0.0
            if self._cannot_improve(bound) or self._is_over():
                self.unopened = min(self.unopened, bound)
                continue
            opened = OpenRegion.of(region, bound, self.crossed, len(self.opened))
            tilings = sum(len(s.sizes) for s in opened.subspaces)
            self.candidates += tilings * opened.mappings_per_tiling
            self.opened.append(opened)

    def _new_pool(self) -> ProcessPool[Question, Answer]:
        """Return a process pool whose workers inherit the open regions."""
        alone = self.tables is not None
        # Only work in another process can be interrupted when time is up.
        limited = self.is_over is not never and not alone
        return ProcessPool(self._answer, 1 if alone else usual_workers(), at_once=limited)

    def _answer(self, question: Question) -> Answer:
        """Answer a question in a worker: search its subspace, or run its proposal."""
        if isinstance(question, SubspaceQuestion):
            return self._search_subspace(question)
        try:
            return self._run_proposal(question)
        except MappingError as error:
            return error

    def _search_subspace(self, question: SubspaceQuestion) -> SubspaceAnswer:
        opened = self.opened[question.region]
        subspace = opened.subspaces[question.subspace]
        region = opened.plain if question.plain else opened.region
        search = SubspaceSearch(
            space=region,
            objective=self.objective.code,
            slack=self.slack,
            cap=inf if self.cap is None else self.cap[1],
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
        offers = tuple(self._best_of(found, plain=question.plain))
        least, tally, combinations = search.least, search.tally, tables.combinations
        return SubspaceAnswer(offers=offers, least=least, tally=tally, combinations=combinations)

    def _best_of(self, found: list[Proposal], *, plain: bool) -> list[Proposal]:
        found.sort(key=lambda one: one.promise)
        if plain:
            return found[:1]
        if self.relaxed:
            return found[: self._max_runs]
        # Runs wait for their first tiles: among equals, smaller tiles are at least as fast.
        others = sorted(found[1:], key=lambda one: (one.estimate, one.sizes.prod()))
        return [*found[:1], *others[: policy.MAX_RUNS_PER_SUBSPACE - 1]]

    def _run_proposal(self, found: Proposal) -> EngineRun:
        """Run a proposal on the engine. Raises ``MappingError``."""
        opened = self.opened[found.region]
        subspace = opened.subspaces[found.subspace]
        mapping = found.mapping(opened.region, subspace, f"best-{self.objective.name}")
        return run_mapping(opened.region, mapping, self.objective)

    def _sketch(self, advance: Advance) -> None:
        """Sketch subspaces in the scheduler's order."""
        for candidate, answer in self.pool.in_order(
            self._next_sketch,
            is_moot=lambda candidate: self._cannot_improve(
                candidate.region.bound, self.tolerance * policy.MOOT_SKETCH_TOLERANCE
            ),
            put_back=OpenSubspace.put_back,
            is_over=self._is_over,
        ):
            advance(1)
            assert isinstance(answer, SubspaceAnswer), "subspaces were asked about"
            if self._record_sketch(candidate, answer):
                self.sketches.append(candidate)
        if self.turns.first and self.sketches:
            self._search_early(min(self.sketches, key=lambda one: one.estimate))

    def _search_all(self, advance: Advance) -> None:
        """Search subspaces with all placements, most promising first, until none can improve the
        incumbent."""
        # Sorting is stable: among equals, the subspace that was sketched first comes first.
        found = sorted(self.sketches, key=lambda one: one.estimate)
        others = [OpenSubspace(region=r, number=n) for r in self.opened for n in r.left]
        self.left = [*found, *self.left, *others]
        self.sketched = True
        order = iter([*self.left])
        for candidate, answer in self.pool.in_order(
            lambda: self._next_search(order),
            is_moot=lambda candidate: self.gave_up or self._cannot_improve(candidate.region.bound),
            put_back=lambda _: None,
            is_over=self._is_over,
        ):
            assert isinstance(answer, SubspaceAnswer), "subspaces were asked about"
            self._record_search(candidate, answer)
            self._log_progress()
            advance(1)
        waiting = [self.pool.submit(found) for found in self.waiting if self._is_new(found)]
        for number in waiting:
            self._record_run(self.pool.answer(number, self._is_over))

    def _is_over(self) -> bool:
        """Return whether the search must end because time is up.

        It never ends before there is an incumbent.
        """
        if self.best is not None and not self.ended and self.is_over():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    @property
    def _timed(self) -> bool:
        """True if the objective is latency, so that bounds on cycles also bound the objective."""
        return self.objective.code == LATENCY

    def _cannot_improve(self, bound: float, by: float | None = None) -> bool:
        """Return whether a lower bound rules out improving the incumbent by more than a share.

        The default share is the tolerance.
        """
        share = self.tolerance if by is None else by
        return self.best is not None and bound >= self.best.value * (1 - share)

    def _hardly_improves(self, bound: float) -> bool:
        """Return whether a mapping with this lower bound can hardly improve the incumbent."""
        return self.best is not None and bound >= self.best.value * (1 - self.effort.near)

    def _next_sketch(self) -> tuple[OpenSubspace, SubspaceQuestion] | None:
        """Return the next subspace to sketch: first a few of each region, then more of the best
        region."""
        if self._is_over():
            return None
        while (region := self._next_region()) is not None:
            candidate = OpenSubspace(region=region, number=region.left.pop(0))
            region.sketched += 1
            if not self._ruled_out(candidate, plain=True):
                # Mappings far worse than others are of no interest, but a sketch need not beat the
                # incumbent.
                limit = self.best.value * self.effort.of_interest if self.best is not None else inf
                return candidate, candidate.question(limit, plain=not self._skips_sketches(region))
            self.left.append(candidate)
        return None

    def _skips_sketches(self, region: OpenRegion) -> bool:
        """Return whether a region's subspaces are searched in full instead of sketched.

        If masks are relaxed, subspaces are always sketched. A sketch then ranks subspaces better,
        as it has fewer placements with wrong estimates.
        """
        return region.skips_sketches and not self.relaxed

    def _next_region(self) -> OpenRegion | None:
        """Return the region that gets the next sketch."""
        # A search among equals has no use for regions that look no better than its start.
        most = inf
        if self.cap and self.best:
            most = min(self.best.value * (1 + self.effort.near), self.start * (1 - self.tolerance))
        return self.turns.few(most) or self.turns.again(self._sketch_limit)

    def _sketch_limit(self) -> float:
        """Run the most promising proposal, then return the largest estimate that still deserves
        sketches."""
        found, self.best_offer = self.best_offer, None
        if found is not None and self.best is not None and found.estimate < self.best.value:
            self._run(found)
        return self.best.value * self.effort.further if self.best is not None else inf

    def _ruled_out(self, candidate: OpenSubspace, *, plain: bool) -> bool:
        """Return whether an earlier search proved all mappings of a subspace to exceed the cap."""
        return (
            self.cap is not None and self.before.get(candidate.key(plain=plain), 0.0) > self.cap[1]
        )

    def _runs_at_once(self, offer: Proposal) -> bool:
        """Return whether to run a proposal at once, as it promises a large improvement.

        After a few failures, further proposals of the same region and estimate wait.
        """
        share = policy.RUN_AT_ONCE_RATIO if self.relaxed else 1 - self.effort.near
        new = self.vain_runs[offer.region, offer.estimate] < policy.MAX_VAIN_RUNS_PER_ESTIMATE
        return self.best is None or (new and offer.estimate < self.best.value * share)

    def _record_sketch(self, candidate: OpenSubspace, answer: SubspaceAnswer) -> bool:
        """Record a sketch; return False if no mapping of the subspace is legal."""
        region = candidate.region
        self.leasts[candidate.key(plain=True)] = answer.least
        candidate.answer = answer if self._skips_sketches(region) else None
        if answer.refused is not None:
            # A refused subspace cost little: another one is sketched in its place.
            region.sketched -= 1
            self._refuse(candidate, answer.refused)
            return False
        for offer in answer.offers[:1]:
            candidate.estimate = offer.estimate
            region.estimate = min(region.estimate, candidate.estimate)
            self.log.promise(offer.estimate, candidate.kind, partial(self._run_proposal, offer))
            if self._runs_at_once(offer):
                self._run(offer)
            elif self.best_offer is None or offer.promise < self.best_offer.promise:
                self.best_offer = offer
        return True

    def _search_early(self, candidate: OpenSubspace) -> None:
        """Search the best sketched subspace with all placements before any other is sketched."""
        if candidate.answer is None:
            question = self.pool.submit(candidate.question(self._limit(), plain=False), first=True)
            answer = self.pool.answer(question, self._is_over)
            if isinstance(answer, SubspaceAnswer) and answer.refused is None:
                candidate.answer = answer
                for offer in (one for one in answer.offers[:1] if self._runs_at_once(one)):
                    self._run(offer)

    def _limit(self) -> float:
        """Return the value that a mapping must beat to be kept by a search with all placements."""
        if self.relaxed:
            # Worse mappings than all waiting ones are never run; equal ones may win the tie.
            full = len(self.waiting) == self._max_runs
            return nextafter(self.waiting[-1].value, inf) if full else inf
        return self.best.value if self.best is not None else inf

    def _next_search(
        self, order: Iterator[OpenSubspace]
    ) -> tuple[OpenSubspace, SubspaceQuestion] | None:
        """Return the next subspace worth a search with all placements.

        Some subspaces were searched in full instead of sketched. Their answers are recorded when it
        is their turn.
        """
        while (
            self.searches_left > 0
            and not self._is_over()
            and (candidate := next(order, None)) is not None
        ):
            beaten = self._cannot_improve(candidate.region.bound) or self._ruled_out(
                candidate, plain=False
            )
            self.searches_left -= not beaten
            if candidate.answer is not None:
                self._record_search(candidate, candidate.answer)
            elif not beaten:
                return candidate, candidate.question(self._limit(), plain=False)
        return None

    def _record_search(self, candidate: OpenSubspace, answer: SubspaceAnswer) -> None:
        """Record the answer of a search of one subspace with all placements."""
        self.left.remove(candidate)
        region, tilings = candidate.region, len(candidate.subspace.sizes)
        self.leasts[candidate.key(plain=False)] = answer.least
        if answer.refused is not None:
            self._refuse(candidate, answer.refused)
            return
        region.least = min(region.least, answer.least)
        region.tally += answer.tally
        self._run_promising(answer.offers)
        self._lose_patience(region)
        self.legal = self.legal or candidate
        self.same_loops += tilings * (region.mappings_per_tiling - answer.combinations)

    def _lose_patience(self, region: OpenRegion) -> None:
        """End the search if many subspaces in a row brought no improvement."""
        self.fruitless += 1
        value = self.best.value if self.best is not None else inf
        if value < self.last_improvement * (1 - self.tolerance):
            self.last_improvement, self.fruitless = value, 0
        near = self._hardly_improves(region.bound)
        if self.fruitless >= (self.effort.patience_near if near else self.effort.patience):
            self.searches_left, self.gave_up = 0, True

    def _certificate(self) -> Certificate:
        assert self.best is not None, "what is certified"
        evaluated = int(sum(region.tally[LEAVES] for region in self.opened))
        return self.problem.certificate(
            self.best.result,
            self._least(),
            strategy="exhaustive, masks and gathers aside" if self.relaxed else "exhaustive",
            candidates=self.candidates,
            evaluated=evaluated,
            reasons=tuple(self._reasons(evaluated).items()),
            runs=self.runs,
            ended=self.ended,
        )

    def _reasons(self, evaluated: int) -> dict[str, int]:
        """Return the number of candidates that were left out for each reason."""
        found = Counter({"loops not legal": self.lost, "the same loops": self.same_loops})
        for region in self.opened:
            found.update({why: int(region.tally[place]) for why, place in PRUNED.items()})
        for candidate in self.left:
            count = len(candidate.subspace.sizes) * candidate.region.mappings_per_tiling
            beaten = self._cannot_improve(candidate.region.bound)
            found["no better" if beaten else "not looked at"] += count
        if self.ended == INTERRUPTED:
            # After an interrupt the rest has no known reason.
            rest = self.candidates - evaluated - sum(found.values())
            found["not looked at"] += rest
        return found

    def _refuse(self, candidate: OpenSubspace, why: SubspaceRefusedError) -> None:
        """Record a subspace without legal loops; raise if its counts have no closed form."""
        if why.irregular:
            if not self.relaxed:
                raise NotInBatchesError
            raise MappingError(f"the cascade cannot be searched: {why}")
        self.refused.append(str(why))
        self.lost += len(candidate.subspace.sizes) * candidate.region.mappings_per_tiling

    def _run_promising(self, offers: tuple[Proposal, ...]) -> None:
        """Run proposals that may improve the incumbent by more than the tolerance; relaxed ones may
        wait."""
        if self.relaxed:
            waiting = sorted((*self.waiting, *offers), key=lambda f: f.promise)
            self.waiting = waiting[: self._max_runs]
            # A proposal that looks much better is run at once: its value limits further searches.
            if offers and self._runs_at_once(offers[0]):
                self._run(offers[0])
                self.waiting = [one for one in self.waiting if one is not offers[0]]
            return
        for found in offers:
            # The estimate decides unless it exceeds the bound by more than the tolerance.
            sure = found.estimate <= found.value * (1 + self.tolerance)
            if not self._cannot_improve(found.estimate if sure else found.value):
                self._run(found)

    @property
    def _max_runs(self) -> int:
        """Largest number of waiting proposals that a relaxed search runs."""
        return max(3, policy.MAX_RUNS_TIMES_EINSUMS // len(self.space.program.einsums))

    def _run(self, found: Proposal) -> None:
        """Run a proposal on the engine unless it was run before."""
        best = self.best
        if self._is_new(found):
            self._record_run(self.pool.answer(self.pool.submit(found, first=True), self._is_over))
            self.vain_runs[found.region, found.estimate] += self.best is best

    def _is_new(self, found: Proposal) -> bool:
        """Return whether a proposal was not tried before; a full search may find a sketched mapping
        again."""
        before = len(self.tried)
        self.tried.add(found.key)
        return len(self.tried) > before

    def _record_run(self, answer: Answer | None) -> None:
        if answer is None:
            return
        self.runs += 1
        if isinstance(answer, MappingError):
            self.failed.append(answer)
            return
        assert isinstance(answer, EngineRun), "a proposal was asked about"
        if self.cap is not None and self.cap[0].of(answer.result) > self.cap[1]:
            return
        self.log.ran(answer)
        if self.best is None or answer.value < self.best.value:
            self.best, self.found = answer, True
            self._log_progress()

    def _log_progress(self) -> None:
        value = self.best.value if self.best is not None else inf
        self.log.note(self.runs, value, self._least())

    def _least(self) -> float:
        """Return a lower bound of all mappings, as far as the search has proven one."""
        bounds = [self.unopened if self.all_open else 0.0]
        for region in self.opened:
            if not self.relaxed:
                bounds.append(max(region.bound, region.least))
        bounds += [found.region.bound for found in self.left]
        if self.relaxed or self.ended == INTERRUPTED or not self.sketched:
            bounds += [region.bound for region in self.opened]
        floor = 0.0 if self.best is None else self.objective.floor(self.best.result)
        return max(min(bounds), floor)

    def _why_none(self) -> Sequence[Problem]:
        """Return the problems that make all mappings of the space illegal."""
        if self.failed:
            return self.failed[0].problems
        if self.legal is not None:
            try:
                smallest, space = self.legal.smallest_mapping(), self.space
                bind(space.program, smallest, space.architecture, space.given)
            except MappingError as error:
                hint = "with the smallest tiles, and every tensor in the outermost memory only"
                return [replace(p, hint=hint, span=None) for p in error.problems]
        reasons = "; ".join([*dict.fromkeys(self.refused)][:2])
        return [Problem(f"no mapping of the space is legal: {reasons}")]

    def tie_search(self, known: EngineRun, cap: float, *, relaxed: bool) -> BranchAndBound:
        """Return a search for the best second objective among mappings that are best in this one.

        Subspaces whose bound exceeds the cap are left out. Of the limits of this search, ``again``
        and ``again_regions`` apply.

        Parameters
        ----------
        known : EngineRun
            The mapping to beat, with its value in the other objective.
        cap : float
            Largest value of this search's objective.
        """
        assert self.objective.other is not None, "two objectives are compared"
        effort = self.effort
        return BranchAndBound(
            replace(self.problem, objective=OBJECTIVES[self.objective.other], known=known),
            replace(effort, subspaces=effort.again, regions=effort.again_regions),
            relaxed=relaxed,
            tables=self.tables,
            cap=(self.objective, cap),
            before=self.leasts,
        )


def tied(problem: SearchProblem, first: Searched, cap: float) -> Searched:
    """Return the found mapping, or a known one that is as good and better in the second objective.

    Parameters
    ----------
    cap : float
        Largest value of the objective that still counts as equally good.
    """
    known = (problem.known, *problem.others)
    as_good = [run for run in known if run is not None and run.value <= cap]
    best = min(as_good, key=lambda run: problem.objective.tie(run.result), default=None)
    if best is None or problem.objective.tie(first.result) <= problem.objective.tie(best.result):
        return first
    return instead(problem, first, best.mapping, best)


def instead(
    problem: SearchProblem, first: Searched, mapping: Mapping, found: Searched | EngineRun
) -> Searched:
    """Return the first search's outcome with another mapping that is as good.

    The certificate remains that of the first search.

    Parameters
    ----------
    found : Searched or EngineRun
        Search or run that provides the mapping's result.
    """
    more = found.certificate.runs if isinstance(found, Searched) else 0
    certificate = replace(first.certificate, runs=first.certificate.runs + more)
    certificate = certificate.bounded(problem.objective.of(found.result), certificate.bound)
    result = replace(found.result, mapping=mapping.name)
    return replace(first, mapping=mapping, result=result, certificate=certificate)


def exhaustive(
    problem: SearchProblem, effort: Effort = USUAL, progress: Progress = silent
) -> Searched:
    """Price every mapping of a mapspace, or prove that it is no better; return the best mapping.

    A second search may follow. It uses the second objective to choose among mappings that are equal
    in the first, within the tolerance.

    Raises
    ------
    NoLegalMappingError
        No mapping is known and none of the space is legal; the error says why.
    MappingError
        Indices of the cascade are too irregular to be priced in batches.
    """
    advance = progress(round(min(effort.subspaces, policy.MAX_PROGRESS_STEPS)))
    log = SearchLog(problem.known, problem.others)

    def searched(aside: bool) -> tuple[Searched, BranchAndBound]:
        search = BranchAndBound(problem, effort, relaxed=aside, log=log)
        return search.run(advance), search

    found, search = in_batches(problem, searched)
    if problem.objective.other is not None:
        found = _settled(search, found, advance)
    over = bool(found.certificate.ended) or problem.is_over()
    second = log.runner_up(problem.space, found.mapping, more=not over)
    return replace(found, runner_up=second, history=log.end(found.certificate.runs), ran=log.best())


def _settled(before: BranchAndBound, first: Searched, advance: Advance) -> Searched:
    """Return the mapping best in the second objective among those as good as the first."""
    problem = before.problem
    cap = problem.objective.of(first.result) * (1 + problem.tolerance)
    if problem.known is not None:
        # The result is never worse than the known mapping.
        cap = min(cap, problem.known.value)
    first = tied(problem, first, cap)
    if first.certificate.ended or not before.effort.again:
        return first
    value = problem.objective.tie(first.result)
    known = EngineRun(value=value, mapping=first.mapping, result=first.result)

    def searched(aside: bool) -> tuple[Searched, bool]:
        search = before.tie_search(known, cap, relaxed=aside)
        return search.run(advance), search.found

    found, is_new = in_batches(problem, searched)
    if found.certificate.ended == INTERRUPTED:
        # An interrupt here interrupts the search of other parts of a workload, too.
        first = replace(first, certificate=replace(first.certificate, ended=INTERRUPTED))
    if not is_new:
        return first
    mapping = replace(found.mapping, name=f"best-{problem.objective.name}")
    return instead(problem, first, mapping, found)
