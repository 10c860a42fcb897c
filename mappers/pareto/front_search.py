"""Pareto front of a workload of one part: latency, energy, footprint in a memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from archsim.dominance import undominated
from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import InputError, Problem, SpecError, did_you_mean
from workloads.workload import Workload

from ..construct.generators import GENERATORS
from ..exact.policy import Effort
from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Searched
from ..problem.engine_run import run_mapping
from ..problem.incumbents import incumbents_of
from ..problem.objectives import OBJECTIVES, objective_called
from ..problem.part_space import check_start, only_part, space_of
from ..problem.protocol import (
    TOLERANCE,
    Advance,
    Clock,
    ProgressOfParts,
    SearchProblem,
    infrequent_collection,
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
from . import policy
from .capacity import BUFFER, limited_memory
from .capacity_sweep import with_capacity
from .epsilon_constraint import epsilon_constraint_front, spread_out
from .front import Front, FrontPoint, FrontRun, FrontSearched, non_dominated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..problem.constraint_files import ConstraintFile


def pareto_front(
    problem: SearchProblem, advance: Advance, clock: Clock, *, effort: Effort = policy.EFFORT
) -> FrontSearched:
    """Search the front of latency and energy of a mapspace, or of its relaxations.

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
        As ``epsilon_constraint_front``; or no mapping is known, and no lifted one is legal.
    """
    return answer(_FrontQuery(problem, advance, clock, effort))


class _FrontQuery(Query[FrontSearched]):
    """Query for the front of latency and energy."""

    def __init__(
        self, problem: SearchProblem, advance: Advance, clock: Clock, effort: Effort
    ) -> None:
        super().__init__(problem.space, family_of(problem.space))
        self.problem, self.advance, self.clock, self.effort = problem, advance, clock, effort
        known = () if problem.known is None else (problem.known,)
        self.runs = [FrontRun.of(run.mapping, run.result) for run in (*known, *problem.others)]
        self.fronts: list[FrontSearched] = []
        self.tried = 0

    def enumerated(self) -> FrontSearched:
        """Return the front of the mapspace itself."""
        return epsilon_constraint_front(
            self.problem, self.advance, clock=self.clock, effort=self.effort
        )

    def is_done(self) -> bool:
        """Return whether it was interrupted, or both ends are about as good as the relaxations'."""
        if self.ended == INTERRUPTED:
            return True
        if not (self.family.good_enough and self.fronts and self.runs):
            return False
        relaxed = [run for front in self.fronts for run in front.runs]
        return all(
            min(map(cost, self.runs)) <= self.family.good_enough * min(map(cost, relaxed))
            for cost in (attrgetter("cycles"), attrgetter("energy_pj"))
        )

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search the front of a relaxation, and run its points on the machine."""
        known = first_incumbent(relaxation.space, self.problem)
        problem = replace(self.problem, space=relaxation.space, known=known, others=())
        found = pareto_front(problem, self.advance, self.clock.part(left), effort=self.effort)
        self.fronts.append(found)
        self.ended = found.ended or self.ended
        lifted = chain.from_iterable(relaxation.lift(run.mapping) for run in found.runs)
        for mapping in dict.fromkeys(lifted):
            self.tried += 1
            try:
                run = run_mapping(self.space, mapping, OBJECTIVES["latency"])
            except InputError as wrong:
                self.refused.append(wrong)
            else:
                self.legal += 1
                self.runs.append(FrontRun.of(mapping, run.result))

    def answer(self) -> FrontSearched:
        """Return the front; its lower bound is the floor of any mapping."""
        if not self.runs:
            raise infeasible_relaxations(self.space, self.refused)
        energy = OBJECTIVES["energy"]
        runs = tuple(
            replace(run, bound_pj=energy.floor(run.result))
            for run in spread_out(non_dominated(self.runs, self.problem.tolerance))
        )
        return FrontSearched(
            runs=runs,
            least=(self._end(0, runs[0]), self._end(1, runs[-1])),
            searches=sum(front.searches for front in self.fronts),
            engine_runs=self.tried + sum(front.engine_runs for front in self.fronts),
            ended=self.ended,
        )

    def _end(self, number: int, run: FrontRun) -> Searched:
        """Return the end of least latency (0) or of least energy (1)."""
        certificate = relaxed_certificate(
            replace(self.problem, objective=OBJECTIVES[AXES[number]]),
            run.result,
            [front.least[number].certificate for front in self.fronts],
            where=self.family.label,
            runs=self.tried,
            ended=self.ended,
        )
        return Searched(mapping=run.mapping, result=run.result, certificate=certificate)


def footprint_front(
    problem: SearchProblem,
    memory: str,
    space_on: Callable[[Architecture], Mapspace],
    advance: Advance,
    clock: Clock,
    first: FrontSearched,
) -> FrontSearched:
    """Search the front of latency, energy and the footprint in one memory.

    Each further front of two is searched with a fraction of the capacity that the last one used.

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
    first : FrontSearched
        Front of the machine as it is.
    """
    fronts, ended = [first], first.ended
    runs = last = [_with_footprint(run, run.result, memory) for run in first.runs]
    while len(fronts) <= policy.MAX_SMALLER_CAPACITIES and ended != INTERRUPTED:
        held = int(max(run.footprint_bytes or 0.0 for run in last))
        capacity = held // policy.CAPACITY_DIVISOR
        part = clock.part(policy.MAX_SMALLER_CAPACITIES + 1 - len(fronts))
        if capacity < 1 or clock.share(1)():
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
        last = [_with_footprint(run, _result_on(problem.space, run), memory) for run in found.runs]
        runs = [*runs, *last]
    return FrontSearched(
        runs=non_dominated_in_three(runs, problem.tolerance),
        least=first.least,
        searches=sum(front.searches for front in fronts) + 2 * (len(fronts) - 1),
        engine_runs=sum(front.engine_runs for front in fronts),
        ended=ended,
    )


def _result_on(space: Mapspace, run: FrontRun) -> Result:
    """Return the result on the machine as it is: a mapping that fits less capacity fits more."""
    return run_mapping(space, run.mapping, OBJECTIVES["latency"]).result


def _with_footprint(run: FrontRun, result: Result, memory: str) -> FrontRun:
    """Return a run with a result and its footprint in a memory."""
    footprint = next(b.required_bytes for b in result.buffers if b.level == memory)
    own = FrontRun.of(run.mapping, result)
    return replace(own, bound_pj=run.bound_pj, footprint_bytes=footprint)


def non_dominated_in_three(runs: Sequence[FrontRun], tolerance: float) -> tuple[FrontRun, ...]:
    """Return the runs on a front of three objectives, fastest first.

    Points have to differ by twice as much until at most ``MAX_POINTS_IN_THREE`` are left.

    Parameters
    ----------
    tolerance : float
        Share by which another point has to be better in latency or energy.
    """
    costs = [(run.cycles, run.energy_pj, run.footprint_bytes or 0.0) for run in runs]
    saves = policy.MIN_FOOTPRINT_SAVING
    found = undominated(costs, (tolerance, tolerance, saves))
    while len(found) > policy.MAX_POINTS_IN_THREE:
        saves *= 2
        tolerance *= 2
        found = undominated(costs, (tolerance, tolerance, saves))
    return tuple(runs[n] for n in found)


AXES = ("latency", "energy")
"""Objectives of every front."""

OPTION = "--pareto"


def axes_called(text: str, architecture: Architecture) -> str:
    """Return the memory that ``--pareto`` names besides latency and energy; empty if there is
    none.

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
        raise SpecError(Problem(why, hint="write latency,energy or latency,energy,buffer"))
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
    """Search mappings of which none is both faster and of less energy than another.

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
    part = only_part(workload, "a front")
    check_start(workload, start)
    on = partial(space_of, part, constraints=constraints)
    problem = SearchProblem(on(architecture), objective_called("latency"), tolerance=tolerance)
    known = incumbents_of(part, problem, start, sparing=False)
    problem = replace(problem, known=known.best, others=known.others)
    fronts = policy.MAX_SMALLER_CAPACITIES + 1 if memory else 1
    advance = progress(
        part.name, round(2 * policy.EFFORT.subspaces * fronts + policy.MAX_CAPPED_SEARCHES)
    )
    clock = Clock(time_limit_s)
    found = pareto_front(problem, advance, clock.part(2) if memory else clock)
    if memory:
        found = footprint_front(problem, memory, on, advance, clock, found)
    run = partial(_run, workload, architecture)
    points = tuple(_point(r, run, n, part.cascade) for n, r in enumerate(found.runs, start=1))
    return Front(
        workload=points[0].result.workload,
        architecture=points[0].result.architecture,
        points=points,
        least=(found.least[0].certificate, found.least[1].certificate),
        searches=found.searches,
        runs=found.engine_runs,
        tolerance=tolerance,
        ended=found.ended,
        memory=memory,
    )


def _point(
    found: FrontRun, run: Callable[[Mapping], Result], number: int, cascade: str
) -> FrontPoint:
    """Return a point of a workload's front; a mapping that was searched is named by its number."""
    mapping = found.mapping
    if mapping.name.startswith("best-"):
        mapping = replace(mapping, name=f"front-{number}", cascade=cascade)
    return FrontPoint(
        mapping=mapping,
        result=run(mapping),
        gap=max(0.0, 1 - found.bound_pj / found.energy_pj),
        held_bytes=found.footprint_bytes,
    )


def _run(workload: Workload, architecture: Architecture, mapping: Mapping) -> Result:
    return run_plan(plan(workload, architecture, ByPart((mapping,)), generators=GENERATORS))
