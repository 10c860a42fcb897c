"""Mappings spread over the instances of a machine where nobody says how.

Ranks of which every Einsum can do a part with what that part needs are spread so that the largest
part of the work is as small as it can be: parallel ranks alone, or others beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Mapping as Sizes
from dataclasses import replace
from itertools import chain

from einsum_cascade.algebra.conditions import with_masks
from einsum_cascade.ir import Access, Affine, Einsum, Program, variables_of

from ..spec.arch import Architecture
from ..spec.mapping import Mapping, NestLevel, SpreadRank
from ..spec.roles import memory_in_role

Spreading = tuple[tuple[str, tuple[SpreadRank, ...]], ...]
"""By memory what is spread over the instances that it feeds."""


def spreadings(
    program: Program, architecture: Architecture, given: Sizes[str, int]
) -> tuple[Spreading, ...]:
    """Ways to spread a cascade over the instances of a machine, the one with most parts first.

    Parameters
    ----------
    given : mapping
        Shapes in elements by rank, and parameters.

    Returns
    -------
    tuple
        The last one spreads nothing, and is all there is on a machine without instances.
    """
    if not architecture.has_instances:
        return ((),)
    parallel = tuple(r for r in program.parallel if r in given)
    others = tuple(r for r in _apart(program) if r in given)
    found = [_spread(architecture, given, names) for names in ((*parallel, *others), parallel)]
    return tuple(dict.fromkeys((*found, ())))


def part_of(spreading: Spreading, given: Sizes[str, int]) -> dict[str, int]:
    """Shapes of the largest problem that an instance has."""
    found = dict(given)
    for spread in chain.from_iterable(ranks for _, ranks in spreading):
        found[spread.rank] = -(-found[spread.rank] // (spread.parts or 1))
    return found


def spread_over(mapping: Mapping, spreading: Spreading, architecture: Architecture) -> Mapping:
    """A mapping whose ranks are spread, beside those loops that it has at the same memory."""
    nest = list(mapping.nest)
    words = [*(n.level for n in mapping.nest), *(k.level for k in mapping.keep)]
    for memory, ranks in spreading:
        # A mapping names a memory by its role or by its name, not by both.
        word = next((w for w in words if memory_in_role(architecture, w) == memory), memory)
        at = next((n for n, level in enumerate(nest) if level.level == word), None)
        if at is None:
            nest.insert(0, NestLevel(level=word, loops=(), spatial=ranks))
        else:
            nest[at] = replace(nest[at], spatial=ranks)
    return replace(mapping, nest=tuple(nest))


def _spread(
    architecture: Architecture, shapes: Sizes[str, int], ranks: tuple[str, ...]
) -> Spreading:
    """As many parts as there are instances, or fewer where that leaves less to do for each."""
    left = {rank: shapes[rank] for rank in ranks}
    found: list[tuple[str, tuple[SpreadRank, ...]]] = []
    for memory in architecture.memories:
        here: list[SpreadRank] = []
        for name, available in memory.instances:
            parts = _fewest_left([(r, n) for r, n in left.items() if n > 1], available)
            here += (SpreadRank(instances=name, rank=r, parts=n) for r, n in parts.items() if n > 1)
            # A rank that is in parts already stays with these.
            left = {rank: n for rank, n in left.items() if parts.get(rank, 1) == 1}
        if here:
            found.append((memory.name, tuple(here)))
    return tuple(found)


def _fewest_left(ranks: list[tuple[str, int]], available: int) -> dict[str, int]:
    """Parts of ranks, so that the largest part of all is as small as it can be.

    Examples
    --------
    Of 12 heads and 100 queries on 24 instances each has 1 head and 50 queries, or 2 heads and
    25 queries; on 7 there are at best 2 heads for each of 6.

    >>> _fewest_left([("H", 12), ("P", 100)], 24)
    {'H': 12, 'P': 2}
    >>> _fewest_left([("H", 12)], 7)
    {'H': 6}
    """
    if not ranks:
        return {}
    (rank, extent), *others = ranks
    best: dict[str, int] = {}
    least: int | None = None
    # Sizes of the largest part that differ, the smallest first.
    for part in sorted({-(-extent // n) for n in range(1, min(extent, available) + 1)}):
        parts = -(-extent // part)
        rest = _fewest_left(others, available // parts)
        size = part
        for name, whole in others:
            size *= -(-whole // rest.get(name, 1))
        if least is None or size < least:
            least, best = size, {rank: parts, **rest}
    return best


def _apart(program: Program) -> Iterator[str]:
    """Ranks beside the parallel ones that can be worked on in parts, in the order declared."""
    einsums = with_masks(program).einsums
    stepped = {*chain.from_iterable(program.iterative.values())}
    alike = {r.like for r in program.ranks} | {r.name for r in program.ranks if r.like}
    made = {e.name for e in einsums}
    for rank in program.ranks:
        if rank.family or rank.partition or rank.name in stepped or rank.name in alike:
            continue
        if all(_in_parts(e, rank.variable, made) for e in einsums):
            yield rank.name


def _in_parts(e: Einsum, variable: str, made: Collection[str]) -> bool:
    """Whether an Einsum can do a part of a rank with that part of its operands, those ``made`` by
    others of the cascade included: what all instances need no single one of them can make."""
    if variable not in e.variables:
        return True
    if variable not in e.target.variables:
        return False  # it sums over all of them
    if e.where is not None and variable in variables_of(e.where):
        return False
    accesses: tuple[Access, ...] = (e.target, *e.reads)
    if any(a.tensor in made and variable not in a.variables for a in e.reads):
        return False
    indices = [i for a in accesses for i in a.indices if variable in i.variables]
    return all(isinstance(i, Affine) and i.as_variable == variable for i in indices)
