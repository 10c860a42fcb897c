"""Contents of a mapspace, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
from machines import small
from nest_cases import billed_case

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from mappers.exact.subspaces import strides_of
from mappers.exact.tables import SubspaceRefusedError, tabulate
from mappers.space.factorisation import tile_sizes
from mappers.space.fusion import bound_subspace, crossing, shareable_ranks, subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region

pytestmark = pytest.mark.slow

BERT = {"B": 64, "H": 12, "E": 64, "F": 64, "P": 4096, "M": 4096}


def region_of(cascade: str, **shapes: int) -> Region:
    """The region that is looked at first."""
    program = Cascade.load(cascade).program
    space = Mapspace.of(program, Architecture.load("fusemax"), BERT | shapes)
    return space.regions(1)[0]


def regions_of(seed: int, most: int) -> list[Region]:
    """Regions of a random cascade on a random machine."""
    case = billed_case(seed)
    space = Mapspace.of(case.program, case.architecture, case.given)
    return [*space.regions(most)]


@pytest.mark.parametrize("count", [1, 2, 7, 16, 64])
def test_few_tiles_are_cut_into_any_number_of_even_ones(count: int) -> None:
    sizes = tile_sizes(count)
    assert {-(-count // size) for size in sizes} == {
        -(-count // size) for size in range(1, count + 1)
    }
    # No smaller tile makes as few of them.
    assert all(-(-count // (size - 1)) > -(-count // size) for size in sizes if size > 1)


def test_chunks_are_as_short_as_leaves_least_to_do() -> None:
    """Chunks are one token where an array is wide and states are small."""
    sizes = {}
    for width in (2, 64):
        program = Cascade.load("rwkv-7-chunked").program
        given = {"B": 1, "H": 40, "E": width, "F": width, "P": 4096}
        space = Mapspace.of(program, Architecture.load("fusemax"), given)
        sizes[width] = min(shapes["P0"] for _, shapes in space.families)
    assert sizes == {2: 1, 64: 4}


def test_chunks_are_as_short_as_the_busiest_array_wants() -> None:
    """Decays of all pairs of a chunk are for lanes: shorter chunks leave them less, even if states
    are then updated more often."""
    program = Cascade.load("kimi-delta-attention-chunked").program
    given = {"B": 1, "H": 4, "E": 64, "F": 64, "P": 256}
    shortest = [
        min(shapes["P0"] for _, shapes in Mapspace.of(program, machine, given).families)
        for machine in (small((8, 8), 64), small((64, 64), 2))
    ]
    assert shortest[0] > shortest[1]


def test_many_tiles_are_cut_by_divisors_and_halves() -> None:
    assert tile_sizes(4096) == tuple(1 << n for n in range(13))
    assert {1, 3, 5, 67, 201, 335, 1005} <= {*tile_sizes(1005)}
    assert {503, 252, 126, 63, 32, 16, 8, 4, 2} <= {*tile_sizes(1005)}


def test_a_prime_length_is_searched_too() -> None:
    assert len(region_of("attention-1pass", P=4099, M=4099).tilings) > 49


def test_softmax_in_one_pass_shares_keys_and_in_three_passes_only_queries() -> None:
    assert shareable_ranks(region_of("attention-1pass")) == ("P", "M1")
    assert shareable_ranks(region_of("attention-2pass")) == ("P",)
    assert shareable_ranks(region_of("attention-3pass")) == ("P",)
    assert shareable_ranks(region_of("attention-naive")) == ("P",)
    assert shareable_ranks(region_of("attention-naive-deferred")) == ("P", "M")


def test_units_are_all_different_and_hold_every_tiling() -> None:
    space = region_of("attention-1pass")
    subspaces = subspaces_of(space)
    keys = [(u.skeleton, tuple(row)) for u in subspaces for row in u.sizes.tolist()]
    assert len({*keys}) == len(keys)
    together = [u for u in subspaces if u.skeleton.shared == ("P", "M1")]
    rows = {tuple(row) for u in together for row in u.sizes.tolist()}
    assert rows == {tuple(row) for row in space.tilings.tolist()}


def test_strides_are_those_of_the_tilings() -> None:
    compared = 0
    for seed in range(150):
        try:
            regions = regions_of(seed, 2)
        except InputError:
            continue
        for space in regions:
            for subspace in subspaces_of(space)[:2]:
                try:
                    tiling = bound_subspace(space, subspace).tiling
                except InputError:
                    continue
                strides = [m.stride for m in tiling.members.values()]
                assert strides_of(space, subspace)[0].tolist() == strides
                compared += 1
    assert compared > 100


def test_no_mapping_shares_what_a_pass_boundary_crosses() -> None:
    refused = 0
    for seed in range(150):
        try:
            (space,) = regions_of(seed, 1)
            crossed = crossed_ranks(space)
        except InputError:
            continue
        ranks = [c.rank for c in space.open_factorisations]
        for shared in (s for n in range(1, 3) for s in combinations(ranks, n)):
            if not {*shared} & {*crossed}:
                continue
            for subspace in [*space.subspaces(shared)][:6]:
                if not any(
                    m in loops
                    for r in {*shared} & {*crossed}
                    for m in space.factorisation_of[r].levelled
                    for loops in subspace.skeleton.order
                ):
                    continue
                with pytest.raises(SubspaceRefusedError):
                    tabulate(space, subspace, relaxed=True)
                refused += 1
    assert refused > 10


def crossed_ranks(space: Region) -> list[str]:
    """Ranks of several Einsums that a boundary crosses."""
    often = {
        cut.rank: sum(cut.rank.lower() in e.variables for e in space.program.einsums)
        for cut in space.open_factorisations
    }
    return [r for r, n in often.items() if n > 1 and crossing(space, r, {}) is not False]


def test_three_memories_have_no_more_tilings_than_can_be_gone_through() -> None:
    """One region of attention had 4.8 million, and filled the memory of a computer."""
    machine = Architecture.load("fusemax")
    outer, buffer = machine.memories
    inner = replace(buffer, name="l1", capacity_bytes=2**20)
    three = replace(machine, memories=(outer, replace(buffer, name="l2"), inner))
    program = Cascade.load("attention-1pass").program
    space = Mapspace.of(program, three, {"B": 1, "H": 1, "E": 64, "F": 64, "P": 4096, "M": 4096})
    for region in space.regions(6):
        assert len(region.tilings) <= 20_000
        # The smallest and the largest tiles are there.
        for cut in region.open_factorisations:
            columns = [n for n, (rank, _) in enumerate(region.tiles) if rank == cut.rank]
            rows = {tuple(row) for row in region.tilings[:, columns].tolist()}
            assert {min(region.sizes(cut)), max(region.sizes(cut))} <= rows


def test_each_size_of_tiles_has_regions_where_arrays_hold_values_still() -> None:
    """A tile longer than the array is loaded again for each Einsum, which bounds of cycles
    ignore."""
    program = Cascade.load("attention-1pass").program
    shapes = {"B": 1, "H": 2, "E": 64, "F": 64, "P": 4096, "M": 4096}
    base = Architecture.load("fusemax")
    grid, lanes = base.arrays
    still = replace(base, arrays=(replace(grid, operands="systolic"), lanes))

    def chunks(machine: Architecture) -> dict[int, int]:
        space = Mapspace.of(program, machine, shapes)
        found = (p.shapes["M0"] for p in space.regions(2, fair=True))
        return dict(Counter(found))

    assert chunks(base) == {256: 2}
    assert chunks(still) == {256: 2, 1024: 2, 4096: 2}


def test_each_size_of_tiles_has_its_best_region_where_small_ones_leave_less_to_do() -> None:
    """Not one with usual cuts alone: how good a size is, its best region says."""
    program = Cascade.load("ssd-chunked-prefill").program
    shapes = {"B": 1, "E": 16, "F": 8, "G": 1, "S": 10, "P": 512}
    space = Mapspace.of(program, Architecture.load("flat"), shapes)
    best: dict[int, Region] = {}
    for region in space.regions(space.size):
        best.setdefault(region.shapes["P0"], region)
    assert len(best) > 3
    found = [p.key for p in space.regions(2, fair=True)]
    assert all((region.fixed, region.cuts) in found for region in best.values())


def test_sizes_between_those_of_arrays_are_tried_where_small_tiles_leave_less_to_do() -> None:
    base = Architecture.load("nvdla-full")
    wide, narrow = base.arrays
    columns, rows = wide.dimensions
    machine = replace(
        base,
        arrays=(
            replace(wide, dimensions=(replace(columns, size=96), replace(rows, size=12))),
            replace(narrow, dimensions=(replace(narrow.dimensions[0], size=24),)),
        ),
    )

    def sizes(cascade: str, rank: str, shapes: dict[str, int]) -> set[int]:
        space = Mapspace.of(Cascade.load(cascade).program, machine, shapes)
        return {shapes[rank] for _, shapes in space.families}

    chunked = {"B": 1, "E": 16, "F": 8, "G": 1, "S": 10, "P": 1024}
    assert sizes("ssd-chunked-prefill", "P0", chunked) >= {12, 24, 48, 96, 384, 1024}
    attention = {"B": 1, "H": 2, "E": 16, "F": 16, "P": 1024, "M": 1024}
    assert sizes("attention-1pass", "M0", attention) == {12, 24, 96, 384, 1024}
