"""Jobs that share what they can, against each by itself."""

from __future__ import annotations

import random
from typing import Any

import pytest
from portions import left

from archsim import Architecture, Mapping
from archsim.api import planned
from archsim.engine.evaluate import critical_core
from archsim.legality.fit import CapacityInterval, capacity_interval_of
from archsim.plan.incremental import IncrementalEvaluator
from archsim.plan.job import Job
from archsim.plan.planner import evaluate_job, plan
from archsim.spec.overrides import parse_overrides
from einsum_cascade.errors import InputError
from mappers.construct.generators import GENERATORS
from workloads import load

RUNS = (
    ("bert-base", "fusemax", "fusemax-binding"),
    left("bert-base", "fusemax", "fusemax-arch"),
    ("bert-base", "flat-micro24", "flat"),
    left("llama-3-8b", "fusemax", "gqa-causal"),
)
MOVES = (
    ("memories.{outer}.bandwidth", ("50 GB/s", "2 TB/s")),
    ("memories.{inner}.capacity", ("1 MiB", "16 MiB", "64 MiB")),
    ("memories.{outer}.write_buffer", ("1", "3")),
    ("word", ("8 bit", "16 bit")),
    ("clock", ("500 MHz", "2 GHz")),
    ("memories.{outer}.line", ("32 bit", "512 bit")),
    ("arrays.{array}.operations.mac.cycles", ("2", "3")),
    ("arrays.{array}.registers.depth", ("16", "64")),
)


@pytest.mark.parametrize(("workload", "machine", "mapping"), RUNS)
@pytest.mark.parametrize("seed", [0, left(1)])
def test_what_is_shared_changes_no_result(
    monkeypatch: pytest.MonkeyPatch, workload: str, machine: str, mapping: str, seed: int
) -> None:
    monkeypatch.setattr("archsim.plan.policy.MAX_CACHED_RESULTS", 2)
    chance, alike = random.Random(f"{workload} {mapping} {seed}"), IncrementalEvaluator(kept=2)
    base = Architecture.load(machine)
    names = {
        "outer": base.memories[0].name,
        "inner": base.memories[-1].name,
        "array": base.arrays[0].name,
    }
    known = set()
    for _ in range(6):
        moved = chance.sample(MOVES, 2)
        settings = [f"{field.format(**names)}={chance.choice(values)}" for field, values in moved]
        arch = Architecture.load(machine, settings)
        work = load(workload, seq_len=chance.choice([512, 1024]), batch=1)
        (job,) = plan(work, arch, Mapping.load(mapping), generators=GENERATORS).jobs
        assert outcome(alike, job) == outcome(None, job)
        known.add(len(alike._runs))
    assert known <= {0, 1, 2}


PRICED = (
    *("technology.actions.mac.energy=1 pJ", "technology.memories.register_file.least_depth=128"),
    *("arrays.vector_unit.operations.exp.bill.exp=3", "measured.launch.value=9 us"),
    *("memories.L2.capacity=40 MiB", "arrays.vector_unit.operations.exp.cycles=9"),
)


def test_a_partitioned_mapping_is_priced_anew_without_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = parse_overrides(["seq_len=1024", "batch=1"])
    base = planned("bert-base", "h100-sxm", "einsum-by-einsum", given)
    assert not base.jobs[0].bind().is_whole
    alike, timed = IncrementalEvaluator(), list[object]()

    def counted(*given: Any) -> Any:
        timed.append(given)
        return critical_core(*given)

    monkeypatch.setattr("archsim.plan.incremental.critical_core", counted)
    for setting in ("clock=1830 MHz", *PRICED):
        (job,) = base.on(Architecture.load("h100-sxm", [setting])).jobs
        assert outcome(alike, job) == outcome(None, job)
    assert len(timed) == 3


def outcome(alike: IncrementalEvaluator | None, job: Job) -> object:
    try:
        return evaluate_job(job) if alike is None else alike.evaluate(job)
    except InputError as wrong:
        return str(wrong)


def test_tiles_are_fitted_once_for_all_capacities_between() -> None:
    """Also up to the last byte with which the next size does not fit, and with less than any."""
    work, mapping = load("bert-base", seq_len=2048, batch=1), Mapping.load("fusemax-binding")
    alike, rooms = IncrementalEvaluator(), list[CapacityInterval]()

    def same(capacity: int) -> None:
        machine = Architecture.load("fusemax", [f"memories.global_buffer.capacity={capacity} B"])
        (job,) = plan(work, machine, mapping, generators=GENERATORS).jobs
        fresh = outcome(None, job)
        assert outcome(alike, job) == fresh
        room = None if isinstance(fresh, str) else job.bind().memo(capacity_interval_of)
        if room is not None and room not in rooms:
            rooms.append(room)

    for capacity in range(1 << 17, 1 << 20, 1 << 17):
        same(capacity)
    ends = {
        int(size)
        for room in rooms
        for part in (room.at_least, room.below)
        for size in part.values()
    }
    for end in sorted(ends):
        same(end - 1)
        same(end)
    (known,) = alike._bound._values.values()
    assert 2 < len(known._known) == len(rooms) < len(ends) + 2


@pytest.mark.parametrize(
    "given",
    [
        ["technology.memories.sram.leakage=10 pW/bit", "technology.memories.dram_hbm2.idle=2 W"],
        ["memories.DRAM.energy=sram"],
        ["memories.global_buffer.billed_capacity=5 MiB"],
    ],
)
def test_other_capacities_are_priced_as_a_run_of_their_own_is(given: list[str]) -> None:
    work, mapping, alike = (
        load("bert-base", seq_len=512, batch=1),
        Mapping.load("fusemax-binding"),
        IncrementalEvaluator(),
    )
    for outer, inner in ((30, 24), (30, 25), (31, 25), (31, 10)):
        sizes = [
            f"memories.DRAM.capacity={1 << outer} B",
            f"memories.global_buffer.capacity={1 << inner} B",
        ]
        (job,) = plan(
            work, Architecture.load("fusemax", [*given, *sizes]), mapping, generators=GENERATORS
        ).jobs
        assert outcome(alike, job) == outcome(None, job)
    assert len(alike._runs) == 1
