"""Texts of users' files, and spans that point into them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape

_EXCERPT = 120

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]|\r(?!\n)"
)
"""Pattern of characters that control a terminal or change how the text around them is read."""


def visible(text: str) -> str:
    r"""Return a user's text with control characters written as escapes.

    Every text from a file, a path or a command line is passed through this function before it is
    shown on a terminal, a page or a picture. Line breaks and tabs stay.

    >>> visible("red \x1b[31m"), visible("two\nlines")
    ('red \\x1b[31m', 'two\nlines')
    """
    return text if text.isprintable() else _UNSEEN.sub(lambda found: escaped(found[0]), text)


def escaped(character: str) -> str:
    r"""Return the escape sequence of a character, such as ``\x1b``, which YAML reads as well."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def html_text(text: str) -> str:
    r"""Return a text for an HTML page: escaped, with control characters made ``visible``.

    >>> html_text("<b>\x1b")
    '&lt;b&gt;\\x1b'
    """
    return escape(visible(text))


@dataclass(frozen=True, slots=True)
class Source:
    """Text with the name under which a user knows it (a path, or ``<text>``)."""

    name: str
    text: str

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1, or an empty string past the end."""
        lines = _lines(self.text)
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@lru_cache(maxsize=1)
def _lines(text: str) -> list[str]:
    """Return the lines of a text, kept because one text may have many problems."""
    return text.splitlines()


@dataclass(frozen=True, slots=True)
class Span:
    """Part of one line of a source; ``line`` and ``column`` are 1-based."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """Return the source line with a caret under the span, or an empty string.

        A long line is cut around the span, and each unprintable character is replaced.
        """
        text = self.source.line(self.line)
        if not text or text.isspace():
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
