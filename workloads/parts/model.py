"""Parts of a model's layers, and the workload of a model for other tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from einsum_cascade.errors import Problem, SpecError

from ..attention.cascades import attention_of
from ..attention.phases import Tokens, default_layer, layer_tokens, running_layers
from ..models import (
    Experts,
    LatentAttention,
    Layer,
    Mixer,
    ModelConfig,
    RepeatedLayer,
    SoftmaxAttention,
)
from ..spec import LINEAR, WorkloadSpec
from .layer import LayerRun, expands_latent, expected_experts, expert_groups
from .part import Part, linear

_GATED = MappingProxyType(
    {"silu": "linear-layer-swiglu", "clamped silu": "linear-layer-swiglu-clamped"}
)
_PLAIN = MappingProxyType(
    {
        "gelu": "linear-layer-gelu",
        "relu": "linear-layer-relu",
        "squared relu": "linear-layer-squared-relu",
    }
)
"""Cascades of the first feed-forward layer by activation: ``_GATED`` with a gate, ``_PLAIN``
without."""
_CAPPED = "linear-layer-softcap"
"""Name of the cascade of an output head whose logits are capped."""


def ffn_up_of(layer: Layer) -> str:
    """Return the name of the cascade that computes the first feed-forward layer.

    An activation function without a cascade counts as SiLU with a gate, and as GELU without a gate.

    Returns
    -------
    str
        A built-in cascade; for a mixture, the cascade of each expert.
    """
    ffn = layer.ffn
    if ffn is None:
        return _GATED["silu"]
    if ffn.gated:
        return _GATED.get(ffn.function, _GATED["silu"])
    return _PLAIN.get(ffn.function, _PLAIN["gelu"])


def model_parts(work: WorkloadSpec, attention: Part, model: ModelConfig) -> tuple[Part, ...]:
    """Return the parts to run: those of one layer, or those of every kind of layer in the model.

    Parameters
    ----------
    work : WorkloadSpec
        Tokens, scope, selected layer, and shapes that the user gave.
    attention : Part
        Attention of the selected layer, with the shapes that the user gave.
    model : ModelConfig
        Model with all layers.

    Raises
    ------
    SpecError
        The user gave a shape that other layers, or projections, cannot follow.
    """
    runs = _runs(work, model)
    names = part_prefixes([run.layer for run in runs])
    layers = (
        replace(part, name=name + part.name, times=part.times * run.count)
        for name, run in zip(names, runs, strict=True)
        for part in _layer_run(work, attention, model, run.layer).parts()
    )
    return (*layers, *_head(work, model))


def _head(work: WorkloadSpec, model: ModelConfig) -> tuple[Part, ...]:
    """Return the output head, which runs on the last token of every sequence, or nothing."""
    if work.scope != "model" or model.head_width is None:
        return ()
    cascade = LINEAR if model.logit_softcap is None else _CAPPED
    tokens = _tokens(work).batch
    return (linear("output-head", tokens, model.width, model.head_width, cascade=cascade),)


def _runs(work: WorkloadSpec, model: ModelConfig) -> tuple[RepeatedLayer, ...]:
    if work.scope == "block":
        return (RepeatedLayer(count=1, layer=model.layer(work.layer or 0)),)
    return replace(model, runs=running_layers(model, work.phase)).kinds()


def _layer_run(work: WorkloadSpec, attention: Part, model: ModelConfig, layer: Layer) -> LayerRun:
    selected = model.layer(work.layer or 0)
    # Layers with the mixer of the selected layer run its attention, with the user's shapes.
    is_selected_mixer = layer.mixer == selected.mixer
    tokens = _tokens(work)
    own_tokens = layer_tokens(model, layer, tokens)
    part = (
        attention
        if is_selected_mixer
        else _other_attention(work, attention, layer.mixer, own_tokens)
    )
    cross, encoded = None, model.encoder_len or tokens.keys
    if layer.cross is not None:
        encoder_keys = replace(tokens, given_keys=encoded)
        cross = _other_attention(work, attention, layer.cross, encoder_keys)
    return LayerRun(
        layer=layer,
        width=model.width,
        attention=part,
        ffn_up=work.ffn_up if _ffn_up_given(work, model) else ffn_up_of(layer),
        cross=cross,
        weights=model.weights,
        encoder_tokens=encoded if cross and work.phase == "prefill" else 0,
    )


def _ffn_up_given(work: WorkloadSpec, model: ModelConfig) -> bool:
    """Return whether the user chose the cascade of the first feed-forward layer, for all layers."""
    return work.ffn_up != ffn_up_of(model.layer(work.layer or 0))


def _tokens(work: WorkloadSpec) -> Tokens:
    if work.computed is not None:
        return work.computed
    shapes = dict(work.shapes)
    return Tokens(
        phase=work.phase, batch=shapes["B"], seq_len=shapes["P"], cached_len=work.cached_len
    )


def _other_attention(work: WorkloadSpec, attention: Part, mixer: Mixer, tokens: Tokens) -> Part:
    """Return the attention of a layer whose mixer differs from the selected layer's."""
    if work.heads.given:
        ranks = ", ".join(sorted(work.heads.given))
        text = f"{ranks}: given by hand for one kind of layer, and the model has others"
        raise SpecError(Problem(text, hint="scope=attention, or a single layer with scope=block"))
    found = attention_of(mixer, tokens)
    return replace(attention, **found.features)


def layer_notes(work: WorkloadSpec) -> tuple[str, ...]:
    """Return a note that tells which layer the attention is from, and how many layers share its
    mixer."""
    if work.model is None or work.layer is None or work.scope != "attention":
        return ()
    mixer = work.model.layer(work.layer).mixer
    count = sum(run.count for run in work.model.runs if run.layer.mixer == mixer)
    note = (
        f"attention of layer {work.layer} ({mixer.kind}) alone: {count} of the model's"
        f" {work.model.layer_count} layers have it"
    )
    if isinstance(mixer, LatentAttention) and not expands_latent(work.cascade, work.heads):
        return (note, "projections into and out of the latent are not counted")
    return (note,)


def model_notes(work: WorkloadSpec, model: ModelConfig) -> tuple[str, ...]:
    """Return sentences about operations that the parts of a model leave out, and about
    assumptions."""
    runs = _runs(work, model)
    found = [note for run in runs for note in _ffn_notes(work, run.layer)]
    if work.scope == "model":
        count = sum(run.count for run in runs)
        which = f"all {count} layers"
        if count != model.layer_count:
            which = f"the {count} decoder layers, of {model.layer_count}: the encoder ran before"
        found += [f"{which}; {_head_note(model)}", *model.omitted]
    if str(model.weights):
        scales = "; scales of blocks of fp8 are not counted" * ("fp8" in str(model.weights))
        found.append(f"formats of weights: {model.weights}{scales}")
    return tuple(dict.fromkeys(found))


def _head_note(model: ModelConfig) -> str:
    if model.head_width is not None:
        return "the output head for the last token of each sequence; embeddings are looked up"
    if model.vocab_size is None:
        return "no vocab_size is given: embeddings and output head are not counted"
    return "embeddings and output head are not counted"


def _ffn_notes(work: WorkloadSpec, layer: Layer) -> Iterable[str]:
    ffn, tokens = layer.ffn, _tokens(work)
    usual = ffn_up_of(layer)
    if ffn is not None and work.model is not None and _ffn_up_given(work, work.model):
        yield f"the first feed-forward layer is '{work.ffn_up}', the model's is '{usual}'"
    if ffn is not None and ffn.gated and ffn.function not in _GATED:
        yield f"the gate's activation function, {ffn.function}, is counted as SiLU"
    if ffn is not None and not ffn.gated and ffn.function not in _PLAIN:
        yield f"the activation function, {ffn.function}, is counted as GELU"
    if isinstance(ffn, Experts):
        number = tokens.batch * tokens.queries
        groups = expert_groups(ffn, number)
        run = sum(count for _, count, _ in groups)
        sizes = " or ".join(str(size) for _, _, size in groups)
        yield (
            f"a router that favours none sends {number:,} token{'s' * (number != 1)} to"
            f" {expected_experts(ffn, number):.4g} of {ffn.experts} experts: {run} run, {sizes}"
            f" token{'s' * (sizes != '1')} each; no others are read"
        )
        yield "the choice of experts and the weighted sum of their outputs are not counted"
    if layer.cross is not None:
        cached = "" if work.phase == "prefill" else ", its keys and values in a cache"
        fixed = work.model.encoder_len if work.model is not None else None
        length = f"taken to be {tokens.keys}" if fixed is None else f"{fixed}"
        yield f"the encoder's output is {length} tokens long{cached}"


W = TypeVar("W", bound=WorkloadSpec)


def with_tokens(work: W, model: ModelConfig, tokens: Tokens) -> W:
    """Return the workload of a model for other tokens, with the cascades that compute them.

    Parameters
    ----------
    work : WorkloadSpec
        Workload whose scope stays, and whose layer stays if it runs in the phase.
    model : ModelConfig
        Model of the workload.
    tokens : Tokens
        Phase, number of sequences, and lengths.

    Raises
    ------
    SpecError
        The user gave widths, which cascades of other phases may not have.
    """
    given = sorted(set(work.heads.given) - {"B", "P", "M"})
    if given:
        text = f"{', '.join(given)}: given by hand, and other tokens take the model's widths"
        raise SpecError(Problem(text, hint="change config in its place"))
    usual = default_layer(model, tokens.phase)
    index = work.layer if work.layer is not None and work.layer >= usual else usual
    layer = model.layer(index)
    found = attention_of(layer.mixer, layer_tokens(model, layer, tokens))
    given_ffn_up = _ffn_up_given(work, model)
    return replace(
        work,
        phase=tokens.phase,
        computed=tokens,
        cached_len=tokens.cached_len,
        layer=index,
        ffn_up=work.ffn_up if given_ffn_up else ffn_up_of(model.layer(index)),
        stated=(),
        request=None,
        **found.features,
    )


def _window(layer: Layer) -> str:
    mixer = layer.mixer
    if not isinstance(mixer, SoftmaxAttention) or (mixer.window or mixer.chunk) is None:
        return "full"
    return f"window-{mixer.window}" if mixer.window is not None else f"chunk-{mixer.chunk}"


def _kind(layer: Layer) -> str:
    return layer.mixer.kind


def _feed_forward(layer: Layer) -> str:
    if layer.ffn is None:
        return "alone"
    return "sparse" if isinstance(layer.ffn, Experts) else "dense"


_ASPECTS: tuple[Callable[[Layer], str], ...] = (
    lambda layer: "encoder" if layer.cross is None else "decoder",
    _kind,
    _window,
    _feed_forward,
)


def part_prefixes(layers: Sequence[Layer]) -> list[str]:
    """Return for each layer a prefix of its parts' names, which tells how the layer differs.

    A single layer has an empty prefix.

    Parameters
    ----------
    layers : sequence of Layer
        Different layers, each once.
    """
    if len(layers) == 1:
        return [""]
    return [f"{name}." for name in _names(layers)]


def kinds_of_layers(model: ModelConfig) -> dict[str, int]:
    """Return the number of layers of each kind, the most frequent first.

    Examples
    --------
    >>> from workloads import load
    >>> kinds_of_layers(load("gemma-2-9b").model)
    {'GQA-window-4096': 21, 'GQA-full': 21}
    """
    kinds = model.kinds()
    names = _names([run.layer for run in kinds], always=(_kind,))
    return {name: run.count for name, run in zip(names, kinds, strict=True)}


def _names(layers: Sequence[Layer], always: tuple[Callable[[Layer], str], ...] = ()) -> list[str]:
    """Return a name for each layer, from the aspects in which the layers differ.

    Aspects in ``always`` are named even if all layers agree. Layers with equal names are numbered.
    """
    aspects = [(a, [a(layer) for layer in layers]) for a in _ASPECTS]
    telling = [words for a, words in aspects if a in always or len(set(words)) > 1]
    names = ["-".join(words) for words in zip(*telling, strict=True)] or ["layer"] * len(layers)
    return [
        f"{name}-{names[: at + 1].count(name)}" if names.count(name) > 1 else name
        for at, name in enumerate(names)
    ]
