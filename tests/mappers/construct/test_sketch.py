"""The sketch of the beam search counts what the meter counts, without binding a mapping."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import small
from portions import examples

from archsim.counts.accesses import count_einsum
from archsim.counts.cores import counts_at_ports
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.plan.partitioning import partition_mapping, problem_of_one_core
from archsim.plan.problem import MappingProblem
from archsim.spec.arch import Architecture
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.construct.beam import Beam, legalised
from mappers.construct.core_sharing import CoreSharing
from mappers.construct.partial_mapping import PartialMapping, options_of
from mappers.construct.sketch import Sketch
from mappers.construct.uses import repetitions
from mappers.space.mapspace import Mapspace

SIZES: Final = (2, 3, 4, 5, 6, 8, 12)
CAPACITIES: Final = (64, 200, 2000, 100_000)
STATES: Final = 5
"""Number of states that are bound of each beam."""

PRODUCTS: Final = {
    "product": """
ranks: {P: p, M: m, E: e}
inputs: {A: [P, E], B: [M, E]}
output: S
einsums: |
  S[p, m] = A[p, e] * B[m, e]
""",
    "two products": """
parallel: [H]
ranks: {P: p, M: m, E: e, F: f}
inputs: {A: [P, E], B: [M, E], V: [M, F]}
output: O
einsums: |
  S[p, m] = A[p, e] * B[m, e]
  O[p, f] = S[p, m] * V[m, f]
""",
    "inputs of several Einsums": """
ranks: {P: p, M: m, E: e}
inputs: {A: [P, E], B: [M, E]}
outputs: [X, Y, Z]
einsums: |
  X[p, m] = A[p, e] * B[m, e]
  Y[m] = B[m, e] * B[m, e]
  Z[p] = A[p, e] * A[p, e]
""",
    "softmax": """
ranks: {P: p, M: m, E: e}
inputs: {A: [P, E], B: [M, E]}
output: W
einsums: |
  S[p, m] = A[p, e] * B[m, e]
  X[p] = S[p, m] :: max[m]
  N[p, m] = exp(S[p, m] - X[p])
  D[p] = N[p, m]
  W[p, m] = N[p, m] / D[p]
""",
}
RUNNING: Final = {
    "values before": """
ranks: {P: p, E: e}
inputs: {A: [P, E]}
output: Y
init: |
  S[0, e] = 0
einsums: |
  S[p+1, e] = S[p, e] * 0.5 + A[p, e]
  Y[p, e] = A[p, e] * S[p, e]
""",
    "state": """
parallel: [H]
ranks: {P: p, E: e, F: f}
inputs: {A: [P, E], V: [P, F]}
output: Y
init: |
  S[0, e, f] = 0
einsums: |
  S[p+1, e, f] = S[p, e, f] * 0.5 + A[p, e] * V[p, f]
  Y[p, f] = A[p, e] * S[p+1, e, f]
""",
    "turns": """
ranks: {P: p, E: e, F: f}
inputs: {A: [P, E], V: [P, F]}
output: Y
init: |
  S[0, e, f] = 0
einsums: |
  R[p, f] = A[p, e] * S[p, e, f]
  S[p+1, e, f] = S[p, e, f] * 0.5 + A[p, e] * R[p, f]
  Y[p, f] = A[p, e] * S[p+1, e, f] + V[p, f] :: +[e]
""",
    "handed on": """
ranks: {P: p, E: e, F: f}
inputs: {A: [P, E], V: [P, F]}
output: Y
init: |
  S[0, e, f] = 0
einsums: |
  D[p, e, f] = S[p, e, f] * 0.5
  T[p, e, f] = A[p, e] * V[p, f]
  S[p+1, e, f] = D[p, e, f] + T[p, e, f]
  Y[p, f] = A[p, e] * S[p+1, e, f]
""",
    "output": """
ranks: {P: p, E: e}
inputs: {A: [P, E]}
outputs: [S, Y]
init: |
  S[0, e] = 0
einsums: |
  S[p+1, e] = S[p, e] + A[p, e]
  Y[p] = S[p+1, e] * A[p, e]
""",
}
LAST: Final = """
ranks: {P: p, E: e, F: f}
inputs: {A: [P, E], V: [E, F]}
output: Y
init: |
  S[0, e] = 0
einsums: |
  S[p+1, e] = S[p, e] + A[p, e]
  Y[f] = S[P, e] * V[e, f]
"""


def line(sides: tuple[int, int], lanes: int, capacities: tuple[int, ...]) -> Architecture:
    """Return a machine with one memory of each capacity inside of an unlimited one."""
    machine = small(sides, lanes)
    outer, inner = machine.memories
    found = [
        replace(
            inner,
            name=f"memory{number}",
            capacity_bytes=capacity,
            bandwidth_bytes_per_s=Fraction(10**12 * number),
        )
        for number, capacity in enumerate(capacities, 1)
    ]
    return replace(machine, memories=(outer, *found))


@st.composite
def states_of(
    draw: st.DrawFn, text: str, *, sizes: tuple[int, ...] = SIZES, memories: int = 2
) -> list[PartialMapping]:
    """Draw some states of the beam of a cascade, with random shapes on a random machine."""
    program = Cascade.parse(f"cascade: drawn{text}").program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    shapes = {rank: draw(st.sampled_from(sizes)) for rank in ranks}
    capacities = draw(st.lists(st.sampled_from(CAPACITIES), min_size=1, max_size=memories))
    machine = line(
        draw(st.sampled_from(((2, 2), (4, 2)))),
        draw(st.sampled_from((2, 4))),
        tuple(sorted(capacities, reverse=True)),
    )
    found = Beam(space=Mapspace.of(program, machine, shapes)).states()
    first = draw(st.integers(0, max(0, len(found) // STATES - 1)))
    return found[first :: max(1, len(found) // STATES)]


def divides(state: PartialMapping) -> bool:
    """Return whether all tiles of all memories are alike."""
    region = state.sketch.region
    chain = ((*state.sketch.coarse.values(),), *state.held)
    return all(c.size == c.coarse * c.fine_size for c in region.factorisations) and all(
        a % b == 0 for outer, inner in pairwise(chain) for a, b in zip(outer, inner, strict=True)
    )


def metered(bound: Bound) -> dict[str, list[float]]:
    """Return the words that each Einsum reads and writes at each memory, by the meter."""
    names = [m.name for m in bound.architecture.memories]
    found: dict[str, list[float]] = {}
    for e in bound.einsums:
        words = Counter[str]()
        for access in count_einsum(bound, e).accesses:
            words[access.place] += (access.reads + access.writes) * bound.words.of(access.tensor)
        found[e.name] = [float(words[name]) for name in names]
    return found


def sketched(state: PartialMapping, name: str) -> list[float]:
    """Return the words that an Einsum moves at each memory, by the sketch."""
    machine, chosen = state.sketch.region.architecture, dict(state.placements)[name]
    loads = next(loads for loads, placement in options_of(state, name) if placement == chosen)
    each = float(machine.word_bytes * machine.clock_hz)
    return [
        float(cycles) * float(memory.bandwidth_bytes_per_s) / each
        for cycles, memory in zip(loads[len(machine.arrays) :], machine.memories, strict=False)
        if memory.bandwidth_bytes_per_s is not None
    ]


def bound_as_sketched(state: PartialMapping) -> Bound | None:
    """Bind a state, which loses no result; None if its mapping is illegal or ragged tiles of tiles
    do not fit."""
    bound = legalised(state.sketch.region, state.mapping)
    if bound is not None:
        kept, meant = (
            {k.level: {*k.tensors} for k in m.keep} for m in (bound.mapping, state.mapping)
        )
        assert kept == meant
    return bound


def check_products(state: PartialMapping) -> None:
    """Whole tiles: exact where all are alike, else no less than the meter counts. No more if the
    state takes values to stay in registers wherever they may."""
    bound = bound_as_sketched(state)
    for name, words in ({} if bound is None else metered(bound)).items():
        found = sketched(state, name)
        if state.in_registers:
            assert not divides(state) or all(
                a <= b * (1 + 1e-9) for a, b in zip(found, words, strict=True)
            )
        elif divides(state):
            assert found == pytest.approx(words)
        else:
            assert all(a >= b * (1 - 1e-9) for a, b in zip(found, words, strict=True))


def check_running(state: PartialMapping) -> None:
    """Exact, except the memory that the writer's array writes to: the array may hold a value that
    no other memory keeps in its registers, which the mapping of a state does not yet say. No more
    if the state takes values to stay in registers wherever they may."""
    bound, sketch = bound_as_sketched(state), state.sketch
    if bound is None or not divides(state):
        return
    for name, words in metered(bound).items():
        found = sketched(state, name)
        if name in sketch.region.program.iterative and name not in sketch.ends:
            innermost = state.kept(name)[-1]
            assert found.pop(innermost) <= words.pop(innermost) * (1 + 1e-9)
        if state.in_registers:
            assert all(a <= b * (1 + 1e-9) for a, b in zip(found, words, strict=True))
        else:
            assert found == pytest.approx(words)


def check_arriving(states: list[PartialMapping]) -> None:
    """Exact if all loops are shared and the buffer keeps all tensors; else no more."""
    for state in states:
        bound, sketch = bound_as_sketched(state), state.sketch
        # What stays in registers is decided later.
        if bound is None or not divides(state) or any(state.bypassing) or state.in_registers:
            continue
        machine = sketch.region.architecture
        found = state.arrived / float(machine.word_bytes * machine.clock_hz)
        words = sum(each[0] for each in metered(bound).values())
        assert found <= words * (1 + 1e-9)
        if {*state.shared} == {*sketch.open}:
            assert found == pytest.approx(words)


def quick(count: int) -> settings:
    return settings(
        max_examples=examples(count),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.mark.parametrize("name", ["product", "two products", "turns"])
@quick(1)
@given(data=st.data())
def test_it_counts_what_the_meter_counts(name: str, data: st.DataObject) -> None:
    check = check_products if name in PRODUCTS else check_running
    for state in data.draw(states_of((PRODUCTS | RUNNING)[name], sizes=(2, 4, 6), memories=1)):
        check(state)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRODUCTS, *RUNNING])
@quick(12)
@given(data=st.data())
def test_it_counts_in_many_states_what_the_meter_counts(name: str, data: st.DataObject) -> None:
    check = check_products if name in PRODUCTS else check_running
    for state in data.draw(states_of((PRODUCTS | RUNNING)[name])):
        check(state)


@pytest.mark.slow
@quick(20)
@given(data=st.data())
def test_the_last_value_of_a_run_is_read_no_more_often_than_it_says(data: st.DataObject) -> None:
    """By design an estimate: the reader may find the value where the run has left it."""
    for state in data.draw(states_of(LAST, sizes=(2, 4, 8))):
        bound = bound_as_sketched(state)
        if bound is not None:
            found, words = sketched(state, "Y"), metered(bound)["Y"]
            assert all(a >= b * (1 - 1e-9) for a, b in zip(found, words, strict=True))


@quick(1)
@given(data=st.data())
@pytest.mark.parametrize("name", ["two products", "output"])
def test_words_that_arrive_in_a_buffer_are_those_of_the_memory_outside(
    name: str, data: st.DataObject
) -> None:
    """Own loops are in the order that moves least: then arrays may be fed in another one."""
    text = (PRODUCTS | RUNNING)[name]
    check_arriving(data.draw(states_of(text, sizes=(2, 4, 8), memories=1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRODUCTS, *RUNNING])
@quick(10)
@given(data=st.data())
def test_words_that_arrive_in_many_buffers_are_those_of_the_memory_outside(
    name: str, data: st.DataObject
) -> None:
    check_arriving(data.draw(states_of((PRODUCTS | RUNNING)[name], memories=1)))


def of_cores(machine: Architecture, level: int, number: int, *, multicast: bool) -> Architecture:
    """Return a machine with a number of cores below one of its memories."""
    memories = [*machine.memories]
    memories[level] = replace(
        memories[level], instances=(("cores", number),), multicast=multicast, name="feeding"
    )
    return replace(machine, memories=tuple(memories))


@st.composite
def partitioned_states(draw: st.DrawFn, text: str) -> tuple[list[PartialMapping], MappingProblem]:
    """Draw states of the beam for one of two to four cores, and the problem of the machine."""
    program = Cascade.parse(f"cascade: drawn{text}").program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    parts = draw(st.sampled_from((2, 4)))
    split = draw(st.sampled_from([r for r in ("H", "P") if r in ranks]))
    shapes = {r: draw(st.sampled_from((2, 4, 8))) * (parts if r == split else 1) for r in ranks}
    machine = line((2, 2), 4, draw(st.sampled_from(((4000, 400), (100_000, 200), (2000, 2000)))))
    level = draw(st.integers(0, 1))
    machine = of_cores(machine, level, parts, multicast=draw(st.booleans()))
    spatial = SpatialRank(instances="cores", rank=split, parts=parts)
    partitioning = (("feeding", (spatial,)),)
    problem = MappingProblem(program, machine, shapes)
    core = problem_of_one_core(problem, partitioning)
    space = Mapspace.of(core.program, core.architecture, core.shapes)
    found = Beam(space=space, sharing=CoreSharing(machine.memories, partitioning)).states()
    return found[:: max(1, len(found) // STATES)], problem


def check_cores(state: PartialMapping, problem: MappingProblem) -> None:
    """Where all tiles are alike, the words of all cores at the memories that they share are those
    of the meter, which binds the mapping of the whole machine."""
    sketch, machine = state.sketch, problem.architecture
    bound = bound_as_sketched(state)
    if bound is None or not divides(state) or state.in_registers:
        return
    partitioning = sketch.sharing.partitioning
    try:
        mapping = partition_mapping(bound.mapping, partitioning, machine, problem.program)
        whole = bind(problem.program, mapping, machine, problem.shapes)
    except MappingError:
        return
    counts = {c.einsum: c for c in counts_at_ports(whole, count_mapping(whole))}
    feeding = [m.name for m in machine.memories].index("feeding")
    for name in sketch.names:
        words = Counter[str]()
        for access in counts[name].accesses:
            words[access.place] += (access.reads + access.writes) * whole.words.of(access.tensor)
        for level, found in enumerate(sketched(state, name)):
            memory, cores = machine.memories[level].name, partitioning[0][1][0].parts
            every = cores if level <= feeding else 1
            assert found * every == pytest.approx(words[memory])


@pytest.mark.parametrize("name", ["product", "two products", "softmax"])
@quick(3)
@given(data=st.data())
def test_inputs_that_cores_share_move_as_the_meter_counts(name: str, data: st.DataObject) -> None:
    states, problem = data.draw(partitioned_states(PRODUCTS[name]))
    for state in states:
        check_cores(state, problem)


Drawn = list[tuple[str, int]]


def walked(loops: Drawn, ranks: set[str]) -> tuple[int, int]:
    """Walk all loops: the distinct tiles, and how often another one comes in."""
    seen, times, held = set[tuple[int, ...]](), 0, None
    for place in product(*(range(trips) for _, trips in loops)):
        tile = tuple(at for at, (rank, _) in zip(place, loops, strict=True) if rank in ranks)
        seen.add(tile)
        times += tile != held
        held = tile
    return len(seen), times


LOOPS: Final = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 3)), max_size=5)


@settings(max_examples=examples(80), deadline=None, derandomize=True)
@given(loops=LOOPS, ranks=st.sets(st.sampled_from("ABC")))
def test_tiles_come_as_often_as_in_a_walk_with_one_tile_of_memory(
    loops: Drawn, ranks: set[str]
) -> None:
    assert repetitions(loops, ranks) == walked(loops, ranks)


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(
    loops=st.lists(
        st.tuples(st.sampled_from("ABC"), st.lists(st.integers(1, 3), min_size=3, max_size=3)),
        max_size=4,
    ),
    ranks=st.sets(st.sampled_from("ABC")),
)
def test_many_tilings_at_once_are_counted_like_each(
    loops: list[tuple[str, list[int]]], ranks: set[str]
) -> None:
    """A loop of one iteration may stand beside one of several."""
    found = repetitions([(rank, np.array(trips, dtype=float)) for rank, trips in loops], ranks)
    tiles, times = (np.broadcast_to(amount, 3) for amount in found)
    for number in range(3):
        one = [(rank, trips[number]) for rank, trips in loops]
        assert (tiles[number], times[number]) == repetitions(one, ranks) == walked(one, ranks)


def test_arrays_work_under_a_mask_that_leaves_nothing() -> None:
    """In chunks of one token no token is before another one, but arrays go over the pairs."""
    program, machine = Cascade.load("rwkv-6-chunked").program, small((8, 8), 1 << 16)
    shapes = {"B": 1, "H": 1, "E": 8, "F": 8, "P": 16, "P1": 16, "P0": 1, "M0": 1}
    regions = (region for region, *_ in Mapspace.of(program, machine, shapes).cuttable())
    sketch = Sketch(region=replace(next(regions), cuts=tuple((r, ()) for r in shapes)))
    assert sketch.region.share("D") == 0
    assert all(cycles >= shapes["P"] for _, cycles in sketch.layouts("D"))
