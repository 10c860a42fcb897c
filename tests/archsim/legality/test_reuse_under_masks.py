"""A tile that an earlier reader's mask leaves out is fetched by whoever comes for it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from machines import small
from nest_walker import NestWalker, allowed
from portions import examples

from archsim.counts.accesses import count_einsum
from archsim.counts.spill import count_mapping
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.schedule.lowering import exact_walk
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from archsim.steps.group import fused_group
from archsim.steps.run_length import steps_by_class
from einsum_cascade import Cascade
from einsum_cascade.ir import Einsum

HEAD = """
cascade: c
ranks:
  P: {is: queries, partition: [P1, P0]}
  M: {is: keys, partition: [M1, M0]}
inputs: {K: [M], L: [P]}
outputs: [A, B, C]
einsums: |
"""
KEY, QUERY = "m1*M0 + m0", "p1*P0 + p0"
MASKS = (
    "",
    f"where {KEY} <= {QUERY}",
    f"where {KEY} >= {QUERY}",
    f"where {KEY} <= {QUERY} and {KEY} >= {QUERY} - 1",
    f"where {KEY} <= {QUERY} + 2",
    f"where {KEY} >= 2",
    f"where {QUERY} < 3",
)
MACHINE = small((2, 3), 4)
NAMES = [m.name for m in MACHINE.memories]


def _cascade(masks: list[str]) -> Cascade:
    lines = [
        f"  {name}[m1, m0, p1, p0] = K[{KEY}] * L[{QUERY}] {mask}"
        for name, mask in zip("ABC", masks, strict=True)
    ]
    return Cascade.parse(HEAD + "\n".join(lines) + "\n")


def _mapping(shared: list[str], tiles: tuple[int, int]) -> Mapping:
    own = [x for x in ("P1", "M1", "P0", "M0") if x not in shared]
    nest = (NestLevel(level=NAMES[1], loops=tuple(own)),)
    return Mapping(
        name="x",
        cascade="c",
        tiles=tuple(Tile(rank=r, member=f"{r}0", size=n) for r, n in zip("PM", tiles, strict=True)),
        nest=(NestLevel(level=NAMES[0], loops=tuple(shared)),),
        einsums=tuple(EinsumMapping(einsum=n, array="array_1d", nest=nest) for n in "ABC"),
        keep=tuple(Keep(level=name, tensors=("K", "L", "A", "B", "C")) for name in NAMES),
        schedule=Schedule(),
    )


def _bound(masks: list[str], shared: list[str], *sizes: int) -> Bound:
    """Sizes are queries, keys, and of each those of a tile."""
    shapes = {"P": sizes[0], "M": sizes[1]}
    program = _cascade(masks).program
    return bind(program, _mapping(shared, (sizes[2], sizes[3])), MACHINE, shapes)


def _tiles(walker: NestWalker, bound: Bound, e: Einsum) -> dict[tuple[int, ...], set[object]]:
    """By the shared iterations in which an Einsum runs the keys that it comes for."""
    every: dict[tuple[int, ...], set[object]] = {}
    run: set[tuple[int, ...]] = set()
    windowed = bound.by_name[e.name].window is not None
    for step in walker.walk_steps(e):
        loops = zip(walker.temporal(e), step.index, strict=True)
        at = tuple(i for x, i in loops if x.shared)
        tile = every.setdefault(at, set())
        tile.update(walker.element(e.reads[0], point) for _, point in step.lanes)
        if not windowed or any(allowed(e, point, walker.shapes) for _, point in step.lanes):
            run.add(at)
    return {at: tile for at, tile in every.items() if at in run}


def _fetched(bound: Bound, *sizes: int) -> int:
    """Keys that come to a memory of one tile, from Einsum to Einsum and step to step."""
    walker = NestWalker(
        bound.program, bound.mapping, MACHINE, dict(bound.shapes), {"P0": sizes[2], "M0": sizes[3]}
    )
    tiles = [_tiles(walker, bound, e) for e in bound.program.einsums]
    held: set[object] = set()
    found = 0
    for at in sorted({at for of in tiles for at in of}):
        for of in tiles:
            if at in of and of[at] != held:
                held = of[at]
                found += len(held)
    return found


def _counted(bound: Bound) -> list[int]:
    return [
        sum(
            a.reads
            for a in count_einsum(bound, e).accesses
            if a.tensor == "K" and a.place == NAMES[0]
        )
        for e in bound.einsums
    ]


def test_traffic_is_no_less_than_what_comes_tile_by_tile() -> None:
    seen = Counter[str]()
    for seed in range(examples(300)):
        rng = Random(seed)
        masks = [rng.choice(MASKS) for _ in range(3)]
        if rng.random() < 0.3:
            masks = [masks[0]] * 3
        shared = rng.choice([["M1"], ["P1"], ["M1", "P1"], ["P1", "M1"]])
        sizes = (rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 4), rng.randint(1, 4))
        bound = _bound(masks, shared, *sizes)
        needed, counted = _fetched(bound, *sizes), sum(_counted(bound))
        assert counted >= needed, f"seed {seed}"
        # Whoever comes first brings all where nothing is left out, or all leave out the same.
        if not masks[0] or len({*masks}) == 1:
            assert counted == needed, f"seed {seed}"
            seen["exact"] += 1
        seen["more than once" if counted > needed else "once"] += 1
    assert min(seen["exact"], seen["more than once"], seen["once"]) > examples(20)


@pytest.mark.parametrize(
    ("masks", "counted"),
    [
        # 4 x 4 tiles of 2 keys: of the lower triangle there are 10, and the first of the second row
        # is still there.
        ((MASKS[1], MASKS[1], MASKS[1]), [18, 0, 0]),
        ((MASKS[1], "", ""), [18, 32, 0]),
        (("", MASKS[1], ""), [32, 0, 0]),
        ((MASKS[4], MASKS[1], MASKS[3]), [26, 0, 0]),
        ((MASKS[1], MASKS[2], MASKS[1]), [18, 18, 0]),
    ],
)
def test_who_fetches_which_tiles(masks: tuple[str, ...], counted: list[int]) -> None:
    """Each query's tile goes along the tiles of keys, and each Einsum finds what one left."""
    bound = _bound([*masks], ["P1", "M1"], 8, 8, 2, 2)
    assert _counted(bound) == counted


def test_all_tiles_come_in_time_if_others_are_left_out_inside() -> None:
    """Of each tile of keys some query is let through: no tile of them is left out."""
    bound = _bound([MASKS[1], "", MASKS[2]], ["M1", "P1"], 8, 8, 2, 2)
    assert _counted(bound) == [8, 0, 0]
    # Of queries from 4 on there are none, nor of their keys.
    fewer = _bound([MASKS[1], "", ""], ["M1", "P1"], 4, 8, 2, 2)
    assert _counted(fewer) == [4, 8, 0]


def test_the_steps_of_the_event_engine_move_what_is_counted() -> None:
    bound = _bound([MASKS[1], "", ""], ["P1", "M1"], 8, 8, 2, 2)
    counts = count_mapping(bound)
    walk = exact_walk(bound, fused_group(bound, counts, bound.einsums))
    turns = steps_by_class(walk.run_lengths)
    moved = [
        sum(
            n * (walk.classes[k].loads[i][0] + walk.classes[k].drains[i][0])
            for k, n in turns.items()
        )
        for i in range(3)
    ]
    read, written = (
        [sum(getattr(a, what) for a in c.accesses if a.place == NAMES[0]) for c in counts]
        for what in ("reads", "writes")
    )
    assert moved == [r + w for r, w in zip(read, written, strict=True)]
    # All find the queries that the first has fetched; the second fetches keys.
    assert read == [18 + 8, 32, 0]
