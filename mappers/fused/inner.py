"""What is left of a cascade for one of its Einsums inside of the loops that it shares."""

from __future__ import annotations

from collections.abc import Mapping as Sizes
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from archsim.cost.random_access import neighbours
from archsim.spec.arch import Memory, ProcessingArray
from archsim.spec.mapping import EinsumMapping
from einsum_cascade.ir import Access, Einsum, Gather

from ..arrays import arrays_of
from ..einsum_by_einsum import Slow, mapped_einsum, nest_of, wide
from ..side_by_side import ArrayLayout, layouts_of, soonest
from ..sites import LoopPart, Site
from ..words_moved import LevelLoops
from .picks import gathers

_SLOWER = 2
"""How many times the cycles of the soonest a layout may take where something is gathered."""

_LAYOUTS = 12
"""Layouts of such an Einsum that are looked at."""


InnerQuestion = tuple[str, tuple[tuple[int, int, tuple[LoopPart, ...]], ...], bool, str | None]
"""An Einsum, of each of its ranks what one iteration leaves, the size, and the parts that it goes
round by itself, whether it is alone, and on which array it has to be."""


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
        """The inside of some loops of a site."""
        shapes = dict(site.shapes)
        for rank in shapes:
            gone_round = [p for p in site.parts(rank) if p.name in around]
            if gone_round:
                shapes[rank] = min(shapes[rank], gone_round[-1].stride)
        return cls(
            program=site.program,
            architecture=site.architecture,
            shapes=shapes,
            whole=site,
            around=around,
        )

    def parts(self, rank: str) -> tuple[LoopPart, ...]:
        """The parts of a rank that no shared loop goes round."""
        return tuple(p for p in self.whole.parts(rank) if p.name not in self.around)

    def question(self, e: Einsum, *, alone: bool, on: str | None) -> InnerQuestion:
        """All that the mapping of an Einsum depends on, of one cascade and machine."""
        ranks = ((self.shapes[r], self.whole.shapes[r], self.parts(r)) for r in self.ranks(e))
        return e.name, tuple(ranks), alone, on

    def shared(self, name: str) -> tuple[str, ...]:
        """None: what is shared is outside."""
        del name
        return ()

    def unlayable(self, name: str) -> frozenset[str]:
        """Ranks along which values run."""
        return frozenset(self.program.iterative.get(name, ()))

    def tile_words(
        self, access: Access, ranks: frozenset[str], tile: Sizes[str, int], memory: Memory
    ) -> Fraction | int:
        """Words that a memory moves for a tile: whole lines around what is gathered."""
        words = super().tile_words(access, ranks, tile, memory)
        if not gathers(access):
            return words
        if not self.alone and memory.name == self.architecture.home.name:
            return 0  # as many whatever lies side by side
        words = Fraction(words) / self._again(access, tile)
        rank_of = {v: v.upper() for v in access.variables}
        whole = {v: self.whole.shapes[r] for v, r in rank_of.items()}
        run = neighbours(access, {v: tile[r] for v, r in rank_of.items()}, whole)
        line = max(1, memory.line_bits // self.architecture.word_bits)
        return words * (-(-run // line) * line) / run

    def gathers(self, access: Access) -> bool:
        """Whether some index of it is itself read."""
        return gathers(access)

    def _again(self, access: Access, tile: Sizes[str, int]) -> Fraction:
        """How often each element of a tile is picked, at the least: of 16 blocks 256 queries that
        pick three each touch no more than all."""
        again = Fraction(1)
        lengths = self.program.tensor_ranks[access.tensor]
        for index, rank in zip(access.indices, lengths, strict=True):
            if isinstance(index, Gather):
                step = index.coefficient * prod(self.whole.shapes[s] for s in index.shapes)
                positions = -(-self.whole.shapes[rank] // max(1, step))
                picks = prod(tile[v.upper()] for v in index.access.variables)
                again *= max(Fraction(1), Fraction(picks, positions))
        return again

    def together(self, name: str) -> int:
        """How many Einsums share the memories: all of them."""
        del name
        return len(self.program.einsums)


def inner_mapping(
    site: InnerSite, e: Einsum, *, alone: bool, on: ProcessingArray | None = None
) -> EinsumMapping:
    """An Einsum inside of the loops that it shares: on the array that is soonest done with it, or
    one that is given, its own loops at the inner memories; or at any, if it is ``alone``."""
    site = replace(site, alone=alone)
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
    found = soonest(site, e, on)
    gathered = [a for a in e.reads if gathers(a)]
    if gathered:
        # What lies side by side says how many neighbours are read at a position.
        others = (x for x in layouts_of(site, e) if on is None or x.array == on)
        near = (x for x in others if x.cycles <= _SLOWER * found[0].cycles)
        distinct = {(x.array.name, x.along): x for x in near}.values()
        found = sorted(distinct, key=lambda x: _fed(site, e, x, gathered))[:_LAYOUTS]
    for layout in tuple(found):
        sizes = {d.name: d.size for d in layout.array.dimensions}
        if len(layout.along) == 2 and len({sizes[d] for d, _ in layout.along}) == 1:
            (one, first), (other, second) = layout.along
            found.append(replace(layout, along=((one, second), (other, first))))
    return [x for n, x in enumerate(found) if x not in found[:n]]


def _fed(site: InnerSite, e: Einsum, layout: ArrayLayout, gathered: list[Access]) -> Fraction:
    """Seconds of an Einsum whose array takes what it gathers anew from the memory beside it, at
    every step."""
    memory = site.memories(layout.array.name)[-1]
    seconds = layout.cycles / site.architecture.clock_hz
    if memory.bandwidth_bytes_per_s is None:
        return seconds
    tile = {r: wide(site, r, layout.names) for r in site.ranks(e)}
    words = sum(site.tile_words(a, site.ranks_of(a), tile, memory) for a in gathered)
    moved = words * prod(layout.rounds.values()) * site.architecture.word_bytes
    return max(seconds, moved / memory.bandwidth_bytes_per_s)


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
