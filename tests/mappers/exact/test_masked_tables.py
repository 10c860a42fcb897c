"""Estimates of masked mappings against the engine, and bounds of their regions."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from portions import examples, some
from test_tables import picked, priced

from archsim import Architecture
from archsim.counts.occupancy import busy_cycles
from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind, with_parameters
from archsim.nest.record import Bound
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.exact.kernels.measures import Floats
from mappers.exact.measures import FIXED, OpenBand, OpenSide, measured, shares_left
from mappers.exact.subspaces import strides_of
from mappers.exact.tables import SubspaceRefusedError, tabulate
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region, Subspace, mapping_of

MASKED = {
    "attention-sliding-window-1pass": {"P": 600, "M": 600, "W": 40},
    "attention-two-sided-window-1pass": {"P": 200, "M": 240, "W": 16},
    "attention-sliding-window": {"P": 100, "M": 400, "W": 70},
    "attention-causal-1pass": {"P": 256, "M": 256},
    "attention-chunked-local-1pass": {"P": 240, "M": 240, "C": 48},
}
SIDES = ("arrays.array_2d.shape={columns: 14, rows: 12}", "arrays.array_1d.shape.lanes=24")


def regions(cascade: str) -> tuple[Mapspace, tuple[Region, ...]]:
    """Promising regions on 14 x 12 elements, beside 24 lanes, and some of all others."""
    program = Cascade.load(cascade).program
    given = {"B": 1, "H": 2, "E": 16, "F": 16, **MASKED[cascade]}
    program, shapes = with_parameters(program, given)
    space = Mapspace.of(program, Architecture.load("fusemax", SIDES), shapes)
    return space, (*space.regions(3, fair=True), *space.regions(60, diverse=True)[5::20])


def chosen(region: Region, subspace: Subspace, random: Random) -> Iterator[Bound]:
    """Legal mappings of a subspace, everything kept everywhere."""
    for _ in range(3):
        placements = {name: random.choice(found) for name, found in region.placements.items()}
        places = {tensor: found[-1] for tensor, found in region.all_places.items()}
        sizes = random.choice([*subspace.sizes])
        mapping = mapping_of(region, subspace.skeleton, sizes, placements, places)
        try:
            yield bind(region.program, mapping, region.architecture, region.given)
        except MappingError:
            continue


@pytest.mark.parametrize("cascade", some(MASKED, 6))
def test_no_mapping_of_a_region_is_below_its_bound(cascade: str) -> None:
    """Steps that a mask leaves idle are no work of Einsums without one either: bounds that had all
    of it were several times above what small tiles take."""
    random, seen = Random(cascade), 0
    for region in regions(cascade)[1]:
        every = subspaces_of(region)
        for subspace in random.sample(every, min(examples(2), len(every))):
            for bound in chosen(region, subspace, random):
                assert evaluate_bound(bound).cycles >= region.bound * (1 - 1e-9)
                seen += 1
    assert seen > examples(5)


def test_small_tiles_of_a_window_are_within_the_bounds_of_their_regions() -> None:
    """A query sees four of 43 chunks of keys: the others are no steps and need no corrections."""
    program = Cascade.load("attention-sliding-window-1pass").program
    given = {"B": 1, "H": 1, "E": 16, "F": 16, "P": 512, "M": 512, "W": 32}
    program, shapes = with_parameters(program, given)
    machine = Architecture.load("fusemax", SIDES)
    space = Mapspace.of(program, machine, shapes)
    written = bind(program, Mapping.load("fusemax-window"), machine, shapes)
    alike = [
        region.bound
        for region in space.regions(space.size)
        if region.shapes["M0"] == written.tiling.shapes["M0"] == 12
    ]
    assert 0 < min(alike) <= evaluate_bound(written).cycles


def estimated(region: Region, subspace: Subspace, random: Random) -> Iterator[tuple[Bound, Floats]]:
    """Legal mappings of a subspace, as the engine has them and as they are estimated."""
    try:
        tables = tabulate(region, subspace, relaxed=True)
    except SubspaceRefusedError:
        return
    amounts = measured(tables.measures, strides_of(region, subspace))
    for _ in range(3):
        choice = picked(tables, random, legal=True)
        if choice is None:
            return
        row, (placements, places) = random.randrange(len(subspace.sizes)), choice
        mapping = mapping_of(
            region,
            subspace.skeleton,
            subspace.sizes[row],
            {
                e: w[n]
                for e, w, n in zip(tables.einsums, tables.placements, placements, strict=True)
            },
            {t: region.places[t][o] for t, o in zip(tables.tensors, places, strict=True)},
        )
        flat = tables.coefficients @ amounts[row] + tables.constants
        try:
            bound = bind(region.program, mapping, region.architecture, region.given)
        except MappingError:
            continue
        yield bound, priced(tables, flat.reshape(-1, tables.columns), placements, places)


@pytest.mark.parametrize("cascade", some(MASKED, 4, 1))
def test_masked_mappings_are_estimated_by_the_tiles_that_are_left(cascade: str) -> None:
    """An Einsum without a mask counted as if it ran in every step, and what has one had the same
    share of all tiles, however they were cut."""
    random, seen = Random(cascade), 0
    for region in regions(cascade)[1]:
        every = subspaces_of(region)
        for subspace in random.sample(every, min(examples(2), len(every))):
            for bound, total in estimated(region, subspace, random):
                for number, array in enumerate(bound.architecture.arrays, start=1):
                    runs = [e for e in bound.einsums if e.array.name == array.name]
                    busy = float(sum(busy_cycles(bound, e) for e in runs))
                    assert total[number] == pytest.approx(busy, rel=0.05)
                assert total[0] == pytest.approx(evaluate_bound(bound).energy_pj, rel=0.25)
                seen += 1
    assert seen > examples(5)


@pytest.mark.parametrize("seed", range(20))
def test_tiles_that_a_band_touches_are_counted(seed: int) -> None:
    random = Random(seed)
    x, y = random.randint(1, 40), random.randint(1, 40)
    low = random.randint(-45, 30)
    high = low + random.randint(0, 30)
    sizes = np.array([[random.randint(1, 45), random.randint(1, 45)] for _ in range(4)])
    limit = random.randint(1, 45)
    bands = [
        OpenBand(low, high, OpenSide(x, 0, 2, limit), OpenSide(y, 1, 1, 45)),
        OpenBand(low, high, OpenSide(x, FIXED, 3, 0), OpenSide(y, 1, 1, 45)),
    ]
    tiles = ((2 * np.minimum(sizes[:, 0], limit), sizes[:, 1]), (np.full(4, 3), sizes[:, 1]))
    for number, (wide, deep) in enumerate(tiles):
        for row in range(4):
            points = [(i, j) for i in range(x) for j in range(y) if low <= i - j <= high]
            touched = {(i // wide[row], j // deep[row]) for i, j in points}
            every = -(-x // wide[row]) * -(-y // deep[row])
            assert shares_left(bands, sizes)[row, number] == pytest.approx(len(touched) / every)
