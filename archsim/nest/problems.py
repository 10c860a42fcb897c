"""Problems of a mapping; equal problems of many Einsums are merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from einsum_cascade.errors import Problem, did_you_mean
from einsum_cascade.source import Span

from .policy import MAX_LISTED_EINSUMS

NO_LEVEL: Final = "the machine has no level"
NO_MEMBER: Final = "no rank or tile is called"
NO_TENSOR: Final = "the cascade has no tensor"
"""Text before the unknown name in a problem (``unknown_names``); so are ``NO_LEVEL`` and
``NO_MEMBER``."""


@dataclass(frozen=True, slots=True)
class EinsumProblem:
    """Problem whose text begins with the name of an Einsum or tensor ("" for none)."""

    about: str
    text: str
    span: Span | None = None
    hint: str | None = None

    @property
    def problem(self) -> Problem:
        """Problem whose text is complete: the name followed by the text."""
        return Problem(f"{self.about}{self.text}", self.span, self.hint)


def merge_equal_problems(complaints: Iterable[EinsumProblem]) -> list[Problem]:
    """Merge problems that differ only in the Einsum they are about.

    >>> wrong = [EinsumProblem(name, " loops over P twice") for name in ("BQK", "SN", "SD")]
    >>> [p.message for p in merge_equal_problems(wrong)]
    ['BQK loops over P twice; likewise SN, SD']
    """
    by_text: dict[str, list[EinsumProblem]] = {}
    for complaint in complaints:
        by_text.setdefault(complaint.text, []).append(complaint)
    return [_merged(found) for found in by_text.values()]


def _merged(found: list[EinsumProblem]) -> Problem:
    first = found[0].problem
    others = [c.about for c in found[1:] if c.about]
    if not others:
        return first
    left = len(others) - MAX_LISTED_EINSUMS
    more = f" and {left} more" if left > 0 else ""
    listed = ", ".join(others[:MAX_LISTED_EINSUMS])
    return Problem(f"{first.message}; likewise {listed}{more}", first.span, first.hint)


def unknown_names(
    what: str,
    names: Iterable[str],
    known: Collection[str],
    span: Span | None,
    also: Collection[str] = (),
) -> Iterator[Problem]:
    """Yield one problem for each unknown name.

    Parameters
    ----------
    what : str
        Text before the quoted name, such as ``the cascade has no tensor``.
    names : iterable of str
        Names that a mapping uses.
    known : collection of str
        Names that exist.
    span : Span or None
        Place in the mapping's file.
    also : collection of str
        Further names that a hint may suggest.
    """
    for name in dict.fromkeys(names):
        if name not in known:
            yield Problem(f"{what} '{name}'", span, did_you_mean(name, [*known, *also]))
