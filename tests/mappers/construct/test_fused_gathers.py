"""Shared loops around what picks: queries in blocks that bring what they pick again once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from machines import small
from mapped_checks import computes_the_same

from archsim import simulate
from einsum_cascade import Cascade
from mappers.construct.fused import fused
from mappers.construct.fused_loops import gathering_einsums, independent_einsums
from workloads import load

if TYPE_CHECKING:
    from archsim import Architecture
    from archsim.spec.mapping import Mapping


def tight(capacity: int) -> Architecture:
    """A small machine that has to come back to its outermost memory, which is slow."""
    machine = small((4, 4), 4)
    outer, buffer, *others = machine.memories
    outer = replace(outer, bandwidth_bytes_per_s=1e9)
    return replace(machine, memories=(outer, replace(buffer, capacity_bytes=capacity), *others))


def queries_around(mapping: Mapping) -> list[str]:
    return [name for level in mapping.nest for name in level.loops if name.startswith("P")]


def test_what_picks_and_what_is_made_of_it_alone_is_together() -> None:
    """Not the queries' way to the latent, nor back: these need weights, at every block again."""
    program = Cascade.load("deepseek-sparse-attention").program
    assert gathering_einsums(program) == {"XC", "XR", "X", "GM", "SN", "SD", "NC", "OC"}
    assert not gathering_einsums(Cascade.load("attention-1pass").program)


def test_queries_that_pick_go_round_in_blocks_and_compute_the_same() -> None:
    known = Cascade.load("deepseek-sparse-attention")
    shapes = {"B": 1, "H": 2, "P": 12, "M": 16, "J": 8, "N": 1, "D": 4, "A": 16, "R": 2, "C": 8}
    shapes["F"] = 16
    machine = tight(1024)
    made = fused(known.program, machine, shapes)
    alone = {e.einsum for e in made.einsums if {*queries_around(made)} <= {*e.outside}}
    assert queries_around(made) == ["P2", "P1"]
    assert alone == {"IS", "IL", "IX", "QC", "O"}
    computes_the_same(known, made, machine, shapes)


def test_what_is_picked_again_comes_in_once_a_block() -> None:
    """In blocks as wide as an array it took 6.05 times the floor."""
    work = load("moba", seq_len=8192, H=1)
    found, event = (simulate(work, "fusemax", "fused", engine=e) for e in ("analytical", "event"))
    assert 1 <= found.over_floor < 2.5
    assert event.cycles == pytest.approx(found.cycles, rel=1e-2)


@pytest.mark.slow
def test_a_window_beside_the_picks_goes_round_in_finer_blocks() -> None:
    program = Cascade.load("native-sparse-attention").program
    among = gathering_einsums(program)
    assert independent_einsums(program, among) == {"VC", "OC", "XW", "MW", "NW", "DW", "VW", "OW"}
    work = load("nsa", seq_len=2048, G=1)
    found = simulate(work, "fusemax", "fused")
    assert 1 <= found.over_floor < 2.6


def test_what_is_made_before_picking_comes_in_by_itself_where_it_has_no_room_else() -> None:
    """All keys of a head, for the compressed ones, beside all that queries pick from."""
    known = Cascade.load("native-sparse-attention")
    shapes = {"B": 1, "G": 2, "S": 2, "E": 4, "F": 4, "P": 8, "M": 16, "U": 2, "J": 2}
    machine = tight(768)
    made = fused(known.program, machine, shapes | {"W": 5})
    by_name = {e.einsum: e for e in made.einsums}
    assert [level.loops[0] for level in made.nest] == ["G"]
    assert by_name["KC"].nest[0].level == machine.memories[0].name
    assert "G" not in by_name["KC"].outside
    computes_the_same(known, made, machine, shapes)


def test_what_a_short_rank_leaves_of_a_side_is_for_more_that_pick() -> None:
    """256 queries by 128 features of 256 x 256 elements: half of them were idle, and the buffer
    read each picked row twice as often, at 2.25 times the floor."""
    result = simulate(load("moba"), "fusemax")
    assert result.over_floor < 1.4
    (scores,) = (e for e in result.einsums if e.name == "X")
    assert scores.cycles < 8e5
