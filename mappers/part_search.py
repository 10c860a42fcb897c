"""Search of one part on any machine: exact, relaxed, cut into nests or split along reductions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic

from archsim.plan.selection import promising_split_reductions
from archsim.plan.workload import PartLike
from einsum_cascade.errors import InputError

from .cut.nest_search import search_cuts
from .exact.search import STRATEGY, Exhaustive
from .local.local_search import improve_locally
from .problem.certificate import INTERRUPTED, Certificate, Searched
from .problem.engine_run import EngineRun
from .problem.incumbents import Incumbents, best_first
from .problem.objectives import LATENCY
from .problem.part_space import space_of
from .problem.protocol import Mapper, Progress, SearchProblem


def search_machine(strategy: Mapper | None, problem: SearchProblem, progress: Progress) -> Searched:
    """Search the best mapping of one part, beginning with its incumbents.

    Parameters
    ----------
    strategy : Mapper or None
        Search strategy; the exhaustive one for None.

    Raises
    ------
    MappingError
        As ``Mapper.search``.
    """
    strategy, began = strategy or STRATEGY, monotonic()
    found = search_cuts(strategy, problem, progress)
    return improve_locally(problem, found, began) if isinstance(strategy, Exhaustive) else found


@dataclass(frozen=True)
class SplitReductionsSearched:
    """Searches of the cascades that split a reduction."""

    certificates: tuple[Certificate, ...] = ()
    cascades: tuple[str, ...] = ()
    """Names of these cascades."""

    def beside(self, own: Certificate) -> Certificate:
        """Return the certificate of the part's own cascade, with the effort for the others
        added."""
        return own.beside(self.certificates)

    @property
    def interrupted(self) -> bool:
        """True if a search was interrupted."""
        return any(c.ended == INTERRUPTED for c in self.certificates)


def with_split_reductions(
    strategy: Mapper | None,
    part: PartLike,
    problem: SearchProblem,
    known: Incumbents,
    progress: Progress,
) -> tuple[Incumbents, SplitReductionsSearched]:
    """Search cascades that split a reduction over cores, and add their best mappings to the
    incumbents.

    Parameters
    ----------
    strategy : Mapper or None
        Search strategy; the exhaustive one for None.
    problem : SearchProblem
        Problem of the part's own cascade.
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
            found = search_cuts(strategy or STRATEGY, asked, progress)
        except InputError:
            continue  # the search of the part's own cascade reports the error
        certificates.append(found.certificate)
        cascades.append(cascade)
        value = problem.objective.of(found.result)
        if best is None or value < best.value:
            mapping = replace(found.mapping, cascade=cascade)
            run = EngineRun(value=value, mapping=mapping, result=found.result)
            known = replace(known, runs=best_first(problem, (run, *known.runs)))
        if found.certificate.ended == INTERRUPTED:
            break
    return known, SplitReductionsSearched(tuple(certificates), tuple(cascades))


def _cascades(part: PartLike, problem: SearchProblem) -> Iterator[str]:
    """Yield the names of cascades whose partial reductions promise less latency than the part's
    own."""
    if not problem.space.constraints and problem.objective.code == LATENCY:
        yield from promising_split_reductions(part, problem.space.architecture)
