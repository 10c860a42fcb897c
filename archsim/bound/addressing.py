"""What accesses of a cascade address on the axes of an iteration space."""

from __future__ import annotations

from einsum_cascade.ir import Access, Program

from ..space.access_map import AccessMap, AccessMapper
from ..space.iteration import Axis
from .tiling import Tiling


class Addressing:
    """Works out access maps on the axes of one iteration space."""

    def __init__(self, program: Program, tiling: Tiling, axes: tuple[Axis, ...]) -> None:
        carried = tuple(r.lower() for r in program.parallel)
        self._mapper = AccessMapper(axes, tiling.shapes, carried)
        self._running = program.iterative
        self._ranks = program.tensor_ranks
        self._shapes = tiling.shapes

    def of(self, access: Access) -> AccessMap:
        """What an access addresses; a running value in one copy along its ranks."""
        running = self._running.get(access.tensor, ())
        ranks = self._ranks.get(access.tensor, ())
        lengths = tuple(self._shapes[r] + (r in running) for r in ranks)
        return self._mapper.map(access, frozenset(r.lower() for r in running), lengths)
