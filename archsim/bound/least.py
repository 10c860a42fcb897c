"""What any mapping of a cascade runs of its Einsums, however fine the tiles it leaves out.

A mapping leaves out the tiles that a mask leaves empty, and of other Einsums whole steps that
are provably idle then (``masking``): the more, the finer it cuts the ranks of the mask. Here
every rank is cut into its single elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations

from ..space.bands import Band
from ..space.iteration import Loop
from ..space.nest import LoopNest
from .masking import MaskBands, band_ranks, idle_band, mask_bands, window_over
from .record import Bound, BoundEinsum


def least_nests(bound: Bound, fine: Collection[str] = ()) -> dict[str, tuple[LoopNest, ...]]:
    """Loops over the iteration spaces of all Einsums, by name.

    Of every Einsum each mapping runs all that is left under the loops of some one of the nests;
    which one, is for the mapping's shared loops to say.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade: its tiles are not looked at.
    fine : collection of str
        Ranks that the cascade cuts in a size that others may choose otherwise: a step of a part
        may be as short as an element of theirs.
    """
    masks = mask_bands(bound)
    steps = () if masks.without else tuple(_idle_steps(bound, masks))
    return {e.name: tuple(_nests(bound, e, masks, steps, fine)) for e in bound.einsums}


def _nests(
    bound: Bound,
    e: BoundEinsum,
    masks: MaskBands,
    steps: tuple[tuple[frozenset[str], Band], ...],
    fine: Collection[str],
) -> Iterator[LoopNest]:
    band = masks.bands.get(e.name)
    if band is not None:
        yield _windowed(bound, e, e.variables, band, fine)
        return
    yield LoopNest(loops=(), extents=e.extents)
    if e.einsum.where is None:
        for stepping, idle in steps:
            if stepping <= e.variables:
                yield _windowed(bound, e, stepping, idle, fine)


def _idle_steps(bound: Bound, masks: MaskBands) -> Iterator[tuple[frozenset[str], Band]]:
    """Rank variables whose loops make steps that are idle outside a band, and the band."""
    declared = bound.program.rank_of
    members = (declared[r].partition or (r,) for r in band_ranks(masks.bands) if r in declared)
    variables = sorted(m.lower() for m in chain.from_iterable(members))
    # A mapping may share the loops of any of these variables, and what is idle then differs.
    for count in range(1, len(variables) + 1):
        for chosen in map(frozenset, combinations(variables, count)):
            band = idle_band(bound, masks.bands, chosen)
            if isinstance(band, Band):
                yield chosen, band


def _windowed(
    bound: Bound, e: BoundEinsum, stepping: Collection[str], band: Band, fine: Collection[str]
) -> LoopNest:
    """Loops over the single values of some variables of a band's ranks."""
    loops = tuple(
        Loop(member=variable, axis=number, stride=stride, level=0, variable=variable)
        for number, axis in enumerate(e.axes)
        if axis.name in (band.plus, band.minus)
        for variable, stride in axis.variables
        if variable in stepping or axis.name in fine
    )
    window = window_over(bound.tiling, e.axes, band, len(loops))
    return LoopNest(loops=loops, extents=e.extents, window=window)
