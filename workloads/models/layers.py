"""Models as stacks of layers: a mixer, a feed-forward network, and how often each occurs.

Widths and counts are plain numbers of elements; a model's vocabulary and the length of
its sequences are no part of a layer. ``weights`` of a part are the parameters of its
matrix products; what a family adds to them (biases, norms, convolutions' biases, decays)
stands in ``other_parameters``, so that totals are those of the published weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .mixers import Cached, Mixer, SoftmaxAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """Two matrix products (plain), or three (gated)."""

    inner: int
    gated: bool
    activation: str = ""
    """As its family has it; empty: SiLU of a gate, GELU without one."""

    @property
    def function(self) -> str:
        """The activation function."""
        return self.activation or ("silu" if self.gated else "gelu")

    @property
    def products(self) -> int:
        """Matrix products of ``width`` x ``inner``."""
        return 3 if self.gated else 2

    def weights(self, width: int) -> int:
        """Parameters of the products."""
        return self.products * width * self.inner


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts, a router, and experts every token passes."""

    experts: int
    per_token: int
    inner: int
    """Width inside one routed expert."""
    shared_inner: int = 0
    """Width inside all shared experts together."""
    gated: bool = True
    activation: str = ""
    """As its family has it; empty: SiLU of a gate, GELU without one."""
    biases: int = 0
    """Of one routed expert; they are among its layer's ``other_parameters``."""

    @property
    def network(self) -> FeedForward:
        """One routed expert."""
        return FeedForward(inner=self.inner, gated=self.gated, activation=self.activation)

    def weights(self, width: int) -> int:
        """Parameters of all experts and the router."""
        inner = self.experts * self.inner + self.shared_inner
        return self.network.products * width * inner + width * self.experts

    def active_weights(self, width: int) -> int:
        """Parameters one token meets."""
        return self.weights(width) - self.idle_weights(width)

    def idle_weights(self, width: int) -> int:
        """Parameters of the experts that one token does not go to."""
        return (self.experts - self.per_token) * self.network.weights(width)

    @property
    def idle_biases(self) -> int:
        """Biases of the experts that one token does not go to."""
        return (self.experts - self.per_token) * self.biases


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One block of the residual stream."""

    mixer: Mixer
    ffn: FeedForward | Experts | None
    cross: SoftmaxAttention | None = None
    """Attention to the encoder's output."""
    other_parameters: int = 0
    """Biases, norms, and what else is no matrix product."""

    def parameters(self, width: int) -> int:
        """All parameters of the layer."""
        parts = (self.mixer, self.ffn, self.cross)
        return self.other_parameters + sum(p.weights(width) for p in parts if p is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedLayer:
    """Equal layers, one after another."""

    count: int
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Formats in which weights are kept; nothing: of a machine's word.

    Embeddings, output head, routers, norms and convolutions keep theirs.
    """

    projections: str = ""
    feed_forward: str = ""
    """Of dense networks, and of the experts that every token passes."""
    experts: str = ""
    """Of those that some tokens go to."""
    kept: tuple[str, ...] = ()
    """Parts of layers, by name, whose projections are not converted with the others."""

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
    """The shapes of a model.

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
    """The ``model_type`` it was read from."""
    width: int
    """Of the residual stream."""
    runs: tuple[RepeatedLayer, ...]
    vocab_size: int | None = None
    logit_softcap: float | None = None
    """Logits are capped to logit_softcap * tanh(logit / logit_softcap)."""
    tied_embeddings: bool = False
    """Output and input embedding share their weights."""
    predicts: bool = True
    """Whether there is an output head; without one the last layer is all that comes out."""
    other_parameters: int = 0
    """Outside layers and embeddings: last norm, position tables, ..."""
    tokens: int | None = None
    """Length of every sequence where the model fixes it (the patches of an image)."""
    encoder_len: int | None = None
    """Tokens that an encoder computes, where the model fixes them beside its decoder's."""
    weights: WeightFormats = WeightFormats()
    beside: tuple[str, ...] = ()
    """What the published model has that is no part of the layers here, in sentences."""
    source: str = ""

    @property
    def layer_count(self) -> int:
        """Layers of all stacks."""
        return sum(run.count for run in self.runs)

    def layer(self, index: int) -> Layer:
        """The layer of an index from 0, encoder before decoder.

        Raises
        ------
        IndexError
            There is none.
        """
        for run in self.runs:
            if 0 <= index < run.count:
                return run.layer
            index -= run.count
        raise IndexError(index)

    def kinds(self) -> tuple[RepeatedLayer, ...]:
        """Each different layer and how many there are, the most frequent first."""
        # Layers are compared by value: equal ones of different runs count together.
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
        """Parameters of input and output embedding, or None without a vocabulary size."""
        if self.vocab_size is None:
            return None
        once = self.tied_embeddings or not self.predicts
        return self.vocab_size * self.width * (1 if once else 2)

    @property
    def parameters(self) -> int | None:
        """All parameters, or None where the vocabulary's size is not known."""
        embedding = self.embedding_parameters
        if embedding is None:
            return None
        return embedding + self.layer_parameters + self.other_parameters

    @property
    def active_parameters(self) -> int | None:
        """All but those of experts that a token does not go to; embeddings are among them."""
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
        """Logits of a token, one a word; None where words are not told or not predicted.

        An encoder's last layer sees all tokens at once and predicts no next one.
        """
        causal = getattr(self.runs[-1].layer.mixer, "causal", True)
        return self.vocab_size or None if causal and self.predicts else None

    @property
    def cached(self) -> Cached:
        """What a further token adds to the cache of a sequence: tensors, all layers together."""
        found: Counter[str] = Counter()
        for run in self.runs:
            for tensor, elements in run.layer.mixer.cached:
                found[tensor] += run.count * elements
        return tuple(found.items())

    @property
    def cached_of_encoder(self) -> Cached:
        """What a token of the encoder adds to the cache: keys and values of cross attention."""
        cross = [(run.count, run.layer.cross) for run in self.runs if run.layer.cross is not None]
        keys = sum(count * c.kv_heads * c.qk_width for count, c in cross)
        values = sum(count * c.kv_heads * c.v_width for count, c in cross)
        return (("K", keys), ("V", values)) if cross else ()

    @property
    def state_elements(self) -> int:
        """Elements that a sequence keeps however long it is, in all layers."""
        return sum(run.count * run.layer.mixer.state_elements for run in self.runs)


def runs_of(layers: Iterable[Layer]) -> tuple[RepeatedLayer, ...]:
    """Layers in order, grouped into runs of equal ones.

    Returns
    -------
    tuple of RepeatedLayer
        Layers that alternate are runs of one each: only neighbours are put together, so
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
    """What to put before the names of parts: in what layers differ; nothing if there is one.

    Parameters
    ----------
    layers : sequence of Layer
        Kinds, each once.
    """
    if len(layers) == 1:
        return [""]
    return [f"{name}." for name in _names(layers)]


def kinds_of_layers(model: ModelConfig) -> dict[str, int]:
    """How many layers a model has of each kind, the most frequent first.

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
    """By aspects in which layers differ, and those that are always said; numbered if none does."""
    aspects = [(a, [a(layer) for layer in layers]) for a in _ASPECTS]
    telling = [words for a, words in aspects if a in always or len(set(words)) > 1]
    names = ["-".join(words) for words in zip(*telling, strict=True)] or ["layer"] * len(layers)
    return [
        f"{name}-{names[: at + 1].count(name)}" if names.count(name) > 1 else name
        for at, name in enumerate(names)
    ]
