"""Streamed operands where only part of a state fits: they are read again for each part."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import small
from portions import left

from archsim import simulate
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.spec.arch import Architecture
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from einsum_cascade.errors import NoLegalMappingError
from mappers.construct import fused as make
from mappers.construct.generators import GENERATORS
from workloads import load
from workloads.references import find_reference

SHAPES = {"B": 1, "H": 2, "E": 4, "F": 8, "P": 8}


def tight(capacity: int) -> Architecture:
    """A machine of four elements whose buffer is so large, in bytes."""
    machine = small((2, 2), 2)
    outer, buffer = machine.memories
    return replace(machine, memories=(outer, replace(buffer, capacity_bytes=capacity)))


@pytest.mark.parametrize("capacity", [160, left(192), left(256)])
def test_a_part_of_a_state_has_room_where_all_of_it_has_not(
    capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state of 4 x 8, what is added to it, and the keys of a chunk, of two bytes each."""
    program, machine = Cascade.load("gated-delta-rule-chunked").program, tight(capacity)
    with monkeypatch.context() as without:
        without.setattr(make._Fusion, "streaming", lambda _: iter(()))
        with pytest.raises(NoLegalMappingError, match="no tiles of fused loops fit"):
            GENERATORS.fuse(program, machine, SHAPES)
    made = GENERATORS.fuse(program, machine, SHAPES)
    bound = bind(program, made, machine, SHAPES)
    result = evaluate_bound(bound)
    assert result.floor.latency_s <= result.latency_s
    # Values are in the loops over parts of them, keys are in those over heads alone.
    heads, values, *_ = (loop.member for loop in bound.by_name["S"].shared)
    assert (heads, values[0]) == ("H", "F")
    assert [loop.member for loop in bound.by_name["KN"].shared] == ["H"]


@pytest.mark.parametrize(
    ("name", "size", "capacity"),
    [("gated-delta-rule-chunked", 2, 320), left("rwkv-7-chunked", 3, 512)],
)
def test_what_is_gone_through_for_each_part_computes_the_same(
    name: str, size: int, capacity: int
) -> None:
    cascade, machine = Cascade.load(name), tight(capacity)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes={**SHAPES, "P": 7, "P0": size},
        trials=1,
        run=mapped_run(cascade, GENERATORS.fuse, machine, GENERATORS),
    )
    assert report.ok, report


def test_a_small_buffer_does_not_send_every_intermediate_outside() -> None:
    """A state had no room, and Einsums went one by one through the outermost memory."""
    machine = small((32, 32), 32)
    outer, buffer = machine.memories
    machine = replace(machine, memories=(outer, replace(buffer, capacity_bytes=128 << 10)))
    found = simulate(load("delta-product", seq_len=512), machine, "fused")
    assert found.over_floor < 1.2
