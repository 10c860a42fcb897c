"""Steps along two ranks; coordinates of a third beside one another that fill what holds states."""

from __future__ import annotations

import pytest
from machines import small
from mapped_checks import computes_the_same
from portions import left

from archsim import simulate
from archsim.legality.binding import with_parameters
from einsum_cascade import Cascade
from mappers.construct import fused as make
from mappers.construct.context import MappingContext
from mappers.construct.fused import in_registers
from mappers.construct.fused_loops import SharedLoops, plans_of

TURNED = {"B": 1, "H": 2, "E": 4, "F": 4, "P": 16, "M": 16, "M1": 2, "M0": 8}


def _turned() -> tuple[MappingContext, list[SharedLoops]]:
    program = Cascade.load("path-attention-1pass").program
    context = MappingContext(program=program, architecture=small((4, 2), 8), shapes=TURNED)
    return context, [*plans_of(context, 0)]


def test_steps_along_two_ranks_are_taken_in_either_order() -> None:
    """Blocks of keys inside of the queries that turn them came in anew at every query."""
    _, plans = _turned()
    orders = {tuple(dict.fromkeys(p.rank for p in x.loops[x.heads :])) for x in plans}
    assert orders == {("P", "M1"), ("M1", "P")}


def test_what_waits_along_one_rank_takes_steps_of_the_other_whole() -> None:
    """Softmax goes from block to block of keys: it took one query at a time, as their turns do."""
    context, plans = _turned()
    einsums = context.program.einsum_of
    taken = {
        (
            x.around(context, einsums["KH"]) >= x.close,
            bool(x.around(context, einsums["SLNV"]) & x.close),
        )
        for x in plans
        if x.close and x.loops[x.heads].rank == "M1"
    }
    assert (True, False) in taken


@pytest.mark.slow
def test_by_default_a_block_of_keys_stays_in_the_array_while_it_is_turned() -> None:
    """All keys went through the buffer for every query: 9.5 times the floor."""
    found = simulate("path", "fusemax", settings=["cascade=path-attention-1pass"])
    assert found.over_floor < 1.25


@pytest.mark.parametrize(("workload", "most"), [left("path", 2), left("kda", 1.1)])
def test_by_default_as_many_heads_as_fill_the_array_are_beside_one_another(
    workload: str, most: float
) -> None:
    """A quarter of the elements had work, where a chunk of a head is 128 x 128 of 256 x 256."""
    assert simulate(workload, "fusemax").over_floor < most


@pytest.mark.parametrize("name", [left("path-attention-chunked-1pass"), "delta-rule-chunked"])
def test_what_is_beside_one_another_computes_the_same(name: str) -> None:
    """Whatever loops are shared: also where a state stays in registers, and its last values do."""
    cascade, machine = Cascade.load(name), small((4, 4), 4)
    ranks = {r.name: 3 for r in cascade.program.ranks if not (r.family or r.like or r.partition)}
    shapes = {**dict.fromkeys(cascade.program.parallel, 1), **ranks, "H": 4, "P": 9}
    fusions = [*make._in_widths(*with_parameters(cascade.program, dict(shapes)), machine)]
    found = {}
    for made in make._unrolled(fusions, {}):
        if (bound := made.inward()) is not None:
            mapping = in_registers(bound).mapping
            found[mapping.tiles, mapping.nest] = mapping
    assert len(found) >= 3
    for mapping in [*found.values()][:: len(found) // 3]:
        sizes = {t.member: t.size for t in mapping.tiles if t.member == "P0"}
        computes_the_same(cascade, mapping, machine, {**shapes, **sizes})
