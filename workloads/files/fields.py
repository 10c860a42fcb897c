"""Fields of a workload file or of settings, and the model configuration that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.number_formats import ACCUMULATE, FORMATS
from einsum_cascade.source import Span
from einsum_cascade.yaml.edit import Setting, SettingSpan, apply_settings
from einsum_cascade.yaml.library import (
    Kind,
    cascade_setting,
    file_exists,
    read_source,
    resolve_reference,
)
from einsum_cascade.yaml.schema import (
    Count,
    Fields,
    Rank,
    Title,
    expected,
    is_rank,
    parse_count,
    section,
    validate,
)
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, read_yaml, shorten

from ..attention.phases import RequestedPhase
from ..huggingface.read import is_config
from ..spec import SCOPES, Scope

CONFIG = "config"


def config_tree(fields: YamlNode | None) -> YamlNode | None:
    """Return the model configuration in the ``config`` field of a workload.

    The field holds the configuration, or names the file that holds it.

    Raises
    ------
    SpecError
        The field is neither, or the file is missing or is no model configuration.
    """
    node = fields.child(CONFIG) if fields is not None else None
    if node is None or isinstance(node, YamlMapping):
        return node
    if not (isinstance(node, YamlScalar) and isinstance(node.value, str)):
        text = f"{CONFIG}: expected the fields of a model or a file, got {node.kind}"
        raise SpecError(Problem(text, node.span))
    inside = isinstance(node.span, SettingSpan)
    path = (Path() if inside else Path(node.span.source.name).parent) / node.text
    if not file_exists(path):
        raise SpecError(Problem(f"there is no file '{path}'", node.span))
    root = read_yaml(read_source(path))
    if not is_config(root):
        text = f"'{path}' is no model's configuration: it has no 'model_type'"
        raise SpecError(Problem(text, node.span))
    return root


def override_config(base: YamlNode | None, over: YamlNode) -> YamlNode:
    """Return a configuration with some fields replaced; a whole configuration replaces all.

    Parameters
    ----------
    base : YamlNode or None
        Configuration of the workloads below, if there is one.
    over : YamlNode
        Some fields, or a whole configuration, which has a ``model_type``.
    """
    if base is None or is_config(over):
        return over
    return _merge_mappings(base, over)


def _merge_mappings(base: YamlNode, over: YamlNode) -> YamlNode:
    """Return two mappings merged by key, at every depth; values of ``over`` take precedence."""
    if not (isinstance(base, YamlMapping) and isinstance(over, YamlMapping)):
        return over
    kept = tuple(
        (key, value if (new := over.child(key.text)) is None else _merge_mappings(value, new))
        for key, value in base.entries
    )
    added = tuple((key, value) for key, value in over.entries if base.child(key.text) is None)
    return replace(base, entries=(*kept, *added))


KEY = "workload"


def _scope(value: Any) -> Scope:
    for scope in SCOPES:
        if value == scope:
            return scope
    text = f"expected one of {', '.join(SCOPES)}, got '{shorten(str(value))}'"
    raise expected(text, did_you_mean(str(value), SCOPES))


def _format(value: Any) -> str:
    if value in FORMATS:
        return str(value)
    name = shorten(str(value))
    raise expected(f"expected a format of numbers, got '{name}'", did_you_mean(name, FORMATS))


Format = Annotated[str, PlainValidator(_format)]
"""Name of a number format."""
_FROM_ZERO = PlainValidator(partial(parse_count, minimum=0))


class WorkloadFields(Fields):
    also_known: ClassVar[tuple[str, ...]] = ("B", "H", "E", "F", "P", "M")

    name: Title | None = None
    """Name of the workload."""
    title: str = ""
    """Description of the workload in one line."""
    source: str = ""
    """Source of the numbers."""
    model: str | None = None
    """Workload whose fields hold unless this one sets them."""
    cascade: str | None = None
    """Built-in cascade, or a file."""
    scope: Annotated[Scope | None, PlainValidator(_scope)] = None
    """Part that runs: the attention of a layer, a layer, or all layers."""
    batch: Count | None = None
    """Shape of B."""
    seq_len: Count | None = None
    """Shape of P and of M."""
    phase: RequestedPhase | None = None
    """Phase, which selects the tokens that are computed."""
    cached_len: Annotated[int | None, _FROM_ZERO] = None
    """Tokens before those computed, in decode and chunked prefill."""
    prompt_len: Count | None = None
    """Tokens of the prompt of a request."""
    answer_len: Count | None = None
    """Tokens of the answer of a request."""
    config: Any = None
    """Changes of fields of a model's `config.json`."""
    layer: Annotated[int | None, _FROM_ZERO] = None
    """Index, from 0, of the model's layer that runs."""
    model_width: Count | None = None
    """Width of the residual stream."""
    ffn_width: Count | None = None
    """Width inside the feed-forward network."""
    ffn_up: str | None = None
    """Cascade of the first feed-forward layer, with its activation."""
    layers: Count | None = None
    """Number of layers of the model."""
    encoder: bool | None = None
    """True if all tokens are given at once, so that there is no cache."""
    shape: dict[Rank, Count] = Field(default_factory=dict)
    """Shapes by rank; ranks may stand beside the other fields, too."""
    formats: dict[str, Format] = Field(default_factory=dict)
    """Number formats by tensor, or `default`."""


@dataclass(frozen=True, slots=True)
class FileFields:
    """Fields of one file, of all settings, or of several files merged."""

    spec: WorkloadFields
    """Fields by the schema, with references to files resolved."""
    places: Mapping[str, Span] = field(default_factory=dict)
    """Positions in the file of the shapes of ranks."""
    fields: YamlNode | None = None
    config: YamlNode | None = None
    """Model configuration, or some fields that replace those of another file."""
    formats_at: Mapping[str, Span] = field(default_factory=dict)
    """Positions in the file of the number formats of tensors."""
    numbers: Mapping[str, tuple[YamlScalar, YamlScalar]] = field(default_factory=dict)
    """Names and values of unknown fields; each may be a parameter of the cascade."""


def setting_fields(settings: Iterable[Setting]) -> FileFields:
    """Return settings in the form of a file, which is merged last and so takes precedence."""
    made = [
        Setting(path=(_key_node(KEY, setting.span), *setting.path), value=setting.value)
        for setting in settings
    ]
    if not made:
        return FileFields(WorkloadFields())
    empty = YamlMapping(span=made[0].span, entries=())
    return file_fields(workload_tree(apply_settings(empty, made)))


def workload_tree(root: YamlNode) -> YamlNode:
    """Return a file's tree in the schema's form: one section, with all ranks below ``shape``."""
    if not isinstance(root, YamlMapping):
        raise SpecError(Problem(f"expected '{KEY}:' and its fields, got {root.kind}", root.span))
    fields = root.child(KEY)
    if fields is None and is_config(root):
        # A model's own configuration is a workload with no other field.
        return _single_entry(KEY, _single_entry(CONFIG, root))
    if fields is None and root.span.source.name.lower().endswith(".json"):
        text = "expected 'workload' and its fields, or a model's fields with its 'model_type'"
        raise SpecError(Problem(text, root.span))
    if fields is None and root.child("cascade") is not None and len(root.entries) == 1:
        name = root.span.source.name
        text = "this is a cascade: what is computed, without shapes to compute it on"
        raise SpecError(Problem(text, root.entries[0][0].span, cascade_setting(name)))
    other_entries: tuple[tuple[YamlScalar, YamlNode], ...] = ()
    if isinstance(fields, YamlScalar) and fields.value is not None and root.child("name") is None:
        # The file has `workload: NAME` beside its fields.
        entries = tuple(
            (_key_node("name", k.span) if k.text == KEY else k, v) for k, v in root.entries
        )
        fields = YamlMapping(span=root.span, entries=entries)
    else:
        other_entries = tuple((k, v) for k, v in root.entries if k.text != KEY)
    if isinstance(fields, YamlMapping):
        fields = _collect_ranks(fields)
    own = () if fields is None else ((_key_node(KEY, root.span), fields),)
    return YamlMapping(span=root.span, entries=(*own, *other_entries))


def _collect_ranks(fields: YamlMapping) -> YamlMapping:
    ranks = [(k, v) for k, v in fields.entries if is_rank(k.text)]
    others = [(k, v) for k, v in fields.entries if not is_rank(k.text)]
    if not ranks:
        return fields
    written = fields.child("shape")
    if isinstance(written, YamlMapping):
        ranks += written.entries
        others = [(k, v) for k, v in others if k.text != "shape"]
    names = [k.text for k, _ in ranks]
    for key, _ in ranks:
        if names.count(key.text) > 1:
            raise SpecError(Problem(f"'{key.text}' is given twice", key.span))
    shape = YamlMapping(span=ranks[0][0].span, entries=tuple(ranks))
    entries = (*others, (_key_node("shape", shape.span), shape))
    return YamlMapping(span=fields.span, entries=entries)


_REFERENCES: Mapping[str, Kind] = MappingProxyType(
    {"cascade": "cascades", "ffn_up": "cascades", "model": "workloads"}
)
"""Kinds of built-in files that fields name, by field."""


def file_fields(root: YamlNode) -> FileFields:
    """Return the checked fields of one file, or of all settings, with references to files
    resolved."""
    path = section(root, KEY)
    known, numbers = _split_parameters(root)
    try:
        spec = validate(WorkloadFields, known, path)
    except SpecError:
        # A second validation reports these fields together with other errors.
        validate(WorkloadFields, root, path)
        raise
    resolved = {}
    for key, kind in _REFERENCES.items():
        if (name := getattr(spec, key)) is not None:
            resolved[key] = resolve_reference(kind, name, root.span_of((*path, key)))
    fields = root.at(path)
    config = config_tree(fields)
    spec = spec.model_copy(update=resolved)
    places = {rank: root.key_span((*path, "shape", rank)) for rank in spec.shape}
    formats_at = {name: root.key_span((*path, "formats", name)) for name in spec.formats}
    sums = spec.formats.get(ACCUMULATE, "")
    if sums and FORMATS[sums].block > 1:
        text = f"accumulate: a sum has no neighbours that share its scale, as values of {sums} do"
        raise SpecError(Problem(text, root.span_of((*path, "formats", ACCUMULATE))))
    return FileFields(spec, places, fields, config, formats_at, numbers)


def _split_parameters(root: YamlNode) -> tuple[YamlNode, dict[str, tuple[YamlScalar, YamlScalar]]]:
    """Separate fields with a single value that no workload has: return the other fields, then
    these."""
    fields = root.child(KEY)
    entries = fields.entries if isinstance(fields, YamlMapping) else ()
    found = {
        key.text: (key, value)
        for key, value in entries
        if key.text not in WorkloadFields.model_fields and isinstance(value, YamlScalar)
    }
    if fields is None or not found:
        return root, {}
    kept = tuple((key, value) for key, value in entries if key.text not in found)
    return _single_entry(KEY, YamlMapping(span=fields.span, entries=kept)), found


def unknown_field(name: YamlScalar, parameters: Iterable[str]) -> Problem:
    """Return the error message for a field that neither a workload nor its cascade has."""
    known = (*WorkloadFields.model_fields, *WorkloadFields.also_known, *parameters)
    text = f"unknown field '{shorten(name.text)}'"
    return Problem(text, name.span, did_you_mean(name.text, known))


def parameter(name: YamlScalar, value: YamlScalar) -> int:
    """Return the value of a cascade's parameter, from the field that sets it.

    Raises
    ------
    SpecError
        The value is no whole number above zero.
    """
    try:
        return parse_count(value.value)
    except PydanticCustomError as wrong:
        context = wrong.context or {}
        text = f"{name.text}: {context.get('text', '')}"
        raise SpecError(Problem(text, value.span, context.get("hint") or None)) from None


def _single_entry(key: str, node: YamlNode) -> YamlMapping:
    return YamlMapping(span=node.span, entries=((_key_node(key, node.span), node),))


def _key_node(text: str, span: Span) -> YamlScalar:
    return YamlScalar(span=span, value=text, text=text)
