"""Where the ranks of a cascade are cut so that its Einsums leave few elements of arrays idle."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

from archsim.spec.arch import ProcessingArray
from einsum_cascade.ir import Einsum
from einsum_cascade.operations import einsum_operations

from .arrays import arrays_of
from .idle import CutRank, LaidRanks, layouts_along
from .side_by_side import layable
from .sites import Site


def fitted(site: Site, took: dict[str, Fraction]) -> Site:
    """The site with its ranks cut each by itself, at what the Einsums that take longest lay out.

    Parameters
    ----------
    site : Site
        A cascade and a machine, all ranks cut at the sides of its arrays.
    took : dict of str to Fraction
        Cycles that each Einsum takes so.
    """
    cuts: dict[str, tuple[int, ...]] = {}
    # Greedy: what takes longest has its way, and later Einsums may only cut further what it has
    # cut.
    known: dict[_Question, LaidRanks] = {}
    for e in sorted(site.program.einsums, key=lambda e: -took[e.name]):
        cuts |= {r: cut.strides for r, cut in _best(site, e, cuts, known).ranks.items()}
    # Ranks that nothing lays out are cut for the memories' sake, as before.
    longer = {r: _longer(site, s) for r, s in cuts.items() if len(s) > 1}
    return replace(site, cuts=longer, fitted=True)


def least_cycles(site: Site, e: Einsum) -> Fraction:
    """Cycles of an Einsum with as many elements of an array at work as its ranks can keep so."""
    wide = prod(site.shapes[r] for r in layable(site, e) & {*site.ranks(e)})
    points = prod(site.shapes[r] for r in site.ranks(e))
    able = arrays_of(site.program, e, site.architecture)
    return min(_point_cycles(site, e, a) * points / min(wide, a.elements) for a in able)


_Question = tuple[str, tuple[tuple[str, int, tuple[int, ...]], ...]]
"""An array, and the ranks to be laid out on it."""


def _best(
    site: Site, e: Einsum, cuts: dict[str, tuple[int, ...]], known: dict[_Question, LaidRanks]
) -> LaidRanks:
    """What takes fewest cycles, ranks being cut as they are and once more for each axis."""
    able = layable(site, e)
    ranks = {
        r: CutRank(site.shapes[r], cuts.get(r, (1,)))
        for r in site.ranks(e)
        if r in able and site.shapes[r] > 1
    }

    def laid(array: ProcessingArray) -> LaidRanks:
        asked = (array.name, tuple((r, c.size, c.strides) for r, c in ranks.items()))
        if asked not in known:
            known[asked] = layouts_along(array, ranks, cut=True)[0]
        return known[asked]

    def cycles(array: ProcessingArray) -> Fraction:
        return _point_cycles(site, e, array) * laid(array).rounds

    return laid(min(arrays_of(site.program, e, site.architecture), key=cycles))


def _point_cycles(site: Site, e: Einsum, array: ProcessingArray) -> Fraction:
    return array.cycles_of(einsum_operations(site.program, e))


def _longer(site: Site, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Cuts with those that follow at the sides of arrays: tiles of memories are as before."""
    found = [*strides]
    # Whole multiples of what is laid out: with strides 1 and 50 and a side of 128 there follows
    # 100.
    for side in site.strides:
        if side // found[-1] > 1:
            found.append(side // found[-1] * found[-1])
    return tuple(found)
