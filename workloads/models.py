"""Models as stacks of layers: the shapes of their mixers and feed-forward networks.

Widths and counts are plain numbers of elements; a model's vocabulary and the length of
its sequences are no part of a layer. ``weights`` of a part are the parameters of its
matrix products; what a family adds to them (biases, norms, convolutions' biases, decays)
stands in ``other_parameters``, so that totals are those of the published weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxAttention:
    """Softmax attention: MHA, GQA (groups of query heads share keys) or MQA."""

    heads: int
    """Query heads."""
    kv_heads: int
    qk_width: int
    """Width of a query or key head, in elements."""
    v_width: int
    causal: bool = True
    window: int | None = None
    """Keys a query sees at most, itself included; None is all of them."""
    softcap: float | None = None
    """Scores are capped to softcap * tanh(score / softcap)."""
    sinks: bool = False
    """Each head has a learned logit that takes mass and has no value."""
    qk_norm: bool = False

    @property
    def group(self) -> int:
        """Query heads that share one head of keys and values."""
        return self.heads // self.kv_heads

    @property
    def kind(self) -> str:
        """MHA, GQA or MQA."""
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    def weights(self, width: int) -> int:
        """Parameters of the four projections of a stream of ``width`` elements.

        Examples
        --------
        Queries and the output of 32 heads, keys and values of 8, each 128 wide:

        >>> mixer = SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128)
        >>> mixer.weights(4096) == 4096 * 128 * (32 + 8 + 8 + 32)
        True
        """
        queries = self.heads * self.qk_width
        keys, values = self.kv_heads * self.qk_width, self.kv_heads * self.v_width
        return width * (queries + keys + values + self.heads * self.v_width)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention: keys and values unfold from one latent a token.

    DeepSeek-V2, arXiv 2405.04434, section 2.1. The cache holds ``kv_rank + rope_width``
    elements a token, for all heads together.
    """

    heads: int
    q_rank: int | None
    """Width of the queries' latent; None where queries are projected at once."""
    kv_rank: int
    nope_width: int
    """Width of a head without rotary embedding."""
    rope_width: int
    """Width with rotary embedding, one key for all heads."""
    v_width: int
    causal: bool = True
    softcap: float | None = None

    @property
    def kind(self) -> str:
        """MLA."""
        return "MLA"

    def weights(self, width: int) -> int:
        """Parameters of the down, up and output projections."""
        queries = self.heads * (self.nope_width + self.rope_width)
        first = width * queries
        if self.q_rank is not None:
            first = self.q_rank * (width + queries)
        down = width * (self.kv_rank + self.rope_width)
        up = self.kv_rank * self.heads * (self.nope_width + self.v_width)
        return first + down + up + self.heads * self.v_width * width


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayAttention:
    """Linear attention with a constant decay a head: Lightning, or retention (RetNet)."""

    heads: int
    qk_width: int
    v_width: int
    decay: str
    """How the decay of a head is set."""
    kind: str = "lightning"
    """``lightning`` or ``retention``."""
    gated: bool = True
    """The output is multiplied by a gate as wide as the values of all heads."""

    def weights(self, width: int) -> int:
        """Parameters of the projections, the output gate among them."""
        values = self.heads * self.v_width
        return width * (2 * self.heads * self.qk_width + (3 if self.gated else 2) * values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceDual:
    """Mamba-2's mixer (SSD, arXiv 2405.21060): one decay a head and token.

    In attention's terms the queries and keys (C and B) are ``state`` wide and shared by the
    heads of a group, and the values (X) are ``head_width`` wide.
    """

    heads: int
    head_width: int
    state: int
    groups: int
    conv_width: int
    chunk: int
    """Tokens a chunk of its published kernel."""

    @property
    def kind(self) -> str:
        """SSD."""
        return "SSD"

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width

    @property
    def convolved(self) -> int:
        """Channels of the convolution: X, B and C."""
        return self.inner + 2 * self.groups * self.state

    def weights(self, width: int) -> int:
        """Parameters of the two projections and the depthwise convolution."""
        into = self.inner + self.convolved + self.heads
        return width * (into + self.inner) + self.convolved * self.conv_width


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveScan:
    """Mamba's mixer (S6, arXiv 2312.00752): a decay a channel, state entry and token."""

    inner: int
    """Channels."""
    state: int
    dt_rank: int
    conv_width: int

    @property
    def kind(self) -> str:
        """S6."""
        return "S6"

    def weights(self, width: int) -> int:
        """Parameters of the projections, the depthwise convolution, and A."""
        # X and Z in, one out; the step size down and up, B and C.
        projections = 3 * width * self.inner + self.inner * (2 * self.dt_rank + 2 * self.state)
        return projections + self.inner * (self.conv_width + self.state)


Mixer = SoftmaxAttention | LatentAttention | DecayAttention | StateSpaceDual | SelectiveScan
"""What mixes tokens in a layer."""


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
    """A mixture of gated experts, a router, and experts every token passes."""

    experts: int
    per_token: int
    inner: int
    """Width inside one routed expert."""
    shared_inner: int = 0
    """Width inside all shared experts together."""

    def weights(self, width: int) -> int:
        """Parameters of all experts and the router."""
        return 3 * width * (self.experts * self.inner + self.shared_inner) + width * self.experts

    def active_weights(self, width: int) -> int:
        """Parameters one token meets."""
        return 3 * width * (self.per_token * self.inner + self.shared_inner) + width * self.experts


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
    tied_embeddings: bool = False
    """Output and input embedding share their weights."""
    other_parameters: int = 0
    """Outside layers and embeddings: last norm, position tables, ..."""
    tokens: int | None = None
    """Length of every sequence where the model fixes it (the patches of an image)."""
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
        return self.vocab_size * self.width * (1 if self.tied_embeddings else 2)

    @property
    def parameters(self) -> int | None:
        """All parameters, or None where the vocabulary's size is not known."""
        embedding = self.embedding_parameters
        if embedding is None:
            return None
        return embedding + self.layer_parameters + self.other_parameters


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
