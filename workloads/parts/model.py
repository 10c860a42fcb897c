"""Parts of a model's layers, and the workload of a model for other tokens.

A layer has a mixer between its projections, and a feed-forward network. Widths are those of
``models``; N tokens are B sequences of P tokens. Normalisations, biases, residual sums, rotary
embeddings, and multiplications by a gate are not counted as parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import expm1, log1p
from types import MappingProxyType
from typing import TypeVar

from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError

from ..attention.cascades import attention_of
from ..attention.layer_attention import SharedHeads, convolution_shapes
from ..attention.phases import Tokens, default_layer, layer_tokens, running_layers
from ..models import (
    Experts,
    LatentAttention,
    LatentForm,
    Layer,
    MatrixProduct,
    Mixer,
    Mixing,
    ModelConfig,
    RepeatedLayer,
    SoftmaxAttention,
    Step,
)
from ..spec import LINEAR, WorkloadSpec
from .part import Part, linear

CONVOLUTION, LINEAR_CONVOLUTION = "depthwise-convolution", "depthwise-convolution-linear"
_ROUTER, _CROSS, _FULLER = "router", "cross-", "fuller-"
"""Name of the router, and prefixes of parts: of cross attention, of experts with one more token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """Layer of a model and the tokens that the layer computes."""

    layer: Layer
    width: int
    """Width of the residual stream, in elements."""
    attention: Part
    """Mixer of the layer, with the shapes of the tokens computed."""
    ffn_up: str
    """Name of the cascade for the first products of a feed-forward network."""
    cross: Part | None = None
    """Attention to the output of an encoder, or None."""
    encoder_tokens: int = 0
    """Encoder tokens per sequence whose keys and values this run projects for cross attention."""

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences: the shape of N."""
        shapes = dict(self.attention.shapes)
        return shapes["B"] * shapes["P"]

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the layer in the order they run.

        Raises
        ------
        SpecError
            The user set a rank's shape that the model fixes.
        """
        found = chain(self._mixer_parts(), self._cross(), self._feed_forward())
        return tuple(self._in_formats(part) for part in found)

    def _mixer_parts(self) -> Iterator[Part]:
        mixer, shapes = self.layer.mixer, dict(self.attention.shapes)
        if isinstance(mixer, SoftmaxAttention):
            # The user may give other heads than the model's.
            given = replace(
                mixer,
                heads=shapes["H"],
                kv_heads=shapes["H"] // self.attention.heads.group,
                qk_width=shapes["E"],
                v_width=shapes["F"],
            )
            return parts_of_steps(given.steps(self.width), self.attention, self.tokens)
        _refuse_given_ranks(self, mixer.kind)
        if isinstance(mixer, LatentAttention):
            # The cache holds latents, so that latents of earlier tokens are expanded again.
            steps = mixer.steps(self.width, _latent_form(self.attention, mixer))
            return parts_of_steps(steps, self.attention, shapes["B"] * shapes["M"])
        return parts_of_steps(mixer.steps(self.width), self.attention, self.tokens)

    def _in_formats(self, part: Part) -> Part:
        """Return a part with the number formats of its weights and of a product's input."""
        if part.cascade in (CONVOLUTION, LINEAR_CONVOLUTION) or part.name == _ROUTER:
            return part
        name = part.name.removeprefix(_CROSS).removeprefix(_FULLER)
        weights, inputs = self.layer.weights.of(name)
        return replace(part, weights=weights, inputs="" if name == self.attention.name else inputs)

    def _cross(self) -> Iterator[Part]:
        if self.cross is None or self.layer.cross is None:
            return
        keys = dict(self.cross.shapes)["B"] * self.encoder_tokens
        parts = parts_of_steps(self.layer.cross.steps(self.width), self.cross, keys)
        yield from (replace(part, name=_CROSS + part.name) for part in parts)

    def _feed_forward(self) -> Iterator[Part]:
        ffn = self.layer.ffn
        if isinstance(ffn, Experts):
            yield linear(_ROUTER, self.tokens, self.width, ffn.experts)
            if ffn.shared_inner:
                yield from self._products("shared-expert", self.tokens, ffn.shared_inner)
            groups = expert_groups(ffn, self.tokens)
            idle = ffn.experts - sum(count for _, count, _ in groups)
            for name, count, tokens in groups:
                experts = self._products(name, tokens, ffn.inner, count)
                yield from (replace(part, idle=idle) for part in experts)
                idle = 0
        elif ffn is not None:
            yield from self._products("ffn", self.tokens, ffn.inner)

    def _products(self, name: str, tokens: int, inner: int, times: int = 1) -> Iterator[Part]:
        # With a gate, the cascade of the first products includes both products and the gating.
        up, width = self.ffn_up, self.width
        yield linear(f"{name}-up", tokens, width, inner, cascade=up, times=times)
        yield linear(f"{name}-down", tokens, inner, width, times=times)


def expected_experts(ffn: Experts, tokens: int) -> float:
    """Return the expected number of experts that receive a token, with uniform routing.

    A token misses each of n experts with probability 1 - k/n, independently of other tokens.

    Examples
    --------
    >>> mixture = Experts(experts=8, per_token=2, inner=1024)
    >>> [round(expected_experts(mixture, tokens), 6) for tokens in (1, 2, 64)]
    [2.0, 3.5, 8.0]
    """
    n, k = ffn.experts, ffn.per_token
    # The result is n (1 - (1 - k/n) ** tokens), computed so that small k/n keeps its digits. With k
    # = n the logarithm would be of 0.
    return float(n if k == n else -n * expm1(tokens * log1p(-k / n)))


def expert_groups(ffn: Experts, tokens: int) -> tuple[tuple[str, int, int], ...]:
    """Return groups of experts that run: name, number of experts, and tokens per expert.

    The number of experts that run is ``expected_experts`` rounded to a whole number. The tokens
    times ``per_token`` assignments are distributed evenly over these experts. If the division
    leaves a remainder, some experts have one more assignment.

    Examples
    --------
    Six tokens go to two of eight experts each: 6.6 experts are expected to have one, and of
    12 assignments five of seven have two.

    >>> mixture = Experts(experts=8, per_token=2, inner=1024)
    >>> expert_groups(mixture, 6)
    (('fuller-expert', 5, 2), ('expert', 2, 1))
    >>> expert_groups(mixture, 1)
    (('expert', 2, 1),)
    """
    # A single token uses ``per_token`` experts, so that at least this number runs.
    running = max(ffn.per_token, round(expected_experts(ffn, tokens)))
    each, more = divmod(tokens * ffn.per_token, running)
    found = ((f"{_FULLER}expert", more, each + 1), ("expert", running - more, each))
    some = [(name, count, size) for name, count, size in found if count and size]
    return (("expert", *some[0][1:]),) if len(some) == 1 else tuple(some)


def parts_of_steps(steps: Iterable[Step], mixer: Part, key_tokens: int) -> Iterator[Part]:
    """Yield a part for each step of a mixer; ``mixer`` is the part of the mixing itself.

    ``key_tokens`` is the number of tokens whose keys are projected.
    """
    shapes = dict(mixer.shapes)
    b, p = shapes["B"], shapes["P"]
    for step in steps:
        if isinstance(step, Mixing):
            yield mixer
        elif isinstance(step, MatrixProduct):
            tokens = key_tokens if step.of_keys else b * p
            if tokens:
                product = (tokens, step.features, step.projected)
                yield linear(step.name, *product, times=step.times, makes=step.makes)
        else:
            # Earlier tokens come from a cache, or are zeros.
            sizes = convolution_shapes(b, p, step.channels, step.taps)
            cascade = CONVOLUTION if step.activated else LINEAR_CONVOLUTION
            yield Part(name="convolution", cascade=cascade, shapes=sizes)


def expands_latent(cascade: str, heads: SharedHeads) -> bool:
    """Return whether a cascade reads latents, and expands keys and values itself."""
    return heads.variant([rank.name for rank in Cascade.load(cascade).program.ranks]) is not None


def _latent_form(attention: Part, a: LatentAttention) -> LatentForm:
    """Return the form of latent attention, which follows from the cascade and the widths."""
    if expands_latent(attention.cascade, attention.heads):
        return "inside"
    shapes = dict(attention.shapes)
    absorbed = shapes["E"] == a.kv_rank + a.rope_width and shapes["F"] == a.kv_rank
    return "absorbed" if absorbed else "expanded"


def _refuse_given_ranks(run: LayerRun, kind: str) -> None:
    """Raise an error if the user gave a width: the projections have the model's widths."""
    given = sorted(set(run.attention.heads.given) - {"B", "P", "M"})
    if given:
        text = (
            f"{', '.join(given)}: given by hand, and projections of {kind} layers are the model's"
        )
        raise SpecError(text, hint="change config, or take scope=attention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F (values), P
    queries and M keys per sequence. Projections and feed-forward network are matrix multiplications
    over the tokens of all sequences together. Normalisations, biases and residual sums are left
    out.

    Raises
    ------
    SpecError
        Attention has no shape of a rank that the projections need.
    """

    attention: Part
    model_width: int
    """Width of the residual stream, D."""
    ffn_width: int
    """Width inside the feed-forward network, S."""
    key_heads: int | None = None
    """Heads of keys and values; None means one per query head. Fewer heads are shared (GQA,
    MQA)."""
    new_keys: int | None = None
    """Keys per sequence that are projected here, or 0; None means all. A cache holds the other
    keys."""
    ffn_up: str = LINEAR
    """Cascade of the first product of the feed-forward network, with its activation function and
    gate: a built-in name or a file, with the ranks of ``linear-layer``."""
    times: int = 1
    """Number of layers like this one."""
    name: str = ""
    """Prefix of the names of the parts, if a model has several kinds of layers."""

    def __post_init__(self) -> None:
        given = dict(self.attention.shapes)
        if missing := [rank for rank in "BHEFPM" if rank not in given]:
            what = f"the shape{'s' * (len(missing) > 1)} of {', '.join(missing)}"
            raise SpecError(f"projections and feed-forward layers need {what}")

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the layer in the order they run."""
        shapes = dict(self.attention.shapes)
        heads, tokens = shapes["H"], shapes["B"] * shapes["P"]
        d, inner = self.model_width, self.ffn_width
        mixer = SoftmaxAttention(
            heads=heads, kv_heads=self.key_heads or heads, qk_width=shapes["E"], v_width=shapes["F"]
        )
        keys = shapes["M"] if self.new_keys is None else self.new_keys
        parts = (
            *parts_of_steps(mixer.steps(d), self.attention, shapes["B"] * keys),
            linear("ffn-up", tokens, d, inner, cascade=self.ffn_up),
            linear("ffn-down", tokens, inner, d),
        )
        name = f"{self.name}." if self.name else ""
        return tuple(
            replace(part, name=name + part.name, times=part.times * self.times) for part in parts
        )


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
        replace(
            part, name=name + part.name, times=part.times * run.count, idle=part.idle * run.count
        )
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
    tokens, part = _tokens(work), attention
    # Layers with the mixer of the selected layer run its attention, with the user's shapes.
    if layer.mixer != selected.mixer:
        part = _other_attention(work, attention, layer.mixer, layer_tokens(model, layer, tokens))
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
        raise SpecError(text, hint="scope=attention, or a single layer with scope=block")
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
        raise SpecError(text, hint="change config in its place")
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
