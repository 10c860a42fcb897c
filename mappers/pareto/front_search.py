"""Pareto front of a one-part workload: latency, energy, and optionally footprint in a memory.

Points between the ends of a front are searched by epsilon constraint: least energy under a cap of
latency. The largest gap between points is halved first. Each search under a cap reads the cost
tables of the searches for both ends. Nothing is thus tabulated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import inf, log, sqrt
from operator import attrgetter
from typing import Any

from archsim.dominance import undominated
from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.result.result import Result
from archsim.spec.arch import Architecture, Memory
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_called, memory_in_role
from einsum_cascade.errors import InputError, MappingError, SpecError, did_you_mean
from workloads.workload import Workload

from ..construct.generators import GENERATORS
from ..exact.branch_and_bound import BranchAndBound, in_batches
from ..exact.policy import Effort
from ..exact.subspaces import TableMemo, proposals_below
from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Certificate, Searched
from ..problem.constraint_files import ConstraintFile
from ..problem.engine_run import EngineRun, run_mapping
from ..problem.incumbents import check_start, default_run, incumbents_of, only_part, space_of
from ..problem.objectives import ENERGY, LATENCY, OBJECTIVES, objective_called
from ..problem.protocol import (
    TOLERANCE,
    Advance,
    Clock,
    ProgressOfParts,
    SearchProblem,
    infrequent_collection,
    never,
    quiet,
)
from ..relax.relaxation import (
    Query,
    Relaxation,
    answer,
    first_incumbent,
    infeasible_relaxations,
    relaxed_certificate,
)
from ..relax.search import family_of
from ..space.mapspace import Mapspace
from ..space.region import Region, RegionKey
from . import policy

BUFFER = "buffer"
"""Name of the outermost memory of limited size in a query, unless a memory is called so."""


def limited_memory(architecture: Architecture, name: str, option: str) -> Memory:
    """Return the memory whose capacity a query asks about.

    Parameters
    ----------
    name : str
        Name or role of a memory, or ``buffer`` for the outermost one of limited size.
    option : str
        Option that errors begin with.

    Raises
    ------
    SpecError
        No memory has this name or role, or it is the outermost, or it has no limit.
    """
    outermost, *inner = architecture.memories[architecture.home_level :]
    known = [m.name for m in inner if m.capacity_bytes is not None]
    named = memory_called(architecture, name)
    if named == BUFFER and architecture.memory(named) is None:
        if not known:
            raise SpecError(f"{option}: no inner memory of {architecture.name} is limited in size")
        named = known[0]
    if named not in [m.name for m in architecture.memories]:
        hint = did_you_mean(name, known)
        raise SpecError(f"{option}: {architecture.name} has no memory '{name}'; {hint}")
    if named not in known:
        why = "is the outermost" if named == outermost.name else "has no limit"
        text = f"{option}: {named} {why}; asked is the size of an inner memory"
        raise SpecError(text, hint=f"known: {', '.join(known) or 'none'}")
    return next(m for m in inner if m.name == named)


def with_capacity(machine: Architecture, memory: str, capacity: int) -> Architecture:
    """Return the machine with another capacity of a memory, but the same energy per access.

    Parameters
    ----------
    memory : str
        Memory of limited size.
    capacity : int
        Capacity in bytes.
    """
    memories = tuple(
        replace(m, capacity_bytes=capacity, billed_bytes=m.billed_bytes or m.capacity_bytes)
        if m.name == memory
        else m
        for m in machine.memories
    )
    return replace(machine, memories=memories)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A mapping on a Pareto front."""

    mapping: Mapping
    result: Result
    """Engine result of one run of the part; on a workload's front, that of the whole workload."""
    cycles: float
    energy_pj: float
    bound_pj: float = 0.0
    """Lower bound of the energy, in pJ, of all mappings at least as fast and with no larger
    footprint."""
    held_bytes: float | None = None
    """Footprint in the chosen memory; None on a front of two objectives."""

    @classmethod
    def of(cls, mapping: Mapping, result: Result) -> FrontPoint:
        """Return the point of a mapping, with the latency and energy of its result."""
        cycles, energy = (OBJECTIVES[name].of(result) for name in ("latency", "energy"))
        return cls(mapping=mapping, result=result, cycles=cycles, energy_pj=energy)

    @property
    def gap(self) -> float:
        """Largest share of energy that an equally fast mapping with no larger footprint could
        save."""
        return max(0.0, 1 - self.bound_pj / self.energy_pj)

    def to_dict(self) -> dict[str, Any]:
        """Return the point as ``archsim map --pareto --json`` prints it."""
        return {
            "cycles": self.result.cycles,
            "latency_s": self.result.latency_s,
            "energy_pj": self.result.energy_pj,
            "traffic_bytes": self.result.traffic_bytes,
            **({} if self.held_bytes is None else {"held_bytes": self.held_bytes}),
            "gap": self.gap,
            "bound_energy_pj": self.result.energy_pj * (1 - self.gap),
            "mapping_spec": {"mapping": mapping_dict(self.mapping)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Pareto front of latency, energy and optionally the footprint in one memory."""

    points: tuple[FrontPoint, ...]
    """Points, fastest first. With two objectives, each needs less energy than the one before."""
    least: tuple[Certificate, Certificate]
    """Certificates of the ends of the front: least latency and least energy."""
    searches: int
    """Number of searches other than those for the two ends."""
    runs: int
    """Number of mappings that the engine ran."""
    tolerance: float
    """Share of the energy that a slower point must save to be a point of its own."""
    ended: str = ""
    """Reason why the search ended early; empty if it was complete."""
    memory: str = ""
    """Memory whose footprint is the third objective; empty with two objectives."""

    @property
    def workload(self) -> str:
        """Name of the workload."""
        return self.points[0].result.workload

    @property
    def architecture(self) -> str:
        """Name of the machine."""
        return self.points[0].result.architecture

    @property
    def least_energy_pj(self) -> float:
        """Least energy of all points, in pJ."""
        return min(point.result.energy_pj for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """Return the front as ``archsim map --pareto --json`` prints it."""
        latency, energy = self.least
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "pareto": ["latency", "energy", *(("buffer",) if self.memory else ())],
            **({"memory": self.memory} if self.memory else {}),
            "points": [point.to_dict() for point in self.points],
            "least_latency": latency.to_dict(),
            "least_energy": energy.to_dict(),
            "searches": self.searches,
            "engine_runs": self.runs,
            "tolerance": self.tolerance,
            **({"ended": self.ended} if self.ended else {}),
        }


def non_dominated(points: Sequence[FrontPoint], tolerance: float) -> tuple[FrontPoint, ...]:
    """Return the points on the Pareto front of latency and energy, fastest first.

    Parameters
    ----------
    tolerance : float
        Share of the energy that a slower point has to save.
    """
    costs = [(point.cycles, point.energy_pj) for point in points]
    return tuple(points[n] for n in undominated(costs, (0.0, tolerance)))


NAME = "best-below"
"""Name of all mappings that searches under a cap find."""


@dataclass(frozen=True, slots=True)
class _FrontGap:
    """Gap between two neighbouring points of a front.

    No mapping found so far has at most ``cycles`` and less energy than ``energy_pj``. The slower
    neighbour has ``to_cycles`` and ``to_energy_pj``.
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


class _EpsilonConstraintSearch:
    """Search of one Pareto front by epsilon constraint."""

    def __init__(self, problem: SearchProblem, effort: Effort, *, relaxed: bool) -> None:
        self.problem, self.effort, self.relaxed = problem, effort, relaxed
        self.space: Mapspace = problem.space
        self.known = TableMemo()
        self.whole: dict[RegionKey, Region] = {}
        self.points: list[FrontPoint] = []
        self.engine_runs = self.searches = 0
        self.is_over: Callable[[], bool] = never
        self.proven: list[tuple[float, float]] = []
        """Pairs of a cap in cycles and a lower bound, in pJ, of the energy under this cap."""

    def run(self, advance: Advance, clock: Clock) -> Front:
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
        tolerance = self.problem.tolerance
        return Front(
            points=tuple(
                replace(point, bound_pj=max(b for cap, b in self.proven if point.cycles <= cap))
                for point in evenly_spaced(non_dominated(self.points, tolerance))
            ),
            least=(first.certificate, second.certificate),
            searches=self.searches,
            runs=self.engine_runs,
            tolerance=tolerance,
            ended=ended,
        )

    def _least_energy(self, known: EngineRun, advance: Advance, clock: Clock) -> Searched:
        """Search the least energy, also on arrays that are too slow to matter for latency."""
        found = self._end("energy", advance, clock.share(2), known)
        aside = any(region.leaves_aside for region in self.space.regions(1))
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
        """Search the end of least latency or least energy, and keep its cost tables.

        ``slow`` is the field of the mapspace.
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
        search = BranchAndBound(problem, effort, relaxed=self.relaxed, tables=self.known)
        found = search.run(advance)
        self.engine_runs += found.certificate.runs
        self._keep(_run_of(found, name))
        if found.certificate.ended == INTERRUPTED:
            # Regions that are left were not recorded.
            return found
        if name == "latency" and self._settle(found, search, advance):
            found = replace(found, certificate=replace(found.certificate, ended=INTERRUPTED))
        unfinished = {one.region.number for one in search.left}
        for opened in search.opened:
            if opened.number not in unfinished:
                self.whole[opened.region.key] = opened.region
        return found

    def _settle(self, first: Searched, before: BranchAndBound, advance: Advance) -> bool:
        """Search the least energy of mappings as fast as the fastest; return True if interrupted.

        The searches for both ends may have skipped the subspaces of these mappings.
        """
        if not self.effort.again or first.certificate.ended:
            return False
        cap = first.certificate.value * (1 + self.problem.tolerance)
        search = before.tie_search(_run_of(first, "energy"), cap, relaxed=self.relaxed)
        found = search.run(advance)
        self.engine_runs += found.certificate.runs
        self._keep(_run_of(found, "energy"))
        return found.certificate.ended == INTERRUPTED

    def _as_known(self, found: Searched) -> Searched:
        """Return the search for the least latency as if it were the search for the least energy."""
        energy = OBJECTIVES["energy"]
        value, floor = energy.of(found.result), energy.floor(found.result)
        certificate = replace(found.certificate, objective="energy", floor=floor)
        return replace(found, certificate=certificate.bounded(value, floor))

    def _between(
        self, first: Searched, second: Searched, advance: Advance, is_over: Callable[[], bool]
    ) -> str:
        """Halve gaps of the front, the largest first; return the reason of an early end."""
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
                    return TIME_LIMIT
                gaps += self._halved(gap)
                advance(1)
        except KeyboardInterrupt:
            return INTERRUPTED
        return ""

    def _halved(self, gap: _FrontGap) -> tuple[_FrontGap, ...]:
        """Search under a latency in the middle of a gap, and return the two smaller gaps that are
        left."""
        # The middle is a geometric mean, as areas are of ratios: 200 between 100 and 400 cycles. If
        # the point found takes 150 cycles, a gap from 100 to 150 is left, and from 150 to 200 no
        # mapping takes less energy.
        middle = sqrt(gap.cycles * gap.to_cycles)
        found = self._least(ENERGY, middle)
        before = _FrontGap(gap.cycles, gap.energy_pj, found.cycles, found.energy_pj)
        return before, _FrontGap(middle, found.energy_pj, gap.to_cycles, gap.to_energy_pj)

    def _least(self, objective: int, cap: float) -> FrontPoint:
        """Return the best point under a cap: least energy for a latency cap, or vice versa.

        All points so far are compared, and promising mappings from the cost tables are run.
        """
        self.searches += 1
        best = self._best(objective, cap)
        limit = best.energy_pj if objective == ENERGY else best.cycles
        found, least = proposals_below(
            self.known, objective, limit=limit, cap=cap, is_over=self.is_over
        )
        if objective == ENERGY and not self.relaxed:
            self.proven.append((cap, self._proven(cap, least)))
        for one, region, subspace in found[: policy.MAX_RUNS_PER_SEARCH]:
            if one.value < limit * (1 - self.problem.tolerance):
                self.engine_runs += 1
                with suppress(MappingError):
                    mapping = one.mapping(region, subspace, NAME)
                    self._keep(run_mapping(region, mapping, OBJECTIVES["energy"]))
        return self._best(objective, cap)

    def _best(self, objective: int, cap: float) -> FrontPoint:
        names = ("energy_pj", "cycles") if objective == ENERGY else ("cycles", "energy_pj")
        able = [p for p in self.points if getattr(p, names[1]) <= cap]
        return min(able, key=attrgetter(*names))

    def _proven(self, cap: float, least: float) -> float:
        """Return a lower bound of the energy under a cap of latency; 0 if nothing is proven.

        The bound is valid if every region that may be as fast was searched completely. The arrays
        left out of these regions must be slower than the cap.
        """
        whole = [*self.whole.values()]
        aside = min((region.slower for region in whole), default=inf)
        return least if min(aside, self.space.bound_outside(whole)) > cap else 0.0

    def _keep(self, run: EngineRun) -> None:
        self.points.append(FrontPoint.of(run.mapping, run.result))


def _run_of(found: Searched, name: str) -> EngineRun:
    return EngineRun.of(OBJECTIVES[name], found.mapping, found.result)


def evenly_spaced(points: tuple[FrontPoint, ...]) -> tuple[FrontPoint, ...]:
    """Return at most ``MAX_POINTS`` points of a front, including both ends.

    Of the two neighbours that differ least in energy, the slower one is dropped first.

    Parameters
    ----------
    points : tuple of FrontPoint
        Points of a front, fastest first.
    """
    found = [*points]
    while len(found) > policy.MAX_POINTS:
        inner = range(1, len(found) - 1)
        found.pop(min(inner, key=lambda n: found[n - 1].energy_pj - found[n].energy_pj))
    return tuple(found)


def pareto_front(
    problem: SearchProblem, advance: Advance, clock: Clock, *, effort: Effort = policy.EFFORT
) -> Front:
    """Search the Pareto front of a mapspace, by itself or through its relaxations.

    Parameters
    ----------
    problem : SearchProblem
        Its objective does not matter; its incumbents are points of the front like others.
    clock : Clock
        Time that all relaxations share.
    effort : Effort
        Effort of the search for each end.

    Raises
    ------
    NoLegalMappingError, MappingError
        As ``exhaustive``; or no mapping is known, and no lifted one is legal.
    """
    query = _FrontQuery(problem, advance, clock, effort)
    return query.answer() if query.is_done() else answer(query)


class _FrontQuery(Query[Front]):
    """Query for the Pareto front of latency and energy."""

    def __init__(
        self, problem: SearchProblem, advance: Advance, clock: Clock, effort: Effort
    ) -> None:
        super().__init__(problem.space, family_of(problem.space))
        self.problem, self.advance, self.clock, self.effort = problem, advance, clock, effort
        known = () if problem.known is None else (problem.known,)
        self.points = [FrontPoint.of(run.mapping, run.result) for run in (*known, *problem.others)]
        self.fronts: list[Front] = []
        self.tried = 0

    def enumerated(self) -> Front:
        """Return the front if the mapspace itself is enumerated."""

        def searched(aside: bool) -> Front:
            search = _EpsilonConstraintSearch(self.problem, self.effort, relaxed=aside)
            return search.run(self.advance, self.clock)

        return in_batches(self.problem, searched)

    def is_done(self) -> bool:
        """Return whether to stop: after an interrupt, when time is up and there is a point, or if
        both ends match those of the relaxations."""
        if self.ended == INTERRUPTED:
            return True
        if self.points and self.clock.is_over():
            self.ended = TIME_LIMIT
            return True
        if not (self.family.good_enough and self.fronts and self.points):
            return False
        relaxed = [point for front in self.fronts for point in front.points]
        return all(
            min(map(cost, self.points)) <= self.family.good_enough * min(map(cost, relaxed))
            for cost in (attrgetter("cycles"), attrgetter("energy_pj"))
        )

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search the front of a relaxation, and run its lifted points on the machine itself."""
        known = first_incumbent(relaxation.space, self.problem)
        problem = replace(self.problem, space=relaxation.space, known=known, others=())
        found = pareto_front(problem, self.advance, self.clock.part(left), effort=self.effort)
        self.fronts.append(found)
        self.ended = found.ended or self.ended
        lifted = chain.from_iterable(relaxation.lift(point.mapping) for point in found.points)
        for mapping in dict.fromkeys(lifted):
            self.tried += 1
            try:
                run = run_mapping(self.space, mapping, OBJECTIVES["latency"])
            except InputError as wrong:
                self.refused.append(wrong)
            else:
                self.legal += 1
                self.points.append(FrontPoint.of(mapping, run.result))

    def answer(self) -> Front:
        """Return the front of all lifted mappings; its energy bound is the machine's floor."""
        if not self.points:
            raise infeasible_relaxations(self.space, self.refused)
        energy, tolerance = OBJECTIVES["energy"], self.problem.tolerance
        points = tuple(
            replace(point, bound_pj=energy.floor(point.result))
            for point in evenly_spaced(non_dominated(self.points, tolerance))
        )
        return Front(
            points=points,
            least=(self._end(0, points[0]), self._end(1, points[-1])),
            searches=sum(front.searches for front in self.fronts),
            runs=self.tried + sum(front.runs for front in self.fronts),
            tolerance=tolerance,
            ended=self.ended,
        )

    def _end(self, number: int, point: FrontPoint) -> Certificate:
        """Return the certificate of an end of the front: least latency (0) or least energy (1)."""
        return relaxed_certificate(
            replace(self.problem, objective=OBJECTIVES[AXES[number]]),
            point.result,
            [front.least[number] for front in self.fronts],
            where=self.family.label,
            runs=self.tried,
            ended=self.ended,
        )


def footprint_front(
    problem: SearchProblem,
    memory: str,
    space_on: Callable[[Architecture], Mapspace],
    advance: Advance,
    clock: Clock,
    first: Front,
) -> Front:
    """Search the Pareto front of latency, energy and the footprint in one memory.

    Further fronts of latency and energy are searched with less and less capacity. Each gets a
    fraction of the capacity that the one before used.

    Parameters
    ----------
    problem : SearchProblem
        Problem on the machine as it is.
    memory : str
        Memory of limited size.
    space_on : callable
        Returns the mapspace on another machine.
    clock : Clock
        Time for the fronts with less of the memory.
    first : Front
        Front of the machine as it is.
    """
    fronts, ended = [first], first.ended
    points = last = [_with_footprint(point, point.result, memory) for point in first.points]
    while len(fronts) <= policy.MAX_SMALLER_CAPACITIES and ended != INTERRUPTED:
        held = int(max(point.held_bytes or 0.0 for point in last))
        capacity = held // policy.CAPACITY_DIVISOR
        part = clock.part(policy.MAX_SMALLER_CAPACITIES + 1 - len(fronts))
        if capacity < 1 or clock.is_over():
            ended = TIME_LIMIT if capacity else ended
            break
        try:
            space = space_on(with_capacity(problem.space.architecture, memory, capacity))
            smaller = replace(problem, space=space, known=None, others=())
            found = pareto_front(smaller, advance, part, effort=policy.LEAN_EFFORT)
        except InputError:
            break  # no mapping fits so little capacity
        except KeyboardInterrupt:
            ended = INTERRUPTED  # the points so far are the answer
            break
        fronts.append(found)
        ended = found.ended or ended
        last = []
        for point in found.points:
            # The footprint counts on the machine as it is.
            run = run_mapping(problem.space, point.mapping, OBJECTIVES["latency"])
            last.append(_with_footprint(point, run.result, memory))
        points = [*points, *last]
    return replace(
        first,
        points=non_dominated_in_three(points, problem.tolerance),
        searches=sum(front.searches for front in fronts) + 2 * (len(fronts) - 1),
        runs=sum(front.runs for front in fronts),
        ended=ended,
        memory=memory,
    )


def _with_footprint(point: FrontPoint, result: Result, memory: str) -> FrontPoint:
    """Return a point with another result, and with that result's footprint in a memory."""
    footprint = next(b.required_bytes for b in result.buffers if b.level == memory)
    own = FrontPoint.of(point.mapping, result)
    return replace(own, bound_pj=point.bound_pj, held_bytes=footprint)


def non_dominated_in_three(
    points: Sequence[FrontPoint], tolerance: float
) -> tuple[FrontPoint, ...]:
    """Return the points on the Pareto front of three objectives, fastest first.

    If more than ``MAX_POINTS_IN_THREE`` are left, the required differences are doubled again and
    again.

    Parameters
    ----------
    tolerance : float
        Share by which another point has to be better in latency or energy.
    """
    costs = [(p.cycles, p.energy_pj, p.held_bytes or 0.0) for p in points]
    saves = policy.MIN_FOOTPRINT_SAVING
    found = undominated(costs, (tolerance, tolerance, saves))
    while len(found) > policy.MAX_POINTS_IN_THREE:
        saves *= 2
        tolerance *= 2
        found = undominated(costs, (tolerance, tolerance, saves))
    return tuple(points[n] for n in found)


AXES = ("latency", "energy")
"""Names of the objectives that every front has."""

OPTION = "--pareto"


def axes_called(text: str, architecture: Architecture) -> str:
    """Return the memory that ``--pareto`` names besides latency and energy; empty if none.

    Parameters
    ----------
    text : str
        ``latency,energy`` in any order, and perhaps ``buffer`` or a memory of the machine.

    Raises
    ------
    SpecError
        Latency or energy is missing, or another name is unknown; suggests the nearest.
    """
    names = [name.strip() for name in text.split(",")]
    others = [name for name in names if name not in AXES]
    known = (*AXES, BUFFER, *(m.name for m in architecture.memories))
    for name in others:
        if name not in known and memory_in_role(architecture, name) is None:
            raise SpecError(f"{OPTION}: there is no axis '{name}'; {did_you_mean(name, known)}")
    if sorted(set(names) & set(AXES)) != sorted(AXES) or len(names) != 2 + len(others[:1]):
        why = f"{OPTION} {text}: a front is of latency and energy, and of one memory if you like"
        raise SpecError(why, hint="write latency,energy or latency,energy,buffer")
    return limited_memory(architecture, others[0], OPTION).name if others else ""


@infrequent_collection()
def search_front(
    workload: Workload,
    architecture: Architecture,
    *,
    tolerance: float = TOLERANCE,
    progress: ProgressOfParts = quiet,
    start: Sequence[Mapping] = (),
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
    memory: str = "",
) -> Front:
    """Search the mappings for which no other mapping is both faster and needs less energy.

    Parameters
    ----------
    tolerance : float
        Share by which energies have to differ to be two points.
    progress : callable
        As for ``search_workload``.
    start : sequence of Mapping
        Mappings to begin with.
    time_limit_s : float, optional
        Time limit in seconds: a third for each end, and half of all for less memory.
    constraints : sequence of ConstraintFile
        Constraints on all mappings.
    memory : str
        Memory of limited size whose footprint is the third objective; none if empty.

    Raises
    ------
    SpecError
        The workload has several parts, or something named does not exist.
    MappingError
        As ``search_workload``.
    """
    clock = Clock(time_limit_s)
    part = only_part(workload, "a front")
    check_start(workload, start)
    on = partial(space_of, part, constraints=constraints)
    problem = SearchProblem(on(architecture), objective_called("latency"), tolerance=tolerance)
    limited = replace(problem, known=default_run(part, problem), is_over=clock.share(2))
    known = incumbents_of(part, limited, start, sparing=False)
    ended = TIME_LIMIT if limited.is_over() else ""
    problem = replace(problem, known=known.best, others=known.others)
    fronts = policy.MAX_SMALLER_CAPACITIES + 1 if memory else 1
    advance = progress(
        part.name, round(2 * policy.EFFORT.subspaces * fronts + policy.MAX_CAPPED_SEARCHES)
    )
    found = pareto_front(problem, advance, clock.part(2) if memory else clock)
    if memory:
        found = footprint_front(problem, memory, on, advance, clock, found)
    points: list[FrontPoint] = []
    for number, point in enumerate(found.points, start=1):
        mapping = point.mapping
        if mapping.name.startswith("best-"):
            mapping = replace(mapping, name=f"front-{number}", cascade=part.cascade)
        jobs = plan(workload, architecture, ByPart((mapping,)), generators=GENERATORS)
        points.append(replace(point, mapping=mapping, result=run_plan(jobs)))
    return replace(found, points=tuple(points), ended=found.ended or ended)
