"""Partial results of partitioned sums, which cores combine in a shared memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Mapping as Sizes
from itertools import chain
from math import prod

from einsum_cascade.ir import Access, Affine, Einsum, Program, walk

from ..nest.partition import has_mask_over
from ..spec.arch import Architecture
from .partition_factors import Partitioning, cores_used
from .policy import (
    MAX_COMBINING_TIME_SHARE,
)


def summed_ranks(program: Program) -> Iterator[str]:
    """Yield ranks that can be split although some Einsums sum over them.

    Every Einsum can compute a tile of such a rank. Cores then have partial results, which meet in
    the memory outside them.
    """
    stepped = {*chain.from_iterable(program.iterative.values())}
    alike = {r.like for r in program.ranks} | {r.name for r in program.ranks if r.like}
    for rank in program.ranks:
        if rank.family or rank.partition or rank.name in stepped or rank.name in alike:
            continue
        if has_mask_over(program, rank.name):
            continue
        users = [e for e in program.einsums if rank.variable in e.variables]
        if all(_divisible(e, rank.variable) for e in users) and any(
            rank.variable not in e.target.variables for e in users
        ):
            yield rank.name


def has_small_partial_results(
    program: Program, partitioning: Partitioning, given: Sizes[str, int], share: float
) -> bool:
    """Return whether the partial results of all cores are at most a ``share`` of the inputs.

    Partial results over the keys of one query are small. Those over the width of queries and keys,
    where each core has a part of every score, are not.

    Parameters
    ----------
    program : Program
    partitioning : Partitioning
    given : mapping
        Shapes in elements by rank.
    share : float
        Largest ratio of partial results to inputs; more than 1 if partial results may be larger.
    """
    inputs = (elements_of(program, t.ranks, given) for t in program.inputs)
    return _partial(program, partitioning, given) <= share * sum(inputs)


def has_fast_partial_results(
    program: Program,
    architecture: Architecture,
    given: Sizes[str, int],
    partitioning: Partitioning,
    wider: Partitioning,
) -> bool:
    """Return whether the transfer of partial results is fast, compared with the work without a
    split.

    Parameters
    ----------
    program : Program
    architecture : Architecture
    given : mapping
        Shapes in elements by rank.
    partitioning, wider : Partitioning
        Partitioning without split sums, and the same with them.
    """
    points = sum(
        elements_of(program, (v.upper() for v in e.variables), given) for e in program.einsums
    )
    at_once = cores_used(partitioning) * max(a.elements for a in architecture.arrays)
    working = points / (at_once * architecture.clock_hz)
    meeting = {memory for memory, ranks in wider if ranks != dict(partitioning).get(memory)}
    speeds = [m.bandwidth_bytes_per_s for m in architecture.memories if m.name in meeting]
    # Each core writes its own partial results, and they are read to be combined.
    words = 2 * _partial(program, wider, given)
    moving = (words * architecture.word_bytes / speed for speed in speeds if speed is not None)
    return max(moving, default=0) <= MAX_COMBINING_TIME_SHARE * working


def _partial(program: Program, partitioning: Partitioning, given: Sizes[str, int]) -> int:
    """Return the elements of the partial results of all cores."""
    summed = {*summed_ranks(program)}
    spread = [s for _, ranks in partitioning for s in ranks if s.rank in summed]
    copies = prod(s.parts or 1 for s in spread)
    meeting = (
        program.einsum_of[t] for t in partial_results(program, {s.rank.lower() for s in spread})
    )
    return copies * sum(
        elements_of(program, (v.upper() for v in e.target.variables), given) for e in meeting
    )


def elements_of(program: Program, ranks: Iterable[str], given: Sizes[str, int]) -> int:
    """Return the coordinates of some ranks and the parallel ranks; tiles of a rank count as that
    rank."""
    names = dict.fromkeys(program.whole_rank(rank) for rank in (*program.parallel, *ranks))
    return prod(extent_of(program, rank, given) for rank in names)


def extent_of(program: Program, rank: str, given: Sizes[str, int]) -> int:
    """Return the size of a rank; for a tile of a rank, the size of the whole rank."""
    return given.get(program.whole_rank(rank), 1)


def _divisible(e: Einsum, variable: str) -> bool:
    """Return whether an Einsum reads its operands at a tile's own coordinates, without gathers."""
    if e.select is not None and variable in e.over:
        return False
    if e.where is not None and any(
        isinstance(node, Access) and variable in node.variables for node in walk(e.where)
    ):
        return False
    indices = [i for a in (e.target, *e.reads) for i in a.indices if variable in i.variables]
    return all(isinstance(i, Affine) and i.as_variable == variable for i in indices)


def partial_results(program: Program, spread: Collection[str]) -> tuple[str, ...]:
    """Return the tensors with partial results: sums over split variables."""
    return tuple(
        e.name
        for e in program.einsums
        if any(v in e.variables and v not in e.target.variables for v in spread)
    )
