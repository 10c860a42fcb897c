"""Selection of the cascade that computes a layer's attention in a phase, with shapes and notes.

Latent attention in its absorbed form has one key of ``kv_rank + rope_width`` elements and one value
of ``kv_rank`` elements per token. All heads share them (DeepSeek-V2, arXiv 2405.04434, section
2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from einsum_cascade.errors import SpecError

from ..models import (
    DecayAttention,
    DeltaAttention,
    GatedRecurrence,
    KeyIndexer,
    LatentAttention,
    Mixer,
    RwkvAttention,
    SelectiveScan,
    ShortConvolution,
    SoftmaxAttention,
    StateSpaceDual,
)
from .layer_attention import (
    BUCKETS,
    GATHERED,
    WINDOW,
    Feature,
    LayerOmission,
    ShapedCascade,
    Shapes,
    SharedHeads,
    Variant,
    convolution_shapes,
    shapes_of,
)
from .phases import Tokens

GROUPED = "grouped-query-attention"
"""Name of the cascade for one query token per sequence. Names of its masked variants begin with
it."""
TWO_SIDED = "attention-two-sided-window-1pass"
"""Name of the cascade with a window on both sides of a query; its parameter W is the number of
keys on either side."""
BIASED = "attention-t5-bias"
"""Prefix of the names of cascades that add a learned bias to each score, by position."""
ONE_HEAD = "attention-1pass"
"""Name of the cascade whose heads share no keys or values, and whose queries see all keys."""


def attention_of(mixer: Mixer, tokens: Tokens) -> ShapedCascade:
    """Return the attention of a layer: the cascade that computes it, and its shapes.

    Parameters
    ----------
    mixer : Mixer
        Mixer of the layer, with its widths in elements.
    tokens : Tokens
        Tokens that are computed, and tokens before them.

    Raises
    ------
    SpecError
        No cascade computes the layer: it has a two-sided window that is shorter than the
        keys, or is causal and has fewer keys than queries.

    Examples
    --------
    A token of a layer sees only its window if the cache is longer:

    >>> from workloads.attention.phases import Tokens
    >>> mixer = SoftmaxAttention(heads=32, kv_heads=8, qk_width=128, v_width=128, window=4096)
    >>> found = attention_of(mixer, Tokens(phase="decode", batch=1, seq_len=1, cached_len=9999))
    >>> found.cascade, dict(found.shapes)["M"]
    ('grouped-query-attention', 4096)
    """
    match mixer:
        case SoftmaxAttention():
            return _softmax(mixer, tokens)
        case LatentAttention():
            return _latent(mixer, tokens)
        case SelectiveScan(state=state):
            return _by_channels(mixer, tokens, f"{state} words a channel", ("N", state))
        case GatedRecurrence():
            return _by_channels(mixer, tokens, "a word a channel")
        case StateSpaceDual():
            # Heads of a group share B and C, and have their own X (the values).
            return _by_heads(mixer, tokens, (mixer.state, mixer.head_width), mixer.groups)
        case DeltaAttention():
            return _by_heads(mixer, tokens, (mixer.qk_width, mixer.v_width), mixer.key_heads)
        case DecayAttention() | RwkvAttention():
            return _by_heads(mixer, tokens, (mixer.qk_width, mixer.v_width))
        case ShortConvolution():
            return _short(mixer, tokens)
    raise TypeError(mixer)


def _softmax(a: SoftmaxAttention, tokens: Tokens) -> ShapedCascade:
    """Return softmax attention, with query heads in groups; a single query per sequence needs no
    mask."""
    _check_causal(a, tokens)
    chunk_tokens = _chunk_tokens(a, tokens)
    if chunk_tokens is not tokens:
        found = _softmax(replace(a, chunk=None), chunk_tokens)
        return replace(found, notes=(*found.notes, _chunk_note(a, tokens, chunk_tokens)))
    window = a.window if a.window is not None and a.window < tokens.keys else None
    single_query = tokens.queries == 1
    keys, notes = tokens.keys, []
    # A single query reads only the keys in its window: a smaller shape replaces the mask. Keys that
    # the user gave take precedence over the window.
    if window is not None and single_query and tokens.given_keys is None:
        notes.append(f"the window lets the query see {window} of {keys} keys")
        keys = window
    if a.qk_norm:
        notes.append("norms of queries and keys are not counted")
    if a.clip is not None:
        what = f"clips of queries, keys and values at {a.clip:g}"
        notes.append(f"{what} (a minimum and a maximum an element) are not counted")
    shapes = shapes_of(tokens, a.heads, a.qk_width, a.v_width, keys)
    cascade = _softmax_cascade(a, single_query, window)
    masked = a.causal and not single_query
    omissions = _mask_omissions(tokens, window) if masked else ()
    if masked and window is not None:
        shapes = (*shapes, (WINDOW, window))
    elif not a.causal and window is not None:
        # A window of 129 is the query's own key, 64 keys before it and 64 behind it.
        shapes = (*shapes, (WINDOW, window // 2))
        omissions = (_two_sided_omission(tokens, window),)
    if a.buckets is not None:
        shapes = (*shapes, (BUCKETS, a.buckets))
    return ShapedCascade(
        cascade=cascade,
        shapes=shapes,
        heads=_heads(a.heads, a.kv_heads),
        notes=tuple(notes),
        omissions=(*omissions, *(omission for _, omission in _score_changes(a))),
        stand_ins=(ONE_HEAD,),
        unless_given=((WINDOW, keys),) if a.causal else (),
    )


def _heads(heads: int, key_heads: int, *variants: Variant) -> SharedHeads:
    """Return the sharing of some heads of keys and values by query heads."""
    return SharedHeads(group=heads // key_heads, single=key_heads == 1, variants=variants)


def _chunk_tokens(a: SoftmaxAttention, tokens: Tokens) -> Tokens:
    """Return the tokens of a layer whose queries see only their own chunk of the sequence.

    Every whole chunk becomes a sequence of its own.

    Raises
    ------
    SpecError
        Queries belong to several chunks that are not whole.
    """
    if a.chunk is None or a.chunk >= tokens.keys:
        return tokens
    before = tokens.keys - tokens.queries
    begin, end = before // a.chunk, (tokens.keys - 1) // a.chunk
    if begin == end:
        # The keys are those of one chunk up to the last query. With chunks of 8, queries 18 and 19
        # are in the third chunk and see keys 16 to 19.
        return replace(tokens, given_keys=tokens.keys - end * a.chunk)
    if before % a.chunk or tokens.queries % a.chunk:
        text = (
            f"the layer sees chunks of {a.chunk} tokens, and {tokens.queries} queries after"
            f" {before} tokens are not whole ones: no cascade has such a mask"
        )
        raise SpecError(text, hint=f"take a multiple of {a.chunk} tokens, or fewer than one")
    # Queries begin where a chunk begins, so that no cached key is seen.
    whole = tokens.queries // a.chunk
    return Tokens(phase="prefill", batch=tokens.batch * whole, seq_len=a.chunk, cached_len=0)


def _chunk_note(a: SoftmaxAttention, tokens: Tokens, chunk_tokens: Tokens) -> str:
    if chunk_tokens.batch != tokens.batch:
        return f"chunks of {a.chunk} tokens see nothing of one another: they are as many sequences"
    return (
        f"the chunk of {a.chunk} lets the last query see {chunk_tokens.keys} of {tokens.keys} keys"
    )


def _two_sided_omission(tokens: Tokens, window: int) -> LayerOmission:
    """Return the note for cascades without the window, which reaches equally far to both sides."""
    reach = window // 2
    attended_pairs = tokens.attended_pairs_both_sides(reach)
    note = (
        f"the window of {window} keys, {reach} on either side, is not applied:"
        f" {tokens.queries * tokens.keys:,} scores a query head are computed,"
        f" {attended_pairs:,} of them count"
    )
    return LayerOmission(feature="mask", note=note)


def _softmax_cascade(a: SoftmaxAttention, single_query: bool, window: int | None) -> str:
    """Return the name of the cascade with a layer's mask, window and changes of scores.

    Raises
    ------
    SpecError
        No cascade has all these features.
    """
    features = [suffix for suffix, _ in _score_changes(a)]
    masked = window is not None and not (a.causal and single_query)
    if len(features) > 1 or (masked and features and features[0] not in _WINDOWED):
        which = " and ".join((*features, *(("a window",) if masked else ())))
        raise SpecError(f"no cascade here computes attention with {which}")
    if a.buckets is not None:
        return f"{BIASED}-causal-1pass" if a.causal else f"{BIASED}-1pass"
    if not a.causal and not features:
        return TWO_SIDED if window is not None else ONE_HEAD
    if not a.causal and features == ["sink"] and window is None:
        return "attention-sink"
    if not a.causal:
        which = features[0]
        raise SpecError(f"no cascade here computes attention with {which} and no causal mask")
    if features:
        # These cascades have a mask, which leaves all keys to a single query.
        return "-".join((GROUPED, *features, *(("window",) if masked else ())))
    mask = "causal" if window is None else "window"
    return GROUPED if single_query else f"{GROUPED}-{mask}"


_WINDOWED = frozenset({"sink", "softcap"})
"""Suffixes of cascade names for the score changes that also exist with a window."""


def _check_causal(a: SoftmaxAttention | LatentAttention, tokens: Tokens) -> None:
    """Raise an error if no cascade computes the layer on these tokens."""
    if a.causal and tokens.keys < tokens.queries:
        raise SpecError(
            f"the layer is causal: its {tokens.queries} queries are the last of the keys, and"
            f" there are {tokens.keys} of these"
        )
    window = a.window if isinstance(a, SoftmaxAttention) else None
    both_ways = not a.causal and window is not None and window < tokens.keys
    if both_ways and tokens.queries != tokens.keys:
        raise SpecError(
            f"the layer has a window of {window} keys that looks both ways, and"
            f" {tokens.queries} queries are not all of {tokens.keys} tokens",
            hint="take as many queries as keys, or a layer without a window",
        )


def _mask_omissions(tokens: Tokens, window: int | None = None) -> tuple[LayerOmission, ...]:
    """Return the notes for cascades that lack the layer's mask, or that have the mask but no
    window."""
    # With 4,096 queries and keys there are 16,777,216 pairs, 8,390,656 of them under a causal mask.
    pairs, attended_pairs = tokens.queries * tokens.keys, tokens.attended_pairs(window)

    def note(what: str, computed: int) -> str:
        counts = f"{computed:,} scores a query head are computed, {attended_pairs:,} of them count"
        return f"{what} not applied: {counts}"

    if window is None:
        return (LayerOmission(feature="mask", note=note("the causal mask is", pairs)),)
    both = f"the causal mask and the window of {window} keys are"
    return (
        LayerOmission(feature="mask", note=note(both, pairs)),
        LayerOmission(
            feature="window", note=note(f"the window of {window} keys is", tokens.attended_pairs())
        ),
    )


_CHANGES: tuple[tuple[str, str, Feature, str], ...] = (
    ("sinks", "sink", "sinks", "the sink of every head, one more score a query, is"),
    ("softcap", "softcap", "softcap", "the soft cap of scores at {a.softcap:g} (a tanh each) is"),
    ("gated", "gated", "gate", "the output's gate, a sigmoid and a product an element, is"),
    (
        "buckets",
        "t5-bias",
        "bias",
        "the bias of each score, of {a.buckets} buckets of distances, is",
    ),
    ("alibi", "alibi", "alibi", "the penalty of distance of each score (ALiBi) is"),
)
"""Changes of scores or outputs: the field of a layer, the suffix, the feature, and the note."""


def _score_changes(a: SoftmaxAttention) -> Iterator[tuple[str, LayerOmission]]:
    """Yield each change of scores or outputs in a layer: a name suffix and an omission.

    The suffix ends the names of cascades that make the change. The omission is the note for
    cascades that do not.
    """
    for field, suffix, feature, what in _CHANGES:
        if getattr(a, field):
            note = f"{what.format(a=a)} not counted"
            yield suffix, LayerOmission(feature=feature, note=note)


def _latent(a: LatentAttention, tokens: Tokens) -> ShapedCascade:
    """Return latent attention: keys and values are expanded in a prefill, and absorbed in
    decoding."""
    if a.indexer is not None:
        return _sparse_latent(a, a.indexer, tokens)
    _check_causal(a, tokens)
    width, single_query = a.nope_width + a.rope_width, tokens.queries == 1
    expanded = ShapedCascade(
        cascade=GROUPED if single_query else f"{GROUPED}-causal",
        shapes=shapes_of(tokens, a.heads, width, a.v_width, tokens.keys),
        heads=SharedHeads(variants=(_expansion(a),)),
        notes=("latent attention with keys and values unfolded to every head",),
        omissions=() if single_query else _mask_omissions(tokens),
        stand_ins=(ONE_HEAD,),
        unless_given=((WINDOW, tokens.keys),),
    )
    # Absorbed, a score takes kv_rank + rope_width products (576 in DeepSeek-V3); expanded, it takes
    # nope_width + rope_width (192). Absorption pays where one token reads a cache.
    if tokens.phase != "decode":
        return expanded
    cached = a.kv_rank + a.rope_width
    both = (
        f"values are {a.kv_rank} of the key's {cached} words: this cascade reads them as a"
        f" tensor of their own, {cached + a.kv_rank} words a token instead of {cached};"
        " projections into and out of the latent are not counted"
    )
    note = f"latent attention, absorbed: {a.heads} heads share one key of {cached} words a token"
    return replace(
        expanded,
        cascade="mla-absorbed",
        shapes=shapes_of(tokens, a.heads, cached, a.kv_rank, tokens.keys),
        heads=_heads(a.heads, 1, _expansion(a)),
        notes=(note,),
        omissions=(*expanded.omissions, LayerOmission(feature="latent", note=both)),
    )


def _sparse_latent(a: LatentAttention, index: KeyIndexer, tokens: Tokens) -> ShapedCascade:
    """Return attention to the latents that an indexer selects.

    An indexer scores every key for every query with small heads and keeps the best ``top_k`` keys;
    attention reads the latents of these keys only (a gather). With at most ``top_k`` keys in all,
    the result is latent attention to all of them.
    """
    dense = _latent(replace(a, indexer=None), tokens)
    if tokens.keys <= index.top_k:
        note = f"the indexer would pick all {tokens.keys} keys: none is scored by it"
        return replace(dense, notes=(*dense.notes, note))
    cached = a.kv_rank + a.rope_width
    sizes = (
        *(("A", a.nope_width), ("C", a.kv_rank), ("D", index.width), ("F", a.v_width)),
        *((GATHERED, index.top_k), ("N", index.heads), ("R", a.rope_width)),
    )
    note = f"each query attends all keys before it, and not {index.top_k} that an indexer picks"
    scored = (
        f"sparse attention to latents: {index.top_k:,} of {tokens.keys:,} keys are attended,"
        " those that a layer before has picked"
        if index.shared
        else f"sparse attention to latents: {index.heads} heads of an indexer score"
        f" {tokens.keys:,} keys, and {index.top_k:,} are attended"
    )
    return ShapedCascade(
        cascade=f"deepseek-sparse-attention{'-shared' if index.shared else ''}",
        shapes=shapes_of(tokens, a.heads, cached, a.kv_rank, tokens.keys),
        heads=_heads(a.heads, 1, Variant(rank=GATHERED, shapes=sizes), _expansion(a)),
        notes=(scored,),
        omissions=(*dense.omissions, LayerOmission(feature="picks", note=note)),
        stand_ins=(ONE_HEAD, "mla-absorbed"),
    )


def _expansion(a: LatentAttention) -> Variant:
    """Return the shapes for cascades that read latents (rank L) and expand keys and values
    themselves."""
    # In DeepSeek-V3, D and F are 128, L is 512, and R is 64.
    shapes = (("D", a.nope_width), ("F", a.v_width), ("L", a.kv_rank), ("R", a.rope_width))
    return Variant(rank="L", shapes=shapes)


class _Recurrence(NamedTuple):
    """Cascades of a recurrent mixer, and what they leave out of its layer."""

    stem: str
    """Name of the cascade of a single token, without ``-step``."""
    form: str = ""
    """Suffix that makes the stem the name of the cascade of a sequence."""
    uncounted: tuple[str, ...] = ()
    """Names of the layer's element-wise operations that the cascades leave out."""
    chunk: int | None = None
    """Tokens per chunk, if the cascade of a sequence has a rank for chunks and keeps no state.

    Other cascades of a sequence have a form that writes the state (``-prefill``) and a form that
    also reads the state (``-resumed``).
    """
    gated: bool = True
    """True if a gate multiplies the output; no cascade counts this product."""


def _uncounted_note(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return a sentence that names the mixer's work outside the cascade; empty if there is none."""
    if not found:
        return ()
    listed = " and ".join(part for part in (", ".join(found[:-1]), found[-1]) if part)
    plural = len(found) > 1 or listed.endswith("s")
    return (f"{listed} {'are' if plural else 'is'} not counted",)


_NORM = "the norm of the output"
_STEPS = ("the softplus and the products of steps", "the skip of channels", _NORM)
_DECAYS = ("functions of decays and strengths", _NORM)
_LOW_RANK = ("the shift of tokens", "functions of what is made in low rank", "the bonus", _NORM)
_RECURRENCES: Mapping[str, _Recurrence] = MappingProxyType(
    {
        "lightning": _Recurrence(
            "lightning-attention", "-2", ("activations of queries, keys and values", _NORM)
        ),
        "retention": _Recurrence("retnet", "-chunked", ("rotations of queries and keys", _NORM)),
        "SSD": _Recurrence("ssd", "-chunked", _STEPS),
        "S6": _Recurrence("mamba-s6", gated=False),
        "RG-LRU": _Recurrence("rg-lru"),
        # Chunks are as long as in the kernels of flash-linear-attention.
        "gated-delta": _Recurrence("gated-delta-rule", "-chunked", _DECAYS, chunk=64),
        "KDA": _Recurrence("kimi-delta-attention", "-chunked", _DECAYS, chunk=64),
        # Chunks are as long as in the authors' kernels: each pair of tokens has its own decays.
        "RWKV-7": _Recurrence("rwkv-7", "-chunked", _LOW_RANK, chunk=16),
    }
)
"""Cascades by kind of recurrent mixer."""
_STATE_FORMS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "prefill": ("prefill", "not written at the end"),
        "chunked-prefill": ("resumed", "neither read nor written"),
    }
)
"""Suffix of the cascade that keeps the state, and a note for cascades without state, by phase."""


def _by_heads(
    a: DecayAttention | DeltaAttention | RwkvAttention | StateSpaceDual,
    tokens: Tokens,
    widths: tuple[int, int],
    key_heads: int | None = None,
) -> ShapedCascade:
    """Return the cascade and shapes of a recurrence whose heads each have a matrix (keys by
    values) as state."""
    keys, values = widths
    state = f"{keys} x {values} words a head"
    shapes = shapes_of(tokens, a.heads, keys, values, tokens.keys)
    found = _recurrent(a, tokens, state, shapes)
    if key_heads is None:
        return found
    return replace(found, heads=replace(_heads(a.heads, key_heads), own_values=True))


def _by_channels(
    a: SelectiveScan | GatedRecurrence, tokens: Tokens, state: str, *sizes: tuple[str, int]
) -> ShapedCascade:
    """Return the cascade and shapes of a recurrence whose channels are independent."""
    outer = (("B", tokens.batch), ("C", a.inner), ("M", tokens.keys))
    return _recurrent(a, tokens, state, (*outer, *sizes, ("P", tokens.queries)))


def _recurrent(a: Mixer, tokens: Tokens, state: str, shapes: Shapes) -> ShapedCascade:
    """Return the cascade and shapes of a recurrent mixer; ``state`` describes the state's size in
    notes."""
    row = _RECURRENCES[a.kind]
    gated = a.gated if isinstance(a, DecayAttention) else row.gated
    gate = ("the product with the output's gate",) if gated else ()
    notes = _uncounted_note((*row.uncounted, *gate))
    if tokens.phase == "decode":
        note = f"the state, {state}, is read and written"
        return ShapedCascade(cascade=f"{row.stem}-step", shapes=shapes, notes=(note, *notes))
    form, not_done = _STATE_FORMS[tokens.phase]
    if row.chunk is not None:
        shapes = (*shapes, ("P0", min(row.chunk, tokens.queries)))
    if isinstance(a, StateSpaceDual):
        # The length of chunks changes the number of products inside chunks, and no result.
        made = "chunks are as long as the mapping makes them"
        notes = (*notes, f"{made}, not {a.chunk} tokens as the model's are")
    if isinstance(a, DeltaAttention) and a.key_heads != a.heads:
        notes = ("every head of values has its keys apart", *notes)
    return ShapedCascade(
        cascade=f"{row.stem}{row.form}" + (f"-{form}" if row.chunk is None else ""),
        shapes=shapes,
        notes=notes,
        omissions=(LayerOmission(feature="state", note=f"the state, {state}, is {not_done}"),),
    )


def _short(a: ShortConvolution, tokens: Tokens) -> ShapedCascade:
    """Return the cascade and shapes of a short convolution."""
    shapes = convolution_shapes(tokens.batch, tokens.queries, a.channels, a.conv_width)
    note = "the products with the gates before and behind the convolution are not counted"
    return ShapedCascade(cascade="depthwise-convolution-linear", shapes=shapes, notes=(note,))
