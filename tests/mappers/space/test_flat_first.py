"""Loops of mappings on many memories: which are looked at first, and where they may be."""

from __future__ import annotations

import pytest

from archsim import Architecture
from archsim.spec.mapping import EinsumMapping, Mapping, NestLevel
from einsum_cascade import Cascade
from mappers.construct.memory_trees import by_branches, chains_of
from mappers.space.fusion import diversified, subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region

SHAPES = {"B": 1, "H": 1, "E": 64, "F": 64, "P": 1024, "M": 1024}


def region_on(machine: Architecture) -> Region:
    program = Cascade.load("attention-1pass").program
    return Mapspace.of(program, machine, SHAPES).regions(1)[0]


@pytest.fixture(scope="module")
def deep() -> Region:
    return region_on(next(iter(chains_of(Architecture.load("fsa")))))


def test_loops_of_many_memories_are_first_all_at_the_outermost_and_the_innermost(
    deep: Region,
) -> None:
    """Four memories have so many placements of loops that a search examines few of them."""
    subspaces = subspaces_of(deep)
    found = diversified(deep, subspaces)
    shared = found[0].skeleton.shared
    mine = [s.skeleton for s in found if s.skeleton.shared == shared]
    flat = [all(not loops for loops in x.order[1:]) for x in mine]
    assert flat[:2] == [True, True]
    assert {mine[0].order[0], mine[1].order[0]} == {("P4", "M13"), ("M13", "P4")}
    assert sum(flat) < len(mine) / 10
    assert len(found) == len(subspaces)
    assert {s.skeleton for s in found} == {s.skeleton for s in subspaces}


def test_of_two_memories_subspaces_are_spread_as_they_come() -> None:
    region = region_on(Architecture.load("fusemax"))
    found = diversified(region, subspaces_of(region))
    mine = [s.skeleton for s in found if s.skeleton.shared == found[0].skeleton.shared]
    flat = [region.is_flat(x) for x in mine]
    assert flat != sorted(flat, reverse=True)


def test_own_loops_at_a_memory_that_feeds_nothing_of_an_einsum_are_at_one_that_does() -> None:
    """Latches feed comparators: the accumulators' loops there are inside of all memories."""
    machine, program = Architecture.load("fsa"), Cascade.load("attention-1pass").program
    nest = (
        NestLevel(level="accumulator_sram", loops=("M02",)),
        NestLevel(level="latches", loops=("M01",)),
        NestLevel(level="scratchpad", loops=("F",)),
    )
    arrays = {"SLNV": "accumulators", "LM": "comparators"}
    einsums = tuple(EinsumMapping(einsum=e, array=a, nest=nest) for e, a in arrays.items())
    mapping = Mapping(name="m", cascade="attention-1pass", einsums=einsums)
    sums, maxima = by_branches(program, machine, mapping).einsums
    assert [(x.level, x.loops) for x in sums.nest] == [
        ("accumulator_sram", ("M02",)),
        ("scratchpad", ("M01", "F")),
    ]
    assert [(x.level, x.loops) for x in maxima.nest] == [
        ("latches", ("M02", "M01")),
        ("scratchpad", ("F",)),
    ]
