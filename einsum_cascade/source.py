"""Source texts and spans: where in a user's file a thing was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_EXCERPT = 120


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the name under which a user knows it (a path, or ``<text>``)."""

    name: str
    text: str

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a UTF-8 file. Raises ``OSError`` or ``UnicodeDecodeError``."""
        return cls(str(path), path.read_text(encoding="utf-8"))

    def line(self, number: int) -> str:
        """The text of line ``number`` (1-based), or an empty string past the end."""
        lines = self.text.splitlines()
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a source; ``line`` and ``column`` are 1-based."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """The source line with a caret under the span, or an empty string.

        A long line is cut around the span, and what a terminal cannot show is replaced.
        """
        text = self.source.line(self.line)
        if not text.strip():
            return ""
        start = min(self.column - 1, len(text))
        width = max(1, min(self.length, len(text) - start))
        left, right = 0, len(text)
        if len(text) > _EXCERPT:
            left = max(0, min(start - _EXCERPT // 3, len(text) - _EXCERPT))
            right = left + _EXCERPT
            width = max(1, min(width, right - start))
        shown = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text[left:right])
        pad = "".join("\t" if c == "\t" else " " for c in text[left:start])
        before, after = "..." if left else "", "..." if right < len(text) else ""
        return f"    {before}{shown}{after}\n    {' ' * len(before)}{pad}{'^' * width}"
