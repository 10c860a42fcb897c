"""Result of a validation: the error of a cascade against its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Error of a cascade against its reference.

    Attributes
    ----------
    cascade, dtype : str
        Cascade that ran, and the format in which its tensors were stored.
    max_abs_error : float
        Largest difference of any element of any output, over all trials.
    max_rel_error : float
        Largest difference relative to the magnitude of the output in the same trial.
    tolerance : float
        Limit of ``max_rel_error``.
    ok : bool or None
        True if the error is within the tolerance. None if the cascade was compared with itself
        alone, which measures rounding and not correctness, or if ``beyond`` gives a reason.
    against : str
        Name of the reference; ``"itself in float64"``, or for a mapped nest ``"its equations in
        float64"``.
    independent : bool
        True if the reference is not the cascade itself.
    shapes : tuple of (rank, shape)
        Shapes of the worst trial.
    failure : str
        Reason why there is no error to report: the run gave a value that is not a number.
    beyond : str
        Reason why the error exceeds the tolerance: decisions that formats change, values that
        formats cannot hold, or rounding errors that grow on their way to the result.
    set_aside : int
        Number of inputs that were drawn again, because rounding to ``dtype`` alone changes the
        cascade's selections (see ``validation_decisions``).
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
        """Return ``ok``, ``FAILED``, ``not checked`` or ``not comparable``."""
        if self.beyond:
            return "not comparable"
        if self.ok is None:
            return "not checked"
        return "ok" if self.ok else "FAILED"

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``validate --json``; an infinite error is null."""
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
