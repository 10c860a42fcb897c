"""Evaluation of bound mappings: counts, timing of the critical core, and the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Program

from ..bounds.floor import LeastWork, floor_of
from ..counts.accesses import EinsumCount
from ..counts.cores import counts_at_ports, counts_of_all_cores
from ..counts.spill import count_mapping
from ..legality.binding import Choose, bind, bind_whole_cascade
from ..nest.cores import iterations_of_core
from ..nest.partition import with_partition
from ..nest.record import ONE_CORE, Bound
from ..nest.sequence import ring_problems
from ..result.merge import merged
from ..result.record import PartUse
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .assemble import assemble
from .latency import time_bound
from .policy import CANDIDATE_WORK_SHARE, MAX_CRITICAL_CORES
from .timing import Timing, refuse_no_time


def evaluate_mapping(
    program: Program,
    mapping: Mapping,
    architecture: Architecture,
    shapes: dict[str, int],
    *,
    workload: str = "",
    engine: str = "analytical",
    choose: Choose | None = None,
) -> Result:
    """Return counts, latency, energy, area and bounds of a mapping.

    Parameters
    ----------
    shapes : dict of str to int
        Shapes by rank, in elements, and parameters of the cascade.
    workload : str
        Name of the workload in the result.
    engine : str
        ``"analytical"`` or ``"event"``.
    choose : Choose, optional
        Resolves the mapping's open choices, as in ``bind``.

    Raises
    ------
    SpecError, MappingError
        As ``bind``, and if the schedule contradicts the cascade's dependencies.
    """
    bound = bind(program, mapping, architecture, shapes, choose=choose)
    return evaluate_bound(bound, workload=workload, engine=engine)


def evaluate_bound(
    bound: Bound,
    *,
    workload: str = "",
    engine: str = "analytical",
    counts: tuple[EinsumCount, ...] = (),
    timing: Timing | None = None,
    least: LeastWork | None = None,
) -> Result:
    """Return counts, latency, energy, area and bounds of a bound mapping.

    Values known from a machine of the same layout may be given: ``counts`` from ``count_mapping``,
    ``timing`` from ``time_bound`` at the same pace, and ``least`` from ``least_work`` on the same
    arrays.

    What is known from a machine of the same layout need not be worked out again: ``counts`` are
    those of ``count_mapping``, ``timing`` is that of ``time_bound`` at the same pace, and ``least``
    that of ``least_work`` on the same arrays.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, nothing takes time, or the
        engine does not count something yet.
    """
    if timing is None:
        longest = max(
            (
                _timed(one, counts if one is bound else (), engine)
                for one in critical_core_candidates(bound)
            ),
            key=lambda run: run.timing.cycles,
        )
        bound, counts, timing = longest.bound, longest.counts, longest.timing
    counts = counts or bound.memo(count_mapping)
    refuse_no_time(bound, timing.cycles)
    return assemble(bound, counts, timing, workload, engine, least)


@dataclass(frozen=True, slots=True)
class _TimedInstance:
    """Bound mapping with its counts and the timing of one core."""

    bound: Bound
    counts: tuple[EinsumCount, ...]
    timing: Timing


def _timed(bound: Bound, counts: tuple[EinsumCount, ...], engine: str) -> _TimedInstance:
    counts = counts or bound.memo(count_mapping)
    return _TimedInstance(bound, counts, time_bound(bound, counts_at_ports(bound, counts), engine))


def critical_core_candidates(bound: Bound) -> Iterator[Bound]:
    """Yield a bound mapping as each possible critical core runs it.

    Balanced parts of a rank have equal work up to the rows of a tile. Each part with nearly the
    most work stands for all in turn.
    """
    yield bound
    spread = bound.cores.partitions
    at = next((n for n, s in enumerate(spread) if s.begins), None)
    if at is None:
        return
    most = iterations_of_core(bound)
    for kind in range(1, min(MAX_CRITICAL_CORES, len(spread[at].kinds))):
        led = _with_critical_part(bound, at, kind)
        if iterations_of_core(led) < CANDIDATE_WORK_SHARE * most:
            return  # parts come in descending order of work
        yield led


def _with_critical_part(bound: Bound, at: int, kind: int) -> Bound:
    """Return the mapping with another kind of part of a partitioned rank in place of all parts."""
    cores = bound.cores

    def other(number: int) -> int:
        return {0: kind, kind: 0}.get(number, number)

    s = cores.partitions[at]
    work_order = tuple(s.work_order[other(n)] for n in range(len(s.work_order)))
    spread = with_partition(cores.partitions, at, work_order=work_order)
    alone = replace(bound, cores=ONE_CORE)
    nests = {
        (*kinds[:at], other(kinds[at]), *kinds[at + 1 :]): alone if nest is bound else nest
        for kinds, nest in bound.core_nests.items()
    }
    first = nests.pop((0,) * len(spread))
    others = tuple(nests.items())
    return replace(first, cores=replace(cores, partitions=spread, others=others))


def result_of_nest(bound: Bound, name: str, engine: str) -> Result:
    """Return the result of one nest by itself, for ``Bound.memo``. Raises as ``evaluate_bound``."""
    return evaluate_bound(bound, workload=name, engine=engine)


def evaluate_nests(
    program: Program,
    mapping: Mapping,
    nests: tuple[tuple[str, Bound], ...],
    *,
    workload: str = "",
    engine: str = "analytical",
) -> Result:
    """Return counts, latency, energy, area and bounds of a mapping of several nests.

    Nests never overlap in time, and tensors between nests cross the outermost memory. The floor is
    the cascade's, by any mapping.

    Nothing of two nests overlaps, and what one hands to another crosses the outermost memory. The
    floor is that of the cascade, by any mapping.

    Parameters
    ----------
    program : Program
        Whole cascade.
    mapping : Mapping
        Whole mapping.
    nests : tuple of tuple
        Name and bound mapping of each nest, in execution order.
    workload, engine : str
        As in ``evaluate_mapping``.

    Raises
    ------
    MappingError
        As ``evaluate_bound``, and if chips in a ring read results of other chips from another nest.
    """
    machine = nests[0][1].architecture
    if problems := [*ring_problems(program, mapping, machine)]:
        raise MappingError(problems)
    counted = [(bound, bound.memo(count_mapping)) for _, bound in nests]
    parts = tuple(
        PartUse(name=name, times=1, result=bound.memo(result_of_nest, name, engine))
        for name, bound in nests
    )
    shape = {rank: size for bound, _ in counted for rank, size in bound.shapes}
    whole = merged(parts, workload=workload, mapping=mapping.name, shape=tuple(shape.items()))
    # For the floor, tensors between nests need not cross the outermost memory, and masks of one
    # nest may shrink another.
    every = bind_whole_cascade(program, [bound for bound, _ in counted])
    counts = tuple(count for bound, own in counted for count in counts_of_all_cores(bound, own))
    return replace(whole, floor=floor_of(every, counts))
