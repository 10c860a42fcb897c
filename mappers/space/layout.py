"""What an Einsum may lay out along the dimensions of an array.

Any members may lie side by side along a dimension that has room for them: parts of ranks,
heads, a rank that is summed over beside one of the result. A dimension takes what fits until
nothing more does; of one rank the inner part comes before the outer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from archsim.spec.arch import Dimension

Along = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of an array dimension and the members along it."""

Counts = tuple[tuple[int, ...], ...]
"""By rank how many coordinates each of its members has, inner ones first."""

Taken = tuple[int, ...]
"""How many members of each rank are laid out."""


@dataclass(frozen=True, slots=True)
class LayableRank:
    """A rank of an Einsum: its elements, and its members that arrays may take, inner ones first."""

    rank: str
    size: int
    fine: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Members along dimensions, and how many times the array is filled so."""

    along: Along
    iterations: int


def _any(along: Along) -> bool:
    """Any layout will do."""
    del along
    return True


def layouts_of(
    ranks: Sequence[LayableRank],
    dimensions: Sequence[Dimension],
    still: int = 1,
    allowed: Callable[[Along], bool] = _any,
) -> tuple[Layout, ...]:
    """Layouts of an Einsum on an array, those of the fewest iterations first.

    Parameters
    ----------
    ranks : sequence of LayableRank
        The Einsum's, those first that are to be laid out first where it makes no difference.
    dimensions : sequence of Dimension
        Of the array.
    still : int
        Iterations over what cannot be laid out.
    allowed : callable
        Whether members may lie so.

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
            # Outer parts of a rank are named first, on whatever dimension they are.
            if any(0 < low < high for low, high in zip(before, after, strict=True)):
                along.insert(0, along.pop())
            before = after
        if not allowed(tuple(along)):
            continue
        times = _times(ranks, before)
        # Along dimensions of one size members may change places: the same layout.
        sizes = {d.name: d.size for d in dimensions}
        same = frozenset((sizes[name], frozenset(members)) for name, members in along)
        found.setdefault(same, Layout(tuple(along), times * still))
    return tuple(sorted(found.values(), key=lambda layout: layout.iterations))


def fewest_iterations(ranks: Sequence[LayableRank], dimensions: Sequence[Dimension]) -> int:
    """How many times an array is filled by the best of ``layouts_of``, where any is allowed."""
    counts = tuple(tuple(n for _, n in r.fine) for r in ranks)
    sizes = [r.size for r in ranks]
    return min(
        prod(-(-size // n) for size, n in zip(sizes, covered, strict=True))
        for covered in _covered(counts, tuple(d.size for d in dimensions))
    )


@lru_cache(maxsize=1 << 14)
def _covered(counts: Counts, rooms: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Coordinates of each rank that lie on an array at once, in every way that fills it: of ranks
    of whatever length, by the counts of their members, inner ones first."""
    # What is taken in the end counts, not along which dimensions: most ways come to the same.
    found: set[Taken] = {(0,) * len(counts)}
    for room in rooms:
        found = {after for taken in found for after in _along(counts, room, taken, 0)}
    return tuple(
        dict.fromkeys(
            tuple(prod(mine[:k]) for mine, k in zip(counts, taken, strict=True)) for taken in found
        )
    )


def _times(ranks: Sequence[LayableRank], taken: Sequence[int]) -> int:
    """How many times an array is filled that takes so many members of each rank."""
    covered = (prod(n for _, n in r.fine[:k]) for r, k in zip(ranks, taken, strict=True))
    return prod(-(-r.size // n) for r, n in zip(ranks, covered, strict=True))


def _filled(counts: Counts, rooms: Sequence[int], taken: Taken) -> Iterator[tuple[Taken, ...]]:
    """What is taken after each dimension, in every way that fills one after the other."""
    if not rooms:
        yield ()
        return
    for after in _along(counts, rooms[0], taken, 0):
        for others in _filled(counts, rooms[1:], after):
            yield (after, *others)


def _along(counts: Counts, room: int, taken: Taken, number: int) -> Iterator[Taken]:
    """Ways to fill a dimension so that nothing more fits, from one rank on."""
    if number == len(counts):
        # Where something more would fit this is no way: the one that takes it comes by itself.
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
