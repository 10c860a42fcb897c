"""A layer by its widths alone: attention between projections, and a feed-forward network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from einsum_cascade.errors import SpecError

from ..spec import LINEAR
from .layer import around_heads
from .part import Part, linear


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A layer of a model: attention with its projections, and a feed-forward network.

    ``attention`` has shapes of B sequences, H heads of width E (queries and keys) and F
    (values), P queries and M keys a sequence. Projections and feed-forward network are
    matrix multiplications over the tokens of all sequences together. Normalisations,
    biases and residual sums are left out.

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
    """Heads of keys and values; None: as many as of queries. Fewer share them (GQA, MQA)."""
    new_keys: int | None = None
    """Keys a sequence that are projected here, perhaps none; None: all. The others come from
    a cache."""
    ffn_up: str = LINEAR
    """The cascade that widens a token inside the feed-forward network, its activation
    function and gate included: a built-in name or a file; ranks as ``linear-layer``."""
    times: int = 1
    """How many such layers there are."""
    name: str = ""
    """Put before the names of its parts where a model has several kinds of layers."""

    def __post_init__(self) -> None:
        given = dict(self.attention.shapes)
        if missing := [rank for rank in "BHEFPM" if rank not in given]:
            what = f"the shape{'s' * (len(missing) > 1)} of {', '.join(missing)}"
            raise SpecError(f"projections and feed-forward layers need {what}")

    def parts(self) -> tuple[Part, ...]:
        """The parts of the layer in the order they run."""
        shapes = dict(self.attention.shapes)
        tokens = shapes["B"] * shapes["P"]
        d, inner = self.model_width, self.ffn_width
        parts = (
            *around_heads(self.attention, d, self.key_heads, self.new_keys),
            linear("ffn-up", tokens, d, inner, cascade=self.ffn_up),
            linear("ffn-down", tokens, inner, d),
        )
        name = f"{self.name}." if self.name else ""
        return tuple(
            replace(part, name=name + part.name, times=part.times * self.times) for part in parts
        )
