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
from functools import partial
from math import inf, nextafter

from archsim.bound.binding import bind
from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem

from ..certificate import INTERRUPTED, TIME_LIMIT, Certificate, Searched
from ..engine_run import EngineRun, kind_of, run_mapping
from ..objectives import LATENCY, OBJECTIVES, SearchObjective
from ..protocol import TOLERANCE, Advance, Progress, SearchProblem, silent
from ..seen import Seen
from ..space.fusion import candidates_of, spread, subspaces_of
from ..space.mapspace import Mapspace
from ..space.nothing_left import nothing_left
from ..space.region import Region, Subspace
from ..space.written import mapping_of
from .effort import USUAL, Effort
from .irregular import NotInBatchesError, in_batches
from .known_tables import TablesOf
from .opened import OpenRegion, OpenSubspace
from .subspaces import Proposal, SubspaceSearch
from .tables import SubspaceRefusedError, Tables, tabulate

_RUNS = 144
"""Engine runs, times Einsums, of a space whose mappings cannot be priced in batches."""

_OF_SUBSPACE = 4
"""Engine runs of one subspace; what it has beside is as good or worse, so far as bounds tell."""

_SHOWN = 1_000
"""Steps of a progress bar, at the most."""

_MUCH = 0.95
"""An estimate so far below the best is not waited with."""

_AT_ONCE = 6
"""Subspaces that are sketched of the most promising region before another is."""

_SPREAD = 4
"""What a sketch finds to be so many times worse than the best is no estimate of anything."""


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Every mapping of a space is priced, or shown to be no better (``Mapper``)."""

    effort: Effort = USUAL

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """The best mapping of a space, with its certificate.

        Raises
        ------
        NoLegalMappingError
            No mapping is known, and none of the space is legal; says why the first are not.
        MappingError
            Indices of the cascade are too irregular to be priced in batches.
        """
        advance = progress(round(min(self.effort.subspaces, _SHOWN)))
        seen = Seen(problem.known)
        found = in_batches(
            problem,
            lambda aside: BranchAndBound(problem, self.effort, relaxed=aside, seen=seen).run(
                advance
            ),
        )
        over = bool(found.certificate.ended)
        if problem.objective.other is not None and self.effort.again and not over:
            found = self._settled(problem, found, OBJECTIVES[problem.objective.other], advance)
        second = None if over else seen.runner_up(problem.space, found.mapping)
        return replace(found, runner_up=second, history=seen.end())

    def _settled(
        self, problem: SearchProblem, first: Searched, other: SearchObjective, advance: Advance
    ) -> Searched:
        """Of what is as good as the first, to the tolerance, the best in the other objective."""
        cap = problem.objective.of(first.result) * (1 + problem.tolerance)
        if problem.known is not None:
            # Never worse than what is known.
            cap = min(cap, problem.known.value)
        known = EngineRun(value=other.of(first.result), mapping=first.mapping, result=first.result)
        second = replace(problem, objective=other, known=known)
        effort = replace(
            self.effort, subspaces=self.effort.again, regions=self.effort.again_regions
        )

        def searched(aside: bool) -> tuple[Searched, bool]:
            search = BranchAndBound(second, effort, relaxed=aside, cap=(problem.objective, cap))
            return search.run(advance), search.found

        found, is_new = in_batches(second, searched)
        if not is_new:
            return first
        value = problem.objective.of(found.result)
        certificate = replace(
            first.certificate,
            runs=first.certificate.runs + found.certificate.runs,
            value=value,
            gap=max(0.0, 1 - first.certificate.bound / value),
        )
        mapping = replace(found.mapping, name=f"best-{problem.objective.name}")
        return Searched(mapping=mapping, result=found.result, certificate=certificate)


STRATEGY = Exhaustive()


def exhaustive(
    space: Mapspace,
    objective: SearchObjective,
    *,
    tolerance: float = TOLERANCE,
    effort: Effort = USUAL,
) -> Searched:
    """The best mapping of a space, with its certificate. Raises as ``Exhaustive.search``."""
    problem = SearchProblem(space=space, objective=objective, tolerance=tolerance)
    return Exhaustive(effort=effort).search(problem)


def _promise(found: Proposal) -> tuple[float, float]:
    return found.estimate, found.tie


class BranchAndBound:
    """One search of a space; ``relaxed`` leaves masks and gathers aside, as for ``OpenMeter``."""

    def __init__(
        self,
        problem: SearchProblem,
        effort: Effort,
        *,
        relaxed: bool = False,
        cap: tuple[SearchObjective, float] | None = None,
        tables_of: TablesOf = tabulate,
        seen: Seen | None = None,
    ) -> None:
        self.seen = seen or Seen()
        self.cap = cap
        self.tables_of = tables_of
        self.found = False
        self.relaxed = relaxed
        self.effort = effort
        self.todo = effort.subspaces
        self.idle, self.reached = 0, inf
        self.space = problem.space
        self.objective = problem.objective
        self.tolerance = problem.tolerance
        self.runs = 0
        self.best = problem.known
        self.is_over = problem.is_over
        self.ended = ""
        self.waiting: list[Proposal] = []
        self.sketched = False
        self.legal: list[tuple[Region, Subspace]] = []
        self.refused: list[str] = []
        self.failed: list[MappingError] = []
        self.opened: list[OpenRegion] = []
        self.candidates = 0
        self.lost = self.same_loops = 0
        self.left: list[OpenSubspace] = []
        self.unopened = inf
        self.crossed: dict[str, bool] = {}

    def run(self, advance: Advance) -> Searched:
        # What slack leaves out counts in the gap: a tenth leaves the rest of the tolerance to
        # what a run is slower than its bound.
        slack = 0.0 if self.objective.exact else self.tolerance / 10
        effort = self.effort
        most = effort.regions if self._timed or self.cap else effort.untimed
        promising = self.space.regions(
            round(min(most, self.space.size)), spread=not (self._timed or self.cap)
        )
        beside = self.space.bound_beside(promising)
        if beside < inf:
            self.unopened = beside if self._timed else 0.0
        for promised in promising:
            bound = promised.bound if self._timed else 0.0
            if self._beaten(bound):
                self.unopened = min(self.unopened, bound)
                continue
            self._open(promised.region, bound, slack)
        self._note()
        try:
            self._go_through(advance)
        except KeyboardInterrupt:
            # The best so far is what was asked for; without one there is nothing to say.
            if self.best is None:
                raise
            self.ended = INTERRUPTED
        if self.best is None:
            raise self._nothing()
        self._note()
        return Searched(
            mapping=self.best.mapping, result=self.best.result, certificate=self._certificate()
        )

    def _go_through(self, advance: Advance) -> None:
        """Search until nothing is left that is worth it."""
        for found in self._sketched(advance):
            self.left.append(found)
        self.sketched = True
        for found in [*self.left]:
            if self.todo > 0 and not self._beaten(found.region.bound) and not self._is_over():
                self.left.remove(found)
                self._look(found, advance)
                self._note()
        self._run_waiting()

    def _is_over(self) -> bool:
        """Whether time is up; not before there is something to show."""
        if self.best is not None and not self.ended and self.is_over():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    @property
    def _timed(self) -> bool:
        """Whether cycles alone bound the objective."""
        return self.objective.code == LATENCY

    def _beaten(self, bound: float) -> bool:
        """Whether nothing above a bound is better than the best by more than the tolerance."""
        return self.best is not None and bound >= self.best.value * (1 - self.tolerance)

    def _near(self, bound: float) -> bool:
        """Whether nothing above a bound is much better than the best."""
        return self.best is not None and bound >= self.best.value * (1 - self.effort.near)

    def _open(self, region: Region, bound: float, slack: float) -> None:
        code, subspaces = self.objective.code, subspaces_of(region, self.crossed)
        self.candidates += candidates_of(region, subspaces)
        plain = replace(region, plain=True)
        cap = inf if self.cap is None else self.cap[1]
        self.opened.append(
            OpenRegion(
                region=region,
                bound=bound,
                search=SubspaceSearch(space=region, objective=code, slack=slack, cap=cap),
                sketch=SubspaceSearch(space=plain, objective=code, slack=slack, cap=cap),
                left=spread(subspaces),
            )
        )

    def _sketched(self, advance: Advance) -> list[OpenSubspace]:
        """Subspaces by what they promise in the simplest ways; those not sketched come last."""
        found: list[OpenSubspace] = []
        for region in self.opened:
            found += self._sketch_some(region, self.effort.sketches, advance)
        more = self.effort.more_sketches if self.cap is None else 0
        while more > 0 and (left := [r for r in self.opened if self._is_promising(r)]):
            best = min(left, key=lambda r: (r.estimate, r.bound))
            found += self._sketch_some(best, _AT_ONCE, advance)
            more -= _AT_ONCE
        # Sorting is stable: of equals those of better regions come first.
        found.sort(key=lambda one: one.estimate)
        others = (
            OpenSubspace(region=region, subspace=s) for region in self.opened for s in region.left
        )
        return [*found, *others]

    def _is_promising(self, region: OpenRegion) -> bool:
        """Whether more of a region should be sketched."""
        # What can be little better than the best is not worth more than a glance.
        return bool(region.left) and not self._near(region.bound) and not self._is_over()

    def _sketch_some(self, region: OpenRegion, most: float, advance: Advance) -> list[OpenSubspace]:
        """Sketch some subspaces of a region; what is not legal is left out and costs little."""
        found: list[OpenSubspace] = []
        while len(found) < most and region.left:
            if self._beaten(region.bound) or self._is_over():
                break
            mine = OpenSubspace(region=region, subspace=region.left.pop(0))
            advance(1)
            if self._sketch(mine):
                found.append(mine)
                region.estimate = min(region.estimate, mine.estimate)
        return found

    def _sketch(self, found: OpenSubspace) -> bool:
        """See what a subspace promises; False where no mapping of it is legal."""
        region = found.region
        sketch = region.sketch
        try:
            tables = self.tables_of(
                sketch.space, found.subspace, relaxed=self.relaxed, known=region.known
            )
            # What is worse than others by far is of no interest, but need not beat the best.
            sketch.limit = self.best.value * _SPREAD if self.best is not None else inf
            promising = sorted(sketch.search(found.subspace, tables), key=_promise)
        except SubspaceRefusedError as why:
            self._refuse(why)
            of_tiling = region.region.bindings * region.region.residencies
            self.lost += len(found.subspace.sizes) * of_tiling
            return False
        if promising:
            found.estimate = promising[0].estimate
            nest = region.region.nest(found.subspace.skeleton)
            kind = kind_of(rank for _, ranks in nest for rank in ranks)
            self.seen.promise(found.estimate, kind, partial(self._engine, promising[0]))
            if self.best is None or found.estimate < self.best.value * _MUCH:
                self._run(promising[0])
        return True

    def _look(self, found: OpenSubspace, advance: Advance) -> None:
        """Search a subspace in all ways."""
        region, subspace = found.region, found.subspace
        of_tiling = region.region.bindings * region.region.residencies
        self.todo -= 1
        if self.best is not None and not self.relaxed:
            region.search.limit = self.best.value
        try:
            tables = self.tables_of(
                region.region, subspace, relaxed=self.relaxed, known=region.known
            )
            self._search(region, subspace, tables)
            self._tire(region)
            self.legal.append((region.region, subspace))
            self.same_loops += len(subspace.sizes) * (of_tiling - tables.combinations)
        except SubspaceRefusedError as why:
            self._refuse(why)
            self.lost += len(subspace.sizes) * of_tiling
        advance(1)

    def _tire(self, region: OpenRegion) -> None:
        """Give up where many subspaces brought nothing."""
        self.idle += 1
        value = self.best.value if self.best is not None else inf
        if value < self.reached * (1 - self.tolerance):
            self.reached, self.idle = value, 0
        near = self._near(region.bound)
        if self.idle >= (self.effort.patience_near if near else self.effort.patience):
            self.todo = 0

    def _certificate(self) -> Certificate:
        assert self.best is not None, "what is certified"
        evaluated = sum(region.search.leaves for region in self.opened)
        return Certificate(
            strategy="exhaustive, masks and gathers aside" if self.relaxed else "exhaustive",
            objective=self.objective.name,
            candidates=self.candidates,
            evaluated=evaluated,
            reasons=tuple(self._reasons(evaluated).items()),
            runs=self.runs,
            gap=self._gap(),
            tolerance=self.tolerance,
            value=self.best.value,
            floor=self.objective.floor(self.best.result),
            ended=self.ended,
        )

    def _reasons(self, evaluated: int) -> dict[str, int]:
        """Why candidates were left out, and how many for each reason."""
        found = {"loops not legal": self.lost, "the same loops": self.same_loops}
        for region in self.opened:
            for why, count in region.search.pruned():
                found[why] = found.get(why, 0) + count
        for left in self.left:
            region = left.region
            count = len(left.subspace.sizes) * region.region.bindings * region.region.residencies
            why = "no better" if self._beaten(region.bound) else "not looked at"
            found[why] = found.get(why, 0) + count
        if self.ended == INTERRUPTED:
            # Nobody knows where: what is not told by now was not looked at.
            rest = self.candidates - evaluated - sum(found.values())
            found["not looked at"] = found.get("not looked at", 0) + rest
        return found

    def _refuse(self, why: SubspaceRefusedError) -> None:
        """Go on without a subspace whose loops are not legal."""
        if why.irregular:
            if not self.relaxed:
                raise NotInBatchesError
            raise MappingError(Problem(f"the cascade cannot be searched: {why}"))
        self.refused.append(str(why))

    def _search(self, region: OpenRegion, subspace: Subspace, tables: Tables) -> None:
        """Run what a subspace has that may be better than the best by more than the tolerance."""
        promising = sorted(region.search.search(subspace, tables), key=_promise)
        if self.relaxed:
            self.waiting = sorted((*self.waiting, *promising), key=_promise)[: self._most]
            if len(self.waiting) == self._most:
                # What is worse than all of these is not run; what is as good may tie better.
                region.search.limit = nextafter(self.waiting[-1].value, inf)
            # What looks much better than the best is run at once, and tells what to look for.
            if promising and (self.best is None or promising[0].estimate < self.best.value * _MUCH):
                self._run(promising[0])
                self.waiting.remove(promising[0])
            return
        # The first tiles are waited for: of equals, smaller ones are faster if anything.
        others = sorted(promising[1:], key=lambda f: (f.estimate, f.sizes.prod()))
        for found in (*promising[:1], *others[: _OF_SUBSPACE - 1]):
            if self.best is None or found.value < self.best.value * (1 - self.tolerance):
                self._run(found)

    def _run_waiting(self) -> None:
        """Run the most promising mappings of a space whose values are estimates."""
        for found in self.waiting:
            if not self._is_over():
                self._run(found)

    @property
    def _most(self) -> int:
        """How many mappings are run where values are estimates."""
        return max(3, _RUNS // len(self.space.program.einsums))

    def _run(self, found: Proposal) -> None:
        self.runs += 1
        try:
            run = self._engine(found)
        except MappingError as error:
            self.failed.append(error)
            return
        if self.cap is not None and self.cap[0].of(run.result) > self.cap[1]:
            return
        self.seen.ran(run)
        if self.best is None or run.value < self.best.value:
            self.best, self.found = run, True
            self._note()

    def _engine(self, found: Proposal) -> EngineRun:
        mapping = mapping_of(
            found.region, found.subspace.skeleton, found.sizes, found.ways, found.places
        )
        named = replace(mapping, name=f"best-{self.objective.name}")
        return run_mapping(found.region, named, self.objective)

    def _note(self) -> None:
        value = self.best.value if self.best is not None else inf
        self.seen.note(self.runs, value, self._least())

    def _gap(self) -> float:
        """How much better than the best another mapping could be."""
        assert self.best is not None, "what there is a gap to"
        return max(0.0, 1 - self._least() / self.best.value)

    def _least(self) -> float:
        """What no mapping is below, as far as the search has got."""
        bounds = [self.unopened]
        for region in self.opened:
            if not self.relaxed:
                bounds.append(max(region.bound, region.search.least))
        bounds += [found.region.bound for found in self.left]
        if self.relaxed or self.ended == INTERRUPTED or not self.sketched:
            bounds += [region.bound for region in self.opened]
        floor = 0.0 if self.best is None else self.objective.floor(self.best.result)
        return max(min(bounds), floor)

    def _nothing(self) -> MappingError:
        """Why there is no mapping: constraints leave none, nothing fits, or nothing is legal."""
        if nothing := nothing_left(self.space):
            return nothing
        if self.failed:
            return NoLegalMappingError(self.failed[0].problems)
        for region, subspace in self.legal[:1]:
            ways = {e: found[0] for e, found in region.ways.items()}
            # The last alternative keeps a tensor everywhere: its first level is the outermost.
            places = {t: found[-1][:1] for t, found in region.all_places.items()}
            mapping = mapping_of(region, subspace.skeleton, subspace.sizes[0], ways, places)
            try:
                bind(self.space.program, mapping, self.space.architecture, self.space.given)
            except MappingError as error:
                hint = "with the smallest tiles, and every tensor in the outermost memory only"
                problems = [replace(p, hint=hint, span=None) for p in error.problems]
                return NoLegalMappingError(problems)
        reasons = "; ".join([*dict.fromkeys(self.refused)][:2])
        space = "constrained space" if self.space.constraints else "space"
        return NoLegalMappingError(Problem(f"no mapping of the {space} is legal: {reasons}"))
