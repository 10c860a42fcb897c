"""Loops shared inside of the third memory: what is handed on never comes to the second."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from evaluated import evaluate_mapping
from machines import small
from mapped_checks import computes_the_same

from archsim.legality.binding import bind
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct import fused_tiles as widths
from mappers.construct.fused import fused, with_second, without_second

if TYPE_CHECKING:
    from archsim import Architecture

NAME = "attention-1pass"
SHAPES = {"B": 1, "H": 1, "E": 8, "F": 8, "P": 8, "M": 16, "M0": 4}


def of_three_memories(second: int = 4096, third: int = 2048) -> Architecture:
    """A small machine whose second memory is slow."""
    machine = small((4, 4), 4)
    outer, buffer = machine.memories
    near = replace(buffer, name="near", capacity_bytes=third)
    between = replace(buffer, capacity_bytes=second, bandwidth_bytes_per_s=2e9)
    return replace(machine, memories=(outer, between, near))


def test_what_is_handed_on_passes_by_the_second_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known, machine, shapes = Cascade.load(NAME), of_three_memories(), SHAPES
    made = fused(known.program, machine, shapes)
    kept = {k.level: {*k.tensors} for k in made.keep}
    assert kept[machine.memories[1].name] == kept[machine.memories[0].name]
    assert kept["near"] - kept[machine.memories[1].name]
    computes_the_same(known, made, machine, shapes)
    # Turned off it is slower.
    monkeypatch.setattr(make, "without_second", lambda _: None)
    usual = fused(known.program, machine, shapes)
    cycles = [evaluate_mapping(known.program, m, machine, shapes).cycles for m in (made, usual)]
    assert cycles[0] < 0.8 * cycles[1]


def test_the_second_memory_holds_inputs_under_as_few_loops_as_leave_it_room() -> None:
    program, shapes = Cascade.load(NAME).program, SHAPES
    rounds = []
    inner = without_second(of_three_memories())
    assert inner is not None
    bound = bind(program, fused(program, inner, shapes), inner, shapes)
    for second in (640, 1 << 20):
        machine = of_three_memories(second)
        whole = with_second(bound, machine)
        assert whole is not None
        outside = [n.loops for n in whole.mapping.nest if n.level == machine.memories[0].name]
        rounds.append(sum(map(len, outside)))
    assert rounds[0] > rounds[1] == 0
    assert with_second(bound, of_three_memories(16)) is None


def test_blocks_are_as_large_as_have_room_where_arrays_are_of_several_widths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Blocks of 8 of the 16 queries need keys and values half as often as blocks of 4."""
    program, shapes = Cascade.load(NAME).program, SHAPES | {"P": 16, "M": 32}
    wide = small((8, 4), 4)
    outer, buffer = wide.memories
    outer = replace(outer, bandwidth_bytes_per_s=1e9)
    machine = replace(wide, memories=(outer, replace(buffer, capacity_bytes=1200)))
    cycles = []
    for plans in (make.coarser_plans, lambda _: iter(())):
        monkeypatch.setattr(make, "coarser_plans", plans)
        monkeypatch.setattr(widths, "widths_of", lambda _: iter([(None, "")]))
        made = fused(program, machine, shapes)
        cycles.append(evaluate_mapping(program, made, machine, shapes).cycles)
    assert cycles[0] < 0.8 * cycles[1]


def test_there_is_no_memory_to_spare_among_two() -> None:
    assert without_second(small((4, 4), 4)) is None
