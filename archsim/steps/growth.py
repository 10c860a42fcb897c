"""Runs that grow evenly: the same letters, repeated so many times more each time.

Under a causal mask every tile of queries has so many keys more than the one before. What its
steps do is told by the first of a long row of such tiles, the next and the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .run_length import OneStep, Repeat, RunLengths, Seq

_Inner = OneStep | Seq


def evenly_grown(
    first: RunLengths, second: RunLengths, last: RunLengths, times: int
) -> Callable[[int], RunLengths] | None:
    """What a run is the how many-th time, from 0; None where it does not grow evenly.

    >>> from .run_length import repeat, run_lengths_text, sequence
    >>> tiles = [sequence([repeat(n, OneStep(0)), OneStep(1)]) for n in (3, 5, 21)]
    >>> at = evenly_grown(*tiles, times=10)
    >>> run_lengths_text(at(2))
    'a^7 b'

    Parameters
    ----------
    first, second, last : RunLengths
        What it is at three of its times.
    times : int
        How often it comes; at least twice.
    """
    if first == second == last:
        return lambda _: first
    match first, second, last:
        case Repeat(), Repeat(), Repeat():
            return _repeat(first, second, last, times)
        case Seq(), Seq(), Seq() if len(first.parts) == len(second.parts) == len(last.parts):
            return _sequence(first, second, last, times)
    return None


def _repeat(
    first: Repeat, second: Repeat, last: Repeat, times: int
) -> Callable[[int], RunLengths] | None:
    count, more = first.count, second.count - first.count
    if count + more * (times - 1) != last.count:
        return None
    if first.body == second.body == last.body:
        body = first.body
        return lambda n: Repeat(count + more * n, body)
    inner = evenly_grown(first.body, second.body, last.body, times)
    if inner is None:
        return None

    def at(n: int) -> RunLengths:
        grown = inner(n)
        assert not isinstance(grown, Repeat), "grown like what it grew from"
        return Repeat(count + more * n, grown)

    return at


def _sequence(first: Seq, second: Seq, last: Seq, times: int) -> Callable[[int], RunLengths] | None:
    found: list[Callable[[int], RunLengths]] = []
    for parts in zip(first.parts, second.parts, last.parts, strict=True):
        inner = evenly_grown(*parts, times)
        if inner is None:
            return None
        found.append(inner)

    def at(n: int) -> RunLengths:
        grown = [inner(n) for inner in found]
        return Seq(tuple([part for part in grown if not isinstance(part, Seq)]))

    return at


def rows_grown(
    first: Sequence[RunLengths],
    second: Sequence[RunLengths],
    last: Sequence[RunLengths],
    times: int,
) -> Iterator[RunLengths] | None:
    """All runs of ``times`` rows that grow evenly, by the first two rows and the last; or None.

    Parameters
    ----------
    first, second, last : sequence of RunLengths
        Three of the rows, part by part.
    times : int
        Rows in all.

    Returns
    -------
    iterator of RunLengths or None
        Every part of every row, in order; None where a part does not grow evenly.
    """
    found: list[Callable[[int], RunLengths]] = []
    for each in zip(first, second, last, strict=True):
        grown = evenly_grown(*each, times)
        if grown is None:
            return None
        found.append(grown)
    return (at(n) for n in range(times) for at in found)
