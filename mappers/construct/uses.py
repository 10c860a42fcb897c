"""Accesses of Einsums to tensors, and how often loops bring their tiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Amount = NDArray[np.float64] | float
"""One number for each of several tilings, or for all of them."""

Trips = Mapping[str, Amount]
"""Iterations of the loops of one memory, by rank."""

Loops = Sequence[tuple[str, Amount]]
"""Ranks and iterations of loops, outermost first."""


def least(one: Amount, other: Amount) -> Amount:
    """Return the smaller amount, as a plain number if both are: numpy takes longer for one number
    than Python."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.minimum(one, other)
    return min(one, other)


def chosen(first: NDArray[np.bool_] | bool, one: Amount, other: Amount) -> Amount:
    """Return the first amount where a condition holds, and the other elsewhere."""
    if isinstance(first, np.ndarray):
        return np.where(first, one, other)
    return one if first else other


@dataclass(frozen=True, slots=True)
class Use:
    """Access of an Einsum to a tensor."""

    tensor: str
    ranks: frozenset[str]
    """Ranks along which other elements are accessed, except those along which values run."""
    steps: frozenset[str]
    """Ranks along which values run and each of them is accessed, not only the last one."""
    words: float
    """Machine words of an element."""
    most: float
    """Elements of the whole tensor, for one coordinate of each parallel rank."""
    written: bool
    runs: bool
    """True for a value that runs along a rank: its last tile stays where it is."""
    accumulates: bool = True
    """True for a result whose Einsum reads it at the step before."""
    gathers: bool = False
    """True if data decides which elements are accessed: then a memory reads whole lines."""
    adjacent: tuple[str, ...] = ()
    """Ranks of an access that gathers along which elements are neighbours, innermost first."""
    gathered_by: frozenset[str] = frozenset()
    """Ranks that change only the positions of a gathered index."""
    positions: int = 2
    """Positions that a gathered index may have; without one, more than there are indices."""

    @property
    def all_ranks(self) -> frozenset[str]:
        """Ranks along which other elements move: a running value moves at every step."""
        return self.ranks | self.steps


@dataclass(frozen=True, slots=True)
class TileWords:
    """Tile of a tensor."""

    words: Amount
    """Machine words."""
    has_all_positions: NDArray[np.bool_] | bool = False
    """True if it has all positions of a gathered index, so that no other one brings elements."""


@dataclass(frozen=True, slots=True)
class Loading:
    """Operands of which each element of a systolic array keeps a value while others pass."""

    tensors: frozenset[str]
    cycles: int
    """Cycles of a load."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Machine words that an access moves into a memory, for one iteration of parallel loops."""

    once: Amount
    """Words of all tiles, each of which comes once."""
    again: Amount
    """Words of tiles that come again, or leave and come back."""
    into: Amount
    """Words of all these that come in; others leave, which the memory itself does not count."""
    returns: NDArray[np.bool_] | bool = False
    """True if other tiles come between two steps of a running value, which leaves."""

    @property
    def leaves(self) -> NDArray[np.bool_] | bool:
        """Return whether a tile leaves before it is used for the last time."""
        return (self.again > 0) | self.returns

    def where(self, better: NDArray[np.bool_] | bool, other: Moved) -> Moved:
        """Return these words for some tilings, and those of another order for all others."""
        return Moved(
            chosen(better, self.once, other.once),
            chosen(better, self.again, other.again),
            chosen(better, self.into, other.into),
            np.where(better, self.returns, other.returns),
        )


def repetitions(loops: Loops, ranks: Collection[str]) -> tuple[Amount, Amount]:
    """Return the number of tiles of a tensor under some loops, and how often tiles come in all.

    A loop over another rank brings the tile again only if a loop over a rank of the tensor iterates
    inside of it.

    Examples
    --------
    For each of four heads, 8 tiles of keys come once for each of 16 tiles of queries:

    >>> repetitions([("H", 4), ("P", 16), ("M", 8)], {"H", "M"})
    (32, 512)
    """
    seen: NDArray[np.bool_] | bool = False
    tiles: Amount = 1
    times: Amount = 1
    for rank, trips in reversed(loops):
        if rank in ranks:
            seen = seen | (trips > 1)
            tiles, times = tiles * trips, times * trips
        else:
            times = times * chosen(seen, trips, 1)
    return tiles, times


def stays(loops: Loops, use: Use, shared: Loops) -> bool:
    """Return whether an array holds the same elements of a tensor until they are used.

    Parameters
    ----------
    loops : sequence
        All loops of an Einsum.
    shared : sequence
        Those of them that are outside of the Einsum's own.

    Examples
    --------
    A state over E and F stays along P if only loops outside of P bring others:

    >>> state = Use("S", frozenset("EF"), frozenset("P"), 1.0, 64.0, written=True, runs=True)
    >>> for loops in ([("F", 4), ("P", 9), ("E", 1)], [("P", 9), ("F", 4)]):
    ...     stays(loops, state, loops)
    True
    False
    """
    iterating = [rank for rank, trips in loops if trips > 1]
    if not use.steps:
        return use.ranks.isdisjoint(rank for rank, trips in loops[len(shared) :] if trips > 1)
    steps = [n for n, rank in enumerate(iterating) if rank in use.steps]
    return bool(steps) and use.ranks.isdisjoint(iterating[steps[0] :])
