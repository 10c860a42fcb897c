"""Rows of a run that are alike but for loops that go on longer in each: found in its letters.

Under a causal mask every tile of queries has so many keys more than the one before. The kernel
runs some such rows and knows the rest (``kernel``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..steps.run_length import OneStep, Repeat, RunLengths, Seq, steps_by_class

_FEWEST = 6
"""Rows below which nothing is gained: some are run to know the others."""


@dataclass(frozen=True, slots=True)
class GrowingPart:
    """A repetition, ``count`` times in the first row and ``more`` times more in each next one."""

    count: int
    more: int
    body: OneStep | Seq


@dataclass(frozen=True, slots=True)
class EvenRows:
    """``count`` rows, one after the other, of which the first is given."""

    count: int
    parts: tuple[GrowingPart, ...]


def with_rows(
    parts: Sequence[RunLengths], busy: Callable[[RunLengths], frozenset[str]]
) -> Iterator[RunLengths | EvenRows]:
    """The parts of a sequence, those together that are rows which grow evenly.

    >>> from ..steps.run_length import repeat, sequence
    >>> a, b = OneStep(0), OneStep(1)
    >>> run = sequence(part for n in range(1, 9) for part in (a, repeat(2 * n, b)))
    >>> [rows] = with_rows(run.parts, lambda _: frozenset({"DRAM"}))
    >>> rows.count, [(part.count, part.more) for part in rows.parts]
    (8, [(1, 0), (2, 2)])

    Parameters
    ----------
    parts : sequence of RunLengths
        What comes one after the other, no two neighbours the same.
    busy : callable
        The resources that are used in a part. What grows uses all that its row does: else one
        stood still for longer in every row, and what waits for it might change.
    """
    pairs = [(p.count, p.body) if isinstance(p, Repeat) else (1, p) for p in parts]
    numbers: dict[OneStep | Seq, int] = {}
    bodies = [numbers.setdefault(body, len(numbers)) for _, body in pairs]
    counts = [count for count, _ in pairs]
    again = _next_alike(bodies)
    at = 0
    while at < len(parts):
        apart = again[at]
        alike = _grown_evenly(bodies, counts, at, apart) if apart else 0
        rows = alike // apart if apart else 0
        first = tuple(
            GrowingPart(counts[i], counts[i + apart] - counts[i], pairs[i][1])
            for i in range(at, at + apart if rows >= _FEWEST else at)
        )
        if first and any(p.more for p in first) and _is_busy(first, busy):
            yield EvenRows(rows, first)
            at += rows * apart
        else:
            # No other rows as far apart begin before where these end.
            end = at + max(1, alike - 2 * apart)
            yield from parts[at:end]
            at = end


def _next_alike(bodies: Sequence[int]) -> list[int]:
    """By part, how far it is to the next one with the same body; 0: there is none."""
    found = [0] * len(bodies)
    last: dict[int, int] = {}
    for at in reversed(range(len(bodies))):
        found[at] = last.get(bodies[at], at) - at
        last[bodies[at]] = at
    return found


def _grown_evenly(bodies: Sequence[int], counts: Sequence[int], at: int, apart: int) -> int:
    """How many parts from one on are rows, ``apart`` parts each, that grow evenly.

    Of ``a b^2 a b^4 a b^6 c`` (counts 1, 2, 1, 4, 1, 6) six parts are rows of two: each count lies
    in the middle of those ``apart`` before and behind it.
    """
    end = at
    while (
        end + 2 * apart < len(bodies)
        and bodies[end] == bodies[end + apart] == bodies[end + 2 * apart]
        and counts[end] + counts[end + 2 * apart] == 2 * counts[end + apart]
    ):
        end += 1
    return end - at + 2 * apart if end > at else 0


def _is_busy(parts: tuple[GrowingPart, ...], busy: Callable[[RunLengths], frozenset[str]]) -> bool:
    """Whether whatever is used in a row is used in all of its parts that grow."""
    used = [busy(p.body) for p in parts]
    every = frozenset[str]().union(*used)
    return all(here == every for p, here in zip(parts, used, strict=True) if p.more)


def resources_used(uses: Sequence[frozenset[str]], runs: RunLengths) -> frozenset[str]:
    """What the steps of a run use, by what those of each class do."""
    return frozenset[str]().union(*(uses[kind] for kind in steps_by_class(runs)))
