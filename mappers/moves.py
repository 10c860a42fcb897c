"""Small changes of a mapping: what a neighbour of it does otherwise.

A move knows how to change any mapping of the same cascade on the same machine, so that one that was
no good may be tried again after others. What it makes need not be legal: whoever runs it finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import combinations, permutations

from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, Tile

Move = Callable[[Mapping], Mapping]
"""Gives the changed mapping; the same one where there is nothing to change."""

_TIMES = tuple(
    Fraction(*f) for f in ((2, 1), (1, 2), (4, 1), (1, 4), (3, 1), (3, 2), (2, 3), (3, 4))
)
"""How many times as long a tile becomes."""


def moves_of(
    architecture: Architecture, mapping: Mapping, sizes: dict[str, int], fixed: Sequence[str] = ()
) -> Iterator[Move]:
    """All small changes, those that may change most first.

    Parameters
    ----------
    mapping : Mapping
        Of one nest, that names memories and arrays by their names.
    sizes : dict of str to int
        Lengths of its tiles by member, in coordinates, where it does not write them as numbers.
    fixed : sequence of str
        Members whose tiles stay as they are.
    """
    for tile in mapping.tiles:
        if tile.member not in fixed and (tile.member in sizes or isinstance(tile.size, int)):
            for times in _TIMES:
                yield partial(with_tile, member=tile.member, times=times, sizes=sizes)
    tensors = tuple(dict.fromkeys(t for k in mapping.keep for t in k.tensors))
    memories = [m.name for m in architecture.memories]
    places = [*memories, *(a.name for a in architecture.arrays)]
    for tensor in tensors:
        for place in places:
            yield partial(with_place, tensor=tensor, place=place)
    for how in mapping.einsums:
        for one, other in combinations(range(len(how.spatial)), 2):
            yield partial(transposed, einsum=how.einsum, one=one, other=other)
    yield from _moves_of_loops(architecture, mapping)


def _moves_of_loops(architecture: Architecture, mapping: Mapping) -> Iterator[Move]:
    shared = [loop for level in mapping.nest for loop in level.loops]
    memories = [m.name for m in architecture.memories]
    for loop in shared:
        for memory in memories:
            yield partial(with_loop_at, loop=loop, memory=memory)
    for loop, before in permutations(shared, 2):
        yield partial(with_loop_before, loop=loop, before=before)
    for how in mapping.einsums:
        for level in how.nest:
            for loop, before in permutations(level.loops, 2):
                yield partial(with_own_loop_before, einsum=how.einsum, loop=loop, before=before)
        for loop in shared:
            yield partial(with_outside, einsum=how.einsum, loop=loop)


def with_tile(mapping: Mapping, member: str, times: Fraction, sizes: dict[str, int]) -> Mapping:
    """Tiles of a rank longer or shorter, at least one coordinate.

    Examples
    --------
    >>> cut = Mapping(name="m", cascade="c", tiles=(Tile(rank="P", member="P0", size=48),))
    >>> with_tile(cut, "P0", Fraction(3, 2), {}).tiles[0].size
    72
    """

    def changed(tile: Tile) -> Tile:
        size = tile.size if isinstance(tile.size, int) else sizes[tile.member]
        return replace(tile, size=max(1, int(size * times)))

    tiles = tuple(changed(t) if t.member == member else t for t in mapping.tiles)
    return replace(mapping, tiles=tiles)


def with_place(mapping: Mapping, tensor: str, place: str) -> Mapping:
    """A mapping that keeps a tensor in a memory or the registers of an array; one that does,
    without it there.

    Examples
    --------
    >>> one = with_place(Mapping(name="m", cascade="c"), "K", "latches")
    >>> [(k.level, k.tensors) for k in one.keep]
    [('latches', ('K',))]
    >>> [k.tensors for k in with_place(one, "K", "latches").keep]
    [()]
    """
    there = [k for k in mapping.keep if k.level == place]
    if not there:
        return replace(mapping, keep=(*mapping.keep, Keep(level=place, tensors=(tensor,))))
    keep = tuple(_toggled(k, tensor) if k.level == place else k for k in mapping.keep)
    return replace(mapping, keep=keep)


def _toggled(keep: Keep, tensor: str) -> Keep:
    others = tuple(t for t in keep.tensors if t != tensor)
    return replace(keep, tensors=others if tensor in keep.tensors else (*others, tensor))


def transposed(mapping: Mapping, einsum: str, one: int, other: int) -> Mapping:
    """An Einsum's ranks along two dimensions of its array in each other's places."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        spatial = list(how.spatial)
        (first, its), (second, others) = spatial[one], spatial[other]
        spatial[one], spatial[other] = (first, others), (second, its)
        return replace(how, spatial=tuple(spatial))

    return _with_einsum(mapping, einsum, changed)


def with_outside(mapping: Mapping, einsum: str, loop: str) -> Mapping:
    """An Einsum outside of a shared loop; one that is, inside of it."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        others = tuple(name for name in how.outside if name != loop)
        return replace(how, outside=others if loop in how.outside else (*others, loop))

    return _with_einsum(mapping, einsum, changed)


def with_own_loop_before(mapping: Mapping, einsum: str, loop: str, before: str) -> Mapping:
    """One of an Einsum's own loops right outside of another at the same memory."""

    def changed(how: EinsumMapping) -> EinsumMapping:
        nest = tuple(
            replace(level, loops=_moved(level.loops, loop, before))
            if {loop, before} <= {*level.loops}
            else level
            for level in how.nest
        )
        return replace(how, nest=nest)

    return _with_einsum(mapping, einsum, changed)


def with_loop_before(mapping: Mapping, loop: str, before: str) -> Mapping:
    """A shared loop right outside of another, at its memory.

    Examples
    --------
    >>> from archsim.spec.mapping import NestLevel
    >>> levels = (NestLevel(level="DRAM", loops=("H", "P")), NestLevel(level="SRAM", loops=("M",)))
    >>> moved = with_loop_before(Mapping(name="m", cascade="c", nest=levels), "P", "M")
    >>> [(level.level, level.loops) for level in moved.nest]
    [('DRAM', ('H',)), ('SRAM', ('P', 'M'))]
    """
    nest = []
    for level in mapping.nest:
        others = tuple(name for name in level.loops if name != loop)
        nest.append(replace(level, loops=_moved((*others, loop), loop, before)))
        if before not in level.loops:
            nest[-1] = replace(level, loops=others)
    return replace(mapping, nest=tuple(nest))


def with_loop_at(mapping: Mapping, loop: str, memory: str) -> Mapping:
    """A shared loop at another memory, inside of what is there, or outside where it comes from
    further in; where the mapping has no loops at that memory, the same mapping."""
    levels = [level.level for level in mapping.nest]
    here = next(n for n, level in enumerate(mapping.nest) if loop in level.loops)
    if memory not in levels or levels[here] == memory:
        return mapping
    nest = list(mapping.nest)
    nest[here] = replace(nest[here], loops=tuple(x for x in nest[here].loops if x != loop))
    there = levels.index(memory)
    loops = nest[there].loops
    nest[there] = replace(nest[there], loops=(*loops, loop) if there < here else (loop, *loops))
    return replace(mapping, nest=tuple(nest))


def _moved(loops: tuple[str, ...], loop: str, before: str) -> tuple[str, ...]:
    others = [name for name in loops if name != loop]
    if before not in others:
        return loops
    others.insert(others.index(before), loop)
    return tuple(others)


def _with_einsum(
    mapping: Mapping, einsum: str, changed: Callable[[EinsumMapping], EinsumMapping]
) -> Mapping:
    einsums = tuple(changed(how) if how.einsum == einsum else how for how in mapping.einsums)
    return replace(mapping, einsums=einsums)
