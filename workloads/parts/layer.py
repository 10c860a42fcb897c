"""Parts of one layer: the mixer between its projections, and the feed-forward network.

Widths are those of ``models``; N tokens are B sequences of P tokens. Normalisations, biases,
residual sums, rotary embeddings, and products with a gate are no parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from math import expm1, log1p
from types import MappingProxyType
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError

from ..attention.shared_heads import SharedHeads, checked_size
from ..models import (
    DecayAttention,
    DeltaAttention,
    Experts,
    FeedForward,
    GatedRecurrence,
    LatentAttention,
    Layer,
    Mixer,
    RwkvAttention,
    SelectiveScan,
    ShortConvolution,
    SoftmaxAttention,
    StateSpaceDual,
    WeightFormats,
)
from ..spec import LINEAR
from .part import Part, linear

CONVOLUTION, LINEAR_CONVOLUTION = "depthwise-convolution", "depthwise-convolution-linear"
_HEAD_RANKS = ("B", "H", "E", "F", "P", "M")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """Layer of a model with the tokens that it computes."""

    layer: Layer
    width: int
    """Width of the residual stream, in elements."""
    attention: Part
    """Mixer of the layer, with the shapes of the tokens computed."""
    ffn_up: str
    """Cascade of the first products of a feed-forward network."""
    cross: Part | None = None
    """Attention to the output of an encoder, where the layer has one."""
    encoder_tokens: int = 0
    """Tokens per sequence whose keys and values cross attention projects now."""
    weights: WeightFormats = field(default=WeightFormats())

    @property
    def tokens(self) -> int:
        """Tokens of all sequences: N."""
        shapes = dict(self.attention.shapes)
        return shapes["B"] * shapes["P"]

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the layer in the order they run.

        Raises
        ------
        SpecError
            The user gave a rank that projections depend on.
        """
        mixer = self.layer.mixer
        if not isinstance(mixer, SoftmaxAttention):
            _refuse_given_ranks(self, mixer.kind)
        around = chain(_BY_MIXER[type(mixer)](self, mixer), self._cross())
        return tuple(
            part
            for part in chain(
                (replace(p, weights=self._format(p)) for p in around), self._feed_forward()
            )
            # With a cache, the output of an encoder is not projected again.
            if dict(part.shapes).get("N") != 0
        )

    def projections(self, *outputs: tuple[str, int]) -> Iterator[Part]:
        """Yield projections of the stream, each given by its name and the width of its output."""
        for name, projected in outputs:
            yield linear(f"{name}-projection", self.tokens, self.width, projected)

    def low_rank_projections(self, name: str, rank: int, projected: int) -> Iterator[Part]:
        """Yield a projection of the stream down to a rank, and one from the rank up."""
        yield linear(f"{name}-down-projection", self.tokens, self.width, rank)
        yield linear(f"{name}-up-projection", self.tokens, rank, projected)

    def output_projection(self, features: int) -> Part:
        """Return the projection of the mixer's result back to the stream."""
        return linear("output-projection", self.tokens, features, self.width)

    def _format(self, part: Part) -> str:
        """Return the format of the weights of a part around the mixer; empty means words."""
        wide = part.cascade in (CONVOLUTION, LINEAR_CONVOLUTION) or part.name in self.weights.kept
        return "" if wide else self.weights.projections

    def _cross(self) -> Iterator[Part]:
        if self.cross is None:
            return
        # Each head of keys and values serves a group of query heads.
        heads = dict(self.cross.shapes)["H"] // self.cross.heads.group
        parts = with_projections(self.cross, self.width, heads, self.encoder_tokens)
        yield from (replace(part, name=f"cross-{part.name}") for part in parts)

    def _feed_forward(self) -> Iterator[Part]:
        ffn = self.layer.ffn
        if isinstance(ffn, FeedForward):
            yield from self._products("ffn", self.tokens, ffn.inner, self.weights.feed_forward)
        elif isinstance(ffn, Experts):
            yield linear("router", self.tokens, self.width, ffn.experts)
            if ffn.shared_inner:
                dense = self.weights.feed_forward
                yield from self._products("shared-expert", self.tokens, ffn.shared_inner, dense)
            for name, count, tokens in expert_groups(ffn, self.tokens):
                yield from self._products(name, tokens, ffn.inner, self.weights.experts, count)

    def _products(
        self, name: str, tokens: int, inner: int, weights: str, times: int = 1
    ) -> Iterator[Part]:
        # With a gate, the cascade of the first products includes both products and the gating.
        up, width = self.ffn_up, self.width
        first = linear(f"{name}-up", tokens, width, inner, cascade=up, times=times)
        second = linear(f"{name}-down", tokens, inner, width, times=times)
        yield from (replace(part, weights=weights) for part in (first, second))


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
    """Return names, numbers of experts that run, and tokens of each.

    The expected number of experts run (``expected_experts``, rounded to a whole number). Tokens
    times ``per_token`` assignments are distributed evenly over them; where they do not divide, some
    experts have one more assignment.

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
    found = (("fuller-expert", more, each + 1), ("expert", running - more, each))
    some = [(name, count, size) for name, count, size in found if count and size]
    return (("expert", *some[0][1:]),) if len(some) == 1 else tuple(some)


def with_projections(
    attention: Part, width: int, key_heads: int | None = None, new_keys: int | None = None
) -> tuple[Part, ...]:
    """Return attention of heads between the four projections of its stream.

    Parameters
    ----------
    attention : Part
        Attention with shapes of B, H, E, F, P and M.
    width : int
        Width of the residual stream.
    key_heads, new_keys : int, optional
        Heads of keys and values (default: one per query head), and keys per sequence that are
        projected here (default: all M).
    """
    b, h, e, f, p, m = (dict(attention.shapes)[rank] for rank in _HEAD_RANKS)
    # Tokens whose keys are in the cache are not projected again.
    keys = b * (m if new_keys is None else new_keys)
    groups = h if key_heads is None else key_heads
    found = (
        linear("query-projection", b * p, width, h * e, makes="Q"),
        linear("key-projection", keys, width, groups * e, makes="K"),
        linear("value-projection", keys, width, groups * f, makes="V"),
        attention,
        linear("output-projection", b * p, h * f, width),
    )
    return tuple(part for part in found if dict(part.shapes).get("N") != 0)


def _softmax(run: LayerRun, a: SoftmaxAttention) -> Iterator[Part]:
    shapes = dict(run.attention.shapes)
    heads = shapes["H"] // run.attention.heads.group
    if a.gated:
        gates = shapes["H"] * shapes["F"]
        yield linear("gate-projection", run.tokens, run.width, gates, makes="GT")
    yield from with_projections(run.attention, run.width, heads, shapes["P"])


def _latent(run: LayerRun, a: LatentAttention) -> Iterator[Part]:
    n, queries = run.tokens, a.heads * (a.nope_width + a.rope_width)
    if a.q_rank is None:
        yield from run.projections(("query", queries))
    else:
        yield from run.low_rank_projections("query", a.q_rank, queries)
    yield from run.projections(("latent", a.kv_rank + a.rope_width))
    if (index := a.indexer) is not None and not index.shared:
        source = run.width if a.q_rank is None else a.q_rank
        yield linear("indexer-query-projection", n, source, index.heads * index.width)
        yield from run.projections(("indexer-key", index.width), ("indexer-weight", index.heads))
    before, after = _expansion(run, a)
    yield from before
    yield run.attention
    yield from after
    yield run.output_projection(a.heads * a.v_width)


def expands_latent(cascade: str, heads: SharedHeads) -> bool:
    """Return whether a cascade computes on the latent, and expands keys and values itself."""
    return heads.variant([rank.name for rank in Cascade.load(cascade).program.ranks]) is not None


def _expansion(run: LayerRun, a: LatentAttention) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return parts that expand keys and values, before and after attention.

    There are none if attention expands them itself.
    """
    if expands_latent(run.attention.cascade, run.attention.heads):
        return (), ()
    shapes = dict(run.attention.shapes)
    if shapes["E"] == a.kv_rank + a.rope_width and shapes["F"] == a.kv_rank:
        # Absorbed: the queries of each head are mapped into the latent, and its results out of it.
        absorb = linear("query-absorption", run.tokens, a.nope_width, a.kv_rank, times=a.heads)
        unfold = linear("value-unfolding", run.tokens, a.kv_rank, a.v_width, times=a.heads)
        return (absorb,), (unfold,)
    # The cache holds latents, so that latents of earlier tokens are expanded again.
    keys = shapes["B"] * shapes["M"]
    return (
        linear("key-unfolding", keys, a.kv_rank, a.heads * a.nope_width),
        linear("value-unfolding", keys, a.kv_rank, a.heads * a.v_width),
    ), ()


def _decay(run: LayerRun, a: DecayAttention) -> Iterator[Part]:
    keys, values = a.heads * a.qk_width, a.heads * a.v_width
    gate = (("gate", values),) if a.gated else ()
    yield from run.projections(("query", keys), ("key", keys), ("value", values), *gate)
    yield run.attention
    yield run.output_projection(values)


def _dual(run: LayerRun, a: StateSpaceDual) -> Iterator[Part]:
    # One product makes the gate Z, the inputs of the convolution (X, B and C), and a step size
    # per head.
    yield from run.projections(("input", a.inner + a.convolved + a.heads))
    yield _convolution(run, a.convolved, a.conv_width)
    yield run.attention
    yield run.output_projection(a.inner)


def _scan(run: LayerRun, a: SelectiveScan) -> Iterator[Part]:
    # The first product makes X and the gate Z; behind the convolution, X makes the latent of the
    # steps, B and C.
    yield from run.projections(("input", 2 * a.inner))
    yield _convolution(run, a.inner, a.conv_width)
    yield linear("selection-projection", run.tokens, a.inner, a.dt_rank + 2 * a.state)
    yield linear("step-projection", run.tokens, a.dt_rank, a.inner)
    yield run.attention
    yield run.output_projection(a.inner)


def _delta(run: LayerRun, a: DeltaAttention) -> Iterator[Part]:
    keys, values = a.key_heads * a.qk_width, a.heads * a.v_width
    yield from run.projections(("query", keys), ("key", keys), ("value", values))
    yield _convolution(run, a.convolved, a.conv_width)
    yield from run.projections(("beta", a.heads))
    if a.low_rank is None:
        yield from run.projections(("decay", a.heads), ("gate", values))
    else:
        yield from run.low_rank_projections("decay", a.low_rank, keys)
        yield from run.low_rank_projections("gate", a.low_rank, values)
    yield run.attention
    yield run.output_projection(values)


def _rwkv(run: LayerRun, a: RwkvAttention) -> Iterator[Part]:
    keys, values = a.heads * a.qk_width, a.heads * a.v_width
    yield from run.projections(("receptance", keys), ("key", keys), ("value", values))
    for name, rank, width in a.low_ranks():
        yield from run.low_rank_projections(name, rank, width)
    yield run.attention
    yield run.output_projection(values)


def _gated(run: LayerRun, a: GatedRecurrence) -> Iterator[Part]:
    # The first product makes the channels, and the gate of their output.
    yield from run.projections(("input", 2 * a.inner))
    yield _convolution(run, a.inner, a.conv_width, LINEAR_CONVOLUTION)
    for gate in ("input-gate", "recurrent-gate"):
        yield linear(f"{gate}-projection", run.tokens, a.block_width, a.block_width, times=a.blocks)
    yield run.attention
    yield run.output_projection(a.inner)


def _short(run: LayerRun, a: ShortConvolution) -> Iterator[Part]:
    # The first product makes the channels, and the gates before and behind their convolution.
    yield from run.projections(("input", 3 * a.channels))
    yield run.attention
    yield run.output_projection(a.channels)


def _convolution(run: LayerRun, channels: int, taps: int, cascade: str = CONVOLUTION) -> Part:
    """Return the convolution of the tokens computed and of the tokens before them.

    Earlier tokens come from a cache, or are zeros.
    """
    shapes = dict(run.attention.shapes)
    b, p = shapes["B"], shapes["P"]
    sizes = (
        ("B", b),
        ("C", channels),
        ("M", checked_size("M", p + taps - 1)),
        ("P", p),
        ("T", taps),
    )
    return Part(name="convolution", cascade=cascade, shapes=sizes)


def _refuse_given_ranks(run: LayerRun, kind: str) -> None:
    """Raise an error if the user gave a width: projections follow the model."""
    given = sorted(set(run.attention.heads.given) - {"B", "P", "M"})
    if given:
        text = (
            f"{', '.join(given)}: given by hand, and projections of {kind} layers are the model's"
        )
        raise SpecError(Problem(text, hint="change config, or take scope=attention"))


_BY_MIXER: Mapping[type[Mixer], Callable[[LayerRun, Any], Iterator[Part]]] = MappingProxyType(
    {
        SoftmaxAttention: _softmax,
        LatentAttention: _latent,
        DecayAttention: _decay,
        StateSpaceDual: _dual,
        SelectiveScan: _scan,
        DeltaAttention: _delta,
        RwkvAttention: _rwkv,
        GatedRecurrence: _gated,
        ShortConvolution: _short,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F (values), P
    queries and M keys a sequence. Projections and feed-forward network are matrix multiplications
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
    """Keys per sequence that are projected here, perhaps none; None means all. The other keys
    come from a cache."""
    ffn_up: str = LINEAR
    """Cascade of the first product of the feed-forward network, with its activation function and
    gate: a built-in name or a file, with the ranks of ``linear-layer``."""
    times: int = 1
    """Number of such layers."""
    name: str = ""
    """Prefix of the names of the parts, where a model has several kinds of layers."""

    def __post_init__(self) -> None:
        given = dict(self.attention.shapes)
        if missing := [rank for rank in "BHEFPM" if rank not in given]:
            what = f"the shape{'s' * (len(missing) > 1)} of {', '.join(missing)}"
            raise SpecError(f"projections and feed-forward layers need {what}")

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the layer in the order they run."""
        shapes = dict(self.attention.shapes)
        tokens = shapes["B"] * shapes["P"]
        d, inner = self.model_width, self.ffn_width
        parts = (
            *with_projections(self.attention, d, self.key_heads, self.new_keys),
            linear("ffn-up", tokens, d, inner, cascade=self.ffn_up),
            linear("ffn-down", tokens, inner, d),
        )
        name = f"{self.name}." if self.name else ""
        return tuple(
            replace(part, name=name + part.name, times=part.times * self.times) for part in parts
        )
