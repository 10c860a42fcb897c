"""Counts under even tiles of a band against those that look at every loop."""

from __future__ import annotations

from archsim.iteration.bands import Band, Window
from archsim.iteration.loops import Loop
from archsim.iteration.windowed import one, windowed_deliveries, windowed_distinct


def test_tiles_of_tiles_along_both_ranks_are_those_of_the_smallest() -> None:
    """Three levels of tiles of a causal mask of a million tokens: gone into, they are too many."""
    n, strides = 1 << 20, (1 << 16, 1 << 8, 1)
    loops = tuple(
        Loop(member="", axis=axis, stride=stride, level=0, variable="")
        for axis in (1, 0)
        for stride in strides
    )
    causal = Window(plus=0, minus=1, band=Band(1 - n, 0, n, n), governed=6)
    moving = (True,) * 6
    assert windowed_distinct(loops, moving, (n, n), causal, one) == n * (n + 1) // 2
    assert windowed_deliveries(loops, moving, (n, n), causal, one) == n * (n + 1) // 2
