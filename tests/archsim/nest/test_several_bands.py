"""Masks of which one or another lets a point through: the band around them, and parts of rows."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import small
from masked_cases import ONE_OR_ANOTHER, masked, masked_attention, one_pass
from portions import left, some

from archsim import Architecture, Mapping, simulate
from archsim.engine.evaluate import evaluate_bound
from archsim.iteration.bands import BoxedBand, signed_intersections
from archsim.legality.binding import bind
from archsim.plan.job import MakeMapping
from archsim.plan.partitioning import partition_mapping
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from mappers.construct.einsum_by_einsum import einsum_by_einsum
from mappers.construct.fused import fused
from workloads import load

LET_THROUGH = {
    ONE_OR_ANOTHER[0]: lambda m, p, late: m <= p + late or m < 3,
    ONE_OR_ANOTHER[1]: lambda m, p, late: m < 2 or p - 1 <= m <= p,
    ONE_OR_ANOTHER[2]: lambda m, p, late: m < p - 3 or m == p,
    ONE_OR_ANOTHER[3]: lambda m, p, late: p < 2 or m <= p - 4,
    ONE_OR_ANOTHER[4]: lambda m, p, late: p >= 6 or p < 1,
}
SEEDS = range(150)
END = st.integers(-6, 9)
STRIPS = st.lists(st.builds(BoxedBand, END, END, END, END, st.integers(0, 5), END), max_size=4)


@given(STRIPS, st.integers(0, 12))
def test_points_in_any_of_some_strips_are_those_one_by_one(
    bands: list[BoxedBand], row: int
) -> None:
    def holds(s: BoxedBand, x: int, r: int) -> bool:
        return (
            s.low <= x - r <= s.high and s.first_x <= x <= s.last_x and s.first_y <= r <= s.last_y
        )

    places = product(range(-8, 12), range(row))
    inside = sum(any(holds(s, x, r) for s in bands) for x, r in places)
    parts = signed_intersections(bands)
    assert sum(sign * band.points_before(row) for sign, band in parts) == inside


@pytest.mark.slow
def test_no_point_of_a_mask_is_outside_of_its_window() -> None:
    narrow = 0
    for seed in SEEDS:
        for mask in ONE_OR_ANOTHER:
            try:
                case = masked_attention(seed, (mask,))
                bound = masked(case)
            except InputError:
                continue
            e = bound.by_name["BQK"]
            if e.window is None:
                continue
            assert e.partially_masked
            shapes = case.shapes
            axes = [a.name for a in e.axes]
            tiles = product(range(shapes["M"]), range(shapes["P"]))
            for m, p in tiles:
                begin = tuple({"M": m, "P": p}.get(a, 0) for a in axes)
                extents = tuple(1 if a in "MP" else n for a, n in zip(axes, e.extents, strict=True))
                if LET_THROUGH[mask](m, p, shapes["M"] - shapes["P"]):
                    assert e.window.holds(begin, extents), (seed, mask, m, p)
                else:
                    narrow += not e.window.holds(begin, extents)
    assert narrow > 100


@pytest.mark.parametrize("mask", some(ONE_OR_ANOTHER, 16))
@pytest.mark.parametrize("make", [einsum_by_einsum, fused])
@pytest.mark.parametrize(("wide", "deep", "tile"), [(8, 10, 2), left(11, 7, 3), left(16, 16, 1)])
def test_floors_are_no_more_than_what_is_left_of_such_masks_takes(
    mask: str, make: MakeMapping, wide: int, deep: int, tile: int
) -> None:
    program = one_pass(mask).program
    shapes = {"B": 1, "E": 2, "P": wide, "M": deep, "M0": tile}
    for machine in (small((4, 2), 3), small((1, 2), 1)):
        bound = bind(program, make(program, machine, shapes), machine, shapes)
        result = evaluate_bound(bound)
        assert result.floor.latency_s <= result.latency_s * (1 + 1e-12)
        assert result.floor.energy_pj <= result.energy_pj * (1 + 1e-9)
        event = evaluate_bound(bound, engine="event")
        assert event.cycles == pytest.approx(result.cycles, rel=0.02)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_of_queries_do_together_what_all_do(parts: int) -> None:
    """Of a prefix that all see nothing is lost where queries are in parts, and parts are balanced:
    the first queries have as many keys as there are in the prefix."""
    program = Cascade.load("attention-prefix").program
    machine = Architecture.load("fusemax", ["memories.DRAM.instances.cores=5"])
    shapes = {"B": 1, "H": 1, "E": 8, "F": 8, "P": 4096, "M": 4096, "L": 2048}
    one = einsum_by_einsum(program, machine, shapes)
    rank = SpatialRank(instances="cores", rank="P", parts=parts, balanced=True)
    spread = partition_mapping(one, ((machine.memories[0].name, (rank,)),), machine, program)
    whole, found = (evaluate_bound(bind(program, m, machine, shapes)) for m in (one, spread))
    assert [dict(e.operations) for e in found.einsums] == [
        dict(e.operations) for e in whole.einsums
    ]
    assert found.floor.latency_s <= found.latency_s
    bound = bind(program, spread, machine, shapes)
    assert not bound.is_whole
    (cut,) = bound.cores.partitions
    ends = [*cut.begins[1:], 4096]
    keys = [sum(max(p + 1, 2048) for p in range(*x)) for x in zip(cut.begins, ends, strict=True)]
    assert max(keys) < 1.2 * sum(keys) / parts


def test_a_prefix_leaves_tiles_out() -> None:
    """Half of the tiles are behind both the prefix and the query."""
    work, written = load("prefix-lm"), Mapping.load("fusemax-prefix")
    for engine in ("analytical", "event"):
        found = simulate(work, "fusemax", written, engine=engine)
        assert 1 <= found.over_floor < 1.5
