"""Selections of a mapped nest: candidates come tile by tile, in whatever order the loops say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from einsum_cascade import ir
from einsum_cascade.numeric.dtypes import Array
from einsum_cascade.numeric.reductions import topk


@dataclass(frozen=True)
class Selection:
    """What ``I[j, p] << topk(S[m, p], j)`` has met so far: every candidate m of each p."""

    fibers: tuple[str, ...]
    """Variables that tell selections apart (p), the parallel ones first."""
    chosen: str
    """The variable that counts what is selected (j)."""
    candidate: str
    """The variable that is selected over (m)."""
    count: int
    values: Array
    met: Array

    @classmethod
    def of(cls, einsum: ir.Einsum, parallel: Sequence[str], sizes: Mapping[str, int]) -> Selection:
        """Nothing met yet; ``sizes`` are shapes by variable."""
        targets = einsum.target.variables
        (over,) = einsum.over
        chosen = next(v for v in targets if v not in ir.variables_of(einsum.expression))
        fibers = (*parallel, *(v for v in targets if v != chosen))
        shape = tuple(sizes[v] for v in (*fibers, over))
        return cls(
            fibers, chosen, over, sizes[chosen], np.zeros(shape), np.zeros(shape, dtype=bool)
        )

    def meet(
        self, lanes: Mapping[str, Array], candidates: Array, allowed: Array
    ) -> tuple[Array, Array]:
        """Take in the candidates of the allowed lanes.

        Returns
        -------
        tuple of array
            For each of these lanes the position that is its j-th largest by now, and
            whether there is one.
        """
        fiber = tuple(lanes[v][allowed] for v in self.fibers)
        place = (*fiber, lanes[self.candidate][allowed])
        self.values[place] = candidates[allowed]
        self.met[place] = True
        lines = (len(place[-1]), self.values.shape[-1])
        values, met = (np.broadcast_to(a[fiber], lines) for a in (self.values, self.met))
        positions, missing = topk(values, ~met, self.count)
        number = lanes[self.chosen][allowed][:, None]
        found = np.take_along_axis(positions, number, axis=-1)[:, 0]
        there = ~np.take_along_axis(missing, number, axis=-1)[:, 0]
        return found, there
