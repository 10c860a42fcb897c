"""Phases: the tokens computed, the tokens before them, and the layers that run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

from ..models import Layer, Mixer, ModelConfig, RepeatedLayer

Phase = Literal["prefill", "decode", "chunked-prefill"]
PHASES: tuple[str, ...] = get_args(Phase)
RequestedPhase = Literal["prefill", "decode", "chunked-prefill", "request"]
"""Phase that a user may request; a "request" is a prefill followed by decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens that a phase computes, and the tokens before them.

    Examples
    --------
    Four tokens are computed after a cache of six, and then one token after these ten:

    >>> piece = Tokens(phase="chunked-prefill", batch=1, seq_len=4, cached_len=6)
    >>> piece.queries, piece.keys
    (4, 10)
    >>> token = Tokens(phase="decode", batch=1, seq_len=4096, cached_len=10)
    >>> token.queries, token.keys
    (1, 11)
    """

    phase: Phase
    batch: int
    """Number of sequences computed at once."""
    seq_len: int
    """Tokens computed per sequence; decoding ignores it and computes one."""
    cached_len: int
    """Tokens per sequence whose keys and values (or state) exist already."""
    given_queries: int | None = None
    """Queries per sequence as given by the user, instead of the number from the phase."""
    given_keys: int | None = None
    """Keys per sequence as given by the user, instead of the number from the phase."""

    @property
    def queries(self) -> int:
        """Number of tokens computed per sequence: the shape of P."""
        if self.given_queries is not None:
            return self.given_queries
        return 1 if self.phase == "decode" else self.seq_len

    @property
    def keys(self) -> int:
        """Number of tokens that the last computed token sees, itself included: the shape of M."""
        if self.given_keys is not None:
            return self.given_keys
        return self.cached_len + (1 if self.phase == "decode" else self.seq_len)

    def attended_pairs(self, window: int | None = None) -> int:
        """Count the pairs of a query and a key that a causal mask and a window leave.

        The last query is at the last key. Each query sees one key more than the one before, until
        its window is full.

        Examples
        --------
        The queries of four tokens see 1, 2, 3 and 4 keys; with a window of two they see 1, 2, 2, 2.

        >>> tokens = Tokens(phase="prefill", batch=1, seq_len=4, cached_len=0)
        >>> tokens.attended_pairs(), tokens.attended_pairs(window=2)
        (10, 7)
        """
        widest = self.keys if window is None else window

        def up_to(end: int) -> int:
            """Count the pairs of the queries that stand at the first ``end`` keys."""
            growing = min(end, widest)
            return growing * (growing + 1) // 2 + (end - growing) * widest

        return up_to(self.keys) - up_to(self.keys - self.queries)

    def attended_pairs_both_sides(self, reach: int) -> int:
        """Count the pairs of a query and a key that are at most ``reach`` tokens apart.

        Examples
        --------
        With a reach of one, the queries of four tokens see 2, 3, 3 and 2 keys.

        >>> Tokens(phase="prefill", batch=1, seq_len=4, cached_len=0).attended_pairs_both_sides(1)
        10
        """
        # Over all queries, keys up to the query and keys from the query on are equally many; the
        # query's own key counts in both.
        return 2 * self.attended_pairs(reach + 1) - self.keys


def layer_tokens(model: ModelConfig, layer: Layer, tokens: Tokens) -> Tokens:
    """Return the tokens that a layer computes; the layers of an encoder compute a fixed number."""
    if model.encoder_len is None or layer.cross is not None:
        return tokens
    return Tokens(phase="prefill", batch=tokens.batch, seq_len=model.encoder_len, cached_len=0)


def running_layers(model: ModelConfig, phase: Phase) -> tuple[RepeatedLayer, ...]:
    """Return the layers of a model that run in a phase.

    If some layers attend to an encoder's output, only these run in a phase with a cache: the
    encoder ran before. In every other case all layers run.

    Parameters
    ----------
    phase : Phase
        Phase; in ``prefill`` all layers run.

    Returns
    -------
    tuple of RepeatedLayer
        Runs of layers in the order of the model.
    """
    if phase != "prefill" and any(run.layer.cross is not None for run in model.runs):
        return tuple(run for run in model.runs if run.layer.cross is not None)
    return model.runs


def default_layer(model: ModelConfig, phase: Phase) -> int:
    """Return the first layer with the most frequent mixer among the layers that run.

    Returns
    -------
    int
        Index from 0 over all layers of the model (``ModelConfig.layer``). Of equally frequent
        mixers, the first counts. A workload that names no layer has the attention of this layer.
    """
    counts: Counter[Mixer] = Counter()
    for run in running_layers(model, phase):
        counts[run.layer.mixer] += run.count
    ((usual, _),) = counts.most_common(1)
    # Layers that do not run come first.
    running = range(model.layer_count - counts.total(), model.layer_count)
    return next(index for index in running if model.layer(index).mixer == usual)
