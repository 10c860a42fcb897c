"""From a mapping, shapes and a machine to a result, by either engine."""

from __future__ import annotations

from dataclasses import dataclass

from einsum_cascade.ir import Program

from ..bound.binding import Choose, bind
from ..bound.longest import longest_ones
from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..cost.instances import through_ports
from ..cost.spill import count_mapping
from ..result.record import Result
from ..schedule.timing import Timing, refuse_no_time
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .assemble import assemble
from .floor import LeastWork
from .one_answer import time_bound


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
    """Counts, latency, energy, area and bounds of a mapping.

    Parameters
    ----------
    shapes : dict of str to int
        Shapes by rank, in elements, and parameters of the cascade.
    workload : str
        What the result says it is of.
    engine : str
        ``"analytical"`` or ``"event"``.
    choose : Choose, optional
        Resolves the mapping's open choices, as in ``bind``.

    Raises
    ------
    SpecError, MappingError
        As ``bind``, and where the schedule contradicts the cascade's dependencies.
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
    """Counts, latency, energy, area and bounds of a mapping that is bound.

    What is known from a machine of the same layout need not be worked out again: ``counts`` are
    those of ``count_mapping``, ``timing`` is that of ``time_bound`` at the same pace, and
    ``least`` that of ``least_work`` on the same arrays.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, nothing takes time, or the
        engine does not count something yet.
    """
    if timing is None:
        longest = max(
            (_timed(one, counts if one is bound else (), engine) for one in longest_ones(bound)),
            key=lambda run: run.timing.cycles,
        )
        bound, counts, timing = longest.bound, longest.counts, longest.timing
    counts = counts or bound.memo(count_mapping)
    refuse_no_time(bound, timing.cycles)
    return assemble(bound, counts, timing, workload, engine, least)


@dataclass(frozen=True, slots=True)
class _TimedInstance:
    """A bound mapping, what it counts, and how long its instance takes."""

    bound: Bound
    counts: tuple[EinsumCount, ...]
    timing: Timing


def _timed(bound: Bound, counts: tuple[EinsumCount, ...], engine: str) -> _TimedInstance:
    counts = counts or bound.memo(count_mapping)
    return _TimedInstance(bound, counts, time_bound(bound, through_ports(bound, counts), engine))
