"""Mappings spread over instances run on numbers, and give what the references give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import small
from portions import left

from archsim import Architecture
from archsim.plan.partitioning import partition_mapping
from archsim.spec.arch import Memory
from archsim.spec.mapping import Mapping, SpatialRank
from archsim.validation import mapped
from archsim.validation.mapped import mapped_run, mapped_shapes
from archsim.validation.trial import ValidationReport
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference


def cores(count: int) -> Architecture:
    machine = small((4, 4), 4)
    outer, *inner = machine.memories
    return replace(machine, memories=(replace(outer, instances=(("cores", count),)), *inner))


SHAPES = {
    "linear-layer-gelu": {"N": 9, "D": 7, "J": 10},
    "grouped-query-attention-causal": {
        "B": 1,
        "G": 2,
        "S": 1,
        "E": 3,
        "F": 2,
        "P": 7,
        "M": 9,
        "M0": 4,
    },
    "attention-causal": {"B": 1, "H": 1, "E": 3, "F": 2, "P": 12, "M": 12},
    "flash-decoding": {"B": 1, "H": 2, "E": 3, "F": 2, "P": 2, "M2": 3, "M1": 2, "M0": 4},
    "flash-attention-2-backward-grouped": {
        "B": 1,
        "G": 1,
        "S": 1,
        "E": 2,
        "F": 2,
        "P1": 4,
        "P0": 2,
        "M1": 5,
        "M0": 2,
    },
    "attention-3pass": {"B": 1, "H": 3, "E": 3, "F": 5, "P": 7, "M": 11},
    "titans-deep-chunked": {"B": 1, "H": 1, "E": 2, "F": 2, "P": 6, "P0": 3, "N": 4},
}


def checked(name: str, spread: dict[str, int], *, balanced: str = "") -> ValidationReport:
    cascade, shapes, machine = Cascade.load(name), SHAPES[name], cores(8)
    ranks = tuple(
        SpatialRank(instances="cores", rank=r, parts=n, balanced=r == balanced)
        for r, n in spread.items()
    )
    made = einsum_by_einsum(cascade.program, machine, shapes)
    mapping = partition_mapping(made, (("DRAM", ranks),), machine)
    how = mapped_run(cascade, mapping, machine, GENERATORS)
    reference = find_reference(cascade.program.reference)
    return validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=how)


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        left("linear-layer-gelu", {"N": 2, "J": 3}),
        ("linear-layer-gelu", {"D": 3}),  # each has a partial sum
        left("attention-3pass", {"H": 2, "P": 3}),
        ("grouped-query-attention-causal", {"G": 2, "P": 3}),  # parts under a mask differ
        ("flash-attention-2-backward-grouped", {"M1": 3}),  # so do tiles of a rank that is cut
        ("flash-decoding", {"H": 2, "M2": 2}),  # each has some of the splits of the keys
        ("attention-3pass", {"M": 4}),  # all need the maximum of all
        left("titans-deep-chunked", {"N": 2}),  # partial results meet in every chunk
    ],
)
def test_instances_compute_together_what_one_does(name: str, spread: dict[str, int]) -> None:
    report = checked(name, spread)
    assert report.ok, report


@pytest.mark.parametrize("name", ["attention-causal", "grouped-query-attention-causal"])
def test_balanced_parts_compute_what_one_does(name: str) -> None:
    report = checked(name, {"P": 3}, balanced="P")
    assert report.ok, report


def test_a_part_that_nobody_does_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    every = mapped._cores
    monkeypatch.setattr(mapped, "_cores", lambda bound: [*every(bound)][:-1])
    assert not checked("linear-layer-gelu", {"D": 3}).ok


def test_ring_attention_gives_what_the_reference_does() -> None:
    chip = small((4, 4), 16)
    links = Memory(
        name="links", ring=True, instances=(("chips", 3),), energy="link_board", line_bits=64
    )
    machine = replace(chip, memories=(links, *chip.memories))
    cascade, mapping = Cascade.load("attention-1pass"), Mapping.load("ring-attention")
    shapes = mapped_shapes(cascade, mapping, machine) | {"B": 1, "H": 1}
    assert (shapes["P"] % 3, shapes["M"]) == (0, 3 * 4)
    shapes["P"] = 3 * 5
    how = mapped_run(cascade, replace(mapping, machine=""), machine, GENERATORS)
    reference = find_reference(cascade.program.reference)
    report = validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=how)
    assert report.ok, report
