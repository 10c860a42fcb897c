"""Capacity curve of a memory for a workload of one part, on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event

from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.plan.workload import PartLike, WorkloadLike
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError, NoLegalMappingError

from ..construct.generators import GENERATORS
from ..exact.branch_and_bound import in_batches
from ..exact.process_pool import ProcessPool, usual_workers
from ..problem.certificate import INTERRUPTED, TIME_LIMIT
from ..problem.constraint_files import ConstraintFile
from ..problem.engine_run import EngineRun
from ..problem.objectives import objective_called
from ..problem.part_space import space_of
from ..problem.protocol import Advance, Clock, SearchProblem, infrequent_collection, never, silent
from ..relax.chain import chain_relaxations
from ..relax.multi_core import core_relaxations
from ..relax.relaxation import Relaxation
from ..space.constraints import Constraints, IsKept, IsShared, MappingConstraint
from ..space.mapspace import Mapspace
from ..workload_search import ProgressOfParts, only_part, quiet
from .capacity import CapacityCurves, CapacityPoint, CapacitySeries, limited_memory
from .capacity_sweep import KINDS, CapacityCurve, CapacityRun, Kind, least, run_with, with_capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFound:
    """What was found at each capacity, how many mappings the engine ran, and why it ended early."""

    runs: tuple[CapacityRun, ...]
    engine_runs: int
    ended: str


def capacity_curve(
    space: Mapspace,
    memory: str,
    capacities: Sequence[int],
    clock: Clock,
    advance: Advance,
    *,
    is_stopped: Callable[[], bool] = never,
    all_confirmed: bool = False,
) -> CurveFound:
    """The least traffic and energy of a space, or of what stands in for it, at some capacities.

    Parameters
    ----------
    space : Mapspace
        On the machine as it is.
    memory : str
        One of limited size, not the outermost.
    capacities : sequence of int
        In bytes, ascending.
    is_stopped : callable
        Whether somebody cannot wait any longer.
    all_confirmed : bool
        Whether all that was found is confirmed, however long that takes.
    """
    machine = space.architecture
    if machine.has_instances:
        others = [*core_relaxations(space, memory)]
    elif not machine.tree.is_line:
        others = [*chain_relaxations(space, memory)]
    else:
        is_late = never if all_confirmed else clock.late()
        return _enumerated(space, memory, capacities, clock, advance, is_stopped, is_late)
    return _RelaxedCurve(space, memory, capacities).run(others, clock, advance, is_stopped)


def _enumerated(
    space: Mapspace,
    memory: str,
    capacities: Sequence[int],
    clock: Clock,
    advance: Advance,
    is_stopped: Callable[[], bool],
    is_late: Callable[[], bool],
) -> CurveFound:
    """The same where a machine's own mappings are."""
    search = clock.most()
    half, whole = search.share(2), search.share(1)

    def searched(aside: bool) -> CurveFound:
        curve = CapacityCurve(
            space,
            memory,
            capacities,
            is_half_over=half,
            is_over=lambda: whole() or is_stopped(),
            is_late=is_late,
            relaxed=aside,
        )
        runs = curve.run(advance)
        return CurveFound(runs=runs, engine_runs=curve.runs, ended=curve.ended)

    return in_batches(SearchProblem(space, objective_called("energy")), searched)


class _RelaxedCurve:
    """The curve of a machine, and how much was looked at for it."""

    def __init__(self, space: Mapspace, memory: str, capacities: Sequence[int]) -> None:
        self.space, self.memory, self.capacities = space, memory, tuple(capacities)
        self.found: dict[tuple[Kind, int], list[Mapping]] = {}
        self.engine_runs = 0
        self.ended = ""

    def run(
        self,
        others: list[Callable[[], Relaxation]],
        clock: Clock,
        advance: Advance,
        is_stopped: Callable[[], bool],
    ) -> CurveFound:
        """What all that stands in for the machine has to offer, run on it."""
        is_late, search = clock.late(), clock.most()
        is_over = search.share(1)
        try:
            for number, make in enumerate(others):
                if self.ended != INTERRUPTED and not (self.found and (is_stopped() or is_over())):
                    mine = search.part(len(others) - number)
                    self._look_at(make, mine, advance, is_stopped)
        except KeyboardInterrupt:
            self.ended = INTERRUPTED
        runs = tuple(self._confirmed(is_late))
        if not runs and self.ended == TIME_LIMIT:
            # Of what there was time for nothing is legal here; of the rest something may be.
            for make in others:
                self._look_at(make, Clock(0.0), advance, is_stopped, all_confirmed=True)
            runs = tuple(self._confirmed(is_late))
        return CurveFound(runs=runs, engine_runs=self.engine_runs, ended=self.ended)

    def _look_at(
        self,
        make: Callable[[], Relaxation],
        clock: Clock,
        advance: Advance,
        is_stopped: Callable[[], bool],
        *,
        all_confirmed: bool = False,
    ) -> None:
        """The curve of a stand-in; what shares the memory with others has its share of it."""
        try:
            other = make()
            # From the largest on, so that of several with one share (of 1 B, say) the smallest is
            # left.
            of_share = {max(1, c // other.share): c for c in self.capacities[::-1]}
            found = capacity_curve(
                other.space,
                self.memory,
                sorted(of_share),
                clock,
                advance,
                is_stopped=is_stopped,
                all_confirmed=all_confirmed,
            )
        except InputError:
            return  # others may do
        self.engine_runs += found.engine_runs
        self.ended = found.ended or self.ended
        for run in found.runs:
            here = self.found.setdefault((run.kind, of_share[run.capacity_bytes]), [])
            here += [m for m in other.lifted(run.run.mapping) if m not in here]

    def _confirmed(self, is_late: Callable[[], bool]) -> Iterator[CapacityRun]:
        """The best at each capacity, run by the engine there. What fits less fits more; late, the
        largest capacities have no points."""
        best: dict[Kind, EngineRun | None] = dict.fromkeys(KINDS)
        fitted: dict[Kind, list[Mapping]] = {kind: [] for kind in KINDS}
        for capacity in self.capacities:
            for kind in KINDS:
                if any(best.values()) and is_late():
                    self.ended = self.ended or TIME_LIMIT
                    return
                if kind == "energy":
                    best[kind] = least(kind, best[kind], best["traffic"])
                for mapping in self.found.get((kind, capacity), []):
                    if mapping not in fitted[kind]:
                        self.engine_runs += 1
                        run = run_with(self.space, self.memory, capacity, mapping)
                        fitted[kind] += [] if run is None else [mapping]
                        best[kind] = least(kind, best[kind], run)
                    if best[kind] is not None and is_late():
                        self.ended = self.ended or TIME_LIMIT
                        break
                if (found := best[kind]) is not None:
                    yield CapacityRun(capacity_bytes=capacity, kind=kind, run=found)


LEAST, MOST = 1 << 10, 1 << 26
"""Bytes: from 1 KiB to 64 MiB, or to four times what the machine has."""

STEPS = 300
"""Subspaces that a progress bar counts, about."""


@infrequent_collection()
def capacity_curves(
    workload: WorkloadLike,
    architecture: Architecture,
    memory: str,
    *,
    progress: ProgressOfParts = quiet,
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
) -> CapacityCurves:
    """Least traffic and least energy with 1 KiB of a memory, 2 KiB, and so on.

    Parameters
    ----------
    memory : str
        Its name or role. Of limited size, and not the outermost.
    progress : callable
        As for ``search_workload``.
    time_limit_s : float, optional
        Seconds after which what is found has to do.
    constraints : sequence of ConstraintFile
        What all mappings obey.

    Raises
    ------
    SpecError
        There is no such memory, or it has no capacity; the workload has several parts.
    NoLegalMappingError
        Nothing fits, whatever the capacity.
    """
    part = only_part(workload, "a capacity curve")
    level = limited_memory(architecture, memory, "--capacity-curve")
    assert level.capacity_bytes is not None, "as limited_memory says"
    space = space_of(part, architecture, constraints=constraints)
    search = _SeriesSearch(
        workload=workload,
        part=part,
        architecture=architecture,
        memory=level.name,
        capacities=_capacities(level.capacity_bytes),
        spaces=(space, einsum_by_einsum(space)),
        clock=Clock(time_limit_s),
        advance=progress(part.name, STEPS),
    )
    fused, apart = search.both()
    if not fused.series.traffic:
        raise NoLegalMappingError(_nothing_fits(part.name, level.name, fused.ended))
    result = fused.series.traffic[-1].result
    return CapacityCurves(
        workload=result.workload,
        architecture=architecture.name,
        memory=level.name,
        outermost=architecture.home.name,
        own_bytes=level.capacity_bytes,
        capacities=search.capacities,
        bound_bytes=result.bounds.traffic_bytes,
        fused=fused.series,
        einsum_by_einsum=apart.series,
        runs=fused.runs + apart.runs,
        ended=fused.ended or apart.ended,
    )


def _nothing_fits(part: str, memory: str, ended: str) -> str:
    which = f"of {part} that was found in time" if ended else f"of {part}"
    return f"no mapping {which} fits {memory} of up to 64 MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeriesFound:
    """A series, how many mappings the engine ran for it, and why it ended early, if it did."""

    series: CapacitySeries
    runs: int
    ended: str


@dataclass(frozen=True, kw_only=True)
class _SeriesSearch:
    """Finds the two series: fused, and Einsum by Einsum."""

    workload: WorkloadLike
    part: PartLike
    architecture: Architecture
    memory: str
    capacities: tuple[int, ...]
    spaces: tuple[Mapspace, Mapspace]
    clock: Clock
    advance: Advance
    together: bool = field(default_factory=lambda: usual_workers() > 1)
    """Whether they are found at the same time; each has half of the time else."""
    stopped: Event = field(default_factory=lambda: get_context().Event())
    """Set where somebody cannot wait for the other one."""

    def __call__(self, number: int) -> _SeriesFound:
        """One of the two."""
        left = 1 if self.together or number else 2
        clock = self.clock.part(left)
        is_late = clock.late()
        mine = number == 0 or not self.together
        advance = self.advance if mine else silent(STEPS)
        found = capacity_curve(
            self.spaces[number],
            self.memory,
            self.capacities,
            clock.most(),
            advance,
            is_stopped=self.stopped.is_set,
        )
        points = _SeriesPoints(self.workload, self.part, self.architecture, self.memory)
        series = points.series(found.runs, is_late)
        ended = found.ended or points.ended
        return _SeriesFound(series=series, runs=found.engine_runs, ended=ended)

    def both(self) -> tuple[_SeriesFound, _SeriesFound]:
        """The two series; mappings of the second are some of what the first is of."""
        first, second = self._each()
        return replace(first, series=_with(first.series, second.series)), second

    def _each(self) -> tuple[_SeriesFound, _SeriesFound]:
        """The first series here, and the other one after it, or by another process meanwhile."""
        if not self.together:
            return self(0), self(1)
        team = ProcessPool(self, 1, at_once=True)
        try:
            other = team.submit(1)
            team.begin()
            first = self(0)
            if first.ended == INTERRUPTED:
                # Ctrl-C is for this process: what the other one has by now will do.
                self.stopped.set()
            second = team.answer(other, never)
        finally:
            team.close()
        assert second is not None, "it is waited for"
        return first, second


def _with(mine: CapacitySeries, others: CapacitySeries) -> CapacitySeries:
    """A series with the points of another where these are better."""
    return CapacitySeries(
        traffic=_better(mine.traffic, others.traffic, lambda p: p.result.traffic_bytes),
        energy=_better(mine.energy, others.energy, lambda p: p.result.energy_pj),
    )


def _better(
    mine: Sequence[CapacityPoint],
    others: Sequence[CapacityPoint],
    value: Callable[[CapacityPoint], float],
) -> tuple[CapacityPoint, ...]:
    """At each capacity the point of less; of equals mine."""
    found = {point.capacity_bytes: point for point in others}
    for point in mine:
        other = found.get(point.capacity_bytes, point)
        found[point.capacity_bytes] = point if value(point) <= value(other) else other
    return tuple(found[capacity] for capacity in sorted(found))


def _capacities(own: int) -> tuple[int, ...]:
    """Powers of two, and what the machine has."""
    most = max(MOST, 4 * own)
    powers = [LEAST << n for n in range(64) if LEAST << n <= most]
    return tuple(sorted({*powers, own}))


def einsum_by_einsum(space: Mapspace) -> Mapspace:
    """The mappings of a space in which Einsums share no loops but parallel ones, and each
    intermediate goes to the outermost memory."""
    program = space.program
    ranks = dict.fromkeys(v.upper() for e in program.einsums for v in e.variables)
    outermost = space.architecture.home.name
    apart = (IsShared(rank) for rank in ranks if rank not in program.parallel)
    kept = (IsKept(e.name, outermost) for e in program.einsums)
    more = (
        *(MappingConstraint(statement=s, must=False) for s in apart),
        *(MappingConstraint(statement=s, must=True) for s in kept),
    )
    return replace(space, constraints=Constraints((*space.constraints.all, *more)))


class _SeriesPoints:
    """Points of a series: the whole workload under each mapping, which is run once."""

    def __init__(
        self, workload: WorkloadLike, part: PartLike, architecture: Architecture, memory: str
    ) -> None:
        self.workload, self.part = workload, part
        self.architecture, self.memory = architecture, memory
        self.known: dict[Mapping, Result] = {}
        self.ended = ""

    def series(self, runs: Sequence[CapacityRun], is_late: Callable[[], bool]) -> CapacitySeries:
        """Those of what the engine ran, in ascending order of capacities.

        Parameters
        ----------
        is_late : callable
            Whether no mapping is to be run any more, but for a first point.
        """
        points: dict[str, list[CapacityPoint]] = {kind: [] for kind in KINDS}
        for found in runs:
            mapping = replace(found.run.mapping, cascade=self.part.cascade)
            if self.known and mapping not in self.known and is_late():
                self.ended = TIME_LIMIT
                break
            result = self._result(mapping, found.capacity_bytes)
            points[found.kind].append(
                CapacityPoint(capacity_bytes=found.capacity_bytes, mapping=mapping, result=result)
            )
        return CapacitySeries(traffic=tuple(points["traffic"]), energy=tuple(points["energy"]))

    def _result(self, mapping: Mapping, capacity: int) -> Result:
        """What fits less fits more, and is the same there but for what is left of the memory."""
        if mapping not in self.known:
            machine = with_capacity(self.architecture, self.memory, capacity)
            jobs = plan(self.workload, machine, ByPart((mapping,)), generators=GENERATORS)
            self.known[mapping] = run_plan(jobs)
        known = self.known[mapping]
        buffers = (
            replace(b, capacity_bytes=capacity) if b.level == self.memory else b
            for b in known.buffers
        )
        return replace(known, buffers=tuple(buffers))
