"""Workload files: a model's shapes, a batch, a sequence length, and what to compute."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, PlainValidator

from einsum_cascade.errors import Problem, SpecError, did_you_mean
from einsum_cascade.source import Span
from einsum_cascade.yaml.edit import Setting, apply_settings, python_setting
from einsum_cascade.yaml.schema import (
    Count,
    Fields,
    Rank,
    expected,
    is_rank,
    parse_count,
    section,
    validate,
)
from einsum_cascade.yaml.source import YamlMapping, YamlNode, YamlScalar, shorten
from einsum_cascade.yaml.spec_files import referred, spec_tree

from .attention_layers import Phase
from .huggingface.read import is_config
from .model_files import CONFIG, config_over, config_tree
from .model_parts import ffn_up_of
from .model_workload import Choice, ModelLayer, model_layer, places_of, shared_heads
from .models import ModelConfig
from .omissions import Omission
from .part import LINEAR, Part
from .parts import attention_part, left_out, parts_of
from .shared_heads import SharedHeads, bounded

KEY = "workload"
Scope = Literal["attention", "block", "model"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_MOST_LAYERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What to compute, and on what shapes.

    ``shapes`` are the model's and the user's, by rank, in elements; a cascade may have
    fewer ranks than a model.
    """

    name: str
    cascade: str
    """A built-in name or a file."""
    shapes: tuple[tuple[str, int], ...]
    scope: Scope = "attention"
    """Attention alone, one layer with projections and feed-forward network, or all layers."""
    layers: int | None = None
    """Layers of the model, all alike."""
    model_width: int | None = None
    """Width of the residual stream."""
    ffn_width: int | None = None
    """Width inside the feed-forward network."""
    ffn_up: str = LINEAR
    """The cascade that widens a token inside the feed-forward network."""
    phase: Phase = "prefill"
    cached_len: int = 0
    """Tokens of a sequence that came before the ones computed."""
    model: ModelConfig | None = None
    """The whole model, where the workload was read from one."""
    layer: int | None = None
    """Which of the model's layers this is the attention of, from 0."""
    heads: SharedHeads = field(default=SharedHeads())
    """How query heads share keys and values."""
    notes: tuple[str, ...] = ()
    """What the cascade leaves out of the layer, and what was taken by default."""
    omissions: tuple[Omission, ...] = ()
    """What other cascades than its own may leave out of the layer."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute its attention on the same shapes, but for their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades than its own, in elements."""
    source: str = field(default="", compare=False)
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks given together with the cascade or after it, and where: it must have them."""

    @property
    def batch(self) -> int | None:
        """Sequences computed at once: the shape of B."""
        return self.shape("B")

    @property
    def seq_len(self) -> int | None:
        """Keys a query sees: the shape of M."""
        return self.shape("M")

    def shape(self, rank: str) -> int | None:
        """The shape of a rank, or None."""
        return dict(self.shapes).get(rank)

    def shapes_for(self, ranks: Collection[str]) -> dict[str, int]:
        """The shapes of those ranks of a cascade that are given here.

        H are query heads and P query tokens. Where heads share keys and values and the
        cascade has no rank for it, they are rows of one head: see ``shared_heads``.

        Raises
        ------
        SpecError
            A rank that was given for the cascade is none of ``ranks``.
        """
        return attention_part(self).shapes_for(ranks)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What runs, in order: attention alone, or with the rest of its layer.

        Raises
        ------
        SpecError
            The scope needs a width, a number of layers or a shape that is not given.
        """
        return parts_of(self)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the scope leaves out, in sentences."""
        return left_out(self)


def _scope(value: Any) -> Scope:
    for scope in SCOPES:
        if value == scope:
            return scope
    text = f"expected one of {', '.join(SCOPES)}, got '{shorten(str(value))}'"
    raise expected(text, did_you_mean(str(value), SCOPES))


def _count_or_zero(value: Any) -> int:
    return parse_count(value, least=0)


class _Workload(Fields):
    also_known: ClassVar[tuple[str, ...]] = ("B", "H", "E", "F", "P", "M")

    name: str | None = None
    title: str = ""
    source: str = ""
    model: str | None = None
    cascade: str | None = None
    scope: Annotated[Scope | None, PlainValidator(_scope)] = None
    batch: Count | None = None
    seq_len: Count | None = None
    phase: Phase | None = None
    cached_len: Annotated[int | None, PlainValidator(_count_or_zero)] = None
    config: Any = None
    layer: Annotated[int | None, PlainValidator(_count_or_zero)] = None
    model_width: Count | None = None
    ffn_width: Count | None = None
    ffn_up: str | None = None
    layers: Count | None = None
    shape: dict[Rank, Count] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one file, or the settings together, say."""

    spec: _Workload
    cascade: str | None
    places: tuple[tuple[str, Span], ...]
    """Where each rank's shape was written."""
    fields: YamlNode | None = None
    config: YamlNode | None = None
    """The fields of a model, or some that change it."""


def load(
    name: str | PathLike[str], settings: Iterable[Setting] = (), **fields: int | str
) -> Workload:
    """The built-in workload of a name, or the one in a file.

    Parameters
    ----------
    name : str or path
        A built-in name; anything with a slash or ending in ``.yaml`` is a file.
    settings : iterable of Setting
        Fields set on the command line.
    **fields
        Fields by keyword: ``seq_len="64K"``, ``batch=1``, or shapes by rank, ``E=32``.
        They win over the file, and a rank wins over ``batch`` and ``seq_len``.

    Raises
    ------
    SpecError
        There is none, or it is wrong.

    Examples
    --------
    >>> load("bert-base", seq_len="1K").shape("P")
    1024
    """
    top = _settings_layer([*settings, *(python_setting(k, v) for k, v in fields.items())])
    layers = [top, _layer(_folded(spec_tree("workloads", name)))]
    found = _merged(_with_models(layers, name), os.fspath(name))
    _refuse_without_effect(found, layers, name)
    return found


def _with_models(layers: list[_Layer], name: str | PathLike[str]) -> list[_Layer]:
    """Settings, their file, and the workloads it starts from; lowest first."""
    found = list(layers)
    model = layers[0].spec.model or layers[1].spec.model
    while model is not None:
        found.append(_layer(_folded(spec_tree("workloads", model))))
        model = found[-1].spec.model
        if len(found) > _MOST_LAYERS:
            raise SpecError(f"{name}: its models name one another without end")
    return found[::-1]


def _refuse_without_effect(
    found: Workload, layers: list[_Layer], name: str | PathLike[str]
) -> None:
    """Refuse settings that the result does not depend on.

    Raises
    ------
    SpecError
        A field of layers beside a scope of attention alone, or a model of which a workload
        that is complete by itself takes nothing.
    """
    settings, file = layers
    places = places_of([settings.fields])
    unused = [key for key in _OF_LAYERS if getattr(settings.spec, key) is not None]
    if found.scope == "attention" and unused:
        hint = "add scope=block or scope=model"
        text = f"{unused[0]}: scope 'attention' runs attention alone, this changes nothing"
        raise SpecError(Problem(text, places.get(unused[0]), hint))
    without_ffn = found.model and all(run.layer.ffn is None for run in found.model.runs)
    if settings.spec.ffn_up is not None and without_ffn:
        text = "ffn_up: the model's layers have no feed-forward network"
        raise SpecError(Problem(text, places.get("ffn_up")))
    if settings.spec.model is None:
        return
    bare = replace(settings, spec=settings.spec.model_copy(update={"model": None}))
    try:
        without = _merged(_with_models([bare, file], name), os.fspath(name))
    except SpecError:
        return
    if without == found:
        text = f"model: '{os.fspath(name)}' says all of it itself, another model changes nothing"
        hint = f"simulate '{settings.spec.model}' in its place"
        raise SpecError(Problem(text, places.get("model"), hint))


def _settings_layer(settings: Iterable[Setting]) -> _Layer:
    """Settings as a file of their own that lies over the others."""
    made = [
        Setting(path=(_key(KEY, setting.span), *setting.path), value=setting.value)
        for setting in settings
    ]
    if not made:
        return _Layer(_Workload(), None, ())
    empty = YamlMapping(span=made[0].span, entries=())
    return _layer(_folded(apply_settings(empty, made)))


def _folded(root: YamlNode) -> YamlNode:
    """The tree as the schema wants it: one section, ranks together below ``shape``."""
    if not isinstance(root, YamlMapping):
        raise SpecError(Problem(f"expected '{KEY}:' and its fields, got {root.kind}", root.span))
    fields = root.child(KEY)
    if fields is None and is_config(root):
        # A model's own configuration is a workload of nothing else.
        return _one(KEY, _one(CONFIG, root))
    if fields is None and root.span.source.name.lower().endswith(".json"):
        text = "expected 'workload' and its fields, or a model's fields with its 'model_type'"
        raise SpecError(Problem(text, root.span))
    beside: tuple[tuple[YamlScalar, YamlNode], ...] = ()
    if isinstance(fields, YamlScalar) and fields.value is not None and root.child("name") is None:
        # `workload: NAME` beside its fields.
        entries = tuple((_key("name", k.span) if k.text == KEY else k, v) for k, v in root.entries)
        fields = YamlMapping(span=root.span, entries=entries)
    else:
        beside = tuple((k, v) for k, v in root.entries if k.text != KEY)
    if isinstance(fields, YamlMapping):
        fields = _ranks_together(fields)
    own = () if fields is None else ((_key(KEY, root.span), fields),)
    return YamlMapping(span=root.span, entries=(*own, *beside))


def _ranks_together(fields: YamlMapping) -> YamlMapping:
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
    entries = (*others, (_key("shape", shape.span), shape))
    return YamlMapping(span=fields.span, entries=entries)


def _layer(root: YamlNode) -> _Layer:
    """Check one file, or the settings, and resolve the names in it."""
    path = section(root, KEY)
    spec = validate(_Workload, root, path)
    cascade = model = ffn_up = None
    if spec.cascade is not None:
        cascade = referred("cascades", spec.cascade, root.span_of((*path, "cascade")))
    if spec.ffn_up is not None:
        ffn_up = referred("cascades", spec.ffn_up, root.span_of((*path, "ffn_up")))
    if spec.model is not None:
        model = referred("workloads", spec.model, root.span_of((*path, "model")))
    places = tuple((rank, root.key_span((*path, "shape", rank))) for rank in spec.shape)
    fields = root.at(path)
    config = config_tree(fields)
    spec = spec.model_copy(update={"model": model, "ffn_up": ffn_up})
    return _Layer(spec, cascade, places, fields, config)


def _one(key: str, node: YamlNode) -> YamlMapping:
    return YamlMapping(span=node.span, entries=((_key(key, node.span), node),))


def _key(text: str, span: Span) -> YamlScalar:
    return YamlScalar(span=span, value=text, text=text)


@dataclass(slots=True)
class _Merge:
    """What the layers say together."""

    chosen: dict[str, Any] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    stated: dict[str, Span] = field(default_factory=dict)
    config: YamlNode | None = None

    def add(self, layer: _Layer) -> None:
        """Lay a layer over the others; its ranks win over its batch and lengths."""
        spec = layer.spec
        if layer.config is not None:
            self.config = config_over(self.config, layer.config)
            if self.config is layer.config:
                # Another model: what was said of the one below does not hold.
                self.ranks.clear()
                self.stated.clear()
                self.chosen = {k: v for k, v in self.chosen.items() if k not in _OF_A_MODEL}
        for rank in _replaced(spec):
            self.ranks.pop(rank, None)
        for length in _LENGTHS.get(spec.phase or "", ()):
            self.chosen.pop(length, None)
        self.ranks.update(spec.shape)
        if layer.cascade is not None:
            self.chosen["cascade"] = layer.cascade
            self.stated.clear()
        self.stated.update(layer.places)
        for key in _KEPT:
            if (value := getattr(spec, key)) not in (None, ""):
                self.chosen[key] = value


_OF_LAYERS = ("layers", "model_width", "ffn_width", "ffn_up")
_TOKENS = ("phase", "batch", "seq_len", "cached_len", "layer")
_LENGTHS = {"prefill": ("cached_len",), "decode": ("seq_len", "cached_len")}
"""What a phase makes of the lengths of the layers below: these no longer hold."""
_OWN = ("layers", "model_width", "ffn_width", "ffn_up", "source")
_KEPT = ("name", "scope", *_TOKENS, *_OWN)
_OF_A_MODEL = ("cascade", "layer", *_OWN)


def _replaced(spec: _Workload) -> tuple[str, ...]:
    """Ranks of the layers below that this layer's other fields set anew."""
    lengths = (spec.seq_len, spec.phase, spec.cached_len)
    return (
        *(("B",) if spec.batch is not None else ()),
        *(("P", "M") if any(v is not None for v in lengths) else ()),
    )


def _merged(layers: list[_Layer], name: str) -> Workload:
    """The workload of all layers, of which later ones win."""
    merge = _Merge()
    for layer in layers:
        merge.add(layer)
    said = {key: merge.chosen.pop(key) for key in _TOKENS if key in merge.chosen}
    choice = Choice(**said, places=places_of([layer.fields for layer in layers])).checked()
    chosen = {"name": name, **merge.chosen}
    shapes = choice.shapes()
    if merge.config is not None:
        for key in ("layers", "model_width", "ffn_width"):
            if key in chosen:
                hint = "change it there, for example config.num_hidden_layers=2"
                raise choice.problem(key, "the model's configuration says this", hint)
        found = model_layer(merge.config, choice, merge.ranks)
        chosen = {**_model_fields(found), **chosen}
        shapes = dict(found.attention.shapes) | merge.ranks
        chosen["heads"] = shared_heads(found.attention, shapes, choice, merge.ranks)
    if chosen.get("cascade") is None:
        text = f"{name}: the workload names no cascade, for example 'attention-1pass'"
        raise SpecError(text)
    return Workload(
        **chosen,
        phase=choice.phase,
        cached_len=choice.cached_len or 0,
        shapes=tuple((r, bounded(r, n)) for r, n in sorted((shapes | merge.ranks).items())),
        stated=tuple(merge.stated.items()),
    )


def _model_fields(found: ModelLayer) -> dict[str, Any]:
    return {
        "cascade": found.attention.cascade,
        "model": found.model,
        "layer": found.index,
        "notes": found.notes,
        "omissions": found.attention.omissions,
        "stand_ins": found.attention.stand_ins,
        "unless_given": found.attention.unless_given,
        "model_width": found.model.width,
        "ffn_width": found.ffn_width,
        "ffn_up": ffn_up_of(found.model.layer(found.index)),
        "layers": found.model.layer_count,
        "source": found.model.source,
    }
