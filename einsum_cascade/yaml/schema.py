"""Checks of YAML trees against pydantic models, with errors that point at the file.

Only models of files import this module, so pydantic is imported nowhere else.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from ..errors import InputError, Problem, SpecError, by_place, did_you_mean, nearest, raise_all
from ..ir import RANK_NAME
from ..number_formats import FORMATS
from ..source import Source
from .edit import SettingSpan
from .source import (
    LARGEST_COUNT,
    Path,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    exact_number,
    read_yaml,
    shorten,
)


class Fields(BaseModel):
    """Base class of the models of a mapping with known fields.

    Models are frozen, and any other field is an error.
    """

    # Most models are only checked within others, so they need no validator of their own.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    also_known: ClassVar[tuple[str, ...]] = ()
    """Valid keys that are removed before the fields are checked."""


class StoredFields(Fields):
    """Base class of the models of JSON objects that a program wrote; further fields are ignored.

    Records that are dataclasses may be fields. Numbers check their types themselves.
    """

    model_config = ConfigDict(extra="ignore", strict=False)


M = TypeVar("M", bound=Fields)


def format_value(value: Any) -> str:
    """Return an unexpected value as text for a message; only the kind of a mapping or a list.

    Parameters
    ----------
    value : None, bool, int, float, str, dict or list
        Value as ``resolve`` and the reader give it.
    """
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "nothing"
        case str():
            return f"'{shorten(value)}'"
        case int() | float():
            return shorten(str(value))
        case dict():
            return "a mapping"
        case _:
            return "a list"


def expected(message: str, hint: str = "") -> PydanticCustomError:
    """Return the error for a validator to raise, with the expectation and a hint.

    Parameters
    ----------
    message : str
        Text of the form "expected X, got Y".
    hint : str, optional
        Hint shown below the line in question.
    """
    return PydanticCustomError("expected", "{text}", {"text": message, "hint": hint})


def parse_count(value: Any, minimum: int = 1) -> int:
    """Return an integer from ``minimum`` to 1e15; the text ``64K`` is 65,536 (M and G likewise).

    Raises
    ------
    PydanticCustomError
        It is something else.

    >>> parse_count("64K"), parse_count(12.0)
    (65536, 12)
    """
    wanted = "expected a whole number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise expected(f"{wanted} such as 4096 or '4K', got {format_value(value)}")
    text = shorten(str(value))
    number = exact_number(value)
    if number is None and isinstance(value, str):
        meant = value.upper()
        hint = f"did you mean '{meant}'?" if exact_number(meant) is not None else ""
        raise expected(f"{wanted} such as 4096 or '4K', got '{text}'", hint)
    if number is None:
        raise expected(f"{wanted}, got {text}, which is not finite")
    if number != int(number):
        raise expected(f"{wanted}, got {text}")
    if number < minimum:
        raise expected(f"{wanted}, at least {minimum}, got {text}")
    if number > LARGEST_COUNT:
        raise expected(f"{wanted} up to 1e15, got {text}")
    return int(number)


def is_rank(text: str) -> bool:
    """Return whether a text can be the name of a rank: upper-case letters, digits and ``_``."""
    return RANK_NAME.fullmatch(text) is not None


def _rank(text: str) -> str:
    if not is_rank(text):
        hint = f"did you mean '{text.upper()}'?" if is_rank(text.upper()) else ""
        raise expected(f"expected a rank (upper case), got '{shorten(text)}'", hint)
    return text


_TITLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]*")

MAX_NAME_LENGTH = 80
"""Maximum length of a name, in characters."""


def _title(text: str) -> str:
    if not _TITLE.fullmatch(text) or len(text) > MAX_NAME_LENGTH:
        raise expected(f"expected a name, got '{shorten(text)}'")
    return text


Title = Annotated[str, AfterValidator(_title)]
"""Type of the name of a whole specification."""

Rank = Annotated[str, AfterValidator(_rank)]
"""Type of the name of a rank, or of a rank's tile."""

Count = Annotated[int, PlainValidator(parse_count)]
"""Type of a positive integer."""


def _format(value: Any) -> str:
    if value in FORMATS:
        return str(value)
    name = shorten(str(value))
    raise expected(f"expected a format of numbers, got '{name}'", did_you_mean(name, FORMATS))


Format = Annotated[str, PlainValidator(_format)]
"""Type of the name of a number format."""


def validate(
    model: type[M], root: YamlNode, path: Path = (), error: type[InputError] = SpecError
) -> M:
    """Check the node at ``path`` below ``root``, and return it as a model; lists become tuples.

    Raises
    ------
    InputError
        (as ``error``) There are unknown or missing fields, or wrong values; lists every problem.

    Parameters
    ----------
    model : type of Fields
        Model to check the node against.
    root : YamlNode
        Root of the file.
    path : Path, optional
        Path of the node; the root itself by default.
    error : type of InputError, optional
        Error class to raise.
    """
    node = root.at(path)
    if node is None:
        raise KeyError(path)
    try:
        return model.model_validate(_lists_as_tuples(node.plain()))
    except ValidationError as wrong:
        found = wrong.errors(include_url=False)
        problems = [_problem(model, root, path, e) for e in found if not _follows(e, found)]
    raise error(by_place(problems))


def validate_json(model: type[M], source: Source, error: type[InputError] = SpecError) -> M:
    """Check a JSON text, and return it as a model.

    Raises
    ------
    InputError
        (as ``error``) The text is not JSON, or as ``validate``; says where.
    """
    try:
        data = json.loads(source.text, object_pairs_hook=_without_repeated_keys)
        return model.model_validate(_lists_as_tuples(data))
    except (ValueError, RecursionError):
        # The text is read again for the places of its errors; JSON is YAML.
        return validate(model, read_yaml(source, error), error=error)


def source_of(name: str, data: Any) -> Source:
    """Return the JSON text of data, as ``validate_json`` reads it."""
    return Source(name, json.dumps(data, indent=2, default=repr))


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _follows(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Return whether an error says that a list is too short only because its items are wrong."""
    at = error["loc"]
    return error["type"] == "too_short" and any(
        e["loc"][: len(at)] == at and len(e["loc"]) > len(at) for e in errors
    )


def section(root: YamlNode, key: str, error: type[InputError] = SpecError) -> Path:
    """Return the path of the section ``key``, which must be the only section of a file.

    Raises
    ------
    InputError
        (as ``error``) The file has no such section, or another section too.

    Parameters
    ----------
    root : YamlNode
        Root of the file.
    key : str
        Name of the section, such as ``architecture``.
    error : type of InputError, optional
        Error class to raise.
    """
    if not isinstance(root, YamlMapping):
        raise error(f"expected '{key}:' and its fields, got {root.kind}", root.span)
    if root.child(key) is None:
        what = f"expected the section '{key}:'"
        if root.entries:
            what += f", got '{shorten(root.keys[0])}:'"
        raise error(what, root.span, f"such a file begins with '{key}:', its fields indented below")
    hint = f"fields are indented below '{key}:'"
    others = [
        Problem(f"'{shorten(k.text)}' stands beside '{key}:'", k.span, hint)
        for k, _ in root.entries
        if k.text != key
    ]
    raise_all(others, error)
    return (key,)


def _lists_as_tuples(value: Any) -> Any:
    match value:
        case list():
            return tuple(_lists_as_tuples(v) for v in value)
        case dict():
            return {k: _lists_as_tuples(v) for k, v in value.items()}
        case _:
            return value


def _problem(model: type[Fields], root: YamlNode, path: Path, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    # pydantic's name for a mapping's key; a user's field may have this name, too.
    is_key = error["loc"][-1:] == ("[key]",) and kind != "extra_forbidden"
    loc = error["loc"][:-1] if is_key else error["loc"]
    where = (*path, *loc)
    node = root.at(where)
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        text = f"unknown field '{shorten(str(loc[-1]))}'"
        return Problem(text, root.key_span(where), did_you_mean(str(loc[-1]), known))
    if kind == "missing":
        return _missing(root, where)
    name = next((str(s) for s in reversed(where) if isinstance(s, str)), "")
    span = root.key_span(where) if is_key or node is None else node.span
    if kind == "expected":
        message = context["text"]
    else:
        got = node.kind if node is not None else format_value(error["input"])
        literal = context["expected"] if kind == "literal_error" else None
        message = f"expected {literal or _WANTED.get(kind, error['msg'])}, got {got}"
        if kind == "literal_error" and isinstance(node, YamlScalar):
            close = nearest(node.text, re.findall(r"'([^']*)'", context["expected"]))
            context = {"hint": f"did you mean '{close}'?" if close else ""}
    return Problem(f"{name}: {message}" if name else message, span, context.get("hint") or None)


def _missing(root: YamlNode, where: Path) -> Problem:
    parent = where[:-1]
    around = root.at(parent[:-1])
    while isinstance(around, YamlMapping) and len(around.entries) == 1 and len(parent) > 2:
        # Of names that the setting created one inside another, the outermost is misspelt.
        if not isinstance(root.key_span(parent[:-1]), SettingSpan):
            break
        parent, around = parent[:-1], root.at(parent[:-2])
    span = root.key_span(parent) if parent else root.span
    if isinstance(span, SettingSpan) and isinstance(around, YamlMapping) and len(parent) > 1:
        # The setting created this mapping, so its name is misspelt.
        known = [k for k in around.keys if k != parent[-1]]
        hint = did_you_mean(str(parent[-1]), known)
        return Problem(f"there is no '{parent[-1]}' to set a field of", span, hint)
    text = f"the field '{where[-1]}' is missing{_of(parent)}"
    return Problem(text, span, _inherited_name(root, parent))


def _inherited_name(root: YamlNode, where: Path) -> str | None:
    """Return a hint for an incomplete item of a list that another file begins: the nearest item
    there, whose name the item may have meant."""
    item, items = root.at(where), root.at(where[:-1])
    name = None if item is None else item.child("name")
    if not isinstance(name, YamlScalar) or not isinstance(items, YamlSequence):
        return None
    others = (i.child("name") for i in items.items if i.span.source != name.span.source)
    close = nearest(name.text, [other.text for other in others if isinstance(other, YamlScalar)])
    return f"did you mean '{close}'?" if close else None


def _of(parent: Path) -> str:
    names = [str(s) for s in parent if isinstance(s, str)]
    return f" in '{names[-1]}'" if names else ""


_WANTED: Mapping[str, str] = types.MappingProxyType(
    {
        "string_type": "a text",
        "int_type": "a whole number",
        "bool_type": "true or false",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping of fields",
        "model_attributes_type": "a mapping of fields",
        "too_short": "at least one entry",
    }
)


def _fields_at(model: type[Fields], loc: Path) -> tuple[str, ...]:
    """Return the names of the fields that the model at a location knows."""
    annotation: Any = model
    for step in loc:
        annotation = _below(_bare(annotation), step)
    annotation = _bare(annotation)
    if not _is_model(annotation):
        return ()
    return (*_fields_by_key(annotation), *getattr(annotation, "also_known", ()))


def _fields_by_key(model: type[Fields]) -> dict[str | int, FieldInfo]:
    """Return the fields of a model by their keys in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _below(annotation: Any, step: str | int) -> Any:
    if _is_model(annotation):
        field = _fields_by_key(annotation).get(step)
        return field.annotation if field else None
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _bare(annotation: Any) -> Any:
    """Return a type annotation without ``Annotated`` and without ``| None``."""
    while True:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            annotation = arguments[0]
        elif origin in (typing.Union, types.UnionType):
            annotation = next(a for a in arguments if a is not type(None))
        else:
            return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
