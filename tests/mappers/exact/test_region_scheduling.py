"""Whose turn it is to be sketched."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from archsim import Architecture
from einsum_cascade import Cascade
from mappers.exact.branch_and_bound import RegionScheduler
from mappers.exact.policy import Effort
from mappers.exact.subspaces import OpenRegion
from mappers.space.mapspace import Mapspace

EFFORT = Effort(sketches=4, more_sketches=6)


@pytest.fixture(scope="module")
def opened() -> OpenRegion:
    program, machine = Cascade.load("linear-layer").program, Architecture.load("fusemax")
    space = Mapspace.of(program, machine, {"N": 4096, "D": 4096, "J": 4096})
    return OpenRegion.of(space.regions(1)[0], 0.0, {})


def turns(opened: OpenRegion, *, early: bool) -> RegionScheduler:
    return RegionScheduler([], EFFORT, EFFORT.more_sketches, early=early, is_near=lambda b: b > 1.0)


def order(
    found: RegionScheduler, opened: OpenRegion, estimates: tuple[float, ...] = (inf,) * 6
) -> list[list[int]]:
    """Regions in the order of their turns, by stage, each told its estimate when it is sketched."""
    stages: list[list[int]] = []
    regions = [replace(opened, number=n, left=[*range(9)]) for n in range(6)]
    for some in found.stages(regions):
        found.regions = [*found.regions, *some]
        stages.append([])
        while (region := found.few(inf) or found.again(lambda: inf)) is not None:
            region.left.pop(0)
            region.sketched += 1
            region.estimate = estimates[region.number]
            stages[-1].append(region.number)
    return stages


def test_a_few_regions_are_sketched_as_far_as_any_before_others_where_bounds_tell_little(
    opened: OpenRegion,
) -> None:
    estimates = (9.0, 8.0, 7.0, 6.0, 5.0, inf)
    early, late = order(turns(opened, early=True), opened, estimates)
    assert sorted(early) == [n for n in range(4) for _ in range(4)]
    # Region 5 found nothing that is of interest, and 4 looks best in the end.
    assert late == [4] * 2 + [5] * 2 + [4] * 2 + [4] * 5
    (usual,) = order(turns(opened, early=False), opened, estimates)
    assert usual[:12] == [n for n in range(6) for _ in range(2)]
    assert sorted([*early, *late]) == sorted(usual)


def test_a_region_with_nothing_better_has_no_turn(opened: OpenRegion) -> None:
    assert order(turns(opened, early=True), replace(opened, bound=2.0)) == [[], []]
