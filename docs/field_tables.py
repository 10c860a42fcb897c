"""What files of a kind may say, as tables of a page, from their JSON Schema."""

from __future__ import annotations

import json
import re
from typing import Any

from archsim.cli.schema import schema_of

_MARK = re.compile(r"^<!-- fields of (\w+) -->$", re.MULTILINE)


def with_field_tables(page: str) -> str:
    """A page with tables in the place of its comments ``fields of KIND``."""
    return _MARK.sub(lambda found: field_tables(found[1]), page)


def field_tables(kind: str) -> str:
    """Markdown: a table for each thing that a file of a kind is made of."""
    made = schema_of(kind)
    shown = made.get("$defs", {"": made})
    return "\n".join(
        line
        for name, definition in _outermost_first(made, shown)
        for line in _table(name, definition)
    )


def _outermost_first(
    made: dict[str, Any], shown: dict[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """Definitions in the order in which a reader of the file meets them."""
    order = _named_in({k: v for k, v in made.items() if k != "$defs"})
    for name in order:
        order += [inner for inner in _named_in(shown[name]) if inner not in order]
    order += [name for name in shown if name not in order]
    return [(name, shown[name]) for name in order]


def _named_in(schema: Any) -> list[str]:
    """Definitions that a schema refers to, each once."""
    if isinstance(schema, list):
        found = [name for inner in schema for name in _named_in(inner)]
    elif isinstance(schema, dict):
        found = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
        found += [name for inner in schema.values() for name in _named_in(inner)]
    else:
        found = []
    return list(dict.fromkeys(found))


def _table(name: str, definition: dict[str, Any]) -> list[str]:
    """The title and the fields of one definition; nothing of one without fields, or of an override,
    which has those of the whole."""
    if not definition.get("properties") or name.endswith("Override"):
        return []
    needed = definition.get("required", ())
    title = (
        [f"### {name}", "", definition.get("description", "").replace("``", "`"), ""]
        if name
        else []
    )
    lines = [*title, "| field | takes | default | |", "|---|---|---|---|"]
    for field, schema in definition["properties"].items():
        default = "*needed*" if field in needed else _default(schema)
        cells = (f"`{field}`", takes(schema), default, _described(schema))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _described(schema: dict[str, Any]) -> str:
    """What is said of a field; the kind of quantity may stand at one of its alternatives."""
    text = str(schema.get("description", ""))
    kinds = [one["description"] for one in schema.get("anyOf", ()) if "description" in one]
    return f"{text} ({kinds[0]})" if kinds else text


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if inner is not None}
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def takes(schema: dict[str, Any]) -> str:
    """What a value may be, in words; definitions are linked to.

    >>> takes({"type": "array", "items": {"type": "string"}})
    'list of text'
    """
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        several = [takes(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(several))
    match schema.get("type"):
        case "array":
            inner = schema.get("items") or {}
            return f"list of {takes(inner)}" if inner else "list"
        case "object":
            inner = schema.get("else", schema).get("additionalProperties") or {}
            return f"by name: {takes(inner)}" if isinstance(inner, dict) and inner else "by name"
        case None:
            return "anything"
        case list() as kinds:
            return " or ".join(_WORDS.get(k, k) for k in kinds if k != "null")
        case kind:
            return _WORDS.get(kind, str(kind))


_WORDS = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number"}
