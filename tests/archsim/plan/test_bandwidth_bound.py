"""What the memory that feeds cores serves in a way to spread a cascade, against a count by hand
and the engine's; and which way has the least."""

from __future__ import annotations

from itertools import product

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture
from archsim.plan.bandwidth_bound import bandwidth_bounds, bandwidth_optimal, input_bandwidth_bound
from archsim.plan.partition_factors import Partitioning, useful_factors
from archsim.plan.partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    partition_mapping,
    splits_reduction,
    usual_partitionings,
)
from archsim.plan.problem import MappingProblem
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import excerpt
from mappers.construct.generators import GENERATORS

LATENT = {"B": 1, "H": 16, "D": 16, "R": 8, "L": 32, "F": 16, "P": 1, "M": 512}
ABSORBED = Cascade.load("mla-absorbed-2pass").program


def cores(**fields: str) -> Architecture:
    """16 cores whose L2 is as slow as the memory outside of it."""
    given = {"L2.bandwidth": "3350 GB/s", "L2.instances.sms": "16", **fields}
    return Architecture.load("h100-sxm", [f"memories.{k}={v}" for k, v in given.items()])


def partitioning(**parts: int) -> Partitioning:
    ranks = (SpatialRank(instances="sms", rank=r, parts=n) for r, n in parts.items() if n > 1)
    return (("L2", tuple(ranks)),)


@pytest.mark.parametrize("parts", [{"N": 4, "J": 4}, {"N": 16}, {"N": 2, "J": 8}])
def test_time_is_that_of_what_all_cores_read(parts: dict[str, int]) -> None:
    """Of X J parts read a copy each, of W N parts; the sum over D is nobody's part."""
    machine, program = cores(), Cascade.load("linear-layer").program
    given = {"N": 64, "D": 64, "J": 128}
    served = 64 * 64 * parts.get("J", 1) + 64 * 128 * parts.get("N", 1)
    once = 64 * 64 + 64 * 128
    (found,) = bandwidth_bounds(MappingProblem(program, machine, given), [partitioning(**parts)])
    assert found == pytest.approx(2 * (served + once) / 3350e9)


@pytest.mark.parametrize("room", ["384 KiB", "14 KiB"])
def test_no_time_is_above_what_a_run_takes(room: str) -> None:
    machine = cores(**{"L1.capacity": room})
    for spreading in usual_partitionings(MappingProblem(ABSORBED, machine, LATENT)):
        (least,) = bandwidth_bounds(MappingProblem(ABSORBED, machine, LATENT), [spreading])
        assert input_bandwidth_bound(MappingProblem(ABSORBED, machine, LATENT), spreading) <= least
        seen = machine_of_one_core(machine, spreading)
        made = GENERATORS.make(ABSORBED, seen, critical_core_shapes(spreading, LATENT, ABSORBED))
        mapping = partition_mapping(made, spreading, machine, ABSORBED)
        assert least <= evaluate_mapping(ABSORBED, mapping, machine, LATENT).latency_s


@pytest.mark.parametrize(
    ("parts", "room", "shared", "passes"),
    [
        (4, "16 KiB", "50 MiB", (1, 1)),  # C, as the keys of a core, is 512 / 4 * 32 * 2 = 8 KiB
        (4, "10 KiB", "50 MiB", (2, 1)),
        (4, "10 KiB", "31 KiB", (2, 2)),
        (1, "32 KiB", "50 MiB", (2, 1)),
    ],
)
def test_what_is_gone_over_again_is_read_again_where_it_has_no_room(
    parts: int, room: str, shared: str, passes: tuple[int, int]
) -> None:
    machine = cores(**{"L1.capacity": room, "L2.capacity": shared})
    nest = excerpt(ABSORBED, ("SC", "SR", "QK", "GM", "SN", "SD", "OL"))
    given = {r: n for r, n in LATENT.items() if r not in ("D", "F")}
    keys, rest = 512 * 32, 512 * 8 + 16 * (32 + 8)
    heads = 16 // parts
    served = passes[0] * keys * heads + 512 * 8 * heads + 16 * (32 + 8) * parts
    moved = passes[1] * keys + rest
    # Maxima, sums and what is weighed, written by all that have parts of the keys, and read; all
    # of these read the maxima of all.
    met = parts * 16 * (2 * (1 + 1 + 32) + 1) if parts > 1 else 0
    problem, ways = MappingProblem(nest, machine, given), partitioning(H=heads, M=parts)
    (found,) = bandwidth_bounds(problem, [ways])
    assert input_bandwidth_bound(problem, ways) == pytest.approx(2 * (served + moved) / 3350e9)
    assert found == pytest.approx(2 * (served + moved + met) / 3350e9)


def test_of_parts_of_a_rank_as_inputs_have_them_nothing_is_told() -> None:
    """Keys that all heads of a group share are as many as groups, not as heads."""
    program, machine = Cascade.load("ssd-chunked-prefill").program, cores()
    given = {"B": 1, "H": 16, "S": 16, "P": 64, "P0": 16, "E": 16, "F": 16}
    assert input_bandwidth_bound(MappingProblem(program, machine, given), partitioning(F=16)) == 0


def test_the_least_of_all_ways_is_found() -> None:
    """Against all parts of heads and keys that there are, one by one."""
    machine = cores()
    found = bandwidth_optimal(
        MappingProblem(ABSORBED, machine, LATENT), [("H", "M")], [partitioning(H=16)]
    )
    assert found is not None
    assert splits_reduction(ABSORBED, found)
    numbers = (useful_factors(LATENT[r], 16) for r in ("H", "M"))
    every = [partitioning(H=h, M=m) for h, m in product(*numbers) if h * m <= 16]
    times = bandwidth_bounds(MappingProblem(ABSORBED, machine, LATENT), every)
    (mine, alone) = bandwidth_bounds(
        MappingProblem(ABSORBED, machine, LATENT), [found, partitioning(H=16)]
    )
    assert min(times) <= mine <= 1.15 * min(times)
    assert mine < 0.8 * alone
    assert all(LATENT[s.rank] % (s.parts or 1) == 0 for _, ranks in found for s in ranks)


def test_none_is_found_where_others_are_as_good() -> None:
    multicast = cores(**{"L2.multicast": "true", "L2.bandwidth": "900 TB/s"})
    assert (
        bandwidth_optimal(
            MappingProblem(ABSORBED, multicast, LATENT), [("H", "M")], [partitioning(H=16)]
        )
        is None
    )
    found = bandwidth_optimal(
        MappingProblem(ABSORBED, cores(), LATENT), [("H", "M")], [partitioning(H=16)]
    )
    assert found is not None
    assert (
        bandwidth_optimal(MappingProblem(ABSORBED, cores(), LATENT), [("H", "M")], [found]) is None
    )
