"""The floor: the same by any mapping of a cascade, and below them all."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from random import Random

import pytest
from brief_search import BRIEFLY
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import small
from nest_cases import billed_case
from nest_mappings import random_mapping
from portions import examples, left
from random_picks import SHAPES, picked, touched_in_a_run

from archsim import Architecture, simulate
from archsim.bounds.floor import least_work
from archsim.bounds.minimal_domain import least_shares
from archsim.counts.spill import count_mapping
from archsim.energy import memory_access, operations_pj, register_access
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import mapping_called
from archsim.result.result import Result
from archsim.spec.index import mapping_entries
from archsim.spec.mapping import EINSUM_BY_EINSUM, Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from mappers.problem.objectives import OBJECTIVES
from mappers.workload_search import search_workload
from workloads import load


def _runs(cascade: str, machine: Architecture, **fields: object) -> list[Result]:
    work = load("bert-base", cascade=cascade, **fields)
    found = []
    for entry in mapping_entries(cascade):
        try:
            found.append(simulate(work, machine, entry.load()))
        except InputError:
            continue
    made = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
    return [*found, simulate(work, machine, made)]


@pytest.mark.parametrize(
    "cascade", ["attention-1pass", "attention-3pass", "attention-causal-1pass"]
)
@pytest.mark.parametrize("machine", ["fusemax", "flat"])
def test_every_mapping_of_a_cascade_has_the_same_floor(cascade: str, machine: str) -> None:
    results = _runs(cascade, Architecture.load(machine), seq_len=700, batch=1, H=3)
    assert len({r.floor for r in results}) <= 1
    for r in results:
        assert r.over_floor >= 1
        assert r.energy_pj >= r.floor.energy_pj > 0
        assert r.floor.latency_s == max(r.floor.compute_s, r.floor.bandwidth_s)


@pytest.mark.parametrize("name", ["latency", *(left(n) for n in OBJECTIVES if n != "latency")])
def test_the_floor_is_below_what_a_search_finds(name: str) -> None:
    work = load("bert-base", cascade="attention-naive", seq_len=16, batch=1, H=1)
    objective = OBJECTIVES[name]
    machine = Architecture.load("fusemax")
    best = search_workload(work, machine, objective, effort=BRIEFLY).result
    assert 0 < objective.floor(best) <= objective.of(best)


def test_floors_of_parts_add_up() -> None:
    result = simulate(load("bert-base", seq_len=512, scope="model"), Architecture.load("fusemax"))
    added = sum(p.times * p.result.floor.latency_s for p in result.parts)
    assert result.floor.latency_s == pytest.approx(added, rel=1e-12)
    assert result.to_dict()["floor"]["latency_s"] == result.floor.latency_s
    assert Result.from_dict(result.to_dict()).floor == result.floor


@pytest.mark.parametrize(
    "cascade",
    [
        "attention-1pass",
        "attention-causal-1pass",
        left("lightning-attention-2"),
        "ssd-chunked",
        left("ssd-chunked-prefill"),
    ],
)
def test_the_floor_is_that_of_any_sizes_of_the_cascades_own_tiles(cascade: str) -> None:
    machine = Architecture.load("fusemax")
    work = load("bert-base", cascade=cascade, seq_len=333, batch=1, H=2)
    mapping = mapping_entries(cascade)[0].load()
    results = [
        simulate(work, machine, replace(mapping, tiles=_sized(mapping, cascade, size)))
        for size in (256, 100, 16, 1)
    ]
    assert len({r.floor for r in results}) == 1
    # There is something to find: what is counted does depend on the size.
    assert len({r.bounds.compute_s for r in results}) > 1
    assert all(r.over_floor >= 1 for r in results)
    assert all(r.energy_pj >= r.floor.energy_pj for r in results)


def test_tiles_of_tiles_may_be_few_where_an_einsum_goes_over_two_of_three_members() -> None:
    """RM[m2, m1] of splits of tiles of keys has one value where a tile has all keys."""
    program, machine = Cascade.load("flash-decoding").program, small((2, 3), 4)
    given, found = {"B": 1, "H": 1, "E": 2, "F": 2, "P": 1, "M": 12}, set()
    mapping = einsum_by_einsum(program, machine, given)
    others = tuple(t for t in mapping.tiles if t.member not in ("M0", "M1"))
    for size, tiles in ((1, 4), (2, 2), (3, 4), (4, 1)):
        own = tuple(
            replace(t, size={"M0": size, "M1": tiles}[t.member])
            for t in mapping.tiles
            if t.member in ("M0", "M1")
        )
        bound = bind(program, replace(mapping, tiles=(*own, *others)), machine, given)
        found.add((least_work(bound, count_mapping(bound)).cycles, least_shares(bound)["BQK"]))
        assert least_shares(bound)["RM"] == Fraction(size, 12)
    assert len(found) == 1


MASKED = """
cascade: p
ranks:
  E: width
  P: {is: positions, partition: [P1, P0]}
  M0: {is: positions in a chunk, like: P0}
inputs: {A: [P, E], B: [P, E]}
outputs: [Z]
einsums: |
  X[p1, m0, e] = A[p1*M0 + m0, e] + 1 where MASK
  S[p1, e] = X[p1, m0, e]
  Z[p1*P0 + p0, e] = B[p1*P0 + p0, e] + S[p1, e]
"""


@pytest.mark.parametrize(
    ("mask", "whole"),
    [
        ("p1*M0 + m0 < P", True),
        ("P - 1 >= m0 + p1*P0", True),
        ("(P1 - p1 - 1)*M0 + m0 < P", True),
        ("(P1 - p1)*M0 + m0 < P", False),
        ("p1*M0 + m0 < P - 2", False),
        ("p1*E + m0 < P", False),
        ("p1 + m0 < P", False),
        ("m0 <= p1", False),
        ("p1*M0 + m0 < P and m0 < 3", False),
    ],
)
def test_a_mask_of_positions_leaves_as_many_points_at_any_size(mask: str, whole: bool) -> None:
    """What lets all positions through, and nothing beyond their end, counts whole in the floor."""
    program, machine = Cascade.parse(MASKED.replace("MASK", mask)).program, small((2, 3), 4)
    given, left = {"P": 11, "E": 4}, []
    for size in (1, 2, 3, 5, 11, 16):
        mapping = einsum_by_einsum(program, machine, given)
        tiles = tuple(replace(t, size=size) for t in mapping.tiles if t.member == "P0")
        others = tuple(t for t in mapping.tiles if t.member != "P0")
        bound = bind(program, replace(mapping, tiles=(*tiles, *others)), machine, given)
        points = next(c.allowed for c in count_mapping(bound) if c.einsum == "X")
        share = least_shares(bound)["X"]
        assert share == whole, "as little as none is known of other masks"
        left.append((share * points, points))
    assert len({least for least, _ in left}) == 1
    assert all(least <= points for least, points in left)
    assert {points for _, points in left} == {44} or not whole


def _sized(mapping: Mapping, cascade: str, size: int) -> tuple[object, ...]:
    """A mapping's tiles, those of the cascade itself in another size."""
    ranks = Cascade.load(cascade).program.ranks
    own = {member for rank in ranks for member in rank.partition}
    return tuple(replace(t, size=size) if t.member in own else t for t in mapping.tiles)


def test_the_default_is_found_where_the_first_mapping_takes_tiles_of_one_key() -> None:
    """A machine without rows has tiles of one key: nothing is near the floor only for them."""
    machine = Architecture.load("fusemax")
    (vector,) = (a for a in machine.arrays if a.name == "array_1d")
    alone = replace(machine, arrays=(vector,), mapping=None)
    work = load("bert-base", seq_len=1024, batch=1, H=1)
    by_default = simulate(work, alone)
    written = [simulate(work, alone, e.load()) for e in mapping_entries("attention-1pass")[:1]]
    assert all(by_default.latency_s < 0.6 * r.latency_s for r in written)
    assert by_default.over_floor < 1.1


def test_a_window_brings_no_more_to_the_floor_than_its_points_do() -> None:
    """Tiles of keys are run whole at a window's edge; a mapping with other tiles need not be."""
    work = load("bert-base", cascade="attention-sliding-window-1pass", seq_len=2000, H=1, batch=1)
    machine = Architecture.load("fusemax", ["memories.DRAM.bandwidth=1 GB/s"])
    floors = {
        simulate(work, machine, replace(m, tiles=_halved(m))).floor.bandwidth_s
        for m in [e.load() for e in mapping_entries("attention-sliding-window-1pass")]
    } | {simulate(work, machine).floor.bandwidth_s}
    assert len(floors) == 1


def test_random_mappings_of_a_cascade_have_one_floor() -> None:
    """Also where some of them leave out steps that are idle under a mask, and others do not."""
    others = leaving = 0
    for seed in range(examples(60)):
        case = billed_case(seed)
        floors, left = set(), set()
        for n in range(4):
            mapping = case.mapping
            if n:
                random = Random(7 * seed + n)
                mapping, _ = random_mapping(random, case.program, case.architecture, case.shapes)
            try:
                bound = bind(case.program, mapping, case.architecture, case.given)
                result = evaluate_bound(bound)
                floors.add(result.floor)
                assert result.energy_pj >= result.floor.energy_pj * (1 - 1e-12)
            except InputError:
                continue
            left.add(sum(e.points for e in bound.einsums if e.einsum.where is None))
        assert len(floors) <= 1, f"seed {seed}"
        others += bool(floors)
        leaving += len(left) > 1
    assert others > examples(20)
    assert leaving >= 1


def test_operands_are_read_from_registers_and_results_written_to_them() -> None:
    """A product of 5 x 6 x 7 reads 210 values of A and of B, and writes as many sums.

    On one element nothing is added up across lanes, and a mapping reads all but the first sums
    back. What arrives there is more than that: ``test_delivering`` says how much.
    """
    text = (
        "cascade: p\nranks: [M, K, N]\ninputs: {A: [M, K], B: [K, N]}\noutputs: [Z]\n"
        "einsums: |\n  Z[m, n] = A[m, k] * B[k, n]\n"
    )
    program = Cascade.parse(text).program
    pair, shapes = small((1, 1), 4), {"M": 5, "K": 6, "N": 7}
    machine = replace(pair, arrays=pair.arrays[:1])
    bound = bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)
    found = evaluate_bound(bound)
    (array,) = machine.arrays
    access = register_access(machine, array)
    prices = memory_access(machine, machine.home)
    ends = (5 * 6 + 6 * 7 + 5 * 7) * machine.word_bits / machine.home.line_bits
    expected = (
        210 * (2 * access.read_pj + access.write_pj)
        + sum(operations_pj(machine, array, (("mac", 210),)))
        + ends * min(prices.read_pj, prices.write_pj)
    )
    (e,) = least_work(bound, count_mapping(bound)).deliveries
    arrives = e[1].energy_pj(machine, array, bound.words)
    assert found.floor.energy_pj - arrives == pytest.approx(expected, rel=1e-12)
    assert found.energy_pj > found.floor.energy_pj


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(picked(), st.integers(0, 2**20))
def test_the_floor_moves_no_more_than_a_run_touches(text: str, seed: int) -> None:
    """Of what is gathered the picks that are certain to differ are moved, and no others."""
    # What uses every input whole would hide what gathers touch.
    program = Cascade.parse(text.replace("K[m, e] * V[m]", "K[m, 0] * V[m]")).program
    machine = small((2, 3), 4)
    bound = bind(program, einsum_by_einsum(program, machine, SHAPES), machine, SHAPES)
    written = sum(prod(SHAPES[r] for r in program.tensor_ranks[n]) for n in program.outputs)
    touched = written + touched_in_a_run(program, seed)
    result = evaluate_bound(bound)
    second = machine.memories[0].bandwidth_bytes_per_s
    assert second is not None
    assert result.floor.bandwidth_s <= float(touched * machine.word_bytes / second) * (1 + 1e-12)
    assert result.bounds.traffic_bytes <= touched * machine.word_bytes


def _halved(mapping: Mapping) -> tuple[object, ...]:
    return tuple(
        replace(t, size=t.size // 2) if isinstance(t.size, int) and t.size > 1 else t
        for t in mapping.tiles
    )


def test_a_slow_run_says_that_a_faster_mapping_may_be_found() -> None:
    work = load("bert-base", cascade="attention-3pass", seq_len=512, batch=1, H=1)
    machine = Architecture.load("fusemax", ["memories.DRAM.bandwidth=1 GB/s"])

    slow = mapping_called(EINSUM_BY_EINSUM, work, machine, GENERATORS)
    result = run_plan(plan(work, machine, slow, generators=GENERATORS))
    said = [n for n in result.notes if "--mapping auto" in n]
    assert (result.over_floor > 1.5) == bool(said)
    assert said
    fine = simulate(load("bert-base", seq_len=4096), Architecture.load("fusemax"))
    assert fine.over_floor < 1.5
    assert not [n for n in fine.notes if "--mapping auto" in n]


def test_the_size_of_picked_tiles_is_not_free() -> None:
    """Blocks of other sizes would be another function: no floor is of blocks of one key."""
    work = load("bert-base", cascade="mixture-of-block-attention", B=1, H=1, seq_len=4096)
    floor = simulate(work, Architecture.load("fusemax")).floor
    macs = 2 * 4096 * 3 * 512 * 64  # scores and values of three blocks of 512 keys
    assert floor.compute_s * 940e6 >= macs / (256 * 256 + 256)


def test_counts_are_of_their_einsums_in_whatever_order_they_come() -> None:
    """Einsums of an instance are sorted as its own ranks say: of mLSTM one Einsum after the other
    on 132 cores had a floor that was 46 times too high, above what it took."""
    machine = small((4, 4), 4)
    program = Cascade.load("attention-3pass").program
    shapes = {"B": 1, "H": 2, "E": 3, "F": 5, "P": 7, "M": 11}
    bound = bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)
    counts = count_mapping(bound)
    assert least_work(bound, counts[::-1]).cycles == least_work(bound, counts).cycles
