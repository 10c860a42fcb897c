"""Models as stacks of layers: each layer has a mixer and a feed-forward network.

Widths and counts are numbers of elements. The size of the vocabulary and the length of sequences
are no part of a layer. ``weights`` are the parameters of matrix products. All other parameters
(biases, norms, decays) are ``other_parameters``, so that totals equal those of the published
weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .mixers import Cached, Mixer, SoftmaxAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Feed-forward network: two matrix products, or three if it has a gate."""

    inner: int
    gated: bool
    activation: str = ""
    """Activation function; empty means SiLU with a gate and GELU without a gate."""

    @property
    def function(self) -> str:
        """Name of the activation function, with the default filled in."""
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
    """Mixture of experts: a router, routed experts, and shared experts that process every token."""

    experts: int
    per_token: int
    inner: int
    """Width inside one routed expert."""
    shared_inner: int = 0
    """Width inside all shared experts together."""
    gated: bool = True
    activation: str = ""
    """Activation function; empty means SiLU with a gate and GELU without a gate."""
    biases: int = 0
    """Number of biases of one routed expert; ``other_parameters`` of the layer include them."""

    @property
    def network(self) -> FeedForward:
        """Feed-forward network of one routed expert."""
        return FeedForward(inner=self.inner, gated=self.gated, activation=self.activation)

    def weights(self, width: int) -> int:
        """Count the parameters of the matrix products of all experts and of the router."""
        inner = self.experts * self.inner + self.shared_inner
        return self.network.products * width * inner + width * self.experts

    def active_weights(self, width: int) -> int:
        """Count the parameters of the matrix products that one token uses."""
        return self.weights(width) - self.idle_weights(width)

    def idle_weights(self, width: int) -> int:
        """Count the parameters of the matrix products of routed experts that one token does not
        use."""
        return (self.experts - self.per_token) * self.network.weights(width)

    @property
    def idle_biases(self) -> int:
        """Number of biases of the routed experts that one token does not use."""
        return (self.experts - self.per_token) * self.biases


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Layer on the residual stream: a mixer, and a feed-forward network if the layer has one."""

    mixer: Mixer
    ffn: FeedForward | Experts | None
    cross: SoftmaxAttention | None = None
    """Attention to the output of the encoder (cross attention); None without an encoder."""
    other_parameters: int = 0
    """Number of parameters outside matrix products: biases, norms, scales."""

    def parameters(self, width: int) -> int:
        """Count all parameters of the layer."""
        parts = (self.mixer, self.ffn, self.cross)
        return self.other_parameters + sum(p.weights(width) for p in parts if p is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedLayer:
    """Run of equal consecutive layers: the layer and its number of repetitions."""

    count: int
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Number formats of weights; an empty string means the machine's word.

    Embeddings, output head, routers, norms and convolutions always use the machine's word.
    """

    projections: str = ""
    feed_forward: str = ""
    """Format of dense feed-forward networks and of shared experts."""
    experts: str = ""
    """Format of routed experts."""
    kept: tuple[str, ...] = ()
    """Names of the projections whose weights use the machine's word."""

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
    """Model as a stack of layers with their shapes.

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
    """Bound of logits: a logit becomes logit_softcap * tanh(logit / logit_softcap)."""
    tied_embeddings: bool = False
    """True if output and input embedding share their weights."""
    predicts: bool = True
    """True if the model has an output head; otherwise the output of the last layer is the result.
    """
    other_parameters: int = 0
    """Number of parameters outside layers and embeddings: last norm, position tables, ..."""
    tokens: int | None = None
    """Number of tokens per sequence if the model fixes it, such as the patches of an image."""
    encoder_len: int | None = None
    """Number of tokens that the encoder computes, if the model fixes it apart from the decoder's.
    """
    weights: WeightFormats = WeightFormats()
    omitted: tuple[str, ...] = ()
    """Sentences about parts of the published model that this model does not include."""
    source: str = ""

    @property
    def layer_count(self) -> int:
        """Number of layers of all stacks."""
        return sum(run.count for run in self.runs)

    def layer(self, index: int) -> Layer:
        """Return the layer with an index from 0; the layers of the encoder come first.

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
        """Return each distinct layer with the number of its copies, the most frequent first."""
        # Layers are compared by value, so that equal layers of different runs count together.
        counts: Counter[Layer] = Counter()
        for run in self.runs:
            counts[run.layer] += run.count
        return tuple(RepeatedLayer(count=n, layer=layer) for layer, n in counts.most_common())

    @property
    def layer_parameters(self) -> int:
        """Number of parameters of all layers."""
        return sum(run.count * run.layer.parameters(self.width) for run in self.runs)

    @property
    def embedding_parameters(self) -> int | None:
        """Number of parameters of the input and output embeddings; None without a vocabulary
        size."""
        if self.vocab_size is None:
            return None
        once = self.tied_embeddings or not self.predicts
        return self.vocab_size * self.width * (1 if once else 2)

    @property
    def parameters(self) -> int | None:
        """Number of all parameters; None without a vocabulary size."""
        embedding = self.embedding_parameters
        if embedding is None:
            return None
        return embedding + self.layer_parameters + self.other_parameters

    @property
    def active_parameters(self) -> int | None:
        """Number of parameters that one token uses, embeddings included; None without a vocabulary
        size."""
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
        """Elements that all layers together add to a sequence's cache for one more token, by
        tensor."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for tensor, elements in run.layer.mixer.cached:
                found[tensor] += run.count * elements
        return tuple(found.items())

    @property
    def cached_of_encoder(self) -> Cached:
        """Elements that one token of the encoder adds to the cache, by tensor.

        They are the keys and values of cross attention in all layers.
        """
        cross = [(run.count, run.layer.cross) for run in self.runs if run.layer.cross is not None]
        keys = sum(count * c.kv_heads * c.qk_width for count, c in cross)
        values = sum(count * c.kv_heads * c.v_width for count, c in cross)
        return (("K", keys), ("V", values)) if cross else ()

    @property
    def state_elements(self) -> int:
        """Number of elements that all layers keep per sequence, independent of the sequence's
        length."""
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
