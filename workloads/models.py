"""Models as stacks of layers: each layer has a mixer and a feed-forward network.

A mixer exchanges data between tokens: attention of every kind, and recurrences. It lists the steps
that the residual stream takes through it; weights and the parts of a layer follow from these steps.

Widths and counts are numbers of elements. The size of the vocabulary and the length of sequences
are no part of a layer. ``weights`` are the parameters of matrix products. All other parameters
(biases, norms, decays) are ``other_parameters``, so that totals equal those of the published
weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar, Literal, NamedTuple

from .weight_formats import WeightFormats

Cached = tuple[tuple[str, int], ...]
"""Elements that one token adds to a cache, by tensor; tensors have the names that cascades use."""


class MatrixProduct(NamedTuple):
    """Matrix product around a mixer: tokens times a matrix of ``features`` by ``projected``."""

    name: str
    features: int
    projected: int
    times: int = 1
    of_keys: bool = False
    """True if the product runs on the tokens whose keys are projected, not on those computed."""
    makes: str = ""
    """Name that cascades of attention give to the result."""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.features * self.projected * self.times


class Taps(NamedTuple):
    """Depthwise convolution along the tokens, which runs before a mixer."""

    channels: int
    taps: int
    activated: bool = True

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.channels * self.taps


class Mixing(NamedTuple):
    """Step for the mixing of tokens (attention, recurrence) between its projections."""

    weights: int = 0
    """Number of weights that the mixing itself has."""


Step = MatrixProduct | Taps | Mixing


def projections(width: int, **outputs: int) -> tuple[Step, ...]:
    """Return one matrix product on the stream per output, from names and output widths."""
    return tuple(MatrixProduct(f"{name}-projection", width, wide) for name, wide in outputs.items())


def low_rank(name: str, width: int, rank: int | None, projected: int) -> tuple[Step, ...]:
    """Return two matrix products: one down to a low rank, and one up from the rank. Without a rank
    there are none."""
    if rank is None:
        return ()
    return (
        MatrixProduct(f"{name}-down-projection", width, rank),
        MatrixProduct(f"{name}-up-projection", rank, projected),
    )


class Mixer:
    """Mixer of a layer: its kind, its steps, and the data that a sequence keeps."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """Name of the kind of mixer."""
        raise NotImplementedError

    @property
    def causal(self) -> bool:
        """True if a token sees no later token."""
        return True

    @property
    def cached(self) -> Cached:
        """Elements that one more token adds to the cache of a sequence, by tensor."""
        return ()

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps, independent of its length."""
        return 0

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the steps of a stream of ``width`` elements, in order; one of them is the
        mixing."""
        raise NotImplementedError

    def weights(self, width: int) -> int:
        """Count the weights of all steps, for a stream of ``width`` elements."""
        return sum(step.weights for step in self.steps(width))


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxAttention(Mixer):
    """Softmax attention: MHA, GQA (groups of query heads share keys) or MQA (all share keys)."""

    heads: int
    """Number of query heads."""
    kv_heads: int
    qk_width: int
    """Width of a query or key head, in elements."""
    v_width: int
    causal: bool = True
    window: int | None = None
    """Largest number of keys that a query sees, itself included; None means all keys."""
    chunk: int | None = None
    """Number of tokens in a chunk; a query sees only the keys of its own chunk. None means no
    chunks."""
    softcap: float | None = None
    """Bound of scores: a score becomes softcap * tanh(score / softcap)."""
    sinks: bool = False
    """True if each head has a learned extra logit in its softmax, which has no value (sink)."""
    qk_norm: bool = False
    gated: bool = False
    """True if a gate as wide as the values of all query heads multiplies the output."""
    buckets: int | None = None
    """Number of buckets of distances; each bucket and head has a learned bias of scores (T5)."""
    alibi: bool = False
    """True if a score falls with the distance of query and key, by a constant of the head per
    token."""
    clip: float | None = None
    """Largest magnitude to which elements of queries, keys and values are clipped."""

    @property
    def group(self) -> int:
        """Number of query heads that share one head of keys and values."""
        return self.heads // self.kv_heads

    @property
    def kind(self) -> str:
        """Kind of attention: MHA, GQA or MQA."""
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    @property
    def cached(self) -> Cached:
        """Elements of the keys and the values that a token adds to the cache; none without causal
        mask."""
        if not self.causal:
            return ()
        return (("K", self.kv_heads * self.qk_width), ("V", self.kv_heads * self.v_width))

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of queries, keys, values and gate, the mixing, and the output
        projection.

        Examples
        --------
        Queries and the output of 32 heads, keys and values of 8, each 128 wide:

        >>> mixer = SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128)
        >>> mixer.weights(4096) == 4096 * 128 * (32 + 8 + 8 + 32)
        True
        """
        queries, keys = self.heads * self.qk_width, self.kv_heads * self.qk_width
        values, gates = self.kv_heads * self.v_width, self.heads * self.v_width
        return (
            *((MatrixProduct("gate-projection", width, gates, makes="GT"),) if self.gated else ()),
            MatrixProduct("query-projection", width, queries, makes="Q"),
            MatrixProduct("key-projection", width, keys, of_keys=True, makes="K"),
            MatrixProduct("value-projection", width, values, of_keys=True, makes="V"),
            Mixing(),
            MatrixProduct("output-projection", gates, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndexer:
    """Indexer that selects the keys of each query (DeepSeek-V3.2).

    Its small heads score one index key per token.
    """

    heads: int
    width: int
    top_k: int
    """Largest number of keys that a query attends to."""
    shared: bool = False
    """True if the layer uses an earlier layer's selection, without an own indexer (GLM-5.2)."""


LatentForm = Literal["expanded", "absorbed", "inside"]
"""Form of latent attention: the layer expands keys and values, absorbs queries, or does neither.

With "inside", the cascade itself expands keys and values.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention(Mixer):
    """Multi-head latent attention: keys and values are expanded from one latent per token.

    DeepSeek-V2, arXiv 2405.04434, section 2.1. The cache holds ``kv_rank + rope_width`` elements a
    token, for all heads together.
    """

    heads: int
    q_rank: int | None
    """Width of the latent of queries; None if queries are projected directly."""
    kv_rank: int
    nope_width: int
    """Width of the part of a query or key head that has no rotary embedding."""
    rope_width: int
    """Width of the part with rotary embedding, whose key is shared by all heads."""
    v_width: int
    indexer: KeyIndexer | None = None
    """Indexer that selects keys; None means that a query attends to all keys."""

    @property
    def kind(self) -> str:
        """Name of the kind: MLA, or DSA with an indexer (DSA-shared with an earlier layer's
        selection)."""
        if self.indexer is None:
            return "MLA"
        return "DSA-shared" if self.indexer.shared else "DSA"

    @property
    def cached(self) -> Cached:
        """Elements that a token adds to the cache: the latent and rotary key of all heads, and the
        indexer's key."""
        if self.indexer is None:
            return (("C", self.kv_rank), ("KR", self.rope_width))
        # The names are those of deepseek-sparse-attention.
        latents = (("CKV", self.kv_rank), ("KR", self.rope_width))
        return latents if self.indexer.shared else (*latents, ("KI", self.indexer.width))

    def steps(self, width: int, form: LatentForm = "expanded") -> tuple[Step, ...]:
        """Return the projections of queries, of the latent, and of the indexer.

        Keys and values are expanded from the latent here, or queries are mapped into it
        (``absorbed``), or the cascade itself expands them (``inside``).

        Examples
        --------
        DeepSeek-V3, whose norms of the two latents are 2,048 parameters more:

        >>> mixer = LatentAttention(
        ...     heads=128, q_rank=1536, kv_rank=512, nope_width=128, rope_width=64, v_width=128
        ... )
        >>> mixer.weights(7168)
        187105280
        """
        queries = self.heads * (self.nope_width + self.rope_width)
        found = low_rank("query", width, self.q_rank, queries)
        found = found or projections(width, query=queries)
        found += projections(width, latent=self.kv_rank + self.rope_width)
        if (index := self.indexer) is not None and not index.shared:
            source = width if self.q_rank is None else self.q_rank
            found += (
                MatrixProduct("indexer-query-projection", source, index.heads * index.width),
                MatrixProduct("indexer-key-projection", width, index.width),
                MatrixProduct("indexer-weight-projection", width, index.heads),
            )
        rank, keys, values = self.kv_rank, self.heads * self.nope_width, self.heads * self.v_width
        back: tuple[Step, ...] = ()
        if form == "absorbed":
            found += (MatrixProduct("query-absorption", self.nope_width, rank, times=self.heads),)
            back += (MatrixProduct("value-unfolding", rank, self.v_width, times=self.heads),)
        elif form == "expanded":
            found += (
                MatrixProduct("key-unfolding", rank, keys, of_keys=True),
                MatrixProduct("value-unfolding", rank, values, of_keys=True),
            )
        return (*found, Mixing(), *back, MatrixProduct("output-projection", values, width))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayAttention(Mixer):
    """Linear attention with a constant decay per head: Lightning, or retention (RetNet)."""

    heads: int
    qk_width: int
    v_width: int
    decay: str
    """Description of the rule that sets the decay of a head."""
    kind: str = "lightning"
    """Kind of linear attention: lightning or retention."""
    gated: bool = True
    """True if a gate as wide as the values of all heads multiplies the output."""

    @property
    def state_elements(self) -> int:
        """Number of elements of the states of all heads; a state is a matrix of keys by values."""
        return self.heads * self.qk_width * self.v_width

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of queries, keys, values and the output gate."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        return (
            *projections(width, query=keys, key=keys, value=values),
            *(projections(width, gate=values) if self.gated else ()),
            Mixing(),
            MatrixProduct("output-projection", values, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceDual(Mixer):
    """Mixer of Mamba-2 (SSD, arXiv 2405.21060): one decay per head and token.

    C and B act as queries and keys: they are ``state`` wide, and the heads of a group share them. X
    acts as values: it is ``head_width`` wide.
    """

    kind: ClassVar[str] = "SSD"
    heads: int
    head_width: int
    state: int
    groups: int
    conv_width: int
    chunk: int
    """Number of tokens in a chunk of the published kernel."""

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width

    @property
    def convolved(self) -> int:
        """Number of channels of the convolution: X, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: the heads' states, and past tokens for the
        convolution."""
        return self.inner * self.state + self.convolved * (self.conv_width - 1)

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the steps: projections of Z (gate), X, B, C and step sizes, the mixing, and the
        output.

        X, B and C are convolved before the mixing.

        Examples
        --------
        A layer of Mamba-2 of 2.7 billion parameters, and what a sequence keeps:

        >>> mixer = StateSpaceDual(
        ...     heads=80, head_width=64, state=128, groups=1, conv_width=4, chunk=256
        ... )
        >>> mixer.weights(2560), mixer.state_elements
        (40203264, 671488)
        """
        return (
            MatrixProduct("input-projection", width, self.inner + self.convolved + self.heads),
            Taps(self.convolved, self.conv_width),
            Mixing(),
            MatrixProduct("output-projection", self.inner, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveScan(Mixer):
    """Mixer of Mamba (S6, arXiv 2312.00752): one decay per channel, state entry and token."""

    kind: ClassVar[str] = "S6"
    inner: int
    """Number of channels."""
    state: int
    dt_rank: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: channel states, and past tokens for the
        convolution."""
        return self.inner * (self.state + self.conv_width - 1)

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the steps: projections of X and Z (gate), convolution, mixing, and output
        projection.

        Behind the convolution, X makes the latent of the step sizes, B and C.

        Examples
        --------
        >>> SelectiveScan(inner=5120, state=16, dt_rank=160, conv_width=4).weights(2560)
        41226240
        """
        return (
            MatrixProduct("input-projection", width, 2 * self.inner),
            Taps(self.inner, self.conv_width),
            MatrixProduct("selection-projection", self.inner, self.dt_rank + 2 * self.state),
            MatrixProduct("step-projection", self.dt_rank, self.inner),
            Mixing(self.inner * self.state),
            MatrixProduct("output-projection", self.inner, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaAttention(Mixer):
    """Gated delta rule: a recurrence whose state decays, and is corrected at each key.

    Either each head has a decay (Gated DeltaNet, arXiv 2412.06464), or each channel of the keys has
    one (Kimi Delta Attention, arXiv 2510.26692).
    """

    heads: int
    """Number of value heads."""
    key_heads: int
    """Number of query and key heads; each serves a group of value heads."""
    qk_width: int
    v_width: int
    conv_width: int
    low_rank: int | None = None
    """Rank of the projections to decays per channel and to the output gate. None means decays per
    head and a gate that is projected directly."""

    @property
    def kind(self) -> str:
        """Name of the kind of delta rule: gated-delta or KDA."""
        return "gated-delta" if self.low_rank is None else "KDA"

    @property
    def convolved(self) -> int:
        """Number of channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.qk_width + self.heads * self.v_width

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: the heads' states, and past tokens for the
        convolution."""
        state = self.heads * self.qk_width * self.v_width
        return state + self.convolved * (self.conv_width - 1)

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of queries, keys, values, strengths, decays and the gate.

        Queries, keys and values are convolved.
        """
        keys, values = self.key_heads * self.qk_width, self.heads * self.v_width
        decays = low_rank("decay", width, self.low_rank, keys)
        decays += low_rank("gate", width, self.low_rank, values)
        return (
            *projections(width, query=keys, key=keys, value=values),
            Taps(self.convolved, self.conv_width),
            *projections(width, beta=self.heads),
            *(decays or projections(width, decay=self.heads, gate=values)),
            Mixing(),
            MatrixProduct("output-projection", values, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RwkvAttention(Mixer):
    """Time mixing of RWKV-7 (arXiv 2503.14456): decays per channel, and a rank-one removal from
    the state.

    Low-rank projections of the stream make decays, rates of removal, the gate, and the share of the
    first layer's values.
    """

    kind: ClassVar[str] = "RWKV-7"
    heads: int
    qk_width: int
    v_width: int
    decay_rank: int
    rate_rank: int
    gate_rank: int
    value_rank: int | None
    """Rank of the projection to the share of the first layer's values; None in that layer."""

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: the heads' states, and the last input tokens of
        both mixings."""
        return self.heads * self.qk_width * (self.v_width + 2)

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of receptances (queries), keys and values, and the low-rank
        projections."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        return (
            *projections(width, receptance=keys, key=keys, value=values),
            *low_rank("decay", width, self.decay_rank, keys),
            *low_rank("rate", width, self.rate_rank, keys),
            *low_rank("value-share", width, self.value_rank, values),
            *low_rank("gate", width, self.gate_rank, values),
            Mixing(),
            MatrixProduct("output-projection", values, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRecurrence(Mixer):
    """Mixer of Griffin (RG-LRU, arXiv 2402.19427): independent channels; a block of channels makes
    its own gates."""

    kind: ClassVar[str] = "RG-LRU"
    inner: int
    """Number of channels."""
    blocks: int
    """Number of blocks of channels; the gates of a block depend on its channels alone."""
    conv_width: int

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: one per channel, and past tokens for the
        convolution."""
        return self.inner * self.conv_width

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of the channels, of their output gate, and of the two gates per
        block."""
        block = self.inner // self.blocks
        return (
            MatrixProduct("input-projection", width, 2 * self.inner),
            Taps(self.inner, self.conv_width, activated=False),
            MatrixProduct("input-gate-projection", block, block, times=self.blocks),
            MatrixProduct("recurrent-gate-projection", block, block, times=self.blocks),
            Mixing(),
            MatrixProduct("output-projection", self.inner, width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution(Mixer):
    """Short convolution between two gates (LFM2): one multiplies its input, one its output."""

    kind: ClassVar[str] = "convolution"
    channels: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """Number of elements of the past tokens that the convolution reads."""
        return self.channels * (self.conv_width - 1)

    def steps(self, width: int) -> tuple[Step, ...]:
        """Return the projections of the channels and of the two gates, the convolution, and the
        output projection."""
        return (
            MatrixProduct("input-projection", width, 3 * self.channels),
            Mixing(self.channels * self.conv_width),
            MatrixProduct("output-projection", self.channels, width),
        )


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
class Experts(FeedForward):
    """Mixture of experts: a router, routed experts, and shared experts that process every token.

    Width, gate and activation function are those of one routed expert.
    """

    gated: bool = True
    experts: int
    per_token: int
    shared_inner: int = 0
    """Width inside all shared experts together."""
    biases: int = 0
    """Number of biases of one routed expert; ``other_parameters`` of the layer include them."""

    def weights(self, width: int) -> int:
        """Count the parameters of the matrix products of all experts and of the router."""
        inner = self.experts * self.inner + self.shared_inner
        return self.products * width * inner + width * self.experts

    def idle_parameters(self, width: int) -> int:
        """Count the parameters of routed experts that one token does not use."""
        each = self.products * width * self.inner + self.biases
        return (self.experts - self.per_token) * each


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Layer on the residual stream: a mixer, and a feed-forward network if the layer has one."""

    mixer: Mixer
    ffn: FeedForward | None
    cross: SoftmaxAttention | None = None
    """Attention to the output of the encoder (cross attention); None without an encoder."""
    other_parameters: int = 0
    """Number of parameters outside matrix products: biases, norms, scales."""
    weights: WeightFormats = field(default=WeightFormats())

    def parameters(self, width: int) -> int:
        """Count all parameters of the layer."""
        parts = (self.mixer, self.ffn, self.cross)
        return self.other_parameters + sum(p.weights(width) for p in parts if p is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedLayer:
    """Run of equal consecutive layers: the layer and its number of repetitions."""

    count: int
    layer: Layer


def repeated(layers: Iterable[Layer]) -> tuple[RepeatedLayer, ...]:
    """Return runs of equal consecutive layers.

    Layers that alternate are runs of one each, so that ``ModelConfig.layer`` finds a layer by its
    index.
    """
    runs = (RepeatedLayer(count=len([*same]), layer=layer) for layer, same in groupby(layers))
    return tuple(runs)


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

    family: str = field(default="", compare=False)
    """``model_type`` of the configuration; families may read equal models."""
    width: int
    """Width of the residual stream, in elements."""
    runs: tuple[RepeatedLayer, ...]
    vocab_size: int | None = None
    logit_softcap: float | None = None
    """Bound of logits: a logit becomes logit_softcap * tanh(logit / logit_softcap)."""
    tied_embeddings: bool = False
    """True if output and input embedding share their weights."""
    predicts: bool = True
    """True if the model has an output head; else the last layer's output is the result."""
    other_parameters: int = 0
    """Number of parameters outside layers and embeddings: last norm, position tables, ..."""
    tokens: int | None = None
    """Number of tokens per sequence if the model fixes it, such as the patches of an image."""
    encoder_len: int | None = None
    """Number of tokens of the encoder, if the model fixes it apart from the decoder's."""
    trained_len: int | None = field(default=None, compare=False)
    """Largest number of tokens of a sequence in training; None if it is not known."""
    cache_format: str = ""
    """Number format of caches of keys and values; empty means the machine's word."""
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
        """Number of parameters of both embeddings; None without a vocabulary size."""
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
        """Number of parameters that one token uses; None without a vocabulary size.

        A token looks up one row of the input embedding, and uses all rows of an output head.
        """
        if (whole := self.parameters) is None:
            return None
        if self.vocab_size and not (self.tied_embeddings and self.predicts):
            whole -= (self.vocab_size - 1) * self.width
        mixtures = ((r.count, r.layer.ffn) for r in self.runs)
        return whole - sum(
            count * ffn.idle_parameters(self.width)
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
