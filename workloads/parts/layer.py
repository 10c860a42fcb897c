"""Parts of one layer: the mixer between its projections, and the feed-forward network.

Widths are those of ``models``; N tokens are B sequences of P tokens. Normalisations, biases,
residual sums, rotary embeddings, and multiplications by a gate are not counted as parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from math import expm1, log1p

from einsum_cascade import Cascade
from einsum_cascade.errors import Problem, SpecError

from ..attention.layer_attention import SharedHeads, checked_size
from ..models import (
    Experts,
    LatentAttention,
    LatentForm,
    Layer,
    MatrixProduct,
    Mixing,
    SoftmaxAttention,
    Step,
    WeightFormats,
)
from ..spec import LINEAR
from .part import Part, linear

CONVOLUTION, LINEAR_CONVOLUTION = "depthwise-convolution", "depthwise-convolution-linear"


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
    weights: WeightFormats = field(default=WeightFormats())

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
            The user gave a rank that projections depend on.
        """
        around = chain(self._mixer_parts(), self._cross())
        return tuple(
            chain((replace(p, weights=self._format(p)) for p in around), self._feed_forward())
        )

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

    def _format(self, part: Part) -> str:
        """Return the number format of a part's weights; empty means the machine's word.

        The part is a projection or convolution around the mixer.
        """
        wide = part.cascade in (CONVOLUTION, LINEAR_CONVOLUTION) or part.name in self.weights.kept
        return "" if wide else self.weights.projections

    def _cross(self) -> Iterator[Part]:
        if self.cross is None or self.layer.cross is None:
            return
        keys = dict(self.cross.shapes)["B"] * self.encoder_tokens
        parts = parts_of_steps(self.layer.cross.steps(self.width), self.cross, keys)
        yield from (replace(part, name=f"cross-{part.name}") for part in parts)

    def _feed_forward(self) -> Iterator[Part]:
        ffn = self.layer.ffn
        if isinstance(ffn, Experts):
            yield linear("router", self.tokens, self.width, ffn.experts)
            if ffn.shared_inner:
                dense = self.weights.feed_forward
                yield from self._products("shared-expert", self.tokens, ffn.shared_inner, dense)
            for name, count, tokens in expert_groups(ffn, self.tokens):
                yield from self._products(name, tokens, ffn.inner, self.weights.experts, count)
        elif ffn is not None:
            yield from self._products("ffn", self.tokens, ffn.inner, self.weights.feed_forward)

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
    found = (("fuller-expert", more, each + 1), ("expert", running - more, each))
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
                yield linear(
                    step.name,
                    tokens,
                    step.features,
                    step.projected,
                    times=step.times,
                    makes=step.makes,
                )
        else:
            # Earlier tokens come from a cache, or are zeros.
            sizes = (
                ("B", b),
                ("C", step.channels),
                ("M", checked_size("M", p + step.taps - 1)),
                ("P", p),
                ("T", step.taps),
            )
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
        raise SpecError(Problem(text, hint="change config, or take scope=attention"))


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
            heads=heads,
            kv_heads=self.key_heads or heads,
            qk_width=shapes["E"],
            v_width=shapes["F"],
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
