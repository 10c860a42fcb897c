"""Exhaustive search: every mapping of a space is priced, or shown to be no better.

Subspaces (mappings with the same loops) are tabulated one by one; a compiled branch and bound
goes through the choices of each of their tilings. Energy is worked out exactly there. Of
latency it works out a bound, the busiest array or memory; what promises to be better than
the best is run by the engine, and the gap between the best run and the least bound is
reported.

Masks and gathers make tiles unlike, and cannot be worked out in batches. They are left aside
by the branch and bound, and what it finds best is run as it is: a good mapping, but no
proven optimum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nextafter

from archsim.bound.binding import bind
from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem

from ..certificate import Certificate, Searched
from ..engine_run import EngineRun, run_mapping
from ..objectives import SearchObjective
from ..protocol import TOLERANCE, Advance, Progress, SearchProblem, silent
from ..space.fusion import candidates_of, subspaces_of
from ..space.mapspace import Mapspace, Subspace
from .subspaces import Proposal, SubspaceSearch
from .tables import SubspaceRefusedError, Tables, tabulate

_RUNS = 288
"""Engine runs, times Einsums, of a space whose mappings cannot be priced in batches."""

_OF_SUBSPACE = 4
"""Engine runs of one subspace; what it has beside is as good or worse, so far as bounds tell."""


class _NotInBatchesError(Exception):
    """A space whose mappings cannot be priced in batches as they are."""


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Every mapping of a space is priced, or shown to be no better (``Mapper``)."""

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """The best mapping of a space, with its certificate.

        Raises
        ------
        NoLegalMappingError
            No mapping is known, and none of the space is legal; says why the first are not.
        MappingError
            Indices of the cascade are too irregular to be priced in batches.
        """
        subspaces = subspaces_of(problem.space)
        advance = progress(len(subspaces))
        try:
            return _BranchAndBound(problem, subspaces).run(advance)
        except _NotInBatchesError:
            return _BranchAndBound(problem, subspaces, relaxed=True).run(advance)


STRATEGY = Exhaustive()


def exhaustive(
    space: Mapspace, objective: SearchObjective, *, tolerance: float = TOLERANCE
) -> Searched:
    """The best mapping of a space, with its certificate. Raises as ``Exhaustive.search``."""
    problem = SearchProblem(space=space, objective=objective, tolerance=tolerance)
    return STRATEGY.search(problem)


def _promise(found: Proposal) -> tuple[float, float]:
    return found.value, found.tie


class _BranchAndBound:
    """One search of a space; ``relaxed`` leaves masks and gathers aside, as for ``OpenMeter``."""

    def __init__(
        self, problem: SearchProblem, subspaces: tuple[Subspace, ...], *, relaxed: bool = False
    ) -> None:
        self.relaxed = relaxed
        self.subspaces = subspaces
        self.space = problem.space
        self.objective = problem.objective
        self.tolerance = problem.tolerance
        self.runs = 0
        self.best = problem.known
        self.waiting: list[Proposal] = []
        self.legal: list[Subspace] = []
        self.refused: list[str] = []
        self.failed: list[MappingError] = []

    def run(self, advance: Advance) -> Searched:
        of_tiling = self.space.bindings * self.space.residencies
        lost = same_loops = 0
        # What slack leaves out counts in the gap: a tenth leaves the rest of the tolerance to
        # what a run is slower than its bound.
        slack = 0.0 if self.objective.exact else self.tolerance / 10
        search = SubspaceSearch(space=self.space, objective=self.objective.code, slack=slack)
        # A relaxed value counts what a mask leaves out, too: a run's value would rule out all.
        if self.best is not None and not self.relaxed:
            search.limit = self.best.value
        for subspace in self.subspaces:
            try:
                tables = tabulate(self.space, subspace, relaxed=self.relaxed)
                self._search(search, subspace, tables)
                self.legal.append(subspace)
                same_loops += len(subspace.sizes) * (of_tiling - tables.combinations)
            except SubspaceRefusedError as why:
                self._refuse(why)
                lost += len(subspace.sizes) * of_tiling
            advance(1)
        self._run_waiting()
        if self.best is None:
            raise self._nothing()
        certificate = Certificate(
            strategy="exhaustive, masks and gathers aside" if self.relaxed else "exhaustive",
            objective=self.objective.name,
            candidates=candidates_of(self.space, self.subspaces),
            evaluated=search.leaves,
            reasons=(("loops not legal", lost), ("the same loops", same_loops), *search.pruned()),
            runs=self.runs,
            gap=self._gap(self.best, search.least),
            tolerance=self.tolerance,
        )
        return Searched(mapping=self.best.mapping, result=self.best.result, certificate=certificate)

    def _refuse(self, why: SubspaceRefusedError) -> None:
        """Go on without a subspace whose loops are not legal."""
        if why.irregular:
            if not self.relaxed:
                raise _NotInBatchesError
            raise MappingError(Problem(f"the cascade cannot be searched: {why}"))
        self.refused.append(str(why))

    def _search(self, search: SubspaceSearch, subspace: Subspace, tables: Tables) -> None:
        """Run what a subspace has that may be better than the best by more than the tolerance."""
        promising = sorted(search.search(subspace, tables), key=_promise)
        if self.relaxed:
            self.waiting = sorted((*self.waiting, *promising), key=_promise)[: self._most]
            if len(self.waiting) == self._most:
                # What is worse than all of these is not run; what is as good may tie better.
                search.limit = nextafter(self.waiting[-1].value, inf)
            return
        # The first tiles are waited for: of equals, smaller ones are faster if anything.
        others = sorted(promising[1:], key=lambda f: (f.value, f.sizes.prod()))
        for found in (*promising[:1], *others[: _OF_SUBSPACE - 1]):
            if self.best is None or found.value < self.best.value * (1 - self.tolerance):
                self._run(found)
        if self.best is not None:
            search.limit = self.best.value

    def _run_waiting(self) -> None:
        """Run the most promising mappings of a space whose values are estimates."""
        for found in self.waiting:
            self._run(found)

    @property
    def _most(self) -> int:
        """How many mappings are run where values are estimates."""
        return max(3, _RUNS // len(self.space.program.einsums))

    def _run(self, found: Proposal) -> None:
        mapping = self.space.mapping(found.subspace.skeleton, found.sizes, found.ways, found.places)
        self.runs += 1
        try:
            run = run_mapping(
                self.space, replace(mapping, name=f"best-{self.objective.name}"), self.objective
            )
        except MappingError as error:
            self.failed.append(error)
            return
        if self.best is None or run.value < self.best.value:
            self.best = run

    def _gap(self, best: EngineRun, least: float) -> float:
        """How much better than the best another mapping could be."""
        # Relaxed values may be above those of runs: then they bound nothing.
        if self.relaxed or not self.legal:
            least = self.objective.floor(best.result)
        return max(0.0, 1 - least / best.value)

    def _nothing(self) -> MappingError:
        """Why there is no mapping: nothing fits, or nothing is legal."""
        if self.failed:
            return NoLegalMappingError(self.failed[0].problems)
        for subspace in self.legal[:1]:
            ways = {e: found[0] for e, found in self.space.ways.items()}
            # The last alternative keeps a tensor everywhere: its first level is the outermost.
            places = {t: found[-1][:1] for t, found in self.space.places.items()}
            mapping = self.space.mapping(subspace.skeleton, subspace.sizes[0], ways, places)
            try:
                bind(self.space.program, mapping, self.space.architecture, self.space.given)
            except MappingError as error:
                hint = "with the smallest tiles, and every tensor in the outermost memory only"
                problems = [replace(p, hint=hint, span=None) for p in error.problems]
                return NoLegalMappingError(problems)
        reasons = "; ".join([*dict.fromkeys(self.refused)][:2])
        return NoLegalMappingError(Problem(f"no mapping of the space is legal: {reasons}"))
