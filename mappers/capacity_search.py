"""The capacity curve of a memory for a workload of one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from archsim.jobs.plan import plan
from archsim.jobs.run import run_plan
from archsim.jobs.selection import ByPart
from archsim.jobs.workload import PartLike, WorkloadLike
from archsim.spec.arch import Architecture, Memory
from archsim.spec.roles import memory_in_role
from einsum_cascade.errors import NoLegalMappingError, Problem, SpecError, did_you_mean

from .capacity import CapacityCurves, CapacityPoint, CapacitySeries
from .constraint_files import ConstraintFile
from .exhaustive.curve import CapacityCurve, CapacityRun, with_capacity
from .exhaustive.irregular import in_batches
from .generators import GENERATORS
from .objectives import objective_called
from .protocol import Advance, Clock, SearchProblem
from .space.constraints import Constraints, IsKept, IsShared, MappingConstraint
from .space.mapspace import Mapspace
from .workload_search import ProgressOfParts, only_part, quiet, space_of

LEAST, MOST = 1 << 10, 1 << 26
"""Bytes: from 1 KiB to 64 MiB, or to four times what the machine has."""

STEPS = 300
"""Subspaces that a progress bar counts, about."""


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
        Seconds after which what is found has to do: half for each series.
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
    level = memory_called(architecture, memory)
    assert level.capacity_bytes is not None, "as memory_called says"
    capacities = _capacities(level.capacity_bytes)
    space = space_of(part, architecture, constraints=constraints)
    clock, found = Clock(time_limit_s), []
    for left, able in ((2, space), (1, einsum_by_einsum(space))):
        ends = (clock.share(2 * left), clock.share(left))
        found.append(_curve(able, level.name, capacities, ends, progress(part.name, STEPS)))
    (runs, fused), (others, apart) = found
    series = [_series(workload, part, architecture, level.name, one) for one in (runs, others)]
    if not series[0].traffic:
        text = f"no mapping of {part.name} fits whatever {level.name} holds, up to 64 MiB"
        raise NoLegalMappingError(Problem(text))
    result = series[0].traffic[-1].result
    return CapacityCurves(
        workload=result.workload,
        architecture=architecture.name,
        memory=level.name,
        outermost=architecture.memories[0].name,
        own_bytes=level.capacity_bytes,
        capacities=capacities,
        bound_bytes=result.bounds.traffic_bytes,
        fused=series[0],
        einsum_by_einsum=series[1],
        runs=fused.runs + apart.runs,
        ended=fused.ended or apart.ended,
    )


def memory_called(architecture: Architecture, name: str) -> Memory:
    """A memory whose capacity a curve can be drawn against.

    Raises
    ------
    SpecError
        There is none of that name or role, it is the outermost, or of no limit.
    """
    outermost, *inner = architecture.memories
    known = [m.name for m in inner if m.capacity_bytes is not None]
    named = memory_in_role(architecture, name) or name
    if named not in [m.name for m in architecture.memories]:
        hint = did_you_mean(name, known)
        raise SpecError(f"--capacity-curve: {architecture.name} has no memory '{name}'; {hint}")
    if named not in known:
        why = "is the outermost" if named == outermost.name else "has no limit"
        text = f"--capacity-curve: {named} {why}: a curve is against the size of an inner memory"
        raise SpecError(Problem(text, hint=f"known: {', '.join(known) or 'none'}"))
    return next(m for m in inner if m.name == named)


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
    outermost = space.architecture.memories[0].name
    apart = (IsShared(rank) for rank in ranks if rank not in program.parallel)
    kept = (IsKept(e.name, outermost) for e in program.einsums)
    more = (
        *(MappingConstraint(statement=s, must=False) for s in apart),
        *(MappingConstraint(statement=s, must=True) for s in kept),
    )
    return replace(space, constraints=Constraints((*space.constraints.all, *more)))


def _curve(
    space: Mapspace,
    memory: str,
    capacities: tuple[int, ...],
    ends: tuple[Callable[[], bool], Callable[[], bool]],
    advance: Advance,
) -> tuple[tuple[CapacityRun, ...], CapacityCurve]:
    """What a space has to offer at each capacity, and the search that says so."""

    def searched(aside: bool) -> tuple[tuple[CapacityRun, ...], CapacityCurve]:
        half, whole = ends
        curve = CapacityCurve(
            space, memory, capacities, is_half_over=half, is_over=whole, relaxed=aside
        )
        return curve.run(advance), curve

    return in_batches(SearchProblem(space, objective_called("energy")), searched)


def _series(
    workload: WorkloadLike,
    part: PartLike,
    architecture: Architecture,
    memory: str,
    runs: Sequence[CapacityRun],
) -> CapacitySeries:
    """The points of a series: the whole workload under each mapping."""
    points: dict[str, list[CapacityPoint]] = {"traffic": [], "energy": []}
    for found in runs:
        machine = with_capacity(architecture, memory, found.capacity_bytes)
        mapping = replace(found.run.mapping, cascade=part.cascade)
        result = run_plan(plan(workload, machine, ByPart((mapping,)), generators=GENERATORS))
        points[found.kind].append(
            CapacityPoint(capacity_bytes=found.capacity_bytes, mapping=mapping, result=result)
        )
    return CapacitySeries(traffic=tuple(points["traffic"]), energy=tuple(points["energy"]))
