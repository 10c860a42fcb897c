"""The capacity curve of a memory for a workload of one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event

from archsim.jobs.plan import plan
from archsim.jobs.run import run_plan
from archsim.jobs.selection import ByPart
from archsim.jobs.workload import PartLike, WorkloadLike
from archsim.result.record import Result
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import NoLegalMappingError

from .capacity import CapacityCurves, CapacityPoint, CapacitySeries
from .certificate import INTERRUPTED, TIME_LIMIT
from .constraint_files import ConstraintFile
from .exhaustive.curve import KINDS, CapacityRun, with_capacity
from .exhaustive.team import Team, usual_workers
from .garbage import seldom_collected
from .generators import GENERATORS
from .limited import limited_memory
from .part_space import space_of
from .protocol import Advance, Clock, never, silent
from .space.constraints import Constraints, IsKept, IsShared, MappingConstraint
from .space.mapspace import Mapspace
from .wide_curve import curve_on
from .workload_search import ProgressOfParts, only_part, quiet

LEAST, MOST = 1 << 10, 1 << 26
"""Bytes: from 1 KiB to 64 MiB, or to four times what the machine has."""

STEPS = 300
"""Subspaces that a progress bar counts, about."""


@seldom_collected()
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
        found = curve_on(
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
        team = Team(self, 1, at_once=True)
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
