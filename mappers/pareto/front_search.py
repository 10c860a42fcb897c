"""Pareto front of a workload of one part: latency, energy, footprint in a memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.plan.workload import WorkloadLike
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import InputError, Problem, SpecError, did_you_mean

from ..construct.generators import GENERATORS
from ..exact.policy import Effort
from ..problem.certificate import INTERRUPTED, TIME_LIMIT, Searched
from ..problem.engine_run import run_mapping
from ..problem.incumbents import incumbents_of
from ..problem.objectives import OBJECTIVES, objective_called
from ..problem.part_space import space_of
from ..problem.protocol import TOLERANCE, Advance, Clock, SearchProblem, infrequent_collection
from ..relax.chain import CHAIN_SUFFIX, chain_relaxations
from ..relax.multi_core import CORE_SUFFIX, core_relaxations
from ..relax.relaxation import (
    Relaxation,
    first_incumbent,
    infeasible_relaxations,
    relaxed_certificate,
)
from ..space.mapspace import Mapspace
from ..workload_search import ProgressOfParts, check_start, only_part, quiet
from .capacity import BUFFER, limited_memory
from .capacity_sweep import with_capacity
from .epsilon_constraint import (
    EFFORT,
    SEARCHES,
    TwoObjectiveFront,
    epsilon_constraint_front,
    spread_out,
)
from .front import Front, FrontPoint, FrontRun, undominated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..problem.constraint_files import ConstraintFile


_AS_PROMISED = 1.05
"""How many times the ends of a line's front those of the machine may be to need no other line."""


def pareto_front(
    problem: SearchProblem, advance: Advance, clock: Clock, *, effort: Effort = EFFORT
) -> TwoObjectiveFront:
    """Latency against energy over a space, or over what stands in for it.

    Parameters
    ----------
    problem : SearchProblem
        Its objective is not looked at; what is known are points of the front like others.
    clock : Clock
        Shared out among all that stands in for the space.
    effort : Effort
        Of the search for each end.

    Raises
    ------
    NoLegalMappingError, MappingError
        As ``epsilon_constraint_front``; or none is known, and none that was brought over is legal.
    """
    space = problem.space
    if space.architecture.has_instances:
        found = _RelaxedFront(problem, CORE_SUFFIX, effort)
        return found.run([*core_relaxations(space)], advance, clock)
    if not space.architecture.tree.is_line:
        found = _RelaxedFront(problem, CHAIN_SUFFIX, effort)
        return found.run([*chain_relaxations(space)], advance, clock)
    return epsilon_constraint_front(problem, advance, clock=clock, effort=effort)


class _RelaxedFront:
    """The front of a machine, and how much was looked at for it.

    Parameters
    ----------
    where : str
        What of the machine is searched, as certificates say it behind the strategy.
    """

    def __init__(self, problem: SearchProblem, where: str, effort: Effort) -> None:
        self.problem, self.where, self.effort = problem, where, effort
        known = () if problem.known is None else (problem.known,)
        self.runs = [FrontRun.of(run.mapping, run.result) for run in (*known, *problem.others)]
        self.fronts: list[TwoObjectiveFront] = []
        self.refused: list[InputError] = []
        self.tried = 0
        self.ended = ""

    def run(
        self, others: list[Callable[[], Relaxation]], advance: Advance, clock: Clock
    ) -> TwoObjectiveFront:
        """The front over all that stands in for the machine."""
        try:
            for number, make in enumerate(others):
                if self.ended != INTERRUPTED and not self._as_promised():
                    self._look_at(make, advance, clock.part(len(others) - number))
        except KeyboardInterrupt:
            # The points so far are what was asked for; without one there is nothing to say.
            if not self.runs:
                raise
            self.ended = INTERRUPTED
        if not self.runs:
            raise infeasible_relaxations(self.problem.space, self.refused)
        return self._found()

    def _look_at(self, make: Callable[[], Relaxation], advance: Advance, clock: Clock) -> None:
        """The front of a stand-in, and its points on the machine."""
        try:
            other = make()
            known = first_incumbent(other.space, self.problem)
            asked = replace(self.problem, space=other.space, known=known, others=())
            found = pareto_front(asked, advance, clock, effort=self.effort)
        except InputError as wrong:
            self.refused.append(wrong)
            return
        self.fronts.append(found)
        self.ended = found.ended or self.ended
        lifted = chain.from_iterable(other.lifted(run.mapping) for run in found.runs)
        for mapping in dict.fromkeys(lifted):
            self.tried += 1
            try:
                run = run_mapping(self.problem.space, mapping, OBJECTIVES["latency"])
            except InputError as wrong:
                self.refused.append(wrong)
                continue
            self.runs.append(FrontRun.of(mapping, run.result))

    def _as_promised(self) -> bool:
        """Whether both ends are nearly as good as in a line: other lines promise no more."""
        if self.where != CHAIN_SUFFIX or not self.fronts or not self.runs:
            return False
        lines = [run for front in self.fronts for run in front.runs]
        return all(
            min(map(of, self.runs)) <= _AS_PROMISED * min(map(of, lines))
            for of in (_cycles, _energy_pj)
        )

    def _found(self) -> TwoObjectiveFront:
        """The front; nothing is proven of it but the floor of any mapping."""
        runs = spread_out(undominated(self.runs, self.problem.tolerance))
        return TwoObjectiveFront(
            runs=runs,
            bounds_pj=tuple(OBJECTIVES["energy"].floor(run.result) for run in runs),
            least=(self._end(0, runs[0]), self._end(1, runs[-1])),
            searches=sum(front.searches for front in self.fronts),
            engine_runs=self.tried + sum(front.engine_runs for front in self.fronts),
            ended=self.ended,
        )

    def _end(self, number: int, run: FrontRun) -> Searched:
        """The least latency, or the least energy."""
        certificate = relaxed_certificate(
            replace(self.problem, objective=OBJECTIVES[("latency", "energy")[number]]),
            run.result,
            [front.least[number].certificate for front in self.fronts],
            where=self.where,
            runs=self.tried,
            ended=self.ended,
        )
        return Searched(mapping=run.mapping, result=run.result, certificate=certificate)


def _cycles(run: FrontRun) -> float:
    return run.cycles


def _energy_pj(run: FrontRun) -> float:
    return run.energy_pj


POINTS = 24
"""Points of a front of three, at the most."""

CAPACITIES = 8
"""Fronts with less of the memory, at the most."""

_LESS = 4
"""How many times less than all mappings of a front hold the next one has."""

_SAVES = 0.1
"""A mapping that is no better otherwise has to hold less by this share."""

LEAN_EFFORT = replace(EFFORT, untimed=8, sketches=2, more_sketches=8, subspaces=24, patience=8)
"""Of each front with less of the memory: there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintRun:
    """A run of a front, and how much of the memory its mapping holds."""

    run: FrontRun
    bound_pj: float
    """What no mapping as fast that holds no more takes less energy than."""
    held_bytes: float | None = None
    """Of the memory, where one is asked about."""

    def point(self, run: Callable[[Mapping], Result], number: int, cascade: str) -> FrontPoint:
        """A point of the front of a workload.

        Parameters
        ----------
        run : callable
            The whole workload under a mapping.
        number : int
            From 1; a mapping that was searched is called by it.
        cascade : str
            As the workload names it.
        """
        mapping = self.run.mapping
        if mapping.name.startswith("best-"):
            mapping = replace(mapping, name=f"front-{number}", cascade=cascade)
        gap = max(0.0, 1 - self.bound_pj / self.run.energy_pj)
        return FrontPoint(mapping=mapping, result=run(mapping), gap=gap, held_bytes=self.held_bytes)

    @property
    def bytes(self) -> float:
        """What it holds; nothing where no memory is asked about."""
        return self.held_bytes or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintFront:
    """What was found with all of the memory and with less of it."""

    runs: tuple[FootprintRun, ...]
    searches: int
    engine_runs: int
    ended: str

    @classmethod
    def of(cls, front: TwoObjectiveFront) -> FootprintFront:
        """A front of two."""
        runs = zip(front.runs, front.bounds_pj, strict=True)
        return cls(
            runs=tuple(FootprintRun(run=r, bound_pj=b) for r, b in runs),
            searches=front.searches,
            engine_runs=front.engine_runs,
            ended=front.ended,
        )


def footprint_front(
    problem: SearchProblem,
    memory: str,
    space_on: Callable[[Architecture], Mapspace],
    advance: Advance,
    clock: Clock,
    first: TwoObjectiveFront,
) -> FootprintFront:
    """A front of latency, energy and what a memory holds.

    Parameters
    ----------
    problem : SearchProblem
        On the machine as it is.
    memory : str
        One of limited size.
    space_on : callable
        The mappings there are on another machine.
    clock : Clock
        For the fronts with less of the memory.
    first : CappedFront
        The front of the machine as it is.
    """
    fronts, ended = [first], first.ended
    runs = last = [*_held(first, memory, lambda run: run)]
    while len(fronts) <= CAPACITIES and ended != INTERRUPTED:
        capacity = int(max(run.bytes for run in last)) // _LESS
        part = clock.part(CAPACITIES + 1 - len(fronts))
        if capacity < 1 or clock.share(1)():
            ended = TIME_LIMIT if capacity else ended
            break
        try:
            space = space_on(with_capacity(problem.space.architecture, memory, capacity))
            asked = replace(problem, space=space, known=None, others=())
            found = pareto_front(asked, advance, part, effort=LEAN_EFFORT)
        except InputError:
            # Nothing fits so little of it.
            break
        except KeyboardInterrupt:
            # The points so far are what was asked for.
            ended = INTERRUPTED
            break
        fronts.append(found)
        ended = found.ended or ended
        last = [*_held(found, memory, lambda run: _on(problem.space, run))]
        runs = [*runs, *last]
    return FootprintFront(
        runs=undominated_in_three(runs, problem.tolerance),
        searches=sum(front.searches for front in fronts) + 2 * (len(fronts) - 1),
        engine_runs=sum(front.engine_runs for front in fronts),
        ended=ended,
    )


def _held(
    front: TwoObjectiveFront, memory: str, of: Callable[[FrontRun], FrontRun]
) -> Iterator[FootprintRun]:
    for run, bound in zip(front.runs, front.bounds_pj, strict=True):
        mine = of(run)
        held = next(b.required_bytes for b in mine.result.buffers if b.level == memory)
        yield FootprintRun(run=mine, bound_pj=bound, held_bytes=held)


def _on(space: Mapspace, run: FrontRun) -> FrontRun:
    """What was found with less of a memory, on the machine as it is: what fits less fits more."""
    again = run_mapping(space, run.mapping, OBJECTIVES["latency"])
    return FrontRun.of(run.mapping, again.result)


def undominated_in_three(
    runs: Iterable[FootprintRun], tolerance: float
) -> tuple[FootprintRun, ...]:
    """The runs that belong on a front of three, fastest first.

    Parameters
    ----------
    runs : iterable of HeldRun
        In any order.
    tolerance : float
        What a mapping has to be better by in latency or energy, as a share, to be another point.
    """
    left = sorted(runs, key=lambda r: (r.run.cycles, r.run.energy_pj, r.bytes))
    saves = _SAVES
    found = _undominated_in_three(left, tolerance, saves)
    while len(found) > POINTS:
        # Fewer points differ by twice as much; in the end there are few enough.
        saves *= 2
        tolerance *= 2
        found = _undominated_in_three(left, tolerance, saves)
    return found


def _undominated_in_three(
    runs: list[FootprintRun], tolerance: float, saves: float
) -> tuple[FootprintRun, ...]:
    found: list[FootprintRun] = []
    for one in runs:
        if any(_no_better(one, other, tolerance, saves) for other in found):
            continue
        # What is slower by next to nothing, and better otherwise, takes the place of others.
        found = [other for other in found if not _as_good(one, other, tolerance)]
        found.append(one)
    return tuple(found)


def _no_better(one: FootprintRun, other: FootprintRun, tolerance: float, saves: float) -> bool:
    """Whether a run that is no faster than another saves neither energy nor memory."""
    return one.run.energy_pj >= other.run.energy_pj * (
        1 - tolerance
    ) and one.bytes >= other.bytes * (1 - saves)


def _as_good(one: FootprintRun, other: FootprintRun, tolerance: float) -> bool:
    """Whether a run is as fast as another to the tolerance, and takes no more of anything."""
    return (
        one.run.cycles <= other.run.cycles * (1 + tolerance)
        and one.run.energy_pj <= other.run.energy_pj
        and one.bytes <= other.bytes
    )


AXES = ("latency", "energy")
"""What every front is of."""

OPTION = "--pareto"


def axes_called(text: str, architecture: Architecture) -> str:
    """The memory that ``--pareto`` names beside latency and energy, if it does.

    Parameters
    ----------
    text : str
        ``latency,energy``, in any order, and perhaps ``buffer`` or a memory of the machine.

    Raises
    ------
    SpecError
        Latency or energy is not there, or something else is; says the nearest.
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
    workload: WorkloadLike,
    architecture: Architecture,
    *,
    tolerance: float = TOLERANCE,
    progress: ProgressOfParts = quiet,
    start: Sequence[Mapping] = (),
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
    memory: str = "",
) -> Front:
    """Mappings of which none is both faster and of less energy than another.

    Parameters
    ----------
    tolerance : float
        Points whose energies differ by no more than this share are one.
    progress : callable
        As for ``search_workload``.
    start : sequence of Mapping
        Mappings to begin with.
    time_limit_s : float, optional
        Seconds after which what is found has to do: a third for each end, half for less memory.
    constraints : sequence of ConstraintFile
        What all mappings obey.
    memory : str
        One of limited size: the front is of what a mapping holds of it, too.

    Raises
    ------
    SpecError
        The workload has several parts; something named does not exist.
    MappingError
        As ``search_workload``.
    """
    part = only_part(workload, "a front")
    check_start(workload, start)
    on = partial(space_of, part, constraints=constraints)
    problem = SearchProblem(on(architecture), objective_called("latency"), tolerance=tolerance)
    known = incumbents_of(part, problem, start, sparing=False)
    problem = replace(problem, known=known.best, others=known.others)
    fronts = CAPACITIES + 1 if memory else 1
    advance = progress(part.name, round(2 * EFFORT.subspaces * fronts + SEARCHES))
    clock = Clock(time_limit_s)
    found = pareto_front(problem, advance, clock.part(2) if memory else clock)
    whole = footprint_front(problem, memory, on, advance, clock, found) if memory else None
    held = whole or FootprintFront.of(found)
    run = partial(_run, workload, architecture)
    points = tuple(one.point(run, number, part.cascade) for number, one in enumerate(held.runs, 1))
    return Front(
        workload=points[0].result.workload,
        architecture=points[0].result.architecture,
        points=points,
        least=(found.least[0].certificate, found.least[1].certificate),
        searches=held.searches,
        runs=held.engine_runs,
        tolerance=tolerance,
        ended=held.ended,
        memory=memory,
    )


def _run(workload: WorkloadLike, architecture: Architecture, mapping: Mapping) -> Result:
    return run_plan(plan(workload, architecture, ByPart((mapping,)), generators=GENERATORS))
