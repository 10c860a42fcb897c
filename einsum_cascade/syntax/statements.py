"""Text to statements: cutting a block of equations and parsing each piece with lark.

A block is cut first, so that one mistake spoils one statement only and every mistake of
a block is reported, each at its place in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ..errors import Problem
from ..source import Span
from ..yaml.source import YamlScalar

MAX_DEPTH = 80
"""How deep an expression may nest; a longer sum is better written as two Einsums."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STARTS = re.compile(r"[ \t]*[A-Za-z_]\w*[ \t]*(\[[^=\n<>]*\][ \t]*)?(=(?!=)|<<)")
_CONTINUES = re.compile(r"[ \t]*(::|where\b)")
_OPEN, _CLOSE = "([{", ")]}"
_LOOK_ALIKES = {
    "×": "*",
    "·": "*",
    "⋅": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "∧": "and",
    "∨": "or",
    "¬": "not",
    "∞": "inf",
    "^": "**",
    "{": "( or [",
    "}": ") or ]",
    "&": "and",
    "|": "or",
    "!": "not",
}
_WORDS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "INF": None,
    "COMPARE": "a comparison",
    "ASSIGN": "'='",
    "SELECT": "'<<'",
    "REDUCE": "'::'",
    "POWER": "an operator",
    "TIMES": "an operator",
    "DIVIDE": "an operator",
    "PLUS": "an operator",
    "MINUS": "an operator",
    "LSQB": "'['",
    "RSQB": "']'",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "AND": None,
    "OR": None,
    "NOT": None,
    "WHERE": "'where'",
    "$END": "the end of the statement",
}


@dataclass(frozen=True)
class Piece:
    """Part of a scalar of the file: one statement, or one expression."""

    scalar: YamlScalar
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters of the piece."""
        return self.scalar.text[self.start : self.end]

    def span(self, start: int, end: int) -> Span:
        """The place in the file of a part of the piece."""
        return self.scalar.place(self.start + start, self.start + end)

    @property
    def names(self) -> frozenset[str]:
        """Everything in the piece that looks like a name."""
        return frozenset(_NAME.findall(re.sub(r"#[^\n]*", "", self.text)))


@dataclass(frozen=True)
class Statement:
    """A statement that parsed, not yet converted. ``target`` is the tensor it writes."""

    piece: Piece
    tree: Any

    @property
    def target(self) -> str:
        """The tensor on the left."""
        return str(self.tree.children[0].children[0])

    @property
    def is_scalar(self) -> bool:
        """Whether the left side has no indices."""
        return len(self.tree.children[0].children) == 1


@cache
def _grammar() -> Lark:
    text = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        start=["statement", "expression"],
        propagate_positions=True,
        maybe_placeholders=False,
    )


# ------------------------------------------------------------------------- cutting


def cut(scalar: YamlScalar) -> tuple[tuple[Piece, ...], tuple[Problem, ...]]:
    """Cut a block into statements at newlines and ``;`` outside brackets.

    A line that begins with ``::`` or ``where`` continues the statement before it.
    """
    text = scalar.text
    pieces: list[Piece] = []
    problems: list[Problem] = []
    opened: list[int] = []
    start = at = 0

    def finish(end: int) -> None:
        nonlocal start
        if opened:
            what = f"'{text[opened[-1]]}' is never closed"
            problems.append(Problem(what, scalar.place(opened[-1])))
            opened.clear()
        else:
            pieces.extend(_trimmed(scalar, start, end))
        start = end + 1

    while at < len(text):
        c = text[at]
        if c == "#":
            at = _line_end(text, at)
            continue
        if c in _OPEN:
            opened.append(at)
        elif c in _CLOSE and opened:
            opened.pop()
        elif c == ";" or (c == "\n" and _ends_statement(text, at, bool(opened))):
            finish(at)
        at += 1
    finish(len(text))
    return tuple(pieces), tuple(problems)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _ends_statement(text: str, newline: int, inside: bool) -> bool:
    # Inside brackets a line that reads like a new statement means one was left open.
    if inside:
        return _STARTS.match(text, newline + 1) is not None
    return _CONTINUES.match(text, newline + 1) is None


def _trimmed(scalar: YamlScalar, start: int, end: int) -> Iterator[Piece]:
    text = re.sub(r"#[^\n]*", lambda m: " " * len(m[0]), scalar.text[start:end])
    if text.strip():
        first = start + len(text) - len(text.lstrip())
        yield Piece(scalar, first, start + len(text.rstrip()))


# ------------------------------------------------------------------------- parsing


def parse_piece(piece: Piece, start: str) -> tuple[Any, tuple[Problem, ...]]:
    """The lark tree of a piece (``start``: statement or expression), or its problems."""
    try:
        tree = _grammar().parse(piece.text, start=start)
    except UnexpectedInput as wrong:
        return None, (_syntax_problem(piece, wrong),)
    if _depth(tree) > MAX_DEPTH:
        what = f"this nests more than {MAX_DEPTH} deep; write it as several statements"
        return None, (Problem(what, piece.span(0, len(piece.text))),)
    return tree, ()


def _depth(tree: Any) -> int:
    deepest = 0
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        deepest = max(deepest, depth)
        stack.extend((c, depth + 1) for c in node.children if isinstance(c, Tree))
    return deepest


def _syntax_problem(piece: Piece, wrong: UnexpectedInput) -> Problem:
    text = piece.text
    token = ""
    expected: Any
    if isinstance(wrong, UnexpectedCharacters):
        at = wrong.pos_in_stream or 0
        token = text[at]
        expected = wrong.allowed
    elif isinstance(wrong, UnexpectedToken) and wrong.token.type != "$END":
        at = wrong.token.start_pos or 0
        token = str(wrong.token)
        expected = wrong.accepts or wrong.expected
    else:
        at = max(0, len(text) - 1)
        expected = getattr(wrong, "accepts", None) or getattr(wrong, "expected", None)
    hint = f"expected {_expected(expected)}"
    if token in _LOOK_ALIKES:
        hint = f"write {_LOOK_ALIKES[token]}"
    elif token in ("=", "<<"):
        hint = "one '=' a statement; a comparison is written '=='"
    if piece.scalar.style not in ("|", ">") and piece.scalar.end[0] >= piece.scalar.span.line:
        hint = "start the block with '|' so that its lines stay apart"
    if not token:
        return Problem("the statement ends too early", piece.span(at, len(text)), hint)
    shown = token if token.isprintable() else f"U+{ord(token[0]):04X}"
    return Problem(f"'{shown}' is not expected here", piece.span(at, at + len(token)), hint)


def _expected(terminals: Any) -> str:
    words = [_WORDS.get(t) for t in sorted(terminals or ())]
    names = list(dict.fromkeys(w for w in words if w))
    if "a name" in names and "'('" in names:
        names = ["a name, a number or '('"]
    return " or ".join(names) if names else "something else"
