"""Attention of one layer: its cascade, its shapes, and features that other cascades omit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from einsum_cascade.ir import Program
from einsum_cascade.shapes import rank_asymmetry

from .phases import Tokens
from .shared_heads import Variant

WINDOW = "W"
"""Parameter with the number of keys that a query sees."""
CAP = "cap"
"""Parameter that bounds scores."""
GATHERED = "J"
"""Rank of the keys that an indexer selects."""
BUCKETS = "N"
"""Rank of the buckets of distances that share a bias."""
SLOPES = "SL"
"""Tensor with the slope of each head, which a score loses per token of distance."""
_HEAD_RANKS = frozenset("HGS")

Feature = Literal[
    "mask", "window", "sinks", "latent", "state", "picks", "softcap", "gate", "bias", "alibi"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOmission:
    """Feature of a layer, with a sentence for cascades without it."""

    feature: Feature
    note: str

    def applies_to(self, program: Program) -> bool:
        """Return whether a cascade lacks the feature.

        A cascade without any mask lacks the mask, and does not count as lacking the window. A
        cascade that writes a state has an output without a rank of positions.
        """
        masked = rank_asymmetry(program, "P") is not None
        match self.feature:
            case "mask":
                return not masked
            case "window":
                return masked and all(p.name != WINDOW for p in program.parameters)
            case "sinks":
                of_heads = (t for t in program.inputs if {*t.ranks} <= _HEAD_RANKS)
                return all(t.name == SLOPES for t in of_heads)
            case "alibi":
                return all(t.name != SLOPES for t in program.inputs)
            case "softcap":
                return all(p.name != CAP for p in program.parameters)
            case "gate":
                return not any({"P", "F"} <= {*t.ranks} for t in program.inputs)
            case "bias":
                return all(r.name != BUCKETS for r in program.ranks)
            case "state":
                return all("P" in program.tensor_ranks[name] for name in program.outputs)
            case "picks":
                return all(r.name != GATHERED for r in program.ranks)
            case "latent":
                return all(r.name not in ("L", GATHERED) for r in program.ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAttention:
    """Attention of one layer, as cascades need it."""

    cascade: str
    """Name of a built-in cascade."""
    shapes: tuple[tuple[str, int], ...]
    """Elements by rank; H are query heads, P query tokens."""
    kv_heads: int | None = None
    """Heads of keys and values; None means one per query head."""
    own_values: bool = False
    """True if heads that share keys (and queries) have values of their own."""
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    omissions: tuple[LayerOmission, ...] = ()
    """Features that other cascades may omit."""
    stand_ins: tuple[str, ...] = ()
    """Cascades that compute the attention on the same shapes, apart from their omissions."""
    unless_given: tuple[tuple[str, int], ...] = ()
    """Parameters of other cascades; a window as long as the keys has no effect."""

    @property
    def features(self) -> dict[str, Any]:
        """Fields that a part and a workload have under the same names."""
        return {
            "cascade": self.cascade,
            "notes": self.notes,
            "omissions": self.omissions,
            "stand_ins": self.stand_ins,
            "unless_given": self.unless_given,
        }


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
