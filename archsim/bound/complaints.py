"""What is wrong with a mapping, told once where it is wrong of many Einsums alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from einsum_cascade.errors import Problem
from einsum_cascade.source import Span

_NAMED = 3
"""Further Einsums that a problem names."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A problem, and the Einsum or tensor that its text begins with ("" if with none)."""

    about: str
    text: str
    span: Span | None = None
    hint: str | None = None

    @property
    def problem(self) -> Problem:
        """What a person reads."""
        return Problem(f"{self.about}{self.text}", self.span, self.hint)


def told_once(complaints: Iterable[Complaint]) -> list[Problem]:
    """The problems, those that differ only in whom they are about as one.

    >>> wrong = [Complaint(name, " loops over P twice") for name in ("BQK", "SN", "SD")]
    >>> [p.message for p in told_once(wrong)]
    ['BQK loops over P twice; likewise SN, SD']
    """
    alike: dict[str, list[Complaint]] = {}
    for complaint in complaints:
        alike.setdefault(complaint.text, []).append(complaint)
    return [_together(found) for found in alike.values()]


def _together(found: list[Complaint]) -> Problem:
    first = found[0].problem
    others = [c.about for c in found[1:] if c.about]
    if not others:
        return first
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    listed = ", ".join(others[:_NAMED])
    return Problem(f"{first.message}; likewise {listed}{more}", first.span, first.hint)
