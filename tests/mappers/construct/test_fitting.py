"""Ranks are cut for the arrays they are laid out on: few elements are idle on odd sizes."""

from __future__ import annotations

from itertools import product
from math import prod
from random import Random

import pytest
from evaluated import evaluate_mapping
from machines import small
from portions import left

from archsim import Architecture
from archsim.spec.arch import Dimension, ProcessingArray, Registers
from archsim.validation.mapped import mapped_run
from archsim.validation.validate import validate_cascade
from einsum_cascade import Cascade
from mappers.construct.context import MappingContext
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.generators import GENERATORS
from mappers.construct.spatial_factorisation import CutRank, layouts_along, least_cycles
from workloads.references import find_reference


def array_of(sides: tuple[int, ...]) -> ProcessingArray:
    axes = tuple(Dimension(name=f"d{n}", size=side) for n, side in enumerate(sides))
    return ProcessingArray(name="A", dimensions=axes, registers=Registers(depth=8), operations=())


def fewest_rounds(sides: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    """Return the fewest rounds over every length of a stretch of every rank along every axis."""
    axes = [
        [x for x in product(*(range(1, n + 1) for n in sizes)) if prod(x) <= side] for side in sides
    ]
    return min(
        prod(-(-n // prod(stretches)) for n, *stretches in zip(sizes, *along, strict=True))
        for along in product(*axes)
    )


def test_few_rounds_are_more_than_there_have_to_be() -> None:
    """Beside every way there is: few are worse, and none by much."""
    random, lost = Random(5), []
    for _ in range(60):
        sides = tuple(random.randint(2, 9) for _ in range(random.choice((1, 1, 2))))
        sizes = tuple(random.randint(1, 12) for _ in range(4 - len(sides)))
        ranks = {f"R{n}": CutRank(size) for n, size in enumerate(sizes)}
        found = layouts_along(array_of(sides), ranks, cut=True)[0]
        assert found.rounds == prod(r.rounds for r in found.ranks.values())
        taken = {
            dimension: prod(
                found.ranks[rank].strides[i + 1] // s
                if (i := found.ranks[rank].strides.index(s)) + 1 < len(found.ranks[rank].strides)
                else -(-found.ranks[rank].size // s)
                for rank, strides in runs
                for s in strides
            )
            for dimension, runs in found.along
        }
        assert all(wide <= sides[int(name[1:])] for name, wide in taken.items())
        lost.append(found.rounds / fewest_rounds(sides, sizes))
    assert min(lost) >= 1
    assert max(lost) <= 1.5
    assert sum(lost) / len(lost) < 1.05


@pytest.mark.parametrize(
    ("cascade", "sides", "lanes", "given", "most"),
    [
        # Ranks cut at 3 and at 6, as 3, 5 and 7 have no common multiple, took 2.4 times as long,
        ("attention-3pass", (7, 5), 3, {"B": 1, "H": 2, "E": 8, "F": 8, "P": 25, "M": 25}, 1.2),
        # those of which one fits into 200 lanes, and no second one beside it, 5 times,
        ("linear-layer", (1, 1), 200, {"N": 21, "D": 40, "J": 33}, 1.1),
        # and 12 rows of 14 beside 9 lanes 2.5 times.
        ("layer-norm", (12, 14), 9, {"N": 50, "D": 100}, 1.2),
    ],
)
def test_arrays_of_odd_sizes_are_full(
    cascade: str, sides: tuple[int, ...], lanes: int, given: dict[str, int], most: float
) -> None:
    program, machine = Cascade.load(cascade).program, small(sides, lanes)
    how = einsum_by_einsum(program, machine, given)
    found = evaluate_mapping(program, how, machine, given)
    context = MappingContext(program=program, architecture=machine, shapes=given)
    least = sum(least_cycles(context, e) for e in program.einsums)
    assert sum(e.cycles for e in found.einsums) <= most * least


@pytest.mark.parametrize("name", ["attention-1pass", "linear-attention-causal", "layer-norm"])
@pytest.mark.parametrize(("sides", "lanes"), [((7, 5), 3), left((12, 14), 9)])
def test_what_is_cut_so_computes_the_same(name: str, sides: tuple[int, ...], lanes: int) -> None:
    cascade, machine = Cascade.load(name), small(sides, lanes)
    random = Random(name)
    ranks = [r.name for r in cascade.program.ranks if not r.family and not r.like]
    shapes = {r: random.choice((6, 10, 11)) for r in ranks}
    shapes |= {"M": shapes["P"]} if {"M", "P"} <= shapes.keys() else {}
    report = validate_cascade(
        cascade,
        reference=find_reference(cascade.program.reference),
        shapes=shapes,
        trials=1,
        run=mapped_run(cascade, None, machine, GENERATORS),
    )
    assert report.ok, report


def test_nothing_is_cut_anew_where_arrays_are_full() -> None:
    """Sides that divide one another, and ranks that they divide: cut at 256 and nowhere else."""
    program, machine = Cascade.load("attention-3pass").program, Architecture.load("fusemax")
    given = {"B": 1, "H": 1, "E": 64, "F": 64, "P": 1024, "M": 1024}
    how = einsum_by_einsum(program, machine, given)
    assert {(t.rank, t.size) for t in how.tiles} == {("P", 256), ("M", 256)}
