"""Searching cascades that let a machine's instances have parts of what is summed up.

A cascade that runs along the keys in one pass cannot be in parts of them over cores; one of several
passes that computes the same can, so that not every core reads all keys. Where what the memory that
feeds the cores has to serve promises that to be sooner, such cascades are searched first, and what
is found there is what the search of the part's own cascade begins with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from archsim.jobs.selection import promised_splits
from archsim.jobs.workload import PartLike
from einsum_cascade.errors import InputError

from .certificate import INTERRUPTED, Certificate
from .engine_run import EngineRun
from .exhaustive.search import STRATEGY
from .known_runs import KnownRuns, best_first
from .objectives import LATENCY
from .part_space import space_of
from .protocol import Mapper, Progress, SearchProblem
from .spread_nests import search_spread


@dataclass(frozen=True)
class SplitsSearched:
    """How the spaces of other cascades were covered."""

    certificates: tuple[Certificate, ...] = ()
    cascades: tuple[str, ...] = ()
    """Names of these cascades."""

    def beside(self, own: Certificate) -> Certificate:
        """What was looked at with that of a part's own cascade."""
        return own.beside(self.certificates)

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked for what there is by now."""
        return any(c.ended == INTERRUPTED for c in self.certificates)


def with_splits(
    strategy: Mapper | None,
    part: PartLike,
    problem: SearchProblem,
    known: KnownRuns,
    progress: Progress,
) -> tuple[KnownRuns, SplitsSearched]:
    """What is known with the best mappings of cascades that promise to be sooner in parts, and how
    their spaces were covered.

    Parameters
    ----------
    strategy : Mapper or None
        None: the exhaustive one.
    problem : SearchProblem
        Of the part's own cascade.
    """
    certificates: list[Certificate] = []
    cascades: list[str] = []
    for cascade in _cascades(part, problem):
        best = known.best
        if best is not None and problem.is_over():
            break
        try:
            other = replace(space_of(part, problem.space.architecture, cascade), slow=False)
            asked = replace(problem, space=other, known=best)
            found = search_spread(strategy or STRATEGY, asked, progress)
        except InputError:
            continue  # the part's own cascade says what is wrong
        certificates.append(found.certificate)
        cascades.append(cascade)
        value = problem.objective.of(found.result)
        if best is None or value < best.value:
            mapping = replace(found.mapping, cascade=cascade)
            run = EngineRun(value=value, mapping=mapping, result=found.result)
            known = replace(known, runs=best_first(problem, (run, *known.runs)))
        if found.certificate.ended == INTERRUPTED:
            break
    return known, SplitsSearched(tuple(certificates), tuple(cascades))


def _cascades(part: PartLike, problem: SearchProblem) -> Iterator[str]:
    """Names of cascades whose parts promise more than those of the part's own."""
    if not problem.space.constraints and problem.objective.code == LATENCY:
        yield from promised_splits(part, problem.space.architecture)
