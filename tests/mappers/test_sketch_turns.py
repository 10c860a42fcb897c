"""Whose turn it is to be sketched."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from archsim import Architecture
from einsum_cascade import Cascade
from mappers.exhaustive.answers import OpenRegion
from mappers.exhaustive.effort import Effort
from mappers.exhaustive.opened import RegionState
from mappers.exhaustive.sketch_turns import SketchTurns
from mappers.space.mapspace import Mapspace

EFFORT = Effort(sketches=4, more_sketches=6)


@pytest.fixture(scope="module")
def opened() -> OpenRegion:
    program, machine = Cascade.load("linear-layer").program, Architecture.load("fusemax")
    space = Mapspace.of(program, machine, {"N": 4096, "D": 4096, "J": 4096})
    return OpenRegion.of(space.regions(1)[0].region, 0.0, {})


def turns(opened: OpenRegion, *, early: bool) -> SketchTurns:
    regions = [RegionState(number=n, opened=opened, left=[*range(9)]) for n in range(6)]
    return SketchTurns(
        regions=regions,
        effort=EFFORT,
        more=EFFORT.more_sketches,
        early=early,
        is_near=lambda bound: bound > 1.0,
    )


def order(found: SketchTurns, estimates: tuple[float, ...] = (inf,) * 6) -> list[int]:
    """Regions in the order of their turns, each told its estimate when it is sketched."""
    taken = []
    while (region := found.few(inf) or found.again(lambda: inf)) is not None:
        region.left.pop(0)
        region.sketched += 1
        region.estimate = estimates[region.number]
        taken.append(region.number)
    return taken


def test_a_few_regions_are_sketched_as_far_as_any_before_others_where_bounds_tell_little(
    opened: OpenRegion,
) -> None:
    estimates = (9.0, 8.0, 7.0, 6.0, 5.0, inf)
    first = order(turns(opened, early=True), estimates)
    # Region 5 found nothing that is of interest, and 4 looks best in the end.
    assert first == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2 + [5] * 2 + [4] * 2 + [4] * 5
    usual = order(turns(opened, early=False), estimates)
    assert usual[:12] == [n for n in range(6) for _ in range(2)]
    assert sorted(first) == sorted(usual)


def test_the_best_of_these_is_searched_in_all_ways_once_they_are_sketched(
    opened: OpenRegion,
) -> None:
    assert [n for n in range(40) if turns(opened, early=True).is_glance(n)] == [16]
    assert not any(turns(opened, early=False).is_glance(n) for n in range(40))


def test_a_region_with_nothing_better_has_no_turn(opened: OpenRegion) -> None:
    assert order(turns(replace(opened, bound=2.0), early=True)) == []
