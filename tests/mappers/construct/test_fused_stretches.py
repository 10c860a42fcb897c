"""Stretches of ranks lie side by side inside of shared loops, too, so that steps fill arrays."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from machines import small
from portions import left

from archsim import Architecture, simulate
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.ir import Program
from mappers.construct import fused as make
from mappers.construct.context import MappingContext
from mappers.construct.fused_tiles import InnerContext, in_stretches, inner_mapping
from mappers.construct.generators import GENERATORS
from mappers.construct.spatial_factorisation import layouts_of, soonest
from workloads.references import find_reference

STEPS = """
cascade: steps
parallel: [H]
ranks: {P: positions, E: keys, F: values}
inputs: {Q: [P, E], K: [P, E], V: [P, F]}
output: O
init: |
  S[0, e, f] = 0
einsums: |
  S[p+1, e, f] = 0.5 * S[p, e, f] + K[p, e] * V[p, f]
  O[p, f]      = Q[p, e] * S[p+1, e, f]
"""


def stretched(program: Program, machine: Architecture, shapes: dict[str, int]) -> InnerContext:
    """The inside of a step, of ranks that are cut so that two of eight heads fit a side."""
    cuts = {"H": (1, 2), "E": (1,), "F": (1,)}
    context = MappingContext(
        program=program, architecture=machine, shapes=shapes, cuts=cuts, fitted=True
    )
    return InnerContext.of(in_stretches(context)[1], frozenset({"P"}))


@pytest.mark.parametrize(
    ("workload", "machine", "most"),
    [
        left("kda", "fusemax", 1.4),
        ("log-linear", "fusemax", 1.05),
        left("log-linear", "h100-sxm", 1.3),
        left("mamba-2-2.7b", "fusemax", 1.1),
        left("rwkv-7", "fusemax", 1.05),
        left("mamba-3", "tpu-v4i", 1.3),
        left("delta-product", "fusemax", 1.2),
    ],
)
def test_by_default_heads_fill_what_one_of_them_leaves_idle(
    workload: str, machine: str, most: float
) -> None:
    """Without stretches they took 1.88, 7.57, 3.4, 1.11, 5.35 and 3.06 times their floors.

    Only as many of 8 heads inside of a step lay side by side as one side of the array had room for,
    each whole or not at all, or heads were outside of all steps.
    """
    assert simulate(workload, machine).over_floor < most


@pytest.mark.slow
def test_heads_wait_for_their_steps_together_where_what_is_outside_has_no_room() -> None:
    """Einsums outside of the steps go through the outermost memory by themselves.

    With one head at a time they would fit, but each head waits for its own steps: 5.8 times the
    floor.
    """
    found = simulate("delta-product", "fusemax", settings=["cascade=delta-product-chunked"])
    assert found.over_floor < 3.2


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["fusemax", "tpu-v4i"])
def test_written_mappings_of_heads_in_groups_are_near_the_floor(machine: str) -> None:
    """A decay was raised to a power for every value of a state: 2.3 times the floor."""
    assert simulate("grouped-lightning", machine).over_floor < 2


def test_a_rank_lies_along_both_sides_beside_others() -> None:
    program, machine = Cascade.parse(STEPS).program, small((16, 16), 4)
    context = stretched(program, machine, {"H": 8, "P": 9, "E": 8, "F": 4})
    how = inner_mapping(context, program.einsum_of["S"])
    laid = {name for _, names in how.spatial for name in names}
    assert laid == {"E", "F", "H0", "H1"}, "8 keys by 2 heads, 4 values by 4 times 2 heads"


def test_layouts_nearly_as_soon_as_the_soonest_are_looked_at_there_alone() -> None:
    program, machine = Cascade.parse(STEPS).program, small((16, 16), 4)
    context = stretched(program, machine, {"H": 8, "P": 9, "E": 8, "F": 4})
    e = program.einsum_of["O"]
    found = soonest(context, e)
    assert len(found) > 1
    assert all(x.cycles <= found[0].cycles * 5 / 4 for x in found)
    assert found[0].cycles == min(x.cycles for x in (*found, *layouts_of(context, e)))
    assert soonest(replace(context, stretched=False), e) == found[:1]


@pytest.mark.parametrize("side", [4, left(6)])
@pytest.mark.parametrize("name", ["kimi-delta-attention", left("gated-delta-rule-chunked")])
def test_what_is_made_of_stretches_computes_the_same(
    name: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies along both of two equal sides: its outer parts come first on either."""
    cascade, machine = Cascade.load(name), small((side, side), 2)
    usual = make.in_stretches
    monkeypatch.setattr(make, "in_stretches", lambda context: usual(context)[1:])
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes={"B": 1, "H": 4, "E": 3, "F": 2, "P": 5},
        trials=1,
        run=mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS),
    )
    assert report.ok, report


def test_no_room_is_asked_of_the_second_memory_for_loops_inside_of_it() -> None:
    """The second memory holds its tiles in any order of an Einsum's own loops."""
    program, machine = Cascade.parse(STEPS).program, small((2, 2), 2)
    outer, buffer = machine.memories
    machine = replace(machine, memories=(outer, replace(buffer, capacity_bytes=64)))
    context = stretched(program, machine, {"H": 8, "P": 9, "E": 8, "F": 4})
    assert context.capacity_bits(1, machine.memories[1]) == inf
    assert replace(context, alone=True).capacity_bits(1, machine.memories[1]) == 512
    assert replace(context, stretched=False).capacity_bits(1, machine.memories[1]) == 512
