"""Where ranks are cut so that the arrays have work inside of loops that Einsums share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from archsim.bound.masking import leave_out_masked
from archsim.bound.record import Bound

from ..fitting import fitted, least_cycles
from ..side_by_side import soonest
from ..sites import Site
from .inner import InnerSite
from .plans import free_ranks, steps_of

_IDLE = Fraction(5, 4)
"""How many times the cycles that full arrays would take steps may take without ranks being cut
otherwise."""

_ODD = Fraction(4, 5)
"""The share of its cycles that a cascade may need with all elements at work, at the most, for its
ranks to be cut for arrays of odd sizes."""

_NARROW_BAND = 4
"""How many times as long as a band is wide ranks are, at the least, for it to be narrow."""

_BLOCKS = (1, 2, 4)
"""How many blocks are as long as a band is wide."""


def cuts_of(site: Site) -> Iterator[Site]:
    """A site with its ranks cut each by itself, where steps leave arrays idle, or sides of arrays
    do that do not divide one another."""
    filling = _cut_for_steps(site)
    if filling is not None:
        yield filling
        return
    einsums, arrays = site.program.einsums, site.architecture.arrays
    if {d.size for a in arrays for d in a.dimensions} <= {1, *site.strides}:
        return
    if any(site.shapes[m] > site.shapes[r.name] for r in site.program.ranks for m in r.partition):
        return
    # Ranks that all have may lie side by side, or be gone round outside, one coordinate inside.
    one = replace(site, shapes=site.shapes | dict.fromkeys(site.program.parallel, 1))
    seen: list[dict[str, tuple[int, ...]]] = []
    for inside in (site, one):
        took = {e.name: soonest(inside, e)[0].cycles for e in einsums}
        if sum(least_cycles(inside, e) for e in einsums) < _ODD * sum(took.values()):
            cuts = fitted(inside, took).cuts
            if cuts not in seen:
                yield replace(site, cuts=cuts, fitted=True)
            seen.append(cuts)


def leaves_idle(sites: list[Site], promised: list[Fraction]) -> bool:
    """Whether all of some mappings, which promise so many cycles each, take longer than the one of
    some sites that is soonest done with all elements at work."""
    full = (sum(least_cycles(s, e) for e in s.program.einsums) for s in sites)
    least = min(full, default=0)
    return all(cycles > _IDLE * least for cycles in promised)


def side_by_side_steps(site: Site) -> Iterator[tuple[str, Site]]:
    """A rank along which nothing waits, and the site with two, four, ... of its coordinates beside
    one another, where short steps leave arrays idle; the others are gone round.

    So many as fill the elements that hold what is carried from step to step: it stays there.
    """
    if _cut_for_steps(site) is None:
        return
    most = max(a.elements for a in site.architecture.arrays)
    for rank in free_ranks(site):
        cuts: tuple[int, ...] = (1, 2)
        while cuts[-1] < min(site.shapes[rank], most):
            # Two along one side of an array and two along the other are four.
            yield rank, replace(site, cuts={rank: cuts}, fitted=True)
            cuts = (*cuts, 2 * cuts[-1])


def in_stretches(site: Site) -> tuple[Site, Site]:
    """A site whose ranks are cut for what lies side by side, and the same with stretches of them
    side by side inside of shared loops, too.

    There 8 heads fill what 128 keys by 64 values leave of 256 x 256 elements: 2 of them beside the
    keys and 4 beside the values. Neither side has room for all 8.
    """
    return site, replace(site, stretched=True)


def _cut_for_steps(site: Site) -> Site | None:
    """The site with its ranks cut for the arrays, each by itself, where short steps leave them
    idle; None where they do not."""
    running = [*steps_of(site)] or [r for rs in site.program.iterative.values() for r in rs]
    if not running:
        return None
    inside = InnerSite.of(site, frozenset(p.name for r in running for p in site.parts(r)))
    took = {e.name: soonest(inside, e)[0].cycles for e in site.program.einsums}
    least = sum(least_cycles(inside, e) for e in site.program.einsums)
    if least * _IDLE > sum(took.values()):
        return None
    return replace(site, cuts=fitted(inside, took).cuts, fitted=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowBand:
    """What a mask lets through of ranks that are much longer than it is wide."""

    ranks: tuple[str, ...]
    """The two ranks; of one that the cascade cuts itself the innermost part."""
    width: int
    """Coordinates that it lets through for each of the other rank's."""


def narrow_band(bound: Bound) -> NarrowBand | None:
    """The band of a mapping's masks, if it is narrow.

    Outside of tiles of one rank by another nothing is run. Of tiles longer than the band is wide
    most is: 256 queries by 256 keys of a window of 5.
    """
    for e in leave_out_masked(bound).einsums:
        window = e.window
        if window is None or window.plus is None or window.minus is None:
            continue
        box, names = window.box, [e.axes[n].name for n in (window.plus, window.minus)]
        width = -(-box.points // max(box.plus, box.minus))
        if width * _NARROW_BAND > min(box.plus, box.minus):
            return None
        ranks = (bound.program.rank_of[name] for name in names)
        return NarrowBand(
            ranks=tuple(r.partition[-1] if r.partition else r.name for r in ranks),
            width=max(1, width),
        )
    return None


def cuts_for_band(site: Site, band: NarrowBand) -> Iterator[tuple[str, Site]]:
    """A rank, and the site with loops over blocks of it about as long as a band is wide; other
    ranks are cut for the arrays inside of these, each by itself."""
    widest = max(site.strides, default=1)
    for rank, other in (band.ranks, band.ranks[::-1]):
        if site.program.rank_of[rank].family:
            continue
        # Powers of two: of a band of 100 blocks of 64, 32 and 16.
        sizes = (1 << (band.width // n).bit_length() - 1 for n in _BLOCKS if band.width >= n)
        for size in dict.fromkeys((widest, *sizes)):
            if 1 < size < site.shapes[rank]:
                yield rank, _cut_for_blocks(site, rank, other, size)


def _cut_for_blocks(site: Site, rank: str, other: str, size: int) -> Site:
    """Inside of blocks of one rank, and tiles of another that are no longer."""
    begun = replace(site, cuts={rank: (size,), other: (size,)})
    around = [p.name for r in (rank, other) for p in begun.parts(r)[:-1]]
    around += [p.name for r in steps_of(site) if r != other for p in begun.parts(r)]
    inside = InnerSite.of(begun, frozenset(around))
    took = {e.name: soonest(inside, e)[0].cycles for e in site.program.einsums}
    cuts = dict(fitted(inside, took).cuts)
    for name in (rank, other):
        finer = (n for n in cuts.get(name, ()) if n < size and size % n == 0)
        cuts[name] = (*finer, size)
    return replace(site, cuts=cuts, fitted=True)
