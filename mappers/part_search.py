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
    """The best mapping that a strategy finds, from what is known on.

    Parameters
    ----------
    strategy : Mapper or None
        None: the exhaustive one.

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


def with_split_reductions(
    strategy: Mapper | None,
    part: PartLike,
    problem: SearchProblem,
    known: Incumbents,
    progress: Progress,
) -> tuple[Incumbents, SplitReductionsSearched]:
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
            found = search_cuts(strategy or STRATEGY, asked, progress)
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
    return known, SplitReductionsSearched(tuple(certificates), tuple(cascades))


def _cascades(part: PartLike, problem: SearchProblem) -> Iterator[str]:
    """Names of cascades whose parts promise more than those of the part's own."""
    if not problem.space.constraints and problem.objective.code == LATENCY:
        yield from promising_split_reductions(part, problem.space.architecture)
