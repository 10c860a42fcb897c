"""Models as stacks of layers: a mixer, a feed-forward network, and the number of each.

Widths and counts are numbers of elements. The size of the vocabulary and the length of sequences
are no part of a layer. ``weights`` of a part are the parameters of its matrix products. Parameters
besides products (biases, norms, decays) are ``other_parameters``, so that totals equal those of the
published weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .mixers import Cached, Mixer, SoftmaxAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Feed-forward network of two matrix products, or of three with a gate."""

    inner: int
    gated: bool
    activation: str = ""
    """Activation function of the family; empty means SiLU behind a gate and GELU without a gate."""

    @property
    def function(self) -> str:
        """Name of the activation function."""
        return self.activation or ("silu" if self.gated else "gelu")

    @property
    def products(self) -> int:
        """Number of matrix products of ``width`` x ``inner``."""
        return 3 if self.gated else 2

    def weights(self, width: int) -> int:
        """Count the parameters of the products."""
        return self.products * width * self.inner


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Mixture of experts: a router, routed experts, and shared experts that every token passes."""

    experts: int
    per_token: int
    inner: int
    """Width inside one routed expert."""
    shared_inner: int = 0
    """Width inside all shared experts together."""
    gated: bool = True
    activation: str = ""
    """Activation function of the family; empty means SiLU behind a gate and GELU without a gate."""
    biases: int = 0
    """Biases of one routed expert, which ``other_parameters`` of the layer include."""

    @property
    def network(self) -> FeedForward:
        """Network of one routed expert."""
        return FeedForward(inner=self.inner, gated=self.gated, activation=self.activation)

    def weights(self, width: int) -> int:
        """Count the parameters of all experts and of the router."""
        inner = self.experts * self.inner + self.shared_inner
        return self.network.products * width * inner + width * self.experts

    def active_weights(self, width: int) -> int:
        """Count the parameters that one token uses."""
        return self.weights(width) - self.idle_weights(width)

    def idle_weights(self, width: int) -> int:
        """Count the parameters of the experts that one token does not use."""
        return (self.experts - self.per_token) * self.network.weights(width)

    @property
    def idle_biases(self) -> int:
        """Biases of the experts that one token does not use."""
        return (self.experts - self.per_token) * self.biases


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Layer of the residual stream: a mixer, then a feed-forward network if there is one."""

    mixer: Mixer
    ffn: FeedForward | Experts | None
    cross: SoftmaxAttention | None = None
    """Attention to the output of the encoder."""
    other_parameters: int = 0
    """Parameters besides matrix products: biases, norms, scales."""

    def parameters(self, width: int) -> int:
        """Count all parameters of the layer."""
        parts = (self.mixer, self.ffn, self.cross)
        return self.other_parameters + sum(p.weights(width) for p in parts if p is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedLayer:
    """Equal consecutive layers."""

    count: int
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Number formats of weights; an empty string means the machine's word.

    Embeddings, output head, routers, norms and convolutions stay in words.
    """

    projections: str = ""
    feed_forward: str = ""
    """Format of dense networks, and of the experts that every token passes."""
    experts: str = ""
    """Format of routed experts."""
    kept: tuple[str, ...] = ()
    """Names of parts of layers whose projections stay in words."""

    def __str__(self) -> str:
        but = f" (but for {' and '.join(self.kept)})" if self.kept else ""
        named = (
            (f"projections{but}", self.projections),
            ("feed-forward networks", self.feed_forward),
            ("experts", self.experts),
        )
        return ", ".join(f"{what} {fmt}" for what, fmt in named if fmt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shapes of a model.

    Examples
    --------
    >>> from workloads import load
    >>> model = load("llama-3-8b").model
    >>> model.layer_count, model.parameters
    (32, 8030261248)
    >>> [(run.count, run.layer.mixer.kind) for run in load("minimax-text-01").model.kinds()]
    [(70, 'lightning'), (10, 'GQA')]
    """

    family: str
    """``model_type`` of the configuration."""
    width: int
    """Width of the residual stream, in elements."""
    runs: tuple[RepeatedLayer, ...]
    vocab_size: int | None = None
    logit_softcap: float | None = None
    """Bound of logits, which become logit_softcap * tanh(logit / logit_softcap)."""
    tied_embeddings: bool = False
    """True if output and input embedding share their weights."""
    predicts: bool = True
    """True if the model has an output head; without one, the last layer is the result."""
    other_parameters: int = 0
    """Parameters outside layers and embeddings: last norm, position tables, ..."""
    tokens: int | None = None
    """Tokens of every sequence, where the model fixes them (the patches of an image)."""
    encoder_len: int | None = None
    """Tokens that the encoder computes, where the model fixes them besides the decoder's."""
    weights: WeightFormats = WeightFormats()
    beside: tuple[str, ...] = ()
    """Sentences about parts of the published model that are not in these layers."""
    source: str = ""

    @property
    def layer_count(self) -> int:
        """Number of layers of all stacks."""
        return sum(run.count for run in self.runs)

    def layer(self, index: int) -> Layer:
        """Return the layer of an index from 0; layers of the encoder come first.

        Raises
        ------
        IndexError
            The model has no such layer.
        """
        for run in self.runs:
            if 0 <= index < run.count:
                return run.layer
            index -= run.count
        raise IndexError(index)

    def kinds(self) -> tuple[RepeatedLayer, ...]:
        """Return each different layer and its number, the most frequent first."""
        # Layers are compared by value, so that equal layers of different runs count together.
        counts: Counter[Layer] = Counter()
        for run in self.runs:
            counts[run.layer] += run.count
        return tuple(RepeatedLayer(count=n, layer=layer) for layer, n in counts.most_common())

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers."""
        return sum(run.count * run.layer.parameters(self.width) for run in self.runs)

    @property
    def embedding_parameters(self) -> int | None:
        """Parameters of input and output embedding; None without a vocabulary size."""
        if self.vocab_size is None:
            return None
        once = self.tied_embeddings or not self.predicts
        return self.vocab_size * self.width * (1 if once else 2)

    @property
    def parameters(self) -> int | None:
        """All parameters; None without a vocabulary size."""
        embedding = self.embedding_parameters
        if embedding is None:
            return None
        return embedding + self.layer_parameters + self.other_parameters

    @property
    def active_parameters(self) -> int | None:
        """Parameters that one token uses, embeddings included; None without a vocabulary size."""
        if (whole := self.parameters) is None:
            return None
        mixtures = ((r.count, r.layer.ffn) for r in self.runs)
        return whole - sum(
            count * (ffn.idle_weights(self.width) + ffn.idle_biases)
            for count, ffn in mixtures
            if isinstance(ffn, Experts)
        )

    @property
    def head_width(self) -> int | None:
        """Number of logits of a token; None without a vocabulary size or without an output head.

        The last layer of an encoder sees all tokens at once and predicts no next token.
        """
        causal = self.runs[-1].layer.mixer.causal
        return self.vocab_size or None if causal and self.predicts else None

    @property
    def cached(self) -> Cached:
        """Elements that one further token adds to the cache of a sequence, by tensor, in all
        layers."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for tensor, elements in run.layer.mixer.cached:
                found[tensor] += run.count * elements
        return tuple(found.items())

    @property
    def cached_of_encoder(self) -> Cached:
        """Elements that one token of the encoder adds to the cache: keys and values of cross
        attention."""
        cross = [(run.count, run.layer.cross) for run in self.runs if run.layer.cross is not None]
        keys = sum(count * c.kv_heads * c.qk_width for count, c in cross)
        values = sum(count * c.kv_heads * c.v_width for count, c in cross)
        return (("K", keys), ("V", values)) if cross else ()

    @property
    def state_elements(self) -> int:
        """Elements that all layers keep per sequence, whatever its length."""
        return sum(run.count * run.layer.mixer.state_elements for run in self.runs)


def runs_of(layers: Iterable[Layer]) -> tuple[RepeatedLayer, ...]:
    """Group layers in order into runs of equal layers.

    Returns
    -------
    tuple of RepeatedLayer
        Runs in order. Only neighbours are grouped: layers that alternate are runs of one each, so
        that ``ModelConfig.layer`` still finds a layer by its index.
    """
    return tuple(
        RepeatedLayer(count=len(list(same)), layer=layer) for layer, same in groupby(layers)
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
    """Return a prefix for the names of parts of each layer, which says how layers differ.

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
    """Return names of layers from the aspects in which they differ, and from ``always``.

    Layers with equal names are numbered.
    """
    aspects = [(a, [a(layer) for layer in layers]) for a in _ASPECTS]
    telling = [words for a, words in aspects if a in always or len(set(words)) > 1]
    names = ["-".join(words) for words in zip(*telling, strict=True)] or ["layer"] * len(layers)
    return [
        f"{name}-{names[: at + 1].count(name)}" if names.count(name) > 1 else name
        for at, name in enumerate(names)
    ]
