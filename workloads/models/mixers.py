"""Mixers of a layer, which exchange data between tokens: attention of every kind, and recurrences.

A mixer lists the steps that the residual stream takes through it. Weights and the parts of a layer
follow from these steps. Widths and counts are numbers of elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

Cached = tuple[tuple[str, int], ...]
"""Elements that one token adds to a cache, by tensor; tensors have the names that cascades use."""


class MatrixProduct(NamedTuple):
    """Matrix product around a mixer: tokens times a matrix of ``features`` by ``projected``."""

    name: str
    features: int
    projected: int
    times: int = 1
    of_keys: bool = False
    """True if the product runs on the tokens whose keys are projected, not on the tokens computed.
    """
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
    """Step that stands for the mixing itself, between the projections before and behind it."""

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
    """True if the layer has no indexer of its own and uses an earlier layer's selection (GLM-5.2).
    """


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
    causal: bool = True
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
        """Elements that a token adds to the cache: the latent and the rotary key, which all heads
        share, and the indexer's key.
        """
        if not self.causal:
            return ()
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
    """Rank of the two projections that make decays per channel and the output gate. None means
    decays per head and a gate that is projected directly.
    """

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
    """Rank of the projection that makes the share of the first layer's values; None in that layer.
    """

    @property
    def state_elements(self) -> int:
        """Number of elements that a sequence keeps: the heads' states, and the last input token of
        time mixing and of channel mixing.
        """
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
