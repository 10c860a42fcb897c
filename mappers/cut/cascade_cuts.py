"""Cuts of a cascade into nests: mapspaces of nests, bytes that cross a cut, and shortest paths."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise
from math import inf, prod

from archsim.spec.tensor_words import words_of
from einsum_cascade.algebra.excerpt import excerpt, sizes_of_excerpt
from einsum_cascade.ir import Program

from ..space.mapspace import Mapspace

Names = tuple[str, ...]
"""Einsums of a nest, in the order of the cascade."""

Nests = tuple[tuple[int, int], ...]
"""Nests of a path: the first block of each, and the first block behind it."""


def space_of_nest(
    whole: Mapspace, names: Names, pinned: Collection[tuple[str, int]] = ()
) -> Mapspace:
    """Return the mapspace of some of a cascade's Einsums on the same machine.

    Parameters
    ----------
    pinned : collection of tuple of str and int
        Sizes of tiles, by member, that several nests have to agree on.

    Raises
    ------
    InputError
        As ``Mapspace.of``.
    """
    program = whole.program.memo(excerpt, names)
    given = sizes_of_excerpt(whole.program, program, whole.given | dict(pinned))
    return Mapspace.of(program, whole.architecture, given, slow=whole.slow)


def tensor_bytes(space: Mapspace, tensor: str) -> float:
    """Return the bytes of a whole tensor; infinite where the mapping decides its size.

    A tensor of all tiles of a rank has the size of the whole rank, whatever the size of a tile.

    Examples
    --------
    >>> from archsim import Architecture
    >>> from einsum_cascade import Cascade
    >>> program = Cascade.load("attention-1pass").program
    >>> shapes = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 8, "M": 32}
    >>> space = Mapspace.of(program, Architecture.load("fusemax"), shapes)
    >>> program.tensor_ranks["BQK"], tensor_bytes(space, "BQK")
    (('M1', 'M0', 'P'), 1024.0)
    """
    program, machine = space.program, space.architecture
    ranks = _counted_ranks(program, tensor)
    if any(rank not in space.shapes for rank in ranks):
        return inf
    words = program.memo(words_of, machine.word_bits).of(tensor)
    return float(prod(space.shapes[rank] for rank in ranks) * words * machine.word_bytes)


def _counted_ranks(program: Program, tensor: str) -> Names:
    """Return ranks whose sizes multiply to a tensor's: a whole rank in place of all its tiles."""
    own = program.tensor_ranks[tensor]
    found: dict[str, None] = dict.fromkeys(program.parallel)
    for rank in own:
        whole = program.whole_rank(rank)
        is_complete = whole != rank and {*program.rank_of[whole].partition} <= {*own}
        found[whole if is_complete else rank] = None
    return tuple(found)


def shortest_path(first: int, last: int, cost: Callable[[int, int], float]) -> tuple[float, Nests]:
    """Return the least sum of costs of nests from one block to another, and the nests.

    Parameters
    ----------
    first, last : int
        First block, and the first block behind the last one.
    cost : callable
        Returns the cost of the nest from one block up to another; infinite where there is none.

    Examples
    --------
    >>> shortest_path(0, 3, lambda a, b: 5.0 if b - a == 3 else (b - a) ** 2)
    (3.0, ((0, 1), (1, 2), (2, 3)))
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {first: (0.0, (first,))}
    for end in range(first + 1, last + 1):
        total, begin = min((best[n][0] + cost(n, end), n) for n in range(first, end))
        best[end] = total, (*best[begin][1], end)
    total, ends = best[last]
    return total, tuple(pairwise(ends))
