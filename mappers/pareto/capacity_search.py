"""Capacity curve: least traffic and energy of a one-part workload against a memory's capacity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart
from archsim.result.result import Result
from archsim.spec.arch import Architecture, Memory
from archsim.spec.mapping import Mapping
from archsim.spec.roles import memory_called
from einsum_cascade.errors import InputError, NoLegalMappingError, Problem, SpecError, did_you_mean
from workloads.parts.part import Part
from workloads.workload import Workload

from ..construct.generators import GENERATORS
from ..exact.branch_and_bound import in_batches
from ..exact.process_pool import ProcessPool, usual_workers
from ..problem.certificate import INTERRUPTED, TIME_LIMIT
from ..problem.constraint_files import ConstraintFile
from ..problem.engine_run import EngineRun
from ..problem.incumbents import only_part, space_of
from ..problem.objectives import OBJECTIVES
from ..problem.protocol import (
    Advance,
    Clock,
    ProgressOfParts,
    SearchProblem,
    infrequent_collection,
    never,
    quiet,
    silent,
)
from ..relax.relaxation import Query, Relaxation, answer
from ..relax.search import family_of
from ..space.constraints import Constraints, IsKept, IsShared, MappingConstraint
from ..space.mapspace import Mapspace
from .capacity_sweep import (
    KINDS,
    CapacityCurve,
    CapacityPoint,
    CapacitySeries,
    Kind,
    confirmed,
    run_with,
    with_capacity,
)

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
        raise SpecError(Problem(text, hint=f"known: {', '.join(known) or 'none'}"))
    return next(m for m in inner if m.name == named)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurves:
    """Least traffic and least energy of a workload against the capacity of a memory."""

    workload: str
    architecture: str
    memory: str
    outermost: str
    own_bytes: int
    """Capacity of the memory in the machine's description, in bytes."""
    capacities: tuple[int, ...]
    bound_bytes: float
    """Lower bound of the traffic in bytes, which follows from the passes of the cascade."""
    fused: CapacitySeries
    """Curve over all mappings."""
    einsum_by_einsum: CapacitySeries
    """Curve over mappings without shared loops; their intermediates go to the outermost memory."""

    @property
    def runs(self) -> int:
        """Number of mappings that the engine ran."""
        return self.fused.runs + self.einsum_by_einsum.runs

    @property
    def ended(self) -> str:
        """Reason why the search ended early; empty if it was complete."""
        return self.fused.ended or self.einsum_by_einsum.ended

    def to_dict(self) -> dict[str, Any]:
        """Return the curves as ``archsim map --capacity-curve --json`` prints them."""
        return {
            "workload": self.workload,
            "architecture": self.architecture,
            "capacity_curve": self.memory,
            "outermost": self.outermost,
            "own_bytes": self.own_bytes,
            "capacities_bytes": [*self.capacities],
            "bound_traffic_bytes": self.bound_bytes,
            "fused": self.fused.to_dict(),
            "einsum_by_einsum": self.einsum_by_einsum.to_dict(),
            "engine_runs": self.runs,
            **({"ended": self.ended} if self.ended else {}),
        }


class CurveQuery(Query[CapacitySeries]):
    """Query for the least traffic and the least energy at several capacities of a memory.

    Parameters
    ----------
    space : Mapspace
        Mapspace on the machine as it is; relaxations stand for it where it is not enumerated.
    memory : str
        Memory of limited size, not the outermost.
    capacities : sequence of int
        Capacities in bytes, ascending.
    is_stopped : callable
        Returns whether the caller cannot wait any longer.
    all_confirmed : bool
        True if every point is run by the engine, past the time limit too.
    """

    def __init__(
        self,
        space: Mapspace,
        memory: str,
        capacities: Sequence[int],
        clock: Clock,
        advance: Advance,
        *,
        is_stopped: Callable[[], bool] = never,
        all_confirmed: bool = False,
    ) -> None:
        super().__init__(space, family_of(space, memory))
        self.memory, self.capacities = memory, tuple(capacities)
        self.advance, self.is_stopped = advance, is_stopped
        self.is_late = never if all_confirmed else clock.late()
        self.clock = clock.most()
        self.is_over = self.clock.share(1)
        self.lifted: dict[tuple[Kind, int], list[Mapping]] = {}
        self.engine_runs = 0

    def enumerated(self) -> CapacitySeries:
        """Return the curve if the mapspace itself is enumerated."""
        half, whole = self.clock.share(2), self.clock.share(1)

        def searched(relaxed: bool) -> CapacitySeries:
            curve = CapacityCurve(
                self.space,
                self.memory,
                self.capacities,
                is_half_over=half,
                is_over=lambda: whole() or self.is_stopped(),
                is_late=self.is_late,
                relaxed=relaxed,
            )
            return curve.run(self.advance)

        return in_batches(SearchProblem(self.space, OBJECTIVES["energy"]), searched)

    def is_done(self) -> bool:
        """Return whether the search was interrupted, or time is up and there is a point."""
        late = bool(self.lifted) and (self.is_stopped() or self.is_over())
        return self.ended == INTERRUPTED or late

    def search(self, relaxation: Relaxation, left: int) -> None:
        """Search the curve of a relaxation within its share of the remaining time."""
        self._search(relaxation, self.clock.part(left))

    def _search(self, relaxation: Relaxation, clock: Clock, *, all_confirmed: bool = False) -> None:
        """Search the curve of a relaxation; its cores share each capacity evenly."""
        # Several capacities may have one share, such as 1 B: the smallest of them keeps it.
        of_share = {max(1, c // relaxation.sharers): c for c in self.capacities[::-1]}
        curve = CurveQuery(
            relaxation.space,
            self.memory,
            sorted(of_share),
            clock,
            self.advance,
            is_stopped=self.is_stopped,
            all_confirmed=all_confirmed,
        )
        found = answer(curve)
        self.engine_runs += found.runs
        self.ended = found.ended or self.ended
        for point in found.points:
            here = self.lifted.setdefault((point.kind, of_share[point.capacity_bytes]), [])
            here += [m for m in relaxation.lift(point.mapping) if m not in here]

    def answer(self) -> CapacitySeries:
        """Return, at each capacity, the best lifted mappings that the engine found legal."""
        points = self._confirmed()
        if not points and self.ended == TIME_LIMIT:
            # Nothing that there was time for is legal here; another relaxation may have more.
            for member in self.family.members:
                with suppress(InputError):
                    self._search(member.make(), Clock(0.0), all_confirmed=True)
            points = self._confirmed()
        return CapacitySeries(points=points, runs=self.engine_runs, ended=self.ended)

    def _confirmed(self) -> tuple[CapacityPoint, ...]:
        fitted: dict[Kind, list[Mapping]] = {kind: [] for kind in KINDS}

        def runs_at(kind: Kind, capacity: int) -> Iterator[EngineRun]:
            for mapping in self.lifted.get((kind, capacity), []):
                if mapping not in fitted[kind]:
                    self.engine_runs += 1
                    run = run_with(self.space, self.memory, capacity, mapping)
                    if run is not None:
                        fitted[kind].append(mapping)
                        yield run

        points, late = confirmed(self.capacities, runs_at, self.is_late)
        self.ended = self.ended or late
        return points


LEAST, MOST = 1 << 10, 1 << 26
"""Smallest and largest capacity in bytes: 1 KiB to 64 MiB, or to four times the machine's own."""

STEPS = 300
"""Number of subspaces that a progress bar counts, roughly."""


@infrequent_collection()
def capacity_curves(
    workload: Workload,
    architecture: Architecture,
    memory: str,
    *,
    progress: ProgressOfParts = quiet,
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
) -> CapacityCurves:
    """Search the least traffic and the least energy at capacities of 1 KiB, 2 KiB, and so on.

    Parameters
    ----------
    memory : str
        Name or role of a memory of limited size, not the outermost.
    progress : callable
        As for ``search_workload``.
    time_limit_s : float, optional
        Time limit in seconds.
    constraints : sequence of ConstraintFile
        Constraints on all mappings.

    Raises
    ------
    SpecError
        No memory has this name, or it has no capacity; or the workload has several parts.
    NoLegalMappingError
        No mapping fits any capacity.
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
    if not fused.traffic:
        which = f"of {part.name} that was found in time" if fused.ended else f"of {part.name}"
        raise NoLegalMappingError(f"no mapping {which} fits {level.name} of up to 64 MiB")
    result = fused.traffic[-1].result
    return CapacityCurves(
        workload=result.workload,
        architecture=architecture.name,
        memory=level.name,
        outermost=architecture.home.name,
        own_bytes=level.capacity_bytes,
        capacities=search.capacities,
        bound_bytes=result.bounds.traffic_bytes,
        fused=fused,
        einsum_by_einsum=apart,
    )


@dataclass(frozen=True, kw_only=True)
class _SeriesSearch:
    """Search of both curves: over all mappings, and over mappings without shared loops."""

    workload: Workload
    part: Part
    architecture: Architecture
    memory: str
    capacities: tuple[int, ...]
    spaces: tuple[Mapspace, Mapspace]
    clock: Clock
    advance: Advance
    together: bool = field(default_factory=lambda: usual_workers() > 1)
    """True if both curves are searched at the same time; else each gets half of the time."""
    stopped: Event = field(default_factory=lambda: get_context().Event())
    """Event by which one search stops the other."""

    def __call__(self, number: int) -> CapacitySeries:
        """Search one of the two curves, by its index."""
        left = 1 if self.together or number else 2
        clock = self.clock.part(left)
        is_late = clock.late()
        shows_progress = number == 0 or not self.together
        advance = self.advance if shows_progress else silent(STEPS)
        curve = CurveQuery(
            self.spaces[number],
            self.memory,
            self.capacities,
            clock.most(),
            advance,
            is_stopped=self.stopped.is_set,
        )
        return self._of_workload(answer(curve), is_late)

    def _of_workload(self, found: CapacitySeries, is_late: Callable[[], bool]) -> CapacitySeries:
        """Return a curve with the results of the whole workload under each mapping.

        The first mapping is run even if time is up.
        """
        results: dict[Mapping, Result] = {}
        points: list[CapacityPoint] = []
        for point in found.points:
            capacity = point.capacity_bytes
            mapping = replace(point.mapping, cascade=self.part.cascade)
            if mapping not in results:
                if results and is_late():
                    found = replace(found, ended=found.ended or TIME_LIMIT)
                    break
                machine = with_capacity(self.architecture, self.memory, capacity)
                jobs = plan(self.workload, machine, ByPart((mapping,)), generators=GENERATORS)
                results[mapping] = run_plan(jobs)
            # With more capacity a mapping that fits has the same result but for the capacity.
            result = results[mapping]
            buffers = (
                replace(b, capacity_bytes=capacity) if b.level == self.memory else b
                for b in result.buffers
            )
            result = replace(result, buffers=tuple(buffers))
            points.append(replace(point, mapping=mapping, result=result))
        return replace(found, points=tuple(points))

    def both(self) -> tuple[CapacitySeries, CapacitySeries]:
        """Search both curves; the first one also uses mappings found for the second."""
        first, second = self._each()
        return _better_of(first, second), second

    def _each(self) -> tuple[CapacitySeries, CapacitySeries]:
        """Search the first curve in this process, and the second after it or in another process."""
        if not self.together:
            return self(0), self(1)
        pool = ProcessPool(self, 1, at_once=True)
        try:
            other = pool.submit(1)
            pool.begin()
            first = self(0)
            if first.ended == INTERRUPTED:
                # Ctrl-C interrupts this process only: the other one is asked for its points so far.
                self.stopped.set()
            second = pool.answer(other, never)
        finally:
            pool.close()
        assert second is not None, "it is waited for"
        return first, second


def _better_of(first: CapacitySeries, second: CapacitySeries) -> CapacitySeries:
    """Return the first curve with the better points of two curves; ties go to the first."""
    found: dict[tuple[int, Kind], CapacityPoint] = {}
    for point in (*first.points, *second.points):
        key = (point.capacity_bytes, point.kind)
        best = found.setdefault(key, point)
        if point.value < best.value:
            found[key] = point
    return replace(first, points=tuple(found[key] for key in sorted(found)))


def _capacities(own: int) -> tuple[int, ...]:
    """Return the capacities to search: powers of two, and the machine's own capacity."""
    most = max(MOST, 4 * own)
    powers = [LEAST << n for n in range(64) if LEAST << n <= most]
    return tuple(sorted({*powers, own}))


def einsum_by_einsum(space: Mapspace) -> Mapspace:
    """Restrict a mapspace to mappings whose Einsums share loops over parallel ranks only.

    Each intermediate goes to the outermost memory.
    """
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
