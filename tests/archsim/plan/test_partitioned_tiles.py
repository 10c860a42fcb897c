"""Tiles of ranks that a cascade cuts itself, in parts for instances that others leave idle."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from mapped_checks import computes_the_same
from portions import left

from archsim import Architecture, simulate
from archsim.legality.binding import bind
from archsim.plan.partition_factors import cores_used, divisible_tiles
from archsim.plan.partitioning import tile_partitionings
from archsim.plan.problem import MappingProblem
from einsum_cascade import Cascade
from mappers.construct.beam import construct
from workloads import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archsim.spec.mapping import Mapping as Written
    from einsum_cascade.ir import Program

GRADIENTS = "flash-attention-2-backward-grouped"
SHAPES = {"B": 1, "G": 2, "S": 2, "E": 16, "F": 16, "P": 512, "M": 512}


@pytest.mark.parametrize(("machine", "most"), [left("h100-sxm", 1.2), left("a100-80gb", 1.2)])
def test_gradients_use_the_instances_that_heads_leave_idle(machine: str, most: float) -> None:
    """32 heads ran on 32 of 132 SMs, at 4.2 times the floor."""
    work = load("attention-backward")
    found = simulate(work, machine)
    assert 1 <= found.over_floor < most
    event = simulate(work, machine, engine="event")
    assert event.cycles == pytest.approx(found.cycles, rel=1e-3)


@pytest.mark.slow
def test_all_parts_together_do_what_one_instance_would() -> None:
    program, machine = Cascade.load(GRADIENTS).program, Architecture.load("h100-sxm")
    problem = MappingProblem(program, machine, SHAPES)
    for tiles in tile_partitionings(problem):
        mapping = construct(problem, tiles)
        bound = bind(program, mapping, machine, SHAPES)
        assert not bound.is_whole
        cut = next(s for s in bound.cores.partitions if s.rank in ("P1", "M1"))
        sizes = [cut.size(number) for number in range(cut.parts)]
        assert sum(sizes) * mapping_tile(mapping, cut.rank) == 512
        # Under the diagonal later tiles of keys have fewer queries, of queries more keys.
        order = pairwise(sizes if cut.rank == "M1" else reversed(sizes))
        assert all(a <= b for a, b in order)


def mapping_tile(mapping: Written, outer: str) -> int:
    (size,) = (t.size for t in mapping.tiles if t.member == outer.replace("1", "0"))
    assert isinstance(size, int)
    return size


def test_parts_of_tiles_as_long_as_an_array_is_wide_are_balanced() -> None:
    """A tile of 64 keys is one coordinate of M1, though an array takes 64 keys at once."""
    program, machine = Cascade.load(GRADIENTS).program, Architecture.load("h100-sxm")
    shapes = SHAPES | {"G": 8, "S": 4, "P": 4096, "M": 4096}
    problem = MappingProblem(program, machine, shapes)
    tiles = next(t for t in tile_partitionings(problem) if _rank(t) == "M1")
    bound = bind(program, construct(problem, tiles), machine, shapes)
    assert not bound.is_whole
    cut = next(s for s in bound.cores.partitions if s.rank == "M1")
    sizes = [cut.size(number) for number in range(cut.parts)]
    total = sum(sizes)
    pairs = [
        sum(total - n for n in range(b, b + k)) for b, k in zip(cut.begins, sizes, strict=True)
    ]
    assert max(pairs) < 1.15 * sum(pairs) / len(pairs)


def _rank(partitioning: object) -> str:
    ((_, ranks),) = partitioning  # type: ignore[misc]
    return str(ranks[-1].rank)


def test_ways_use_instances_that_others_leave_idle() -> None:
    program, machine = Cascade.load(GRADIENTS).program, Architecture.load("h100-sxm")
    ways = tile_partitionings(
        MappingProblem(program, machine, SHAPES | {"G": 8, "S": 4, "P": 4096, "M": 4096})
    )
    assert [cores_used(x) for x in ways] == [128, 128]
    assert all([s.parts for _, ranks in x for s in ranks] == [8, 4, 4] for x in ways)
    # 67 heads leave no room for two parts of each: they go one after the other.
    alone = tile_partitionings(MappingProblem(program, machine, SHAPES | {"G": 67, "S": 1}))
    assert all(len(ranks) == 1 for x in alone for _, ranks in x)
    assert tile_partitionings(MappingProblem(program, Architecture.load("fusemax"), SHAPES)) == ()
    # A part is of whole tiles, as long as a side of an array; nor are there parts if heads use all
    # cores.
    for more in ({"P": 333, "M": 333}, {"G": 66, "S": 2}):
        assert tile_partitionings(MappingProblem(program, machine, SHAPES | more)) == ()


def test_tiles_that_need_one_another_are_in_no_parts() -> None:
    # Values run along the keys; chunks of a state follow one another.
    assert divisible_tiles(Cascade.load("flash-attention-2").program) == ("P1",)
    assert divisible_tiles(Cascade.load("retnet-chunked").program) == ()


@pytest.mark.parametrize("number", [0, left(1)])
def test_spread_so_they_compute_the_same(number: int) -> None:
    known, machine = Cascade.load(GRADIENTS), Architecture.load("h100-sxm")
    given = {"B": 1, "G": 2, "S": 2, "E": 2, "F": 3, "P": 8, "M": 8}

    def made(program: Program, machine: Architecture, shapes: Mapping[str, int]) -> Written:
        problem = MappingProblem(program, machine, {**shapes, **given})
        return construct(problem, tile_partitionings(problem)[number])

    computes_the_same(known, made, machine, given)
