"""What is left of a cascade for one of its Einsums inside of the loops that it shares."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction

from archsim.spec.arch import Memory, ProcessingArray
from archsim.spec.mapping import EinsumMapping
from einsum_cascade.ir import Access, Einsum

from ..arrays import arrays_of
from ..einsum_by_einsum import Slow, mapped_einsum, nest_of
from ..gathering import soonest_fed
from ..side_by_side import ArrayLayout, soonest
from ..sites import LoopPart, Site
from ..words_moved import LevelLoops

InnerQuestion = tuple[
    str, tuple[tuple[int, int, tuple[LoopPart, ...]], ...], bool, bool, str | None
]
"""An Einsum, of each of its ranks what one iteration leaves, the size, and the parts that it goes
round by itself, whether stretches of these lie side by side, whether it is alone, and on which
array it has to be."""


@dataclass(frozen=True, kw_only=True)
class InnerSite(Site):
    """A site as an Einsum sees it that is in some shared loops: of ranks that these go over there
    is what one iteration leaves."""

    whole: Site
    around: frozenset[str]
    """Names of the loops."""
    alone: bool = False
    """Whether what is in the outermost memory comes in under an Einsum's own loops, too."""

    @classmethod
    def of(cls, site: Site, around: frozenset[str]) -> InnerSite:
        """The inside of some loops of a site: the same whenever it is asked for again."""
        return site.memo(_inside, around)

    def _cut(self, rank: str) -> tuple[LoopPart, ...]:
        """The parts of a rank that no shared loop goes round."""
        return tuple(p for p in self.whole.parts(rank) if p.name not in self.around)

    def question(self, e: Einsum, *, alone: bool, on: str | None) -> InnerQuestion:
        """All that the mapping of an Einsum depends on, of one cascade and machine."""
        ranks = ((self.shapes[r], self.whole.shapes[r], self.parts(r)) for r in self.ranks(e))
        return e.name, tuple(ranks), self.stretched, alone, on

    def shared(self, name: str) -> tuple[str, ...]:
        """None: what is shared is outside."""
        del name
        return ()

    def unlayable(self, name: str) -> frozenset[str]:
        """Ranks along which values run."""
        return frozenset(self.program.iterative.get(name, ()))

    @property
    def whole_shapes(self) -> dict[str, int]:
        """Coordinates of all ranks, whatever loops are around."""
        return self.whole.shapes

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Words that a memory moves for a tile: of what is gathered under shared loops the
        outermost one moves as many whatever lies side by side."""
        outermost = memory.name == self.architecture.home.name
        if not self.alone and outermost and self.gathers(access):
            return 0
        return super().tile_words(access, ranks, tile, memory)

    def room_bits(self, number: int, memory: Memory) -> int | None:
        """As of any site; but what the second memory holds inside of shared loops it holds whatever
        an Einsum's own loops are, or there is no room for these loops at all."""
        if self.stretched and number == 1 and not self.alone:
            return None
        return super().room_bits(number, memory)

    def together(self, name: str) -> int:
        """How many Einsums share the memories: all of them."""
        del name
        return len(self.program.einsums)


def _inside(site: Site, around: frozenset[str]) -> InnerSite:
    shapes = dict(site.shapes)
    for rank in shapes:
        # Of 4,096 keys in parts M1 (32 of 128) and M0 (128 of 1), M1 around: 128 are inside.
        gone_round = [p for p in site.parts(rank) if p.name in around]
        if gone_round:
            shapes[rank] = min(shapes[rank], gone_round[-1].stride)
    return InnerSite(
        program=site.program,
        architecture=site.architecture,
        shapes=shapes,
        fitted=site.fitted and site.stretched,
        stretched=site.stretched,
        whole=site,
        around=around,
    )


def _by_itself(site: InnerSite) -> InnerSite:
    return replace(site, alone=True)


def inner_mapping(
    site: InnerSite, e: Einsum, *, alone: bool, on: ProcessingArray | None = None
) -> EinsumMapping:
    """An Einsum inside of the loops that it shares: on the array that is soonest done with it, or
    one that is given, its own loops at the inner memories; or at any, if it is ``alone``.

    Parameters
    ----------
    site : InnerSite
    e : Einsum
    alone : bool
        Whether it goes through the outermost memory by itself.
    on : ProcessingArray, optional
        One that can do it.
    """
    site = site.memo(_by_itself) if alone else site
    best: tuple[tuple[Slow, int], ArrayLayout, list[LevelLoops]] | None = None
    for layout in _layouts(site, e, on):
        # No order of its loops is sooner done than the array is by itself.
        if best is not None and layout.cycles / site.architecture.clock_hz > best[0][0][0]:
            continue
        nest, slow = nest_of(site, e, layout)
        found = slow, _late(site, e, layout)
        if best is None or found < best[0]:
            best = found, layout, nest
    assert best is not None, "there is no Einsum without a layout"
    _, layout, levels = best
    if len(levels) > 1 and not alone:
        # What is in the outermost memory comes in under shared loops alone.
        first, second, *others = levels
        levels = [replace(second, loops=(*first.loops, *second.loops)), *others]
    return mapped_einsum(e, layout, levels)


def inner_cycles(site: InnerSite, e: Einsum) -> dict[str, Fraction]:
    """Cycles of one run of an Einsum inside of the loops that it shares, on each array."""
    able = arrays_of(site.program, e, site.architecture)
    return {array.name: soonest(site, e, array)[0].cycles for array in able}


def _layouts(site: InnerSite, e: Einsum, on: ProcessingArray | None) -> list[ArrayLayout]:
    """What is soonest done, and the same with two dimensions of one size exchanged."""
    found = soonest_fed(site, e, on)
    for layout in tuple(found):
        sizes = {d.name: d.size for d in layout.array.dimensions}
        if len(layout.along) == 2 and len({sizes[d] for d, _ in layout.along}) == 1:
            (one, first), (other, second) = layout.along
            # Of a rank that lies along both the outer parts come first.
            swapped = (
                ((other, first), (one, second)) if site.fitted else ((one, second), (other, first))
            )
            found.append(replace(layout, along=swapped))
    return [x for n, x in enumerate(found) if x not in found[:n]]


def _late(site: Site, e: Einsum, layout: ArrayLayout) -> int:
    """Cycles that a sum along the dimensions of an array comes late."""
    results = {*e.target.variables}
    rank_of = {p.name: p.rank for r in site.ranks(e) for p in site.parts(r)}
    late = {d.name: d.reduction_latency_cycles for d in layout.array.dimensions}
    parallel = site.program.parallel
    return sum(
        late[d]
        for d, names in layout.along
        if any(rank_of[n] not in parallel and rank_of[n].lower() not in results for n in names)
    )
