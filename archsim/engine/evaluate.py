"""Evaluation of bound mappings: counts, timing of the critical (slowest) core, and the result.

The planner takes the fastest of several mappings. A mapping that certainly takes longer than a
known one is neither run nor counted completely (``takes_longer``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

from einsum_cascade.errors import MappingError
from einsum_cascade.ir import Program

from ..bounds.floor import LeastWork, floor_of
from ..counts.accesses import EinsumCount
from ..counts.cores import counts_at_ports, counts_of_all_cores
from ..counts.spill import count_mapping, count_of
from ..legality.binding import bind_whole_cascade
from ..nest.cores import iterations_of_core
from ..nest.partition import with_partition
from ..nest.record import ONE_CORE, Bound
from ..nest.sequence import ring_problems
from ..result.merge import merged
from ..result.record import PartUse
from ..result.result import Result
from ..schedule.kinds import kind_of
from ..spec.mapping import Mapping
from .assemble import array_cycles, assemble, memory_cycles
from .latency import time_bound
from .policy import CANDIDATE_WORK_SHARE, MAX_CRITICAL_CORES, MIN_PROBLEMS_TO_SAMPLE
from .timing import Timing, refuse_no_time


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

    Parameters
    ----------
    workload : str
        Name of the workload in the result.
    engine : str
        ``"analytical"`` or ``"event"``.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, nothing takes time, or the
        engine does not count something yet.
    """
    if timing is None:
        bound, counts, timing = critical_core(bound, counts, engine=engine)
    counts = counts or bound.memo(count_mapping)
    refuse_no_time(bound, timing.cycles)
    return assemble(bound, counts, timing, workload, engine, least)


def critical_core(
    bound: Bound, counts: tuple[EinsumCount, ...] = (), *, engine: str = "analytical"
) -> tuple[Bound, tuple[EinsumCount, ...], Timing]:
    """Return a bound mapping of the critical (slowest) core with its counts and its timing.

    Parameters
    ----------
    counts : tuple of EinsumCount, optional
        Counts of ``bound``, if known.
    """
    timed: list[tuple[Bound, tuple[EinsumCount, ...], Timing]] = []
    for core in critical_core_candidates(bound):
        own = (counts if core is bound else ()) or core.memo(count_mapping)
        timed.append((core, own, time_bound(core, counts_at_ports(core, own), engine)))
    return max(timed, key=lambda run: run[2].cycles)


def critical_core_candidates(bound: Bound) -> Iterator[Bound]:
    """Yield versions of a bound mapping, each with another core as the critical (slowest) one.

    Balanced cores have equal work except for the rows of a tile. Each kind of core with nearly the
    most work is tried in turn, in place of all cores.
    """
    yield bound
    partitions = bound.cores.partitions
    at = next((n for n, s in enumerate(partitions) if s.begins), None)
    if at is None:
        return
    most = iterations_of_core(bound)
    for kind in range(1, min(MAX_CRITICAL_CORES, len(partitions[at].kinds))):
        led = _with_critical_part(bound, at, kind)
        if iterations_of_core(led) < CANDIDATE_WORK_SHARE * most:
            return  # parts come in descending order of work
        yield led


def _with_critical_part(bound: Bound, at: int, kind: int) -> Bound:
    """Return the mapping after tile kind 0 of a partitioned rank has been swapped with ``kind``.

    A core with a tile of kind 0 stands for all cores.
    """
    cores = bound.cores

    def other(number: int) -> int:
        return {0: kind, kind: 0}.get(number, number)

    s = cores.partitions[at]
    work_order = tuple(s.work_order[other(n)] for n in range(len(s.work_order)))
    partitions = with_partition(cores.partitions, at, work_order=work_order)
    alone = replace(bound, cores=ONE_CORE)
    nests = {
        (*kinds[:at], other(kinds[at]), *kinds[at + 1 :]): alone if nest is bound else nest
        for kinds, nest in bound.core_nests.items()
    }
    first = nests.pop((0,) * len(partitions))
    others = tuple(nests.items())
    return replace(first, cores=replace(cores, partitions=partitions, others=others))


def result_of_nest(bound: Bound, name: str, engine: str) -> Result:
    """Return the result of one nest by itself, as ``Bound.memo`` calls it.

    Raises the same errors as ``evaluate_bound``.
    """
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
    that of the whole cascade under any mapping.

    Parameters
    ----------
    program : Program
        Whole cascade.
    mapping : Mapping
        Whole mapping.
    nests : tuple of tuple
        Name and bound mapping of each nest, in execution order.
    workload, engine : str
        As in ``evaluate_bound``.

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
    shape = {rank: size for bound, _ in counted for rank, size in bound.whole.shapes}
    whole = merged(parts, workload=workload, mapping=mapping.name, shape=tuple(shape.items()))
    # For the floor, tensors between nests need not cross the outermost memory, and masks of one
    # nest may shrink another.
    every = bind_whole_cascade(program, [bound for bound, _ in counted])
    counts = tuple(count for bound, own in counted for count in counts_of_all_cores(bound, own))
    return replace(whole, floor=floor_of(every, counts))


def takes_longer(bound: Bound, seconds: float, *, before: Iterable[Bound] = ()) -> bool:
    """Return whether a bound mapping certainly takes longer than a known latency.

    The check stops as soon as the answer is certain. An array or a memory does one thing at a time.
    Einsums that run together therefore take at least the time of the busiest resource, and groups
    in sequence take the sum. A return value of ``False`` promises nothing.

    Parameters
    ----------
    seconds : float
        Known latency.
    before : iterable of Bound, optional
        Nests of the mapping that run before this one; their time counts too.

    Raises
    ------
    MappingError
        As ``count_mapping``.
    """
    # Results are rounded to floats: a difference within rounding is none.
    limit = Fraction(seconds * (1 + 1e-9)) * bound.architecture.clock_hz
    least = Fraction(0)
    for nest in (*before, bound):
        cycles = Fraction(0)
        for cycles in _lower_bounds(nest):
            if least + cycles > limit:
                return True
        least += cycles
    return False


def _lower_bounds(bound: Bound) -> Iterator[Fraction]:
    """Yield lower bounds of a mapping's cycles: from its arrays, samples of its cores, all counts.

    A sample counts the traffic of some of the distinct core problems. It reveals a far slower
    mapping before the traffic of all cores is counted. The last bound is the closest.
    """
    every = tuple(e.name for e in bound.einsums)
    # The Einsums of a group run together, groups one after the other.
    groups = [every]
    if kind_of(bound).in_turn:
        written = [tuple(t.einsum for t in group) for group in bound.mapping.schedule.groups]
        groups = written or [(name,) for name in every]

    def busiest(counts: tuple[EinsumCount, ...], names: tuple[str, ...]) -> Fraction:
        here = tuple(count for count in counts if count.einsum in names)
        return max((*array_cycles(bound, names).values(), *memory_cycles(bound, here)))

    alone = bound.is_whole and bound.mapping.spill is None
    if not (bound.is_whole or bound.mapping.spill or bound.architecture.memories[0].ring):
        yield sum((max(array_cycles(bound, names).values()) for names in groups), Fraction(0))
        number = len(bound.core_nests)
        for some in (number // 4, number // 2) if number >= MIN_PROBLEMS_TO_SAMPLE else ():
            ported = counts_at_ports(bound, bound.memo(count_mapping), some)
            yield sum((busiest(ported, names) for names in groups), Fraction(0))
    counts = () if alone else counts_at_ports(bound, bound.memo(count_mapping))
    cycles = Fraction(0)
    for names in groups:
        own = tuple(bound.memo(count_of, name) for name in names) if alone else counts
        cycles += busiest(own, names)
        yield cycles
