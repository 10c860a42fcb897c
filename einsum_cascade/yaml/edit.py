"""Edits of a specification before it is checked: settings, and what it takes from another one.

A setting such as ``arrays.mac.shape.rows=8`` edits the tree of YAML nodes. The checks of the file
therefore apply to settings too, and an error points at the setting. A tree merged from two files
keeps the spans of both.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, SpecError, did_you_mean
from ..source import Source, Span
from .source import YamlMapping, YamlNode, YamlScalar, YamlSequence, read_yaml, shorten

NAME_KEYS = ("name", "level")
"""Keys by whose value a setting may name an item of a list."""

REPLACED_KEYS = ("bill",)
"""Keys whose mapping replaces an inherited one: a sum of costs has no single entries."""

JOINED_KEYS = ("evidence",)
"""Keys whose mapping lists paths by kind. An inherited path stays, unless a path at or above it is
stated; a field that the node itself states counts as ``assumed`` unless the node lists its path."""

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
    name = _name_node(item)
    return None if name is None else name.text


def _name_node(item: YamlNode) -> YamlScalar | None:
    for key in NAME_KEYS:
        name = item.child(key)
        if isinstance(name, YamlScalar):
            return name
    return None


def merged(base: YamlNode, own: YamlNode, error: type[InputError] = SpecError) -> YamlNode:
    """Return a node completed by a base: what the node states wins.

    Mappings are merged by key, and lists of named items by name; the node may state the items of
    such a list as a mapping, too. ``null`` removes a key or an item of the base. Any other value
    replaces that of the base.

    Raises
    ------
    InputError
        (as ``error``) An item is stated twice, or is to be removed and does not exist.
    """
    if isinstance(base, YamlMapping) and isinstance(own, YamlMapping):
        return dataclasses.replace(own, entries=_merged_entries(base, own, error))
    if isinstance(base, YamlSequence) and (items := _named_items(own)):
        named = {_name_of(item): item for item in base.items}
        if None not in named and len(named) == len(base.items):
            return YamlSequence(span=own.span, items=tuple(_merged_items(named, items, error)))
    return own


def _merged_entries(
    base: YamlMapping, own: YamlMapping, error: type[InputError]
) -> tuple[tuple[YamlScalar, YamlNode], ...]:
    stated = {key.text: (key, value) for key, value in own.entries}
    found: list[tuple[YamlScalar, YamlNode]] = []
    for key, value in base.entries:
        own_key, own_value = stated.pop(key.text, (key, value))
        if key.text in JOINED_KEYS:
            overridden = _joined(value, _assumed(own))
            own_value = overridden if own_value is value else _joined(overridden, own_value)
            found.append((own_key, own_value))
        elif own_value is value or key.text in REPLACED_KEYS:
            found.append((own_key, own_value))
        elif not _is_null(own_value):
            found.append((own_key, merged(value, own_value, error)))
    return (*found, *stated.values())


def _joined(base: YamlNode, own: YamlNode) -> YamlNode:
    """Return lists of paths by kind, with the paths of a base that no stated path covers."""
    if not isinstance(base, YamlMapping) or not isinstance(own, YamlMapping):
        return own
    stated = tuple(f"{_text(path)}." for _, listed in own.entries for path in _paths(listed))
    found: dict[str, tuple[YamlScalar, YamlNode]] = {}
    for key, listed in base.entries:
        left = tuple(p for p in _paths(listed) if not f"{_text(p)}.".startswith(stated))
        found[key.text] = (key, YamlSequence(span=listed.span, items=left))
    for key, listed in own.entries:
        if key.text in found and (paths := _paths(listed)):
            inherited = found[key.text][1].children
            listed = YamlSequence(span=listed.span, items=(*inherited, *paths))
        found[key.text] = (key, listed)
    return dataclasses.replace(own, entries=tuple(e for e in found.values() if not _is_null(e[1])))


def _assumed(own: YamlMapping) -> YamlNode:
    """Return a list of the paths of all fields that a node states, as assumed."""
    fields = tuple(dataclasses.replace(k, value=path, text=path) for path, k in _leaves(own))
    kind = YamlScalar(span=own.span, value="assumed", text="assumed")
    return YamlMapping(span=own.span, entries=((kind, YamlSequence(span=own.span, items=fields)),))


def _leaves(node: YamlNode, above: str = "") -> Iterator[tuple[str, YamlScalar]]:
    """Yield the path and the key of each scalar of a mapping; items of lists have names."""
    for key, value in _named_items(node) or ():
        path = f"{above}{key.text}"
        if _named_items(value):
            yield from _leaves(value, f"{path}.")
        elif not _is_null(value) and path not in JOINED_KEYS:
            yield path, key


def _paths(listed: YamlNode) -> tuple[YamlNode, ...]:
    """Return the items of a list, or a single text."""
    if isinstance(listed, YamlSequence):
        return listed.items
    return (listed,) if _text(listed) else ()


def _text(node: YamlNode) -> str:
    return node.text if isinstance(node, YamlScalar) and isinstance(node.value, str) else ""


def _is_null(node: YamlNode) -> bool:
    return isinstance(node, YamlScalar) and node.value is None


def _named_items(node: YamlNode) -> list[tuple[YamlScalar, YamlNode]] | None:
    """Return the names and items of a list, or of a mapping by name; None if an item has no
    name."""
    if isinstance(node, YamlMapping):
        return [(key, _with_name(key, value)) for key, value in node.entries]
    if not isinstance(node, YamlSequence):
        return None
    found = [(name, item) for item in node.items if (name := _name_node(item)) is not None]
    return found if len(found) == len(node.items) else None


def _with_name(name: YamlScalar, item: YamlNode) -> YamlNode:
    if not isinstance(item, YamlMapping) or _name_node(item) is not None:
        return item
    key = dataclasses.replace(name, value=NAME_KEYS[0], text=NAME_KEYS[0])
    return dataclasses.replace(item, entries=((key, name), *item.entries))


def _merged_items(
    base: dict[str | None, YamlNode],
    own: list[tuple[YamlScalar, YamlNode]],
    error: type[InputError],
) -> Iterator[YamlNode]:
    """Yield the items of a base with others merged in; a new item follows the one before it, or
    precedes the one after it."""
    found, order = dict(base), [*base]
    at = next((order.index(name.text) for name, _ in own if name.text in base), len(order))
    for n, (name, item) in enumerate(own):
        if name.text in (other.text for other, _ in own[:n]):
            raise error(f"'{name.text}' is given twice", name.span)
        if name.text in base:
            at = order.index(name.text) + 1
            item = item if _is_null(item) else merged(base[name.text], item, error)
        elif _is_null(item):
            known = [known for known in base if known is not None]
            text = f"there is no '{name.text}' to remove"
            raise error(text, name.span, did_you_mean(name.text, known))
        else:
            order.insert(at, name.text)
            at += 1
        found[name.text] = item
    yield from (found[name] for name in order if not _is_null(found[name]))


def changed(node: YamlNode, change: Callable[[YamlNode], YamlNode], key: str = "") -> YamlNode:
    """Return a node with another value at a key; without a key, with other values or items."""
    if isinstance(node, YamlMapping):
        entries = ((k, change(v) if key in ("", k.text) else v) for k, v in node.entries)
        return dataclasses.replace(node, entries=tuple(entries))
    if isinstance(node, YamlSequence) and not key:
        return dataclasses.replace(node, items=tuple(map(change, node.items)))
    return node


def without(node: YamlMapping, keys: Iterable[str]) -> YamlMapping:
    """Return a mapping without some of its keys."""
    left = tuple((k, v) for k, v in node.entries if k.text not in keys)
    return dataclasses.replace(node, entries=left)
