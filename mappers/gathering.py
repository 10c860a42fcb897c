"""Layouts of Einsums that gather: what lies side by side says how many neighbours are read at a
position, and so how soon the memory beside the array has fed it."""

from __future__ import annotations

from fractions import Fraction
from math import prod

from archsim.spec.arch import ProcessingArray
from einsum_cascade.ir import Access, Einsum

from .side_by_side import ArrayLayout, layouts_of, soonest
from .sites import Site

_SLOWER = 2
"""How many times the cycles of the soonest a layout may take where something is gathered."""

_LAYOUTS = 12
"""Layouts of such an Einsum that are looked at."""


def soonest_fed(site: Site, e: Einsum, on: ProcessingArray | None = None) -> list[ArrayLayout]:
    """As ``soonest``; of an Einsum that gathers those whose array is soonest fed."""
    found = soonest(site, e, on)
    gathered = [a for a in e.reads if site.gathers(a)]
    if not gathered:
        return found
    others = (x for x in layouts_of(site, e) if on is None or x.array == on)
    near = (x for x in others if x.cycles <= _SLOWER * found[0].cycles)
    # Where ranks are cut each by itself all others may take far longer than the soonest.
    distinct = {(x.array.name, x.along): x for x in (*found, *near)}.values()
    return sorted(distinct, key=lambda x: _fed(site, e, x, gathered))[:_LAYOUTS]


def _fed(site: Site, e: Einsum, layout: ArrayLayout, gathered: list[Access]) -> Fraction:
    """Seconds of an Einsum whose array takes what it gathers anew from the memory beside it, at
    every step."""
    memory = site.memories(layout.array.name)[-1]
    seconds = layout.cycles / site.architecture.clock_hz
    if memory.bandwidth_bytes_per_s is None:
        return seconds
    wide = dict.fromkeys(site.ranks(e), 1)
    for rank in wide:
        laid = prod(p.count for p in site.parts(rank) if p.name in layout.names)
        wide[rank] = min(site.shapes[rank], laid)
    words = sum(site.tile_words(a, site.ranks_of(a), wide, memory) for a in gathered)
    moved = words * prod(layout.rounds.values()) * site.architecture.word_bytes
    return max(seconds, moved / memory.bandwidth_bytes_per_s)
