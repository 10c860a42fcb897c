"""Which ranks the Einsums of a cascade may go round together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archsim.bound.legality import crossed_passes
from archsim.bound.lower import Bound, lower
from archsim.bound.tiling import build_tiling
from einsum_cascade.errors import MappingError

from .factorisation import stepped_ranks

if TYPE_CHECKING:
    from .mapspace import Mapspace, Unit


_SHARED = 3
"""Ranks whose loops are shared, at the most: their orders are all gone through."""


def shareable_ranks(space: Mapspace) -> tuple[str, ...]:
    """Ranks whose loops can be shared: none of which the boundary of a pass crosses.

    Whether a boundary crosses a loop does not depend on what other loops there are, so that
    each rank is asked about by itself. A loop that one Einsum of many goes round is its own.
    Of more than three ranks, those along which values run and those of most tiles are taken.
    """
    einsums = space.program.einsums
    often = {r: sum(r.lower() in e.variables for e in einsums) for r in space.cut_of}
    open_cuts = (c for c in space.open_cuts if not c.whole)
    ranks = [c for c in open_cuts if often[c.rank] > 1 or len(einsums) == 1]
    found = [c for c in ranks if not is_crossed(space, c.rank)]
    stepped = stepped_ranks(space.program)
    first = sorted(found, key=lambda c: (c.rank not in stepped, -c.coarse))[:_SHARED]
    return tuple(c.rank for c in found if c in first)


def is_crossed(space: Mapspace, rank: str) -> bool:
    """Whether the loops of a rank, shared and all going round, cross a boundary."""

    def going(unit: Unit) -> int:
        return sum(map(len, unit.skeleton.order))

    unit = max(space.units((rank,)), key=going)
    try:
        return bool(going(unit) and crossed_passes(lowered_unit(space, unit)))
    except MappingError:
        return False


def lowered_unit(
    space: Mapspace, unit: Unit, like: Bound | None = None, alternative: int = 0
) -> Bound:
    """One mapping of a unit, bound: everything kept everywhere.

    Parameters
    ----------
    like : Bound, optional
        The same with other ways.
    alternative : int
        Which of its ways each Einsum takes; the last one where there are fewer.

    Raises
    ------
    MappingError
        Loops are out of order or missing.
    """
    everywhere = {t: found[-1] for t, found in space.places.items()}
    ways = {n: found[min(alternative, len(found) - 1)] for n, found in space.ways.items()}
    mapping = space.mapping(unit.skeleton, unit.sizes[0], ways, everywhere)
    sizes = {t.member: t.size for t in mapping.tiles if isinstance(t.size, int)}
    given = {r: n for r, n in space.shapes.items() if r not in sizes}
    tiling = build_tiling(space.program, mapping, given, sizes)
    return lower(space.program, mapping, space.architecture, tiling, like)
