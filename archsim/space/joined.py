"""Loops that go on where the one outside stops, as one loop.

A loop over tiles of 256 queries and one over the single queries of each are together one loop
over queries. Nests of several levels of tiles along both ranks of a band have many edges inside
edges; of two loops there is one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

from .iteration import Loop

_Mark = TypeVar("_Mark", bound=Hashable)


def joined(
    loops: Sequence[Loop], marks: Sequence[_Mark], governed: int
) -> tuple[tuple[Loop, ...], tuple[_Mark, ...], int]:
    """Neighbours along one axis as one loop: its iterations are the inner one's, in their order.

    Queries in tiles of 4, single ones of each, and keys:

    >>> loops = [Loop("", axis, stride, 0, "") for axis, stride in ((0, 4), (0, 1), (1, 2))]
    >>> found, marks, governed = joined(loops, (True, True, False), 3)
    >>> [(loop.axis, loop.stride) for loop in found], marks, governed
    ([(0, 1), (1, 2)], (True, False), 2)

    Parameters
    ----------
    loops : sequence of Loop
        Loops, outermost first.
    marks : sequence
        Something of every loop: only those that have the same are joined.
    governed : int
        How many of the loops, from the outermost, a window leaves iterations out of.

    Returns
    -------
    tuple
        What ``loops``, ``marks`` and ``governed`` are then.
    """
    found: list[tuple[Loop, _Mark, bool]] = []
    for depth, (loop, mark) in enumerate(zip(loops, marks, strict=True)):
        ruled = depth < governed
        if found:
            outer, *same = found[-1]
            # Else the inner one begins anew within a tile of its own.
            whole = outer.axis == loop.axis and outer.stride % loop.stride == 0
            if whole and same == [mark, ruled]:
                found[-1] = (loop, mark, ruled)
                continue
        found.append((loop, mark, ruled))
    return (
        tuple(loop for loop, _, _ in found),
        tuple(mark for _, mark, _ in found),
        sum(ruled for _, _, ruled in found),
    )
