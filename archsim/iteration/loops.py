"""Loops over the axes of an iteration space, and exact counts of their tiles.

Tiles need not divide shapes: ragged edges are counted as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

Extents = tuple[int, ...]
"""What remains of each axis, in elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A direction of the iteration space.

    ``variables`` pairs each rank variable with its stride in elements, outermost first:
    ``(("m1", 256), ("m0", 1))``.
    """

    name: str
    extent: int
    variables: tuple[tuple[str, int], ...]


class Loop(NamedTuple):
    """A loop over one axis: each iteration covers ``stride`` elements of what remains.

    ``level`` is the index of the memory whose tiles it steps through; a spatial loop has
    the array dimension it is laid out along. A search compares loops by the million: as tuples.
    """

    member: str
    axis: int
    stride: int
    level: int
    variable: str
    dimension: str | None = None


def iterations(extent: int, stride: int) -> int:
    """How many tiles of ``stride`` elements cover ``extent``.

    Parameters
    ----------
    extent, stride : int
        Elements of what is left of an axis, and of one tile along it.
    """
    return -(-extent // stride)


def split(extent: int, stride: int) -> tuple[tuple[int, int], ...]:
    """Iterations of a loop as (how many, extent inside), the ragged last one apart.

    Tiles of 4 cover 10 elements with two whole ones and one of 2:

    >>> split(10, 4), split(8, 4), split(3, 4)
    (((2, 4), (1, 2)), ((2, 4),), ((1, 3),))

    Parameters
    ----------
    extent, stride : int
        Elements of what is left of an axis, and of one tile along it.

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
    """The extents with the loop's axis set to what one iteration leaves.

    Parameters
    ----------
    extents : Extents
        What is left of every axis outside the loop.
    loop : Loop
        The loop, for its axis alone.
    extent : int
        Elements that the iteration leaves of that axis, as ``split`` says.
    """
    return (*extents[: loop.axis], extent, *extents[loop.axis + 1 :])


def first_tile(extents: Extents, loops: tuple[Loop, ...]) -> Extents:
    """What remains inside the first iteration of all loops: the largest tile.

    Parameters
    ----------
    extents : Extents
        What is left of every axis outside all loops.
    loops : tuple of Loop
        Loops, outermost first.
    """
    for loop in loops:
        extents = inside(extents, loop, min(extents[loop.axis], loop.stride))
    return extents


def count_points(loops: tuple[Loop, ...], extents: Extents) -> int:
    """Iterations of a loop nest, ragged edges exact.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    extents : Extents
        What is left of every axis outside all loops.
    """
    even = even_tiles(loops, extents)
    return count_distinct(loops, (True,) * len(loops), extents) if even is None else prod(even[0])


def count_distinct(loops: tuple[Loop, ...], counted: tuple[bool, ...], extents: Extents) -> int:
    """Distinct indices of the ``counted`` loops of a nest, ragged edges exact.

    Any other loop is entered once: its first iteration is the fullest. Rows in tiles of 4,
    and one by one inside: 10 rows are 10 iterations in all, and 4 of the inner loop alone.

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
        Whether each loop's iterations are told apart.
    extents : Extents
        What is left of every axis outside all loops.
    """
    even = even_tiles(loops, extents)
    if even is not None:
        return prod([count for count, wanted in zip(even[0], counted, strict=True) if wanted])
    # From the outside in: how often each remainder comes.
    found = {extents: 1}
    for loop, wanted in zip(loops, counted, strict=True):
        inner: dict[Extents, int] = {}
        for now, times in found.items():
            parts = split(now[loop.axis], loop.stride)
            for count, extent in parts if wanted else ((1, parts[0][1]),):
                left = inside(now, loop, extent)
                inner[left] = inner.get(left, 0) + times * count
        found = inner
    return sum(found.values())


def even_tiles(loops: tuple[Loop, ...], extents: Extents) -> tuple[list[int], Extents] | None:
    """Iterations of each loop of a nest and the extents inside; None if an edge is ragged."""
    rest = list(extents)
    counts: list[int] = []
    for loop in loops:
        count, ragged = divmod(rest[loop.axis], loop.stride)
        if ragged:
            return None
        counts.append(count)
        rest[loop.axis] = loop.stride
    return counts, tuple(rest)


_Stream = tuple[int, int, bool]
"""Deliveries of one sub-nest: their total size, the first one's, and whether the last tile is the
first: one that stays when the sub-nest is repeated."""

_Runs = tuple[tuple[int, int], ...]
"""Iterations of a loop, as of ``split``: how many, and the number of what each leaves."""


class RaggedTiles(NamedTuple):
    """What loops leave of the axes, where the last tile of some loop may be a shorter one."""

    levels: tuple[tuple[_Runs, ...], ...]
    """By loop, outermost first, and by what the loops outside leave: its iterations."""
    tiles: tuple[Extents, ...]
    """What all loops leave."""


def ragged_tiles(loops: tuple[Loop, ...], extents: Extents) -> RaggedTiles:
    """All that loops leave of the axes: the same whatever tensor is counted.

    >>> rows = Loop(member="M1", axis=0, stride=4, level=0, variable="m")
    >>> ragged_tiles((rows,), (10,))
    RaggedTiles(levels=((((2, 0), (1, 1)),),), tiles=((4,), (2,)))

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    extents : Extents
        What is left of every axis outside all loops.
    """
    left: dict[Extents, int] = {extents: 0}
    levels: list[tuple[_Runs, ...]] = []
    for loop in loops:
        inner: dict[Extents, int] = {}
        levels.append(
            tuple(
                [
                    tuple(
                        [
                            (count, inner.setdefault(inside(now, loop, extent), len(inner)))
                            for count, extent in split(now[loop.axis], loop.stride)
                        ]
                    )
                    for now in left
                ]
            )
        )
        left = inner
    return RaggedTiles(tuple(levels), tuple(left))


def count_deliveries(
    loops: tuple[Loop, ...],
    relevant: tuple[bool, ...],
    extents: Extents,
    size: Callable[[Extents], int],
) -> int:
    """Total size of all tiles delivered into a level under the loops outside it.

    A tile is delivered when the iteration of a *relevant* loop differs from the step
    before; a tile that does not change over an irrelevant loop stays (Timeloop's rule).

    Parameters
    ----------
    loops : tuple of Loop
        Temporal loops outside the level, outermost first.
    relevant : tuple of bool
        Whether each loop moves the tensor.
    extents : Extents
        Extents outside all loops.
    size : callable
        Size of the tile given what the loops leave of each axis.

    Examples
    --------
    Keys in tiles of 4 inside queries in tiles of 5: 10 keys come once for each tile of
    queries; queries stay while the keys go by.

    >>> queries = Loop(member="P1", axis=0, stride=5, level=0, variable="p")
    >>> keys = Loop(member="M1", axis=1, stride=4, level=0, variable="m")
    >>> count_deliveries((queries, keys), (False, True), (15, 10), lambda e: e[1])
    30
    >>> count_deliveries((queries, keys), (True, False), (15, 10), lambda e: e[0])
    15
    """
    even = even_tiles(loops, extents)
    if even is not None:
        return even_deliveries(even[0], relevant) * size(even[1])
    return ragged_deliveries(ragged_tiles(loops, extents), relevant, size)


def ragged_deliveries(
    left: RaggedTiles, relevant: tuple[bool, ...], size: Callable[[Extents], int]
) -> int:
    """``count_deliveries`` where the last tile of some loop may be a shorter one.

    Parameters
    ----------
    left : RaggedTiles
        What the loops leave of the axes.
    relevant, size
        As of ``count_deliveries``.
    """
    # From the inside out.
    streams: list[_Stream] = [(tile, tile, True) for tile in map(size, left.tiles)]
    for level, moves in zip(reversed(left.levels), reversed(relevant), strict=True):
        count = _moving if moves else _staying
        streams = [count(runs, streams) for runs in level]
    return streams[0][0]


def even_deliveries(counts: list[int], relevant: tuple[bool, ...]) -> int:
    """How often a tile is delivered where all are of one size.

    Parameters
    ----------
    counts : list of int
        Iterations of each loop, outermost first.
    relevant : tuple of bool
        Whether each brings another tile.

    >>> even_deliveries([4, 3, 2], (True, False, True))  # the two tiles inside push each other out
    24
    >>> even_deliveries([4, 3, 2], (False, True, False))  # each of 3 tiles, in every one of 4 turns
    12
    """
    # From the inside out; ``returns`` says whether what is inside ends with the tile that it
    # begins with. If so, an irrelevant loop finds that tile again at all but its first turn.
    total, returns = 1, True
    for count, moves in zip(reversed(counts), reversed(relevant), strict=True):
        if moves:
            total, returns = total * count, returns and count == 1
        else:
            total = count * total - (count - 1 if returns else 0)
    return total


def _moving(runs: _Runs, inner: list[_Stream]) -> _Stream:
    """Iterations of a loop each of which brings another tile."""
    (count, number), *ragged = runs
    total, first, returns = inner[number]
    if ragged:
        return count * total + inner[ragged[0][1]][0], first, False
    # A relevant loop of one iteration brings nothing else ("loops of bound 1 do not exist").
    return count * total, first, returns and count == 1


def _staying(runs: _Runs, inner: list[_Stream]) -> _Stream:
    """Repetitions of a stream: a tile that is still there is not delivered again."""
    (count, number), *ragged = runs
    total, first, returns = inner[number]
    total = count * total - (count - 1 if returns else 0) * first
    if not ragged:
        return total, first, returns
    shorter, again, ends = inner[ragged[0][1]]
    return total + shorter - (again if returns else 0), first, ends
