"""Search of one part on any machine: exact, relaxed, cut into nests or split along reductions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import monotonic

from archsim.plan.parts import PartProblem
from archsim.plan.selection import promising_split_reductions
from workloads.parts.part import Part

from .construct.generators import GENERATORS
from .cut.nest_search import search_cuts
from .exact.policy import USUAL, Effort
from .local.local_search import improve_locally
from .problem.certificate import INTERRUPTED, Certificate, Searched
from .problem.engine_run import EngineRun
from .problem.incumbents import Incumbents, best_first, space_of
from .problem.objectives import LATENCY
from .problem.protocol import Progress, SearchProblem
from .relax.relaxation import Family, FamilyMember, Query, Relaxation


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
        self.cascades = _split_cascades(part, problem)
        members = (
            FamilyMember(make=partial(_other_cascade, part, problem, cascade))
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


def _split_cascades(part: Part, problem: SearchProblem) -> tuple[str, ...]:
    """Return cascades whose partial reductions promise less latency than the part's own."""
    if problem.space.constraints or problem.objective.code != LATENCY:
        return ()
    return tuple(
        promising_split_reductions(PartProblem(part, problem.space.architecture, GENERATORS))
    )


def _other_cascade(part: Part, problem: SearchProblem, cascade: str) -> Relaxation:
    """Return the mapspace of another cascade, whose mappings name it as given here."""
    space = replace(space_of(part, problem.space.architecture, cascade), slow=False)
    return Relaxation(space=space, lift=lambda found: iter((replace(found, cascade=cascade),)))
