"""Inputs that a running value begins with: read once from where they live, in tiles of the nest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from evaluated import evaluate_mapping

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from einsum_cascade import Cascade
from einsum_cascade.ir import Number
from mappers.construct.einsum_by_einsum import einsum_by_einsum

MACHINE = Architecture.load("fusemax")


def accesses(lowered: Bound) -> Counter[tuple[str, str, str, str]]:
    """Elements by Einsum, tensor, place, and whether they are read or written."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for count in count_mapping(lowered):
        for a in count.accesses:
            found[count.einsum, a.tensor, a.place, "read"] += int(a.reads)
            found[count.einsum, a.tensor, a.place, "write"] += int(a.writes)
    return found


@pytest.mark.parametrize(
    ("keys", "batch", "groups", "sharing", "passes"),
    [(1024, 2, 2, 4, 1), (300, 1, 3, 1, 1), (65536, 1, 1, 2, 3)],
)
def test_a_sink_is_read_once_for_all_queries_of_its_head(
    keys: int, batch: int, groups: int, sharing: int, passes: int
) -> None:
    """B G S logits are read, and stand in the buffer for every query.

    The three shapes: all rows of a head in the buffer, a head alone with ragged tiles, and rows
    that need several passes over the keys (P2). Heads that share keys lie side by side, and the
    sinks of one group stay in their lanes while its passes begin.
    """
    mapping = Mapping.load("gqa-sink")
    program = Cascade.load(mapping.cascade).program
    shapes = {"B": batch, "G": groups, "S": sharing, "E": 64, "F": 64, "P": keys, "M": keys}
    lowered = bind(program, mapping, MACHINE, shapes)
    assert next(loop.bound for loop in lowered.nest if loop.member == "P2") == passes
    heads = batch * groups * sharing
    # Against the same with constants to begin with.
    zeros = tuple(replace(s, expression=Number(value=0)) for s in program.init)
    moved = accesses(lowered)
    moved.subtract(accesses(bind(replace(program, init=zeros), mapping, MACHINE, shapes)))
    brought = {("RM", "Z", "DRAM", "read"): heads}
    written = {("RM", "RM", "global_buffer", "write"): heads * keys}
    assert +moved == brought | written
    assert not -moved
    result = evaluate_bound(lowered)
    # Q and AV of every query head, keys and values of every group, and the sinks.
    least = heads * keys * 128 + batch * groups * keys * 128 + heads
    assert result.bounds.traffic_bytes == 2 * least


@pytest.mark.parametrize("engine", ["analytical", "event"])
def test_both_engines_bill_the_sinks(engine: str) -> None:
    mapping = Mapping.load("gqa-sink")
    program = Cascade.load(mapping.cascade).program
    shapes = {"B": 2, "G": 2, "S": 4, "E": 64, "F": 64, "P": 1024, "M": 1024}
    result = evaluate_mapping(program, mapping, MACHINE, shapes, engine=engine)
    queries, cache, sinks = 2 * 2 * 4 * 1024 * 64, 2 * 2 * 1024 * 128, 2 * 2 * 4
    dram = result.traffic[0]
    assert (dram.read_bytes, dram.write_bytes) == (2 * (queries + cache + sinks), 2 * queries)


def test_a_cache_that_is_recycled_is_read_once() -> None:
    """Einsum by Einsum: CK and CV come from DRAM, and are where SK and SV begin there."""
    program = Cascade.load("recycled-attention").program
    shapes = {"B": 2, "H": 3, "E": 8, "F": 4, "T": 6, "J": 5, "R": 1}
    lowered = bind(program, einsum_by_einsum(program, MACHINE, shapes), MACHINE, shapes)
    moved = {
        (a.tensor, c.einsum): a.reads
        for c in count_mapping(lowered)
        for a in c.accesses
        if a.place == "DRAM" and a.tensor in ("CK", "CV")
    }
    assert moved == {("CK", "SK"): 2 * 3 * 5 * 8, ("CV", "SV"): 2 * 3 * 5 * 4}
    # T tokens of queries, keys and values, what comes of them, and the cache of J keys.
    least = 2 * 3 * (6 * (8 + 8 + 4 + 4) + 5 * (8 + 4))
    assert evaluate_bound(lowered).bounds.traffic_bytes == 2 * least


def test_the_state_of_frames_before_is_read_once() -> None:
    program = Cascade.load("look-once-to-hear-lstm").program
    shapes = {"T": 4, "N": 3, "C": 4, "U": 5}
    lowered = bind(program, einsum_by_einsum(program, MACHINE, shapes), MACHINE, shapes)
    reads = {
        a.tensor: a.reads
        for c in count_mapping(lowered)
        for a in c.accesses
        if a.place == "DRAM" and a.tensor in ("C0", "T0")
    }
    assert reads == {"C0": 3 * 5, "T0": 3 * 5}
