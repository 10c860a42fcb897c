"""Attention of one layer: its cascade, its shapes, shared heads, and features that cascades omit.

A workload has H query heads and P query tokens. A group of ``group`` query heads shares one head of
keys and values. A cascade with the ranks G and S (G groups of S heads, which may partition a rank
H) gets both shapes. Any other cascade gets H / group heads of ``group`` x P query rows.

Every row of a group meets every key of its head in both cases. Operations and the traffic of Q, K,
V and the output are therefore equal, if the cascade treats all queries alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from einsum_cascade.errors import SpecError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import rank_asymmetry
from einsum_cascade.yaml.source import LARGEST_COUNT

from .phases import Tokens

Shapes = tuple[tuple[str, int], ...]
GROUPS, GROUP_HEADS = "G", "S"
"""Ranks of the groups of query heads, and of the heads inside a group."""
WINDOW = "W"
"""Parameter with the number of keys that a query sees."""
CAP = "cap"
"""Parameter with the upper bound of scores."""
GATHERED = "J"
"""Rank of the keys that an indexer selects."""
BUCKETS = "N"
"""Rank of the distance buckets; all distances in a bucket share a bias."""
SLOPES = "SL"
"""Tensor with one slope per head: a score loses this amount per token between key and query."""
_HEAD_RANKS = frozenset("HGS")

Feature = Literal[
    "mask", "window", "sinks", "latent", "state", "picks", "softcap", "gate", "bias", "alibi"
]


def checked_size(rank: str, size: int) -> int:
    """Return a computed shape after a check that it is no larger than shapes in files may be.

    Raises
    ------
    SpecError
        The shape is larger than 1e15.
    """
    if size > LARGEST_COUNT:
        raise SpecError(f"{rank}: these sizes together make {size:.3g}, more than 1e15")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Shapes that a layer has in cascades with a certain rank."""

    rank: str
    shapes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedHeads:
    """Sharing of keys and values by the query heads of a layer."""

    group: int = 1
    variants: tuple[Variant, ...] = ()
    given: tuple[str, ...] = ()
    """Ranks whose shapes the user gave; no variant changes them."""
    single: bool = False
    """True if all query heads share one head of keys, however many heads the user gives."""
    own_values: bool = False
    """True if heads that share keys have values of their own, so that they cannot be folded into
    query rows of one head.
    """

    def variant(self, ranks: Collection[str]) -> Variant | None:
        """Return the variant whose rank is among the given ranks of a cascade, or None."""
        return next((v for v in self.variants if v.rank in ranks), None)

    def folded(self, ranks: Collection[str]) -> int:
        """Return the number of query heads that are folded into one head; 1 without folding.

        The ranks of the cascade decide whether it folds heads.
        """
        # A cascade does not fold heads if it has ranks of groups, shapes of its own, or no query
        # tokens to fold heads into.
        unfolded = {GROUPS, GROUP_HEADS} <= set(ranks) or self.variant(ranks) is not None
        unfolded = unfolded or self.own_values
        return 1 if unfolded or not {"H", "P"} <= set(ranks) else self.group

    def shapes(self, shapes: Mapping[str, int], ranks: Collection[str]) -> dict[str, int]:
        """Return the shapes of a workload for a cascade with given ranks.

        Parameters
        ----------
        shapes : mapping of str to int
            Elements by rank: H query heads, P query tokens.
        ranks : collection of str
            Ranks of the cascade, partition members included.

        Returns
        -------
        dict of str to int
            Shapes with H and P, or G and S, as the cascade defines them.

        Raises
        ------
        SpecError
            A group has more rows than the largest shape, or groups given by the user
            do not make up the heads.

        Examples
        --------
        Of 32 query heads, eight share a head of keys: four heads of eight times the
        rows, or four groups of eight.

        >>> shared = SharedHeads(group=8)
        >>> shared.shapes({"H": 32, "P": 128, "M": 128}, "HPM")
        {'H': 4, 'P': 1024, 'M': 128}
        >>> found = shared.shapes({"H": 32, "P": 128, "M": 128}, "GSPM")
        >>> found["G"], found["S"], found["P"]
        (4, 8, 128)
        """
        found = dict(shapes)
        if variant := self.variant(ranks):
            return found | {r: n for r, n in variant.shapes if r not in self.given}
        if {GROUPS, GROUP_HEADS} <= set(ranks):
            return self._grouped(found, whole="H" in ranks)
        if (folded := self.folded(ranks)) > 1:
            found["H"] //= folded
            found["P"] = checked_size("P", folded * found["P"])
        return found

    def _grouped(self, found: dict[str, int], *, whole: bool) -> dict[str, int]:
        """Return shapes with groups and heads per group; ``whole`` is True if the cascade also has
        H."""
        heads = found.get("H")
        if whole or heads is None:
            return {GROUP_HEADS: self.group} | found
        groups = found.get(GROUPS) or heads // found.get(GROUP_HEADS, self.group)
        sharing = found.get(GROUP_HEADS) or heads // max(groups, 1)
        if groups * sharing != heads:
            given = ", ".join(f"{r} = {found[r]}" for r in (GROUPS, GROUP_HEADS) if r in found)
            raise SpecError(f"{given}: groups of so many do not make up H = {heads} query heads")
        return found | {GROUPS: groups, GROUP_HEADS: sharing}

    def notes(self, shapes: Mapping[str, int], ranks: Collection[str]) -> tuple[str, ...]:
        """Return a sentence about the folding of heads, if heads are folded.

        Parameters
        ----------
        shapes : mapping of str to int
            Elements by rank, before folding.
        ranks : collection of str
            Ranks of the cascade.
        """
        folded = self.folded(ranks)
        if folded == 1:
            return ()
        heads, rows = shapes["H"], shapes["P"]
        return (
            f"{folded} query heads share a head of keys and values and are computed as its rows:"
            f" H = {heads} / {folded}, P = {folded} x {rows}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOmission:
    """Feature of a layer, and the note for cascades that lack the feature."""

    feature: Feature
    note: str

    def applies_to(self, program: Program) -> bool:
        """Return whether a cascade lacks the feature.

        A cascade without any mask lacks only the mask: the window is not reported as well. A
        cascade writes a state if one of its outputs has no rank of positions.
        """
        masked = rank_asymmetry(program, "P") is not None
        parameters, ranks = {p.name for p in program.parameters}, {r.name for r in program.ranks}
        match self.feature:
            case "mask":
                return not masked
            case "window":
                return masked and WINDOW not in parameters
            case "sinks":
                of_heads = (t for t in program.inputs if {*t.ranks} <= _HEAD_RANKS)
                return all(t.name == SLOPES for t in of_heads)
            case "alibi":
                return all(t.name != SLOPES for t in program.inputs)
            case "softcap":
                return CAP not in parameters
            case "gate":
                return not any({"P", "F"} <= {*t.ranks} for t in program.inputs)
            case "bias":
                return BUCKETS not in ranks
            case "state":
                return all("P" in program.tensor_ranks[name] for name in program.outputs)
            case "picks":
                return GATHERED not in ranks
            case "latent":
                return ranks.isdisjoint(("L", GATHERED))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedCascade:
    """Cascade with its shapes, and notes on its differences from the layer."""

    cascade: str
    """Built-in name, or file, of the cascade."""
    shapes: Shapes
    """Elements by rank; H are query heads, P query tokens."""
    heads: SharedHeads = SharedHeads()
    """Sharing of keys and values by query heads."""
    notes: tuple[str, ...] = ()
    """Sentences about defaults, and about omissions of all cascades."""
    omissions: tuple[LayerOmission, ...] = ()
    """Features of the layer that a cascade may lack, each with a note."""
    stand_ins: tuple[str, ...] = ()
    """Names of cascades that compute the same attention on the same shapes, except for omissions.
    """
    unless_given: tuple[tuple[str, int], ...] = ()
    """Default parameters for other cascades, in elements: a window as long as the keys has no
    effect."""

    @property
    def features(self) -> dict[str, Any]:
        """Values of the fields of this class, by name; layers, parts and workloads have the same
        fields."""
        return {field.name: getattr(self, field.name) for field in fields(ShapedCascade)}


def shapes_of(tokens: Tokens, heads: int, qk_width: int, v_width: int, keys: int) -> Shapes:
    return (
        ("B", tokens.batch),
        ("E", qk_width),
        ("F", v_width),
        ("H", heads),
        ("M", keys),
        ("P", tokens.queries),
    )


def convolution_shapes(batch: int, tokens: int, channels: int, taps: int) -> Shapes:
    """Return the shapes of a depthwise convolution, which also reads the tokens just before."""
    read = checked_size("M", tokens + taps - 1)
    return (("B", batch), ("C", channels), ("M", read), ("P", tokens), ("T", taps))
