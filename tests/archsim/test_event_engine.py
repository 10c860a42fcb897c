"""The event engine: against unrolled runs of random mappings, bounds, and the other engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import pytest
from event_unrolled import run_unrolled
from nest_cases import Case, random_case
from test_counts import bound

import workloads
from archsim import Architecture, Mapping, Result, simulate
from archsim.counts import count_einsum
from archsim.event_engine import event_programs, time_events
from archsim.event_flat import run_program
from archsim.event_program import EventProgram
from archsim.legality import illegalities
from archsim.lower import Lowered
from archsim.mapping import PhaseTask, Schedule
from archsim.schedule import time_mapping
from archsim.step_word import length, tally
from archsim.tasks import busy_cycles, memory_bytes, transfer_cycles
from einsum_cascade.errors import MappingError

BATCH = 25

# ------------------------------------------------------------------ random mappings


def scheduled(case: Case, kind: str) -> Case:
    names = [e.name for e in case.program.einsums]
    schedule = {
        "sequential": Schedule(kind="sequential"),
        "grouped": Schedule(kind="sequential", groups=(tuple(PhaseTask(einsum=n) for n in names),)),
        "phases": Schedule(kind="phases", groups=tuple((PhaseTask(einsum=n),) for n in names)),
        "pipelined": Schedule(kind="pipelined"),
        "one by one": Schedule(kind="pipelined", lookahead=1),
    }[kind]
    return replace(case, mapping=replace(case.mapping, schedule=schedule))


def legal(first: int, count: int, kind: str) -> list[Lowered]:
    """Lowered random cases under one kind of schedule, illegal ones left out."""
    found: list[Lowered] = []
    for seed in range(first, first + count):
        lowered = bound(scheduled(random_case(seed), kind))
        if not illegalities(lowered):
            found.append(lowered)
    return found


def programs(lowered: Lowered) -> tuple[EventProgram, ...]:
    """The programs of a mapping, or none where it is refused."""
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with suppress(MappingError):
        return tuple(p for _, p in event_programs(lowered, counts))
    return ()


KINDS = ("sequential", "grouped", "phases", "pipelined", "one by one")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", range(0, 200, BATCH))
def test_runs_equal_the_unrolled_ones(first: int, kind: str) -> None:
    ran = 0
    cases = legal(first, BATCH, kind)
    for lowered in cases:
        for program in programs(lowered):
            if sum(tally(program.word).values()) > 5000:
                continue
            ran += 1
            expected, turns = run_unrolled(program)
            for jumping in (False, True):
                run = run_program(program, jumping=jumping)
                assert run.cycles == expected
                assert run.turns == len(turns)
    assert ran >= len(cases) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_never_below_the_bounds(kind: str) -> None:
    """No array works, no memory moves, longer than the run lasts; nothing is left out."""
    ran = 0
    for lowered in legal(300, 60, kind):
        counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
        try:
            cycles = time_events(lowered, counts).timing.cycles
        except MappingError:
            continue
        ran += 1
        for array in lowered.architecture.arrays:
            work = (busy_cycles(lowered, e) for e in lowered.einsums if e.array is array)
            assert cycles >= sum(work, Fraction(0))
        for memory in lowered.architecture.memories:
            moved = memory_bytes(lowered, counts, memory)
            assert cycles >= transfer_cycles(lowered, memory, moved)
    assert ran > 10


@pytest.mark.parametrize("kind", KINDS)
def test_work_of_programs_is_the_counted_work(kind: str) -> None:
    for lowered in legal(500, 40, kind):
        counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
        busy: dict[str, Fraction] = {}
        for program in programs(lowered):
            turns = tally(program.word)
            for t in program.tasks:
                for k, x in enumerate(t.occupancy):
                    if x:
                        busy[t.resource] = busy.get(t.resource, Fraction(0)) + x * turns.get(k, 0)
        busy.pop("phases", None)
        if busy:
            expected: dict[str, Fraction] = {}
            for e in lowered.einsums:
                at = e.array.name
                expected[at] = expected.get(at, Fraction(0)) + busy_cycles(lowered, e)
            for memory in lowered.architecture.memories:
                moved = memory_bytes(lowered, counts, memory)
                expected[memory.name] = transfer_cycles(lowered, memory, moved)
            assert busy == {k: v for k, v in expected.items() if v}


# ------------------------------------------------------------------ shipped mappings

RUNS = [
    ("fusemax-binding", "bert-base", (4096, 4099, 65536, 2**20)),
    ("fusemax-binding", "xlm", (4096, 16384, 2**20)),
    ("fusemax-arch", "bert-base", (4096, 65536, 2**20)),
    ("fusemax-arch", "t5-small", (4096, 12345)),
    ("linear-attention-by-head", "bert-base", (4096, 8192)),
]


@pytest.mark.parametrize("machine", ["fusemax", "fusemax-micro24"])
@pytest.mark.parametrize(
    ("mapping", "workload", "seq_len"), [(m, w, n) for m, w, lengths in RUNS for n in lengths]
)
def test_engines_agree(mapping: str, workload: str, seq_len: int, machine: str) -> None:
    """Latency within 0.1% from 4K tokens up; counts, traffic and energy are the same."""
    work = workloads.load(workload, seq_len=seq_len)
    architecture, how = Architecture.load(machine), Mapping.load(mapping)
    average = simulate(work, architecture, how)
    found = simulate(work, architecture, how, engine="event")
    assert found.engine == "event"
    assert found.latency_s == pytest.approx(average.latency_s, rel=1e-3)
    assert found.latency_s >= max(found.bounds.compute_s, found.bounds.bandwidth_s)
    assert found.bound_by == average.bound_by
    assert untimed(found) == untimed(average)
    assert found.schedule.simulated_events is not None
    assert found.schedule.simulated_events < 25_000


def untimed(result: Result) -> dict[str, object]:
    """What does not depend on how long the run takes."""
    timed = {"engine", "latency_s", "cycles", "bound_by", "utilization", "schedule", "notes"}
    found = {k: v for k, v in result.to_dict().items() if k not in timed}
    found["einsums"] = [{**e, "utilization": None} for e in found["einsums"]]
    return found


def test_utilization_is_busy_over_elapsed() -> None:
    found = simulate(
        workloads.load("bert-base", seq_len=1024),
        Architecture.load("fusemax"),
        Mapping.load("fusemax-binding"),
        engine="event",
    )
    for array in found.arrays:
        assert array.utilization == pytest.approx(array.busy_cycles / found.cycles)
    assert sum(e.utilization for e in found.einsums) == pytest.approx(
        sum(a.utilization for a in found.arrays)
    )


def test_one_tile_is_a_chain() -> None:
    """The operands of the only tile come, every Einsum waits for its own, the output goes.

    BQK and LM, late; RM, SLN, SLD; SLNV, late; RNV, AV. The 1D array does the rest meanwhile.
    """
    found = simulate(
        workloads.load("bert-base", seq_len=256, batch=1, H=1),
        Architecture.load("fusemax-micro24"),
        Mapping.load("fusemax-binding"),
        engine="event",
    )
    chain = 64 + (1 + 256) + 1 + 7 + 1 + (64 + 256) + 64 + 64
    transfers = 4 * 256 * 64 * 2 / (400 * 2**30) * 940e6
    assert found.cycles == pytest.approx(chain + transfers, rel=1e-12)


@pytest.mark.parametrize("lookahead", [1, 2, 3, 4, 5, 7, 12])
def test_tiles_in_flight(lookahead: int) -> None:
    """A finite window limits throughput as the maximum cycle mean says."""
    work = workloads.load("bert-base", seq_len=4096)
    machine = Architecture.load("fusemax-micro24")
    how = Mapping.load("fusemax-binding", [f"schedule.lookahead={lookahead}"])
    average = simulate(work, machine, how)
    found = simulate(work, machine, how, engine="event")
    # With two, AV's sixty-four cycles at a head's end do not all find an idle array.
    assert found.cycles == pytest.approx(average.cycles, rel=2e-3)
    assert found.cycles >= average.bounds.compute_s * 940e6


def test_a_million_tokens_are_some_thousand_tasks() -> None:
    from test_step_walk import bert

    lowered = bert(2**20)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    found = time_events(lowered, counts)
    assert found.timing.simulated is not None
    assert found.timing.simulated < 25_000
    assert found.events > 10**11
    (run,) = found.runs
    assert length(run.program.word) == lowered.steps
    exact = time_mapping(lowered, counts).cycles
    assert abs(found.timing.cycles / exact - 1) < Fraction(1, 10**6)
