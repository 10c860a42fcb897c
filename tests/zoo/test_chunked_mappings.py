"""Chunked recurrences on the 2D and 1D machine: what a token costs does not depend on how many."""

from __future__ import annotations

import pytest
from evaluated import evaluate_mapping
from machines import small

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.result.result import Result
from archsim.steps.group import fused_group
from archsim.validation.mapped import mapped_run, mapped_shapes
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct.generators import GENERATORS
from workloads.references import find_reference

MAPPINGS = ("lightning-attention-2", "retnet-chunked", "ssd-chunked")
BERT = {"B": 64, "H": 12, "E": 64, "F": 64}
LENGTHS = (2**10, 2**12, 2**14, 2**16, 2**18, 2**20)
SHAPES = (
    {"B": 1, "H": 1, "E": 5, "F": 7, "P": 301},
    {"B": 2, "H": 3, "E": 48, "F": 80, "P": 1000},
    {"B": 3, "H": 5, "E": 128, "F": 64, "P": 256},
    {"B": 1, "H": 2, "E": 64, "F": 512, "P": 512},
)


def simulated(mapping: str, shapes: dict[str, int]) -> Result:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    return evaluate_mapping(program, how, Architecture.load("fusemax"), shapes)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_token_costs_the_same_from_a_thousand_to_a_million(mapping: str) -> None:
    found = [simulated(mapping, {**BERT, "P": n}) for n in LENGTHS]
    seconds = [r.latency_s / n for r, n in zip(found, LENGTHS, strict=True)]
    energy = [
        sum(e for _, e in r.energy_by_einsum) / n for r, n in zip(found, LENGTHS, strict=True)
    ]
    # What is over at a thousand tokens is the first fill, the last drain and the decays.
    assert max(seconds) < 1.01 * min(seconds)
    assert max(energy) < 1.02 * min(energy)
    assert sorted(seconds, reverse=True) == seconds
    held = {tuple(b.required_bytes for b in r.buffers) for r in found}
    assert len(held) == 1
    moved = {r.traffic[0].total_bytes / n for r, n in zip(found, LENGTHS, strict=True)}
    assert len(moved) == 1


def test_a_token_of_softmax_attention_costs_more_the_more_there_are() -> None:
    """On the same machine and shapes, one pass over all keys costs time linear in the length."""
    how = Mapping.load("fusemax-binding")
    program = Cascade.load(how.cascade).program
    machine = Architecture.load("fusemax")
    seconds = [
        evaluate_mapping(program, how, machine, {**BERT, "P": n, "M": n}).latency_s / n
        for n in (2**14, 2**18)
    ]
    assert seconds[1] > 15 * seconds[0]
    lightning = simulated("lightning-attention-2", {**BERT, "P": 2**18}).latency_s / 2**18
    assert lightning < seconds[1] / 100


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_inputs_come_once_and_outputs_leave_once(mapping: str, shapes: dict[str, int]) -> None:
    result = simulated(mapping, shapes)
    assert result.traffic[0].total_bytes == result.bounds.traffic_bytes
    assert all(b.required_bytes < b.capacity_bytes for b in result.buffers)


@pytest.mark.parametrize("shapes", SHAPES)
def test_no_tile_that_the_mask_removes_whole_is_run(shapes: dict[str, int]) -> None:
    """Return a quarter of a million pairs per chunk, P0 a side, and not P by P."""
    result = simulated("lightning-attention-2", shapes)
    tile = 256
    chunks = -(-shapes["P"] // tile)
    assert result.schedule.steps == shapes["B"] * shapes["H"] * chunks
    (scores,) = (e for e in result.einsums if e.name == "QK")
    assert scores.cycles == shapes["B"] * shapes["H"] * chunks * shapes["E"]
    kept = sum(p % tile + 1 for p in range(shapes["P"]))
    assert dict(scores.operations) == {"mac": shapes["B"] * shapes["H"] * shapes["E"] * kept}


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_mapped_nest_computes_the_cascade(mapping: str, dtype: str) -> None:
    """Whole chunks and a ragged one, every loop as it is costed."""
    how, machine = Mapping.load(mapping), small((16, 16), 16)
    cascade = Cascade.load(how.cascade)
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=mapped_shapes(cascade, how, machine),
        dtype=dtype,
        trials=1,
        run=mapped_run(cascade, how, machine, GENERATORS),
    )
    assert report.ok, report
    assert report.independent


def test_what_feeds_an_einsum_before_the_steps_runs_before_them() -> None:
    """LG is read by LQ, LK, LC and D alone, all of which run once before the chunks."""
    how = Mapping.load("retnet-chunked")
    program = Cascade.load(how.cascade).program
    lowered = bind(program, how, Architecture.load("fusemax"), {**BERT, "P": 4096})
    group = fused_group(lowered, count_mapping(lowered), lowered.einsums)
    before = tuple(p.e.name for p in group.parts if p.early)
    after = tuple(n for n in group.outside if n not in before)
    assert before == ("LG", "LQ", "LK", "LC", "D")
    assert after == ()
