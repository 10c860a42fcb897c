"""Ways to spread in which all instances need what one of them makes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mapped_checks import computes_the_same

from archsim import Architecture, simulate
from archsim.legality.binding import bind
from archsim.plan.partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    partition_mapping,
    replicating_partitionings,
)
from archsim.plan.parts import PartProblem
from archsim.plan.problem import MappingProblem
from archsim.plan.selection import partitioned_mapping
from archsim.spec.mapping import Keep, NestLevel, SpatialRank
from archsim.spec.mapping import Mapping as Written
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archsim import Result
    from einsum_cascade.ir import Program

HEADS = {"B": 1, "H": 12, "E": 8, "F": 8, "P": 64}
MACHINE = "ascend-910b2"


def operations(result: Result) -> dict[str, dict[str, int]]:
    return {e.name: dict(e.operations) for e in result.einsums}


def test_heads_that_share_their_keys_are_spread_over_cores() -> None:
    """All 80 heads of Mamba-2 are one group: they ran on one core of 24, at 34 times the floor."""
    work = load("mamba-2-2.7b", seq_len=512, batch=1)
    machine, written = Architecture.load(MACHINE), Written.load("ssd-chunked-prefill")
    (part,) = work.parts
    problem = PartProblem(part, machine, GENERATORS)
    spread = [
        partitioned_mapping(written, partitioning, problem)
        for partitioning in problem.replicating_partitionings
    ]
    runs = [(simulate(work, machine, mapping), mapping) for mapping in spread]
    found, best = min(runs, key=lambda run: run[0].latency_s)
    assert 1 <= found.over_floor < 3
    event = simulate(work, machine, best, engine="event")
    assert event.cycles == pytest.approx(found.cycles, rel=1e-3)
    # What all of them need is made once.
    feeding = next(m for m in machine.memories if m.instances)
    one = SpatialRank(instances="cores", rank="B", parts=1)
    level = NestLevel(level=feeding.name, loops=(), spatial=(one,))
    keep = Keep(level=feeding.name, tensors=written.keep[0].tensors)
    alone = replace(written, nest=(level, *written.nest), keep=(*written.keep, keep))
    one_core = simulate(work, machine, alone)
    assert operations(found) == operations(one_core)
    assert found.latency_s < one_core.latency_s / 5


def test_there_are_none_where_the_usual_ways_leave_nothing_idle() -> None:
    (part,) = load("mamba-2-2.7b", seq_len=256, batch=24).parts
    for machine in (MACHINE, "fusemax"):
        problem = PartProblem(part, Architecture.load(machine), GENERATORS)
        assert problem.replicating_partitionings == ()


def test_what_is_outside_of_a_part_has_to_be_one() -> None:
    """Of two groups of heads six in a group are no stretch of all twelve."""
    program = Cascade.load("ssd-chunked-prefill").program
    machine = Architecture.load(MACHINE)
    memory = next(m.name for m in machine.memories if m.instances)
    spread = SpatialRank(instances="cores", rank="S", parts=3)
    made = einsum_by_einsum(program, machine, HEADS | {"H": 4, "S": 4})
    level = NestLevel(level=memory, loops=(), spatial=(spread,))
    mapping = replace(made, nest=(level, *made.nest))
    with pytest.raises(MappingError, match="may be in another part of S"):
        bind(program, mapping, machine, HEADS | {"S": 6, "P0": 64})


def test_a_written_mapping_keeps_what_all_need_where_all_find_it() -> None:
    (part,) = load("mamba-2-2.7b", seq_len=256, batch=1).parts
    machine = Architecture.load(MACHINE)
    problem = PartProblem(part, machine, GENERATORS)
    written, partitioning = (
        Written.load("ssd-chunked-prefill"),
        problem.replicating_partitionings[0],
    )
    spread = partitioned_mapping(written, partitioning, problem)
    feeding = next(m.name for m in machine.memories if m.instances)
    assert any("CB" in k.tensors for k in spread.keep if k.level in (feeding, "outer"))


@pytest.mark.parametrize(
    ("cascade", "given"),
    [
        ("ssd-chunked-prefill", {"B": 1, "H": 4, "S": 4, "E": 2, "F": 2, "P": 4}),
        ("differential-attention-1pass", {"B": 1, "H": 3, "E": 2, "F": 2, "P": 2, "M": 3}),
    ],
)
def test_spread_so_it_computes_the_same(cascade: str, given: dict[str, int]) -> None:
    known, machine = Cascade.load(cascade), Architecture.load(MACHINE)

    def made(program: Program, machine: Architecture, shapes: Mapping[str, int]) -> Written:
        partitioning, *_ = replicating_partitionings(MappingProblem(program, machine, given))
        part = critical_core_shapes(partitioning, {**shapes, **given}, program)
        one = einsum_by_einsum(program, machine_of_one_core(machine, partitioning), part)
        spread = partition_mapping(one, partitioning, machine, program)
        assert any(level.spatial for level in spread.nest)
        return spread

    computes_the_same(known, made, machine, given)
