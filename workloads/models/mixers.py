"""What mixes the tokens of a layer: attention of every kind, and recurrences.

Widths and counts are plain numbers of elements. ``weights`` are the parameters of the matrix
products; ``cached`` is what a further token adds to a sequence's cache,
``state_elements`` what a sequence keeps however long it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Cached = tuple[tuple[str, int], ...]
"""Tensors of a cache, as cascades call them, and the elements of a token."""


class _GrowingCache:
    """Mixers that keep keys and values of every token, and no state."""

    __slots__ = ()
    state_elements: ClassVar[int] = 0


class _ConstantState:
    """Mixers that keep a state, whose size does not depend on the number of tokens."""

    __slots__ = ()
    cached: ClassVar[Cached] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxAttention(_GrowingCache):
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
    chunk: int | None = None
    """Sequences are cut into chunks of so many tokens, and a query sees those of its own."""
    softcap: float | None = None
    """Scores are capped to softcap * tanh(score / softcap)."""
    sinks: bool = False
    """Each head has a learned logit that takes mass and has no value."""
    qk_norm: bool = False
    gated: bool = False
    """The output is multiplied by a gate as wide as the values of all query heads."""
    buckets: int | None = None
    """Of distances, each with a learned bias of the scores of a head (T5)."""
    alibi: bool = False
    """A score loses so much of its head for every token between key and query."""
    clip: float | None = None
    """Elements of queries, keys and values are at most so far from zero."""

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

    @property
    def cached(self) -> Cached:
        """A key and a value of every head that has its own; none where nothing is cached."""
        if not self.causal:
            return ()
        return (("K", self.kv_heads * self.qk_width), ("V", self.kv_heads * self.v_width))

    def weights(self, width: int) -> int:
        """Parameters of the four projections of a stream of ``width`` elements.

        Examples
        --------
        Queries and the output of 32 heads, keys and values of 8, each 128 wide:

        >>> mixer = SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128)
        >>> mixer.weights(4096) == 4096 * 128 * (32 + 8 + 8 + 32)
        True
        """
        # The gate comes with the queries' projection, or beside it: as wide as the values.
        queries = self.heads * self.qk_width
        keys, values = self.kv_heads * self.qk_width, self.kv_heads * self.v_width
        outputs = (2 if self.gated else 1) * self.heads * self.v_width
        return width * (queries + keys + values + outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndexer:
    """What picks the keys of a query (DeepSeek-V3.2): small heads over one key a token."""

    heads: int
    width: int
    top_k: int
    """Keys that a query attends at most."""
    shared: bool = False
    """Whether the picks are those of a layer before (GLM-5.2): none is scored here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention(_GrowingCache):
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
    indexer: KeyIndexer | None = None
    """What picks the keys; None: a query attends all of them."""

    @property
    def kind(self) -> str:
        """MLA, or DSA where keys are picked."""
        if self.indexer is None:
            return "MLA"
        return "DSA-shared" if self.indexer.shared else "DSA"

    @property
    def cached(self) -> Cached:
        """The latent and the rotated key, for all heads together, and the indexer's key."""
        if not self.causal:
            return ()
        if self.indexer is None:
            return (("C", self.kv_rank), ("KR", self.rope_width))
        # As deepseek-sparse-attention calls them.
        latents = (("CKV", self.kv_rank), ("KR", self.rope_width))
        return latents if self.indexer.shared else (*latents, ("KI", self.indexer.width))

    def weights(self, width: int) -> int:
        """Parameters of the down, up and output projections.

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
        """The indexer's queries, of the queries' latent, its key, and a weight for each head."""
        if (index := self.indexer) is None or index.shared:
            return 0
        source = width if self.q_rank is None else self.q_rank
        return source * index.heads * index.width + width * (index.width + index.heads)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayAttention(_ConstantState):
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

    @property
    def state_elements(self) -> int:
        """A key by a value for every head."""
        return self.heads * self.qk_width * self.v_width

    def weights(self, width: int) -> int:
        """Parameters of the projections, the output gate among them."""
        values = self.heads * self.v_width
        return width * (2 * self.heads * self.qk_width + (3 if self.gated else 2) * values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceDual(_ConstantState):
    """Mamba-2's mixer (SSD, arXiv 2405.21060): one decay a head and token.

    In attention's terms the queries and keys (C and B) are ``state`` wide and shared by the
    heads of a group, and the values (X) are ``head_width`` wide.
    """

    kind: ClassVar[str] = "SSD"
    heads: int
    head_width: int
    state: int
    groups: int
    conv_width: int
    chunk: int
    """Tokens a chunk of its published kernel."""

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width

    @property
    def convolved(self) -> int:
        """Channels of the convolution: X, B and C."""
        return self.inner + 2 * self.groups * self.state

    @property
    def state_elements(self) -> int:
        """The state of every head, and the tokens that the convolution still meets."""
        return self.inner * self.state + self.convolved * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Parameters of the two projections and the depthwise convolution.

        Examples
        --------
        A layer of Mamba-2 of 2.7 billion parameters, and what a sequence keeps:

        >>> mixer = StateSpaceDual(
        ...     heads=80, head_width=64, state=128, groups=1, conv_width=4, chunk=256
        ... )
        >>> mixer.weights(2560), mixer.state_elements
        (40203264, 671488)
        """
        # The gate Z; X, B and C; and a step size a head.
        into = self.inner + self.convolved + self.heads
        return width * (into + self.inner) + self.convolved * self.conv_width


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveScan(_ConstantState):
    """Mamba's mixer (S6, arXiv 2312.00752): a decay a channel, state entry and token."""

    kind: ClassVar[str] = "S6"
    inner: int
    """Channels."""
    state: int
    dt_rank: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """The state of every channel, and the tokens that the convolution still meets."""
        return self.inner * (self.state + self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Parameters of the projections, the depthwise convolution, and A.

        Examples
        --------
        >>> SelectiveScan(inner=5120, state=16, dt_rank=160, conv_width=4).weights(2560)
        41226240
        """
        # X and Z in, one out; the step size down and up, B and C.
        projections = 3 * width * self.inner + self.inner * (2 * self.dt_rank + 2 * self.state)
        return projections + self.inner * (self.conv_width + self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaAttention(_ConstantState):
    """The gated delta rule: a state that decays, and is corrected at each key.

    With a decay a head (Gated DeltaNet, arXiv 2412.06464) or a channel of its keys (Kimi Delta
    Attention, arXiv 2510.26692).
    """

    heads: int
    """Of values."""
    key_heads: int
    """Of queries and keys, which groups of heads of values share."""
    qk_width: int
    v_width: int
    conv_width: int
    low_rank: int | None = None
    """Width through which decays of channels and the output gate are made; None: decays are
    of heads, and the gate is projected at once."""

    @property
    def kind(self) -> str:
        """By whose paper it is known."""
        return "gated-delta" if self.low_rank is None else "KDA"

    @property
    def convolved(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.qk_width + self.heads * self.v_width

    @property
    def state_elements(self) -> int:
        """The state of every head, and the tokens that the convolution still meets."""
        state = self.heads * self.qk_width * self.v_width
        return state + self.convolved * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Parameters of the projections and the depthwise convolution."""
        values = self.heads * self.v_width
        # Queries, keys and values; the output; the strength of a correction, one a head.
        found = width * (self.convolved + values + self.heads)
        if self.low_rank is None:
            # The gate, and a decay a head.
            found += width * (values + self.heads)
        else:
            decays = self.key_heads * self.qk_width
            found += self.low_rank * (2 * width + values + decays)
        return found + self.convolved * self.conv_width


@dataclass(frozen=True, slots=True, kw_only=True)
class RwkvAttention(_ConstantState):
    """RWKV-7's time mixing (arXiv 2503.14456): a decay a channel, and a removal of rank one.

    Decays, rates of removal, the gate, and the share of the first layer's values are made of
    the stream through a narrower layer each.
    """

    kind: ClassVar[str] = "RWKV-7"
    heads: int
    qk_width: int
    v_width: int
    decay_rank: int
    rate_rank: int
    gate_rank: int
    value_rank: int | None
    """None in the first layer, whose values the others share."""

    @property
    def state_elements(self) -> int:
        """The state of every head, and the token before, of this mixing and of the channels'."""
        return self.heads * self.qk_width * (self.v_width + 2)

    def low_ranks(self) -> tuple[tuple[str, int, int], ...]:
        """What is made through a narrower layer: names, ranks, and widths that come out."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        found = (
            ("decay", self.decay_rank, keys),
            ("rate", self.rate_rank, keys),
            ("value-share", self.value_rank or 0, values),
            ("gate", self.gate_rank, values),
        )
        return tuple(made for made in found if made[1])

    def weights(self, width: int) -> int:
        """Parameters of the four projections, and of the layers of low rank."""
        keys, values = self.heads * self.qk_width, self.heads * self.v_width
        narrow = sum(rank * (width + out) for _, rank, out in self.low_ranks())
        return 2 * width * (keys + values) + narrow


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRecurrence(_ConstantState):
    """RG-LRU (Griffin, arXiv 2402.19427): every channel by itself, its gates made in blocks."""

    kind: ClassVar[str] = "RG-LRU"
    inner: int
    """Channels."""
    blocks: int
    """Of channels; the gates of a block are made of its channels alone."""
    conv_width: int

    @property
    def block_width(self) -> int:
        """Channels of a block."""
        return self.inner // self.blocks

    @property
    def state_elements(self) -> int:
        """A word of every channel, and the tokens that the convolution still meets."""
        return self.inner * self.conv_width

    def weights(self, width: int) -> int:
        """Parameters of the projections, the depthwise convolution, and both gates."""
        # The channels and their output gate in, one out.
        gates = 2 * self.blocks * self.block_width**2
        return 3 * width * self.inner + self.inner * self.conv_width + gates


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution(_ConstantState):
    """A short convolution with a gate before and one behind it (LFM2)."""

    kind: ClassVar[str] = "convolution"
    channels: int
    conv_width: int

    @property
    def state_elements(self) -> int:
        """The tokens that the convolution still meets."""
        return self.channels * (self.conv_width - 1)

    def weights(self, width: int) -> int:
        """Parameters of the projections, of channels and both gates, and of the taps."""
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
"""What mixes tokens in a layer."""
