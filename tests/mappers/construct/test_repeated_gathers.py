"""Tiles that stay between gathers, as the choice of loops sees them."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from archsim.api import simulate
from archsim.legality.binding import bind
from archsim.spec.arch import Architecture
from einsum_cascade import Cascade
from mappers.construct import spatial_factorisation as gathering
from mappers.construct.context import MappingContext, gathers
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.traffic_estimate import LevelLoops, moved_bytes, passed_by
from workloads import load

SHAPES = {"B": 2, "H": 3, "E": 8, "F": 4, "P": 24, "M": 48, "U": 6, "J": 3}


def test_tiles_of_what_is_picked_are_as_the_engine_counts_them() -> None:
    program = Cascade.load("mixture-of-block-attention").program
    machine = Architecture.load("fusemax")
    bound = bind(program, einsum_by_einsum(program, machine, SHAPES), machine, SHAPES)
    context = MappingContext(program=program, architecture=machine, shapes={**SHAPES, "N": 8})
    random.seed(5)
    stayed = 0
    for e in bound.einsums:
        for read in {m.access: m for m in e.reads if gathers(m.access)}.values():
            for _ in range(40):
                tile = {r: random.randint(1, context.shapes[r]) for r in context.ranks(e.einsum)}
                extents = tuple(tile[a.name] for a in e.axes)
                assert context.kept_words(read.access, tile) == read.size(extents)
                moving = context.moving(read.access, tile)
                assert moving == {v.upper() for v in read.moving_in(extents)}
                stayed += "P" not in moving
    assert 20 < stayed < 80


def test_slots_of_blocks_stay_while_queries_go_round() -> None:
    """All positions of some slots are held, and loops over queries are inside of those over slots:
    where queries were outside each brought its keys anew, for 160 times the floor."""
    found = simulate(load("moba", seq_len="2K"), "a100-80gb", "einsum-by-einsum")
    assert found.over_floor < 7


def test_the_soonest_is_looked_at_where_all_others_take_far_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Layouts at the sides of arrays remain possible where ranks are cut each by itself."""
    program = Cascade.load("mixture-of-block-attention").program
    context = MappingContext(
        program=program, architecture=Architecture.load("fusemax"), shapes=SHAPES | {"N": 8}
    )
    (e,) = (x for x in program.einsums if x.name == "X")
    assert any(gathers(a) for a in e.reads)
    every = gathering.layouts_of(context, e)
    slow = [replace(x, cycles=100 * x.cycles) for x in every]
    monkeypatch.setattr(gathering, "layouts_of", lambda *_: slow)
    assert gathering.soonest_fed(context, e) == gathering.soonest(context, e)


def test_orders_of_loops_are_judged_as_each_by_itself() -> None:
    """Traffic of gathers is remembered by memory and tile for other orders of the same loops."""
    program = Cascade.load("mixture-of-block-attention").program
    context = MappingContext(
        program=program, architecture=Architecture.load("h100-sxm"), shapes=SHAPES | {"N": 8}
    )
    random.seed(3)
    compared = 0
    for e in (x for x in program.einsums if any(gathers(a) for a in x.reads)):
        for layout in gathering.soonest_fed(context, e):
            array = layout.array.name
            inside = context.laid_tile(e, layout.names)
            memories = context.memories(array)
            passed = passed_by(context, e, array, len(memories))
            loops = [
                p for r in context.ranks(e) for p in context.parts(r) if p.name not in layout.names
            ]
            for _ in range(30):
                random.shuffle(loops)
                ends = sorted(random.randint(0, len(loops)) for _ in memories[1:])
                cut = zip(memories, pairwise([0, *ends, len(loops)]), strict=True)
                levels = [LevelLoops(m, tuple(loops[a:b])) for m, (a, b) in cut]
                anew = passed_by(context, e, array, len(memories))
                alone = moved_bytes(context, anew, levels, inside)
                assert moved_bytes(context, passed, levels, inside) == alone
                compared += 1
    assert compared >= 60
