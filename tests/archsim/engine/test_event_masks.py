"""The event engine where masks leave tiles out: steps, work, traffic, and the other engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import pytest
from event_unrolled import run_unrolled
from masked_cases import MASKS, masked, masked_attention
from nest_masks import MaskedWalker
from portions import examples, left

import workloads
from archsim import Architecture, Mapping, simulate
from archsim.counts.occupancy import busy_cycles
from archsim.counts.spill import count_mapping
from archsim.engine.events import run_program
from archsim.engine.latency import event_programs
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from archsim.schedule.lowering import exact_walk
from archsim.spec.mapping import Schedule
from archsim.steps.group import Walk, fused_group
from archsim.steps.run_length import StepsError, length, steps_by_class
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError


def small(mask: str, queries: int, keys: int, **schedule: object) -> Bound:
    """One-pass attention under a mask, in tiles of 2 keys and 3 queries."""
    text = Cascade.load("attention-causal-1pass").text().replace("m1*M0 + m0 <= p + M - P", mask)
    program = Cascade.parse(text).program
    mapping = Mapping.load(
        "fusemax-binding", ["partition.M.M0=2", "partition.P.P0=3", "partition.P.P1=2"]
    )
    if schedule:
        mapping = replace(mapping, schedule=Schedule(**schedule))  # type: ignore[arg-type]
    shapes = {"B": 2, "H": 1, "E": 3, "F": 2, "P": queries, "M": keys}
    return bind(program, mapping, Architecture.load("fusemax"), shapes)


def adds_up(lowered: Bound, steps: Walk) -> None:
    counts = count_mapping(lowered)
    turns = steps_by_class(steps.run_lengths)
    for i, part in enumerate(steps.group.parts):
        busy = sum((n * steps.classes[k].busy[i] for k, n in turns.items()), Fraction(0))
        assert busy == busy_cycles(lowered, part.e)
        count = next(c for c in counts if c.einsum == part.e.name)
        for m, memory in enumerate(lowered.architecture.memories):
            moved = sum(
                n * (steps.classes[k].loads[i][m] + steps.classes[k].drains[i][m])
                for k, n in turns.items()
            )
            here = [a for a in count.accesses if a.place == memory.name]
            assert moved == sum(a.reads + a.writes for a in here)


@pytest.mark.parametrize("mask", MASKS[:4])
@pytest.mark.parametrize("shape", [(12, 8), (13, 11), (7, 16), (24, 24)])
def test_steps_are_those_with_points_and_add_up(mask: str, shape: tuple[int, int]) -> None:
    lowered = small(mask, *shape)
    assert lowered.no_op_band is not None
    group = fused_group(lowered, count_mapping(lowered), lowered.einsums)
    steps = exact_walk(lowered, group)
    assert length(steps.run_lengths) == lowered.steps
    adds_up(lowered, steps)
    band = lowered.no_op_band
    found = [dict(group.nest.indices(k)) for k in range(lowered.steps)]
    expected = [
        {"B": b, "H": 0, "P2": p2, "M1": m1, "P1": p1}
        for b in range(2)
        for p2 in range(-(-shape[0] // 6))
        for m1 in range(-(-shape[1] // 2))
        for p1 in range(2)
        if any(
            band.low <= (m - p if band.plus == "M" else p - m) <= band.high
            for m in range(2 * m1, min(2 * m1 + 2, shape[1]))
            for p in range(6 * p2 + 3 * p1, min(6 * p2 + 3 * p1 + 3, shape[0]))
        )
    ]
    assert found == expected


def test_random_nests_have_the_steps_of_the_walk() -> None:
    tried = 0
    for seed in range(examples(120)):
        case = masked_attention(seed)
        lowered = masked(case)
        if lowered.no_op_band is None or illegalities(lowered):
            continue
        group = fused_group(lowered, count_mapping(lowered), lowered.einsums)
        with suppress(MappingError, StepsError):
            steps = exact_walk(lowered, group)
            adds_up(lowered, steps)
            if len(group.loops) == len(lowered.nest):
                tried += 1
                assert length(steps.run_lengths) == max(1, len(_live(case, lowered)))
    assert tried > examples(5)


def _live(case: object, lowered: Bound) -> list[tuple[int, ...]]:
    walker = MaskedWalker(case, lowered)  # type: ignore[arg-type]
    live = walker.live()
    names = [loop.member for loop in lowered.nest]
    return [
        step
        for step in walker.shared_indices()
        if any(all(dict(zip(names, step, strict=True))[n] == i for n, i in key) for key in live)
    ]


@pytest.mark.parametrize("mask", [*MASKS[:4], None])
def test_runs_equal_the_unrolled_ones(mask: str | None) -> None:
    """One-pass attention, pipelined, under each mask; three passes, one after the other."""
    ran = 0
    for shape in ((12, 8), (13, 11), (24, 24)):
        if mask is None:
            lowered = three_passes(*shape)
        else:
            lowered = small(mask, *shape, kind="pipelined", lookahead=2)
        for _, program in event_programs(lowered, count_mapping(lowered)):
            expected, turns = run_unrolled(program)
            runs = [run_program(program, jumping=jumping) for jumping in (False, True)]
            assert runs[0].cycles == runs[1].cycles
            for run in runs:
                assert run.turns == len(turns)
                # Shares of masked tiles have odd denominators: times are rounded up.
                assert run.cycles == expected if run.exact else 0 <= run.cycles - expected < 1e-9
            ran += 1
    assert ran >= 3


def three_passes(queries: int, keys: int) -> Bound:
    """Causal three-pass attention, unfused, on some tiles of 256."""
    program = Cascade.load("attention-causal").program
    shapes = {"B": 2, "H": 1, "E": 3, "F": 2, "P": 40 * queries, "M": 40 * keys}
    return bind(program, Mapping.load("unfused"), Architecture.load("flat"), shapes)


@pytest.mark.parametrize("mapping", ["fusemax-causal", "fusemax-window"])
@pytest.mark.parametrize("machine", ["fusemax", "fusemax-micro24"])
@pytest.mark.parametrize("seq_len", [left(4096), 5000, left(16384)])
def test_engines_agree(mapping: str, machine: str, seq_len: int) -> None:
    parameters = {"W": 1024} if mapping == "fusemax-window" else {}
    architecture, how = Architecture.load(machine), Mapping.load(mapping)
    work = workloads.load("bert-base", seq_len=seq_len, cascade=how.cascade, **parameters)
    average = simulate(work, architecture, how)
    event = simulate(work, architecture, how, engine="event")
    assert event.traffic == average.traffic
    assert event.energy_pj == average.energy_pj
    assert event.latency_s == pytest.approx(average.latency_s, rel=1e-3)
    assert event.latency_s >= event.bounds.compute_s
    assert event.latency_s >= event.bounds.bandwidth_s * (1 - 1e-9)
