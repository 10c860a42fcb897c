"""Counts under even tiles of a band against those that look at every loop."""

from __future__ import annotations

from math import prod
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from archsim.iteration.bands import Band, Window
from archsim.iteration.loop_nest import LoopNest
from archsim.iteration.loops import Loop
from archsim.iteration.windowed import one, windowed_deliveries, windowed_distinct

Nest = tuple[tuple[Loop, ...], tuple[int, ...], Window]


def even_nest(random: Random) -> Nest:
    """Loops over two axes of a band and two others; every tile divides what is around it."""
    counts = [[random.choice((1, 2, 3)) for _ in range(random.randint(0, 2))] for _ in range(4)]
    extents = tuple(random.choice((1, 2)) * prod(along) for along in counts)
    order = [axis for axis, along in enumerate(counts) for _ in along]
    random.shuffle(order)
    rest, loops = list(extents), []
    for axis in order:
        rest[axis] //= counts[axis].pop()
        loops.append(Loop(member="", axis=axis, stride=rest[axis], level=0, variable=""))
    scale, plus = random.choice((1, 3)), random.choice((0, 0, 0, None))
    window = Window(
        plus=plus,
        minus=1,
        plus_scale=scale,
        band=Band(
            low=random.choice((-100, random.randint(-9, 4))),
            high=random.randint(-9, 9),
            columns=random.randint(1, 9) if plus is None else extents[0] * scale,
            rows=extents[1],
        ),
        governed=random.randint(0, len(loops)),
    )
    return tuple(loops), extents, window


@given(seed=st.integers(0, 10**6))
def test_loops_beside_a_band_are_known_beforehand(seed: int) -> None:
    random = Random(seed)
    loops, extents, window = even_nest(random)
    nest = LoopNest(loops=loops, extents=extents, window=window)
    assert nest.even is not None
    counts = nest.even[0]
    marked = tuple(random.random() < 0.5 for _ in loops)
    found = nest.deliveries_of_even_tiles(marked), nest.distinct_of_even_tiles(window, marked)
    # A loop of one iteration has one index, counted or not.
    several = tuple(mark and n > 1 for mark, n in zip(marked, counts, strict=True))
    assert found == (
        windowed_deliveries(loops, marked, extents, window, one),
        windowed_distinct(loops, several, extents, window, one),
    )


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
