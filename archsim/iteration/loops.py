"""Loops over the axes of an iteration space, and exact counts of their tiles.

Tiles need not divide shapes: ragged edges count exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

Extents = tuple[int, ...]
"""Number of elements along each axis of an iteration space, or of a tile of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Axis of an iteration space: a rank, or the partitioned ranks of one rank together.

    ``variables`` pairs each rank variable with its stride in elements, outermost first: ``(("m1",
    256), ("m0", 1))``.
    """

    name: str
    extent: int
    variables: tuple[tuple[str, int], ...]


class Loop(NamedTuple):
    """Loop over one axis: each iteration covers ``stride`` elements of the axis.

    ``level`` is the index of the memory whose tiles the loop steps through. A spatial loop has the
    ``dimension`` of the array along which it is laid out. A named tuple is fast to compare: a
    search compares millions of loops.
    """

    member: str
    axis: int
    stride: int
    level: int
    variable: str
    dimension: str | None = None


def iterations(extent: int, stride: int) -> int:
    """Return the number of tiles of ``stride`` elements that cover ``extent``.

    Parameters
    ----------
    extent, stride : int
        Elements of the remaining axis, and of one tile along it.
    """
    return -(-extent // stride)


def split(extent: int, stride: int) -> tuple[tuple[int, int], ...]:
    """Split a loop's iterations into pairs of a count and an extent; a ragged last one is by
    itself.

    Tiles of 4 cover 10 elements with two whole ones and one of 2:

    >>> split(10, 4), split(8, 4), split(3, 4)
    (((2, 4), (1, 2)), ((2, 4),), ((1, 3),))

    Parameters
    ----------
    extent, stride : int
        Elements of the remaining axis, and of one tile along it.

    Returns
    -------
    tuple of (int, int)
        One or two entries; the larger extent comes first.
    """
    count = iterations(extent, stride)
    last = extent - (count - 1) * stride
    if last == stride:
        return ((count, stride),)
    return ((count - 1, stride), (1, last)) if count > 1 else ((1, last),)


def inside(extents: Extents, loop: Loop, extent: int) -> Extents:
    """Return the extents inside one iteration of a loop: its axis shrinks to ``extent``.

    Parameters
    ----------
    extents : Extents
        Elements of every axis outside the loop.
    loop : Loop
        The loop, for its axis alone.
    extent : int
        Elements of that axis in the iteration, as ``split`` returns them.
    """
    return (*extents[: loop.axis], extent, *extents[loop.axis + 1 :])


def first_tile(extents: Extents, loops: tuple[Loop, ...]) -> Extents:
    """Return the extents inside the first iteration of all loops: the largest tile.

    Parameters
    ----------
    extents : Extents
        Elements of every axis outside all loops.
    loops : tuple of Loop
        Loops, outermost first.
    """
    for loop in loops:
        extents = inside(extents, loop, min(extents[loop.axis], loop.stride))
    return extents


def count_digits(extent: int, strides: tuple[tuple[int, bool], ...]) -> int:
    """Count the distinct combinations of some digits, over the positions below an extent.

    Parameters
    ----------
    extent : int
        Elements of an axis.
    strides : tuple of (int, bool)
        Stride of each digit, outermost first, and whether the digit is distinguished. Any other
        digit takes its first value, inside which the others have the most values.
    """
    if not strides:
        return 1
    (stride, kept), rest = strides[0], strides[1:]
    if not kept:
        return count_digits(min(extent, stride), rest)
    full, last = divmod(extent, stride)
    found = full * count_digits(stride, rest) if full else 0
    return found + (count_digits(last, rest) if last else 0)


def count_points(loops: tuple[Loop, ...], extents: Extents) -> int:
    """Count the iterations of a loop nest, with exact ragged edges.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    extents : Extents
        Elements of every axis outside all loops.
    """
    return count_distinct(loops, (True,) * len(loops), extents)


def count_distinct(loops: tuple[Loop, ...], counted: tuple[bool, ...], extents: Extents) -> int:
    """Count the distinct index combinations of a nest's ``counted`` loops, with exact ragged edges.

    Any other loop is entered once, in its first and fullest iteration. With rows in tiles of 4 and
    one by one inside, 10 rows are 10 iterations in all, and 4 of the inner loop alone.

    >>> outer = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> inner = Loop(member="M0", axis=0, stride=1, level=1, variable="m")
    >>> count_distinct((outer, inner), (True, True), (10,))
    10
    >>> count_distinct((outer, inner), (False, True), (10,))
    4

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    counted : tuple of bool
        True for each loop whose iterations are distinguished.
    extents : Extents
        Elements of every axis outside all loops.
    """
    strides: dict[int, list[tuple[int, bool]]] = {}
    for loop, wanted in zip(loops, counted, strict=True):
        strides.setdefault(loop.axis, []).append((loop.stride, wanted))
    return prod([count_digits(extents[axis], tuple(along)) for axis, along in strides.items()])


def even_tiles(loops: tuple[Loop, ...], extents: Extents) -> tuple[list[int], Extents] | None:
    """Return the iterations of each loop, and the extents of the innermost tile. Return None if
    some last tile is shorter."""
    rest = list(extents)
    counts: list[int] = []
    for loop in loops:
        count, ragged = divmod(rest[loop.axis], loop.stride)
        if ragged:
            return None
        counts.append(count)
        rest[loop.axis] = loop.stride
    return counts, tuple(rest)


def even_deliveries(counts: Sequence[int], relevant: tuple[bool, ...]) -> int:
    """Count how often a tile is delivered, if all tiles have one size.

    Parameters
    ----------
    counts : list of int
        Iterations of each loop, outermost first.
    relevant : tuple of bool
        True for each loop that brings another tile.

    >>> even_deliveries([4, 3, 2], (True, False, True))  # the two tiles inside push each other out
    24
    >>> even_deliveries([4, 3, 2], (False, True, False))  # each of 3 tiles, in every one of 4 turns
    12
    """
    # From the inside out: ``returns`` tells whether the loops inside end with the tile that they
    # begin with. If so, an irrelevant loop finds that tile again in all but its first iteration.
    total, returns = 1, True
    for count, moves in zip(reversed(counts), reversed(relevant), strict=True):
        if moves:
            total, returns = total * count, returns and count == 1
        else:
            total = count * total - (count - 1 if returns else 0)
    return total
