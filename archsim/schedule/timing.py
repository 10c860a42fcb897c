"""How long a run takes: what either engine says of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of a whole run and what they are made of.

    Latency runs from the first transfer to the arrival of the last output in the outermost
    memory.
    """

    cycles: Fraction
    steps: int
    period: Fraction
    """Cycles per step in the steady state."""
    bound_by: str
    critical: tuple[str, ...]
    lookahead: int | None = None
    simulated: int | None = None
    """Task events fired to know it."""
    timed_by: Literal["steps", "average"] = "steps"
    """Whether the real steps were run, or an average one stands for them."""
    notes: tuple[str, ...] = ()

    @property
    def fill_drain(self) -> Fraction:
        """What is not steady state."""
        return self.cycles - self.period * self.steps
