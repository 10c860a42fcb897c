"""How a rank may be cut into what arrays take at once.

A *cut* is the strides of a rank's tiles, ascending and each a multiple of the last: a cut of
(128, 1024) lays 128 coordinates along a dimension of 128 elements, and eight times as many
along one of 1,024. A cut of nothing leaves all of the rank to loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from archsim.spec.arch import Architecture

Cut = tuple[int, ...]

_DEEPEST = 2
"""Tiles of one rank, one in the other, at the most."""


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
    for depth in range(1, _DEEPEST + 1):
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
