"""The regions that promise most: which they are, and that few are looked at to know it."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import inf

import pytest
from portions import left

from archsim import Architecture
from archsim.bounds.makespan import makespan_bound
from einsum_cascade import Cascade
from mappers.space import region as regions
from mappers.space.grid import RegionGrid
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region

SHAPES = {"B": 1, "H": 2, "G": 1, "E": 16, "F": 16, "P": 256}


@cache
def torn() -> Mapspace:
    """A cascade that cuts a rank itself, in chunks of several sizes."""
    program = Cascade.load("ssd-chunked-prefill").program
    given = {rank: size for rank, size in SHAPES.items() if rank in program.settable}
    sides = ("array_2d.shape.rows=16", "array_2d.shape.columns=16", "array_1d.shape.lanes=16")
    machine = Architecture.load("fusemax", [f"arrays.{side}" for side in sides])
    return Mapspace.of(program, machine, given)


def one_by_one(space: Mapspace, most: int, within: float) -> list[Region]:
    """Return the same regions after examining every region."""
    cells = [one for each in space._grids for one in each.best(space.size)]
    cells.sort(key=lambda one: one[0])
    every = [(its, its.region(place)) for _, its, place in cells]
    able = [(its, promised) for its, promised in every if promised.bound <= within]
    found = able[:most]
    usual: dict[object, RegionGrid] = {}
    for its in space._grids:
        usual.setdefault(its.base.fixed, its)
    wanted = [u for u in usual.values() if all(u is not its for its, _ in found)] * space.each
    sizes = {its.base.fixed for its, _ in found}
    for its, promised in able[most:]:
        mine = [n for n, one in enumerate(wanted) if one is its]
        if mine or its.base.fixed not in sizes:
            found.append((its, promised))
            sizes.add(its.base.fixed)
        for number in mine[:1]:
            del wanted[number]
    return [promised for _, promised in found]


def told(regions: list[Region]) -> list[object]:
    return [(one.fixed, one.cuts, one.least_cycles) for one in regions]


@pytest.mark.parametrize("share", [left(1.0), left(1.5), left(4.0)])
def test_each_size_of_tiles_has_the_region_that_it_has_where_all_are_looked_at(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = torn()
    assert space.each
    assert len({its.base.fixed for its in space._grids}) > 2
    within = share * space.regions(1)[0].bound
    expected = one_by_one(space, 3, within)
    looked: list[int] = []

    def counted(work: list[dict[int, Fraction]], arrays: int) -> Fraction:
        looked.append(len(work))
        return makespan_bound(work, arrays)

    monkeypatch.setattr(regions, "makespan_bound", counted)
    found = space.regions(3, within=within, fair=True)
    assert told([*found]) == told(expected)
    assert len(looked) < space.size / 4


@pytest.mark.slow
def test_without_a_limit_no_region_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    space = torn()
    expected = one_by_one(space, 3, inf)
    monkeypatch.setattr(regions, "makespan_bound", lambda *_: pytest.fail("it was looked at"))
    assert told([*space.regions(3, fair=True)]) == told(expected)
