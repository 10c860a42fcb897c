"""How ranks are cut into what an array takes at once and what each memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.bound.fit import divisors
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Tile
from einsum_cascade.ir import Program

from .array_tiles import array_strides

_ALL = 64
"""Ranks of so many tiles are cut in every way."""

_OPEN = 4
"""Ranks of which a memory may hold more or less, at the most."""


@dataclass(frozen=True, kw_only=True)
class Factorisation:
    """A rank's members, inner ones first: fine ones of fixed sizes, then one per memory.

    A rank that is left whole is its own fine member, and no memory has one of its own.

    Examples
    --------
    4,096 queries on arrays 256 wide, below a DRAM and a buffer, are 16 tiles of 256. How many
    of the 16 the buffer holds (P1) is open; the DRAM's loop (P2) goes over the rest:

    >>> p = Factorisation(rank="P", fine=(("P0", 256),), coarse=16, levelled=("P2", "P1"))
    >>> p.held, p.sizes()
    (('P1',), ((1,), (2,), (3,), (4,), (6,), (8,), (16,)))
    >>> [(tile.member, tile.size) for tile in p.tiles({"P1": 4})]
    [('P0', 256), ('P1', 4)]

    With 4 of them the loops of both memories go round, with all 16 only the buffer's:

    >>> p.going(np.array([[4], [16]])).tolist()
    [[True, True], [False, True]]
    """

    rank: str
    fine: tuple[tuple[str, int], ...]
    """Members and their iterations."""
    coarse: int = 1
    """How many tiles of the fine members there are."""
    levelled: tuple[str, ...] = ()
    """Members whose loops are at the memories, outermost first."""
    whole: bool = False
    """Whether the innermost memory always holds all of it."""

    @property
    def held(self) -> tuple[str, ...]:
        """Members whose sizes are open: all but the outermost, inner ones first."""
        return tuple(reversed(self.levelled[1:]))

    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Sizes that the held members may have, inner ones first."""
        if self.whole and self.held:
            return ((self.coarse, *(1 for _ in self.held[1:])),)
        return tuple(_nested_sizes(self.coarse, len(self.held)))

    def going(self, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which loops at memories go round more than once.

        Parameters
        ----------
        sizes : array of int64, (tilings, held)
            Sizes of the held members, inner ones first.

        Returns
        -------
        array of bool, (tilings, levelled)
            Loops outermost first.
        """
        found = []
        rest = np.full(sizes.shape[0], self.coarse)
        for column in range(sizes.shape[1]):
            found.append(sizes[:, column] > 1)
            rest = -(-rest // sizes[:, column])
        return np.stack([rest > 1, *reversed(found)], axis=1)

    def tiles(self, held: dict[str, int]) -> Iterator[Tile]:
        """The factorisation as a mapping writes it, given the sizes of held members."""
        if self.levelled:
            for member, size in (*self.fine, *((m, held[m]) for m in self.held)):
                yield Tile(rank=self.rank, member=member, size=size)


def _nested_sizes(count: int, levels: int) -> Iterator[tuple[int, ...]]:
    """Sizes of tiles of tiles, the innermost first, of a count of things."""
    if not levels:
        yield ()
        return
    for size in tile_sizes(count):
        for outer in _nested_sizes(-(-count // size), levels - 1):
            yield (size, *outer)


def tile_sizes(count: int) -> tuple[int, ...]:
    """Sizes of a tile of ``count`` things, in ascending order.

    Up to 64 are cut into any number of tiles as equal as they can be; of more, there are all
    divisors, and halves of halves, rounded up.

    Examples
    --------
    >>> tile_sizes(16)
    (1, 2, 3, 4, 6, 8, 16)
    >>> tile_sizes(67)
    (1, 2, 3, 5, 9, 17, 34, 67)
    """
    if count <= _ALL:
        return tuple(sorted({-(-count // parts) for parts in range(1, count + 1)}))
    halves = (-(-count >> n) for n in range(count.bit_length() + 1))
    return tuple(sorted({*divisors(count), *halves}))


def factorise_ranks(
    program: Program, architecture: Architecture, shapes: dict[str, int]
) -> tuple[Factorisation, ...]:
    """How all ranks that Einsums go over are cut, parallel ones first.

    Parallel ranks are left whole: their loops are outside of all others, for every tensor has
    them. So are ranks that fit along the shortest array dimension, but for those along which
    values run and the outer parts of what the cascade itself cuts. Where arrays are so small
    that more than four ranks are left, the four of most tiles are open, and of the others each
    memory holds all.

    Parameters
    ----------
    shapes : dict
        Elements of every rank.
    """
    walked = {v.upper() for e in program.einsums for v in e.variables}
    found = [Factorisation(rank=rank, fine=()) for rank in program.parallel]
    stepped = stepped_ranks(program)
    levels = len(architecture.memories)
    for rank in (r.name for r in program.ranks if r.name in walked):
        size = shapes[rank]
        # What goes step by step does not lie along an array: it has no fine parts.
        steps = [] if rank in stepped else [s for s in array_strides(architecture) if s < size]
        pieces = len(steps) + levels
        names = [f"{rank}{n}" for n in range(pieces)] if pieces > 1 else [rank]
        # Names of members must be free: a cascade may call a rank P1 itself.
        if size == 1 or not (steps or rank in stepped) or {*names} & {*shapes} - {rank}:
            found.append(Factorisation(rank=rank, fine=((rank, size),)))
            continue
        counts = tuple(b // a for a, b in zip([1, *steps], steps, strict=False))
        found.append(
            Factorisation(
                rank=rank,
                fine=tuple(zip(names, counts, strict=False)),
                coarse=-(-size // prod(counts)),
                levelled=tuple(reversed(names[len(steps) :])),
            )
        )
    open_ones = [c for c in found if c.levelled]
    open_ones.sort(key=lambda c: (c.rank not in stepped, -c.coarse))
    closed = {c.rank for c in open_ones[_OPEN:]}
    return tuple(replace(c, whole=c.rank in closed) for c in found)


def stepped_ranks(program: Program) -> frozenset[str]:
    """Ranks that are gone along step by step: values run along them, or parts are inside."""
    running = {r for ranks in program.iterative.values() for r in ranks}
    return frozenset(running | {m for r in program.ranks for m in r.partition[:-1]})
