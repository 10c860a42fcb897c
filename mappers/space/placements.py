"""Placements of an Einsum in a region: array, ranks along its dimensions, loop orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from archsim.spec.arch import Dimension

Along = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of an array dimension and the members along it."""

Counts = tuple[tuple[int, ...], ...]
"""Coordinates of each rank's members, inner ones first."""

Taken = tuple[int, ...]
"""Number of members of each rank that are laid out."""


@dataclass(frozen=True, slots=True)
class LayableRank:
    """Rank of an Einsum: its elements, and its members that arrays may take, inner ones first."""

    rank: str
    size: int
    fine: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Members along dimensions, and the number of times that they fill the array."""

    along: Along
    iterations: int


def _any(along: Along) -> bool:
    """Allow any layout."""
    del along
    return True


def layouts_of(
    ranks: Sequence[LayableRank],
    dimensions: Sequence[Dimension],
    still: int = 1,
    allowed: Callable[[Along], bool] = _any,
) -> tuple[Layout, ...]:
    """Return layouts of an Einsum on an array, those of the fewest iterations first.

    Parameters
    ----------
    ranks : sequence of LayableRank
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

    >>> ranks = [LayableRank("P", 1024, (("P0", 128), ("P1", 8))),
    ...          LayableRank("M", 1024, (("M0", 128),))]
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
        times = _times(ranks, before)
        # Along dimensions of one size members may change places: it is the same layout.
        sizes = {d.name: d.size for d in dimensions}
        same = frozenset((sizes[name], frozenset(members)) for name, members in along)
        found.setdefault(same, Layout(tuple(along), times * still))
    return tuple(sorted(found.values(), key=lambda layout: layout.iterations))


def fewest_iterations(ranks: Sequence[LayableRank], dimensions: Sequence[Dimension]) -> int:
    """Return how many times the best of all layouts fills an array."""
    counts = tuple(tuple(n for _, n in r.fine) for r in ranks)
    sizes = [r.size for r in ranks]
    return min(
        prod(-(-size // n) for size, n in zip(sizes, covered, strict=True))
        for covered in _covered(counts, tuple(d.size for d in dimensions))
    )


@lru_cache(maxsize=1 << 14)
def _covered(counts: Counts, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return each rank's coordinates on an array at once, for every way to fill it.

    The result depends on the counts of members only, inner ones first, not on the ranks' lengths.
    """
    # Only what is laid out in the end counts, not along which dimensions: most ways agree.
    found: set[Taken] = {(0,) * len(counts)}
    for room in rooms:
        found = {after for taken in found for after in _along(counts, room, taken, 0)}
    return tuple(
        dict.fromkeys(
            tuple(prod(mine[:k]) for mine, k in zip(counts, taken, strict=True)) for taken in found
        )
    )


def _times(ranks: Sequence[LayableRank], taken: Sequence[int]) -> int:
    """Return how many times an array is filled with so many members of each rank."""
    covered = (prod(n for _, n in r.fine[:k]) for r, k in zip(ranks, taken, strict=True))
    return prod(-(-r.size // n) for r, n in zip(ranks, covered, strict=True))


def _filled(counts: Counts, rooms: Sequence[int], taken: Taken) -> Iterator[tuple[Taken, ...]]:
    """Yield what is laid out after each dimension, for every way to fill one after the other."""
    if not rooms:
        yield ()
        return
    for after in _along(counts, rooms[0], taken, 0):
        for others in _filled(counts, rooms[1:], after):
            yield (after, *others)


def _along(counts: Counts, room: int, taken: Taken, number: int) -> Iterator[Taken]:
    """Yield the ways to fill a dimension so that nothing more fits, from one rank on."""
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
    """Placement of an Einsum: its array, what lies along it, and the order of its own loops."""

    array: str
    along: Along
    order: tuple[str, ...]
    """All ranks of the Einsum, outermost first, those of shared loops included."""
    alone: bool = False
    """True if the Einsum runs before or after all shared loops, outside of them."""
