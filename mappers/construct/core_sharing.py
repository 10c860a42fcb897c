"""Inputs that cores share: a tile in a memory outside of the cores serves several of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

from archsim.nest.partition import has_mask_over, is_partitioned_along
from archsim.plan.partition_factors import Partitioning
from archsim.spec.arch import Memory

from ..space.region import Region


class TileShares(NamedTuple):
    """Shares of a tensor's tile that each of some cores accounts for.

    A core that shares the tile with three others accounts for a quarter of it.
    """

    held: float = 1.0
    """Share of the words that a memory holds."""
    moved: float = 1.0
    """Share of the words that arrive there, of which a core under a mask reaches a part."""
    read: float = 1.0
    """Share of the words read from the memory outside: cores read multicast words together."""


class CoreShares(NamedTuple):
    """Shares of the tiles of a tensor in a memory."""

    whole: TileShares = TileShares()
    """Shares if the memory holds the tensor whole."""
    part: TileShares = TileShares()
    """Shares of smaller tiles: cores that advance at different speeds need different ones."""


@dataclass(frozen=True)
class CoreSharing:
    """Partitioning of a cascade over the cores of a machine, by which cores share inputs."""

    memories: tuple[Memory, ...] = ()
    """Memories of the whole machine, outermost first."""
    partitioning: Partitioning = ()

    def shares(self, region: Region, tensor: str) -> dict[tuple[str, str], CoreShares]:
        """Return the shares of an input's tiles, by the memory that they leave and the one that
        holds them; an array has no name here.

        Other tensors count as those of one core alone.

        Parameters
        ----------
        region : Region
            Region of the problem of one core.
        """
        if tensor not in {t.name for t in region.program.inputs}:
            return {}
        sharers = [*self._sharers(region, tensor)]
        together = [x for x in sharers if not x.apart]
        names = [*(m.name for m in self.memories), ""]
        return {
            (names[outer], names[inner]): CoreShares(
                self._shares(outer, inner, sharers), self._shares(outer, inner, together)
            )
            for outer, inner in combinations(range(len(names)), 2)
        }

    def _shares(self, outer: int, inner: int, sharers: list[_Sharers]) -> TileShares:
        held = moved = read = 1.0
        for x in sharers:
            if x.feeding >= inner:
                held, moved, read = held / x.parts, moved / x.number, read / x.number
            elif x.feeding >= outer and self.memories[x.feeding].multicast:
                read /= x.number
        return TileShares(held, moved, read)

    def _sharers(self, region: Region, tensor: str) -> Iterator[_Sharers]:
        """Yield the cores that share a tensor, for each partitioned rank that it lacks.

        Under a mask, each core reaches some of the elements, those at the ends of its part
        included.
        """
        program = region.program
        names = [m.name for m in self.memories]
        readers = [e for e in program.einsums if any(a.tensor == tensor for a in e.reads)]
        accesses = [a for e in readers for a in e.reads if a.tensor == tensor]
        for memory, spatial in self.partitioning:
            for s in spatial:
                v, parts = s.rank.lower(), s.parts or 1
                number = float(parts)
                divided = any(is_partitioned_along(a, v) for a in accesses)
                if divided or s.rank in program.parallel:
                    continue
                apart = any(v in a.variables for a in accesses)  # They gather other elements.
                if has_mask_over(program, s.rank):
                    share = max(region.masks.of_points.get(e.name, 1.0) for e in readers)
                    number, apart = min(number, 1 + share * number), apart or s.balanced
                yield _Sharers(names.index(memory), parts, number, apart)


class _Sharers(NamedTuple):
    """Cores that share a tensor."""

    feeding: int
    """Index of the memory that feeds them."""
    parts: int
    number: float
    """Mean number of cores that reach an element."""
    apart: bool
    """True if they need different tiles at a time, and share the whole tensor alone."""


NO_SHARING: Final = CoreSharing()
"""Single core, which shares nothing."""
