"""The whole engine: results add up, never beat their bounds, and bill what was walked."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

import pytest
from bound_cases import walker
from evaluated import evaluate_mapping
from hypothesis import given
from hypothesis import strategies as st
from nest_capacity import required
from nest_cases import Case, billed_case
from nest_masks import MaskedWalker
from nest_walker import NestWalker
from portions import examples

import workloads
from archsim import Architecture, Mapping, Result, simulate
from archsim.energy import action_of, memory_access, register_access
from archsim.legality.binding import bind
from archsim.legality.fit import divisors
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError, SpecError
from mappers.construct.einsum_by_einsum import einsum_by_einsum


@given(st.integers(1, 3000))
def test_divisors(number: int) -> None:
    assert divisors(number) == [d for d in range(1, number + 1) if number % d == 0]


def test_divisors_of_large_numbers() -> None:
    assert len(divisors(2**40 * 3**5)) == 41 * 6
    assert divisors(999_999_937) == [1, 999_999_937]


@pytest.mark.parametrize(
    "primes", [(131_071, 131_071), (2, 131_101, 131_101), (3, 131_071, 999_983), (2**89 - 1,)]
)
def test_divisors_of_numbers_with_large_primes(primes: tuple[int, ...]) -> None:
    choices = product(*((1, p) for p in primes))
    assert divisors(prod(primes)) == sorted({prod(c) for c in choices})


# ------------------------------------------------------------------ random runs


def run(case: Case) -> Result | None:
    """The result, or None where the mapping is refused."""
    try:
        return evaluate_mapping(case.program, case.mapping, case.architecture, case.given)
    except MappingError:
        return None


def results(first: int, count: int) -> list[tuple[Case, Result]]:
    pairs = [(c, run(c)) for c in map(billed_case, range(first, first + examples(count)))]
    found = [(c, r) for c, r in pairs if r is not None]
    assert len(found) > examples(count) / 4
    return found


def test_energy_is_what_was_walked_times_its_price() -> None:
    for case, found in results(3000, 60):
        machine = case.architecture
        expected: Counter[str] = Counter()
        lowered = bind(case.program, case.mapping, machine, case.given)
        walk = MaskedWalker(case, lowered)
        for e in case.program.einsums:
            for component, energy in walked_energy(case, walk, e.name).items():
                expected[component] += energy
        assert dict(found.energy_by_component) == pytest.approx(dict(expected))
        assert found.energy_pj == pytest.approx(sum(v for _, v in found.energy_by_einsum))
        assert found.energy_pj == pytest.approx(sum(v for *_, v in found.charges))
        assert found.area_um2 > 0
        assert {n for n, _ in found.area_by_component} >= {a.name for a in machine.arrays}


def walked_energy(case: Case, walk: NestWalker, name: str) -> Counter[str]:
    """One Einsum's energy by component, from the walker's counts."""
    machine = case.architecture
    einsum = walk.program.einsum_of[name]
    counted = walk.walk(einsum)
    array = machine.array(walk.how(einsum).array)
    assert array is not None
    found: Counter[str] = Counter()
    for (_, place, action), times in counted.accesses.items():
        memory = machine.memory(place)
        if memory is not None:
            price = memory_access(machine, memory)
            share = times * machine.word_bits / memory.line_bits
            found[place] += share * (price.read_pj if action == "read" else price.write_pj)
        else:
            other = machine.array(place)
            assert other is not None
            price = register_access(machine, other)
            cost = price.read_pj if action == "read" else price.write_pj
            found[f"{place}.registers"] += times * cost
    own = counted.registers_of_one if array.registers.billed == "one" else counted.registers
    price = register_access(machine, array)
    found[f"{array.name}.registers"] += own["read"] * price.read_pj + own["write"] * price.write_pj
    mac, most = (action_of(machine.technology, name).energy_pj for name in ("mac", "max"))
    each = mac + most / 2
    lowered = bind(case.program, case.mapping, machine, case.given)
    operations = next(e.operations for e in lowered.einsums if e.name == name)
    found[array.name] += counted.allowed * sum(n for _, n in operations) * each
    return found


def test_results_add_up() -> None:
    for case, found in results(3200, 60):
        machine, walk = case.architecture, walker(case)
        seconds = found.cycles / float(machine.clock_hz)
        assert found.latency_s == pytest.approx(seconds)
        assert found.latency_s >= found.bounds.compute_s * (1 - 1e-12)
        assert found.latency_s >= found.bounds.bandwidth_s * (1 - 1e-12)
        assert found.traffic_bytes >= 0
        for array in found.arrays:
            assert 0 <= array.utilization <= 1
            assert array.busy_cycles <= array.occupied_cycles <= found.cycles
            mine = [e for e in found.einsums if e.array == array.array]
            assert array.occupied_cycles == pytest.approx(sum(e.cycles for e in mine))
            assert array.utilization == pytest.approx(sum(e.utilization for e in mine))
        for level in found.traffic:
            parts = [t for e in found.einsums for t in e.traffic if t.level == level.level]
            assert level.read_bytes == sum(t.read_bytes for t in parts)
            assert level.write_bytes == sum(t.write_bytes for t in parts)
        for buffer in found.buffers:
            index = walk.levels[buffer.level]
            assert buffer.required_bytes == required(walk, index) * machine.word_bytes
            assert buffer.capacity_bytes is None or buffer.required_bytes <= buffer.capacity_bytes
        assert found.schedule.steps >= 1


def test_inputs_and_outputs_cross_the_outermost_memory_once_at_least() -> None:
    """The compulsory traffic: distinct elements that are read, and all that is put out."""
    for case, found in results(3400, 60):
        walk = walker(case)
        touched: dict[str, set[object]] = {}
        for e in case.program.einsums:
            for step in walk.walk_steps(e):
                for _, at in step.lanes:
                    for access in (*e.reads, e.target):
                        touched.setdefault(access.tensor, set()).add(walk.element(access, at))
        ends = {t.name for t in case.program.inputs} | set(case.program.outputs)
        least = max(sum(len(touched[t]) for t in ends), 0) * case.architecture.word_bytes
        # Two accesses to one input may touch different elements: then the bound is lower.
        assert found.bounds.traffic_bytes <= least
        assert found.traffic_bytes >= found.bounds.traffic_bytes


# ------------------------------------------------------------------ what is refused


def test_missing_shapes_are_named() -> None:
    program = Cascade.load("attention-1pass").program
    machine, mapping = Architecture.load("fusemax"), Mapping.load("fusemax-binding")
    with pytest.raises(SpecError, match="shapes are missing: 'B', 'H'"):
        bind(program, mapping, machine, {"E": 8, "F": 8, "P": 64, "M": 64})
    with pytest.raises(SpecError, match="shape is missing: 'M' or 'M1'"):
        bind(program, mapping, machine, {"B": 1, "H": 1, "E": 8, "F": 8, "P": 64})
    with pytest.raises(SpecError, match="shape P is a positive whole number, not 0"):
        bind(program, mapping, machine, dict.fromkeys("BHEFM", 8) | {"P": 0})


MASKED_BY_DATA = """
cascade: groups
ranks: {P: a, M: b}
inputs: {A: [P], B: [M], GROUP: [P]}
output: S
einsums: |
  S[p] = A[p] * B[m] where m <= p and GROUP[p] == 1
"""
SELECTING = """
cascade: select
ranks: {P: a, M: a, J: a}
inputs: {S: [P, M]}
output: I
einsums: |
  I[j, p] << topk(S[p, m], j)
"""


def test_a_selection_compares_every_candidate_with_all_that_are_kept() -> None:
    program = Cascade.parse(SELECTING).program
    machine, given = Architecture.load("fusemax"), {"P": 5, "M": 40, "J": 3}
    found = evaluate_mapping(program, einsum_by_einsum(program, machine, given), machine, given)
    assert dict(found.einsums[0].operations) == {"compare": 5 * 40 * 3}
    # Read once and written once, in words of two bytes.
    assert found.traffic[0].read_bytes == 5 * 40 * 2
    assert found.traffic[0].write_bytes == 3 * 5 * 2


def test_a_mask_on_data_is_counted_as_if_it_let_everything_through() -> None:
    program = Cascade.parse(MASKED_BY_DATA).program
    machine, given = Architecture.load("fusemax"), {"P": 6, "M": 7}
    found = evaluate_mapping(program, einsum_by_einsum(program, machine, given), machine, given)
    # Half of the plane below the diagonal, the diagonal included, whatever GROUP says.
    assert dict(found.einsums[0].operations) == {"mac": 6 * 7 // 2}
    assert any("S: its mask depends on data" in note for note in found.notes)


# ------------------------------------------------------------------ odd but legal


@pytest.mark.parametrize("seq_len", [1, 2, 100, 255, 257, 4099])
def test_any_length(seq_len: int) -> None:
    """Tiles that do not divide: every operation once, none twice."""
    found = simulate(
        workloads.load("bert-base", batch=1, H=2, E=7, F=5, seq_len=seq_len),
        Architecture.load("fusemax"),
        Mapping.load("fusemax-binding"),
    )
    operations = {e.name: dict(e.operations) for e in found.einsums}
    points = 2 * seq_len * seq_len
    assert operations["BQK"] == {"mac": points * 7}
    assert operations["SLN"] == {"exp": points, "sub": points}
    assert operations["AV"] == {"div": 2 * seq_len * 5}
    assert operations["RM"] == {"max": 2 * seq_len * -(-seq_len // 256)}
    assert found.traffic_bytes == 2 * 2 * seq_len * (7 + 7 + 5 + 5)


def test_a_larger_buffer_never_moves_more() -> None:
    workload = workloads.load("bert-base", batch=1, H=1, seq_len=256 * 240)
    before = float("inf")
    for size in (130, 200, 400, 1000, 3000, 10_000, 40_000):
        machine = Architecture.load(
            "fusemax-micro24", [f"memories.global_buffer.capacity={size} KiB"]
        )
        found = simulate(workload, machine, Mapping.load("fusemax-binding"))
        assert found.traffic_bytes <= before
        before = found.traffic_bytes
