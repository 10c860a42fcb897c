"""Blocked mapping: each memory holds a tile of every rank. Tile sizes are chosen from the
innermost memory outwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate, product
from math import inf, prod

from archsim.spec.arch import Architecture
from archsim.spec.mapping import BLOCK_BY_BLOCK, Keep, Mapping, Schedule
from einsum_cascade.ir import Einsum, Program

from ..space.array_tiles import family_tiles, outer_parts_first
from . import policy
from .context import MappingContext
from .einsum_by_einsum import cut_tiles, mapped_einsum
from .spatial_factorisation import ArrayLayout, sharing, soonest
from .traffic_estimate import LevelLoops, moved_bytes, passed_by

_Tile = dict[str, int]
"""Size of a memory's tile along every rank, in coordinates."""


def block_by_block(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> Mapping | None:
    """Return a mapping that cuts all ranks into blocks for each inner memory.

    Tile sizes are chosen memory by memory, from the innermost outwards. Among the tiles that fit a
    memory, the fastest by the traffic estimate is chosen.

    Parameters
    ----------
    given : mapping
        As for ``einsum_by_einsum``.

    Returns
    -------
    Mapping or None
        Named ``block-by-block``, sequential, with every tensor kept in every memory. None where
        Einsums feed one another from step to step, where there is nothing to cut or too much, or
        where the memories branch.

    Raises
    ------
    SpecError, MappingError
        As for ``einsum_by_einsum``.
    """
    tiles, shapes = family_tiles(program, architecture, given)
    context = MappingContext(program=program, architecture=architecture, shapes=shapes)
    if tiles or context.nest or len(architecture.memories) < 2 or not architecture.tree.is_line:
        return None
    if (
        prod(map(len, _sizes(context, dict.fromkeys(context.shapes, 1)).values()))
        > policy.MAX_BLOCK_COMBINATIONS
    ):
        return None
    ways = (lambda e: soonest(context, e)[0], lambda e: sharing(context, e))
    blocks = min((_chosen(context, way) for way in ways), key=_slow)
    context = blocks.context
    return Mapping(
        name=BLOCK_BY_BLOCK,
        cascade=program.name,
        tiles=tuple(cut_tiles(context)),
        einsums=tuple(
            mapped_einsum(e, blocks.layouts[e.name], blocks.levels(e)) for e in program.einsums
        ),
        keep=tuple(Keep(level=m.name, tensors=program.tensors) for m in architecture.memories),
        schedule=Schedule(kind="sequential"),
    )


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """Tile of every memory except the outermost one, outermost first, with the ranks cut
    accordingly."""

    context: MappingContext
    layouts: dict[str, ArrayLayout]
    """Array layout of every Einsum; tile sizes do not change it."""
    tiles: tuple[_Tile, ...] = ()
    known: dict[object, tuple[Fraction, Fraction]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Memo of ``moved``, shared by all tile sizes tried with these layouts."""

    def cut(self, tiles: tuple[_Tile, ...]) -> _Blocks:
        """Return these blocks with other tile sizes, and ranks cut accordingly."""
        blocks = {r: tuple(sorted({t[r] for t in tiles})) for r in self.context.shapes}
        return replace(self, context=replace(self.context, blocks=blocks), tiles=tiles)

    def moved(self, e: Einsum) -> tuple[Fraction, Fraction]:
        """Return an Einsum's seconds at its slowest memory, and the bytes moved (``moved_bytes``).

        Results are memoised by the tile sizes along the Einsum's own ranks: no other rank changes
        them.
        """
        context, layout = self.context, self.layouts[e.name]
        ranks = context.ranks(e)
        key = (e.name, tuple([tuple([tile[r] for r in ranks]) for tile in self.tiles]))
        found = self.known.get(key)
        if found is None:
            inside = context.laid_tile(e, layout.names)
            levels = self.levels(e)
            passed = passed_by(context, e, layout.array.name, len(levels))
            found = self.known[key] = moved_bytes(context, passed, levels, inside)
        return found

    def levels(self, e: Einsum) -> list[LevelLoops]:
        """Return an Einsum's loops at each memory: ranks of the result outside, reduced ranks
        inside."""
        context, laid = self.context, self.layouts[e.name].names
        results = context.ranks_of(e.target)
        ranks = sorted(context.ranks(e), key=lambda r: r not in results)
        ordered = outer_parts_first(context.program, ranks)
        found: list[LevelLoops] = []
        # A loop of one iteration is at the outermost memory.
        above = {rank: max(2, size) for rank, size in context.shapes.items()}
        for memory, tile in zip(context.architecture.memories, (*self.tiles, {}), strict=True):
            loops = (
                p
                for r in ordered
                for p in context.parts(r)
                if p.name not in laid and tile.get(r, 1) <= p.stride < above[r]
            )
            found.append(LevelLoops(memory, tuple(loops)))
            above = tile
        return found


def _chosen(context: MappingContext, way: Callable[[Einsum], ArrayLayout]) -> _Blocks:
    """Choose the tile of every memory, from the innermost outwards.

    While one memory's tile is chosen, all loops outside of this tile are at the outermost memory.
    """
    _, *inner = context.architecture.memories
    # Memories further out hold the tile as well: it has to fit the smallest of them.
    rooms = [*accumulate((memory.capacity_bytes or inf for memory in inner), min)]
    uncut = _Blocks(context=context, layouts={e.name: way(e) for e in context.program.einsums})
    chosen: tuple[_Tile, ...] = ()
    for number, room in reversed([*enumerate(rooms)]):
        least = chosen[0] if chosen else dict.fromkeys(context.shapes, 1)
        able = _tiles_in(context, least, room)
        # Memories further out hold the same tile for now, so that only the outermost has loops.
        options = [uncut.cut((*(tile for _ in range(number + 1)), *chosen)) for tile in able]
        options = options or [uncut.cut((*(least for _ in range(number + 1)), *chosen))]
        chosen = min(options, key=_slow).tiles[number:]
    return uncut.cut(chosen)


def _tiles(context: MappingContext, least: _Tile) -> Iterator[_Tile]:
    """Yield all combinations of tile sizes that are at least as large as a given tile."""
    sizes = _sizes(context, least)
    for combination in product(*sizes.values()):
        yield {**context.shapes, **dict(zip(sizes, combination, strict=True))}


def _sizes(context: MappingContext, least: _Tile) -> dict[str, list[int]]:
    """Return the tile sizes to try for each rank: repeatedly doubled, up to the whole rank."""
    used = dict.fromkeys(r for e in context.program.einsums for r in context.ranks(e))
    sizes: dict[str, list[int]] = {}
    for rank in used:
        size = context.shapes[rank]
        step = max([least[rank], *(s for s in context.strides if s < size)])
        found = []
        while step < size:
            found.append(step)
            step *= 2
        # No tensors are shared along parallel ranks: longer tiles gain nothing.
        sizes[rank] = found[:1] or [size] if rank in context.program.parallel else [*found, size]
    return sizes


def _tiles_in(context: MappingContext, least: _Tile, room: float) -> Iterator[_Tile]:
    """Yield tiles for which each Einsum's tensors take at most half of a memory."""
    # An Einsum has few of the ranks, so that most of its tiles come again.
    known: dict[object, bool] = {}

    def fits(e: Einsum, tile: _Tile) -> bool:
        key = (e.name, *[tile[rank] for rank in context.ranks(e)])
        if key not in known:
            known[key] = policy.BUFFERED_TILES * tile_bytes(context, e, tile) <= room
        return known[key]

    for tile in _tiles(context, least):
        if all(fits(e, tile) for e in context.program.einsums):
            yield tile


def tile_bytes(context: MappingContext, e: Einsum, inside: dict[str, int]) -> Fraction:
    """Return the bytes of one tile of every tensor that an Einsum accesses.

    If an access gathers, repeated elements count each time.
    """
    return context.architecture.word_bytes * sum(
        prod(inside[r] for r in context.ranks_of(a)) * context.words.of(a.tensor)
        for a in context.accesses(e)
    )


def _slow(blocks: _Blocks) -> tuple[Fraction, Fraction, Fraction]:
    """Return the estimated cost of a mapping as three numbers, compared in this order.

    The first is the seconds of all Einsums. The second is the seconds of their slowest memories.
    The third is the bytes moved.
    """
    context = blocks.context
    total = memories = all_bytes = Fraction(0)
    for e in context.program.einsums:
        slowest, moving = blocks.moved(e)
        busy = blocks.layouts[e.name].cycles / context.architecture.clock_hz
        total += max(slowest, busy)
        memories += slowest
        all_bytes += moving
    return total, memories, all_bytes
