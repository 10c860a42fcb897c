"""Gathers are billed in lines of the memory they are read from: by hand."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, simulate
from archsim.counts.meter import contiguous_words
from archsim.iteration.access_map import AccessMapper
from archsim.iteration.loops import Axis
from einsum_cascade import Cascade
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from workloads import load

GATHERING = """
cascade: gathering
ranks: {M: rows, S: slots, E: width, J: kept}
inputs: {K: [M, S, E], I: [J]}
domains: {I: 0..M}
output: C
einsums: |
  C[j, s, e] = K[I[j], s, e]
"""


def dram_words(text: str, line: str, shapes: dict[str, int], buffer: str = "16 MiB") -> float:
    """Words of two bytes read from DRAM."""
    program = Cascade.parse(text).program
    settings = [f"memories.DRAM.line={line}", f"memories.global_buffer.capacity={buffer}"]
    machine = Architecture.load("fusemax", settings)
    how = einsum_by_einsum(program, machine, shapes)
    return evaluate_mapping(program, how, machine, shapes).traffic[0].read_bytes / 2


@pytest.mark.parametrize(
    ("line", "words"),
    [("16 bit", 10 * 6), ("64 bit", 10 * 8), ("128 bit", 10 * 8), ("512 bit", 10 * 32)],
)
def test_a_gathered_row_comes_in_lines(line: str, words: int) -> None:
    """Ten rows of six words; the positions themselves are read in order."""
    shapes = {"M": 1000, "S": 1, "E": 6, "J": 10}
    assert dram_words(GATHERING, line, shapes) == words + 10


def test_slots_side_by_side_share_lines() -> None:
    """Five slots of six words make a run of thirty: eight lines of four words."""
    shapes = {"M": 1000, "S": 5, "E": 6, "J": 10}
    assert dram_words(GATHERING, "64 bit", shapes) == 10 * 32 + 10


def test_a_page_is_a_run() -> None:
    """Pages of five rows of six words out of one pool: the same lines as if it were cut."""
    text = GATHERING.replace("K: [M, S, E]", "K: [M, E]").replace("I[j], s", "I[j]*S + s")
    shapes = {"M": 5000, "S": 5, "E": 6, "J": 10}
    assert dram_words(text, "64 bit", shapes) == 10 * 32 + 10


def test_slots_in_two_parts_are_a_run_as_far_as_the_inner_is_whole() -> None:
    """Slots are told by rows of them: two rows of three are the six that one rank would be."""
    text = GATHERING.replace("S: slots", "S: rows, T: slots").replace("K: [M, S, E]", "K: [M, E]")
    text = text.replace("C[j, s, e] = K[I[j], s, e]", "C[j, s, t, e] = K[I[j]*S*T + s*T + t, e]")
    shapes = {"M": 6000, "S": 2, "T": 3, "E": 6, "J": 10}
    assert dram_words(text, "64 bit", shapes) == 10 * 36 + 10
    access = Cascade.parse(text).program.einsums[0].reads[0]
    whole = {"s": 2, "t": 3, "e": 6}
    assert contiguous_words(access, whole, whole) == 36
    assert contiguous_words(access, whole | {"s": 1}, whole) == 18
    assert contiguous_words(access, whole | {"t": 2}, whole) == 12
    assert contiguous_words(access, whole | {"e": 5}, whole) == 5


def test_single_words_cost_a_line_each() -> None:
    shapes = {"M": 1000, "S": 1, "E": 1, "J": 300}
    assert dram_words(GATHERING, "64 bit", shapes) == 300 * 4 + 300


def test_of_tiles_that_are_picked_again_each_counts_once() -> None:
    """Eight queries that pick two of three blocks of four keys: all blocks, however little of each
    is read at a time. Against random picks, of which some come to all of it."""
    head = "cascade: a\nranks: [P, J, U, M]\ninputs: {K: [M], I: [P, J]}\noutput: C\n"
    lines = "einsums: |\n  C[p, j, u] = K[I[p, j]*U + u]\n"
    program = Cascade.parse(head + lines).program
    shapes, drawn = {"P": 8, "J": 2, "U": 4, "M": 11}, Random(0)
    axes = tuple(Axis(name=r, extent=shapes[r], variables=((r.lower(), 1),)) for r in "PJU")
    access = program.einsums[0].reads[0]
    found = AccessMapper(axes, shapes).map(access, lengths=(shapes["M"],))
    for p, j, u in product((1, 2, 8), (1, 2), (1, 3, 4)):
        runs = []
        for _ in range(40):
            picks = [drawn.randrange(3) for _ in range(p * j)]
            runs.append(len({i * 4 + n for i in picks for n in range(u)} & {*range(11)}))
        assert max(runs) == found.size((p, j, u))


def test_queries_beside_one_another_share_the_blocks_that_they_pick() -> None:
    """One after the other every query reads its own blocks again: 16 times the floor."""
    work = load("moba", seq_len=4096, H=1)
    result = simulate(work, "fusemax", "fused")
    assert 1 <= result.over_floor < 5
