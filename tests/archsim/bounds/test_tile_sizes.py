"""The floor of cascades that cut a rank: what the best size of their tiles leaves."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from machines import small
from portions import left, some

from archsim import Architecture
from archsim.bounds.floor import floor_of, least_work
from archsim.bounds.makespan import makespan_bound
from archsim.bounds.minimal_domain import TileSizes, best_ranges
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.spec.mapping import Tile
from einsum_cascade import Cascade
from mappers.construct.einsum_by_einsum import einsum_by_einsum

CHUNKED = (
    "rwkv-7-chunked",
    "kimi-delta-attention-chunked",
    "ssd-chunked-prefill",
    "gated-delta-rule-chunked",
    "mlstm-chunked",
    "path-attention-chunked",
    "path-attention-chunked-1pass",
)


def _machine() -> Architecture:
    """One array that has no exponentials, and one of few lanes that has."""
    machine = small((3, 4), 5)
    matrix, vector = machine.arrays
    done = tuple(o for o in matrix.operations if o.kind not in ("exp", "rsqrt", "sigmoid"))
    return replace(machine, arrays=(replace(matrix, operations=done), vector), mapping=None)


STRICT = """
cascade: strict
title: What follows another in its chunk, of which there is nothing in chunks of one
source: made up
ranks:
  E: width
  P: {is: positions, partition: [P1, P0]}
  M: {is: keys, like: P}
  M0: {is: keys in a chunk, like: P0}
  S0: {is: others in a chunk, like: P0}
inputs: {Q: [P, E], K: [M, E]}
outputs: [X, T]
einsums: |
  A[p1, p0, m0]    = Q[p1*P0 + p0, e] * K[p1*M0 + m0, e]
  G[p1, p0, s0]    = A[p1, p0, m0] * A[p1, s0, m0] where s0 < m0 and m0 <= p0
  X[p1*P0 + p0, e]    = G[p1, p0, s0] * Q[p1*P0 + s0, e]
  T[e]             = K[m, e] * K[m, e]
"""


def _by_size(name: str, machine: Architecture, positions: int) -> dict[int, Bound]:
    """Einsum by Einsum, in tiles of each size that a cascade may cut its positions into."""
    program = Cascade.load(name).program
    shapes = {r.name: 2 for r in program.ranks if not (r.family or r.like or r.partition)}
    heads = {r.name: 2 for r in program.ranks if r.partition and r.name != "P"}
    heads |= {r.partition[0]: 1 for r in program.ranks if r.partition and r.name != "P"}
    given = {**shapes, **heads, "P": positions, **dict.fromkeys(program.parallel, 1)}
    found = {}
    for size in range(1, positions + 1):
        mapping = einsum_by_einsum(program, machine, given | {"P0": size})
        chunks = Tile(rank="P", member="P0", size=size)
        mapping = replace(mapping, tiles=(chunks, *mapping.tiles))
        found[size] = bind(program, mapping, machine, given)
    return found


def _cycles(bound: Bound) -> Fraction:
    """Of the busiest array where all elements have work: of what is counted at this size."""
    machine, ways = bound.architecture, []
    for count in count_mapping(bound):
        able: dict[int, Fraction] = {}
        for number, array in enumerate(machine.arrays):
            done = [(n, array.operation(kind)) for kind, n in count.operations]
            if all(operation for _, operation in done):
                busy = sum(n * operation.cycles for n, operation in done if operation)
                able[number] = Fraction(busy, array.elements)
        ways.append(able)
    return makespan_bound(ways, len(machine.arrays))


@pytest.mark.parametrize("name", some(CHUNKED, 8))
@pytest.mark.parametrize("positions", [left(1), 6, left(11)])
def test_the_floor_is_what_the_best_size_of_chunks_leaves(name: str, positions: int) -> None:
    bounds = _by_size(name, _machine(), positions)
    floors = {least_work(b, count_mapping(b)).cycles for b in bounds.values()}
    assert len(floors) == 1, "it is the same whatever size a mapping has"
    assert floors == {min(map(_cycles, bounds.values()))}


@pytest.mark.parametrize(
    "name", [left("retnet-chunked"), "linear-attention-chunked", left("gla-chunked")]
)
def test_the_floor_is_below_what_any_size_of_chunks_leaves(name: str) -> None:
    """Also where not all that an Einsum has at another size is known."""
    bounds = _by_size(name, _machine(), 9)
    floors = {least_work(b, count_mapping(b)).cycles for b in bounds.values()}
    assert len(floors) == 1
    assert 0 < floors.pop() <= min(map(_cycles, bounds.values()))


def test_tiles_that_a_mask_may_leave_empty_touch_nothing_for_certain(tmp_path: Path) -> None:
    """In chunks of one no query is read: what is read of them in longer ones is no floor."""
    (tmp_path / "strict.yaml").write_text(STRICT)
    machine = _machine()
    slow = replace(machine.memories[0], bandwidth_bytes_per_s=1e6)
    on = replace(machine, memories=(slow, *machine.memories[1:]))
    results = [evaluate_bound(b) for b in _by_size(str(tmp_path / "strict.yaml"), on, 6).values()]
    assert len({r.floor.latency_s for r in results}) == 1
    assert 0 < results[0].floor.latency_s <= min(r.latency_s for r in results)


@pytest.mark.parametrize("name", some(CHUNKED, 7, 3))
def test_the_floor_of_the_energy_is_that_of_any_size_of_chunks(name: str) -> None:
    bounds = _by_size(name, _machine(), 7).values()
    floors = {floor_of(b, count_mapping(b)).energy_pj for b in bounds}
    assert len(floors) == 1


@pytest.mark.parametrize("name", some(CHUNKED, 7, 4))
def test_values_are_of_use_as_often_whatever_size_a_mapping_has(name: str) -> None:
    """What reads no input has as many uses as it may have points, not as it has here: else an edge
    of a systolic array seemed to be longer at work at sizes that another mapping has."""
    machine = small((8, 8), 5)
    systolic = replace(machine.arrays[0], operands="systolic")
    bounds = _by_size(name, replace(machine, arrays=(systolic,), mapping=None), 6).values()
    floors = [float(least_work(b, count_mapping(b)).cycles) for b in bounds]
    assert min(floors) == pytest.approx(max(floors), rel=1e-12)


def test_few_sizes_that_are_looked_at_bound_all_others() -> None:
    """What is between those that were looked at leaves no less than what its range says."""

    def points(size: int) -> dict[str, int]:
        return {"pairs": 3 * size, "states": 5 * -(-1000 // size)}

    def between(low: int, high: int) -> TileSizes:
        least = {name: min(points(low)[name], points(high)[name]) for name in ("pairs", "states")}
        return TileSizes(low, high, tuple(least.items()))

    def bounded(found: TileSizes) -> Fraction:
        return Fraction(sum(n for _, n in found.points))

    ranges = best_ranges(between, 1000, bounded)
    assert [s for r in sorted(ranges, key=lambda r: r.low) for s in range(r.low, r.high + 1)] == [
        *range(1, 1001)
    ]
    for r in ranges:
        assert all(bounded(r) <= sum(points(s).values()) for s in range(r.low, r.high + 1))
    assert min(map(bounded, ranges)) == min(sum(points(s).values()) for s in range(1, 1001))
