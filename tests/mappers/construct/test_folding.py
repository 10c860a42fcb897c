"""Losses of systolic arrays between folds: estimates against the engine, and their avoidance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from portions import left

from archsim import Architecture
from archsim.counts.occupancy import busy_cycles
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.record import Bound, BoundEinsum
from archsim.spec.arch import Overlap
from archsim.spec.mapping import EinsumMapping
from einsum_cascade import Cascade
from einsum_cascade.ir import Program
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.spatial_factorisation import Laid

HEADS = Cascade.parse(
    """cascade: heads
parallel: [H]
ranks: {P: rows, E: summed, F: columns}
inputs: {A: [P, E], B: [E, F]}
output: Z
einsums: |
  Z[p, f] = A[p, e] * B[e, f]
"""
).program


def systolic(*, overlap: Overlap, bandwidth: bool = True) -> Architecture:
    """FuseMax's arrays with operands that hop from element to element."""
    machine = Architecture.load("fusemax")
    arrays = tuple(replace(a, operands="systolic", overlap=overlap) for a in machine.arrays)
    memories = tuple(
        m if bandwidth else replace(m, bandwidth_bytes_per_s=None) for m in machine.memories
    )
    return replace(machine, arrays=arrays, memories=memories)


def mapped(program: Program, machine: Architecture, shapes: dict[str, int]) -> Bound:
    return bind(program, einsum_by_einsum(program, machine, shapes), machine, shapes)


def test_heads_do_not_load_a_matrix_for_each_element_of_another() -> None:
    """256 cycles of work a head. Both operands are loaded, in 16.8 million, with heads along an
    axis."""
    shapes = {"H": 256, "P": 256, "E": 256, "F": 256}
    cycles = evaluate_bound(mapped(HEADS, systolic(overlap=True, bandwidth=False), shapes)).cycles
    assert 65_536 <= cycles < 1.02 * 65_536


def test_the_only_operand_that_is_loaded_stays_where_it_is() -> None:
    """Weights are in place while all tokens go by."""
    program = Cascade.load("linear-layer").program
    shapes = {"N": 4096, "D": 4096, "J": 64}
    lowered = mapped(program, systolic(overlap=False), shapes)
    (e,) = lowered.einsums
    assert busy_cycles(lowered, e) < 2 * e.cycles


def laid(e: BoundEinsum) -> Laid:
    """Return the layout that the loops of a bound mapping have."""
    used = dict.fromkeys(x.dimension for x in e.spatial if x.dimension)
    return Laid(
        array=e.array,
        along=tuple(
            (d, frozenset(x.variable for x in e.spatial if x.dimension == d)) for d in used
        ),
        reads=tuple(a.moving for a in e.reads),
        result=e.write.moving,
        point_cycles=e.cycles_of_point,
    )


@pytest.mark.parametrize("cascade", ["attention-3pass", "linear-layer", left("linear-attention")])
def test_cycles_are_those_of_the_engine(cascade: str) -> None:
    """Estimates equal the engine's without ragged edges, for any layout and loops, loaded or
    not."""
    program, random = Cascade.load(cascade).program, Random(cascade)
    loads = 0
    for _ in range(16):
        # Loaded operands are assumed to come from elsewhere, as all operands of a linear layer do.
        ways = (True, False, "streams") if cascade == "linear-layer" else (True, False)
        machine = systolic(overlap=random.choice(ways))
        ranks = (*program.parallel, *(r.name for r in program.ranks))
        shapes = {r: random.choice((1, 4, 64, 256, 512)) for r in ranks}
        mapping = einsum_by_einsum(program, machine, shapes)
        mapping = replace(mapping, einsums=tuple(_shuffled(random, e) for e in mapping.einsums))
        lowered = bind(program, mapping, unlimited(machine), shapes)
        for e in lowered.einsums:
            rounds = [(x.variable, e.trip_counts[x.member]) for x in e.temporal]
            mine, cycles = laid(e), busy_cycles(lowered, e)
            assert mine.cycles(rounds) == cycles, f"{e.name} of {shapes}"
            assert mine.least_cycles(rounds) == min(map(mine.cycles, by_rank(rounds)))
            loads += cycles > 2 * e.cycles
    assert loads


def by_rank(rounds: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """The loops in every order of their ranks."""
    for order in permutations(dict.fromkeys(rank for rank, _ in rounds)):
        yield [x for rank in order for x in rounds if x[0] == rank]


def unlimited(machine: Architecture) -> Architecture:
    return replace(
        machine, memories=tuple(replace(m, capacity_bytes=None) for m in machine.memories)
    )


def _shuffled(random: Random, how: EinsumMapping) -> EinsumMapping:
    """The loops at each memory in another order, outer parts of a rank first."""
    nest = []
    for level in how.nest:
        names = random.sample(level.loops, len(level.loops))
        for rank in {n[0] for n in names}:
            mine = sorted((n for n in names if n[0] == rank), reverse=True)
            names = [mine.pop(0) if n[0] == rank else n for n in names]
        nest.append(replace(level, loops=tuple(names)))
    return replace(how, nest=tuple(nest))
