"""Floors of the zoo: the same by every mapping, and below what each takes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from floor_cases import KINDS, evaluated, machine, mappings, small_shapes
from odd_machines import loaded
from portions import left

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names

# A mask beside a running value, tiles of tiles, rows without keys, and groups of heads.
QUICK = (
    ("attention-causal-1pass", "cores", True),
    ("flash-decoding", "systolic", False),
    ("grouped-query-attention-window", "ring", True),
)


@pytest.mark.parametrize(
    ("name", "kind", "own"),
    [
        *QUICK,
        # Each cascade on two of the kinds, once with tiles of sizes that are given.
        *(
            left(name, KINDS[(number + 3 * own) % len(KINDS)], own)
            for number, name in enumerate(builtin_names("cascades"))
            for own in (True, False)
            if (name, KINDS[(number + 3 * own) % len(KINDS)], own) not in QUICK
        ),
    ],
)
def test_all_mappings_of_a_cascade_have_one_floor_and_none_is_below(
    name: str, kind: str, own: bool, tmp_path: Path
) -> None:
    program, random = Cascade.load(name).program, Random(f"{name} {kind} {own}")
    on = loaded(machine(kind, random), tmp_path)
    given = small_shapes(program, random, own=own)
    first, ran = None, 0
    for mapping in mappings(program, on, given, random, own=own):
        try:
            result = evaluated(program, mapping, on, given)
        except InputError:
            continue
        floor, ran = result.floor, ran + 1
        first = first or floor
        assert floor.latency_s == pytest.approx(first.latency_s, rel=1e-9), mapping
        assert floor.energy_pj == pytest.approx(first.energy_pj, rel=1e-9), mapping
        assert floor.latency_s <= result.latency_s * (1 + 1e-9), mapping
        assert floor.energy_pj <= result.energy_pj * (1 + 1e-9), mapping
    assert ran > 1 or (name, kind, own) not in QUICK
