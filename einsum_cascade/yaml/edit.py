"""Edits of a specification before it is checked: settings such as ``arrays.mac.shape.rows=8``.

Settings edit the tree of YAML nodes. The checks of the file therefore apply to settings too, and an
error points at the setting.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, SpecError, did_you_mean
from ..source import Source, Span
from .source import YamlMapping, YamlNode, YamlScalar, YamlSequence, read_yaml, shorten

NAME_KEYS = ("name", "level")
"""Keys by whose value a setting may name an item of a list."""

_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_MAX_STEPS = 20
_MAX_BITS = 1000


class SettingSpan(Span):
    """Span inside a setting; it is shown as the whole setting, without line and column."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.source.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Setting of one field of a specification to a new value."""

    path: tuple[YamlScalar, ...]
    value: YamlNode

    @property
    def field(self) -> str:
        """Path of the field, with dots."""
        return ".".join(step.text for step in self.path)

    @property
    def span(self) -> Span:
        """Span of the first step of the path."""
        return self.path[0].span

    def below(self, steps: int) -> Setting:
        """Return the setting with its path relative to a node ``steps`` further down."""
        return Setting(path=self.path[steps:], value=self.value)


def parse_setting(
    text: str, prefix: str = "--set ", error: type[InputError] = SpecError
) -> Setting:
    """Return the setting that a text ``field.field=value`` states.

    The value is YAML (``64K``, ``32 MiB``, ``[Q, K]``).

    Parameters
    ----------
    text : str
        Setting to read.
    prefix : str
        Text before the setting where the user wrote it, for messages.
    error : type
        Error class to raise.

    Raises
    ------
    InputError
        (as ``error``) There is no ``=``, no field or no value, or the value is not YAML.
    """
    source = Source(prefix + shorten(text, 100), text)
    left, equals, right = text.partition("=")
    whole = SettingSpan(source, 1, 1, max(1, len(text)))
    if not equals:
        raise error("expected FIELD=VALUE, there is no '='", whole, "seq_len=64K")

    blanks = len(left) - len(left.lstrip())

    def part(start: int, end: int) -> Span:
        return SettingSpan(source, 1, blanks + start + 1, end - start)

    path = _steps(left.strip(), part, "seq_len=64K", error)
    if not right.strip():
        end = SettingSpan(source, 1, len(left) + 1, 1)
        raise error(f"no value is given for '{shorten(left.strip())}'", end)
    offset = len(left) + 1

    def place(line: int, column: int, length: int) -> Span:
        return SettingSpan(source, line, column + (offset if line == 1 else 0), length)

    return Setting(path=path, value=read_yaml(Source(source.name, right), error, place))


def python_setting(field: str, value: Any, error: type[InputError] = SpecError) -> Setting:
    """Return the setting that a keyword argument states: ``seq_len=4096`` or ``seq_len="4K"``.

    Raises
    ------
    InputError
        (as ``error``) The value is neither text nor a number.
    """
    if hasattr(value, "__index__") and not isinstance(value, bool):
        value = int(value)
        if value.bit_length() > _MAX_BITS:
            raise error(f"{field}: a number of {value.bit_length()} bits is too long")
    if not isinstance(value, str | int | float):
        raise error(f"{field}: expected a number or a text, got {type(value).__name__}")
    text = value if isinstance(value, str) else repr(value)
    source = Source(f"{field}={shorten(text)}", f"{field}={text}")
    span = SettingSpan(source, 1, len(field) + 2, max(1, len(text)))
    name = YamlScalar(span=SettingSpan(source, 1, 1, len(field)), value=field, text=field)
    return Setting(path=(name,), value=YamlScalar(span=span, value=value, text=text))


def written_setting(
    field: YamlScalar, value: YamlNode, error: type[InputError] = SpecError
) -> Setting:
    """Return the setting of a field whose path stands in a file, such as ``architecture.clock``.

    Parameters
    ----------
    field : YamlScalar
        Path with dots, as it stands in the file: errors point there.
    value : YamlNode
        New value.

    Raises
    ------
    InputError
        (as ``error``) A step of the path cannot be a field.
    """
    path = _steps(field.text, field.place, "architecture.clock", error)
    return Setting(path=path, value=value)


def apply_settings(
    root: YamlNode, settings: Iterable[Setting], error: type[InputError] = SpecError
) -> YamlNode:
    """Return the tree after every setting is applied, in order.

    A step of a path names a key of a mapping, or an item of a list by its ``name`` (or ``level``)
    or its position. A missing key is added; the schema checks it.

    Raises
    ------
    InputError
        (as ``error``) A step names no member of a list, or goes below a scalar.
    """
    for setting in settings:
        root = _set(root, setting.path, setting, error)
    return root


def _steps(
    text: str, place: Callable[[int, int], Span], example: str, error: type[InputError]
) -> tuple[YamlScalar, ...]:
    """Return the steps of a path with dots; ``place`` gives the span of each step."""
    found: list[YamlScalar] = []
    at = 0
    for step in text.split("."):
        span = place(at, at + max(1, len(step)))
        if not _STEP.fullmatch(step):
            raise error(f"'{shorten(step)}' cannot be a field", span, example)
        found.append(YamlScalar(span=span, value=step, text=step))
        at += len(step) + 1
    if len(found) > _MAX_STEPS:
        raise error(f"no field lies {len(found)} deep", found[-1].span)
    return tuple(found)


def _set(
    node: YamlNode, path: tuple[YamlScalar, ...], setting: Setting, error: type[InputError]
) -> YamlNode:
    if not path:
        return setting.value
    step, rest = path[0], path[1:]
    if isinstance(node, YamlSequence):
        at = _position(node, step, error)
        items = list(node.items)
        items[at] = _set(items[at], rest, setting, error)
        return dataclasses.replace(node, items=tuple(items))
    if not isinstance(node, YamlMapping):
        what = "a field below it" if node.kind == "nothing" else f"a field below {node.kind}"
        raise error(f"'{step.text}' cannot be {what}", step.span)
    entries = list(node.entries)
    for at, (key, value) in enumerate(entries):
        if key.text == step.text:
            entries[at] = (key, _set(value, rest, setting, error))
            break
    else:
        nothing = YamlMapping(span=step.span, entries=())
        entries.append((step, _set(nothing, rest, setting, error)))
    return dataclasses.replace(node, entries=tuple(entries))


def _position(node: YamlSequence, step: YamlScalar, error: type[InputError]) -> int:
    names = [_name_of(item) for item in node.items]
    if step.text in names:
        return names.index(step.text)
    if step.text.isdecimal() and int(step.text[:9]) < len(names):
        return int(step.text)
    known = [n for n in names if n is not None]
    raise error(f"the list has no member '{step.text}'", step.span, did_you_mean(step.text, known))


def _name_of(item: YamlNode) -> str | None:
    for key in NAME_KEYS:
        name = item.child(key)
        if isinstance(name, YamlScalar):
            return name.text
    return None
