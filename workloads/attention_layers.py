"""One layer's attention in a phase: the cascade that computes it, its shapes, and notes.

Latent attention in its absorbed form shares one key of ``kv_rank + rope_width`` elements and
one value of ``kv_rank`` a token among all heads (DeepSeek-V2, arXiv 2405.04434, section 2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from einsum_cascade.errors import Problem, SpecError

from .models import (
    DecayAttention,
    LatentAttention,
    Mixer,
    ModelConfig,
    Run,
    SelectiveScan,
    SoftmaxAttention,
    StateSpaceDual,
)
from .shared_heads import Variant

Phase = Literal["prefill", "decode", "chunked-prefill"]
PHASES: tuple[str, ...] = get_args(Phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How many tokens are computed, and how many came before."""

    phase: Phase
    batch: int
    seq_len: int
    cached_len: int

    @property
    def queries(self) -> int:
        """Tokens computed a sequence: P."""
        return 1 if self.phase == "decode" else self.seq_len

    @property
    def keys(self) -> int:
        """Tokens the last of them sees, itself included: M."""
        return self.cached_len + self.queries

    @property
    def causal_pairs(self) -> int:
        """Pairs of a query and a key no later than it."""
        return self.queries * self.cached_len + self.queries * (self.queries + 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAttention:
    """What a cascade needs to know of one layer's attention."""

    cascade: str
    """A built-in cascade."""
    shapes: tuple[tuple[str, int], ...]
    """H are query heads, P query tokens."""
    kv_heads: int | None = None
    """Heads of keys and values; None: as many as of queries."""
    variants: tuple[Variant, ...] = ()
    causal: bool = False
    """A query sees no later key, and the cascade has no mask that says so."""
    notes: tuple[str, ...] = ()


def attention_of(mixer: Mixer, tokens: Tokens) -> LayerAttention:
    """The attention of a layer.

    Raises
    ------
    SpecError
        No cascade here computes it: a window shorter than the keys in a prefill.
    """
    return _BY_MIXER[type(mixer)](mixer, tokens)


def _softmax(a: SoftmaxAttention, tokens: Tokens) -> LayerAttention:
    keys, notes = tokens.keys, []
    if a.window is not None and keys > a.window:
        if tokens.queries > 1:
            raise SpecError(_beyond_window(a.window, tokens))
        notes.append(f"the window lets the query see {a.window} of {keys} keys")
        keys = a.window
    if a.softcap is not None:
        notes.append(f"the soft cap of scores at {a.softcap:g} (a tanh each) is not counted")
    return LayerAttention(
        cascade="attention-sink" if a.sinks else "attention-1pass",
        shapes=_shapes(tokens, a.heads, a.qk_width, a.v_width, keys),
        kv_heads=a.kv_heads,
        causal=a.causal,
        notes=tuple(notes),
    )


def _beyond_window(window: int, tokens: Tokens) -> Problem:
    return Problem(
        f"the layer has a window of {window} keys, and queries here would see {tokens.keys}:"
        " no cascade with a window has a mapping yet",
        hint="take no more tokens than the window, phase=decode, or a layer without a window",
    )


def mask_notes(tokens: Tokens, by_hand: bool = False) -> tuple[str, ...]:
    """What leaving the causal mask out means, in a sentence; nothing for one query.

    ``by_hand``: other shapes than those of ``tokens`` are computed.
    """
    if by_hand:
        return ("the causal mask is not applied: every query meets every key",)
    pairs = tokens.queries * tokens.keys
    if tokens.causal_pairs == pairs:
        return ()
    return (
        f"the causal mask is not applied: {pairs} scores a query head are computed,"
        f" {tokens.causal_pairs} of them count",
    )


def _latent(a: LatentAttention, tokens: Tokens) -> LayerAttention:
    """Unfolded keys and values in a prefill; the cache itself, absorbed, in decoding."""
    if tokens.phase != "decode":
        width = a.nope_width + a.rope_width
        return LayerAttention(
            cascade="attention-1pass",
            shapes=_shapes(tokens, a.heads, width, a.v_width, tokens.keys),
            variants=(_unfolding(a),),
            causal=a.causal,
            notes=("latent attention with keys and values unfolded to every head",),
        )
    cached = a.kv_rank + a.rope_width
    return LayerAttention(
        cascade="attention-1pass",
        shapes=_shapes(tokens, a.heads, cached, a.kv_rank, tokens.keys),
        kv_heads=1,
        variants=(_unfolding(a),),
        notes=(
            f"latent attention, absorbed: {a.heads} heads share one key of {cached} words a token",
            f"values are {a.kv_rank} of the key's {cached} words: this cascade reads them as a"
            f" tensor of their own, {cached + a.kv_rank} words a token instead of {cached}",
        ),
    )


def _unfolding(a: LatentAttention) -> Variant:
    """Shapes for a cascade that computes on the latent (rank L) itself."""
    shapes = (("D", a.nope_width), ("F", a.v_width), ("L", a.kv_rank), ("R", a.rope_width))
    return Variant(rank="L", shapes=shapes)


_RECURRENT: Mapping[str, str] = MappingProxyType(
    {
        "lightning": "lightning-attention-2",
        "retention": "retnet-chunked",
        "SSD": "ssd-chunked",
        "S6": "mamba-s6",
    }
)
"""By kind of mixer, the cascade of a whole sequence. ``-resumed`` begins from a state."""
_STEPS: Mapping[str, str] = MappingProxyType(
    {
        "lightning": "lightning-attention-step",
        "retention": "retnet-step",
        "SSD": "ssd-step",
        "S6": "mamba-s6-step",
    }
)
"""By kind of mixer, the cascade of one token."""


def _recurrent(kind: str, tokens: Tokens, state: str) -> tuple[str, tuple[str, ...]]:
    """The cascade of a recurrent mixer, and what becomes of its state."""
    if tokens.phase == "decode":
        return _STEPS[kind], (f"the state, {state}, is read and written",)
    if tokens.phase == "prefill":
        return _RECURRENT[kind], (f"the state after the last token, {state}, is not written",)
    return f"{_RECURRENT[kind]}-resumed", (f"the state, {state}, is read once and written once",)


def _decay(a: DecayAttention, tokens: Tokens) -> LayerAttention:
    state = f"{a.qk_width} x {a.v_width} words a head"
    cascade, notes = _recurrent(a.kind, tokens, state)
    # A state stands for the tokens before: M are the keys of the tokens computed.
    shapes = _shapes(tokens, a.heads, a.qk_width, a.v_width, tokens.queries)
    return LayerAttention(cascade=cascade, shapes=shapes, notes=notes)


def _dual(a: StateSpaceDual, tokens: Tokens) -> LayerAttention:
    """One token shares B and C among the heads of a group; chunks have them for every head."""
    cascade, notes = _recurrent(a.kind, tokens, f"{a.state} x {a.head_width} words a head")
    shapes = _shapes(tokens, a.heads, a.state, a.head_width, tokens.queries)
    if tokens.phase == "decode":
        return LayerAttention(cascade=cascade, shapes=shapes, kv_heads=a.groups, notes=notes)
    if a.groups < a.heads:
        shared = f"B and C, which {a.heads // a.groups} heads share, are read and multiplied"
        notes = (*notes, f"{shared} for each of them")
    return LayerAttention(cascade=cascade, shapes=shapes, notes=notes)


def _scan(a: SelectiveScan, tokens: Tokens) -> LayerAttention:
    cascade, notes = _recurrent(a.kind, tokens, f"{a.state} words a channel")
    shapes = (
        ("B", tokens.batch),
        ("C", a.inner),
        ("M", tokens.queries),
        ("N", a.state),
        ("P", tokens.queries),
    )
    return LayerAttention(cascade=cascade, shapes=shapes, notes=notes)


def _shapes(
    tokens: Tokens, heads: int, qk_width: int, v_width: int, keys: int
) -> tuple[tuple[str, int], ...]:
    return (
        ("B", tokens.batch),
        ("E", qk_width),
        ("F", v_width),
        ("H", heads),
        ("M", keys),
        ("P", tokens.queries),
    )


_BY_MIXER: Mapping[type[Mixer], Callable[[Any, Tokens], LayerAttention]] = MappingProxyType(
    {
        SoftmaxAttention: _softmax,
        LatentAttention: _latent,
        DecayAttention: _decay,
        StateSpaceDual: _dual,
        SelectiveScan: _scan,
    }
)


def inner_width(model: ModelConfig, index: int) -> int | None:
    """Width inside the feed-forward network of a layer (inside one expert), or None."""
    ffn = model.layer(index).ffn
    return None if ffn is None else ffn.inner


def running(model: ModelConfig, phase: Phase) -> tuple[Run, ...]:
    """The layers that run in a phase: an encoder has run before a decoder has a cache."""
    if phase != "prefill" and any(run.layer.cross is not None for run in model.runs):
        return tuple(run for run in model.runs if run.layer.cross is not None)
    return model.runs


def usual_layer(model: ModelConfig, phase: Phase) -> int:
    """The index of the first of the most frequent layers that run, by their mixers."""
    counts: dict[Mixer, int] = {}
    first: dict[Mixer, int] = {}
    runs = running(model, phase)
    # Those that do not run come first.
    at = model.layer_count - sum(run.count for run in runs)
    for run in runs:
        mixer = run.layer.mixer
        counts[mixer] = counts.get(mixer, 0) + run.count
        first.setdefault(mixer, at)
        at += run.count
    return first[max(counts, key=lambda m: counts[m])]
