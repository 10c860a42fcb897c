"""What arrives at the elements of an array costs what the floor of the energy says, or more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, permutations
from random import Random
from typing import Literal

import pytest
from machines import small
from nest_cases import billed_case
from nest_mappings import random_mapping

from archsim.bounds.floor import least_work
from archsim.bounds.operand_delivery import ArrivingOperand, OperandDelivery
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.spec.arch import Architecture
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Tile
from archsim.spec.tensor_words import ONE_WORD
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError

PRODUCT = Cascade.parse(
    "cascade: p\nranks: [P, M, E]\ninputs: {Q: [P, E], K: [M, E]}\noutputs: [Z]\n"
    "einsums: |\n  Z[p, m] = Q[p, e] * K[m, e]\n"
).program


def test_no_random_mapping_takes_less_than_what_arrives() -> None:
    arriving = near = 0
    for seed in range(60, 84):
        case = billed_case(seed)
        for n in range(3):
            mapping = case.mapping
            if n:
                random = Random(11 * seed + n)
                mapping, _ = random_mapping(random, case.program, case.architecture, case.shapes)
            try:
                bound = bind(case.program, mapping, case.architecture, case.given)
            except InputError:
                continue
            found = evaluate_bound(bound)
            assert found.energy_pj >= found.floor.energy_pj * (1 - 1e-12), f"seed {seed}"
            arriving += _arriving(bound) > 0
            near += found.energy_pj < 1.3 * found.floor.energy_pj
    assert arriving > 10
    assert near > 1


@pytest.mark.parametrize("billed", ["all", "one"])
def test_the_best_mapping_of_a_product_is_near_what_arrives(billed: Literal["all", "one"]) -> None:
    """Layouts, orders of loops and places of 32 x 32 x 32 points on 4 x 4 elements."""
    pair = small((4, 4), 4)
    array = replace(pair.arrays[0], registers=replace(pair.arrays[0].registers, billed=billed))
    bounds = list(_all(replace(pair, arrays=(array,))))
    found = [evaluate_bound(b) for b in bounds]
    (floor,) = {r.floor.energy_pj for r in found}
    best = min(r.energy_pj for r in found)
    assert len(bounds) > 30
    assert floor <= best < 1.3 * floor
    assert best > 1.6 * (floor - _arriving(bounds[0]))  # without it the floor is far below


def test_what_is_remembered_of_other_lengths_is_what_is_found_anew() -> None:
    """Products on 4 x 4 elements: values are shared by fewer, or more than there are."""
    sizes = (2, 96, 3, 8, 40, 17, 16, 5)
    products = [_product(p, m, e) for p, m in combinations(sizes, 2) for e in sizes]
    known = small((4, 4), 4)
    found = [d.energy_pj(known, known.arrays[0], ONE_WORD) for d in products]
    anew = [
        d.energy_pj(other, other.arrays[0], ONE_WORD)
        for d in products
        for other in (replace(known),)  # equal, but another one: nothing is remembered of it
    ]
    assert found == anew
    assert len(set(found)) > 50


def _product(p: int, m: int, e: int) -> OperandDelivery:
    """``Z[p, m] = Q[p, e] * K[m, e]``."""
    q, k, z = (
        ArrivingOperand(tensor=t, moving=frozenset(moving), sharing=frozenset(sharing), most=most)
        for t, moving, sharing, most in (
            ("Q", "pe", "m", m),
            ("K", "me", "p", p),
            ("Z", "pm", "e", e),
        )
    )
    return OperandDelivery(points=p * m * e, inputs=(q, k), result=z, innermost=("e", "m", "p"))


def _arriving(bound: Bound) -> float:
    work, machine = least_work(bound, count_mapping(bound)), bound.architecture
    return sum(d.energy_pj(machine, machine.arrays[0], bound.words) for _, d in work.deliveries)


def _all(machine: Architecture) -> Iterator[Bound]:
    outer, inner = (m.name for m in machine.memories)
    (array,) = machine.arrays
    loops = {f"{rank}{n}": rank for rank in "PME" for n in (1, 0)}
    for layout in combinations("PME", 2):
        axes = tuple((d.name, (f"{r}0",)) for d, r in zip(array.dimensions, layout, strict=True))
        went = [name for name, rank in loops.items() if name[1] == "1" or rank not in layout]
        for order in permutations(went):
            if any(order.index(f"{r}0") < order.index(f"{r}1") for r in "PME" if f"{r}0" in order):
                continue
            for near in (("Q", "K", "Z"), ("Z",)):
                mapping = Mapping(
                    name="laid-out",
                    cascade="p",
                    tiles=tuple(Tile(rank=r, member=f"{r}0", size=4) for r in "PME"),
                    nest=(NestLevel(level=outer, loops=()),),
                    einsums=(
                        EinsumMapping(
                            einsum="Z",
                            array=array.name,
                            spatial=axes,
                            nest=(NestLevel(level=inner, loops=order),),
                        ),
                    ),
                    keep=(
                        Keep(level=outer, tensors=("Q", "K", "Z")),
                        Keep(level=inner, tensors=near),
                    ),
                )
                with suppress(InputError):
                    yield bind(PRODUCT, mapping, machine, {"P": 32, "M": 32, "E": 32})
