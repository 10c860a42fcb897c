"""Minimal domains: iterations of each Einsum that every mapping runs, however fine its tiles.

A mapping skips tiles that a mask leaves empty, and whole no-op steps of other Einsums
(``masking``). The finer it tiles the ranks of the mask, the more it skips. Here every rank is cut
into single elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations
from typing import NamedTuple

from ..iteration.bands import RankBand
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Loop
from ..nest.masks import ANY_SIZES, MaskBands, band_ranks, mask_bands, window_over
from ..nest.record import Bound, BoundEinsum


class _StepCounts(NamedTuple):
    """Steps in which some Einsums may be no-ops."""

    stepping: frozenset[str]
    """Rank variables of the loops that make the steps."""
    band: RankBand
    """Band outside which the Einsums are no-ops."""
    idle: frozenset[str]
    """Einsums that some nest may skip outside the band."""


def minimal_domains(bound: Bound, fine: Collection[str] = ()) -> dict[str, tuple[LoopNest, ...]]:
    """Return loops over the iteration space of each Einsum, by name.

    Every mapping runs all iterations under one of an Einsum's nests. The mapping's shared loops,
    and the Einsums that share them, decide which nest.

    Of every Einsum each mapping runs all that is left under the loops of some one of the nests;
    which one, is for the mapping's shared loops to say, and for the Einsums that share them.

    Parameters
    ----------
    bound : Bound
        Mapping of the cascade; its tiles do not matter.
    fine : collection of str
        Ranks that the cascade cuts at a size that other mappings may choose: a step may be one
        element there.
    """
    masks = mask_bands(bound, ANY_SIZES, any_loops=True)
    steps = tuple(_no_op_steps(bound, masks))
    return {e.name: tuple(_nests(bound, e, masks, steps, fine)) for e in bound.einsums}


def _nests(
    bound: Bound,
    e: BoundEinsum,
    masks: MaskBands,
    steps: tuple[_StepCounts, ...],
    fine: Collection[str],
) -> Iterator[LoopNest]:
    band = masks.bands.get(e.name)
    if band is not None:
        yield _windowed(bound, e, e.variables, band, fine)
        return
    yield LoopNest(loops=(), extents=e.extents)
    if e.einsum.where is None:
        for step in steps:
            if e.name in step.idle:
                yield _windowed(bound, e, step.stepping, step.band, fine)


def _no_op_steps(bound: Bound, masks: MaskBands) -> Iterator[_StepCounts]:
    """Yield steps that may be no-ops outside a band, with the Einsums that may be skipped.

    Each nest of a mapping has some Einsums. An Einsum must share a nest with Einsums of another
    mask, or with work in such a step, only if the cascade cannot be cut between them.
    """
    if not masks.bands:
        return
    # Few cascades have masks: the import waits until one does.
    from einsum_cascade.algebra.excerpt import inseparable
    from einsum_cascade.no_op_steps import active_einsums

    program = bound.program
    declared = program.rank_of
    members = (declared[r].partition or (r,) for r in band_ranks(masks.bands) if r in declared)
    variables = sorted(m.lower() for m in chain.from_iterable(members))
    unused = frozenset(chain.from_iterable(masks.without.values()))
    beside = program.memo(inseparable)
    # A mapping may share the loops of any of these variables; the no-op Einsums differ.
    for count in range(1, len(variables) + 1):
        for chosen in map(frozenset, combinations(variables, count)):
            inside = [e.name for e in bound.einsums if chosen <= {*e.einsum.variables}]
            for band in dict.fromkeys(masks.bands[n] for n in inside if n in masks.bands):
                alike = tuple(n for n in inside if masks.bands.get(n) == band)
                other = {n for n in inside if n in masks.bands}.difference(alike)
                busy = unused | other | program.memo(active_einsums, alike, chosen)
                idle = frozenset(n for n in inside if busy.isdisjoint(beside[n]))
                if not idle <= {*alike}:
                    yield _StepCounts(chosen, band, idle)


def _windowed(
    bound: Bound, e: BoundEinsum, stepping: Collection[str], band: RankBand, fine: Collection[str]
) -> LoopNest:
    """Return loops over the single values of some variables of a band's ranks."""
    loops = tuple(
        Loop(member=variable, axis=number, stride=stride, level=0, variable=variable)
        for number, axis in enumerate(e.axes)
        if axis.name in (band.plus, band.minus)
        for variable, stride in axis.variables
        if variable in stepping or axis.name in fine
    )
    window = window_over(bound.tiling, e.axes, band, len(loops))
    return LoopNest(loops=loops, extents=e.extents, window=window)
