"""Inputs of which several cores use one tile."""

from __future__ import annotations

import pytest

from archsim import Architecture
from archsim.counts.cores import counts_at_ports
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.plan.partitioning import partition_mapping, problem_of_one_core
from archsim.plan.problem import MappingProblem
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from mappers.construct.beam import construct
from mappers.construct.core_sharing import CoreShares, CoreSharing
from mappers.space.mapspace import Mapspace

MOBA = "mixture-of-block-attention"
SIZES = {"B": 1, "H": 32, "P": 1024, "M": 1024, "U": 128, "J": 3, "E": 64, "F": 64}


def shares(name: str, tensor: str, **parts: int) -> CoreShares:
    """Return the shares of a tensor in the L2 of an A100, with ranks partitioned over its SMs."""
    program, machine = Cascade.load(name).program, Architecture.load("a100-80gb")
    masked = {"P"} if "causal" in name else set[str]()
    spatial = (
        SpatialRank(instances="sms", rank=r, parts=n, balanced=r in masked)
        for r, n in parts.items()
    )
    partitioning = (("L2", tuple(spatial)),)
    known = {*program.parallel, *(r.name for r in program.ranks)}
    given = {r: n for r, n in SIZES.items() if r in known}
    core = problem_of_one_core(MappingProblem(program, machine, given), partitioning)
    region = next(Mapspace.of(core.program, core.architecture, core.shapes).cuttable())[0]
    return CoreSharing(machine.memories, partitioning).shares(region, tensor)["HBM", "L2"]


def test_cores_share_what_no_partitioned_rank_divides() -> None:
    assert shares("attention-3pass", "K", H=4, P=27).part.held == pytest.approx(1 / 27)
    assert shares("attention-3pass", "K", H=32) == CoreShares()
    assert shares("attention-3pass", "Q", P=27) == CoreShares()


def test_cores_share_the_whole_tensor_from_which_they_gather() -> None:
    found = shares(MOBA, "K", H=4, P=27)
    assert found.whole.held == pytest.approx(1 / 27)
    assert found.part.held == 1


def test_cores_under_a_mask_with_equal_work_share_the_whole_tensor() -> None:
    """A core reaches half of the keys on average, so that some thirteen reach each of them."""
    found = shares("attention-causal", "K", P=26)
    assert found.part.moved == 1
    assert found.whole.held == pytest.approx(1 / 26)
    assert found.whole.moved == pytest.approx(1 / 14, rel=0.03)


@pytest.mark.parametrize("balanced", [False, True])
def test_one_core_stands_for_all_others_under_a_mask(balanced: bool) -> None:
    """Its array is as busy as the busiest one. Keys are read from HBM as often; with equal work,
    cores need them at different times, for which a single core can only stand about."""
    program, machine = Cascade.load("attention-causal").program, Architecture.load("a100-80gb")
    shapes = {"B": 1, "H": 4, "E": 64, "F": 64, "P": 512, "M": 512}
    ranks = [("H", 4, False), ("P", 8, balanced)]
    spatial = (SpatialRank(instances="sms", rank=r, parts=n, balanced=even) for r, n, even in ranks)
    partitioning = (("L2", tuple(spatial)),)
    problem = MappingProblem(program, machine, shapes)
    mapping = construct(problem, partitioning)
    assert mapping == partition_mapping(mapping, partitioning, machine, program)
    one, every = (bind(program, mapping, machine, shapes, alike=x) for x in (True, False))
    assert len(one.core_nests) < len(every.core_nests)

    def busiest(bound: object) -> int:
        return max(sum(e.iterations for e in b.einsums) for b in bound.core_nests.values())  # type: ignore[attr-defined]

    assert busiest(one) == pytest.approx(busiest(every), rel=0.2 if balanced else 1e-9)
    keys = [
        sum(
            access.reads
            for count in counts_at_ports(bound, count_mapping(bound))
            for access in count.accesses
            if (access.tensor, access.place) == ("K", "HBM")
        )
        for bound in (one, every)
    ]
    assert keys[0] == pytest.approx(keys[1], rel=0.5 if balanced else 1e-9)
