"""Specification of a workload: a cascade, its shapes, its model, and the scope that runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span

from .attention.layer_attention import ShapedCascade
from .attention.phases import Phase, Tokens
from .models import ModelConfig

LINEAR = "linear-layer"
"""Name of the cascade of a projection: N tokens, D features, J projected features."""

Scope = Literal["attention", "block", "model"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request of a user: lengths of a prompt and of its answer, in tokens per sequence."""

    prompt_len: int
    answer_len: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec(ShapedCascade):
    """Specification of a workload: the cascade to compute, and its shapes.

    ``shapes`` come from the model and the user, by rank, in elements. They may include ranks that
    the cascade does not have.
    """

    name: str
    scope: Scope = "attention"
    """Part of the model that runs: the attention, one layer with projections and network, or all
    layers."""
    layers: int | None = None
    """Number of layers of the model."""
    model_width: int | None = None
    """Width of the residual stream."""
    ffn_width: int | None = None
    """Width inside the feed-forward network."""
    ffn_up: str = LINEAR
    """Cascade of the first product of the feed-forward network."""
    phase: Phase = "prefill"
    cached_len: int = 0
    """Number of tokens per sequence that precede the computed tokens."""
    model: ModelConfig | None = None
    """Model of the workload; None without a model configuration."""
    computed: Tokens | None = None
    """Tokens that the model computes; None if the user gave shapes of tokens. A layer's own shapes
    may differ: independent chunks of a sequence, an encoder.
    """
    request: Request | None = None
    """Request of a prompt and an answer; the other fields describe the prompt. None for a single
    phase."""
    layer: int | None = None
    """Index, from 0, of the layer in the model to which the attention belongs."""
    source: str = field(default="", compare=False)
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks that the user gave, and their positions in files; the cascade must have these ranks."""
    formats: TensorFormats = field(default=TensorFormats())
    """Number formats of the tensors."""
    formats_at: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Tensors whose format a file sets, with positions in files; some cascade must have each
    tensor."""

    @property
    def batch(self) -> int | None:
        """Number of sequences: the shape of B."""
        return self.shape("B")

    @property
    def seq_len(self) -> int | None:
        """Number of keys that a query sees: the shape of M."""
        return self.shape("M")

    @property
    def tokens(self) -> int | None:
        """Number of tokens that the whole model computes for all sequences; None if only a part
        runs.

        The tokens of a request are those of its answers.
        """
        batch, queries = self.shape("B"), self.shape("P")
        if self.computed is not None:
            batch, queries = self.computed.batch, self.computed.queries
        if self.request is not None:
            queries = self.request.answer_len
        if self.scope != "model" or batch is None or queries is None:
            return None
        return batch * queries

    @property
    def stored_formats(self) -> TensorFormats:
        """Number formats of the tensors, completed by the format of the model's caches."""
        if self.model is None or not self.model.cache_format:
            return self.formats
        names = [name for name, _ in (*self.model.cached, *self.model.cached_of_encoder)]
        own = dict.fromkeys(names, self.model.cache_format) | dict(self.formats.tensors)
        return replace(self.formats, tensors=tuple(sorted(own.items())))

    def shape(self, rank: str) -> int | None:
        """Return the shape of a rank, or None."""
        return dict(self.shapes).get(rank)
