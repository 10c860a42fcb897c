"""Counts under even tiles of a band against those that look at every loop."""

from __future__ import annotations

from math import prod
from random import Random

import pytest
from portions import portions

from archsim.iteration.bands import Band, Window
from archsim.iteration.loop_nest import LoopNest
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


def even_nest(random: Random) -> LoopNest:
    """Return a nest of even tiles along two to four axes, two of them under a band."""
    axes = random.randint(2, 4)
    left = [random.choice((1, 2, 4, 6, 8, 12)) for _ in range(axes)]
    extents = tuple(left)
    loops: list[Loop] = []
    for _ in range(random.randint(1, 7)):
        axis = random.randrange(axes)
        left[axis] = random.choice([n for n in range(1, left[axis] + 1) if left[axis] % n == 0])
        loops.append(Loop(member="M", axis=axis, stride=left[axis], level=0, variable="m"))
    plus, minus = random.sample(range(axes), 2)
    columns, rows = extents[plus], extents[minus]
    low = random.randint(-rows - 1, columns)
    band = Band(low, random.randint(low - 1, columns + 1), columns, rows)
    window = Window(plus=plus, minus=minus, band=band, governed=random.randint(0, len(loops)))
    return LoopNest(loops=tuple(loops), extents=extents, window=window)


def outer_ones(nest: LoopNest, marks: tuple[bool, ...]) -> tuple[bool, ...]:
    """Return the marks without those behind an unmarked loop along the same axis."""
    unmarked: set[int] = set()
    kept: list[bool] = []
    for loop, mark in zip(nest.loops, marks, strict=True):
        kept.append(mark and loop.axis not in unmarked)
        if not kept[-1]:
            unmarked.add(loop.axis)
    return tuple(kept)


@pytest.mark.parametrize("first", portions(2000, 500, quick=2))
def test_the_loops_along_a_mask_say_what_all_loops_say(first: int) -> None:
    shorter = 0
    for seed in range(first, first + 500):
        random = Random(seed)
        nest = even_nest(random)
        assert nest.window is not None
        marks = tuple(random.random() < 0.6 for _ in nest.loops)
        rest = nest.extents, nest.window
        expected = windowed_deliveries(nest.loops, marks, *rest, prod)
        assert nest.delivered(marks, prod) == expected, f"seed {seed}"
        outer = outer_ones(nest, marks)
        expected = windowed_distinct(nest.loops, outer, *rest, one)
        assert nest.distinct(outer) == expected, f"seed {seed}"
        touched = windowed_distinct(nest.loops, outer, *rest, prod)
        assert nest.accessed(outer, prod) == min(prod(nest.extents), touched), f"seed {seed}"
        unmasked = LoopNest(loops=nest.loops, extents=nest.extents)
        shorter += nest.distinct(outer) < unmasked.distinct(outer)
    assert shorter > 50
