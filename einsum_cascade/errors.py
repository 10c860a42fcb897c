"""The error family: every mistake of a user is one of these, and renders itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .source import Span, visible


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: what is wrong, where, and what to write instead."""

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
    """A user's input is wrong. Carries every problem found; the text shows them all."""

    def __init__(self, problems: Problem | str | Sequence[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (
            (problems,) if isinstance(problems, Problem) else tuple(problems)
        )
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class CascadeError(InputError):
    """A cascade is malformed, or asked for something it does not have."""


class RewriteError(InputError):
    """A rewrite does not apply; says which condition fails."""


class EvaluationError(InputError):
    """A cascade cannot be run on the inputs it was given."""


class NotANumberError(EvaluationError):
    """Running a cascade gave what is not a number: it overflows, or has no value there."""


class SpecError(InputError):
    """An architecture, technology, workload or mapping file is wrong."""


class MappingError(InputError):
    """A mapping, as written, is not legal for its cascade on its machine."""


class NoLegalMappingError(MappingError):
    """No choice left open (a tile size to fit, a mapspace) gives a legal mapping."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a misspelt one, or None when nothing is close.

    Parameters
    ----------
    name : str
        What was written.
    known : iterable of str
        What it could mean; a name that differs in case alone comes first.

    >>> nearest("bert-bse", ["bert-base", "t5-small"]), nearest("xyz", ["bert-base"])
    ('bert-base', None)
    """
    names = list(known)
    lowered = {n.lower(): n for n in names}
    if name.lower() in lowered:
        return lowered[name.lower()]
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest right name, and else lists them all.

    Parameters
    ----------
    name : str
        As it was written.
    known : iterable of str
        What it could mean; in any order, the hint sorts.

    >>> did_you_mean("M2", ["M1", "P"]), did_you_mean("xyz", ["b", "a"])
    ("did you mean 'M1'?", 'known: a, b')
    """
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"known: {', '.join(sorted(names))}" if names else "none are known here"
