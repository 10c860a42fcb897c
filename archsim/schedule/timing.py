"""Timing of a run, as either engine returns it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from einsum_cascade.errors import MappingError, Problem

from ..nest.record import Bound


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of a whole run, and their composition.

    Latency runs from the first transfer to the arrival of the last output in the outermost memory.
    """

    cycles: Fraction
    steps: int
    period: Fraction
    """Cycles per step in the steady state."""
    bound_by: str
    critical: tuple[str, ...]
    lookahead: int | None = None
    simulated: int | None = None
    """Task events that were fired."""
    timed_by: Literal["steps", "average"] = "steps"
    """``steps`` if the real steps were run, ``average`` if an average step stands for them."""
    notes: tuple[str, ...] = ()

    @property
    def fill_drain(self) -> Fraction:
        """Cycles outside the steady state."""
        return self.cycles - self.period * self.steps


def refuse_no_time(bound: Bound, cycles: Fraction) -> None:
    """Refuse a run that takes no time, because its rates are undefined.

    Raises
    ------
    MappingError
        Masks let nothing through, or no work takes time.
    """
    text = "nothing takes time: every operation takes 0 cycles and no memory has a bandwidth"
    if not any(e.points for e in bound.einsums):
        # Skipped steps may still be waited for.
        text = "nothing is computed: the masks let no point through at these shapes"
    elif cycles:
        return
    raise MappingError(Problem(text, bound.mapping.span))
