"""Loop nests over ragged tiles against loops written out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples

from archsim.iteration.loop_nest import LoopNest, LoopSpace
from archsim.iteration.loops import (
    Axis,
    Extents,
    Loop,
    count_distinct,
    count_points,
    first_tile,
    iterations,
    split,
)

sizes = st.integers(1, 11)


@st.composite
def nests(draw: st.DrawFn) -> tuple[tuple[Loop, ...], Extents]:
    """Up to five loops over up to three axes, outer tiles of an axis first."""
    extents = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    drawn = draw(st.lists(st.tuples(st.integers(0, len(extents) - 1), sizes), max_size=5))
    loops: list[Loop] = []
    for number, (axis, stride) in enumerate(drawn):
        loops.append(Loop(member=f"x{number}", axis=axis, stride=stride, level=0, variable="x"))
    for axis in range(len(extents)):
        places = [i for i, x in enumerate(loops) if x.axis == axis]
        ordered = sorted((loops[i] for i in places), key=lambda x: -x.stride)
        for i, loop in zip(places, ordered, strict=True):
            loops[i] = loop
    return tuple(loops), extents


def written_out(
    loops: tuple[Loop, ...], extents: Extents
) -> Iterator[tuple[tuple[int, ...], Extents]]:
    """Indices of all loops and what they leave of every axis, in order."""
    if not loops:
        yield (), extents
        return
    loop, rest = loops[0], loops[1:]
    begin = 0
    index = 0
    while begin < extents[loop.axis]:
        left = min(loop.stride, extents[loop.axis] - begin)
        inner = tuple(left if a == loop.axis else e for a, e in enumerate(extents))
        for below, leaf in written_out(rest, inner):
            yield (index, *below), leaf
        begin += loop.stride
        index += 1


@given(st.integers(1, 10**20), st.integers(1, 10**20))
def test_split_covers_the_extent(extent: int, stride: int) -> None:
    parts = split(extent, stride)
    assert sum(count for count, _ in parts) == iterations(extent, stride)
    assert sum(count * left for count, left in parts) == extent
    assert all(0 < left <= stride and count > 0 for count, left in parts)
    assert all(left == stride for _, left in parts[:-1])


@settings(deadline=None)
@given(nests())
def test_count_points(case: tuple[tuple[Loop, ...], Extents]) -> None:
    loops, extents = case
    assert count_points(loops, extents) == len(list(written_out(loops, extents)))


@settings(deadline=None)
@given(nests(), st.lists(st.booleans(), min_size=5, max_size=5))
def test_count_distinct(case: tuple[tuple[Loop, ...], Extents], flags: list[bool]) -> None:
    loops, extents = case
    counted = tuple(flags[: len(loops)])
    seen = {
        tuple(i for i, c in zip(index, counted, strict=True) if c)
        for index, _ in written_out(loops, extents)
    }
    assert count_distinct(loops, counted, extents) == len(seen)


@settings(max_examples=examples(300), deadline=None)
@given(nests(), st.lists(st.booleans(), min_size=5, max_size=5))
def test_deliveries(case: tuple[tuple[Loop, ...], Extents], flags: list[bool]) -> None:
    """A tile arrives when a relevant index differs from the step before."""
    loops, extents = case
    relevant = tuple(flags[: len(loops)])
    total = 0
    held: tuple[int, ...] | None = None
    for index, leaf in written_out(loops, extents):
        tag = tuple(i for i, r in zip(index, relevant, strict=True) if r)
        if tag != held:
            total += leaf[0] * 7 + sum(leaf)
        held = tag
    nest = LoopNest(loops=loops, extents=extents)
    found = nest.delivered(relevant, lambda leaf: leaf[0] * 7 + sum(leaf))
    assert found == total


@settings(deadline=None)
@given(nests())
def test_the_first_tile_is_the_largest(case: tuple[tuple[Loop, ...], Extents]) -> None:
    loops, extents = case
    leaves = [leaf for _, leaf in written_out(loops, extents)]
    first = first_tile(extents, loops)
    assert leaves[0] == first
    assert all(a <= b for leaf in leaves for a, b in zip(leaf, first, strict=True))


def test_huge_nests_are_exact() -> None:
    """10^12 + 1 elements in tiles of 10^4 and 7: the last tile of each size is ragged."""
    loops = (
        Loop(member="a", axis=0, stride=10**4, level=0, variable="x"),
        Loop(member="b", axis=1, stride=1, level=0, variable="y"),
        Loop(member="c", axis=0, stride=7, level=0, variable="x"),
    )
    rows = 10**8 * iterations(10**4, 7) + 1
    assert count_points(loops, (10**12 + 1, 10**12)) == rows * 10**12
    nest = LoopNest(loops=loops, extents=(10**12 + 1, 10**12))
    moved = nest.delivered((True, False, True), lambda e: e[0])
    # A tile of one piece, the last, stays over all of y; the others come again.
    assert moved == 10**12 * 10**12 + 1


def test_product_of_axes_is_order_free() -> None:
    """Loops over different axes may stand in any order."""
    for order in product(range(2), repeat=2):
        if order[0] == order[1]:
            continue
        loops = tuple(Loop(member=str(a), axis=a, stride=3, level=0, variable="x") for a in order)
        assert count_points(loops, (10, 7)) == 4 * 3


def test_spatial_loops_over_one_axis_are_nested() -> None:
    """The inner of two loops over 128 lanes counted 128 iterations, so that parts of equal work
    began at multiples of 512 rows."""
    outer, inner = (
        Loop(member=m, axis=0, stride=n, level=0, variable="p", dimension="lanes")
        for m, n in (("P1", 32), ("P0", 1))
    )
    axis = Axis(name="P", extent=128, variables=(("p", 1),))
    for spatial in ((outer, inner), (inner, outer)):
        space = LoopSpace(axes=(axis,), shared=(), own=(), spatial=spatial)
        assert space.trip_counts == {"P1": 4, "P0": 32}
