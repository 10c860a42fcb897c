"""Epsilon constraint: least energy under caps of latency, over subspaces tabulated before.

The largest gap between points of the front is halved first. Tables of the searches for both ends
are searched again under each cap, so that nothing is tabulated twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, log, sqrt

from einsum_cascade.errors import MappingError

from ..exact.branch_and_bound import BranchAndBound, in_batches, tie_search
from ..exact.policy import Effort
from ..exact.questions import SubspaceKey
from ..exact.subspaces import Proposal, TableMemo, proposals_below
from ..problem.certificate import INTERRUPTED, Searched
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.objectives import ENERGY, LATENCY, OBJECTIVES
from ..problem.protocol import Advance, Clock, SearchProblem, never
from ..space.grid import PromisedRegion
from ..space.mapspace import Mapspace
from ..space.region import mapping_of
from . import policy
from .front import FrontRun, FrontSearched, non_dominated

NAME = "best-below"
"""Name of mappings that a search under a cap finds."""


@dataclass(frozen=True, slots=True)
class _FrontGap:
    """Gap between two neighbours of a front.

    No mapping found takes ``cycles`` or less and less energy than ``energy_pj``; the right
    neighbour takes ``to_cycles`` and ``to_energy_pj``.
    """

    cycles: float
    energy_pj: float
    to_cycles: float
    to_energy_pj: float

    @property
    def area(self) -> float:
        # Ratios are used, as a slow end that saves little would dwarf all gaps near the fast end.
        if self.to_cycles <= self.cycles or self.to_energy_pj >= self.energy_pj:
            return 0.0
        return log(self.to_cycles / self.cycles) * log(self.energy_pj / self.to_energy_pj)


def epsilon_constraint_front(
    problem: SearchProblem,
    advance: Advance,
    *,
    clock: Clock,
    effort: Effort = policy.EFFORT,
) -> FrontSearched:
    """Search the front of latency and energy of a mapspace.

    Parameters
    ----------
    problem : SearchProblem
        Its objective does not matter; its incumbent is a point of the front like others.
    clock : Clock
        Time shared by the least latency, the least energy, and the points between.

    Raises
    ------
    NoLegalMappingError, MappingError
        As ``Exhaustive.search``.
    """
    return in_batches(
        problem,
        lambda aside: _EpsilonConstraintSearch(problem, effort, relaxed=aside).run(advance, clock),
    )


class _EpsilonConstraintSearch:
    """Search of one front."""

    def __init__(self, problem: SearchProblem, effort: Effort, *, relaxed: bool) -> None:
        self.problem, self.effort, self.relaxed = problem, effort, relaxed
        self.space: Mapspace = problem.space
        self.known = TableMemo()
        self.whole: dict[tuple[object, ...], PromisedRegion] = {}
        self.runs: list[FrontRun] = []
        self.engine_runs = self.searches = 0
        self.is_over: Callable[[], bool] = never
        self.proven: list[tuple[float, float]] = []
        """Caps in cycles, and lower bounds in pJ of the energy under each cap."""

    def run(self, advance: Advance, clock: Clock) -> FrontSearched:
        for run in self.problem.others:
            self._keep(run)
        first = self._end("latency", advance, clock.share(3), self.problem.known)
        ended = first.certificate.ended
        if ended == INTERRUPTED:
            # An interrupted search has one point, whose energy is bounded by the floor alone.
            second = self._as_known(first)
        else:
            least = min(
                (_run_of(first, "energy"), *self.problem.others),
                key=lambda run: OBJECTIVES["energy"].of(run.result),
            )
            second = self._least_energy(least, advance, clock)
            ended = second.certificate.ended or ended
        self.proven.append((inf, second.certificate.bound))
        if ended != INTERRUPTED:
            ended = self._between(first, second, advance, clock.share(1)) or ended
        found = spread_out(non_dominated(self.runs, self.problem.tolerance))
        return FrontSearched(
            runs=tuple(
                replace(run, bound_pj=max(b for cap, b in self.proven if run.cycles <= cap))
                for run in found
            ),
            least=(first, second),
            searches=self.searches,
            engine_runs=self.engine_runs,
            ended=ended,
        )

    def _least_energy(self, known: EngineRun, advance: Advance, clock: Clock) -> Searched:
        """Search the least energy, also on arrays that are left aside where latency counts."""
        found = self._end("energy", advance, clock.share(2), known)
        aside = any(one.region.leaves_aside for one in self.space.regions(1))
        if not aside or found.certificate.ended:
            return found
        again = _run_of(found, "energy")
        return self._end("energy", advance, clock.share(2), again, slow=True)

    def _end(
        self,
        name: str,
        advance: Advance,
        is_over: Callable[[], bool],
        known: EngineRun | None,
        *,
        slow: bool = False,
    ) -> Searched:
        """Search the end of least latency or energy, and keep its tables for searches under
        caps.

        ``slow`` is as in the mapspace.
        """
        objective = OBJECTIVES[name]
        if known is not None:
            known = replace(known, value=objective.of(known.result))
            self._keep(known)
        space, effort = replace(self.space, slow=slow), self.effort
        if slow and space.size > effort.untimed:
            effort = policy.SLOW_EFFORT
        problem = replace(
            self.problem, space=space, objective=objective, known=known, is_over=is_over
        )
        search = BranchAndBound(problem, effort, relaxed=self.relaxed, tables_of=self.known)
        found = search.run(advance)
        self.engine_runs += found.certificate.runs
        self._keep(_run_of(found, name))
        if found.certificate.ended == INTERRUPTED:
            # Regions that are left were not recorded.
            return found
        if name == "latency" and self._settle(found, search.leasts, problem, advance):
            found = replace(found, certificate=replace(found.certificate, ended=INTERRUPTED))
        unfinished = {one.region.number for one in search.left}
        for opened in search.opened:
            if opened.number not in unfinished:
                key = (opened.region.fixed, opened.region.cuts)
                self.whole[key] = PromisedRegion(region=opened.region, cycles=opened.bound)
        return found

    def _settle(
        self,
        first: Searched,
        leasts: dict[SubspaceKey, float],
        problem: SearchProblem,
        advance: Advance,
    ) -> bool:
        """Search the least energy of mappings as fast as the fastest, and return whether it was
        interrupted.

        Their subspaces may be absent from the searches for both ends.
        """
        if not self.effort.again or first.certificate.ended:
            return False
        cap = first.certificate.value * (1 + problem.tolerance)
        known = _run_of(first, "energy")
        search = tie_search(
            problem, self.effort, known, cap, leasts, relaxed=self.relaxed, tables_of=self.known
        )
        found = search.run(advance)
        self.engine_runs += found.certificate.runs
        self._keep(_run_of(found, "energy"))
        return found.certificate.ended == INTERRUPTED

    def _as_known(self, found: Searched) -> Searched:
        """Return the search for the least latency as one for the least energy that looked no
        further."""
        energy = OBJECTIVES["energy"]
        value, floor = energy.of(found.result), energy.floor(found.result)
        certificate = replace(found.certificate, objective="energy", floor=floor)
        return replace(found, certificate=certificate.bounded(value, floor))

    def _between(
        self, first: Searched, second: Searched, advance: Advance, is_over: Callable[[], bool]
    ) -> str:
        """Halve gaps of the front; return the reason of an early end."""
        self.is_over = is_over
        tolerance = self.problem.tolerance
        cycles, energy = OBJECTIVES["latency"], OBJECTIVES["energy"]
        try:
            # Of equal latencies the least energy is taken, and of equal energies the least latency.
            left = self._least(ENERGY, cycles.of(first.result) * (1 + tolerance))
            right = self._least(LATENCY, energy.of(second.result) * (1 + tolerance))
            gaps = [_FrontGap(left.cycles, left.energy_pj, right.cycles, right.energy_pj)]
            whole = gaps[0].area
            while self.searches < policy.MAX_CAPPED_SEARCHES and gaps:
                gap = max(gaps, key=lambda g: g.area)
                gaps.remove(gap)
                if gap.area <= policy.MIN_GAP_SHARE * whole:
                    break
                if is_over():
                    return "time limit"
                gaps += self._halved(gap)
                advance(1)
        except KeyboardInterrupt:
            return INTERRUPTED
        return ""

    def _halved(self, gap: _FrontGap) -> tuple[_FrontGap, ...]:
        """Return what is left of a gap after a search under a latency in its middle."""
        # The middle is a geometric mean, as areas are of ratios: 200 between 100 and 400 cycles. If
        # the point found takes 150 cycles, a gap from 100 to 150 is left, and from 150 to 200 no
        # mapping takes less energy.
        middle = sqrt(gap.cycles * gap.to_cycles)
        found = self._least(ENERGY, middle)
        before = _FrontGap(gap.cycles, gap.energy_pj, found.cycles, found.energy_pj)
        return before, _FrontGap(middle, found.energy_pj, gap.to_cycles, gap.to_energy_pj)

    def _least(self, objective: int, cap: float) -> FrontRun:
        """Return the run of least energy under a cap of latency, or of least latency under one
        of energy.

        The search is over all runs so far and those of the tables that promise to be better.
        """
        self.searches += 1
        best = self._best(objective, cap)
        limit = best.energy_pj if objective == ENERGY else best.cycles
        found, least = proposals_below(
            self.known, objective, limit=limit, cap=cap, is_over=self.is_over
        )
        if objective == ENERGY and not self.relaxed:
            self.proven.append((cap, self._proven(cap, least)))
        for one in found[: policy.MAX_RUNS_PER_SEARCH]:
            if one.value < limit * (1 - self.problem.tolerance):
                self._try(one)
        return self._best(objective, cap)

    def _best(self, objective: int, cap: float) -> FrontRun:
        if objective == ENERGY:
            able = [r for r in self.runs if r.cycles <= cap]
            return min(able, key=lambda r: (r.energy_pj, r.cycles))
        able = [r for r in self.runs if r.energy_pj <= cap]
        return min(able, key=lambda r: (r.cycles, r.energy_pj))

    def _proven(self, cap: float, least: float) -> float:
        """Return a lower bound of the energy under a cap of latency; 0 if nothing is proven.

        It holds if every region that may be as fast was searched whole, and the arrays that it left
        aside are slower.
        """
        whole = [*self.whole.values()]
        aside = min((p.region.slower for p in whole), default=inf)
        return least if min(aside, self.space.bound_beside(whole)) > cap else 0.0

    def _try(self, found: Proposal) -> None:
        mapping = mapping_of(
            found.region, found.subspace.skeleton, found.sizes, found.placements, found.places
        )
        self.engine_runs += 1
        mapping = replace(mapping, name=NAME)
        try:
            self._keep(run_mapping(found.region, mapping, OBJECTIVES["energy"]))
        except MappingError:
            # the engine refuses the mapping
            return

    def _keep(self, run: EngineRun) -> None:
        self.runs.append(FrontRun.of(run.mapping, run.result))


def _run_of(found: Searched, name: str) -> EngineRun:
    return EngineRun.of(OBJECTIVES[name], found.mapping, found.result)


def spread_out(runs: tuple[FrontRun, ...]) -> tuple[FrontRun, ...]:
    """Return at most ``MAX_POINTS`` points of a front, both ends among them.

    Of neighbours that differ least in energy the slower is dropped.

    Parameters
    ----------
    runs : tuple of FrontRun
        Points of a front, fastest first.
    """
    found = [*runs]
    while len(found) > policy.MAX_POINTS:
        inner = range(1, len(found) - 1)
        found.pop(min(inner, key=lambda n: found[n - 1].energy_pj - found[n].energy_pj))
    return tuple(found)
