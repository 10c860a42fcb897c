"""What a layer's attention has and a cascade may lack, and what to say of it then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from einsum_cascade.ir import Program
from einsum_cascade.shapes import rank_asymmetry

WINDOW = "W"
"""The parameter that says how many keys a query sees."""
CAP = "cap"
"""The parameter that bounds scores."""
PICKS = "J"
"""The rank of the keys that an indexer picks."""
BUCKETS = "N"
"""The rank of the buckets that distances with one bias are in."""
SLOPES = "SL"
"""What scores of a head lose for a token of distance."""
_OF_HEADS = frozenset("HGS")

Feature = Literal[
    "mask", "window", "sinks", "latent", "state", "picks", "softcap", "gate", "bias", "alibi"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOmission:
    """A feature of a layer, and a sentence for cascades without it."""

    feature: Feature
    note: str

    def in_program(self, program: Program) -> bool:
        """Whether a cascade lacks the feature.

        One without any mask lacks that, and no window is missed beside it. One that leaves a
        state behind has an output that is not of a position.
        """
        masked = rank_asymmetry(program, "P") is not None
        match self.feature:
            case "mask":
                return not masked
            case "window":
                return masked and all(p.name != WINDOW for p in program.parameters)
            case "sinks":
                of_heads = (t for t in program.inputs if {*t.ranks} <= _OF_HEADS)
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
                return all(r.name != PICKS for r in program.ranks)
            case "latent":
                return all(r.name not in ("L", PICKS) for r in program.ranks)
