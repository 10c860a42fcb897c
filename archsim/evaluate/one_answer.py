"""How long a mapping takes: its real steps are run, whatever the engine is called.

A run settles after some hundred task events, whatever its length (``events``), so that no
average of its steps is asked to stand for them. Only where the steps are too many, or too
unlike to be told apart, is the average step of the program taken instead, and the result says
so (``Timing.timed_by``). No mapping is taken by one engine and refused by the other.
"""

from __future__ import annotations

from dataclasses import replace

from ..bound.record import Bound
from ..cost.accesses import EinsumCount
from ..events.engine import time_events
from ..events.flat import EVENTS_AT_MOST
from ..schedule.kinds import time_mapping
from ..schedule.timing import Timing
from ..steps.group import Walk
from ..steps.limits import StepsError

_PATIENCE = {"analytical": 20_000_000, "event": EVENTS_AT_MOST}
"""Task events after which an engine takes the average step: some seconds, or some minutes."""


def time_bound(
    bound: Bound, counts: tuple[EinsumCount, ...], engine: str, walks: tuple[Walk, ...] = ()
) -> Timing:
    """Latency of a bound mapping.

    Parameters
    ----------
    engine : str
        ``"event"`` is more patient than ``"analytical"``; else they are the same.
    walks : tuple of Walk, optional
        The real steps of what runs together, if known.

    Raises
    ------
    MappingError
        The schedule contradicts the cascade's dependencies, or deadlocks.
    """
    try:
        return time_events(bound, counts, walks=walks, most=_PATIENCE[engine]).timing
    except StepsError as refused:
        average = time_mapping(bound, counts)
        why = refused.problems[0].message
        note = f"an average step was timed, not the real ones: {why}"
        return replace(average, timed_by="average", notes=(*average.notes, note))
