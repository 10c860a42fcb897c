"""Of mappings that are as good in one objective the better one in the other."""

from __future__ import annotations

from dataclasses import replace

from archsim.spec.mapping import Mapping

from ..certificate import Searched
from ..engine_run import EngineRun
from ..protocol import SearchProblem


def tied(problem: SearchProblem, first: Searched, cap: float) -> Searched:
    """What a search found, or a mapping that was known and is as good, if that is better in the
    other objective.

    Parameters
    ----------
    cap : float
        The objective up to which a mapping is as good.
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
    """A mapping as good as the first that a search found, with the certificate of that search.

    Parameters
    ----------
    found : Searched or EngineRun
        Where its result is from.
    """
    value, bound = problem.objective.of(found.result), first.certificate.bound
    more = found.certificate.runs if isinstance(found, Searched) else 0
    certificate = replace(
        first.certificate,
        runs=first.certificate.runs + more,
        value=value,
        gap=max(0.0, 1 - bound / value),
    )
    return replace(first, mapping=mapping, result=found.result, certificate=certificate)
