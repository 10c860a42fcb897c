"""A bound mapping and its counts as text."""

from __future__ import annotations

import pytest

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.views.dump import bound_text, counts_text
from einsum_cascade import Cascade

SHAPES = {"B": 64, "H": 12, "E": 64, "F": 64, "P": 2048, "M": 2048}


@pytest.fixture(scope="module")
def fusemax() -> Bound:
    program = Cascade.load("attention-1pass").program
    return bind(program, Mapping.load("fusemax-binding"), Architecture.load("fusemax"), SHAPES)


def test_a_bound_mapping_is_a_loop_nest(fusemax: Bound) -> None:
    lines = bound_text(fusemax).splitlines()
    assert lines[0] == "fusemax-binding: attention-1pass on fusemax"
    assert lines[3] == "global_buffer keeps Q, K, V, RM, RD, RNV"
    assert lines[6] == "schedule  pipelined, 49,152 steps"
    nest = [line.strip() for line in lines if line.lstrip().startswith("for ")]
    assert nest[:5] == [
        *("for B of 64 @ DRAM", "for H of 12 @ DRAM", "for P2 of 1 @ DRAM"),
        *("for M1 of 8 @ DRAM", "for P1 of 8 @ global_buffer"),
    ]
    begin = lines.index("          AV on array_1d: div, outside M1")
    assert [line.strip() for line in lines[begin + 1 :]] == [
        "for F of 64 @ global_buffer",
        "across lanes: P0 of 256",
        "reads RNV at the end: global_buffer 131,072 > tile 256",
        "reads RD at the end: global_buffer 2,048 > tile 256",
        "writes AV: tile 256 > DRAM 100,663,296",
    ]


def test_counts_say_what_moves_where(fusemax: Bound) -> None:
    counts = count_mapping(fusemax)
    text = counts_text(fusemax)
    assert text.splitlines()[:8] == [
        "BQK on array_2d",
        "  206,158,430,208 points, 3,145,728 iterations",
        "  3,145,728 busy cycles",
        "  206,158,430,208 mac",
        "  Q @ DRAM: 100,663,296 read, 0 written",
        "  Q @ global_buffer: 805,306,368 read, 100,663,296 written",
        "  K @ DRAM: 100,663,296 read, 0 written",
        "  K @ global_buffer: 805,306,368 read, 100,663,296 written",
    ]
    # Every Einsum, and every access of each, is told.
    assert text.count(" @ ") == sum(len(c.accesses) + 2 for c in counts)
