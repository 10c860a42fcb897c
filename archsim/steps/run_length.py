"""Run lengths of step classes: a compact sequence in which each class of equal steps is a letter.

Run lengths may also grow evenly from one repetition to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from einsum_cascade.errors import InputError
from einsum_cascade.memo import cached_property


@dataclass(frozen=True, slots=True)
class OneStep:
    """One step, identified by the number of its class."""

    kind: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Body of steps that is repeated ``count`` times, at least twice."""

    count: int
    body: OneStep | Seq


@dataclass(frozen=True)
class Seq:
    """Sequence of runs; no two neighbours are equal.

    A run often contains the same sequence in many places. The steps of a sequence are counted once.
    """

    parts: tuple[OneStep | Repeat, ...]

    @cached_property
    def by_class(self) -> dict[int, int]:
        """Number of steps of each class in the sequence, in the order of first occurrence."""
        found: dict[int, int] = {}
        for part in self.parts:
            for kind, times in steps_by_class(part).items():
                found[kind] = found.get(kind, 0) + times
        return found


RunLengths = OneStep | Repeat | Seq

EMPTY: RunLengths = Seq(())


def repeat(count: int, body: RunLengths) -> RunLengths:
    """Return ``body`` repeated several times; nested repetitions merge into one.

    >>> run_lengths_text(repeat(3, repeat(2, OneStep(0))))
    'a^6'
    """
    if count == 1:
        return body
    if count == 0 or _empty(body):
        return EMPTY
    if isinstance(body, Repeat):
        return Repeat(count * body.count, body.body)
    return Repeat(count, body)


def _empty(runs: RunLengths) -> bool:
    return isinstance(runs, Seq) and not runs.parts


def sequence(parts: Iterable[RunLengths]) -> RunLengths:
    """Return runs in sequence; equal neighbours merge into repetitions.

    >>> a, b = OneStep(0), OneStep(1)
    >>> run_lengths_text(sequence([repeat(2, a), sequence([a, b]), b]))
    'a^3 b^2'
    """
    whole = _merged((w.count, w.body) if isinstance(w, Repeat) else (1, w) for w in parts)
    flat: list[tuple[int, OneStep | Seq]] = []
    for count, body in whole:
        if count == 1 and isinstance(body, Seq):
            flat += [(p.count, p.body) if isinstance(p, Repeat) else (1, p) for p in body.parts]
        else:
            flat.append((count, body))
    # The end of a part may equal the start of the next part, once both are unrolled.
    parts = [body if count == 1 else repeat(count, body) for count, body in _merged(flat)]
    if len(parts) == 1:
        return parts[0]
    return Seq(tuple(p for p in parts if not isinstance(p, Seq)))


def _merged(parts: Iterable[tuple[int, OneStep | Seq]]) -> list[tuple[int, OneStep | Seq]]:
    found: list[tuple[int, OneStep | Seq]] = []
    for count, body in parts:
        if found and found[-1][1] == body:
            found[-1] = (found[-1][0] + count, body)
        elif not _empty(body):
            found.append((count, body))
    return found


def length(runs: RunLengths) -> int:
    """Return the number of steps of a run.

    Parameters
    ----------
    runs : RunLengths
        Run; the time depends on the number of its letters.
    """
    return sum(steps_by_class(runs).values())


def steps_by_class(runs: RunLengths) -> dict[int, int]:
    """Return how often each class of steps occurs.

    Parameters
    ----------
    runs : RunLengths
        A run.

    Returns
    -------
    dict of int to int
        Steps by class, in the order of first occurrence; a class that never occurs is absent.
    """
    if isinstance(runs, OneStep):
        return {runs.kind: 1}
    if isinstance(runs, Repeat):
        return {kind: runs.count * n for kind, n in steps_by_class(runs.body).items()}
    return dict(runs.by_class)


def unrolled(runs: RunLengths) -> Iterator[int]:
    """Yield the class number of every step, in the order of the steps.

    >>> [*unrolled(sequence([repeat(2, OneStep(0)), OneStep(1)]))]
    [0, 0, 1]
    """
    if isinstance(runs, OneStep):
        yield runs.kind
    elif isinstance(runs, Repeat):
        for _ in range(runs.count):
            yield from unrolled(runs.body)
    else:
        for part in runs.parts:
            yield from unrolled(part)


def renamed_classes(runs: RunLengths, kinds: tuple[int, ...]) -> RunLengths:
    """Return the run with each class ``k`` renamed to ``kinds[k]``.

    Classes that get equal numbers are merged.

    >>> run_lengths_text(renamed_classes(sequence([repeat(240, OneStep(0)), OneStep(1)]), (0, 0)))
    'a^241'

    Parameters
    ----------
    runs : RunLengths
        A run.
    kinds : tuple of int
        New number of every class.
    """
    if isinstance(runs, OneStep):
        return OneStep(kinds[runs.kind])
    if isinstance(runs, Repeat):
        return repeat(runs.count, renamed_classes(runs.body, kinds))
    return sequence(renamed_classes(p, kinds) for p in runs.parts)


def run_lengths_text(runs: RunLengths) -> str:
    """Return the run in letters, such as ``(a^240 b^16)^768``.

    Parameters
    ----------
    runs : RunLengths
        Run; the text of an empty run is empty.
    """
    if isinstance(runs, OneStep):
        return class_letter(runs.kind)
    if isinstance(runs, Repeat):
        body = run_lengths_text(runs.body)
        return f"{body if isinstance(runs.body, OneStep) else f'({body})'}^{runs.count}"
    return " ".join(run_lengths_text(p) for p in runs.parts)


def class_letter(kind: int) -> str:
    """Return the name of a class of steps: a to z, then s26, s27, ...

    Parameters
    ----------
    kind : int
        Number of the class, from 0.
    """
    return chr(ord("a") + kind) if kind < 26 else f"s{kind}"


MAX_VISITS = 20_000
"""Largest number of distinct places that a walk visits before it gives up, after some seconds."""


class StepsError(InputError):
    """Error for a legal mapping whose steps cannot be classed, or are too many to run.

    The engine then uses an average step instead (``engine.latency``).
    """


def growth(first: RunLengths, second: RunLengths) -> Callable[[int], RunLengths] | None:
    """Return a function of ``n`` that returns repetition ``n``, from 0, of a run that grows evenly.

    The result is None if the run does not grow evenly.

    >>> tiles = [sequence([repeat(n, OneStep(0)), OneStep(1)]) for n in (3, 5)]
    >>> run_lengths_text(growth(*tiles)(2))
    'a^7 b'

    Parameters
    ----------
    first, second : RunLengths
        First two repetitions of the run.
    """
    if first is second or first == second:
        return lambda _: first
    match first, second:
        case Repeat(count, one), Repeat(then, other):
            body = growth(one, other)
            return None if body is None else partial(_longer, count, then - count, body)
        case Seq(ones), Seq(others) if len(ones) == len(others):
            parts = [growth(*pair) for pair in zip(ones, others, strict=True)]
            grown = [part for part in parts if part is not None]
            return partial(_joined, grown) if len(grown) == len(parts) else None
    return None


def _longer(count: int, more: int, body: Callable[[int], RunLengths], n: int) -> Repeat:
    found = body(n)
    assert not isinstance(found, Repeat), "grown like what it grew from"
    return Repeat(count + n * more, found)


def _joined(parts: list[Callable[[int], RunLengths]], n: int) -> Seq:
    found = [part(n) for part in parts]
    return Seq(tuple(part for part in found if not isinstance(part, Seq)))


def rows_grown(
    first: Sequence[RunLengths],
    second: Sequence[RunLengths],
    last: Sequence[RunLengths],
    times: int,
) -> Iterator[RunLengths] | None:
    """Return the runs of all ``times`` rows, extrapolated from the first two rows and the last.

    Parameters
    ----------
    first, second, last : sequence of RunLengths
        The first, second and last row; each row is a list of runs.
    times : int
        Number of rows; at least two.

    Returns
    -------
    iterator of RunLengths or None
        Every run of every row, in order; None if a run does not grow evenly from row to row.
    """
    each = [growth(*pair) for pair in zip(first, second, strict=True)]
    grown = [run for run in each if run is not None]
    if len(grown) < len(each) or [run(times - 1) for run in grown] != list(last):
        return None
    return (run(n) for n in range(times) for run in grown)
