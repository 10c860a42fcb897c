"""Room of a memory that holds what several instances pick from once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mapped_checks import computes_the_same

from archsim import Architecture, simulate
from archsim.plan.defaults import (
    cores_with_shared_gathers,
    fused_with_shared_gathers,
    known_mappings,
    with_shared_gather_capacity,
)
from archsim.plan.partitioning import critical_core_shapes, machine_of_one_core, partition_mapping
from archsim.plan.parts import PartProblem
from archsim.plan.selection import derived_mapping
from archsim.spec.mapping import EINSUM_BY_EINSUM, FUSED, SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, NoLegalMappingError
from mappers.construct.fused import fused
from mappers.construct.generators import GENERATORS
from workloads import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archsim.plan.partition_factors import Partitioning
    from archsim.spec.mapping import Mapping as Written
    from einsum_cascade.ir import Program

MOBA = "mixture-of-block-attention"


def spread(instances: str, **parts: int) -> Partitioning:
    ranks = (SpatialRank(instances=instances, rank=r, parts=n) for r, n in parts.items())
    return (("L2", tuple(ranks)),)


def with_l2(name: str, capacity: int) -> Architecture:
    machine = Architecture.load(name)
    memories = (
        replace(m, capacity_bytes=capacity) if m.name == "L2" else m for m in machine.memories
    )
    return replace(machine, memories=tuple(memories))


def test_there_is_no_more_room_than_if_all_that_pick_alike_held_the_same() -> None:
    program, machine = Cascade.load(MOBA).program, Architecture.load("a100-80gb")
    whole = [m.capacity_bytes for m in machine.memories]
    partitioning = spread("sms", H=4, P=27)
    share = machine_of_one_core(machine, partitioning).memories[1].capacity_bytes or 0
    rooms = [
        [m.capacity_bytes for m in s.memories]
        for s in with_shared_gather_capacity(program, machine, partitioning)
    ]
    assert rooms == [[whole[0], n * share, whole[2]] for n in (6, 3)]
    # Heads each have their own keys, and in attention nothing is picked.
    attention = Cascade.load("attention-3pass").program
    for other, there in ((program, spread("sms", H=32)), (attention, partitioning)):
        assert cores_with_shared_gathers(other, there) == 1
        assert not [*with_shared_gather_capacity(other, machine, there)]


def test_what_is_made_for_more_room_computes_the_same() -> None:
    """In a share of a memory there is no room for the blocks that a query may pick."""
    known, machine = Cascade.load(MOBA), with_l2("ascend-910b2", 7000)
    shapes = {"B": 1, "H": 2, "P": 16, "M": 32, "U": 4, "J": 4, "E": 8, "F": 8}
    partitioning = spread("cores", P=8)
    made: list[Written] = []

    def make(program: Program, architecture: Architecture, given: Mapping[str, int]) -> Written:
        one = critical_core_shapes(partitioning, given, program)
        with pytest.raises(NoLegalMappingError):
            fused(program, machine_of_one_core(architecture, partitioning), one)
        (seen,) = with_shared_gather_capacity(program, architecture, partitioning)
        inside = fused(program, seen, one)
        made.append(partition_mapping(inside, partitioning, architecture, program))
        return made[-1]

    computes_the_same(known, make, machine, shapes)
    assert {m.name for m in made} == {FUSED}


@pytest.mark.slow
def test_loops_are_shared_where_a_share_alone_has_no_room() -> None:
    """Native sparse attention on an A100 took 13 times its floor, one Einsum after the other."""
    shapes = {"H": 1, "J": 16, "U": 16, "E": 32, "F": 32}
    work, machine = load("moba", seq_len=1024, **shapes), with_l2("a100-80gb", 1 << 20)
    part, partitioning = work.parts[0], spread("sms", P=8)
    problem = PartProblem(part, machine, GENERATORS)
    more = fused_with_shared_gathers(problem, partitioning)
    after = simulate(work, machine, more)
    for name, most in ((EINSUM_BY_EINSUM, 0.8), (FUSED, 0.9)):
        alone = derived_mapping(problem, partitioning, name)
        assert after.latency_s < most * simulate(work, machine, alone).latency_s
    event = simulate(work, machine, more, engine="event")
    assert event.cycles == pytest.approx(after.cycles, rel=1e-2)


def test_what_has_no_room_on_the_whole_machine_is_refused() -> None:
    part = load("moba", seq_len=64, H=1, U=8, E=8, F=8).parts[0]
    partitioning = spread("sms", P=8)
    problem = PartProblem(part, with_l2("a100-80gb", 512), GENERATORS, MOBA)
    with pytest.raises(MappingError):
        fused_with_shared_gathers(problem, partitioning)


@pytest.mark.parametrize(("name", "more"), [("moba", 1), ("bert-base", 0)])
def test_more_room_is_tried_only_where_instances_pick_alike(name: str, more: int) -> None:
    machine = Architecture.load("a100-80gb")
    known = known_mappings(PartProblem(load(name).parts[0], machine, GENERATORS))
    asked = [getattr(k.make, "func", None) for k in known]
    assert asked.count(fused_with_shared_gathers) == more
