"""Exhaustive strategy: price every mapping of a mapspace, or prove that it is no better.

A second search may follow. It uses the second objective to choose among mappings that are equal in
the first, within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from archsim.spec.mapping import Mapping

from ..problem.certificate import INTERRUPTED, Searched
from ..problem.engine_run import EngineRun
from ..problem.objectives import SearchObjective
from ..problem.protocol import TOLERANCE, Advance, Progress, SearchProblem, silent
from ..problem.search_log import SearchLog
from ..space.mapspace import Mapspace
from . import policy
from .branch_and_bound import BranchAndBound, in_batches
from .policy import USUAL, Effort


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
    return replace(first, mapping=mapping, result=found.result, certificate=certificate)


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Exhaustive strategy: it prices each mapping of a mapspace, or proves it to be no better."""

    effort: Effort = USUAL

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best mapping of a space, with its certificate.

        Raises
        ------
        NoLegalMappingError
            No mapping is known and none of the space is legal; the error says why.
        MappingError
            Indices of the cascade are too irregular to be priced in batches.
        """
        advance = progress(round(min(self.effort.subspaces, policy.MAX_PROGRESS_STEPS)))
        log = SearchLog(problem.known, problem.others)

        def searched(aside: bool) -> tuple[Searched, BranchAndBound]:
            search = BranchAndBound(problem, self.effort, relaxed=aside, log=log)
            return search.run(advance), search

        found, search = in_batches(problem, searched)
        if problem.objective.other is not None:
            found = self._settled(search, found, advance)
        over = bool(found.certificate.ended) or problem.is_over()
        second = log.runner_up(problem.space, found.mapping, more=not over)
        return replace(
            found, runner_up=second, history=log.end(found.certificate.runs), ran=log.best()
        )

    def _settled(self, before: BranchAndBound, first: Searched, advance: Advance) -> Searched:
        """Return the mapping best in the second objective among those as good as the first."""
        problem = before.problem
        cap = problem.objective.of(first.result) * (1 + problem.tolerance)
        if problem.known is not None:
            # The result is never worse than the known mapping.
            cap = min(cap, problem.known.value)
        first = tied(problem, first, cap)
        if first.certificate.ended or not self.effort.again:
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


STRATEGY = Exhaustive()


def exhaustive(
    space: Mapspace,
    objective: SearchObjective,
    *,
    tolerance: float = TOLERANCE,
    effort: Effort = USUAL,
) -> Searched:
    """Return the best mapping of a space, with its certificate. Raises as ``Exhaustive.search``."""
    problem = SearchProblem(space=space, objective=objective, tolerance=tolerance)
    return Exhaustive(effort=effort).search(problem)
