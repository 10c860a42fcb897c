"""Query heads that share keys and values, in cascades that know of them and in others.

A workload says H query heads and P query tokens. Where ``group`` query heads share one head
of keys and values, a cascade with the ranks G and S (G groups of S heads, which may cut a
rank H) is given these. Any other is given H / group heads of ``group`` x P query rows: every
row of a group meets every key of its head either way, so operations and the traffic of Q, K, V
and the output are the same numbers, as long as the cascade treats its queries alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.source import LARGEST_COUNT

GROUPS, GROUP_HEADS = "G", "S"
"""The ranks of groups, and of heads inside one."""


def checked_size(rank: str, size: int) -> int:
    """A shape that was computed, as large as one that is written may be.

    Raises
    ------
    SpecError
        It is larger.
    """
    if size > LARGEST_COUNT:
        raise SpecError(f"{rank}: these sizes together make {size:.3g}, more than 1e15")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Shapes of the same layer for cascades with a certain rank."""

    rank: str
    shapes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedHeads:
    """How the heads of a layer share keys and values."""

    group: int = 1
    variants: tuple[Variant, ...] = ()
    given: tuple[str, ...] = ()
    """Ranks whose shapes were given by hand: no variant changes them."""
    own_values: bool = False
    """Whether heads that share keys have values of their own: they are no rows of one head."""

    def variant(self, ranks: Collection[str]) -> Variant | None:
        """The variant for a cascade of those ranks, if there is one."""
        return next((v for v in self.variants if v.rank in ranks), None)

    def folded(self, ranks: Collection[str]) -> int:
        """How many query heads become rows of one head in a cascade of those ranks."""
        # A cascade that knows of groups does not fold, nor one with shapes of its own; nor one that
        # has no query tokens to fold heads into.
        unfolded = {GROUPS, GROUP_HEADS} <= set(ranks) or self.variant(ranks) is not None
        unfolded = unfolded or self.own_values
        return 1 if unfolded or not {"H", "P"} <= set(ranks) else self.group

    def shapes(self, shapes: Mapping[str, int], ranks: Collection[str]) -> dict[str, int]:
        """The shapes of a workload as a cascade of those ranks wants them.

        Parameters
        ----------
        shapes : mapping of str to int
            Elements by rank: H query heads, P query tokens.
        ranks : collection of str
            Those of the cascade, partition members included.

        Returns
        -------
        dict of str to int
            The same shapes with H and P, or G and S, as the cascade means them.

        Raises
        ------
        SpecError
            The heads of a group make more rows than anything may have, or groups given by
            hand do not make up the heads.

        Examples
        --------
        32 query heads, eight of which share a head of keys: four heads of eight times the
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
        """With groups and the heads of each; ``whole``: the cascade says how they make up H."""
        heads = found.get("H")
        if whole or heads is None:
            return {GROUP_HEADS: self.group} | found
        groups = found.get(GROUPS) or heads // found.get(GROUP_HEADS, self.group)
        sharing = found.get(GROUP_HEADS) or heads // max(groups, 1)
        if groups * sharing != heads:
            given = ", ".join(f"{r} = {found[r]}" for r in (GROUPS, GROUP_HEADS) if r in found)
            text = f"{given}: groups of so many do not make up H = {heads} query heads"
            raise SpecError(text)
        return found | {GROUPS: groups, GROUP_HEADS: sharing}

    def notes(self, shapes: Mapping[str, int], ranks: Collection[str]) -> tuple[str, ...]:
        """What folding does to the shapes, in a sentence.

        Parameters
        ----------
        shapes : mapping of str to int
            Elements by rank, before folding.
        ranks : collection of str
            Those of the cascade.
        """
        folded = self.folded(ranks)
        if folded == 1:
            return ()
        heads, rows = shapes["H"], shapes["P"]
        return (
            f"{folded} query heads share a head of keys and values and are computed as its rows:"
            f" H = {heads} / {folded}, P = {folded} x {rows}",
        )
