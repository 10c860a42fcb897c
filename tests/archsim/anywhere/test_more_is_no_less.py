"""More of anything a machine has makes nothing slower; twice the work is twice as much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from evaluated import evaluate_mapping
from nest_cases import billed_case
from odd_machines import loaded, odd_machine
from portions import portions, some

from archsim import Architecture, Mapping, Result, simulate
from archsim.plan.selection import mapping_called
from archsim.spec.arch import Memory
from archsim.spec.mapping import EINSUM_BY_EINSUM
from einsum_cascade.errors import InputError
from mappers.construct.generators import GENERATORS
from workloads import load

WORK = (
    ("attention-1pass", {"seq_len": 30, "batch": 2, "H": 3, "E": 8, "F": 8}),
    ("attention-3pass", {"seq_len": 25, "batch": 1, "H": 2, "E": 8, "F": 8}),
    ("attention-causal", {"seq_len": 33, "batch": 1, "H": 2, "E": 8, "F": 8}),
    ("linear-attention-causal", {"seq_len": 19, "batch": 1, "H": 2, "E": 5, "F": 6}),
)
ROUNDED = 1 + 1e-9
ORDER = 1.05
"""How much slower tasks may be that are put in another order: that of a pipelined schedule is a
good one, and not always the best."""
CHOICE = 1.05
"""How much slower a default may be on a better machine: what it chooses by is an estimate."""


def memories_with(machine: Architecture, number: int, **fields: object) -> Architecture:
    changed = replace(machine.memories[number], **fields)
    rest = machine.memories
    return replace(machine, memories=(*rest[:number], changed, *rest[number + 1 :]))


def faster(machine: Architecture) -> Iterator[Architecture]:
    """The machine with more bandwidth, memory by memory, or a faster clock."""
    for number, memory in enumerate(machine.memories):
        now = memory.bandwidth_bytes_per_s
        if now is not None:
            yield memories_with(machine, number, bandwidth_bytes_per_s=2 * now)
            yield memories_with(machine, number, bandwidth_bytes_per_s=None)
    yield replace(machine, clock_hz=2 * machine.clock_hz)


def roomier(machine: Architecture) -> Iterator[Architecture]:
    """The machine with larger memories, one more of them, or deeper registers."""
    for number, memory in enumerate(machine.memories):
        now = memory.capacity_bytes
        if now is not None:
            yield memories_with(machine, number, capacity_bytes=2 * now)
    endless = Memory(name="endless", energy="dram_hbm2", line_bits=64)
    for number in range(1, len(machine.memories) + 1):
        inside, outside = machine.memories[number:], machine.memories[:number]
        yield replace(machine, memories=(*outside, endless, *inside))
    deeper = (
        replace(a, registers=replace(a.registers, depth=2 * a.registers.depth))
        for a in machine.arrays
    )
    yield replace(machine, arrays=tuple(deeper))


@pytest.mark.parametrize("first", portions(50, 10))
def test_a_mapping_is_no_slower_on_a_faster_machine(first: int) -> None:
    """And between its bounds on any: floor <= bound <= latency, by both engines alike."""
    legal = 0
    for seed in range(first, first + 10):
        case = billed_case(seed)
        try:
            now, other = (
                evaluate_mapping(
                    case.program, case.mapping, case.architecture, case.given, engine=engine
                )
                for engine in ("analytical", "event")
            )
        except InputError:
            continue
        legal += 1
        assert now.cycles == other.cycles, f"seed {seed}"
        bound = max(now.bounds.compute_s, now.bounds.bandwidth_s)
        assert now.floor.latency_s <= bound * ROUNDED, f"seed {seed}"
        assert bound <= now.latency_s * ROUNDED, f"seed {seed}"
        assert now.floor.energy_pj <= now.energy_pj * ROUNDED, f"seed {seed}"
        slack = ROUNDED if case.mapping.schedule.kind == "sequential" else ORDER
        for machine in faster(case.architecture):
            found = evaluate_mapping(case.program, case.mapping, machine, case.given)
            assert found.latency_s <= now.latency_s * slack, f"seed {seed}"
            assert found.floor.latency_s <= now.floor.latency_s * ROUNDED, f"seed {seed}"
            assert found.energy_pj == now.energy_pj, f"seed {seed}"
    assert legal > 2


@pytest.mark.parametrize("seed", some(range(8), 8, 5))
def test_a_default_is_no_slower_on_a_better_machine(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    machine = loaded(odd_machine(random), tmp_path)
    cascade, shapes = random.choice(WORK)
    work = load("bert-base", cascade=cascade, **shapes)
    now = simulate(work, machine)
    for better in (*faster(machine), *roomier(machine)):
        found = simulate(work, better)
        assert found.latency_s <= now.latency_s * CHOICE
        assert found.floor.latency_s <= now.floor.latency_s * ROUNDED


def test_a_large_memory_inside_a_small_one_holds_what_the_small_one_does(tmp_path: Path) -> None:
    """Tiles of the inner memory pass through the outer one: they fit into both."""
    tree = odd_machine(Random(7))
    work = load("bert-base", cascade="attention-causal", seq_len=50, H=2, batch=1, E=8, F=8)
    small = {"name": "L1", "line": "64 bit", "energy": "sram", "capacity": "4 KiB"}
    large = small | {"name": "L2", "capacity": "1 MiB"}
    found: list[Result] = []
    for inside in ([small], [small, large]):
        tree["architecture"]["memories"][1:] = inside
        machine = loaded(tree, tmp_path)
        found.append(
            simulate(work, machine, mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS))
        )
    assert found[1].latency_s <= found[0].latency_s * CHOICE


@pytest.mark.parametrize("seed", portions(6, 1, quick=3))
def test_twice_the_batch_is_twice_the_work(seed: int, tmp_path: Path) -> None:
    """Exactly, by the same mapping; in at most twice the time, and all but fill and drain of it."""
    random = Random(seed)
    machine = loaded(odd_machine(random), tmp_path)
    for cascade, shapes in random.sample(WORK, 2):
        one, two = (
            load("bert-base", cascade=cascade, **(shapes | {"batch": n * shapes["batch"]}))
            for n in (1, 2)
        )
        mapping = mapping_called(EINSUM_BY_EINSUM, one, machine, GENERATORS)
        if any("B" in loops for e in mapping.einsums for _, loops in e.spatial):
            continue  # as many as there were fit on an axis, and no more
        once, twice = (simulate(work, machine, mapping) for work in (one, two))
        assert twice.floor.compute_s == pytest.approx(2 * once.floor.compute_s, rel=1e-12)
        assert twice.energy_pj == pytest.approx(2 * once.energy_pj, rel=1e-12)
        for a, b in zip(once.traffic, twice.traffic, strict=True):
            assert (b.read_bytes, b.write_bytes) == (2 * a.read_bytes, 2 * a.write_bytes)
        for a, b in zip(once.einsums, twice.einsums, strict=True):
            assert b.operations == tuple((kind, 2 * n) for kind, n in a.operations)
        fill = once.schedule.fill_drain_cycles
        assert 2 * once.cycles - fill <= twice.cycles * 1.1
        assert twice.cycles <= 2 * once.cycles * ROUNDED


@pytest.mark.parametrize("seed", [0, 11])
def test_twice_the_batch_is_no_slower_by_the_sequence(seed: int, tmp_path: Path) -> None:
    """An axis of 8 takes 8 of the keys rather than 8 sequences, which would make the tiles of all
    tensors 8 times as large: their reuse was lost, at 2.1 times the latency of each."""
    machine = loaded(odd_machine(Random(seed)), tmp_path)
    latencies = []
    for batch in (4, 8):
        shapes = {"seq_len": 128, "H": 4, "E": 32, "F": 32}
        work = load("bert-base", cascade="attention-3pass", batch=batch, **shapes)
        mapping = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
        latencies.append(simulate(work, machine, mapping).latency_s / batch)
    assert latencies[1] <= latencies[0] * CHOICE


def test_an_axis_takes_the_rank_that_fills_it_without_a_sliver(tmp_path: Path) -> None:
    """Of 4 sequences and 3 heads an axis of 3 takes the heads: 12 in 4 rounds and not in 6."""
    tree = odd_machine(Random(6))
    tree["architecture"]["memories"][1:] = []
    cycles = {"cycles": 1, "bill": {}}
    kinds = {"mac": cycles, "max": cycles, "exp": cycles, "div": cycles}
    tree["architecture"]["arrays"] = [
        {"name": "A", "shape": {"lanes": 3}, "registers": {"depth": 8}, "operations": kinds}
    ]
    machine = loaded(tree, tmp_path)
    times = []
    for batch in (2, 4):
        work = load("bert-base", cascade="attention-1pass", seq_len=70, batch=batch, H=3, E=8, F=8)
        mapping: Mapping = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
        times.append(Fraction(simulate(work, machine, mapping).bounds.compute_s))
    assert times[1] <= 2 * times[0] * Fraction(ROUNDED)
