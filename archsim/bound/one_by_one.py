"""A mapping that any shapes have: for what the work itself is, whether it fits or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile

if TYPE_CHECKING:
    from .record import Bound, BoundEinsum


def one_by_one(nests: Sequence[Bound]) -> Mapping:
    """The mapping of nests in which every Einsum is done one point after the other.

    Parameters
    ----------
    nests : sequence of Bound
        Each has some of the Einsums. Where they cut a rank of the cascade in other sizes, that of
        the first is taken.
    """
    tiles: dict[str, Tile] = {}
    for bound in nests:
        for t in bound.mapping.tiles:
            # Which of the cascade's own tiles have sizes of the mapping's choice.
            if t.member in bound.program.rank_of:
                tiles.setdefault(t.member, replace(t, size=bound.tiling.shapes[t.member]))
    tensors = dict.fromkeys(
        name for b in nests for name in (*(t.name for t in b.program.inputs), *b.by_name)
    )
    first = nests[0]
    return Mapping(
        name=first.mapping.name,
        cascade=first.mapping.cascade,
        tiles=tuple(tiles.values()),
        einsums=tuple(
            EinsumMapping(
                einsum=e.name,
                array=e.array.name,
                nest=(NestLevel(level="", loops=_ranks_of(e)),),
            )
            for bound in nests
            for e in bound.einsums
        ),
        keep=(Keep(level=first.architecture.home.name, tensors=tuple(tensors)),),
        schedule=Schedule(kind="sequential"),
    )


def _ranks_of(e: BoundEinsum) -> tuple[str, ...]:
    """Its ranks; of those that the cascade cuts the tiles, outermost first."""
    return tuple(v.upper() for axis in e.axes for v, _ in axis.variables)
