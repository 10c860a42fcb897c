"""Mixers of a layer: attention of every kind, and recurrences.

Widths and counts are numbers of elements. ``weights`` counts the parameters of the matrix products.
``cached`` holds the elements that one further token adds to the cache of a sequence, and
``state_elements`` the elements that a sequence keeps whatever its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Cached = tuple[tuple[str, int], ...]
"""Elements of one token in a cache, by tensor; tensors are named as in cascades."""


class _GrowingCache:
    """Base of mixers that keep keys and values of every token, and no state."""

    __slots__ = ()
    state_elements: ClassVar[int] = 0


class _ConstantState:
    """Base of mixers that keep a state whose size does not depend on the number of tokens."""

    __slots__ = ()
    cached: ClassVar[Cached] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxAttention(_GrowingCache):
    """Softmax attention: MHA, GQA (groups of query heads share keys) or MQA."""

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
    """Tokens of a chunk, where a query sees only the keys of its own chunk."""
    softcap: float | None = None
    """Bound of scores, which become softcap * tanh(score / softcap)."""
    sinks: bool = False
    """True if each head has a learned logit that takes weight and has no value."""
    qk_norm: bool = False
    gated: bool = False
    """True if a gate as wide as the values of all query heads multiplies the output."""
    buckets: int | None = None
    """Number of buckets of distances; each has a learned bias of a head's scores (T5)."""
    alibi: bool = False
    """True if a score loses a constant of its head per token between key and query."""
    clip: float | None = None
    """Bound of the magnitude of elements of queries, keys and values."""

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
        """Elements of a key and a value of every key head; none if the attention is not causal."""
        if not self.causal:
            return ()
        return (("K", self.kv_heads * self.qk_width), ("V", self.kv_heads * self.v_width))

    def weights(self, width: int) -> int:
        """Count the parameters of the four projections of a stream of ``width`` elements.

        Examples
        --------
        Queries and the output of 32 heads, keys and values of 8, each 128 wide:

        >>> mixer = SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128)
        >>> mixer.weights(4096) == 4096 * 128 * (32 + 8 + 8 + 32)
        True
        """
        # The gate has a projection as wide as the values, joined with that of queries or beside it.
        queries = self.heads * self.qk_width
        keys, values = self.kv_heads * self.qk_width, self.kv_heads * self.v_width
        outputs = (2 if self.gated else 1) * self.heads * self.v_width
        return width * (queries + keys + values + outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndexer:
    """Indexer that selects the keys of a query by small heads over one key per token
    (DeepSeek-V3.2)."""

    heads: int
    width: int
    top_k: int
    """Largest number of keys that a query attends to."""
    shared: bool = False
    """True if the layer uses the keys that an earlier layer selected (GLM-5.2), and scores none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention(_GrowingCache):
    """Multi-head latent attention: keys and values are expanded from one latent per token.

    DeepSeek-V2, arXiv 2405.04434, section 2.1. The cache holds ``kv_rank + rope_width`` elements a
    token, for all heads together.
    """

    heads: int
    q_rank: int | None
    """Width of the latent of queries; None if queries are projected directly."""
    kv_rank: int
    nope_width: int
    """Width of a head without rotary embedding."""
    rope_width: int
    """Width with rotary embedding, whose key all heads share."""
    v_width: int
    causal: bool = True
    indexer: KeyIndexer | None = None
    """Indexer that selects keys; None means that a query attends to all keys."""

    @property
    def kind(self) -> str:
        """Kind of attention: MLA, or DSA with an indexer (DSA-shared: that of another layer)."""
        if self.indexer is None:
            return "MLA"
        return "DSA-shared" if self.indexer.shared else "DSA"

    @property
    def cached(self) -> Cached:
        """Elements of the latent and the rotary key, which all heads share, and of the indexer's
        key."""
        if not self.causal:
            return ()
        if self.indexer is None:
            return (("C", self.kv_rank), ("KR", self.rope_width))
        # The names are those of deepseek-sparse-attention.
        latents = (("CKV", self.kv_rank), ("KR", self.rope_width))
        return latents if self.indexer.shared else (*latents, ("KI", self.indexer.width))

    def weights(self, width: int) -> int:
        """Count the parameters of the down, up and output projections, and of the indexer.

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
        first = width * queries
        if self.q_rank is not None:
            first = self.q_rank * (width + queries)
        down = width * (self.kv_rank + self.rope_width)
        up = self.kv_rank * self.heads * (self.nope_width + self.v_width)
        return first + down + up + self.heads * self.v_width * width + self._indexer_weights(width)

    def _indexer_weights(self, width: int) -> int:
        """Count the weights of the indexer: for its queries, its key, and the weight of each
        head."""
        if (index := self.indexer) is None or index.shared:
            return 0
        source = width if self.q_rank is None else self.q_rank
        return source * index.heads * index.width + width * (index.width + index.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayAttention(_ConstantState):
    """Linear attention with a constant decay per head: Lightning, or retention (RetNet)."""

    heads: int
    qk_width: int
    v_width: int
    decay: str
    """Rule of the decay of a head."""
    kind: str = "lightning"
    """Kind of linear attention: lightning or retention."""
    gated: bool = True
    """True if a gate as wide as the values of all heads multiplies the output."""

    @property
    def state_elements(self) -> int:
        """Elements of the states of all heads, each a key by a value."""
        return self.heads * self.qk_width * self.v_width

    def weights(self, width: int) -> int:
        """Count the parameters of the projections, the output gate included."""
        values = self.heads * self.v_width
        return width * (2 * self.heads * self.qk_width + (3 if self.gated else 2) * values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceDual(_ConstantState):
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
    """Tokens of a chunk in the published kernel."""

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
        """Elements of the states of all heads, and of the past tokens that the convolution
        reads."""
        return self.inner * self.state + self.convolved * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Count the parameters of the two projections and the depthwise convolution.

        Examples
        --------
        A layer of Mamba-2 of 2.7 billion parameters, and what a sequence keeps:

        >>> mixer = StateSpaceDual(
        ...     heads=80, head_width=64, state=128, groups=1, conv_width=4, chunk=256
        ... )
        >>> mixer.weights(2560), mixer.state_elements
        (40203264, 671488)
        """
        # The input projection makes the gate Z, then X, B and C, and a step size per head.
        into = self.inner + self.convolved + self.heads
        return width * (into + self.inner) + self.convolved * self.conv_width


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveScan(_ConstantState):
    """Mixer of Mamba (S6, arXiv 2312.00752): one decay per channel, state entry and token."""

    kind: ClassVar[str] = "S6"
    inner: int
    """Number of channels."""
    state: int
    dt_rank: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """Elements of the states of all channels, and of the past tokens that the convolution
        reads."""
        return self.inner * (self.state + self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Count the parameters of the projections, the depthwise convolution, and A.

        Examples
        --------
        >>> SelectiveScan(inner=5120, state=16, dt_rank=160, conv_width=4).weights(2560)
        41226240
        """
        # X and Z come in and one result goes out; the step size has two products, B and C one each.
        projections = 3 * width * self.inner + self.inner * (2 * self.dt_rank + 2 * self.state)
        return projections + self.inner * (self.conv_width + self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaAttention(_ConstantState):
    """Gated delta rule: a state that decays, and is corrected at each key.

    The decay is one per head (Gated DeltaNet, arXiv 2412.06464) or one per channel of the keys
    (Kimi Delta Attention, arXiv 2510.26692).
    """

    heads: int
    """Number of heads of values."""
    key_heads: int
    """Number of heads of queries and keys; groups of value heads share one."""
    qk_width: int
    v_width: int
    conv_width: int
    low_rank: int | None = None
    """Rank of the projections that make decays per channel and the output gate. None means
    decays per head and a gate that is projected directly."""

    @property
    def kind(self) -> str:
        """Kind of delta rule: gated-delta or KDA."""
        return "gated-delta" if self.low_rank is None else "KDA"

    @property
    def convolved(self) -> int:
        """Number of channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.qk_width + self.heads * self.v_width

    @property
    def state_elements(self) -> int:
        """Elements of the states of all heads, and of the past tokens that the convolution
        reads."""
        state = self.heads * self.qk_width * self.v_width
        return state + self.convolved * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Count the parameters of the projections and the depthwise convolution."""
        values = self.heads * self.v_width
        # These are queries, keys and values; the output; and a correction strength per head.
        found = width * (self.convolved + values + self.heads)
        if self.low_rank is None:
            # These are the gate, and a decay per head.
            found += width * (values + self.heads)
        else:
            decays = self.key_heads * self.qk_width
            found += self.low_rank * (2 * width + values + decays)
        return found + self.convolved * self.conv_width


@dataclass(frozen=True, slots=True, kw_only=True)
class RwkvAttention(_ConstantState):
    """Time mixing of RWKV-7 (arXiv 2503.14456): a decay per channel, and a removal of rank one.

    Decays, rates of removal, the gate, and the share of the first layer's values come from the
    stream by low-rank projections.
    """

    kind: ClassVar[str] = "RWKV-7"
    heads: int
    qk_width: int
    v_width: int
    decay_rank: int
    rate_rank: int
    gate_rank: int
    value_rank: int | None
    """Rank of the share of the first layer's values; None in the first layer itself."""

    @property
    def state_elements(self) -> int:
        """Elements of the states of all heads, and the last token of time mixing and channel
        mixing."""
        return self.heads * self.qk_width * (self.v_width + 2)

    def low_ranks(self) -> tuple[tuple[str, int, int], ...]:
        """Return names, ranks and output widths of the low-rank projections."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        found = (
            ("decay", self.decay_rank, keys),
            ("rate", self.rate_rank, keys),
            ("value-share", self.value_rank or 0, values),
            ("gate", self.gate_rank, values),
        )
        return tuple(made for made in found if made[1])

    def weights(self, width: int) -> int:
        """Count the parameters of the four projections, and of the low-rank projections."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        narrow = sum(rank * (width + out) for _, rank, out in self.low_ranks())
        return 2 * width * (keys + values) + narrow


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRecurrence(_ConstantState):
    """Mixer of Griffin (RG-LRU, arXiv 2402.19427): independent channels, whose gates come in
    blocks."""

    kind: ClassVar[str] = "RG-LRU"
    inner: int
    """Number of channels."""
    blocks: int
    """Number of blocks of channels; the gates of a block depend on its channels alone."""
    conv_width: int

    @property
    def block_width(self) -> int:
        """Number of channels of a block."""
        return self.inner // self.blocks

    @property
    def state_elements(self) -> int:
        """Elements of the state, one per channel, and of the past tokens that the convolution
        reads."""
        return self.inner * self.conv_width

    def weights(self, width: int) -> int:
        """Count the parameters of the projections, the depthwise convolution, and both gates."""
        # The input projections make the channels and their output gate.
        gates = 2 * self.blocks * self.block_width**2
        return 3 * width * self.inner + self.inner * self.conv_width + gates


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution(_ConstantState):
    """Short convolution with a gate before and a gate behind it (LFM2)."""

    kind: ClassVar[str] = "convolution"
    channels: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """Elements of the past tokens that the convolution reads."""
        return self.channels * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Count the parameters of the projections (channels, two gates, output) and of the taps."""
        return 4 * width * self.channels + self.channels * self.conv_width


Mixer = (
    SoftmaxAttention
    | LatentAttention
    | DecayAttention
    | StateSpaceDual
    | SelectiveScan
    | DeltaAttention
    | RwkvAttention
    | GatedRecurrence
    | ShortConvolution
)
"""Mixer of the tokens in a layer."""
