"""Partition factors: into how many tiles each rank is split over the cores."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from collections.abc import Mapping as Sizes
from math import prod

from ..spec.mapping import SpreadRank
from .policy import (
    MAX_CORES_ENUMERATED,
    SQUARE_TILE_TOLERANCE,
)

Partitioning = tuple[tuple[str, tuple[SpreadRank, ...]], ...]
"""By memory what is spread over the instances that it feeds."""


def partition_factors(shapes: Sizes[str, int], available: int, square: bool) -> dict[str, int]:
    """Parts of ranks, so that the largest part of all is as small as it can be.

    Of parts as large, those with most parts of the first ranks. With ``square`` those with the
    least sum of their sides, if hardly larger: the less they need that others need, too.

    Examples
    --------
    Of 12 heads on 7 instances there are at best 2 for each of 6. Of 12 rows and 100 columns on
    24 each has 1 row and 50 columns, or 6 rows and 9 columns, which takes fewer of both.

    >>> partition_factors({"H": 12}, 7, False)
    {'H': 6}
    >>> [partition_factors({"N": 12, "J": 100}, 24, square) for square in (False, True)]
    [{'N': 12, 'J': 2}, {'N': 2, 'J': 12}]
    """
    candidates = all_partition_factors(shapes, available)
    sizes = [[-(-n // parts[r]) for r, n in shapes.items()] for parts in candidates]
    if not square:
        return candidates[min(range(len(candidates)), key=lambda n: (prod(sizes[n]), sizes[n]))]
    most = SQUARE_TILE_TOLERANCE * min(map(prod, sizes))
    near = [n for n, size in enumerate(sizes) if prod(size) <= most]
    return candidates[min(near, key=lambda n: (sum(sizes[n]), prod(sizes[n])))]


def all_partition_factors(shapes: Sizes[str, int], available: int) -> list[dict[str, int]]:
    """All parts of ranks whose sizes differ, no more of them together than are available."""
    return list(_parts(tuple(shapes.items()), available))


def _parts(ranks: tuple[tuple[str, int], ...], available: int) -> Iterator[dict[str, int]]:
    """All parts of ranks whose sizes differ, no more of them together than are available."""
    if not ranks:
        yield {}
        return
    (rank, extent), *others = ranks
    for parts in useful_factors(extent, available):
        for rest in _parts(tuple(others), available // parts):
            yield {rank: parts, **rest}


def useful_factors(extent: int, available: int) -> list[int]:
    """Numbers of parts of which no smaller one has parts as small.

    Of many instances (more than any machine has cores) those near powers of two have to do.

    Examples
    --------
    >>> useful_factors(12, 24), useful_factors(7, 4)
    ([1, 2, 3, 4, 6, 12], [1, 2, 3, 4])
    """
    most = min(extent, available)
    tried: Iterable[int] = range(1, most + 1)
    if most > MAX_CORES_ENUMERATED or available > MAX_CORES_ENUMERATED:
        tried = [*(1 << n for n in range(most.bit_length())), most]
    # 12 in 5 parts are up to 3 in each, as in 4: of each size that there is the fewest parts.
    sizes = {-(-extent // n) for n in tried}
    return sorted({-(-extent // size) for size in sizes})


def cores_used(partitioning: Partitioning) -> int:
    """Instances that a way to spread gives something to do."""
    return prod(s.parts or 1 for _, ranks in partitioning for s in ranks)


def distinct_partitionings(
    candidates: Iterable[Partitioning], parallel: Collection[str], shapes: Sizes[str, int]
) -> tuple[Partitioning, ...]:
    """Ways to spread that differ, the first of those that do not: every tensor has all parallel
    ranks, so that of these only how much an instance has makes a difference.

    Parameters
    ----------
    parallel : collection of str
        The cascade's parallel ranks.
    shapes : mapping of str to int
        Elements of ranks.

    Examples
    --------
    64 sequences of 12 heads in 96 parts are 8 pairs in each, whichever are in more parts:

    >>> def spread(**parts: int) -> Partitioning:
    ...     ranks = (SpreadRank(instances="sms", rank=r, parts=n) for r, n in parts.items())
    ...     return (("L2", tuple(ranks)),)
    >>> candidates = spread(B=32, H=3), spread(B=16, H=6), spread(B=8, P=12)
    >>> found = distinct_partitionings(candidates, ("B", "H"), {"B": 64, "H": 12, "P": 4096})
    >>> [[(s.rank, s.parts) for s in ranks] for ((_, ranks),) in found]
    [[('B', 32), ('H', 3)], [('B', 8), ('P', 12)]]
    """
    found: dict[Hashable, Partitioning] = {}
    for partitioning in candidates:
        spread = [s for _, ranks in partitioning for s in ranks]
        key: Hashable = partitioning
        if all(s.rank in parallel and s.rank in shapes for s in spread):
            parts = tuple(
                (memory, prod(s.parts or 1 for s in ranks)) for memory, ranks in partitioning
            )
            key = parts, prod(-(-shapes[s.rank] // (s.parts or 1)) for s in spread)
        found.setdefault(key, partitioning)
    return tuple(found.values())
