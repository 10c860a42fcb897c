"""The event engine: against unrolled runs of random mappings, bounds, and the other engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import pytest
from bound_cases import bert, bound, untimed
from event_unrolled import run_unrolled
from nest_cases import Case, random_case
from portions import examples, left, portions, some

import workloads
from archsim import Architecture, Mapping, simulate
from archsim.counts.accesses import count_einsum
from archsim.counts.occupancy import busy_cycles, memory_bytes, transfer_cycles
from archsim.engine import latency
from archsim.engine.events import run_program
from archsim.engine.latency import event_programs, time_events
from archsim.engine.timing import time_average
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from archsim.schedule.program import StepProgram
from archsim.spec.mapping import EinsumMapping, Keep, NestLevel, PhaseTask, Schedule
from archsim.steps.run_length import StepsError, length, steps_by_class
from einsum_cascade import Cascade
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


def legal(first: int, count: int, kind: str) -> list[Bound]:
    """Bound random cases under one kind of schedule, illegal ones left out."""
    found: list[Bound] = []
    for seed in range(first, first + examples(count)):
        lowered = bound(scheduled(random_case(seed), kind))
        if not illegalities(lowered):
            found.append(lowered)
    return found


def programs(lowered: Bound) -> tuple[StepProgram, ...]:
    """The programs of a mapping, or none where it is refused."""
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with suppress(MappingError, StepsError):
        return tuple(p for _, p in event_programs(lowered, counts))
    return ()


KINDS = ("sequential", "grouped", "phases", "pipelined", "one by one")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", portions(200, BATCH))
def test_runs_equal_the_unrolled_ones(first: int, kind: str) -> None:
    ran = 0
    cases = legal(first, BATCH, kind)
    for lowered in cases:
        for program in programs(lowered):
            if sum(steps_by_class(program.run_lengths).values()) > 5000:
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
        except (MappingError, StepsError):
            continue
        ran += 1
        for array in lowered.architecture.arrays:
            work = (busy_cycles(lowered, e) for e in lowered.einsums if e.array is array)
            assert cycles >= sum(work, Fraction(0))
        for memory in lowered.architecture.memories:
            moved = memory_bytes(lowered, counts, memory)
            assert cycles >= transfer_cycles(lowered, memory, moved)
    assert ran > examples(10)


@pytest.mark.parametrize("kind", KINDS)
def test_work_of_programs_is_the_counted_work(kind: str) -> None:
    for lowered in legal(500, 40, kind):
        counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
        busy: dict[str, Fraction] = {}
        for program in programs(lowered):
            turns = steps_by_class(program.run_lengths)
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
    ("fusemax-cascade", "bert-base", (4096, 65536)),
    ("unfused", "bert-base", (4096, 2**20)),
    ("flat", "bert-base", (4096, 65536, 2**20)),
]


@pytest.mark.parametrize("machine", ["fusemax", left("fusemax-micro24")])
@pytest.mark.parametrize(
    ("mapping", "workload", "seq_len"),
    some([(m, w, n) for m, w, lengths in RUNS for n in lengths], 2),
)
def test_engines_agree(mapping: str, workload: str, seq_len: int, machine: str) -> None:
    """Latency within 0.1% from 4K tokens up; counts, traffic and energy are the same."""
    architecture, how = Architecture.load(machine), Mapping.load(mapping)
    work = workloads.load(workload, seq_len=seq_len, cascade=how.cascade)
    average = simulate(work, architecture, how)
    found = simulate(work, architecture, how, engine="event")
    assert found.engine == "event"
    assert found.latency_s == pytest.approx(average.latency_s, rel=1e-3)
    assert found.latency_s >= max(found.bounds.compute_s, found.bounds.bandwidth_s)
    assert found.bound_by == average.bound_by
    assert untimed(found) == untimed(average)
    assert found.schedule.simulated_events is not None
    assert found.schedule.simulated_events < 25_000


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


def test_the_period_is_that_of_most_steps() -> None:
    """One head: 4032 steps without AV and 64 with it; the period is of the former."""
    found = simulate(
        workloads.load("bert-base", seq_len=16384, batch=1, H=1),
        Architecture.load("fusemax"),
        Mapping.load("fusemax-binding"),
        engine="event",
    )
    assert found.schedule.steps == 4096
    assert found.schedule.period_cycles == 138
    assert found.schedule.fill_drain_cycles == pytest.approx(found.cycles - 4096 * 138)
    assert 64 * 64 < found.schedule.fill_drain_cycles < 64 * 64 + 1000


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
    lowered = bert(2**20)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    found = time_events(lowered, counts)
    assert found.timing.simulated is not None
    assert found.timing.simulated < 25_000
    assert found.timing.steps > 10**9
    (run,) = found.runs
    assert length(run.program.run_lengths) == lowered.steps
    exact = time_average(lowered, counts).cycles
    assert abs(found.timing.cycles / exact - 1) < Fraction(1, 10**6)


# ------------------------------------------------------------------ refusals


def fusemax(**schedule: object) -> Bound:
    found = bert(1024)
    changed = replace(found.mapping.schedule, **schedule)
    return replace(found, mapping=replace(found.mapping, schedule=changed))


def test_no_room_at_all_is_a_deadlock() -> None:
    lowered = fusemax(lookahead=0)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with pytest.raises(MappingError, match=r"wait for one another.* -> .*0 tiles in flight"):
        time_events(lowered, counts)


def test_more_tiles_than_registers_hold() -> None:
    lowered = fusemax(lookahead=50)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with pytest.raises(MappingError, match="do not fit into the registers: they hold 12"):
        time_events(lowered, counts)


def test_a_phase_before_what_it_needs() -> None:
    names = ("SLNV", "SPNV", "RNV", "BQK", "LM", "RM", "SLN", "SLD", "PRM", "SPD", "RD", "AV")
    groups = tuple((PhaseTask(einsum=n),) for n in names)
    lowered = fusemax(kind="phases", groups=groups)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with pytest.raises(MappingError, match="SLNV runs in an earlier phase than SLN"):
        time_events(lowered, counts)


def test_a_run_too_long_for_the_engine() -> None:
    lowered = bert(2**40)
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    with pytest.raises(StepsError, match="too long for the whole numbers of the event engine"):
        time_events(lowered, counts)


@pytest.mark.parametrize("told", [True, False])
def test_rounded_times_are_noted_if_they_show(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is rounded by less than a millionth; only a smaller limit tells it."""
    if told:
        monkeypatch.setattr(latency, "MIN_ROUNDING_NOTED", 0)
    work = workloads.load("bert-base", seq_len=2**20)
    found = simulate(
        work, Architecture.load("fusemax"), Mapping.load("fusemax-binding"), engine="event"
    )
    rounded = "rounded up to whole multiples of 7.63e-06 cycles"
    assert any(rounded in n for n in found.notes) is told


# ------------------------------------------------------------------ Einsums outside loops

WEIGHTED = """
cascade: weighted
parallel: [B]
ranks: {E: x, P: x}
inputs: {W: [E], X: [P, E]}
output: [Y, S]
einsums: |
  U[e] = W[e] * W[e]
  V[e] = exp(U[e])
  Y[p, e] = X[p, e] * V[e]
  S[e] = Y[p, e]
  T[e] = S[e] + S[e]
"""


def weighted() -> Bound:
    """U and V are made before the loop over P, one from the other; T after it."""
    program = Cascade.parse(WEIGHTED.replace("[Y, S]", "[Y, T]")).program
    loops = {"U": "B", "V": "B", "T": "B", "Y": "BP", "S": "BP"}
    mapping = Mapping(
        name="weighted",
        cascade="weighted",
        nest=(NestLevel(level="DRAM", loops=("B", "P")),),
        einsums=tuple(
            EinsumMapping(
                einsum=n,
                array="array_1d" if n in "UVT" else "array_2d",
                spatial=(),
                nest=(NestLevel(level="global_buffer", loops=("E",)),),
            )
            for n in loops
        ),
        keep=(
            Keep(level="DRAM", tensors=("W", "X", "Y", "T")),
            Keep(level="global_buffer", tensors=("U", "V", "S")),
        ),
    )
    return bind(program, mapping, Architecture.load("fusemax"), {"B": 20, "E": 32, "P": 50})


def test_einsums_before_and_after_a_loop() -> None:
    lowered = weighted()
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    ((group, program),) = event_programs(lowered, counts)
    assert group.outside == ("U", "V", "T")
    cycles, turns = run_unrolled(program)
    assert run_program(program).cycles == cycles
    number = {t.name: i for i, t in enumerate(program.tasks)}
    for b in range(20):
        first, last = 50 * b, 50 * b + 49
        at = {n: turns[number[n], first if n in "UV" else last] for n in "UVT"}
        assert at["U"][1] <= at["V"][0]
        assert at["V"][1] <= turns[number["Y"], first][0]
        assert turns[number["S"], last][1] <= at["T"][0]
        if b:
            # Made while the head before is still at work, so that nobody waits for it.
            assert at["V"][1] <= turns[number["Y"], first - 1][0]
    busy = sum(busy_cycles(lowered, e) for e in lowered.einsums if e.array.name == "array_2d")
    assert busy <= cycles <= busy * Fraction(105, 100)
