"""Mixers with a state in place of keys: the cascade of each in a phase, its shapes, and notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..models import (
    DecayAttention,
    DeltaAttention,
    GatedRecurrence,
    RwkvAttention,
    SelectiveScan,
    ShortConvolution,
    StateSpaceDual,
)
from .layer_attention import LayerAttention, shapes_of
from .omissions import LayerOmission
from .phases import Tokens
from .shared_heads import bounded

_CHUNKS: Mapping[str, str] = MappingProxyType(
    {
        "lightning": "lightning-attention-2",
        "retention": "retnet-chunked",
        "SSD": "ssd-chunked",
        "S6": "mamba-s6",
        "RG-LRU": "rg-lru",
    }
)
"""By kind of mixer, the cascade of a sequence in chunks, or positions. ``-prefill`` leaves its
state behind, ``-resumed`` also begins from one."""
_STEPS: Mapping[str, str] = MappingProxyType(
    {
        "lightning": "lightning-attention-step",
        "retention": "retnet-step",
        "SSD": "ssd-step",
        "S6": "mamba-s6-step",
        "RG-LRU": "rg-lru-step",
    }
)
"""By kind of mixer, the cascade of one token."""
_OF_STATE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "prefill": ("prefill", "not written at the end"),
        "chunked-prefill": ("resumed", "neither read nor written"),
    }
)
"""By phase the end of a cascade's name, and what becomes of the state in other cascades."""


_BESIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lightning": ("activations of queries, keys and values", "the norm of the output"),
        "retention": ("rotations of queries and keys", "the norm of the output"),
        "SSD": (
            *("the softplus and the products of steps", "the skip of channels"),
            "the norm of the output",
        ),
        "gated-delta": ("functions of decays and strengths", "the norm of the output"),
        "KDA": ("functions of decays and strengths", "the norm of the output"),
        "RWKV-7": (
            *("the shift of tokens", "functions of what is made in low rank", "the bonus"),
            "the norm of the output",
        ),
    }
)
"""By kind of mixer, what its layers do element by element beside what cascades compute."""
_GATE = "the product with the output's gate"


def _beside(kind: str, *, gated: bool = True) -> tuple[str, ...]:
    """What is not counted of a mixer, in a sentence, if there is something."""
    found = (*_BESIDE.get(kind, ()), *((_GATE,) if gated else ()))
    if not found:
        return ()
    listed = " and ".join(part for part in (", ".join(found[:-1]), found[-1]) if part)
    plural = len(found) > 1 or listed.endswith("s")
    return (f"{listed} {'are' if plural else 'is'} not counted",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recurrence:
    """The cascade of a recurrent mixer, which moves its state, and what others leave out."""

    cascade: str
    notes: tuple[str, ...] = ()
    omissions: tuple[LayerOmission, ...] = ()


def _recurrent(kind: str, tokens: Tokens, state: str) -> _Recurrence:
    if tokens.phase == "decode":
        return _Recurrence(
            cascade=_STEPS[kind], notes=(f"the state, {state}, is read and written",)
        )
    form, not_done = _OF_STATE[tokens.phase]
    omission = LayerOmission(feature="state", note=f"the state, {state}, is {not_done}")
    return _Recurrence(cascade=f"{_CHUNKS[kind]}-{form}", omissions=(omission,))


def decay(a: DecayAttention, tokens: Tokens) -> LayerAttention:
    found = _recurrent(a.kind, tokens, f"{a.qk_width} x {a.v_width} words a head")
    return LayerAttention(
        cascade=found.cascade,
        shapes=shapes_of(tokens, a.heads, a.qk_width, a.v_width, tokens.keys),
        notes=(*found.notes, *_beside(a.kind, gated=a.gated)),
        omissions=found.omissions,
    )


def dual(a: StateSpaceDual, tokens: Tokens) -> LayerAttention:
    """The heads of a group share B and C, and have X, values in attention's terms, apart."""
    found = _recurrent(a.kind, tokens, f"{a.state} x {a.head_width} words a head")
    # How a sequence is cut changes no result, but how many products there are inside of chunks.
    cut = f"chunks are as long as the mapping makes them, not {a.chunk} tokens as the model's are"
    return LayerAttention(
        cascade=found.cascade,
        shapes=shapes_of(tokens, a.heads, a.state, a.head_width, tokens.keys),
        kv_heads=a.groups,
        own_values=True,
        notes=(*found.notes, *_beside(a.kind), *((cut,) if tokens.phase != "decode" else ())),
        omissions=found.omissions,
    )


_DELTA: Mapping[str, str] = MappingProxyType(
    {"gated-delta": "gated-delta-rule", "KDA": "kimi-delta-attention"}
)
"""By kind of the delta rule, its cascade; ``-chunked`` takes a sequence, ``-step`` a token."""
_DELTA_CHUNK = 64
"""Tokens a chunk, as in the kernels of flash-linear-attention."""


def delta(a: DeltaAttention, tokens: Tokens) -> LayerAttention:
    """A token from the state, or a sequence in chunks, which leaves its state to itself."""
    state = f"the state, {a.qk_width} x {a.v_width} words a head,"
    shapes = shapes_of(tokens, a.heads, a.qk_width, a.v_width, tokens.keys)
    if tokens.phase == "decode":
        return LayerAttention(
            cascade=f"{_DELTA[a.kind]}-step",
            shapes=shapes,
            kv_heads=a.key_heads,
            own_values=True,
            notes=(f"{state} is read and written", *_beside(a.kind)),
        )
    _, not_done = _OF_STATE[tokens.phase]
    shared = "every head of values has its keys apart" if a.key_heads != a.heads else ""
    return LayerAttention(
        cascade=f"{_DELTA[a.kind]}-chunked",
        shapes=(*shapes, ("P0", min(_DELTA_CHUNK, tokens.queries))),
        kv_heads=a.key_heads,
        own_values=True,
        notes=(*((shared,) if shared else ()), *_beside(a.kind)),
        omissions=(LayerOmission(feature="state", note=f"{state} is {not_done}"),),
    )


_RWKV_CHUNK = 16
"""Tokens a chunk, as in the authors' kernels: decays of channels differ in each pair of tokens."""


def rwkv(a: RwkvAttention, tokens: Tokens) -> LayerAttention:
    """A token from the state, or a sequence in chunks, which leaves its state to itself."""
    state = f"the state, {a.qk_width} x {a.v_width} words a head,"
    shapes = shapes_of(tokens, a.heads, a.qk_width, a.v_width, tokens.keys)
    if tokens.phase == "decode":
        notes = (f"{state} is read and written", *_beside(a.kind))
        return LayerAttention(cascade="rwkv-7-step", shapes=shapes, notes=notes)
    _, not_done = _OF_STATE[tokens.phase]
    return LayerAttention(
        cascade="rwkv-7-chunked",
        shapes=(*shapes, ("P0", min(_RWKV_CHUNK, tokens.queries))),
        notes=_beside(a.kind),
        omissions=(LayerOmission(feature="state", note=f"{state} is {not_done}"),),
    )


def scan(a: SelectiveScan, tokens: Tokens) -> LayerAttention:
    found = _recurrent(a.kind, tokens, f"{a.state} words a channel")
    shapes = (
        ("B", tokens.batch),
        ("C", a.inner),
        ("M", tokens.keys),
        ("N", a.state),
        ("P", tokens.queries),
    )
    return LayerAttention(
        cascade=found.cascade, shapes=shapes, notes=found.notes, omissions=found.omissions
    )


def gated(a: GatedRecurrence, tokens: Tokens) -> LayerAttention:
    """RG-LRU: one word of state a channel."""
    found = _recurrent(a.kind, tokens, "a word a channel")
    shapes = (("B", tokens.batch), ("C", a.inner), ("M", tokens.keys), ("P", tokens.queries))
    return LayerAttention(
        cascade=found.cascade,
        shapes=shapes,
        notes=(*found.notes, *_beside(a.kind)),
        omissions=found.omissions,
    )


def short(a: ShortConvolution, tokens: Tokens) -> LayerAttention:
    """A convolution of its own: the tokens computed, and the taps before them."""
    shapes = (
        ("B", tokens.batch),
        ("C", a.channels),
        ("M", bounded("M", tokens.queries + a.conv_width - 1)),
        ("P", tokens.queries),
        ("T", a.conv_width),
    )
    note = "the products with the gates before and behind the convolution are not counted"
    return LayerAttention(cascade="depthwise-convolution-linear", shapes=shapes, notes=(note,))
