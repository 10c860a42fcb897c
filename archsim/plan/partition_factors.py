"""Partition factors: the number of tiles into which each rank is split over the cores.

Cores that split a sum have partial results, which meet in a shared memory.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from collections.abc import Mapping as Sizes
from math import prod

from einsum_cascade.ir import Access, Affine, Einsum, Index, Program, walk

from ..nest.partition import has_mask_over, stepwise_ranks
from ..spec.mapping import SpatialRank
from . import policy
from .problem import MappingProblem

Partitioning = tuple[tuple[str, tuple[SpatialRank, ...]], ...]
"""Ranks that are partitioned over the cores, by the memory that feeds these cores."""


def partition_factors(shapes: Sizes[str, int], available: int, square: bool) -> dict[str, int]:
    """Return the number of tiles of each rank that makes the largest tile as small as possible.

    Among equal candidates the first ranks have most tiles. With ``square``, the sum of the tile's
    sides is minimised among nearly smallest tiles: a nearly square tile shares fewer operands with
    other tiles.

    Examples
    --------
    12 heads on 7 cores give at best 2 heads to each of 6 cores. 12 rows and 100 columns on 24 cores
    give 1 row and 50 columns to each, or 6 rows and 9 columns, which need fewer of both.

    >>> partition_factors({"H": 12}, 7, False)
    {'H': 6}
    >>> [partition_factors({"N": 12, "J": 100}, 24, square) for square in (False, True)]
    [{'N': 12, 'J': 2}, {'N': 2, 'J': 12}]
    """
    candidates = all_partition_factors(shapes, available)
    sizes = [[-(-n // parts[r]) for r, n in shapes.items()] for parts in candidates]
    if not square:
        return candidates[min(range(len(candidates)), key=lambda n: (prod(sizes[n]), sizes[n]))]
    most = policy.SQUARE_TILE_TOLERANCE * min(map(prod, sizes))
    nearly_smallest = [n for n, size in enumerate(sizes) if prod(size) <= most]
    return candidates[min(nearly_smallest, key=lambda n: (sum(sizes[n]), prod(sizes[n])))]


def all_partition_factors(shapes: Sizes[str, int], available: int) -> list[dict[str, int]]:
    """Return all combinations of useful numbers of tiles for at most ``available`` cores."""
    if not shapes:
        return [{}]
    (rank, extent), *others = shapes.items()
    return [
        {rank: parts, **rest}
        for parts in useful_factors(extent, available)
        for rest in all_partition_factors(dict(others), available // parts)
    ]


def useful_factors(extent: int, available: int) -> list[int]:
    """Return the useful numbers of tiles: no smaller number makes the largest tile as small.

    For more cores than any machine has, numbers near powers of two suffice.

    Examples
    --------
    >>> useful_factors(12, 24), useful_factors(7, 4)
    ([1, 2, 3, 4, 6, 12], [1, 2, 3, 4])
    """
    most = min(extent, available)
    tried: Iterable[int] = range(1, most + 1)
    if most > policy.MAX_CORES_ENUMERATED or available > policy.MAX_CORES_ENUMERATED:
        tried = [*(1 << n for n in range(most.bit_length())), most]
    # 12 elements in 5 tiles are up to 3 in each, as in 4: the fewest tiles of each size suffice.
    sizes = {-(-extent // n) for n in tried}
    return sorted({-(-extent // size) for size in sizes})


def cores_used(partitioning: Partitioning) -> int:
    """Return the number of cores that a partitioning uses."""
    return prod(s.parts or 1 for _, ranks in partitioning for s in ranks)


def distinct_partitionings(
    candidates: Iterable[Partitioning], parallel: Collection[str], shapes: Sizes[str, int]
) -> tuple[Partitioning, ...]:
    """Return partitionings without equivalent ones; of equivalent partitionings the first stays.

    Two partitionings are equivalent if they split the parallel ranks into equally large shares:
    every tensor has all parallel ranks.

    Parameters
    ----------
    parallel : collection of str
        The cascade's parallel ranks.
    shapes : mapping of str to int
        Elements of ranks.

    Examples
    --------
    64 sequences of 12 heads in 96 parts are 8 pairs in each, whichever are in more parts:

    >>> def partitioned(**parts: int) -> Partitioning:
    ...     ranks = (SpatialRank(instances="sms", rank=r, parts=n) for r, n in parts.items())
    ...     return (("L2", tuple(ranks)),)
    >>> candidates = partitioned(B=32, H=3), partitioned(B=16, H=6), partitioned(B=8, P=12)
    >>> found = distinct_partitionings(candidates, ("B", "H"), {"B": 64, "H": 12, "P": 4096})
    >>> [[(s.rank, s.parts) for s in ranks] for ((_, ranks),) in found]
    [[('B', 32), ('H', 3)], [('B', 8), ('P', 12)]]
    """
    found: dict[Hashable, Partitioning] = {}
    for partitioning in candidates:
        partitioned = [s for _, ranks in partitioning for s in ranks]
        key: Hashable = partitioning
        if all(s.rank in parallel and s.rank in shapes for s in partitioned):
            parts = tuple(
                (memory, prod(s.parts or 1 for s in ranks)) for memory, ranks in partitioning
            )
            key = parts, prod(-(-shapes[s.rank] // (s.parts or 1)) for s in partitioned)
        found.setdefault(key, partitioning)
    return tuple(found.values())


def summed_ranks(program: Program) -> Iterator[str]:
    """Yield the ranks that can be partitioned although some Einsums sum over them.

    Every Einsum can compute a tile of such a rank. Cores then have partial results, which meet in
    the memory outside the cores.
    """
    stepwise = stepwise_ranks(program)
    for rank in program.ranks:
        if rank.family or rank.partition or rank.name in stepwise:
            continue
        if has_mask_over(program, rank.name):
            continue
        users = [e for e in program.einsums if rank.variable in e.variables]
        if all(is_divisible(program, e, rank.variable) for e in users) and any(
            rank.variable not in e.target.variables for e in users
        ):
            yield rank.name


def has_small_partial_results(
    problem: MappingProblem, partitioning: Partitioning, share: float
) -> bool:
    """Return whether the partial results of all cores are at most a ``share`` of the inputs.

    Partial results are small if cores split the keys of one query. They are large if cores split
    the width of queries and keys: each core then has a partial result of every score.

    Parameters
    ----------
    share : float
        Largest ratio of partial results to inputs; more than 1 if partial results may be larger.
    """
    inputs = (problem.elements(t.ranks) for t in problem.program.inputs)
    return partial_elements(problem, partitioning) <= share * sum(inputs)


def has_fast_partial_results(
    problem: MappingProblem, partitioning: Partitioning, wider: Partitioning
) -> bool:
    """Return whether the transfer of partial results is fast beside the compute time without a
    split.

    Parameters
    ----------
    partitioning, wider : Partitioning
        Partitioning without split sums, and the same with them.
    """
    machine = problem.architecture
    points = sum(problem.elements(v.upper() for v in e.variables) for e in problem.program.einsums)
    at_once = cores_used(partitioning) * max(a.elements for a in machine.arrays)
    working = points / (at_once * machine.clock_hz)
    meeting = {memory for memory, ranks in wider if ranks != dict(partitioning).get(memory)}
    speeds = [m.bandwidth_bytes_per_s for m in machine.memories if m.name in meeting]
    # Each core writes its own partial results, and they are read to be combined.
    words = 2 * partial_elements(problem, wider)
    moving = (words * machine.word_bytes / speed for speed in speeds if speed is not None)
    return max(moving, default=0) <= policy.MAX_COMBINING_TIME_SHARE * working


def partial_elements(problem: MappingProblem, partitioning: Partitioning) -> int:
    """Return the number of tensor elements in the partial results of all cores."""
    parts = {s.rank.lower(): s.parts or 1 for _, ranks in partitioning for s in ranks}
    found = 0
    for name in partial_results(problem.program, parts):
        e = problem.program.einsum_of[name]
        copies = prod(n for v, n in parts.items() if v in {*e.variables} - {*e.target.variables})
        found += copies * problem.elements(v.upper() for v in e.target.variables)
    return found


def is_divisible(program: Program, e: Einsum, variable: str) -> bool:
    """Return whether an Einsum can compute a tile of a rank by itself.

    It cannot if it gathers along the rank, or if data along the rank decide which points run.
    """
    if e.select is not None and variable in e.over:
        return False
    conditions = () if e.where is None else (n for n in walk(e.where) if isinstance(n, Access))
    if any(variable in node.variables for node in conditions):
        return False
    indices = (i for a in (e.target, *e.reads) for i in a.indices if variable in i.variables)
    return all(follows_partition(program, i, variable) for i in indices)


def follows_partition(program: Program, index: Index, variable: str) -> bool:
    """Return whether an index addresses only the core's own tile of a partitioned variable.

    The index is the rank itself, or a rank of which it is a tile. Binding has the last word: outer
    tiles must have size one.

    Parameters
    ----------
    variable : str
        Partitioned rank variable.
    """
    if not isinstance(index, Affine):
        return False
    if index.as_variable == variable:
        return True
    declared = program.rank_of.get(variable.upper())
    if declared is None or declared.family is None:
        return False
    members = program.rank_of[declared.family].partition
    return {t.variable for t in index.terms} == {m.lower() for m in members}


def partial_results(program: Program, partitioned: Collection[str]) -> tuple[str, ...]:
    """Return the tensors of which cores have partial results: sums over partitioned variables."""
    return tuple(
        e.name
        for e in program.einsums
        if any(v in e.variables and v not in e.target.variables for v in partitioned)
    )


def divisible_tiles(program: Program) -> tuple[str, ...]:
    """Return the outermost tiles of cut ranks that can be split over cores.

    Tiles over which Einsums sum are included.

    Parameters
    ----------
    program : Program

    Examples
    --------
    In the gradients of attention each tile of queries meets each tile of keys by itself. If a
    value passes from one tile of keys to the next, no core can begin in the middle:

    >>> from einsum_cascade import Cascade
    >>> divisible_tiles(Cascade.load("flash-attention-2-backward").program)
    ('P1', 'M1')
    >>> divisible_tiles(Cascade.load("attention-1pass").program)
    ()
    """
    stepwise = stepwise_ranks(program)
    found: list[str] = []
    for rank in program.ranks:
        if not rank.partition or {rank.name, *rank.partition} & stepwise.keys():
            continue
        whole, member = rank.variable, rank.partition[0]
        using = [e for e in program.einsums if member.lower() in e.variables]
        able = all(is_divisible(program, e, member.lower()) for e in using)
        if using and able and not any(whole in e.variables for e in program.einsums):
            found.append(member)
    return tuple(found)
