"""Latency: worked examples, closed forms, bounds, and an event queue beside the makespan."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from bound_cases import bound, walker
from event_queue import run_events
from nest_cases import Case, random_case, varied_case
from nest_walker import NestWalker
from portions import examples, left

import workloads
from archsim import Architecture, Mapping, simulate
from archsim.counts.accesses import EinsumCount, count_einsum
from archsim.counts.occupancy import busy_cycles, memory_bytes, reduction_latency, transfer_cycles
from archsim.engine.timing import Timing, time_average
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.nest.record import Bound
from archsim.schedule.event_graph import average_step
from archsim.schedule.kinds import unordered
from archsim.schedule.lowering import ProgramBuilder
from archsim.schedule.modulo import modulo_schedule
from archsim.spec.arch import Memory
from archsim.spec.mapping import PhaseTask, Schedule
from archsim.steps.group import fused_group, uniform_walk
from einsum_cascade import Cascade

# ------------------------------------------------------------------ worked examples


@pytest.mark.parametrize(
    ("lookahead", "cycles_a_tile", "bound_by"),
    [
        # One tile at a time: the 2D array's 73 up to the running maximum and 64 after it,
        # the reductions' 256 once before and once after, one cycle in the 1D array between.
        (1, 64 + 1 + 256 + 1 + 7 + 1 + 64, "dependencies"),
        # Two in flight share that time, and AV's 64 cycles in every fourth step hold up a fifth.
        (2, 197 + 5 / 4, "dependencies"),
        # With three, the 1D array works all the time: 138 a tile and 64 a query tile of four.
        (3, 138 + 64 / 4, "array_1d"),
        (5, 138 + 64 / 4, "array_1d"),
    ],
)
def test_bert_1k_by_tiles_in_flight(lookahead: int, cycles_a_tile: float, bound_by: str) -> None:
    """A head has 16 tiles; 2464 cycles a head are the published figure."""
    found = simulate(
        workloads.load("bert-base", seq_len=1024),
        Architecture.load("fusemax-micro24"),
        Mapping.load("fusemax-binding", [f"schedule.lookahead={lookahead}"]),
    )
    settled = found.schedule.period_cycles * 16
    assert settled == pytest.approx(16 * cycles_a_tile, rel=1e-4)
    assert found.cycles == pytest.approx(16 * 768 * cycles_a_tile, rel=1e-3)
    if lookahead != 3:
        assert found.bound_by == bound_by


def test_a_single_step_is_a_chain() -> None:
    """One tile: its operands come, every Einsum waits for the one before, the output goes.

    BQK and the tile's maximum, 256 cycles late; the running one; exp; the tile's sum, 256
    late; then the 1D array in written order: the sum of both (RD), SPNV, RNV, AV.
    """
    found = simulate(
        workloads.load("bert-base", seq_len=256, batch=1, H=1),
        Architecture.load("fusemax-micro24"),
        Mapping.load("fusemax-binding"),
    )
    chain = 64 + (1 + 256) + 1 + 7 + (1 + 256) + 64 + 64 + 64
    transfers = 4 * 256 * 64 * 2 / (400 * 2**30) * 940e6
    assert found.cycles == pytest.approx(chain + transfers, rel=1e-12)


# ------------------------------------------------------------------ random mappings


def legal_cases(first: int, count: int, kind: str) -> list[tuple[Case, Bound]]:
    """Bound random cases under one kind of schedule, the illegal ones left out."""
    found = []
    for seed in range(first, first + examples(count)):
        case = random_case(seed)
        schedule = Schedule(kind="sequential" if kind == "sequential" else "pipelined")
        if kind == "phases":
            groups = tuple((PhaseTask(einsum=e.name),) for e in case.program.einsums)
            schedule = Schedule(kind="phases", groups=groups)
        case = replace(case, mapping=replace(case.mapping, schedule=schedule))
        lowered = bound(case)
        if not illegalities(lowered):
            found.append((case, lowered))
    return found


def timed(lowered: Bound) -> tuple[Timing, tuple[EinsumCount, ...]]:
    counts = tuple(count_einsum(lowered, e) for e in lowered.einsums)
    return time_average(lowered, counts), counts


def least(lowered: Bound, counts: tuple[EinsumCount, ...]) -> Fraction:
    """The busiest array or memory, whatever the schedule."""
    work: dict[str, Fraction] = {}
    for e in lowered.einsums:
        work[e.array.name] = work.get(e.array.name, Fraction(0)) + busy_cycles(lowered, e)
    memories = lowered.architecture.memories
    moved = [transfer_cycles(lowered, m, memory_bytes(lowered, counts, m)) for m in memories]
    return max(*work.values(), *moved)


@pytest.mark.parametrize("kind", ["sequential", "phases", "pipelined"])
def test_never_below_the_bounds(kind: str) -> None:
    cases = legal_cases(0, 120, kind)
    assert len(cases) > examples(40)
    for _, lowered in cases:
        timing, counts = timed(lowered)
        assert timing.cycles >= least(lowered, counts)
        assert isinstance(timing.cycles, Fraction)
        assert timing.cycles == timing.period * timing.steps + timing.fill_drain


def legal_groups(first: int, count: int) -> list[tuple[Case, Bound]]:
    """Bound random cases with groups of Einsums, the illegal ones left out."""
    cases = [varied_case(seed) for seed in range(first, first + examples(count))]
    found = [(c, bound(c)) for c in cases if c.mapping.schedule.groups]
    return [(c, lowered) for c, lowered in found if not illegalities(lowered)]


@pytest.mark.parametrize("grouped", [False, True])
def test_sequential_is_the_sum_of_the_longest_parts(grouped: bool) -> None:
    """From the walker's counts: iterations times cycles, bytes over bandwidth."""
    cases = legal_groups(500, 250) if grouped else legal_cases(500, 60, "sequential")
    assert len(cases) > examples(20)
    assert not grouped or any(len(g) > 1 for _, lowered in cases for g in lowered.groups)
    for case, lowered in cases:
        walk = walker(case)
        expected = sum(_longest_part(case, lowered, walk, group) for group in walk.groups())
        assert timed(lowered)[0].cycles == expected


def _longest_part(case: Case, lowered: Bound, walk: NestWalker, group: list[str]) -> Fraction:
    machine = case.architecture
    work: Counter[str] = Counter()
    late: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for e in (e for e in lowered.einsums if e.name in group):
        found = walk.walk(e.einsum)
        cycles = {o.kind: o.cycles for o in e.array.operations}
        work[e.array.name] += found.iterations * int(sum(n * cycles[k] for k, n in e.operations))
        crossed = {x.dimension for x in e.spatial if x.variable in e.einsum.over}
        wait = sum(d.reduction_latency_cycles for d in e.array.dimensions if d.name in crossed)
        late[e.array.name] = max(late[e.array.name], wait)
        for (_, place, _), n in found.accesses.items():
            moved[place] += n
    parts = [Fraction(work[a] + late[a]) for a in work]
    for memory in machine.memories:
        if memory.bandwidth_bytes_per_s is not None:
            seconds = moved[memory.name] * machine.word_bytes / memory.bandwidth_bytes_per_s
            parts.append(seconds * machine.clock_hz)
    return max(parts)


def test_pipelined_equals_the_event_queue() -> None:
    """Task by task through a heap of events, between the first fill and the last drain."""
    checked = 0
    for _, lowered in legal_cases(700, 120, "pipelined"):
        timing, counts = timed(lowered)
        assert timing.lookahead is not None
        group = fused_group(lowered, counts, lowered.einsums)
        if group.outside or lowered.steps > 200:
            continue
        program = unordered(ProgramBuilder(lowered, uniform_walk(lowered, group)), timing.lookahead)
        memories = tuple(m.name for m in lowered.architecture.memories)
        graph = average_step(program, memories=memories)
        end, _ = run_events(graph, modulo_schedule(graph))
        assert timing.cycles == end + program.fill_and_drain
        checked += 1
    assert checked > examples(25)


def test_phases_wait_for_no_result_that_nobody_reads() -> None:
    """Room for the next tile is there when an array is free, late results or not."""
    checked = 0
    for case, lowered in legal_cases(0, 120, "phases"):
        read = {a.tensor for e in lowered.einsums for a in e.einsum.reads}
        late = {e.name for e in lowered.einsums if reduction_latency(e)}
        if late and not late & read:
            schedule = replace(case.mapping.schedule, exposes=())
            hidden = replace(case, mapping=replace(case.mapping, schedule=schedule))
            assert timed(lowered)[0] == timed(bound(hidden))[0]
            checked += 1
    assert checked > examples(3)


def with_bandwidth(case: Case, bandwidth: int | None) -> Case:
    def changed(memory: Memory) -> Memory:
        width = None if bandwidth is None else Fraction(bandwidth)
        return replace(memory, bandwidth_bytes_per_s=width)

    memories = tuple(changed(m) for m in case.architecture.memories)
    return replace(case, architecture=replace(case.architecture, memories=memories))


@pytest.mark.parametrize("kind", ["sequential", "phases", "pipelined"])
def test_more_bandwidth_never_hurts(kind: str) -> None:
    """Beyond the wait for one late result, which an order of issue may trade."""
    for case, lowered in legal_cases(900, 40, kind):
        late = sum(reduction_latency(e) for e in lowered.einsums) if kind == "pipelined" else 0
        before: Fraction | None = None
        for bandwidth in (1, 3, 10, 40, 200, None):
            cycles = timed(bound(with_bandwidth(case, bandwidth)))[0].cycles
            assert before is None or cycles <= before + late
            before = cycles


@pytest.mark.parametrize("mapping", ["fusemax-binding", "fusemax-arch"])
@pytest.mark.parametrize("memory", ["DRAM", left("global_buffer")])
def test_more_bandwidth_never_hurts_on_fusemax(mapping: str, memory: str) -> None:
    before = float("inf")
    workload = workloads.load("bert-base", seq_len=4096, batch=1, H=3)
    for bandwidth in (1, 10, 50, 60, 80, 100, 400, 900, 1200, 3000, 20000):
        machine = Architecture.load("fusemax", [f"memories.{memory}.bandwidth={bandwidth} GiB/s"])
        cycles = simulate(workload, machine, Mapping.load(mapping)).cycles
        assert cycles <= before
        before = cycles


# ------------------------------------------------------------------ large shapes


@pytest.mark.parametrize("tokens", [10**9, 2**30, 256 * (10**9 + 7)])
def test_huge_shapes_lose_nothing(tokens: int) -> None:
    """Sums of Fractions in closed form, where a float has lost the units long ago."""
    program = Cascade.load("attention-1pass").program
    shapes = {"B": 64, "H": 13, "E": 64, "F": 48, "P": 256 * 40, "M": tokens}
    machine = Architecture.load("fusemax-micro24")
    steps = 64 * 13 * 40 * -(-tokens // 256)
    queries = 64 * 13 * 40
    for name in ("fusemax-arch", "fusemax-binding"):
        lowered = bind(program, Mapping.load(name), machine, shapes)
        timing, counts = timed(lowered)
        assert timing.steps == steps
        work_2d = steps * (64 + 1 + 7 + 1 + 48)
        work_1d = steps * (1 + 7 + 1 + 1 + 2 * 48) + queries * 48
        busy = {a: Fraction(0) for a in ("array_2d", "array_1d")}
        for e in lowered.einsums:
            busy[e.array.name] += busy_cycles(lowered, e)
        assert busy == {"array_2d": work_2d, "array_1d": work_1d}
        points = {c.einsum: c.points for c in counts}
        assert points["BQK"] == 64 * 13 * 64 * 256 * 40 * tokens
        if name == "fusemax-arch":
            # The 2D array's scores are longer than the 1D array's output; 256 cycles late.
            assert timing.period == (64 + 1) + 256 + 1 + 8 + 2 * 48
            assert timing.cycles == timing.period * steps + timing.fill_drain
            assert 0 <= timing.fill_drain < 2000 + busy["array_1d"] / queries
        else:
            assert 0 <= timing.cycles - max(work_2d, work_1d) < 20_000
