"""Workload files: fields, merging of files and settings, and selection of layers and tokens."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from os import PathLike
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator
from pydantic_core import PydanticCustomError

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError, did_you_mean, raise_all
from einsum_cascade.number_formats import ACCUMULATE, FORMATS, TensorFormats
from einsum_cascade.source import Span
from einsum_cascade.yaml.edit import Setting, apply_settings, parse_setting, python_setting
from einsum_cascade.yaml.library import (
    Kind,
    cascade_setting,
    read_source,
    referenced_file,
    resolve_reference,
    spec_tree,
)
from einsum_cascade.yaml.schema import (
    Count,
    Fields,
    Format,
    Rank,
    Title,
    expected,
    is_rank,
    parse_count,
    section,
    validate,
)
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, read_yaml, shorten

from .attention.cascades import attention_of
from .attention.layer_attention import checked_size
from .attention.phases import Phase, RequestedPhase, Tokens, default_layer, layer_tokens
from .huggingface.read import is_config, read_config
from .models import ModelConfig
from .parts.model import ffn_up_of
from .policy import DEFAULT_SEQUENCE_LENGTH, MAX_BASE_MODELS
from .spec import SCOPES, Request, Scope
from .workload import Workload

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
        raise SpecError(text, node.span)
    path = referenced_file(node.text, node.span)
    root = read_yaml(read_source(path))
    if not is_config(root):
        raise SpecError(f"'{path}' is no model's configuration: it has no 'model_type'", node.span)
    return root


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
    replaces: bool = True
    """True if a configuration with its family replaces that of another file; else it changes it."""


def setting_fields(settings: Iterable[Setting]) -> FileFields:
    """Return settings in the form of a file, which is merged last and so takes precedence."""
    made = [
        Setting(path=(_key_node(KEY, setting.span), *setting.path), value=setting.value)
        for setting in settings
    ]
    if not made:
        return FileFields(WorkloadFields())
    empty = YamlMapping(span=made[0].span, entries=())
    found = file_fields(workload_tree(apply_settings(empty, made)))
    # A setting of `config` itself is another model; a setting of a field inside changes the model.
    whole = any(setting.path[-1].text == CONFIG for setting in made)
    return replace(found, replaces=whole)


def workload_tree(root: YamlNode) -> YamlNode:
    """Return a file's tree in the schema's form: one section, with all ranks below ``shape``."""
    if not isinstance(root, YamlMapping):
        raise SpecError(f"expected '{KEY}:' and its fields, got {root.kind}", root.span)
    fields = root.child(KEY)
    if fields is None and is_config(root):
        # A model's own configuration is a workload with no other field.
        return _single_entry(KEY, _single_entry(CONFIG, root))
    if fields is None and root.span.source.name.lower().endswith(".json"):
        text = "expected 'workload' and its fields, or a model's fields with its 'model_type'"
        raise SpecError(text, root.span)
    if fields is None and root.child("cascade") is not None and len(root.entries) == 1:
        name = root.span.source.name
        text = "this is a cascade: what is computed, without shapes to compute it on"
        raise SpecError(text, root.entries[0][0].span, cascade_setting(name))
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
            raise SpecError(f"'{key.text}' is given twice", key.span)
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
        raise SpecError(text, root.span_of((*path, "formats", ACCUMULATE)))
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
        raise SpecError(text, value.span, context.get("hint") or None) from None


def _single_entry(key: str, node: YamlNode) -> YamlMapping:
    return YamlMapping(span=node.span, entries=((_key_node(key, node.span), node),))


def _key_node(text: str, span: Span) -> YamlScalar:
    return YamlScalar(span=span, value=text, text=text)


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """Phase, lengths and layer that a user chose, merged over all files."""

    fields: WorkloadFields
    places: Mapping[str, Span]
    """Position of each field in the last file that sets it."""

    @property
    def phase(self) -> Phase:
        """First phase to run: the prefill of a request, otherwise the phase that is asked for."""
        requested = self.fields.phase or "prefill"
        return "prefill" if requested == "request" else requested

    @property
    def request(self) -> Request | None:
        """Lengths of the prompt and the answer if the user gave both, or None."""
        prompt, answer = self.fields.prompt_len, self.fields.answer_len
        if prompt is None or answer is None:
            return None
        return Request(prompt_len=prompt, answer_len=answer)

    @property
    def seq_len(self) -> int | None:
        """Tokens computed per sequence if the user gave them; the prompt of a request."""
        return self.fields.prompt_len if self.request is not None else self.fields.seq_len

    @property
    def cached_len(self) -> int:
        """Tokens per sequence before those computed."""
        return self.fields.cached_len or 0

    def problem(self, name: str, message: str, hint: str | None = None) -> SpecError:
        """Return an error about a field, with the position of the field in its file."""
        return SpecError(f"{name}: {message}", self.places.get(name), hint)

    def check(self) -> None:
        """Check that the lengths go with the phase.

        Raises
        ------
        SpecError
            ``cached_len`` is missing, or is given for a phase without a cache; or
            ``seq_len`` is given for a phase of one token; or lengths of a request are wrong.
        """
        asked = self.fields.phase == "request"
        others = ("seq_len", "cached_len") if asked else ("prompt_len", "answer_len")
        if wrong := next((name for name in others if getattr(self.fields, name) is not None), None):
            text = "only phase 'request' has a prompt and an answer"
            if asked:
                text = "a request has a prompt_len and an answer_len in its place"
            raise self.problem(wrong, text)
        if asked and self.request is None:
            text = "'request' needs prompt_len and answer_len, the tokens asked and answered"
            raise self.problem("phase", text, "for example prompt_len=4096 and answer_len=512")
        if self.phase == "prefill" and self.cached_len:
            hint = "phase=decode or phase=chunked-prefill have a cache"
            raise self.problem("cached_len", "a prefill starts from an empty cache", hint)
        if self.phase != "prefill" and self.fields.cached_len is None:
            what = "needs cached_len, the tokens of a sequence that came before"
            raise self.problem("phase", f"'{self.phase}' {what}", "for example cached_len=8191")
        if self.phase == "decode" and self.seq_len is not None:
            text = "decoding computes one token a sequence; cached_len says how many came before"
            raise self.problem("seq_len", text)

    def refuse_cache(self) -> None:
        """Raise an error if the phase has a cache; an encoder has none.

        Raises
        ------
        SpecError
            The phase has tokens before those computed.
        """
        phase = self.fields.phase
        if phase not in (None, "prefill"):
            text = f"an encoder computes all tokens at once, so '{phase}' has no cache to read"
            raise self.problem("phase", text, "phase=prefill, with seq_len tokens")

    def shapes(self) -> dict[str, int]:
        """Return the shapes of B, P and M that the choice determines, by rank."""
        found = {} if self.fields.batch is None else {"B": self.fields.batch}
        queries = 1 if self.phase == "decode" else self.seq_len
        if queries is not None:
            found |= {"P": queries, "M": self.cached_len + queries}
        return found


def model_fields(config: YamlNode, choice: TokenChoice, ranks: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of a workload that runs a model, or a layer of it.

    The layer is the selected one, or the first of the most frequent layers.

    Parameters
    ----------
    config : YamlNode
        Fields of a Hugging Face configuration.
    choice : TokenChoice
        Phase, lengths and layer that the user chose.
    ranks : dict of str to int
        Shapes given by the user, which take precedence.

    Raises
    ------
    SpecError
        The configuration is wrong, the layer does not exist, no cascade computes it, or the user's
        H does not divide into groups as large as the model's.
    """
    model = read_config(config)
    # A request ends with decoding, which runs the layers with a cache.
    phase = choice.phase if choice.request is None else "decode"
    chosen = choice.fields.layer
    index = default_layer(model, phase) if chosen is None else chosen
    if index >= model.layer_count:
        last = model.layer_count - 1
        raise choice.problem("layer", f"the model's layers are 0 to {last}, got {index}")
    by_hand = not {"P", "M"}.isdisjoint(ranks)
    if choice.request is not None:
        _check_request(model, choice, by_hand)
    layer = model.layer(index)
    if layer.cross is None and not layer.mixer.causal:
        choice.refuse_cache()
    tokens, assumed = _tokens(model, choice, ranks)
    try:
        attention = attention_of(layer.mixer, layer_tokens(model, layer, tokens))
    except SpecError as wrong:
        place = next((choice.places[n] for n in ("M", "P", "seq_len") if n in choice.places), None)
        raise SpecError([Problem(p.message, place, p.hint) for p in wrong.problems]) from None
    shapes = {**dict(attention.shapes), **ranks}
    heads = replace(attention.heads, given=tuple(ranks))
    if heads.single:
        heads = replace(heads, group=shapes["H"])
    if shapes.get("H", 1) % heads.group:
        text = f"{shapes['H']} query heads are not groups of {heads.group}, which share"
        raise choice.problem("H", f"{text} keys and values")
    return {
        **attention.features,
        "shapes": tuple(shapes.items()),
        "notes": (
            *(() if by_hand else assumed),
            *_length_notes(model, choice, tokens),
            *attention.notes,
        ),
        "heads": heads,
        "computed": tokens if {"B", "P", "M"}.isdisjoint(ranks) else None,
        "model": model,
        "layer": index,
        "model_width": model.width,
        "ffn_width": None if layer.ffn is None else layer.ffn.inner,
        "ffn_up": ffn_up_of(layer),
        "layers": model.layer_count,
        "source": model.source,
    }


def _check_request(model: ModelConfig, choice: TokenChoice, by_hand: bool) -> None:
    """Raise an error for a request to a model that generates no answer token by token."""
    if by_hand:
        raise choice.problem("phase", "P and M are given by hand, and follow from a request")
    cross = any(run.layer.cross is not None for run in model.runs)
    if cross and model.encoder_len is None:
        text = "an encoder and a decoder have lengths of their own, and no request is made of these"
        raise choice.problem("phase", text, "phase=prefill, and phase=decode")


def _tokens(
    model: ModelConfig, choice: TokenChoice, ranks: Mapping[str, int]
) -> tuple[Tokens, tuple[str, ...]]:
    """Return the tokens that a phase computes, and a note if their number is a default."""
    length = choice.seq_len or model.tokens or DEFAULT_SEQUENCE_LENGTH
    assumed = choice.seq_len is None and model.tokens is None and choice.phase != "decode"
    tokens = Tokens(
        phase=choice.phase,
        batch=choice.fields.batch or 1,
        seq_len=length,
        cached_len=choice.cached_len,
        given_queries=ranks.get("P"),
        given_keys=ranks.get("M"),
    )
    return tokens, (f"seq_len was not given: {length} tokens are taken",) if assumed else ()


def _length_notes(model: ModelConfig, choice: TokenChoice, tokens: Tokens) -> Iterator[str]:
    """Yield a note if sequences are longer than those that the model was trained on."""
    keys = tokens.keys + (choice.request.answer_len if choice.request is not None else 0)
    if model.trained_len is not None and keys > model.trained_len:
        yield f"{keys:,} tokens are beyond the trained length, {model.trained_len:,}"


def field_spans(trees: Iterable[YamlNode | None]) -> dict[str, Span]:
    """Return the position of each field, and of each rank below ``shape``, in the last tree with
    it."""
    found: dict[str, Span] = {}
    for tree in trees:
        for part in (tree, tree.child("shape") if tree is not None else None):
            if isinstance(part, YamlMapping):
                found |= {key.text: key.span for key, _ in part.entries}
    return found


LAYER_FIELDS = ("layers", "model_width", "ffn_width", "ffn_up")
_OWN_FIELDS = (*LAYER_FIELDS, "source", "cascade")
_REQUEST_LENGTHS = ("prompt_len", "answer_len")
_VOID_LENGTHS = {
    "prefill": ("cached_len", *_REQUEST_LENGTHS),
    "chunked-prefill": _REQUEST_LENGTHS,
    "decode": ("seq_len", "cached_len", *_REQUEST_LENGTHS),
    "request": ("seq_len", "cached_len"),
}
"""Lengths that a file discards from earlier files if it sets this phase."""


def _merge(low: FileFields, high: FileFields) -> FileFields:
    """Return the fields of two files; those of ``high`` take precedence.

    The ranks of a file take precedence over its batch and lengths.
    """
    spec, places, config = high.spec, dict(low.places), low.config
    ranks = {r: n for r, n in low.spec.shape.items() if r not in _overridden_ranks(spec)}
    void = _VOID_LENGTHS.get(spec.phase or "", ())
    own = high.config is not None and high.replaces and is_config(high.config)
    if high.config is not None and (low.config is None or own):
        # The file has another model, so that fields about the model below do not hold.
        config, ranks, places = high.config, {}, {}
        void = (*void, "layer", "encoder", *_OWN_FIELDS)
    elif high.config is not None and low.config is not None:
        config = _merge_mappings(low.config, high.config)
    if spec.cascade is not None:
        places = {}
    given = {name: value for name, value in spec if value not in (None, "")}
    given |= {"shape": ranks | spec.shape, "formats": low.spec.formats | spec.formats}
    return FileFields(
        low.spec.model_copy(update=dict.fromkeys(void) | given),
        places=places | {**high.places},
        config=config,
        formats_at={**low.formats_at, **high.formats_at},
        numbers={**low.numbers, **high.numbers},
    )


def _overridden_ranks(spec: WorkloadFields) -> tuple[str, ...]:
    """Return the ranks whose shapes from earlier files become void, since this file sets other
    lengths."""
    lengths = (spec.seq_len, spec.phase, spec.cached_len, spec.prompt_len)
    return (
        *(("B",) if spec.batch is not None else ()),
        *(("P", "M") if any(v is not None for v in lengths) else ()),
    )


def merge_files(layers: list[FileFields], name: str) -> Workload:
    """Return the workload of some files and settings, merged in order.

    Parameters
    ----------
    layers : list of FileFields
        Files, lowest first: base models of the workload, its file, settings.
    name : str
        Name of the workload, unless a file sets one.

    Raises
    ------
    SpecError
        No cascade is named, or fields contradict one another.
    """
    merged = reduce(_merge, layers)
    spec, ranks, config = merged.spec, merged.spec.shape, merged.config
    choice = TokenChoice(spec, field_spans([layer.fields for layer in layers]))
    choice.check()
    if spec.encoder:
        choice.refuse_cache()
    if config is None and spec.layer is not None:
        hint = "only a model's configuration has layers that differ"
        raise choice.problem("layer", f"{name} has no 'config', this changes nothing", hint)
    if config is None and choice.request is not None:
        raise choice.problem("phase", f"{name} has no 'config': only a model answers a request")
    given = {key: getattr(spec, key) for key in ("name", "scope", *_OWN_FIELDS)}
    chosen = {"name": name} | {key: value for key, value in given.items() if value}
    if config is not None:
        for key in ("layers", "model_width", "ffn_width"):
            if key in chosen:
                hint = "change it there, for example config.num_hidden_layers=2"
                raise choice.problem(key, "the model's configuration says this", hint)
        chosen = {**model_fields(config, choice, ranks), **chosen}
    shapes = dict(chosen.pop("shapes", choice.shapes().items()))
    numbers = _parameters(merged, chosen.get("cascade"))
    if chosen.get("cascade") is None:
        raise SpecError(f"{name}: the workload names no cascade, for example 'attention-1pass'")
    sizes = sorted((shapes | ranks | numbers).items())
    stated = {**merged.places, **{key: at.span for key, (at, _) in merged.numbers.items()}}
    return Workload(
        **chosen,
        phase=choice.phase,
        cached_len=choice.cached_len,
        request=choice.request,
        shapes=tuple((rank, checked_size(rank, size)) for rank, size in sizes),
        stated=tuple(stated.items()),
        formats=TensorFormats.by_name(spec.formats),
        formats_at=tuple(merged.formats_at.items()),
    )


def _parameters(merged: FileFields, cascade: str | None) -> dict[str, int]:
    """Return the values of the cascade's parameters, which are unknown fields of a workload."""
    if not merged.numbers:
        return {}
    found = Cascade.load(cascade).program.parameters if cascade is not None else ()
    names = {p.name for p in found}
    known = (*WorkloadFields.model_fields, *WorkloadFields.also_known, *names)
    unknown = [
        Problem(f"unknown field '{shorten(at.text)}'", at.span, did_you_mean(at.text, known))
        for at, _ in merged.numbers.values()
        if at.text not in names
    ]
    raise_all(unknown, SpecError)
    return {name: parameter(at, value) for name, (at, value) in merged.numbers.items()}


def load(
    name: str | PathLike[str], settings: str | Iterable[str | Setting] = (), **fields: int | str
) -> Workload:
    """Return the built-in workload of a name, or the workload in a file.

    Parameters
    ----------
    name : str or path
        Built-in name; a name with a slash, or ending in ``.yaml``, is a file.
    settings : str, or iterable of str and Setting
        Fields as the command line sets them: ``"config.num_key_value_heads=32"``.
    **fields
        Fields by keyword: ``seq_len="64K"``, ``batch=1``, or shapes by rank, ``E=32``.
        They take precedence over the file, and a rank over ``batch`` and ``seq_len``.

    Raises
    ------
    SpecError
        The workload does not exist, or is wrong.

    Examples
    --------
    >>> load("bert-base", seq_len="1K").shape("P")
    1024
    >>> load("llama-3-8b", "config.num_hidden_layers=2").model.layer_count
    2
    """
    texts = (settings,) if isinstance(settings, str) else settings
    given = [parse_setting(s, prefix="") if isinstance(s, str) else s for s in texts]
    top = setting_fields([*given, *(python_setting(k, v) for k, v in fields.items())])
    layers = [top, file_fields(workload_tree(spec_tree("workloads", name)))]
    found = merge_files(_with_base_models(layers, name), os.fspath(name))
    _refuse_ineffective_settings(found, layers, name)
    return found


def _with_base_models(layers: list[FileFields], name: str | PathLike[str]) -> list[FileFields]:
    """Return the fields to merge, in order: those of the base models, of the file, and the
    settings."""
    found = list(layers)
    model = layers[0].spec.model or layers[1].spec.model
    while model is not None:
        found.append(file_fields(workload_tree(spec_tree("workloads", model))))
        model = found[-1].spec.model
        if len(found) > MAX_BASE_MODELS:
            raise SpecError(f"{name}: its models name one another without end")
    return found[::-1]


def _refuse_ineffective_settings(
    found: Workload, layers: list[FileFields], name: str | PathLike[str]
) -> None:
    """Raise an error for settings that do not affect the result.

    Raises
    ------
    SpecError
        A field of layers is set with the scope "attention", or a model from which a workload
        takes nothing.
    """
    settings, file = layers
    spec = settings.spec
    wrong = TokenChoice(spec, field_spans([settings.fields])).problem
    unused = next((key for key in LAYER_FIELDS if getattr(spec, key) is not None), None)
    if found.scope == "attention" and unused:
        text = "scope 'attention' runs attention alone, this changes nothing"
        raise wrong(unused, text, "add scope=block or scope=model")
    if found.scope == "block" and spec.layers is not None:
        text = "scope 'block' runs one layer, this changes nothing"
        raise wrong("layers", text, "scope=model runs all of them")
    if found.scope == "model" and spec.layer is not None:
        text = "scope 'model' runs all layers, this changes nothing"
        raise wrong("layer", text, "scope=block runs one of them")
    without_ffn = found.model and all(run.layer.ffn is None for run in found.model.runs)
    if spec.ffn_up is not None and without_ffn:
        raise wrong("ffn_up", "the model's layers have no feed-forward network")
    if spec.model is None:
        return
    bare = replace(settings, spec=spec.model_copy(update={"model": None}))
    try:
        without = merge_files(_with_base_models([bare, file], name), os.fspath(name))
    except SpecError:
        return
    if without == found:
        text = f"'{os.fspath(name)}' says all of it itself, another model changes nothing"
        raise wrong("model", text, f"simulate '{spec.model}' in its place")
