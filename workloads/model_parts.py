"""The parts of a model's layers: each kind of layer once, with how often it occurs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from einsum_cascade.errors import Problem, SpecError

from .attention_layers import Tokens, attention_of
from .models import FeedForward, Layer, ModelConfig, Run, SoftmaxAttention
from .shared_heads import SharedHeads

if TYPE_CHECKING:
    from .config import Workload
    from .parts import Block, Part

_UP = {("silu", True): "linear-layer-swiglu"} | {
    (function, False): f"linear-layer-{function}" for function in ("gelu", "relu")
}
"""The cascade of the first feed-forward layer, by activation function and gate."""


def ffn_up_of(layer: Layer) -> str:
    """The cascade of a layer's first feed-forward layer; gates count as SiLU's."""
    ffn = layer.ffn
    gated = not isinstance(ffn, FeedForward) or ffn.gated
    function = "silu" if not isinstance(ffn, FeedForward) or gated else ffn.function
    return _UP[function, gated]


def model_blocks(work: Workload, attention: Part, model: ModelConfig) -> tuple[Block, ...]:
    """The layers that a scope runs: the chosen one, or every kind of the model's.

    Raises
    ------
    SpecError
        A layer has what is not modelled beyond its attention.
    """
    own = model.layer(work.layer or 0)
    runs = (Run(count=1, layer=own),) if work.scope == "block" else model.kinds()
    for run in runs:
        _refuse_unmodelled(work, run.layer)
    several = len(runs) > 1
    return tuple(
        _block(work, attention, model, run, f"kind-{at}" if several else "")
        for at, run in enumerate(runs, start=1)
    )


def _block(work: Workload, attention: Part, model: ModelConfig, run: Run, name: str) -> Block:
    from .parts import Block

    layer, own = run.layer, model.layer(work.layer or 0)
    assert isinstance(layer.ffn, FeedForward), "others are refused"
    part = attention if layer.mixer == own.mixer else _other_attention(work, attention, layer)
    return Block(
        attention=part,
        model_width=model.width,
        ffn_width=layer.ffn.inner,
        key_heads=dict(part.shapes)["H"] // part.heads.group,
        new_keys=dict(part.shapes)["P"],
        ffn_up=work.ffn_up if layer.ffn == own.ffn else ffn_up_of(layer),
        times=run.count,
        name=name,
    )


def _other_attention(work: Workload, attention: Part, layer: Layer) -> Part:
    """The attention of another kind of layer, for the same tokens."""
    if work.heads.given:
        ranks = ", ".join(sorted(work.heads.given))
        text = f"{ranks}: given by hand for one kind of layer, and the model has others"
        raise SpecError(Problem(text, hint="scope=attention, or a single layer with scope=block"))
    shapes = dict(attention.shapes)
    tokens = Tokens(
        phase=work.phase, batch=shapes["B"], seq_len=shapes["P"], cached_len=work.cached_len
    )
    found = attention_of(layer.mixer, tokens)
    if found.cascade is None:
        raise SpecError(f"{work.name}: no cascade ships for {layer.mixer.kind} layers")
    heads = dict(found.shapes)["H"]
    group = heads // (found.kv_heads or heads)
    return replace(
        attention,
        cascade=found.cascade,
        shapes=found.shapes,
        heads=SharedHeads(group=group, variants=found.variants),
        notes=found.notes,
        omissions=found.omissions,
        stand_ins=found.stand_ins,
        unless_given=found.unless_given,
    )


def _refuse_unmodelled(work: Workload, layer: Layer) -> None:
    missing = []
    if not isinstance(layer.mixer, SoftmaxAttention):
        missing.append(f"the projections of {layer.mixer.kind} layers")
    if layer.cross is not None:
        missing.append("attention to an encoder")
    if not isinstance(layer.ffn, FeedForward):
        missing.append("a mixture of experts" if layer.ffn else "a layer without feed-forward")
    if missing:
        text = f"{work.name}: scope '{work.scope}' does not have {', '.join(missing)} yet"
        raise SpecError(Problem(text, hint="scope=attention simulates the attention of a layer"))


def layer_notes(work: Workload) -> tuple[str, ...]:
    """Which layer's attention is alone in a workload, and how many the model has of it."""
    if work.model is None or work.layer is None or work.scope != "attention":
        return ()
    mixer = work.model.layer(work.layer).mixer
    alike = sum(run.count for run in work.model.runs if run.layer.mixer == mixer)
    return (
        f"attention of layer {work.layer} ({mixer.kind}) alone: {alike} of the model's"
        f" {work.model.layer_count} layers have it",
    )


def gate_notes(layer: Layer) -> tuple[str, ...]:
    """A sentence where a gate's activation function is counted as another."""
    ffn = layer.ffn
    if isinstance(ffn, FeedForward) and ffn.gated and ffn.function != "silu":
        return (f"the gate's activation function, {ffn.function}, is counted as SiLU",)
    return ()
