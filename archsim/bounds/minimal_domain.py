"""Minimal domains: iterations of each Einsum that every mapping runs, however fine its tiles.

A mapping skips the tiles that a mask leaves empty, and whole no-op steps of other Einsums
(``masking``): the more, the finer it tiles the ranks of the mask. Here every rank is cut into its
single elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations
from typing import NamedTuple

from ..iteration.bands import RankBand
from ..iteration.loop_nest import LoopNest
from ..iteration.loops import Loop
from ..nest.masks import MaskBands, band_ranks, bands_of_any, window_over
from ..nest.record import Bound, BoundEinsum


class _StepCounts(NamedTuple):
    """Steps in which some Einsums may do nothing."""

    stepping: frozenset[str]
    """Rank variables of the loops that make the steps."""
    band: RankBand
    """Outside of which they are idle."""
    idle: frozenset[str]
    """Einsums that some nest may leave out then."""


def minimal_domains(bound: Bound, fine: Collection[str] = ()) -> dict[str, tuple[LoopNest, ...]]:
    """Loops over the iteration spaces of all Einsums, by name.

    Of every Einsum each mapping runs all that is left under the loops of some one of the nests;
    which one, is for the mapping's shared loops to say, and for the Einsums that share them.

    Parameters
    ----------
    bound : Bound
        Any mapping of the cascade: its tiles are not looked at.
    fine : collection of str
        Ranks that the cascade cuts in a size that others may choose otherwise: a step of a part
        may be as short as an element of theirs.
    """
    masks = bands_of_any(bound)
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
    """Steps that may be idle outside a band, each with the Einsums that may be left out in them.

    A mapping's nests each have some Einsums: with those that have other masks, or do something in
    such a step, an Einsum needs to share a nest only where the cascade cannot be cut between them.
    """
    if not masks.bands:
        return
    # Few cascades have masks.
    from einsum_cascade.algebra.excerpt import inseparable
    from einsum_cascade.no_op_steps import active_einsums

    program = bound.program
    declared = program.rank_of
    members = (declared[r].partition or (r,) for r in band_ranks(masks.bands) if r in declared)
    variables = sorted(m.lower() for m in chain.from_iterable(members))
    unused = frozenset(chain.from_iterable(masks.without.values()))
    beside = program.memo(inseparable)
    # A mapping may share the loops of any of these variables, and what is idle then differs.
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
