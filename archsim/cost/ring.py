"""What an instance moves over links to its neighbours, in the place of what comes from outside.

Counts are as of a memory outside of all instances, which brings what each needs. Where that is a
ring of links, each holds what it needs itself, so that nothing comes, or a part of it: the other
parts come over one link, tile by tile, are written where it holds its own, and are read again to be
passed on. All parts go all the way round, those that a mask leaves nothing to do with as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..bound.record import Bound, BoundEinsum
from ..bound.ring import Ring
from .accesses import AccessCount, EinsumCount, deliveries, way_of
from .meter import EXACT


def over_links(
    bound: Bound, counts: tuple[EinsumCount, ...], ring: Ring
) -> tuple[EinsumCount, ...]:
    """Counts of an instance with what comes to it over one link of a ring.

    Parameters
    ----------
    bound : Bound
        What the instance runs, on a machine whose outermost memory is a ring.
    counts : tuple of EinsumCount
        Of all that it needs, as if it came from a memory.
    ring : Ring
        What goes round.
    """
    return tuple(
        replace(c, accesses=tuple(_accesses(bound, bound.by_name[c.einsum], c, ring)))
        for c in counts
    )


def _accesses(
    bound: Bound, e: BoundEinsum, count: EinsumCount, ring: Ring
) -> Iterator[AccessCount]:
    """Accesses of an Einsum in their order: those of each operand along its way, and the result."""
    found = iter(count.accesses)
    for part in (e, *e.initial):
        for number in range(len(part.touches)):
            way = way_of(bound, part, number)
            places = [next(found) for _ in way]
            outermost = bool(way) and way[0].level == 0
            yield from _at_home(part, number, places, ring) if outermost else places


def _at_home(
    e: BoundEinsum, number: int, places: list[AccessCount], ring: Ring
) -> list[AccessCount]:
    """Accesses on a way that begins at the links."""
    links, home, *inner = places
    if number == len(e.reads):
        # It stays where it is made; what is added to comes back from there.
        written = home.writes - links.reads
        return [replace(links, reads=0, writes=0), replace(home, writes=written), *inner]
    passed = 0
    if ring.rank(links.tensor) is not None:
        every = deliveries(replace(e, window=None), e.reads[number], 1, EXACT)
        # Its own part comes over no link; all others are passed on to it.
        passed = every - every // ring.parts
    return [
        replace(links, reads=passed, writes=0),
        replace(home, reads=home.reads + passed, writes=passed),
        *inner,
    ]
