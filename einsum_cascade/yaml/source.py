"""Reader of YAML and JSON texts as trees of frozen nodes with positions; counts such as ``64K``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import isinf
from types import MappingProxyType
from typing import Any

import yaml

from ..errors import InputError, Problem, SpecError
from ..memo import cached_property
from ..source import Source, Span

MAX_CHARACTERS = 4_000_000
MAX_NODES = 200_000
MAX_DEPTH = 48

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STR_TAG = "tag:yaml.org,2002:str"
# Python converts at most 4300 digits between text and integer; no size needs as many.
_MAX_DIGITS = 400


@dataclass(frozen=True, kw_only=True)
class YamlNode:
    """Node of a YAML tree; ``weight`` counts the nodes below it after aliases are expanded."""

    span: Span
    weight: int = field(default=1, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """Name of the node's kind, for messages."""
        raise NotImplementedError

    def plain(self) -> Any:
        """Return the value in plain Python: dict, list, str, int, float, bool or None."""
        raise NotImplementedError

    @property
    def children(self) -> tuple[YamlNode, ...]:
        """Nodes one step down: items of a list, or values of a mapping."""
        return ()

    def child(self, step: str | int) -> YamlNode | None:  # noqa: ARG002
        """Return the node one step down, at a key or a list position, or None."""
        return None

    def at(self, path: Path) -> YamlNode | None:
        """Return the node at the end of a path of keys and list positions, or None."""
        node: YamlNode | None = self
        for step in path:
            if node is None:
                return None
            node = node.child(step)
        return node

    def span_of(self, path: Path) -> Span:
        """Return the span of the deepest node that exists along a path."""
        node = self
        for step in path:
            below = node.child(step)
            if below is None:
                return node.span
            node = below
        return node.span

    def key_span(self, path: Path) -> Span:
        """Return the span of the last key of a path; without a key, the span of the node."""
        parent = self.at(path[:-1])
        if isinstance(parent, YamlMapping) and path:
            for key, _ in parent.entries:
                if key.text == path[-1]:
                    return key.span
        return self.span_of(path)


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Place in a file, given by a path below its root, at which problems may be reported."""

    root: YamlNode
    path: Path = ()

    def below(self, *steps: str | int) -> FilePlace:
        """Return the place that is further steps below this one."""
        return FilePlace(self.root, (*self.path, *steps))

    @property
    def span(self) -> Span:
        """Span of the value, or of the deepest node that exists along the path."""
        return self.root.span_of(self.path)

    @property
    def key_span(self) -> Span:
        """Span of the last key of the path."""
        return self.root.key_span(self.path)

    def problem(self, text: str, hint: str = "") -> Problem:
        """Return a problem that points at the value."""
        return Problem(text, self.span, hint)

    def key_problem(self, text: str, hint: str = "") -> Problem:
        """Return a problem that points at the key of the field."""
        return Problem(text, self.key_span, hint)


@dataclass(frozen=True, kw_only=True)
class YamlScalar(YamlNode):
    """Scalar node with its ``value`` by the YAML core schema and its ``text`` as written.

    ``style`` is None (plain), ``'``, ``"``, ``|`` or ``>``; ``end`` is the 0-based line and column
    just past the scalar.
    """

    value: Scalar
    text: str
    style: str | None = None
    end: tuple[int, int] = (0, 0)

    @property
    def kind(self) -> str:
        """Name of the node's kind, for messages."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return f"'{self.text}'"
            case int() | float():
                return f"the number {shorten(self.text)}"
            case _:
                return f"the text '{shorten(self.text)}'"

    def plain(self) -> Scalar:
        """Return the value of the scalar."""
        return self.value

    @cached_property
    def _positions(self) -> tuple[tuple[int, int], ...]:
        return tuple(_align(self))

    def place(self, start: int, end: int | None = None) -> Span:
        """Return the span in the file of ``text[start:end]``, clipped to its first line.

        A blank is placed at the next character that is not blank. The span of a blank text is the
        whole scalar.

        Parameters
        ----------
        start, end : int
            Positions in ``text``, after quotes, escapes and folding are resolved; without ``end``
            one character.
        """
        if not self.text.strip():
            return self.span
        places = self._positions
        start = max(0, min(start, len(places) - 1))
        while start < len(places) - 1 and self.text[start].isspace():
            start += 1
        line, column = places[start]
        last = max(start, (start + 1 if end is None else end) - 1)
        length = 1
        for at in range(min(last, len(places) - 1), start, -1):
            if places[at][0] == line and not self.text[at].isspace():
                length = places[at][1] - column + 1
                break
        return Span(self.span.source, line + 1, column + 1, length)


@dataclass(frozen=True, kw_only=True)
class YamlSequence(YamlNode):
    """Node of a list, with its items."""

    items: tuple[YamlNode, ...]

    @property
    def kind(self) -> str:
        """Name of the node's kind, for messages."""
        return "a list"

    @property
    def children(self) -> tuple[YamlNode, ...]:
        """Items of the list."""
        return self.items

    def plain(self) -> list[Any]:
        """Return the list with plain Python values as items."""
        return [item.plain() for item in self.items]

    def child(self, step: str | int) -> YamlNode | None:
        """Return the item at a position, or None."""
        if isinstance(step, int) and 0 <= step < len(self.items):
            return self.items[step]
        return None


@dataclass(frozen=True, kw_only=True)
class YamlMapping(YamlNode):
    """Node of a mapping; keys are text and occur once each, in written order."""

    entries: tuple[tuple[YamlScalar, YamlNode], ...]

    @property
    def kind(self) -> str:
        """Name of the node's kind, for messages."""
        return "a mapping"

    @property
    def children(self) -> tuple[YamlNode, ...]:
        """Values of the mapping."""
        return tuple(value for _, value in self.entries)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the mapping in written order."""
        return tuple(key.text for key, _ in self.entries)

    def plain(self) -> dict[str, Any]:
        """Return the mapping as a dict of plain Python values."""
        return {key.text: value.plain() for key, value in self.entries}

    def child(self, step: str | int) -> YamlNode | None:
        """Return the value of a key or at a position, or None."""
        for at, (key, value) in enumerate(self.entries):
            if step in (key.text, at):
                return value
        return None


def shorten(text: str, width: int = 40) -> str:
    """Return a text on one line, cut to ``width`` characters with ``...`` included.

    Line breaks and tabs become blanks.
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


Place = Callable[[int, int, int], Span]
"""Function that makes a span from a line, a column (both 1-based) and a length."""


def read_yaml(
    source: Source, error: type[InputError] = SpecError, place: Place | None = None
) -> YamlNode:
    """Return the tree of the YAML or JSON document that a source holds.

    Parameters
    ----------
    source : Source
        Text and its name.
    error : type
        Error class to raise.
    place : callable, optional
        Function that makes spans; by default they lie in the source.

    Raises
    ------
    InputError
        (as ``error``) The text is not YAML, is empty, has several documents, repeats a key, uses
        tags or merge keys, or is too large, too deep or expands too far.
    """
    start = place(1, 1, 1) if place else None
    if place is None:
        place = partial(Span, source)
    if len(source.text) > MAX_CHARACTERS:
        raise error(
            f"{source.name}: {len(source.text)} characters are more than a specification"
            f" may have ({MAX_CHARACTERS})",
            start,
        )
    builder = _NodeBuilder(place, error)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(source.text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as wrong:
        raise error(_yaml_problem(source, wrong, place)) from None
    except (yaml.reader.ReaderError, UnicodeEncodeError) as wrong:
        at = next((i for i, c in enumerate(source.text) if not _printable(c)), None)
        if at is None:
            raise error(f"{source.name}: this is not YAML: {wrong}", start) from None
        character = f"U+{ord(source.text[at]):04X}"
        span = place(*_line_and_column(source.text, at), 1)
        raise error(f"this is not YAML: the character {character} is not allowed", span) from None
    if builder.root is None:
        raise error(f"{source.name}: the file is empty", start)
    return builder.root


def _yaml_problem(source: Source, wrong: yaml.MarkedYAMLError, place: Place) -> Problem:
    mark = wrong.problem_mark or wrong.context_mark
    what = "; ".join(t for t in (wrong.problem, wrong.context) if t)
    hint = None
    if "mapping values" in what:
        hint = "quote a text that holds ': ', or write it as a block after '|'"
    elif "\\t" in what or (mark and "\t" in source.line(mark.line + 1)[: mark.column + 1]):
        hint = "indent with spaces, not tabs"
    span = place(mark.line + 1, mark.column + 1, 1) if mark else None
    return Problem(f"this is not YAML: {what}", span, hint)


def _line_and_column(text: str, at: int) -> tuple[int, int]:
    """Return the line and the column, both 1-based, of the character at a position."""
    lines = text[:at].splitlines() or [""]
    if text[:at].endswith("\n"):
        lines.append("")
    return len(lines), len(lines[-1]) + 1


def _printable(c: str) -> bool:
    return c in "\t\n\r\x85" or " " <= c <= "~" or "\xa0" <= c <= "\ud7ff" or c >= "\ue000"


@dataclass
class _Open:
    """List or mapping whose items are still being read."""

    span: Span
    is_mapping: bool
    anchor: str | None
    items: list[YamlNode] = field(default_factory=list)
    weight: int = 1


class _NodeBuilder:
    """Builder of a tree of nodes from parser events, without recursion and with limits on size."""

    def __init__(self, place: Place, error: type[InputError]) -> None:
        self.place = place
        self.error = error
        self.root: YamlNode | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, YamlNode | None] = {}
        self.documents = 0

    def take(self, event: Any) -> None:
        """Add one parser event to the tree."""
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self.fail("one document is expected, a second one starts here", event)
            case yaml.ScalarEvent():
                self._tag(event, (_STR_TAG,))
                self._add(self._scalar(event), event.anchor)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event)

    def fail(self, message: str, event: Any, hint: str | None = None) -> None:
        """Raise an error whose problem points at a parser event."""
        raise self.error(message, self._span(event), hint)

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return self.place(start.line + 1, start.column + 1, max(1, length))

    def _tag(self, event: Any, allowed: tuple[str, ...]) -> None:
        if event.tag is not None and event.tag not in allowed:
            self.fail(f"tags such as '{shorten(event.tag)}' are not read here", event)

    def _scalar(self, event: Any) -> YamlScalar:
        text = event.value
        value: Scalar = text
        if not event.style and event.tag is None:
            if len(text) > _MAX_DIGITS and _INT.fullmatch(text):
                self.fail(f"a number of {len(text)} digits is too long", event)
            value = resolve(text)
            if isinstance(value, float) and isinf(value) and not _SPECIAL.fullmatch(text):
                self.fail(f"'{shorten(text)}' is too large for a float64", event)
        span, style = self._span(event), event.style or None
        end = (event.end_mark.line, event.end_mark.column)
        return YamlScalar(span=span, value=value, text=text, style=style, end=end)

    def _open(self, event: Any) -> None:
        self._tag(event, ())
        if len(self.stack) >= MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} deep", event)
        if event.anchor:
            self.anchors[event.anchor] = None
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.stack.append(_Open(self._span(event), is_mapping, event.anchor))

    def _close(self) -> None:
        top = self.stack.pop()
        node: YamlNode
        if top.is_mapping:
            node = YamlMapping(span=top.span, weight=top.weight, entries=tuple(self._pairs(top)))
        else:
            node = YamlSequence(span=top.span, weight=top.weight, items=tuple(top.items))
        self._add(node, top.anchor)

    def _pairs(self, top: _Open) -> Iterator[tuple[YamlScalar, YamlNode]]:
        seen: dict[str, YamlScalar] = {}
        for key, value in zip(top.items[::2], top.items[1::2], strict=True):
            if not isinstance(key, YamlScalar):
                raise self.error(f"a key must be a name, not {key.kind}", key.span)
            if key.text == "<<" and key.style is None:
                raise self.error("merge keys ('<<') are not read here", key.span)
            if key.text in seen:
                first = seen[key.text].span.line
                raise self.error(
                    f"'{shorten(key.text)}' is given twice (first on line {first})", key.span
                )
            seen[key.text] = key
            yield key, value

    def _alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self.fail(f"no '&{event.anchor}' comes before this '*{event.anchor}'", event)
        node = self.anchors[event.anchor]
        if node is None:
            self.fail(f"'*{event.anchor}' holds itself", event)
            return
        self._add(node, None)

    def _add(self, node: YamlNode, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        top.items.append(node)
        top.weight += node.weight
        if top.weight > MAX_NODES:
            raise self.error(
                f"this expands to more than {MAX_NODES} values; it is refused", node.span
            )


def resolve(text: str) -> Scalar:
    """Return the value of an unquoted scalar by the YAML 1.2 core schema.

    Rules of YAML 1.1 do not apply: ``no`` is a text, and ``010`` is the number ten.

    >>> [resolve(t) for t in ("no", "010", "0o10", "1e6", "~")]
    ['no', 10, 8, 1000000.0, None]
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        bases = {"0o": 8, "0x": 16}
        return int(text, bases.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        if special[3]:
            return float("nan")
        return float("-inf") if special[1] == "-" else float("inf")
    return text


def _align(scalar: YamlScalar) -> Iterator[tuple[int, int]]:
    """Yield the 0-based line and column in the file of every character of a scalar.

    Folding and indentation only change blanks, so other characters come in the same order in the
    text and in the file. An escape is placed at its first plausible position, never past the
    scalar's end.
    """
    source = scalar.span.source
    lines = source.text.splitlines()
    line, column = scalar.span.line - 1, scalar.span.column - 1
    last, last_column = scalar.end
    if scalar.style in ("|", ">"):
        line, column = line + 1, 0
    elif scalar.style in ("'", '"'):
        column += 1
    place = (line, column)
    for character in scalar.text:
        if character.isspace():
            yield place
            continue
        found = None
        at_line, at_column = line, column
        while at_line < len(lines) and at_line <= last:
            stop = last_column if at_line == last else len(lines[at_line])
            hit = lines[at_line].find(character, at_column, max(stop, 0))
            if hit >= 0:
                found = (at_line, hit)
                break
            at_line, at_column = at_line + 1, 0
        if found is not None:
            place = found
            line, column = found[0], found[1] + 1
        yield place


LARGEST_COUNT = 10**15
"""Largest count that is accepted; anything larger is a typing error."""

_COUNT = re.compile(r"([-+]?)([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMG]?)")
_BINARY = MappingProxyType({"": 1, "K": 2**10, "M": 2**20, "G": 2**30})
_MAX_COUNT_CHARACTERS = 40


def exact_number(value: str | float) -> Fraction | None:
    """Return the exact number that a text or float states; K, M and G are binary.

    The result is None if the text is no number, or if the number is not finite.

    Parameters
    ----------
    value : str or float
        Value as read; a text has at most 40 characters.

    >>> exact_number("1.5K"), exact_number(0.5), exact_number("many")
    (Fraction(1536, 1), Fraction(1, 2), None)
    """
    if not isinstance(value, str):
        return Fraction(value) if value - value == 0 else None
    found = _COUNT.fullmatch(value.strip())
    if found is None or len(value) > _MAX_COUNT_CHARACTERS:
        return None
    sign, digits, suffix = found.groups()
    return Fraction(f"{sign}{digits.replace('_', '')}") * _BINARY[suffix]
