"""What a validation found: how far a cascade is from what it ought to compute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """How far a cascade is from what it ought to compute.

    Attributes
    ----------
    cascade, dtype : str
        What was run, and the type its tensors were stored in.
    max_abs_error : float
        The largest difference of any element of any output, over all trials.
    max_rel_error : float
        The same over the largest magnitude of that output in that trial.
    tolerance : float
        What ``max_rel_error`` may be.
    ok : bool or None
        It is not larger; None where the cascade was compared with itself alone, which says
        how much is lost to rounding and not whether it computes what it ought to, or where
        ``beyond`` says why it cannot be compared.
    against : str
        The reference's name; ``"itself in float64"``, or of a mapped nest ``"its equations in
        float64"``.
    independent : bool
        The cascade was compared with a reference, not with itself.
    shapes : tuple of (rank, shape)
        Shapes of the worst trial.
    failure : str
        Why there is no error to report: the run gave what is not a number.
    beyond : str
        Why there is more of an error than the tolerance says: what formats decide otherwise, what
        is larger than they hold, or that every rounding grows on its way to the result.
    set_aside : int
        Inputs of all trials that were drawn again, because rounding to ``dtype`` alone
        changes what the cascade selects (see ``validation_decisions``).
    """

    cascade: str
    dtype: str
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    ok: bool | None
    against: str
    independent: bool
    shapes: tuple[tuple[str, int], ...]
    failure: str = ""
    beyond: str = ""
    set_aside: int = 0

    @property
    def verdict(self) -> str:
        """``ok``, ``FAILED``, ``not checked`` or ``not comparable``."""
        if self.beyond:
            return "not comparable"
        if self.ok is None:
            return "not checked"
        return "ok" if self.ok else "FAILED"

    def to_dict(self) -> dict[str, Any]:
        """The object of ``validate --json``; an error that is not finite is null."""
        return {
            "cascade": self.cascade,
            "dtype": self.dtype,
            "max_abs_error": _finite(self.max_abs_error),
            "max_rel_error": _finite(self.max_rel_error),
            "tolerance": self.tolerance,
            "ok": self.ok,
            "verdict": self.verdict,
            "against": self.against,
            "independent": self.independent,
            "shapes": dict(self.shapes),
            "failure": self.failure,
            "beyond": self.beyond,
            "set_aside": self.set_aside,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
