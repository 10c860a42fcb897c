"""Measures as products over axes.

Loops over different axes do not mind one another, as long as every loop that leaves a tile
in its place has one inside it that always brings another. Then a measure is a product of
one factor per axis, and few different factors make up all measures of a mapping. What is no
product, or not for some ragged tiling, is walked (``kernels.measured``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .measures import MOVES, ONCE, STAYS, OpenDigits, OpenLoop, OpenMeasure


@dataclass(frozen=True, slots=True)
class LoopChain:
    """The loops of a measure on one axis of some extent, and the size inside them."""

    extent: int
    loops: tuple[OpenLoop, ...]
    size: OpenDigits | None


@dataclass(frozen=True, slots=True)
class Product:
    """A measure as a product of chains, by their places.

    It holds where one of ``turning`` (a chain, and a loop of it) always goes round, if
    there are any; ``walked`` says that it never does.
    """

    chains: tuple[int, ...]
    turning: tuple[tuple[int, int], ...]
    walked: bool


def products(measures: Sequence[OpenMeasure]) -> tuple[tuple[LoopChain, ...], tuple[Product, ...]]:
    """Chains that some measures are made of, and how."""
    places: dict[LoopChain, int] = {}
    found = tuple(_product(m, places) for m in measures)
    return tuple(places), found


def _product(measure: OpenMeasure, places: dict[LoopChain, int]) -> Product:
    sizes: dict[int, OpenDigits] = {}
    for part in measure.parts:
        axes = [d.axis for _, d in part]
        if len(axes) > 1 or (axes and axes[0] in sizes):
            return Product(chains=(), turning=(), walked=True)
        sizes |= {d.axis: d._replace(axis=0) for _, d in part}
    where: list[tuple[int, int]] = []
    mine: dict[int, int] = {}
    for axis, extent in enumerate(measure.extents):
        loops = tuple([_by_itself(x) for x in measure.loops if x.axis == axis])
        chain = LoopChain(extent=extent, loops=loops, size=sizes.get(axis))
        mine[axis] = places.setdefault(chain, len(places))
    seen: dict[int, int] = {}
    for loop in measure.loops:
        where.append((mine[loop.axis], seen.get(loop.axis, 0)))
        seen[loop.axis] = seen.get(loop.axis, 0) + 1
    # A loop that stays finds its tile gone if one inside it has brought another; what is inside
    # the innermost of them is inside all of them.
    stays = [n for n, loop in enumerate(measure.loops) if loop.mode == STAYS]
    last = stays[-1] if stays else len(measure.loops)
    inside = range(last + 1, len(measure.loops))
    turning = tuple(where[n] for n in inside if measure.loops[n].mode == MOVES)
    return Product(chains=tuple(mine.values()), turning=turning, walked=bool(stays) and not turning)


def _by_itself(loop: OpenLoop) -> OpenLoop:
    """The loop on its own: what turns inside it decides that it counts like one that moves."""
    _, member, unit, limit, mode = loop
    return OpenLoop(0, member, unit, limit, ONCE if mode == ONCE else MOVES)
