"""Specification of a workload: a cascade, its shapes, the model, and the part of it that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span

from .attention.layer_attention import ShapedCascade, SharedHeads
from .attention.phases import Phase, Tokens
from .models import ModelConfig

LINEAR = "linear-layer"
"""Cascade of a projection: ranks N tokens, D features, J projected features."""

Scope = Literal["attention", "block", "model"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request of a user: a prompt and an answer, in tokens per sequence."""

    prompt_len: int
    answer_len: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec(ShapedCascade):
    """Specification of the cascade to compute, and of its shapes.

    ``shapes`` come from the model and the user, by rank, in elements. A cascade may have fewer
    ranks than the model.
    """

    name: str
    scope: Scope = "attention"
    """Part that runs: the attention, one layer with projections and network, or all layers."""
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
    """Tokens of a sequence that precede those computed."""
    model: ModelConfig | None = None
    """Model of the workload, if the workload has a configuration."""
    computed: Tokens | None = None
    """Tokens that the model computes, if the user gave no shapes of tokens. A layer's own shapes
    may differ: independent chunks of a sequence, an encoder."""
    request: Request | None = None
    """Request whose prompt the other fields describe; None for a single phase."""
    layer: int | None = None
    """Index, from 0, of the layer whose attention this is."""
    heads: SharedHeads = field(default=SharedHeads())
    """Sharing of keys and values by query heads."""
    source: str = field(default="", compare=False)
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks given with the cascade, and their places in files: the cascade must have them."""
    formats: TensorFormats = field(default=TensorFormats())
    """Number formats of the tensors."""
    formats_at: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Places in files of the formats: a cascade that runs must have each tensor."""

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
        """Tokens that the whole model computes for all sequences; None for a part of the model.

        A request counts the tokens of its answers.
        """
        batch, queries = self.shape("B"), self.shape("P")
        if self.computed is not None:
            batch, queries = self.computed.batch, self.computed.queries
        if self.request is not None:
            queries = self.request.answer_len
        if self.scope != "model" or batch is None or queries is None:
            return None
        return batch * queries

    def shape(self, rank: str) -> int | None:
        """Return the shape of a rank, or None."""
        return dict(self.shapes).get(rank)
