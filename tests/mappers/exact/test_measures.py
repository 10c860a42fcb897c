"""Measures of open tile sizes against counts of the mappings that they stand for."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from nest_cases import Case, varied_case
from nest_starts import started_case
from portions import portions

from archsim.counts.accesses import AccessCount, EinsumCount, count_einsum
from archsim.legality.footprint import keeps_one_copy, largest_tile, resident_tile, stream_of
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from einsum_cascade.errors import InputError
from mappers.exact.measures import IrregularError, Linear, OpenMeter, matrix, measured

CASES = 200
BATCH = 50


def bound(case: Case, sizes: dict[str, int]) -> Bound:
    tiling = build_tiling(case.program, case.mapping, case.given, sizes)
    return bind_loops(case.program, case.mapping, case.architecture, tiling)


def other_sizes(case: Case, random: Random) -> dict[str, int]:
    """Other sizes of the tiles that the mapping cuts; those of the cascade stay."""
    own = {m for r in case.program.ranks for m in r.partition}
    cut = [t.member for t in case.mapping.tiles if t.member not in own]
    return case.sizes | {m: random.randint(1, 9) for m in cut}


def amounts(count: EinsumCount) -> list[object]:
    registers = (count.registers, count.registers_of_one)
    entries: list[AccessCount] = [*count.accesses, *registers]
    return [count.points, count.iterations, *(x for a in entries for x in (a.reads, a.writes))]


def tiles(lowered: Bound, meter: OpenMeter | None) -> list[object]:
    touched = [
        (e, f, level)
        for e in lowered.einsums
        for f in e.access_maps
        for level in range(lowered.register_level + 1)
    ]
    held = [
        meter.first_tile(
            e,
            (*e.nest(level).loops, *stream_of(lowered, e, f.access.tensor, level)),
            f,
            one_copy=keeps_one_copy(lowered, f.access.tensor, level),
        )
        if meter
        else resident_tile(lowered, e, f, level)
        for e, f, level in touched
    ]
    return held + [
        meter.first_tile(e, e.nest(level).loops, f, one_copy=one_copy)
        if meter
        else largest_tile(e, f, level, one_copy=one_copy)
        for e, f, level in touched
        for one_copy in (True, False)
    ]


def structure(lowered: Bound) -> object:
    """Return the loops of several iterations, on which counting rules depend apart from
    measures."""
    return [
        [e.trip_counts[x.member] > 1 for x in (*e.temporal, *e.spatial)]
        for part in lowered.einsums
        for e in (part, *part.initial)
    ]


@pytest.mark.parametrize("first", portions(CASES, BATCH))
def test_counts_are_sums_of_measures(first: int) -> None:
    compared = 0
    for seed in range(first, first + BATCH):
        case, random = (seed % 2 and started_case(seed)) or varied_case(seed), Random(seed)
        lowered = bound(case, case.sizes)
        meter = OpenMeter(lowered.tiling)
        try:
            forms = [x for e in lowered.einsums for x in amounts(count_einsum(lowered, e, meter))]
            forms += tiles(lowered, meter)
        except IrregularError:
            continue
        rows = [lowered]
        for _ in range(12):
            try:
                other = bound(case, other_sizes(case, random))
            except InputError:
                continue
            if structure(other) == structure(lowered):
                rows.append(other)
        strides = np.array([[m.stride for m in r.tiling.members.values()] for r in rows])
        found = measured(meter.measures, strides)
        coefficients, constants = matrix(
            [x if isinstance(x, Linear) else Linear(x) for x in forms],
            {n: n for n in range(len(meter.measures))},
        )
        for row, other in enumerate(rows):
            wanted = [x for e in other.einsums for x in amounts(count_einsum(other, e))]
            wanted += tiles(other, None)
            got = coefficients @ found[row] + constants
            if not np.isnan(got).any():
                assert got.tolist() == wanted, f"seed {seed}, {row}"
                compared += row > 0
    assert compared > BATCH / 2
