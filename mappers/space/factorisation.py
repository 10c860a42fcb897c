"""Factorisations of ranks into spatial parts and the tile each memory holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.legality.fit import divisors
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Tile
from einsum_cascade.ir import Program

from . import policy
from .components import strongly_connected_components

Cut = tuple[int, ...]


def sides_of(architecture: Architecture) -> tuple[int, ...]:
    """Sizes of all array dimensions, ascending, each once."""
    return tuple(sorted({d.size for a in architecture.arrays for d in a.dimensions} - {1}))


def cuts_of(size: int, sides: Iterable[int]) -> tuple[Cut, ...]:
    """Cuts of a rank that fill array dimensions.

    Parameters
    ----------
    size : int
        Elements of the rank.
    sides : iterable of int
        Sizes of array dimensions.

    Returns
    -------
    tuple of tuple of int
        Each once; a stride as long as the rank stands for all of it.

    Examples
    --------
    1,024 keys on dimensions of 128 and 1,024 elements:

    >>> cuts_of(1024, (128, 1024))
    ((128,), (1024,), (128, 1024), ())
    """
    sides = sorted({*sides} - {1})
    found: dict[Cut, None] = {}
    for depth in range(1, policy.MAX_NESTED_CUTS + 1):
        for chosen in combinations(sides, depth):
            found[_nested(size, chosen)] = None
    return (*(cut for cut in found if cut), ())


def cuts_beside(size: int, sides: Iterable[int], companions: Iterable[int]) -> tuple[Cut, ...]:
    """Cuts of a rank of which a part lies beside a shorter rank.

    Parameters
    ----------
    companions : iterable of int
        Sizes of shorter ranks: what these leave of a dimension is a stride.

    Examples
    --------
    Beside heads that are 64 long a dimension of 256 has room for four keys:

    >>> cuts_beside(1000, (256,), (64,))
    ((4,), (4, 256))
    """
    found: dict[Cut, None] = {}
    for companion in companions:
        for side in sides:
            if 1 < (beside := side // companion) < min(size, side):
                found[_nested(size, (beside,))] = None
                found[_nested(size, (beside, side))] = None
    return tuple(found)


def _nested(size: int, sides: Iterable[int]) -> Cut:
    """Strides that fill some dimensions, the smallest first, up to the whole rank."""
    strides: list[int] = []
    for side in sides:
        below = strides[-1] if strides else 1
        if below >= size:
            break
        stride = min(size, side // below * below)
        if stride > below:
            strides.append(stride)
    return tuple(strides)


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
    outside: str = ""
    """The member whose loop is outside of all others: of a parallel rank, or of one element."""
    whole: bool = False
    """Whether the innermost memory always holds all of it."""
    asked: tuple[int, ...] = ()
    """Sizes of tiles, in tiles of the fine members, that are taken beside the usual ones."""

    @property
    def members(self) -> tuple[str, ...]:
        """All members, inner ones first."""
        outside = (self.outside,) if self.outside else ()
        return (*(m for m, _ in self.fine), *reversed(self.levelled), *outside)

    @property
    def held(self) -> tuple[str, ...]:
        """Members whose sizes are open: all but the outermost, inner ones first."""
        return tuple(reversed(self.levelled[1:]))

    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Sizes that the held members may have, inner ones first."""
        if self.whole and self.held:
            return ((self.coarse, *(1 for _ in self.held[1:])),)
        return tuple(_nested_sizes(self.coarse, len(self.held), self.asked))

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
        # 16 tiles of which the buffer holds 4: its loop goes round (4 > 1), and so does the DRAM's,
        # 4 times.
        rest = np.full(sizes.shape[0], self.coarse)
        for column in range(sizes.shape[1]):
            found.append(sizes[:, column] > 1)
            rest = -(-rest // sizes[:, column])
        return np.stack([rest > 1, *reversed(found)], axis=1)

    def tiles(self, held: dict[str, int]) -> Iterator[Tile]:
        """The factorisation as a mapping writes it, given the sizes of held members."""
        sizes = dict(self.fine) | {m: held[m] for m in self.held}
        # The outermost member is implied.
        for member in self.members[:-1]:
            yield Tile(rank=self.rank, member=member, size=sizes[member])


def _nested_sizes(
    count: int, levels: int, asked: tuple[int, ...] = ()
) -> Iterator[tuple[int, ...]]:
    """Sizes of tiles of tiles, the innermost first, of a count of things."""
    if not levels:
        yield ()
        return
    sizes = {*tile_sizes(count), *(n for n in asked if n <= count)}
    for size in sorted(sizes):
        within = tuple(n // size for n in asked if n >= size)
        for outer in _nested_sizes(-(-count // size), levels - 1, within):
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
    if count <= policy.MAX_EXHAUSTIVE_TILES:
        return tuple(sorted({-(-count // parts) for parts in range(1, count + 1)}))
    halves = (-(-count >> n) for n in range(count.bit_length() + 1))
    return tuple(sorted({*divisors(count), *halves}))


def factorise(
    rank: str, size: int, cut: Cut, levels: int, taken: Collection[str], *, parallel: bool
) -> Factorisation:
    """One rank cut so.

    Parameters
    ----------
    size : int
        Its elements.
    levels : int
        Memories: each may hold a tile of its own. Of a parallel rank there is one loop, outside
        of all others.
    taken : collection of str
        Names that its members may not have: a cascade may call a rank P1 itself. Such a rank
        is not cut.

    Examples
    --------
    >>> cut = factorise("P", 4096, (128, 1024), 2, (), parallel=False)
    >>> cut.fine, cut.coarse, cut.levelled
    ((('P0', 128), ('P1', 8)), 4, ('P3', 'P2'))
    >>> found = factorise("H", 12, (12,), 2, (), parallel=True)
    >>> found.fine, found.coarse, found.levelled, found.outside, found.whole
    ((('H', 12),), 1, (), '', False)
    """
    counts = [-(-b // a) for a, b in zip((1, *cut), cut, strict=False)]
    coarse = -(-size // prod(counts))
    loops = 0 if coarse == 1 else 1 if parallel else levels
    pieces = len(counts) + loops
    names = [f"{rank}{n}" for n in range(pieces)] if pieces > 1 else [rank]
    if (not counts and (parallel or size == 1)) or {*names} & {*taken} - {rank}:
        # What goes round once may be outside of all others, too: outer parts of a rank have to.
        outside = parallel or size == 1
        fine = () if outside else ((rank, size),)
        return Factorisation(rank=rank, fine=fine, outside=rank if outside else "")
    held = tuple(reversed(names[len(counts) :]))
    return Factorisation(
        rank=rank,
        fine=tuple(zip(names, counts, strict=False)),
        coarse=coarse,
        levelled=() if parallel else held,
        outside="".join(held) if parallel else "",
    )


def closed(
    factorisations: Sequence[Factorisation], stepped: Collection[str]
) -> tuple[Factorisation, ...]:
    """The same with four open ranks at the most: of others each memory holds all.

    Those along which values run, and then those of most tiles, stay open.
    """
    levelled = [c for c in factorisations if c.levelled]
    levelled.sort(key=lambda c: (c.rank not in stepped, -c.coarse))
    shut = {c.rank for c in levelled[policy.MAX_OPEN_RANKS :]}
    return tuple(replace(c, whole=c.rank in shut) for c in factorisations)


def stepped_ranks(program: Program) -> frozenset[str]:
    """Ranks that are gone along step by step: values run along them, or parts are inside."""
    running = {r for ranks in program.iterative.values() for r in ranks}
    return frozenset(running | _outer_parts(program))


def unlaid_ranks(program: Program, einsum: str = "") -> frozenset[str]:
    """Ranks that no array may take at once.

    Outer parts of what the cascade cuts are none, nor ranks along which several Einsums feed
    one another: these take turns. Where a value runs by itself, it is the only one that steps.

    Parameters
    ----------
    einsum : str
        Of this Einsum also those along which its own value runs.
    """
    return program.memo(_turned_ranks) | {*program.iterative.get(einsum, ())}


def _turned_ranks(program: Program) -> frozenset[str]:
    """Outer parts, and ranks along which several Einsums feed one another."""
    found = _outer_parts(program)
    for group in strongly_connected_components(program):
        if len(group) > 1:
            found |= {r for name in group for r in program.iterative.get(name, ())}
    return frozenset(found)


def _outer_parts(program: Program) -> set[str]:
    return {m for r in program.ranks for m in r.partition[:-1]}
