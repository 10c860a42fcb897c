"""What a cascade needs to know of one layer's attention."""

from __future__ import annotations

from dataclasses import dataclass

from .omissions import LayerOmission
from .phases import Tokens
from .shared_heads import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAttention:
    """What a cascade needs to know of one layer's attention."""

    cascade: str
    """A built-in cascade."""
    shapes: tuple[tuple[str, int], ...]
    """H are query heads, P query tokens."""
    kv_heads: int | None = None
    """Heads of keys and values; None: as many as of queries."""
    own_values: bool = False
    """Whether heads that share keys (and queries) have values of their own."""
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    omissions: tuple[LayerOmission, ...] = ()
    """What other cascades may leave out."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute it on the same shapes, but for their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades: a window as long as the keys is none."""


def shapes_of(
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
