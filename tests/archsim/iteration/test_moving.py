"""What stays in a memory while others pick, against a walk over every pick."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from machines import small

from archsim.counts.accesses import deliveries
from archsim.counts.meter import EXACT
from archsim.legality.binding import bind
from archsim.spec.mapping import EinsumMapping, Keep, Mapping, NestLevel, Schedule, Tile
from einsum_cascade import Cascade

if TYPE_CHECKING:
    from archsim.nest.record import BoundEinsum

TEXT = """
cascade: picking
ranks: {P: queries, M: keys, U: keys of a block, J: picks, E: width}
inputs: {I: [P, J], Q: [P, E], K: [M, E]}
output: X
einsums: |
  X[p, j, u] = Q[p, e] * K[I[p, j]*U + u, e]
"""


def brought(e: BoundEinsum, level: int, held: int, sizes: dict[str, int]) -> int:
    """Elements of K that come in when tiles are gone through one by one: blocks that are picked,
    all of them where a tile may pick as many, which then stay until something else moves."""
    loops, fetched, there = e.nest(level).loops, 0, None
    inside = dict(sizes)
    for loop in loops:
        inside[loop.variable] = loop.stride
    picks = min(held, inside["p"] * inside["j"])
    for at in product(*(range(sizes[x.variable] // x.stride) for x in loops)):
        place = dict(zip((x.variable for x in loops), at, strict=True))
        tile = tuple(
            n for v, n in place.items() if v in ("u", "e") or (picks < held and v in ("p", "j"))
        )
        fetched += picks * inside["u"] * inside["e"] if tile != there else 0
        there = tile
    return fetched


@pytest.mark.parametrize("order", ["P1 U", "U P1", "P1 E", "E P1", "J P1", "P1 J", "J U P1", "P1"])
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_a_tile_of_all_positions_stays_while_others_pick(order: str, queries: int) -> None:
    program = Cascade.parse(TEXT).program
    sizes = {"p": 8, "j": 2, "u": 4, "e": 3}
    names = tuple(order.split())
    inner = tuple(n for n in ("P0", "J", "U", "E") if n not in names)
    loops = (NestLevel(level="DRAM", loops=names), NestLevel(level="global_buffer", loops=inner))
    mapping = Mapping(
        name="by hand",
        cascade="picking",
        tiles=(Tile(rank="P", member="P0", size=queries),),
        nest=(),
        einsums=(EinsumMapping(einsum="X", array="array_2d", spatial=(), nest=loops),),
        keep=tuple(Keep(level=n, tensors=("I", "Q", "K", "X")) for n in ("DRAM", "global_buffer")),
        schedule=Schedule(),
    )
    bound = bind(program, mapping, small((1, 1), 1), {"P": 8, "J": 2, "U": 4, "E": 3, "M": 16})
    e = bound.by_name["X"]
    found = deliveries(e, e.reads[1], 1, EXACT)
    assert found == brought(e, 1, 4, sizes)
