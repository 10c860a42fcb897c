"""Which tokens a phase computes, how many came before, and which layers run then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..models import Layer, Mixer, ModelConfig, RepeatedLayer

Phase = Literal["prefill", "decode", "chunked-prefill"]
PHASES: tuple[str, ...] = get_args(Phase)
RequestedPhase = Literal["prefill", "decode", "chunked-prefill", "request"]
"""What may be asked for: a request is a prefill, and then decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How many tokens are computed, and how many came before.

    Examples
    --------
    Four tokens after a cache of six, in one piece, and one token after the ten of them:

    >>> piece = Tokens(phase="chunked-prefill", batch=1, seq_len=4, cached_len=6)
    >>> piece.queries, piece.keys
    (4, 10)
    >>> token = Tokens(phase="decode", batch=1, seq_len=4096, cached_len=10)
    >>> token.queries, token.keys
    (1, 11)
    """

    phase: Phase
    batch: int
    """Sequences computed at once."""
    seq_len: int
    """Tokens computed a sequence; decoding computes one, whatever stands here."""
    cached_len: int
    """Tokens a sequence whose keys and values (or state) are there already."""
    given_queries: int | None = None
    """Queries of a sequence given by hand, which win."""
    given_keys: int | None = None
    """Keys given by hand, which win."""

    @property
    def queries(self) -> int:
        """Tokens computed a sequence: P."""
        if self.given_queries is not None:
            return self.given_queries
        return 1 if self.phase == "decode" else self.seq_len

    @property
    def keys(self) -> int:
        """Tokens the last of them sees, itself included: M."""
        if self.given_keys is not None:
            return self.given_keys
        return self.cached_len + (1 if self.phase == "decode" else self.seq_len)

    def attended_pairs(self, window: int | None = None) -> int:
        """Pairs of a query and a key no later than it and inside its window.

        The last query is at the last key. Query after query sees one key more, until its
        window is full.

        Examples
        --------
        Of four tokens the queries see 1, 2, 3 and 4 keys; with a window of two 1, 2, 2, 2.

        >>> tokens = Tokens(phase="prefill", batch=1, seq_len=4, cached_len=0)
        >>> tokens.attended_pairs(), tokens.attended_pairs(window=2)
        (10, 7)
        """
        widest = self.keys if window is None else window

        def up_to(end: int) -> int:
            """Pairs of the queries at the first ``end`` keys."""
            growing = min(end, widest)
            return growing * (growing + 1) // 2 + (end - growing) * widest

        return up_to(self.keys) - up_to(self.keys - self.queries)

    def attended_pairs_both_sides(self, reach: int) -> int:
        """Pairs of a query and a key at most ``reach`` before or behind it, of all tokens.

        Examples
        --------
        Of four tokens with one on either side the queries see 2, 3, 3 and 2 keys.

        >>> Tokens(phase="prefill", batch=1, seq_len=4, cached_len=0).attended_pairs_both_sides(1)
        10
        """
        # The keys up to a query's own and those from it on are as many, all queries together; its
        # own is in both.
        return 2 * self.attended_pairs(reach + 1) - self.keys


def layer_tokens(model: ModelConfig, layer: Layer, tokens: Tokens) -> Tokens:
    """The tokens that a layer of a model computes: of an encoder, as many as the model says."""
    if model.encoder_len is None or layer.cross is not None:
        return tokens
    return Tokens(phase="prefill", batch=tokens.batch, seq_len=model.encoder_len, cached_len=0)


def running_layers(model: ModelConfig, phase: Phase) -> tuple[RepeatedLayer, ...]:
    """The layers of a model that run in a phase.

    An encoder has run before a decoder has a cache: with a cache only layers that attend to
    an encoder's output run, where there are such layers.

    Parameters
    ----------
    phase : Phase
        In ``prefill`` all layers run.

    Returns
    -------
    tuple of RepeatedLayer
        In the order of the model.
    """
    if phase != "prefill" and any(run.layer.cross is not None for run in model.runs):
        return tuple(run for run in model.runs if run.layer.cross is not None)
    return model.runs


def default_layer(model: ModelConfig, phase: Phase) -> int:
    """The index of the first of the most frequent layers that run, by their mixers.

    Returns
    -------
    int
        From 0, over all layers of the model (``ModelConfig.layer``), of equally frequent
        mixers the first: where a workload names no layer, its attention is this one's.
    """
    counts: dict[Mixer, int] = {}
    first: dict[Mixer, int] = {}
    runs = running_layers(model, phase)
    # Those that do not run come first.
    at = model.layer_count - sum(run.count for run in runs)
    for run in runs:
        mixer = run.layer.mixer
        counts[mixer] = counts.get(mixer, 0) + run.count
        first.setdefault(mixer, at)
        at += run.count
    return first[max(counts, key=lambda m: counts[m])]
