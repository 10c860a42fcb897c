"""Factorisations: ranks are cut into spatial tiles and into the tile that each memory holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from archsim.legality.fit import divisors
from archsim.spec.arch import Dimension
from archsim.spec.mapping import Tile
from einsum_cascade.graphs import strongly_connected
from einsum_cascade.ir import Program

from . import policy
from .array_tiles import nested_strides

Cut = tuple[int, ...]


def cuts_of(
    size: int, sides: Iterable[int], planes: Iterable[tuple[int, int]] = ()
) -> tuple[Cut, ...]:
    """Return the cuts of a rank that fill array dimensions.

    Parameters
    ----------
    size : int
        Elements of the rank.
    sides : iterable of int
        Sizes of array dimensions.
    planes : iterable of tuple of int
        Sizes of two dimensions of an array, along which a rank may fit whole.

    Returns
    -------
    tuple of tuple of int
        Each cut once; a stride as long as the rank stands for the whole rank.

    Examples
    --------
    1,024 keys on dimensions of 128 and 1,024 elements:

    >>> cuts_of(1024, (128, 1024))
    ((128,), (1024,), (128, 1024), ())

    64 coordinates fit on an array of 24 by 14 elements along both dimensions:

    >>> cuts_of(64, (14, 24), ((14, 24),))
    ((14,), (24,), (14, 64), ())
    """
    sides = sorted({*sides} - {1})
    found: dict[Cut, None] = {}
    for depth in range(1, policy.MAX_NESTED_CUTS + 1):
        for chosen in combinations(sides, depth):
            found[nested_strides(chosen, size=size)] = None
    found |= {(first, size): None for first, second in planes if first < size <= first * second}
    return (*(cut for cut in found if cut), ())


def cuts_sharing_dimensions(
    size: int,
    sides: Iterable[int],
    companions: Iterable[int],
    planes: Iterable[tuple[int, int]] = (),
) -> tuple[Cut, ...]:
    """Return the cuts of a rank that leave room for a shorter rank along an array dimension.

    Parameters
    ----------
    companions : iterable of int
        Sizes of other ranks; the room they leave on a dimension becomes a stride.
    planes : iterable of tuple of int
        Sizes of two dimensions of an array, along which a companion may fit whole.

    Examples
    --------
    Beside heads that are 64 long a dimension of 256 has room for four keys:

    >>> cuts_sharing_dimensions(1000, (256,), (64,))
    ((4,), (4, 256))

    64 heads fill all 32 columns and two of 16 rows, so that eight keys fit beside them:

    >>> cuts_sharing_dimensions(1000, (16, 32), (64,), ((32, 16),))
    ((8,),)

    32 heads fill what 64 queries leave of the rows and 128 widths of the columns, four by two:

    >>> cuts_sharing_dimensions(32, (256,), (64, 128), ((256, 256),))
    ((4, 8), (2, 8), (4,), (4, 32), (2,), (2, 32))
    """
    found: dict[Cut, None] = {}
    sides, companions = [*sides], [*companions]
    for (first, second), a, b in product(planes, companions, companions):
        along, across = first // a, second // b
        if a != b and min(along, across) > 1 and along * across < size:
            found[along, along * across] = None
    for companion in companions:
        for side in sides if companion < min(sides, default=0) else ():
            if 1 < (shared := side // companion) < min(size, side):
                found[nested_strides((shared,), size=size)] = None
                found[nested_strides((shared, side), size=size)] = None
        for first, second in planes:
            if first < companion and 1 < (shared := second // -(-companion // first)) < size:
                found[shared,] = None
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Factorisation:
    """Members of a partitioned rank: fine ones along arrays, then one for each memory's loop.

    Fine members have fixed sizes. A rank that is not cut is its own fine member, and no memory has
    a loop over it.

    Examples
    --------
    4,096 queries on arrays 256 wide, below a DRAM and a buffer, are 16 tiles of 256. How many of
    the 16 the buffer holds (P1) is open; the DRAM's loop (P2) goes over the rest:

    >>> fine = (("P0", 256),)
    >>> p = Factorisation(rank="P", size=4096, fine=fine, coarse=16, levelled=("P2", "P1"))
    >>> p.held, p.sizes()
    (('P1',), ((1,), (2,), (3,), (4,), (6,), (8,), (16,)))
    >>> [(tile.member, tile.size) for tile in p.tiles({"P1": 4})]
    [('P0', 256), ('P1', 4)]

    With 4 of them both memories have several iterations, with all 16 only the buffer has:

    >>> p.nonunit(np.array([[4], [16]])).tolist()
    [[True, True], [False, True]]
    """

    rank: str
    size: int
    """Elements of the rank."""
    fine: tuple[tuple[str, int], ...]
    """Members for arrays, inner ones first, each with its number of iterations."""
    coarse: int = 1
    """Number of tiles, each of which has all fine members."""
    levelled: tuple[str, ...] = ()
    """Members whose loops are at memories, one for each memory, outermost first."""
    outside: str = ""
    """Member whose loop is outside of all others, of a parallel rank or a rank of size 1."""
    whole: bool = False
    """True if the innermost memory always holds the whole rank."""
    named_sizes: tuple[int, ...] = ()
    """Further tile sizes that constraints name, in units of the fine members' tile."""

    @property
    def fine_size(self) -> int:
        """Elements of a tile of all fine members."""
        return prod(n for _, n in self.fine)

    @property
    def members(self) -> tuple[str, ...]:
        """All members of the rank, inner ones first."""
        outside = (self.outside,) if self.outside else ()
        return (*(m for m, _ in self.fine), *reversed(self.levelled), *outside)

    @property
    def held(self) -> tuple[str, ...]:
        """Members of open size, inner ones first: all members at memories but the outermost."""
        return tuple(reversed(self.levelled[1:]))

    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Return all combinations of sizes of the held members, inner ones first."""
        if self.whole and self.held:
            return ((self.coarse, *(1 for _ in self.held[1:])),)
        return tuple(_nested_sizes(self.coarse, len(self.held), self.named_sizes))

    def nonunit(self, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return, for each tiling, which loops at memories have several iterations.

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
        # Of 16 tiles the buffer holds 4: its loop has 4 iterations, and so has the DRAM's.
        rest = np.full(sizes.shape[0], self.coarse)
        for column in range(sizes.shape[1]):
            found.append(sizes[:, column] > 1)
            rest = -(-rest // sizes[:, column])
        return np.stack([rest > 1, *reversed(found)], axis=1)

    def tiles(self, held: dict[str, int]) -> Iterator[Tile]:
        """Yield the tiles that a mapping states, given the sizes of held members."""
        sizes = dict(self.fine) | {m: held[m] for m in self.held}
        # The outermost member has no tile: its size follows.
        for member in self.members[:-1]:
            yield Tile(rank=self.rank, member=member, size=sizes[member])


def _nested_sizes(
    count: int, levels: int, named_sizes: tuple[int, ...] = ()
) -> Iterator[tuple[int, ...]]:
    """Yield the sizes of nested tiles of ``count`` units, the innermost tile first."""
    if not levels:
        yield ()
        return
    sizes = {*tile_sizes(count), *(n for n in named_sizes if n <= count)}
    for size in sorted(sizes):
        within = tuple(n // size for n in named_sizes if n >= size)
        for outer in _nested_sizes(-(-count // size), levels - 1, within):
            yield (size, *outer)


def tile_sizes(count: int) -> tuple[int, ...]:
    """Return the sizes to try for a tile of ``count`` units, in ascending order.

    Up to 64 units are cut into any number of tiles, as equal as possible. Sizes for more units are
    all divisors, and repeated halves rounded up.

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
    """Return the factorisation of a rank that is cut at the given sizes.

    Parameters
    ----------
    size : int
        Elements of the rank.
    levels : int
        Number of memories, each of which may hold a tile of its own. A parallel rank has one loop,
        outside of all others.
    taken : collection of str
        Names that its members may not have, as a cascade may itself call a rank P1. A rank with a
        taken name is not cut.

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
        # A loop of one iteration may be outside of all others; outer parts of a rank have to be.
        outside = parallel or size == 1
        fine = () if outside else ((rank, size),)
        return Factorisation(rank=rank, size=size, fine=fine, outside=rank if outside else "")
    held = tuple(reversed(names[len(counts) :]))
    return Factorisation(
        rank=rank,
        size=size,
        fine=tuple(zip(names, counts, strict=False)),
        coarse=coarse,
        levelled=() if parallel else held,
        outside="".join(held) if parallel else "",
    )


def closed(
    factorisations: Sequence[Factorisation], stepped: Collection[str]
) -> tuple[Factorisation, ...]:
    """Limit the ranks with open tile sizes to ``MAX_OPEN_RANKS``; the memories hold others whole.

    Ranks along which values run stay open first, then ranks with the most tiles.
    """
    levelled = [c for c in factorisations if c.levelled]
    levelled.sort(key=lambda c: (c.rank not in stepped, -c.coarse))
    shut = {c.rank for c in levelled[policy.MAX_OPEN_RANKS :]}
    return tuple(replace(c, whole=c.rank in shut) for c in factorisations)


def stepped_ranks(program: Program) -> frozenset[str]:
    """Return the ranks that run step by step: values run along them, or they have inner members."""
    running = {r for ranks in program.iterative.values() for r in ranks}
    return frozenset(running | _outer_parts(program))


def unlaid_ranks(program: Program, einsum: str = "") -> frozenset[str]:
    """Return the ranks that cannot lie along an array.

    These are outer members of ranks that the cascade cuts. They also include ranks along which an
    Einsum takes turns with others, or along which its own value runs.

    Parameters
    ----------
    einsum : str
        Einsum that is laid out; without it, ranks count that some Einsums cannot lay out.
    """
    outer, turned = _outer_parts(program), program.memo(turned_ranks)
    taking_turns = {rank for rank, names in turned.items() if not einsum or einsum in names}
    return frozenset({*outer, *taking_turns, *program.iterative.get(einsum, ())})


def turned_ranks(program: Program) -> dict[str, frozenset[str]]:
    """Return the ranks along which Einsums depend on one another and take turns, with these."""
    found: dict[str, frozenset[str]] = {}
    for group in strongly_connected_components(program):
        if len(group) > 1:
            for rank in {r for name in group for r in program.iterative.get(name, ())}:
                found[rank] = found.get(rank, frozenset()) | frozenset(group)
    return found


def joined_ranks(program: Program) -> dict[str, frozenset[str]]:
    """Return the ranks along which values run, with the Einsums that make or read such values."""
    found: dict[str, frozenset[str]] = {}
    for name, ranks in program.iterative.items():
        for rank in ranks:
            readers = {
                e.name
                for e in program.einsums
                if rank.lower() in e.variables and any(a.tensor == name for a in e.reads)
            }
            found[rank] = found.get(rank, frozenset()) | readers | {name}
    return found


def _outer_parts(program: Program) -> set[str]:
    return {m for r in program.ranks for m in r.partition[:-1]}


def strongly_connected_components(program: Program) -> tuple[tuple[str, ...], ...]:
    """Return the strongly connected components of a cascade, in an order in which they can run.

    The Einsums of a component depend on one another: a running value and its inputs. All other
    Einsums that they need are in earlier components. Otherwise Einsums keep the order of the
    cascade.

    Returns
    -------
    tuple of tuple of str
        Names of Einsums, one tuple per component.

    Examples
    --------
    A token's share DKV is made of the state KV of the token before, and KV of DKV:

    >>> from einsum_cascade import Cascade
    >>> strongly_connected_components(Cascade.load("retnet-recurrent").program)
    (('G',), ('DKV', 'KV'), ('O',))
    """
    place = {e.name: number for number, e in enumerate(program.einsums)}
    needs = {e.name: {a.tensor for a in e.reads if a.tensor in place} for e in program.einsums}
    groups = (sorted(group, key=place.__getitem__) for group in strongly_connected(needs))
    left = sorted(groups, key=lambda group: place[group[0]])
    found: list[tuple[str, ...]] = []
    able: set[str] = set()
    while left:
        # One component is always ready: there is no cycle between components.
        first = next(g for g in left if all(needs[name] <= {*able, *g} for name in g))
        left.remove(first)
        able.update(first)
        found.append(tuple(first))
    return tuple(found)


Along = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of an array dimension and the rank members laid out along it."""

Counts = tuple[tuple[int, ...], ...]
"""Number of coordinates of each rank's members, inner ones first."""

Taken = tuple[int, ...]
"""Number of members of each rank that are laid out on the array."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rank members along array dimensions, and the number of times they fill the array."""

    along: Along
    iterations: int


def layouts_of(
    ranks: Sequence[Factorisation],
    dimensions: Sequence[Dimension],
    still: int = 1,
    allowed: Callable[[Along], bool] = lambda _: True,
) -> tuple[Layout, ...]:
    """Return the layouts of an Einsum on an array, the fewest iterations first.

    Parameters
    ----------
    ranks : sequence of Factorisation
        Ranks of the Einsum, in order of preference among equal layouts.
    dimensions : sequence of Dimension
        Dimensions of the array.
    still : int
        Iterations over ranks that cannot be laid out.
    allowed : callable
        Returns whether members may lie along dimensions in some way.

    Examples
    --------
    Queries and keys on 128 x 128 elements, and on 1,024 lanes:

    >>> ranks = [Factorisation(rank="P", size=1024, fine=(("P0", 128), ("P1", 8))),
    ...          Factorisation(rank="M", size=1024, fine=(("M0", 128),))]
    >>> square = [Dimension(name="columns", size=128), Dimension(name="rows", size=128)]
    >>> best = layouts_of(ranks, square)[0]
    >>> best.along, best.iterations
    ((('columns', ('P0',)), ('rows', ('M0',))), 64)
    >>> best = layouts_of(ranks, [Dimension(name="lanes", size=1024)])[0]
    >>> best.along, best.iterations
    ((('lanes', ('P1', 'P0')),), 1024)
    """
    found: dict[frozenset[tuple[int, frozenset[str]]], Layout] = {}
    counts = tuple(tuple(n for _, n in r.fine) for r in ranks)
    for taken in _filled(counts, [d.size for d in dimensions], (0,) * len(ranks)):
        along: list[tuple[str, tuple[str, ...]]] = []
        before = (0,) * len(ranks)
        for dimension, after in zip(dimensions, taken, strict=True):
            members = [
                member
                for rank, low, high in zip(ranks, before, after, strict=True)
                for member, _ in reversed(rank.fine[low:high])
            ]
            if members:
                along.append((dimension.name, tuple(members)))
            # A mapping names outer parts of a rank first, whatever their dimension.
            if any(0 < low < high for low, high in zip(before, after, strict=True)):
                along.insert(0, along.pop())
            before = after
        if not allowed(tuple(along)):
            continue
        covered = [prod(n for _, n in r.fine[:k]) for r, k in zip(ranks, before, strict=True)]
        times = prod(-(-r.size // n) for r, n in zip(ranks, covered, strict=True))
        # Along dimensions of one size members may change places: it is the same layout.
        sizes = {d.name: d.size for d in dimensions}
        same = frozenset((sizes[name], frozenset(members)) for name, members in along)
        found.setdefault(same, Layout(tuple(along), times * still))
    return tuple(sorted(found.values(), key=lambda layout: layout.iterations))


def coverages(counts: Counts, rooms: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the coordinates of each rank that layouts take, each combination once.

    Parameters
    ----------
    counts : tuple of tuple of int
        Coordinates of each rank's fine members, inner ones first.
    rooms : sequence of int
        Sizes of the dimensions of an array.

    Examples
    --------
    16 coordinates of two ranks each, or 32 of the second rank along the longer dimension:

    >>> coverages(((16,), (16, 2)), (32, 16))
    ((16, 16), (16, 32))
    """
    taken = (ways[-1] for ways in _filled(counts, rooms, (0,) * len(counts)))
    return tuple(
        dict.fromkeys(
            tuple(prod(rank[:k]) for rank, k in zip(counts, way, strict=True)) for way in taken
        )
    )


def _filled(counts: Counts, rooms: Sequence[int], taken: Taken) -> Iterator[tuple[Taken, ...]]:
    """Yield every way to fill dimensions in turn: the members laid out after each of them."""
    if not rooms:
        yield ()
        return
    for after in _along(counts, rooms[0], taken, 0):
        for others in _filled(counts, rooms[1:], after):
            yield (after, *others)


def _along(counts: Counts, room: int, taken: Taken, number: int) -> Iterator[Taken]:
    """Yield the ways to fill one dimension until no further member fits, from one rank onwards."""
    if number == len(counts):
        # Where another member would fit, the way that takes it comes by itself.
        fits = any(k < len(mine) and mine[k] <= room for mine, k in zip(counts, taken, strict=True))
        if not fits:
            yield taken
        return
    options = [(taken, room)]
    for member in range(taken[number], len(counts[number])):
        room //= counts[number][member]
        if not room:
            break
        options.append(((*taken[:number], member + 1, *taken[number + 1 :]), room))
    for after, left in reversed(options):
        yield from _along(counts, left, after, number + 1)


@dataclass(frozen=True, slots=True)
class EinsumPlacement:
    """Placement of an Einsum: its array, the rank members along it, and the order of its loops."""

    array: str
    along: Along
    order: tuple[str, ...]
    """All ranks of the Einsum, outermost first, including ranks of shared loops."""
    alone: bool = False
    """True if the Einsum runs before or after all shared loops, outside of them."""
