"""Counts under loops whose tiles are all of one size, some of them left out by a window.

Of such loops only those matter that go along a rank of the window: what the others do is known
beforehand, and what is left is the same for many Einsums of a nest (``banded`` remembers it).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .banded import one, windowed_deliveries, windowed_distinct, windowed_points
from .bands import Window
from .iteration import Extents, Loop


def banded_deliveries(
    loops: tuple[Loop, ...],
    counts: Sequence[int],
    relevant: tuple[bool, ...],
    extents: Extents,
    window: Window,
) -> int:
    """How often a tile is delivered, as ``banded.windowed_deliveries`` with a size of one.

    Parameters
    ----------
    loops : tuple of Loop
        Loops, outermost first.
    counts : sequence of int
        Iterations of each inside the others, if no window left any out.
    relevant : tuple of bool
        Whether each loop brings another tile.
    extents : Extents
        What is left of every axis outside all loops.
    window : Window
        The band outside of which iterations are left out.

    Examples
    --------
    4 tiles of keys under a causal mask of 4 tiles of queries, 8 heads outside and 64 embeddings
    inside: those that are not left out are 10 in each head.

    >>> from .bands import Box
    >>> loops = tuple(
    ...     Loop(member="", axis=axis, stride=stride, level=0, variable="")
    ...     for axis, stride in enumerate((1, 2, 2, 1))
    ... )
    >>> causal = Window(plus=1, minus=2, box=Box(-7, 0, 8, 8), governed=4)
    >>> banded_deliveries(loops, (8, 4, 4, 64), (True, True, False, True), (8, 8, 8, 64), causal)
    5120
    """
    if window.box.empty:
        return 0
    fixed = _fixed(loops, window)
    # A loop of one iteration changes nothing, nor do innermost ones that leave the tile.
    depths = [depth for depth, count in enumerate(counts) if count > 1]
    while depths and not relevant[depths[-1]]:
        depths.pop()
    if depths and fixed[depths[-1]]:
        # Inside every iteration of the others there are several tiles: none stays.
        relevant = (True,) * len(loops)
    if all(relevant[depth] for depth in depths):
        times = prod(counts[depth] for depth in depths if fixed[depth])
        depths = [depth for depth in depths if not fixed[depth]]
    else:
        times = 1
    moves = tuple(relevant[depth] for depth in depths)
    alone, left, band = _alone(loops, depths, extents, window)
    return times * windowed_deliveries(alone, moves, left, band, one)


def banded_distinct(
    loops: tuple[Loop, ...],
    counts: Sequence[int],
    counted: tuple[bool, ...],
    extents: Extents,
    window: Window,
) -> int:
    """Distinct indices of the ``counted`` loops; the rest as of ``banded_deliveries``.

    Parameters
    ----------
    counted : tuple of bool
        Whether each loop's iterations are told apart; any other is entered once.
    """
    if window.box.empty:
        return 0
    along = [window.side(loop.axis) is not None for loop in loops]
    depths = [depth for depth, count in enumerate(counts) if along[depth] and count > 1]
    times = prod(n for n, wanted, a in zip(counts, counted, along, strict=True) if wanted and not a)
    wanted = tuple(counted[depth] for depth in depths)
    if all(wanted):
        # Indices are as many as iterations, of which those further inside are all there.
        times *= prod(counts[depth] for depth in depths if depth >= window.governed)
        ruled = [depth for depth in depths if depth < window.governed]
        alone, left, band = _alone(loops, ruled, extents, window)
        return times * windowed_points(alone, left, band, one)
    alone, left, band = _alone(loops, depths, extents, window)
    return times * windowed_distinct(alone, wanted, left, band, one)


def _fixed(loops: tuple[Loop, ...], window: Window) -> list[bool]:
    """Whether each loop has as many iterations wherever it is entered."""
    return [
        depth >= window.governed or window.side(loop.axis) is None
        for depth, loop in enumerate(loops)
    ]


def _alone(
    loops: tuple[Loop, ...], depths: list[int], extents: Extents, window: Window
) -> tuple[tuple[Loop, ...], Extents, Window]:
    """Some of the loops without their names and other axes, and the window over them."""
    axes = list(dict.fromkeys(loops[depth].axis for depth in depths))
    place = {axis: number for number, axis in enumerate(axes)}
    alone = tuple(
        Loop(member="", axis=place[loop.axis], stride=loop.stride, level=0, variable="")
        for loop in (loops[depth] for depth in depths)
    )
    plus, minus = (place.get(a) if a is not None else None for a in (window.plus, window.minus))
    band = Window(
        plus=plus,
        minus=minus,
        plus_scale=1 if plus is None else window.plus_scale,
        minus_scale=1 if minus is None else window.minus_scale,
        box=window.box,
        governed=sum(depth < window.governed for depth in depths),
    )
    return alone, tuple(extents[axis] for axis in axes), band
