"""A run as a word of step classes: steps that do the same work are one letter.

The word of a loop nest is a tree of repetitions, ``((a^1040 b^16))^768``, so that a run of
any length is a few letters long. Equal neighbours are merged as the word is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step, by the number of its class."""

    kind: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """A word several times in a row; ``count`` is at least two."""

    count: int
    body: Step | Seq


@dataclass(frozen=True, slots=True)
class Seq:
    """Words one after the other, no two neighbours alike."""

    parts: tuple[Step | Repeat, ...]


Word = Step | Repeat | Seq

EMPTY = Seq(())


def repeat(count: int, body: Word) -> Word:
    """``body`` so many times; a repetition of a repetition is one."""
    if count == 1:
        return body
    if count == 0 or _empty(body):
        return EMPTY
    if isinstance(body, Repeat):
        return Repeat(count * body.count, body.body)
    return Repeat(count, body)


def _empty(word: Word) -> bool:
    return isinstance(word, Seq) and not word.parts


def sequence(words: Iterable[Word]) -> Word:
    """Words one after the other, equal neighbours merged into repetitions."""
    whole = _merged((w.count, w.body) if isinstance(w, Repeat) else (1, w) for w in words)
    flat: list[tuple[int, Step | Seq]] = []
    for count, body in whole:
        if count == 1 and isinstance(body, Seq):
            flat += [(p.count, p.body) if isinstance(p, Repeat) else (1, p) for p in body.parts]
        else:
            flat.append((count, body))
    parts = [body if count == 1 else repeat(count, body) for count, body in _merged(flat)]
    if len(parts) == 1:
        return parts[0]
    return Seq(tuple(p for p in parts if not isinstance(p, Seq)))


def _merged(words: Iterable[tuple[int, Step | Seq]]) -> list[tuple[int, Step | Seq]]:
    found: list[tuple[int, Step | Seq]] = []
    for count, body in words:
        if found and found[-1][1] == body:
            found[-1] = (found[-1][0] + count, body)
        elif not _empty(body):
            found.append((count, body))
    return found


def length(word: Word) -> int:
    """Steps of a word."""
    if isinstance(word, Step):
        return 1
    if isinstance(word, Repeat):
        return word.count * length(word.body)
    return sum(length(p) for p in word.parts)


def tally(word: Word) -> dict[int, int]:
    """How often each class occurs."""
    found: dict[int, int] = {}
    queue: list[tuple[int, Word]] = [(1, word)]
    while queue:
        times, part = queue.pop()
        if isinstance(part, Repeat):
            times, part = times * part.count, part.body
        if isinstance(part, Step):
            found[part.kind] = found.get(part.kind, 0) + times
        else:
            queue.extend((times, p) for p in reversed(part.parts))
    return found


def unrolled(word: Word) -> Iterator[int]:
    """The class of every step in turn."""
    if isinstance(word, Step):
        yield word.kind
    elif isinstance(word, Repeat):
        for _ in range(word.count):
            yield from unrolled(word.body)
    else:
        for part in word.parts:
            yield from unrolled(part)


def relabelled(word: Word, kinds: tuple[int, ...]) -> Word:
    """The word with class ``k`` called ``kinds[k]``, merged anew where classes coincide."""
    if isinstance(word, Step):
        return Step(kinds[word.kind])
    if isinstance(word, Repeat):
        return repeat(word.count, relabelled(word.body, kinds))
    return sequence(relabelled(p, kinds) for p in word.parts)


def spelled(word: Word) -> str:
    """The word in letters: ``(a^240 b^16)^768``."""
    if isinstance(word, Step):
        return _letter(word.kind)
    if isinstance(word, Repeat):
        body = spelled(word.body)
        return f"{body if isinstance(word.body, Step) else f'({body})'}^{word.count}"
    return " ".join(spelled(p) for p in word.parts)


def _letter(kind: int) -> str:
    return chr(ord("a") + kind) if kind < 26 else f"s{kind}"
