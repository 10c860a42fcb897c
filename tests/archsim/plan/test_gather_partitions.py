"""Ranks along which something is picked, in parts: each instance has the picks of its own."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import pytest
from mapped_checks import computes_the_same

from archsim import Architecture
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.partition import has_mask_over
from archsim.plan import policy
from archsim.plan.bandwidth_bound import bandwidth_bounds
from archsim.plan.partitioning import (
    critical_core_shapes,
    machine_of_one_core,
    number_to_search,
    partition_mapping,
    partitionings_by_bound,
    replicating_partitionings,
    usual_partitionings,
)
from archsim.plan.parts import PartProblem
from archsim.plan.problem import MappingProblem
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import excerpt
from einsum_cascade.errors import MappingError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from archsim.plan.partition_factors import Partitioning
    from archsim.spec.mapping import Mapping as Written
    from einsum_cascade.ir import Program

MACHINE = "ascend-910b2"
QUERIES: Partitioning = (("L2", (SpatialRank(instances="cores", rank="P", parts=3),)),)


def spread(program: Program, machine: Architecture, shapes: Mapping[str, int]) -> Written:
    one = critical_core_shapes(QUERIES, shapes, program)
    made = einsum_by_einsum(program, machine_of_one_core(machine, QUERIES), one)
    return partition_mapping(made, QUERIES, machine, program)


@pytest.mark.parametrize(
    ("cascade", "given"),
    [
        ("deepseek-sparse-attention", {"B": 1, "H": 2, "P": 7, "M": 9, "J": 3}),
        ("mixture-of-block-attention", {"B": 1, "H": 2, "P": 7, "M": 12, "U": 3, "J": 2}),
    ],
)
def test_queries_in_parts_pick_what_they_pick_together(cascade: str, given: dict[str, int]) -> None:
    """A mask that reads the picks, too, is that of the part: ``IX[p, j] * U + u <= p + M - P``."""
    known, machine = Cascade.load(cascade), Architecture.load(MACHINE)
    computes_the_same(known, spread, machine, given)


def test_all_parts_together_compute_what_one_core_does() -> None:
    program, machine = Cascade.load("deepseek-sparse-attention").program, Architecture.load(MACHINE)
    shapes = {"B": 1, "H": 2, "P": 48, "M": 64, "J": 8, "N": 2, "D": 4, "A": 4, "R": 2, "C": 8}
    shapes["F"] = 4
    one, parts = (
        evaluate_bound(bind(program, make(program, machine, shapes), machine, shapes))
        for make in (einsum_by_einsum, spread)
    )
    assert parts.latency_s < 0.7 * one.latency_s
    counted = [{e.name: sorted(e.operations) for e in r.einsums} for r in (one, parts)]
    assert counted[0] == counted[1]


def test_what_is_picked_from_is_not_made_in_parts() -> None:
    """A query may pick what another instance makes."""
    head = "cascade: a\nranks: [P, E]\ninputs: {X: [P, E], I: [P]}\noutput: Z\n"
    text = head + "einsums: |\n  Y[p, e] = X[p, e] + X[p, e]\n  Z[p, e] = Y[I[p], e]\n"
    program, machine = Cascade.parse(text).program, Architecture.load(MACHINE)
    shapes = {"P": 6, "E": 2}
    with pytest.raises(MappingError, match="Y at I\\[p\\], which may be in another part of P"):
        bind(program, spread(program, machine, shapes), machine, shapes)


def test_queries_fill_all_instances_that_nothing_else_does() -> None:
    """Of 108 they had 32; and 27 parts of them go beside four groups that need the same blocks."""
    machine = Architecture.load("a100-80gb")

    def parts(ways: tuple[Partitioning, ...]) -> list[list[tuple[str, int | None]]]:
        return [
            [(s.rank, s.parts) for _, ranks in partitioning for s in ranks] for partitioning in ways
        ]

    program = Cascade.load("deepseek-sparse-attention").program
    shapes = {"B": 1, "H": 128, "P": 4096, "M": 4096, "F": 128, "C": 512, "J": 2048}
    assert parts(usual_partitionings(MappingProblem(program, machine, shapes)))[0] == [("P", 108)]
    program = Cascade.load("native-sparse-attention").program
    shapes = {"B": 1, "G": 4, "S": 16, "P": 8192, "M": 8192, "U": 64, "J": 16, "F": 128}
    assert [("G", 4), ("P", 27)] in parts(
        replicating_partitionings(MappingProblem(program, machine, shapes))
    )
    # Blocks of 32 heads are more than L2 has room for, those of 4 are not.
    program = Cascade.load("mixture-of-block-attention").program
    shapes = {"B": 1, "H": 32, "P": 8192, "M": 8192, "U": 512, "J": 3, "E": 128, "F": 128}
    assert parts(replicating_partitionings(MappingProblem(program, machine, shapes)))[0] == [
        ("H", 4),
        ("P", 27),
    ]


def test_a_mask_that_asks_where_a_pick_lies_makes_no_part_shorter() -> None:
    """Scores of picked blocks had 4 parts of the queries beside 32 heads: all keys of 32 heads are
    more than L2 has room for, so that they came again and again."""
    program, machine = Cascade.load("mixture-of-block-attention").program, "h100-sxm"
    scores = excerpt(program, ("X", "GM"))
    shapes = {"B": 1, "H": 32, "P": 8192, "M": 8192, "U": 512, "J": 3, "E": 128}
    first = usual_partitionings(MappingProblem(scores, Architecture.load(machine), shapes))[0]
    assert [(s.rank, s.parts, s.balanced) for _, ranks in first for s in ranks] == [
        ("H", 4, False),
        ("P", 33, False),
    ]
    # What the mask of the picks leaves out is known, and not the same for all queries.
    picks = excerpt(program, ("GT", "GS", "IX"))
    assert has_mask_over(picks, "P", of_data=False)
    assert has_mask_over(scores, "P")
    assert not has_mask_over(scores, "P", of_data=False)


def test_sums_meet_where_most_instances_would_be_idle() -> None:
    """Gradients of keys that four query heads share: 8 of 108 were at work, at 17 times the floor.
    A part of every score is still no part: there are more scores than there is to read."""
    program, machine = Cascade.load("flash-attention-2-backward-grouped").program, "a100-80gb"
    shapes = {"B": 1, "G": 8, "S": 4, "P": 4096, "M": 4096, "E": 128, "F": 128}
    ways = usual_partitionings(MappingProblem(program, Architecture.load(machine), shapes))
    spread = [{s.rank for _, ranks in partitioning for s in ranks} for partitioning in ways]
    assert {"G", "S"} in spread
    assert not any({"E", "F"} & ranks for ranks in spread)


def test_partial_results_meet_where_they_take_less_time_than_they_save() -> None:
    """Eight memories of 256 hidden features: 8 of 108 SMs were at work, at 29 times the floor. What
    all parts of the features have to add up comes and goes soon enough where it is kept on the
    chip, and does not in a memory as slow as this."""
    program, machine = Cascade.load("titans-deep-chunked").program, Architecture.load("a100-80gb")
    shapes = {"B": 1, "H": 8, "P": 4096, "E": 64, "F": 64, "N": 256}
    first, second, *others = machine.memories
    slow = replace(second, bandwidth_bytes_per_s=Fraction(10**11))
    for l2, met in ((second, True), (slow, False)):
        other = replace(machine, memories=(first, l2, *others))
        ways = usual_partitionings(MappingProblem(program, other, shapes))
        spread = [
            [(s.rank, s.parts) for _, ranks in partitioning for s in ranks] for partitioning in ways
        ]
        assert ([("H", 8), ("N", 13)] in spread) is met


def test_what_is_only_a_length_is_not_spread() -> None:
    """T5's buckets: no Einsum goes over them, and all ways but that of one core were refused."""
    work = load("t5-bias", seq_len=64, batch=2)
    ways = PartProblem(work.parts[0], Architecture.load(MACHINE), GENERATORS).partitionings
    assert ways[0]
    assert not any(
        s.rank == "N" for partitioning in ways for _, ranks in partitioning for s in ranks
    )


def test_queries_that_pick_from_what_heads_share_are_split_before_heads() -> None:
    """A core for each of 64 heads gathered all picks of all queries itself, at 100 times the floor:
    its memory is too small for the keys, and what it gathers comes anew for each query."""
    program = Cascade.load("deepseek-sparse-attention-shared").program
    machine = Architecture.load("h100-sxm")
    shapes = {"B": 1, "H": 64, "P": 4096, "M": 16384, "A": 192, "R": 64, "C": 512, "F": 256}
    scores = excerpt(program, ("QC", "XC", "XR", "X", "GM"))
    problem = MappingProblem(scores, machine, {**shapes, "J": 2048})
    first = partitionings_by_bound(problem)[0]
    assert [(s.rank, s.parts) for _, ranks in first for s in ranks] == [("P", 128)]
    assert number_to_search(problem) == 1
    by_head = next(
        p
        for p in partitionings_by_bound(problem)
        if [s.rank for _, ranks in p for s in ranks] == ["H"]
    )
    # Each head gathers J keys of C + R words, of two bytes, for each query.
    served = 64 * 4096 * 2048 * (512 + 64) * 2 / machine.memories[1].bandwidth_bytes_per_s
    (found,) = bandwidth_bounds(problem, [by_head])
    assert found == pytest.approx(float(served), rel=0.05)
    # A memory that holds all keys gathers each once.
    l1 = machine.memories[-1]
    wide = replace(machine, memories=(*machine.memories[:-1], replace(l1, capacity_bytes=1 << 26)))
    (found,) = bandwidth_bounds(MappingProblem(scores, wide, {**shapes, "J": 2048}), [by_head])
    assert found < served / 20


def test_blocks_that_a_core_holds_slice_by_slice_are_not_gathered_anew() -> None:
    """Of 16 blocks of a head a core holds a slice of each; queries come again for each slice."""
    program = excerpt(Cascade.load("mixture-of-block-attention").program, ("X", "GM"))
    machine = Architecture.load("h100-sxm", ["memories.L2.bandwidth=100 GB/s"])
    shapes = {"B": 1, "H": 32, "P": 8192, "M": 8192, "U": 512, "J": 3, "E": 128}
    problem = MappingProblem(program, machine, shapes)
    by_head = next(
        p
        for p in partitionings_by_bound(problem)
        if [(s.rank, s.parts) for _, ranks in p for s in ranks] == [("H", 32)]
    )
    keys, others = 32 * 8192 * 128 * 2, 32 * 8192 * (128 + 3) * 2  # Bytes; others: queries, picks.
    slices = ceil(8192 * 128 * 2 / (policy.INPUT_CAPACITY_SHARE * 384 * 1024))
    # All of them also come from the outermost memory.
    served = keys + (slices + 1) * others + keys + others
    assert bandwidth_bounds(problem, [by_head]) == (pytest.approx(served / 1e11),)


def test_elements_of_tiles_are_those_of_given_sizes() -> None:
    """Means of blocks of 64 keys counted as all keys, and the keys in a block, too."""
    program = Cascade.load("native-sparse-attention").program
    shapes = {"B": 1, "G": 4, "S": 16, "P": 8192, "M": 8000, "U": 64}
    problem = MappingProblem(program, Architecture.load("h100-sxm"), shapes)
    for ranks, number in ((("N",), 125), (("U",), 64), (("N", "U"), 8000), (("M",), 8000)):
        assert problem.elements(ranks) == 4 * number
    del shapes["U"]
    assert problem.elements(("U",)) == problem.elements(("N", "U")) == 4 * 8000
