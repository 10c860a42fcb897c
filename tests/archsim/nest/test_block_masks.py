"""Masks of blocks: points of which two coordinates are in the same block, or in blocks in order."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest
from masked_cases import masked, one_pass
from nest_cases import Case
from nest_mappings import random_machine, random_mapping
from nest_masks import MaskedWalker
from portions import examples, left, portions

from archsim import Architecture, Mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind, with_parameters
from archsim.nest.record import Bound
from einsum_cascade import Cascade

CHUNKED = "attention-chunked-local-1pass"
KEY = "(m1*M0 + m0)"
MASKS = {
    f"floor({KEY} / 2) == floor(p / 2)": (2, 0),
    f"{KEY} <= p and floor({KEY} / 4) == floor(p / 4)": (4, 0),
    f"floor(p / 3) == floor(({KEY} + 1) / 3)": (3, 1),
    f"floor(({KEY} + 2) / 2) <= floor(p / 2)": (2, 2),
    f"floor(p / 4) < floor({KEY} / 4)": (4, 0),
    f"floor(({KEY} - 4) / 4) >= floor(p / 4) and {KEY} - 3 < p": (4, -4),
}


def random_blocks(seed: int) -> tuple[Case, int, int]:
    """A nest under a mask of blocks, how long these are, and by how much keys are moved."""
    random = Random(seed)
    mask = random.choice([*MASKS])
    program = one_pass(mask).program
    shapes = {
        "B": 1,
        "E": random.choice((1, 3)),
        "P": random.choice((1, 3, 5, 8, 12)),
        "M": random.choice((1, 4, 8, 10, 13)),
        "M0": random.choice((1, 2, 3, 4)),
    }
    shapes["M1"] = -(-shapes["M"] // shapes["M0"])
    machine = random_machine(random)
    mapping, sizes = random_mapping(random, program, machine, shapes)
    return Case(program, mapping, machine, shapes, sizes), *MASKS[mask]


def of_whole_blocks(bound: Bound, block: int, moved: int) -> bool:
    """Whether all loops that cut keys or queries take whole blocks of them."""
    for e in bound.einsums:
        for loop in e.temporal:
            axis = e.axes[loop.axis]
            # Some Einsums go along keys tile by tile.
            whole = {"m1"} == {v for v, _ in axis.variables}
            size = loop.stride * (dict(bound.shapes)["M0"] if whole else 1)
            if axis.name in ("P", "M") and loop.stride < axis.extent and size % block:
                return False
    return moved % block == 0


@pytest.mark.parametrize("first", portions(400, 50))
def test_no_tile_with_a_point_is_left_out_and_of_whole_blocks_all_others_are(first: int) -> None:
    exact = windows = 0
    for seed in range(first, first + examples(50)):
        case, block, moved = random_blocks(seed)
        lowered = masked(case)
        walker = MaskedWalker(case, lowered)
        wide = not of_whole_blocks(lowered, block, moved)
        for e in lowered.einsums:
            if e.window is None:
                continue
            windows += 1
            wanted = len(walker.active(e.einsum))
            where = f"seed {seed}, {e.name}"
            assert e.iterations == wanted or (wide and e.iterations > wanted), where
            exact += e.iterations == wanted < len(walker.walk_steps(e.einsum))
    assert exact > examples(50)
    assert windows > examples(250)


def chunks(block: int, *, keys: int = 1024, queries: int = 1024) -> Bound:
    """Tiles of 256 queries by 256 keys."""
    program = Cascade.load(CHUNKED).program
    given = {"B": 1, "H": 1, "E": 4, "F": 4, "P": queries, "M": keys, "C": block}
    mapping = replace(Mapping.load("fusemax-binding"), cascade=CHUNKED)
    program, shapes = with_parameters(program, given)
    return bind(program, mapping, Architecture.load("fusemax"), shapes)


@pytest.mark.parametrize(
    ("block", "late"),
    [(4, 0), left(64, 0), (256, 0), (1024, 0), (4, 1024), left(64, 1024), left(256, 1024)],
)
def test_steps_between_chunks_are_not_run(block: int, late: int) -> None:
    """They were all run but for those after the last key."""
    bound = chunks(block, keys=1024 + late)
    tiles = [range(n, n + 256) for n in range(0, 1024 + late, 256)]
    with_points = sum(
        any(m <= p + late and m // block == (p + late) // block for m, p in product(keys, queries))
        for keys in tiles
        for queries in tiles[:4]
    )
    assert bound.steps == with_points
    assert not bound.masking_notes


def test_chunks_that_tiles_cut_are_at_most_a_window_as_long() -> None:
    """Of chunks of 512 three tiles are run in each: of a window of 512, one more between them."""
    assert chunks(512).steps == 7
    # The last query of a tile of 256 is in the chunk of the first ones of the next.
    assert chunks(250).steps == 7


@pytest.mark.parametrize("block", [3, left(4), left(250), 256, left(512)])
@pytest.mark.parametrize("shape", [(1, 1024), (700, 700), left((1024, 1024)), (256, 1029)])
def test_no_chunks_take_less_than_the_floor(block: int, shape: tuple[int, int]) -> None:
    queries, keys = shape
    bound = chunks(block, queries=queries, keys=keys)
    for engine in ("analytical", "event"):
        result = evaluate_bound(bound, engine=engine)
        assert result.latency_s >= result.floor.latency_s
