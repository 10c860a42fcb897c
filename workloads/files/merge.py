"""Workload files and settings over one another: what they say together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span
from einsum_cascade.yaml.source import YamlNode, YamlScalar

from ..attention.shared_heads import bounded
from ..parts.model import ffn_up_of
from ..workload import Workload
from .config_tree import config_over
from .fields import FileFields, WorkloadFields, parameter, unknown_field
from .model import ModelLayer, TokenChoice, model_layer, places_of, shared_heads


@dataclass(slots=True)
class _Merge:
    """What the layers say together."""

    chosen: dict[str, Any] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    stated: dict[str, Span] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    formats_at: dict[str, Span] = field(default_factory=dict)
    config: YamlNode | None = None
    numbers: dict[str, tuple[YamlScalar, YamlScalar]] = field(default_factory=dict)

    def add(self, layer: FileFields) -> None:
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
        self.formats.update(spec.formats)
        self.formats_at.update(layer.formats_at)
        self.numbers.update((name.text, (name, value)) for name, value in layer.numbers)
        for key in _KEPT:
            if (value := getattr(spec, key)) not in (None, ""):
                self.chosen[key] = value


OF_LAYERS = ("layers", "model_width", "ffn_width", "ffn_up")
_ASKED = ("prompt_len", "answer_len")
_TOKENS = ("phase", "batch", "seq_len", "cached_len", *_ASKED, "layer")
_LENGTHS = {
    "prefill": ("cached_len", *_ASKED),
    "chunked-prefill": _ASKED,
    "decode": ("seq_len", "cached_len", *_ASKED),
    "request": ("seq_len", "cached_len"),
}
"""What a phase makes of the lengths of the layers below: these no longer hold."""
_OWN = ("layers", "model_width", "ffn_width", "ffn_up", "source")
_ENCODER = "encoder"
_KEPT = ("name", "scope", _ENCODER, *_TOKENS, *_OWN)
_OF_A_MODEL = ("cascade", "layer", _ENCODER, *_OWN)


def _replaced(spec: WorkloadFields) -> tuple[str, ...]:
    """Ranks of the layers below that this layer's other fields set anew."""
    lengths = (spec.seq_len, spec.phase, spec.cached_len, spec.prompt_len)
    return (
        *(("B",) if spec.batch is not None else ()),
        *(("P", "M") if any(v is not None for v in lengths) else ()),
    )


def merged(layers: list[FileFields], name: str) -> Workload:
    """The workload of some files and settings over one another.

    Parameters
    ----------
    layers : list of FileFields
        The lowest first: the models a workload starts from, its file, settings.
    name : str
        The workload's, where no file says another.

    Raises
    ------
    SpecError
        Together they are none: no cascade is named, or fields do not go together.
    """
    merge = _Merge()
    for layer in layers:
        merge.add(layer)
    said = {key: merge.chosen.pop(key) for key in _TOKENS if key in merge.chosen}
    if "phase" in said:
        said["asked"] = said.pop("phase")
    choice = TokenChoice(**said, places=places_of([layer.fields for layer in layers])).checked()
    if merge.chosen.pop(_ENCODER, False):
        choice.refuse_cache()
    if merge.config is None and choice.layer is not None:
        hint = "only a model's configuration has layers that differ"
        raise choice.problem("layer", f"{name} has no 'config', this changes nothing", hint)
    if merge.config is None and choice.request is not None:
        raise choice.problem("phase", f"{name} has no 'config': only a model answers a request")
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
        if {"B", "P", "M"}.isdisjoint(merge.ranks):
            chosen["computed"] = found.tokens
        chosen["heads"] = shared_heads(found.attention, shapes, choice, merge.ranks)
    merge.ranks |= _parameters(merge, chosen.get("cascade"))
    if chosen.get("cascade") is None:
        text = f"{name}: the workload names no cascade, for example 'attention-1pass'"
        raise SpecError(text)
    return Workload(
        **chosen,
        phase=choice.phase,
        cached_len=choice.cached_len or 0,
        request=choice.request,
        shapes=tuple((r, bounded(r, n)) for r, n in sorted((shapes | merge.ranks).items())),
        stated=tuple(merge.stated.items()),
        formats=TensorFormats.by_name(merge.formats),
        formats_at=tuple(merge.formats_at.items()),
    )


def _parameters(merge: _Merge, cascade: str | None) -> dict[str, int]:
    """The cascade's parameters among the fields that no workload has, and that they were stated."""
    if not merge.numbers:
        return {}
    found = Cascade.load(cascade).program.parameters if cascade is not None else ()
    names = {p.name for p in found}
    unknown = [at for at, _ in merge.numbers.values() if at.text not in names]
    if unknown:
        raise SpecError([unknown_field(at, names) for at in unknown])
    merge.stated.update((name, at.span) for name, (at, _) in merge.numbers.items())
    return {name: parameter(at, value) for name, (at, value) in merge.numbers.items()}


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
