"""Exhaustive search: every mapping of a space is priced, or shown to be no better.

Units (mappings with the same loops) are tabulated one by one; a compiled branch and bound
goes through the choices of each of their tilings. Energy is worked out exactly there. Of
latency it works out a bound, the busiest array or memory; what promises to be better than
the best is run by the engine, and the gap between the best run and the least bound is
reported.

Masks and gathers make tiles unlike, and cannot be worked out in batches. They are left aside
by the branch and bound, and what it finds best is run as it is: a good mapping, but no
proven optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, nextafter

from archsim.bound.binding import bind
from archsim.bound.lower import Bound
from archsim.evaluate.evaluate import evaluate_bound
from archsim.result.record import Result
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import MappingError, NoLegalMappingError, Problem

from ..certificate import Certificate, Searched
from ..objectives import Objective
from ..space.mapspace import Mapspace, Unit
from .lower_bounds import floor
from .tables import Tables, UnitRefusedError, tabulate
from .units import Found, UnitSearch

TOLERANCE = 1e-3
"""As far as the two engines agree: a better mapping could not be told apart."""


_RUNS = 288
"""Engine runs, times Einsums, of a space whose mappings cannot be priced in batches."""


_OF_UNIT = 4
"""Engine runs of one unit; what it has beside is as good or worse, so far as bounds tell."""


class _IrregularError(Exception):
    """A space whose mappings cannot be priced in batches as they are."""


Advance = Callable[[int], None]


def exhaustive(
    space: Mapspace,
    objective: Objective,
    *,
    tolerance: float = TOLERANCE,
    known: Run | None = None,
    advance: Advance = lambda _: None,
) -> Searched:
    """The best mapping of a space, with its certificate.

    Parameters
    ----------
    tolerance : float
        Mappings that could be better by less than this share are not run.
    known : Run, optional
        A mapping to begin with, that need not be of the space. It is what is found where
        nothing of the space is better.
    advance : callable
        Called with 1 for every unit that is done.

    Raises
    ------
    NoLegalMappingError
        No mapping is known, and none of the space is legal; says why the first ones are not.
    MappingError
        Indices of the cascade are too irregular to be priced in batches.
    """
    try:
        return _Exhaustive(space, objective, tolerance, known).run(advance)
    except _IrregularError:
        return _Exhaustive(space, objective, tolerance, known, relaxed=True).run(advance)


def candidates_of(space: Mapspace, units: tuple[Unit, ...]) -> int:
    """How many mappings some units of a space have."""
    return sum(len(u.sizes) for u in units) * space.bindings * space.residencies


def units_of(space: Mapspace) -> tuple[Unit, ...]:
    """All units of a space, those with the most shared loops first."""
    return tuple(u for shared in space.shared_choices() for u in space.units(shared))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A mapping that the engine has run."""

    value: float
    mapping: Mapping
    bound: Bound
    result: Result


def run_mapping(space: Mapspace, mapping: Mapping, objective: Objective) -> Run:
    """A mapping of a space's cascade run by the engine. Raises as ``evaluate_mapping``."""
    own = {tile.member for tile in mapping.tiles}
    given = {rank: size for rank, size in space.given.items() if rank not in own}
    bound = bind(space.program, mapping, space.architecture, given)
    result = evaluate_bound(bound)
    return Run(value=objective.of(result), mapping=mapping, bound=bound, result=result)


def _promise(found: Found) -> tuple[float, float]:
    return found.value, found.tie


class _Exhaustive:
    def __init__(
        self,
        space: Mapspace,
        objective: Objective,
        tolerance: float,
        known: Run | None,
        *,
        relaxed: bool = False,
    ) -> None:
        self.relaxed = relaxed
        self.space = space
        self.objective = objective
        self.tolerance = tolerance
        self.runs = 0
        self.best = known
        self.waiting: list[Found] = []
        self.legal: list[Unit] = []
        self.refused: list[str] = []
        self.failed: list[MappingError] = []

    def run(self, advance: Advance) -> Searched:
        units = units_of(self.space)
        of_tiling = self.space.bindings * self.space.residencies
        lost = alike = 0
        slack = 0.0 if self.objective.exact else self.tolerance / 10
        search = UnitSearch(space=self.space, objective=self.objective.code, slack=slack)
        if self.best is not None and not self.relaxed:
            search.limit = self.best.value
        for unit in units:
            try:
                tables = tabulate(self.space, unit, relaxed=self.relaxed)
                self._search(search, unit, tables)
                self.legal.append(unit)
                alike += len(unit.sizes) * (of_tiling - tables.combinations)
            except UnitRefusedError as why:
                self._refuse(why)
                lost += len(unit.sizes) * of_tiling
            advance(1)
        self._run_waiting()
        if self.best is None:
            raise self._nothing()
        certificate = Certificate(
            strategy="exhaustive, masks and gathers aside" if self.relaxed else "exhaustive",
            objective=self.objective.name,
            candidates=candidates_of(self.space, units),
            evaluated=search.leaves,
            reasons=(("loops not legal", lost), ("the same loops", alike), *search.pruned()),
            runs=self.runs,
            gap=self._gap(self.best, search.least),
            tolerance=self.tolerance,
        )
        return Searched(mapping=self.best.mapping, result=self.best.result, certificate=certificate)

    def _refuse(self, why: UnitRefusedError) -> None:
        """Go on without a unit whose loops are not legal."""
        if why.irregular:
            if not self.relaxed:
                raise _IrregularError
            raise MappingError(Problem(f"the cascade cannot be searched: {why}"))
        self.refused.append(str(why))

    def _search(self, search: UnitSearch, unit: Unit, tables: Tables) -> None:
        """Run what a unit has that may be better than the best by more than the tolerance."""
        promising = sorted(search.search(unit, tables), key=_promise)
        if self.relaxed:
            self.waiting = sorted((*self.waiting, *promising), key=_promise)[: self._most]
            if len(self.waiting) == self._most:
                # What is worse than all of these is not run; what is as good may tie better.
                search.limit = nextafter(self.waiting[-1].value, inf)
            return
        # The first tiles are waited for: of equals, smaller ones are faster if anything.
        others = sorted(promising[1:], key=lambda f: (f.value, f.sizes.prod()))
        for found in (*promising[:1], *others[: _OF_UNIT - 1]):
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

    def _run(self, found: Found) -> None:
        mapping = self.space.mapping(found.unit.skeleton, found.sizes, found.ways, found.places)
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

    def _gap(self, best: Run, least: float) -> float:
        """How much better than the best another mapping could be."""
        if self.relaxed or not self.legal:
            least = floor(self.objective, best.bound, best.result)
        return max(0.0, 1 - least / best.value)

    def _nothing(self) -> MappingError:
        """Why there is no mapping: nothing fits, or nothing is legal."""
        if self.failed:
            return NoLegalMappingError(self.failed[0].problems)
        for unit in self.legal[:1]:
            ways = {e: found[0] for e, found in self.space.ways.items()}
            places = {t: found[-1][:1] for t, found in self.space.places.items()}
            mapping = self.space.mapping(unit.skeleton, unit.sizes[0], ways, places)
            try:
                bind(self.space.program, mapping, self.space.architecture, self.space.given)
            except MappingError as error:
                hint = "with the smallest tiles, and every tensor in the outermost memory only"
                problems = [replace(p, hint=hint, span=None) for p in error.problems]
                return NoLegalMappingError(problems)
        reasons = "; ".join([*dict.fromkeys(self.refused)][:2])
        return NoLegalMappingError(Problem(f"no mapping of the space is legal: {reasons}"))
