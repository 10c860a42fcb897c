"""Latency of a bound mapping, from a run of its real steps or of an average step.

A mapping is one run; with a ``sequential`` schedule of several groups, it is one run after the
other. Each run is lowered to a step program, which fires task by task (``kernel``). A run settles
after some hundred task events, whatever its length. Sometimes the steps are too many, or too
different to be classed. Then the average step of the program is timed instead, and the result says
so (``Timing.timed_by``). Both engines accept the same mappings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from ..counts.accesses import EinsumCount
from ..nest.record import Bound
from ..schedule.kinds import exact_walks, kind_of
from ..schedule.program import StepProgram
from ..steps.group import FusionGroup, Walk
from ..steps.run_length import StepsError, length
from .events import EventRun, run_program
from .policy import BOUNDING_SHARE, MAX_ANALYTICAL_EVENTS, MAX_EVENTS, MIN_ROUNDING_NOTED
from .timing import Timing, refuse_no_time, time_average

_MAX_EVENTS_BY_ENGINE = {"analytical": MAX_ANALYTICAL_EVENTS, "event": MAX_EVENTS}
"""Largest number of task events that each engine fires before it times an average step instead."""


def time_bound(
    bound: Bound, counts: tuple[EinsumCount, ...], engine: str, walks: tuple[Walk, ...] = ()
) -> Timing:
    """Return the latency of a bound mapping.

    Parameters
    ----------
    engine : str
        ``"event"`` fires more task events than ``"analytical"`` before it times an average step;
        otherwise both are equal.
    walks : tuple of Walk, optional
        Real steps of each group of Einsums that run together, if known.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, or deadlocks.
    """
    try:
        return time_events(bound, counts, walks=walks, most=_MAX_EVENTS_BY_ENGINE[engine]).timing
    except StepsError as refused:
        average = time_average(bound, counts)
        why = refused.problems[0].message
        note = f"an average step was timed, not the real ones: {why}"
        return replace(average, timed_by="average", notes=(*average.notes, note))


@dataclass(frozen=True, kw_only=True)
class GroupRun:
    """Run of Einsums that ran together, with the cycle at which it began."""

    group: FusionGroup
    program: StepProgram
    start: Fraction
    run: EventRun


@dataclass(frozen=True, kw_only=True)
class EventTiming:
    """Timing of a run, with the logged slices."""

    timing: Timing
    runs: tuple[GroupRun, ...]


def event_programs(
    bound: Bound, counts: tuple[EinsumCount, ...], walks: tuple[Walk, ...] = ()
) -> tuple[tuple[FusionGroup, StepProgram], ...]:
    """Return the programs of a mapping in sequence, each with its group of Einsums.

    ``walks`` holds the exact steps of the groups, if known.

    Returns
    -------
    tuple of (FusionGroup, StepProgram)
        One program; several for a ``sequential`` schedule of several groups.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, or deadlocks.
    """
    walks = walks or exact_walks(bound, counts)
    programs = kind_of(bound).programs(bound, walks)
    return tuple((w.group, program) for w, program in zip(walks, programs, strict=True))


def time_events(
    bound: Bound,
    counts: tuple[EinsumCount, ...],
    *,
    jumping: bool = True,
    logged: bool = False,
    walks: tuple[Walk, ...] = (),
    most: int = MAX_EVENTS,
) -> EventTiming:
    """Return the latency of a bound mapping, found by running its real steps.

    ``walks`` are as in ``event_programs``, ``most`` is as in ``run_program``.

    Parameters
    ----------
    bound : Bound
    counts : tuple of EinsumCount
        Accesses in elements.
    jumping : bool, default True
        True to skip repetitions; the result is the same.
    logged : bool, default False
        True to log slices for a timeline.

    Returns
    -------
    EventTiming
        Timing in cycles.

    Raises
    ------
    MappingError
        As ``event_programs``.
    StepsError
        The steps cannot be classed, or are too many.
    """
    programs = event_programs(bound, counts, walks)
    runs: list[GroupRun] = []
    at = Fraction(0)
    for group, program in programs:
        run = run_program(program, jumping=jumping, logged=logged, most=most)
        runs.append(GroupRun(group=group, program=program, start=at, run=run))
        at += run.cycles
    refuse_no_time(bound, at)
    return EventTiming(timing=_timing(bound, counts, tuple(runs), at), runs=tuple(runs))


def _timing(
    bound: Bound, counts: tuple[EinsumCount, ...], runs: tuple[GroupRun, ...], cycles: Fraction
) -> Timing:
    slowest = max(runs, key=lambda r: r.run.cycles)
    found = _bound(slowest.program, slowest.run)
    if found is None:
        # No resource works most of the time: the average step tells which task waits for which.
        average = time_average(bound, counts, tuple(r.group for r in runs))
        found = average.bound_by, average.critical
    limit, critical = found
    notes = tuple(
        f"{r.group.name}: times are rounded up to whole multiples of {1 / r.run.unit:.3g} cycles, "
        "the finest that 64 bits hold"
        for r in runs
        if not r.run.exact and _rounding(r) >= MIN_ROUNDING_NOTED
    )
    # Groups in sequence have loops of their own: the run of all groups is one step.
    in_turn = kind_of(bound).in_turn
    steps = 1 if in_turn else bound.steps
    period = cycles / steps
    if in_turn:
        critical = (f"{slowest.group.name} on {limit}",)
    elif slowest.run.period:
        # Repeated steps may be slower than others: no single period then holds for all steps.
        period = min(slowest.run.period, period)
    return Timing(
        cycles=cycles,
        steps=steps,
        period=period,
        bound_by=limit,
        critical=critical,
        lookahead=slowest.program.lookahead,
        simulated=sum(r.run.fired for r in runs),
        notes=notes,
    )


def _rounding(found: GroupRun) -> Fraction:
    """Return an upper bound of the share of a run that rounding may have added.

    Each turn of a task is at most one time unit too long.
    """
    turns = length(found.program.run_lengths) * len(found.program.tasks)
    return turns / (found.run.unit * found.run.cycles)


def _bound(program: StepProgram, run: EventRun) -> tuple[str, tuple[str, ...]] | None:
    """Return the resource that limits a run because it is busy most of the time, and its tasks."""
    load = {resource: program.busy(program.on(resource)) for resource in program.resources}
    busiest = max(load, key=lambda r: load[r])
    mostly = load[busiest] >= BOUNDING_SHARE * run.cycles
    return (busiest, tuple(t.name for t in program.on(busiest))) if mostly else None
