"""What all chips of a ring need of one another's work, each makes for itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evaluated import evaluate_mapping
from machines import small

from archsim import Architecture
from archsim.plan.partitioning import partition_mapping
from archsim.spec.arch import Memory
from archsim.spec.mapping import Mapping, SpatialRank
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

CHIPS = 3

SHARING = """
cascade: sharing
ranks: {S: rows, P: queries, E: width, F: features}
inputs: {A: [P, E], B: [E, F], X: [S, F]}
output: Y
einsums: |
  D[p, f] = A[p, e] * B[e, f]
  C[p, f] = D[p, f] * D[p, f] where f <= p
  Y[s, p] = C[p, f] * X[s, f]
"""


def ring_of_chips() -> Architecture:
    chip = small((4, 4), 4)
    links = Memory(
        name="links", ring=True, instances=(("chips", CHIPS),), energy="dram_hbm2", line_bits=64
    )
    return replace(chip, memories=(links, *chip.memories))


def spread(mapping: Mapping, machine: Architecture, **parts: int) -> Mapping:
    ranks = tuple(SpatialRank(instances="chips", rank=r, parts=n) for r, n in parts.items())
    return partition_mapping(mapping, (("links", ranks),), machine)


@pytest.mark.parametrize("engine", ["analytical", "event"])
def test_each_chip_makes_what_all_need(engine: str) -> None:
    program, ring = Cascade.parse(SHARING).program, ring_of_chips()
    chip = replace(ring, memories=ring.memories[1:])
    shapes, part = {"S": 12, "P": 5, "E": 3, "F": 7}, {"S": 4, "P": 5, "E": 3, "F": 7}
    made = einsum_by_einsum(program, chip, part)
    alone = evaluate_mapping(program, made, chip, part, engine=engine)
    all_of = evaluate_mapping(program, spread(made, ring, S=3), ring, shapes, engine=engine)
    assert all_of.cycles == alone.cycles
    # Three chips do three times what one does: nothing is handed on.
    assert all_of.energy_pj == pytest.approx(CHIPS * alone.energy_pj)
    for one, each in zip(alone.traffic, all_of.traffic[1:], strict=True):
        assert each.total_bytes == CHIPS * one.total_bytes
    operations = {e.name: dict(e.operations) for e in all_of.einsums}
    assert operations["D"] == {"mac": CHIPS * 5 * 3 * 7}
    assert operations["Y"] == {"mac": 12 * 15}  # the mask leaves 15 of 35
    assert "each of 3 chips makes D, C for itself" in all_of.notes
    # The floor is of the work, and no mapping has to do any of it three times.
    other = einsum_by_einsum(program, chip, shapes | {"P": 2})
    apart = evaluate_mapping(program, spread(other, ring, P=3), ring, shapes)
    assert all_of.floor == apart.floor


def test_results_are_those_of_one_chip() -> None:
    """Of attention each chip has some of the features of V, and all need all weights."""
    cascade, ring = Cascade.load("attention-3pass"), ring_of_chips()
    shapes = {"B": 1, "H": 1, "E": 3, "F": 6, "P": 4, "M": 5}
    made = einsum_by_einsum(cascade.program, replace(ring, memories=ring.memories[1:]), shapes)
    how = mapped_run(cascade, spread(made, ring, F=3), ring, GENERATORS)
    reference = find_reference(cascade.program.reference)
    report = validate_cascade(cascade, reference=reference, shapes=shapes, trials=1, run=how)
    assert report.ok, report


def test_what_each_has_a_part_of_nobody_makes_for_itself() -> None:
    """A sum over what is in parts needs the parts of all."""
    program, ring = Cascade.load("attention-3pass").program, ring_of_chips()
    shapes = {"B": 1, "H": 1, "E": 3, "F": 6, "P": 4, "M": 6}
    made = einsum_by_einsum(program, replace(ring, memories=ring.memories[1:]), shapes)
    with pytest.raises(MappingError, match="is needed by all chips, but links does not hold it"):
        evaluate_mapping(program, spread(made, ring, M=3), ring, shapes)
