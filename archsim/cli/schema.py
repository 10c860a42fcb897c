"""Command ``archsim schema``: the JSON Schema of each kind of file, for editors and checkers."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from .console import show_json
from .options import ChoiceWithHint

if TYPE_CHECKING:
    from einsum_cascade.yaml.schema import Fields

JsonObject = dict[str, Any]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_OURS: Final = ("archsim", "einsum_cascade", "mappers", "workloads")
_TEXT: Final = MappingProxyType({"type": ["string", "number"]})


def _sections() -> dict[str, tuple[str, tuple[type[Fields], ...]]]:
    """Return the key of each kind of file with one section, and the models of its fields."""
    from mappers.problem import constraint_files as constraints
    from workloads import reading as workload

    from ..reproduction import plan as reproduction
    from ..spec.files import architecture, mapping, technology
    from ..sweeping import file as sweep

    return {
        "architecture": (architecture.KEY, (architecture.FILE_FIELDS,)),
        "constraints": (constraints.KEY, (constraints.ConstraintFields,)),
        "mapping": (mapping.KEY, (mapping.MappingFields,)),
        "reproduction": (reproduction.KEY, (reproduction.Reproduction,)),
        "sweep": (sweep.KEY, (sweep.SweepFields, sweep.AxisFields, sweep.PointsFields)),
        "technology": (technology.KEY, (technology.FILE_FIELDS,)),
        "workload": (workload.KEY, (workload.WorkloadFields,)),
    }


def _workload(below: JsonObject) -> JsonObject:
    """Change the schema so that a workload's fields may stand beside ``workload: NAME``.

    Shapes may stand beside all other fields.
    """
    fields = below["$defs"]["Workload"]
    count = fields["properties"]["shape"]["additionalProperties"]
    fields["patternProperties"] = {"^[A-Z][A-Z0-9_]*$": count}
    flat = {k: v for k, v in fields.items() if k != "properties"}
    named = {k: v for k, v in fields["properties"].items() if k != "name"}
    flat["properties"] = {"workload": {"type": "string"}, **named}
    flat["required"] = ["workload"]
    inner = {k: below.pop(k) for k in ("type", "properties", "required", "additionalProperties")}
    return {**below, "anyOf": [inner, flat]}


def _architecture(found: JsonObject) -> JsonObject:
    """Change the schema so that a machine or a table of operations that extends another one states
    only what differs."""
    known = found["$defs"]
    machine, array = known["Architecture"]["properties"], known["Array"]["properties"]
    name = {"type": "string"}
    names = {"anyOf": [name, {"type": "array", "items": name}], "description": "sets to begin with"}
    for table in (array["operations"], machine["operations"]["additionalProperties"]):
        operation = {"additionalProperties": table.pop("additionalProperties")}
        extending = {"properties": {"extends": names}, **_override(operation)}
        table |= {"if": {"required": ["extends"]}, "then": extending, "else": operation}
    known |= {f"{name}{_OVERRIDE}": _override(whole) for name, whole in known.items()}
    whole = found["properties"]["architecture"]
    choice = {"if": {"required": ["extends"]}, "then": _override(whole), "else": whole}
    return {**found, "properties": {"architecture": choice}}


_OVERRIDE: Final = "Override"
_COMPLETE: Final = ("required", "minItems", "minProperties", "default")
"""Keywords for what a whole thing has, and an override of it may leave out."""


def _override(schema: Any) -> Any:
    """Return the schema of an override: every field may be left out, or be removed by null."""
    if isinstance(schema, list):
        return [_override(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {**schema, "$ref": f"{schema['$ref']}{_OVERRIDE}"}
    if "then" in schema:
        text = {k: v for k, v in schema.items() if k in ("type", "description")}
        return {**text, **schema["then"]}
    found = {k: _override(v) for k, v in schema.items() if k not in _COMPLETE}
    if "properties" in found:
        found["properties"] = {k: _or_nothing(v) for k, v in found["properties"].items()}
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = _or_nothing(found["additionalProperties"])
    if "$ref" in found.get("items", ()):
        by_name = {"type": "object", "additionalProperties": _or_nothing(found["items"])}
        return {"anyOf": [found, by_name], "description": found.pop("description", "")}
    return found


def _or_nothing(schema: JsonObject) -> JsonObject:
    """Return the schema of a value that may be null."""
    text = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [schema, {"type": "null"}], **text}


def _sweep(found: JsonObject) -> JsonObject:
    """Change the schema so that an axis is a list or a table, and ``points`` a word or a table."""
    fields = found["$defs"]["Sweep"]["properties"]
    axis = {"anyOf": [{"type": "array", "minItems": 1}, {"$ref": "#/$defs/Axis"}]}
    fields["axes"] |= {"minProperties": 1, "additionalProperties": axis}
    fields["points"] |= {"anyOf": [{"const": "all"}, {"$ref": "#/$defs/Points"}], "default": "all"}
    return found


def _cascade() -> JsonObject:
    """Return the schema of a cascade: its keys, since its equations are a language of their own."""
    from einsum_cascade.syntax.parse import KEYS

    text, name = dict(_TEXT), {"type": "string"}
    array = {"type": "array", "items": name}
    names = {"anyOf": [name, array]}
    equations = {"type": ["string", "null"], "description": "equations, one on each line"}
    fields = {"is": text, "partition": names, "like": name, "shape": text}
    rank = {"type": "object", "properties": fields, "additionalProperties": False}
    ranks = {"type": "object", "additionalProperties": {"anyOf": [text, rank]}}
    ranks_by_input = {"type": ["object", "null"], "additionalProperties": names}
    special: JsonObject = {
        **dict.fromkeys(("cascade", "title", "source", "unverified", "reference"), text),
        **dict.fromkeys(("parallel", "output", "outputs"), names),
        **dict.fromkeys(("shared", "distinct"), ranks_by_input),
        **dict.fromkeys(("init", "einsums"), equations),
        "ranks": {"anyOf": [ranks, array]},
        "inputs": {"type": "object"},
    }
    anything = {"type": ["object", "array", "string", "null"]}
    return {
        "type": "object",
        "properties": {key: special.get(key, anything) for key in KEYS},
        "required": ["cascade", "einsums"],
        "additionalProperties": False,
    }


KINDS: Final = (
    *("architecture", "cascade", "constraints", "mapping"),
    *("reproduction", "sweep", "technology", "workload"),
)
"""Kinds of files that have a schema."""


@click.command("schema")
@click.argument("kind", metavar="KIND", type=ChoiceWithHint(KINDS))
def schema_command(kind: str) -> None:
    """Print the JSON Schema of a KIND of file, for editors that complete and check.

    KIND is architecture, cascade, constraints, mapping, reproduction, sweep, technology or
    workload. What a schema cannot say (units, names that must exist, equations) is checked
    when the file is used.
    """
    show_json(schema_of(kind))


def schema_of(kind: str) -> JsonObject:
    """Return the JSON Schema of a kind of file.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    """
    found = _cascade() if kind == "cascade" else _section(*_sections()[kind])
    special = {"architecture": _architecture, "sweep": _sweep, "workload": _workload}
    if kind in special:
        found = special[kind](found)
    return {"$schema": _DRAFT, "title": f"archsim {kind}", **found}


def _section(key: str, models: tuple[type[Fields], ...]) -> JsonObject:
    """Return the schema of a file with one section, with definitions named after their models."""
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema

    class FieldSchema(GenerateJsonSchema):
        """Generator of schemas for fields that code reads: a number or a text, or one item for a
        list."""

        def function_plain_schema(self, schema: Any) -> JsonObject:
            if schema.get("json_schema_input_schema", {"type": "any"})["type"] != "any":
                return super().function_plain_schema(schema)
            return dict(_TEXT)

        def model_schema(self, schema: Any) -> JsonObject:
            made = super().model_schema(schema)
            for name, text in _said_of(schema["cls"]).items():
                alias = getattr(schema["cls"].model_fields.get(name), "alias", None)
                field = made["properties"].get(alias or name, {})
                kind = field.get("description")
                field["description"] = f"{text} ({kind})" if kind else text
            return made

        def function_before_schema(self, schema: Any) -> JsonObject:
            if "json_schema_input_schema" in schema:
                return super().function_before_schema(schema)
            inner = self.generate_inner(schema["schema"])
            one = inner.get("items") or inner.get("additionalProperties")
            return {"anyOf": [one, inner]} if isinstance(one, dict) else inner

    _, made = models_json_schema(
        [(m, "validation") for m in models], schema_generator=FieldSchema, ref_template="{model}"
    )
    found = _renamed(made["$defs"])
    for each in models:
        fields = found[_called(each.__name__)]
        fields["properties"] |= {name: {} for name in each.also_known}
    return {
        "type": "object",
        "properties": {key: {"$ref": f"#/$defs/{_called(models[0].__name__)}"}},
        "required": [key],
        "additionalProperties": False,
        "$defs": found,
    }


def _said_of(model: type) -> dict[str, str]:
    """Return the docstrings of a model's fields by name, without the full stop."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__[:-1]):
        body = _classes_of(each.__module__).get(each.__name__, ())
        for field, below in pairwise(body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = text.rstrip(".")
    return found


@lru_cache
def _classes_of(module: str) -> dict[str, list[ast.stmt]]:
    """Return the classes in the source of a module of this project, by name; else nothing."""
    if module.split(".")[0] not in _OURS:
        return {}
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def _called(model: str) -> str:
    """Return the public name of a model: ``Memory`` for ``_MemoryFields``."""
    return re.sub(r"^_*(\w+?)(Fields)?$", r"\1", model)


def _renamed(value: Any) -> Any:
    """Rename definitions and references after the names of models, and drop titles."""
    if isinstance(value, list):
        return [_renamed(v) for v in value]
    if not isinstance(value, dict):
        return value
    if isinstance(ref := value.get("$ref"), str):
        return {**value, "$ref": f"#/$defs/{_called(ref)}"}
    return {
        _called(k) if isinstance(v, dict) and "properties" in v else k: _renamed(v)
        for k, v in value.items()
        if not (k == "title" and isinstance(v, str))
    }
