"""A mapping in blocks: of every rank each memory holds a tile, chosen from the inside out.

One Einsum after the other keeps whole runs of loops in each memory, so that of two ranks of a
result one has a long tile and the other a short one. What is read again and again had better come
in tiles as square as a memory has room for: 128 x 128 results, say, for which a stretch of both
operands comes at a time. That is what libraries of matrix products do on machines of many cores,
where all of a wave of blocks share what they need in the memory outside of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, product
from math import prod
from operator import itemgetter

from archsim.spec.arch import Architecture
from archsim.spec.mapping import BLOCK_BY_BLOCK, EinsumMapping, Keep, Mapping, Schedule
from einsum_cascade.ir import Einsum, Program

from .einsum_by_einsum import cut_tiles, mapped_einsum, smaller, tile_bytes, wide
from .side_by_side import ArrayLayout, sharing, soonest
from .sites import Site
from .space.array_tiles import family_tiles, outer_parts_first
from .words_moved import LevelLoops, moved_bytes

_USERS = 2
"""A tile is in use while the next one comes."""

_MOST = 1 << 14
"""Tiles that are looked at: of a cascade of many ranks there are millions."""

_Tile = dict[str, int]
"""Coordinates of every rank that a memory holds at a time."""


def block_by_block(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> Mapping | None:
    """The mapping whose memories hold blocks: of all tiles that fit, those that make its slowest
    part least slow, memory by memory from the innermost.

    Parameters
    ----------
    given : mapping
        As for ``einsum_by_einsum``.

    Returns
    -------
    Mapping or None
        Named ``block-by-block``, sequential, every tensor kept in every memory. None where
        Einsums feed one another from iteration to iteration, where there is nothing to cut or too
        much, or where memories are side by side.

    Raises
    ------
    SpecError, MappingError
        As ``einsum_by_einsum``.
    """
    tiles, shapes = family_tiles(program, architecture, given)
    site = Site(program=program, architecture=architecture, shapes=shapes)
    if tiles or site.nest or len(architecture.memories) < 2 or not architecture.tree.is_line:
        return None
    if prod(map(len, _sizes(site, dict.fromkeys(site.shapes, 1)).values())) > _MOST:
        return None
    ways = (lambda e: soonest(site, e)[0], lambda e: sharing(site, e))
    blocks = min((_chosen(site, way) for way in ways), key=_slow)
    site = blocks.site
    tensors = (*(t.name for t in program.inputs), *(e.name for e in program.einsums))
    return Mapping(
        name=BLOCK_BY_BLOCK,
        cascade=program.name,
        tiles=tuple(cut_tiles(site)),
        einsums=tuple(_einsum(blocks, e) for e in program.einsums),
        keep=tuple(Keep(level=m.name, tensors=tensors) for m in architecture.memories),
        schedule=Schedule(kind="sequential"),
    )


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """Tiles of all memories but the outermost, outermost first, and the ranks cut so."""

    site: Site
    layouts: dict[str, ArrayLayout]
    """Of every Einsum: what arrays take is the same however blocks are cut."""
    tiles: tuple[_Tile, ...] = ()
    known: dict[object, tuple[Fraction, Fraction]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """What ``moved`` has said, of any blocks of these layouts."""

    def cut(self, tiles: tuple[_Tile, ...]) -> _Blocks:
        """The ranks cut into these tiles, too."""
        blocks = {r: tuple(sorted({t[r] for t in tiles})) for r in self.site.shapes}
        return replace(self, site=replace(self.site, blocks=blocks), tiles=tiles)

    def moved(self, e: Einsum) -> tuple[Fraction, Fraction]:
        """What an Einsum moves (``moved_bytes``): its own ranks decide, of which it has few."""
        site, layout = self.site, self.layouts[e.name]
        ranks = site.ranks(e)
        key = (e.name, tuple([tuple([tile[r] for r in ranks]) for tile in self.tiles]))
        found = self.known.get(key)
        if found is None:
            inside = {r: wide(site, r, layout.names) for r in ranks}
            found = moved_bytes(site, e, layout.array.name, self.levels(e), inside)
            self.known[key] = found
        return found

    def levels(self, e: Einsum) -> list[LevelLoops]:
        """An Einsum's loops by memory: those of its result outside, sums inside."""
        site, laid = self.site, self.layouts[e.name].names
        results = {*site.program.parallel, *(v.upper() for v in e.target.variables)}
        ranks = sorted(site.ranks(e), key=lambda r: r not in results)
        ordered = outer_parts_first(site.program, ranks)
        found: list[LevelLoops] = []
        # What has one coordinate goes round in the outermost memory.
        above = {rank: max(2, size) for rank, size in site.shapes.items()}
        for memory, tile in zip(site.architecture.memories, (*self.tiles, {}), strict=True):
            loops = (
                p
                for r in ordered
                for p in site.parts(r)
                if p.name not in laid and tile.get(r, 1) <= p.stride < above[r]
            )
            found.append(LevelLoops(memory, tuple(loops)))
            above = tile
        return found


def _chosen(site: Site, way: Callable[[Einsum], ArrayLayout]) -> _Blocks:
    """The tiles of every memory, each chosen with all that is outside of it in the outermost."""
    _, *inner = site.architecture.memories
    # A tile is held by all memories outside of it, too: it has to fit the smallest of these.
    rooms = list(accumulate((memory.capacity_bytes for memory in inner), smaller))
    uncut = _Blocks(site=site, layouts={e.name: way(e) for e in site.program.einsums})
    chosen: tuple[_Tile, ...] = ()
    for number, room in reversed([*enumerate(rooms)]):
        least = chosen[0] if chosen else dict.fromkeys(site.shapes, 1)
        able = _tiles(site, least) if room is None else _tiles_in(site, least, room)
        # Until it is their turn memories further out hold the same tile: only loops of the
        # outermost are around.
        options = [uncut.cut((*(tile for _ in range(number + 1)), *chosen)) for tile in able]
        options = options or [uncut.cut((*(least for _ in range(number + 1)), *chosen))]
        chosen = min(options, key=_slow).tiles[number:]
    return uncut.cut(chosen)


def _tiles(site: Site, least: _Tile) -> Iterator[_Tile]:
    """Tiles of all ranks that hold a smaller one."""
    sizes = _sizes(site, least)
    for combination in product(*sizes.values()):
        yield {**site.shapes, **dict(zip(sizes, combination, strict=True))}


def _sizes(site: Site, least: _Tile) -> dict[str, list[int]]:
    """Sizes of tiles by rank: doubled again and again, up to all of a rank."""
    used = dict.fromkeys(r for e in site.program.einsums for r in site.ranks(e))
    sizes: dict[str, list[int]] = {}
    for rank in used:
        size = site.shapes[rank]
        step = max([least[rank], *(s for s in site.strides if s < size)])
        found = []
        while step < size:
            found.append(step)
            step *= 2
        # Parallel ranks are not shared by anything: nothing is gained by more at a time.
        sizes[rank] = found[:1] or [size] if rank in site.program.parallel else [*found, size]
    return sizes


def _tiles_in(site: Site, least: _Tile, room: int) -> Iterator[_Tile]:
    """Those of which the tiles of each Einsum take half of a memory at the most."""
    # Einsums have few of the ranks, so that most of what each holds has been asked before.
    ranks = [(e, _part_of(tuple(site.ranks(e)))) for e in site.program.einsums]
    known: list[dict[object, bool]] = [{} for _ in ranks]
    for tile in _tiles(site, least):
        for (e, own), found in zip(ranks, known, strict=True):
            key = own(tile)
            fits = found.get(key)
            if fits is None:
                fits = found[key] = _USERS * tile_bytes(site, e, tile) <= room
            if not fits:
                break
        else:
            yield tile


def _part_of(ranks: tuple[str, ...]) -> Callable[[_Tile], object]:
    """What tells tiles apart for an Einsum of some ranks; of none nothing does."""
    return itemgetter(*ranks) if ranks else lambda _: None


def _slow(blocks: _Blocks) -> tuple[Fraction, Fraction, Fraction]:
    """Seconds until all Einsums are done, those of their slowest memories, bytes that all move."""
    site = blocks.site
    total = memories = all_bytes = Fraction(0)
    for e in site.program.einsums:
        slowest, moving = blocks.moved(e)
        busy = blocks.layouts[e.name].cycles / site.architecture.clock_hz
        total += max(slowest, busy)
        memories += slowest
        all_bytes += moving
    return total, memories, all_bytes


def _einsum(blocks: _Blocks, e: Einsum) -> EinsumMapping:
    return mapped_einsum(e, blocks.layouts[e.name], blocks.levels(e))
