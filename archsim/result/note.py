"""Notes: sentences about costs that a result includes or leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from typing_extensions import override

NoteKind = Literal[
    "scope",
    "approximation",
    "rewrite",
    "mapping",
    "cores",
    "format",
    "mask",
    "spill",
    "timing",
    "price",
    "power",
]
"""Subjects of notes."""


class Note(str):
    """Sentence about costs that a result includes or leaves out, with its subject and part."""

    kind: NoteKind
    part: str
    """Parts of the workload that the note is about; empty if it is about the whole."""

    def __new__(cls, text: str, kind: NoteKind, part: str = "") -> Self:
        """Return a note with the given text."""
        found = super().__new__(cls, text)
        found.kind, found.part = kind, part
        return found

    @override
    def __reduce__(self) -> tuple[type[Self], tuple[str, NoteKind, str]]:
        """Return what makes a copy."""
        return type(self), (str(self), self.kind, self.part)

    def to_dict(self) -> dict[str, str]:
        """Return the JSON object of the note."""
        return {"part": self.part, "kind": self.kind, "text": str(self)}


def noted(kind: NoteKind, texts: Iterable[str]) -> tuple[Note, ...]:
    """Return sentences as notes of one kind."""
    return tuple(Note(text, kind) for text in texts)
