"""What comes into a systolic array over its edges takes as long as the floor says, or longer."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from machines import small
from nest_cases import billed_case
from nest_mappings import random_mapping

from archsim.bounds.floor import least_work
from archsim.counts.occupancy import busy_cycles
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.spec.arch import Architecture, Overlap
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError

KINDS: tuple[Overlap, ...] = (True, False, "streams")

PRODUCT = Cascade.parse(
    "cascade: p\nranks: [N, P, M, E]\ninputs: {Q: [P, E], K: [N, M, E]}\noutputs: [Z]\n"
    "einsums: |\n  Z[n, p, m] = Q[p, e] * K[n, m, e]\n"
).program


def _systolic(machine: Architecture, overlap: Overlap) -> Architecture:
    arrays = (replace(a, operands="systolic", overlap=overlap) for a in machine.arrays)
    return replace(machine, arrays=tuple(arrays))


def _busiest(bound: Bound) -> float:
    busy: dict[str, float] = {}
    for e in bound.einsums:
        busy[e.array.name] = busy.get(e.array.name, 0) + busy_cycles(bound, e)
    return max(busy.values())


def test_no_random_mapping_is_faster_than_what_comes_in() -> None:
    above = 0
    for seed in range(18):
        case = billed_case(seed)
        machine = _systolic(case.architecture, KINDS[seed % 3])
        floors = set()
        for n in range(3):
            mapping = case.mapping
            if n:
                mapping, _ = random_mapping(
                    Random(9 * seed + n), case.program, machine, case.shapes
                )
            try:
                bound = bind(case.program, mapping, machine, case.given)
            except InputError:
                continue
            counts = count_mapping(bound)
            floors.add(floor := least_work(bound, counts).cycles)
            assert floor <= _busiest(bound), f"seed {seed}"
            plain = bind(case.program, mapping, case.architecture, case.given)
            above += floor > least_work(plain, counts).cycles
        assert len(floors) <= 1, f"seed {seed}"
    assert above > 5


@pytest.mark.parametrize("overlap", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_the_best_layout_of_a_product_takes_what_comes_in(rows: int, overlap: Overlap) -> None:
    """9 x 4 x 4 values are each used once a row; four come in a cycle, and 16 elements compute."""
    pair, shapes = small((4, 4), 4), {"N": 9, "P": rows, "M": 4, "E": 4}
    machine = _systolic(replace(pair, arrays=pair.arrays[:1]), overlap)
    takes, floors = [], set()
    for layout in permutations(("", "P", "M", "E"), 2):
        for order in permutations(r for r in ("N", "P", "M", "E") if r not in layout):
            try:
                bound = bind(PRODUCT, _laid_out(machine, layout, order), machine, shapes)
            except InputError:
                continue
            takes.append(_busiest(bound))
            floors.add(least_work(bound, count_mapping(bound)).cycles)
    (floor,) = floors
    assert len(takes) > 10
    assert floor == max(9 * 16 / 4, rows * 9 * 16 / 16)
    assert min(takes) >= floor
    if overlap == "streams" and rows <= 4:  # as many as lie along an axis
        assert min(takes) == floor


def _laid_out(machine: Architecture, layout: tuple[str, ...], order: tuple[str, ...]) -> Mapping:
    outer, inner = (m.name for m in machine.memories)
    (array,) = machine.arrays
    axes = zip(array.dimensions, layout, strict=True)
    einsum = EinsumMapping(
        einsum="Z",
        array=array.name,
        spatial=tuple((d.name, (rank,)) for d, rank in axes if rank),
        nest=(NestLevel(level=inner, loops=order),),
    )
    keep = tuple(Keep(level=level, tensors=("Q", "K", "Z")) for level in (outer, inner))
    nest = (NestLevel(level=outer, loops=()),)
    return Mapping(name="laid-out", cascade="p", nest=nest, einsums=(einsum,), keep=keep)
