"""Errors in user input: every mistake of a user is one of these errors, which print themselves."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .source import Span, visible


@dataclass(frozen=True, slots=True)
class Problem:
    """Single mistake of a user: the message, its place in the file, and a hint."""

    message: str
    span: Span | None = None
    hint: str | None = None

    def __str__(self) -> str:
        head = f"{self.span}: {self.message}" if self.span else self.message
        parts = [visible(head)]
        if self.span and (excerpt := self.span.excerpt()):
            parts.append(excerpt)
        if self.hint:
            parts.append(f"    hint: {visible(self.hint)}")
        return "\n".join(parts)


class InputError(ValueError):
    """Error in a user's input, with all problems found.

    A single message with its place and hint may be given instead.
    """

    def __init__(
        self,
        problems: Problem | str | Sequence[Problem],
        span: Span | None = None,
        hint: str | None = None,
    ) -> None:
        if isinstance(problems, str):
            problems = Problem(problems, span, hint)
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(problems)
        )
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class CascadeError(InputError):
    """Error in a cascade, or a request for something the cascade lacks."""


class RewriteError(InputError):
    """Error for a rewrite that does not apply; it says which condition fails."""


class EvaluationError(InputError):
    """Error for inputs on which a cascade cannot run."""


class NotANumberError(EvaluationError):
    """Error for a NaN result: the computation overflows, or has no value."""


class SpecError(InputError):
    """Error in an architecture, technology, workload or mapping file."""


class MappingError(InputError):
    """Error for a mapping that is not legal for its cascade on its machine."""


class NoLegalMappingError(MappingError):
    """Error if no open choice (a fitted tile size, a mapspace) gives a legal mapping."""


@contextmanager
def collect_problems(found: list[Problem]) -> Iterator[None]:
    """Run a block; if it raises an input error, append the error's problems to a list and go on."""
    try:
        yield
    except InputError as wrong:
        found += wrong.problems


def raise_all(problems: Iterable[Problem], error: type[InputError]) -> None:
    """Raise an error with all given problems, if there are any."""
    found = tuple(problems)
    if found:
        raise error(found)


def by_place(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems sorted by place in the file, without duplicates; unplaced ones come last."""

    def place(problem: Problem) -> tuple[bool, int, int]:
        span = problem.span
        return (span is None, span.line if span else 0, span.column if span else 0)

    return sorted(dict.fromkeys(problems), key=place)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a misspelt one, or None if none is close."""
    names = list(known)
    lowered = {n.lower(): n for n in names}
    if name.lower() in lowered:
        return lowered[name.lower()]
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known name, or lists all known names.

    Parameters
    ----------
    name : str
        Misspelt name.
    known : iterable of str
        Valid names, in any order.

    >>> did_you_mean("M2", ["M1", "P"]), did_you_mean("xyz", ["b", "a"])
    ("did you mean 'M1'?", 'known: a, b')
    """
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"known: {', '.join(sorted(names))}" if names else "none are known here"
