"""What a workload says: a cascade, its shapes, how much of a model, and of which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from einsum_cascade.number_formats import TensorFormats
from einsum_cascade.source import Span

from .attention.layer_attention import LayerOmission
from .attention.phases import Phase, Tokens
from .attention.shared_heads import SharedHeads
from .models import ModelConfig

LINEAR = "linear-layer"
"""The cascade of a projection: ranks N tokens, D features, J projected features."""

Scope = Literal["attention", "block", "model"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks, and what comes back, in tokens of every sequence."""

    prompt_len: int
    answer_len: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """What to compute, and on what shapes.

    ``shapes`` are the model's and the user's, by rank, in elements; a cascade may have
    fewer ranks than a model.
    """

    name: str
    cascade: str
    """A built-in name or a file."""
    shapes: tuple[tuple[str, int], ...]
    scope: Scope = "attention"
    """Attention alone, one layer with projections and feed-forward network, or all layers."""
    layers: int | None = None
    """Layers of the model, all alike."""
    model_width: int | None = None
    """Width of the residual stream."""
    ffn_width: int | None = None
    """Width inside the feed-forward network."""
    ffn_up: str = LINEAR
    """The cascade that widens a token inside the feed-forward network."""
    phase: Phase = "prefill"
    cached_len: int = 0
    """Tokens of a sequence that came before the ones computed."""
    model: ModelConfig | None = None
    """The whole model, where the workload was read from one."""
    computed: Tokens | None = None
    """The tokens of its model that are computed, where no shape of these is given by hand. A
    layer's own shapes may differ: of pieces that see nothing of one another, of an encoder."""
    request: Request | None = None
    """A whole request, whose prompt the other fields are of; else None."""
    layer: int | None = None
    """Which of the model's layers this is the attention of, from 0."""
    heads: SharedHeads = field(default=SharedHeads())
    """How query heads share keys and values."""
    notes: tuple[str, ...] = ()
    """What the cascade leaves out of the layer, and what was taken by default."""
    omissions: tuple[LayerOmission, ...] = ()
    """What other cascades than its own may leave out of the layer."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute its attention on the same shapes, but for their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades than its own, in elements."""
    source: str = field(default="", compare=False)
    stated: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Ranks given together with the cascade or after it, and where: it must have them."""
    formats: TensorFormats = field(default=TensorFormats())
    """Of the numbers in its tensors."""
    formats_at: tuple[tuple[str, Span], ...] = field(default=(), compare=False, repr=False)
    """Where each was written: some cascade that runs must have the tensor."""

    @property
    def batch(self) -> int | None:
        """Sequences computed at once: the shape of B."""
        return self.shape("B")

    @property
    def seq_len(self) -> int | None:
        """Keys a query sees: the shape of M."""
        return self.shape("M")

    @property
    def tokens(self) -> int | None:
        """Tokens of all sequences that the whole model computes; None of a part of it.

        Of a request those of its answers.
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
        """The shape of a rank, or None."""
        return dict(self.shapes).get(rank)
