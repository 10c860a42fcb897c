"""Fronts of three: nothing of a small space is below what is proven of it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from commands import run
from portions import examples
from test_exhaustive import mappings, small_space
from test_fronts import front_of

from archsim import Architecture
from einsum_cascade.errors import InputError, NoLegalMappingError, SpecError
from mappers.pareto.front_search import (
    FrontPoint,
    axes_called,
    footprint_front,
    non_dominated_in_three,
)
from mappers.pareto.policy import MAX_POINTS_IN_THREE
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import Clock, SearchProblem
from mappers.space.mapspace import Mapspace

TOLERANCE = 1e-3


def holds_all_positions(space: Mapspace, memory: str) -> list[FrontPoint]:
    """All legal mappings of a space, with what each holds of a memory."""
    found = []
    for region, mapping in mappings(space):
        try:
            run = run_mapping(region, mapping, OBJECTIVES["energy"])
        except InputError:
            continue
        held = next(b.required_bytes for b in run.result.buffers if b.level == memory)
        found.append(replace(FrontPoint.of(mapping, run.result), held_bytes=held))
    return found


def test_nothing_as_fast_that_holds_no_more_is_below_what_is_proven() -> None:
    fronts = 0
    for seed in range(examples(60)):
        space = small_space(seed)
        if space is None:
            continue
        limited = [m.name for m in space.architecture.memories[1:] if m.capacity_bytes is not None]
        if not limited:
            continue
        problem = SearchProblem(space, OBJECTIVES["latency"], tolerance=TOLERANCE)
        try:
            first = front_of(space)
        except NoLegalMappingError:
            continue
        found = footprint_front(
            problem,
            limited[0],
            lambda machine, space=space: replace(space, architecture=machine),  # type: ignore[misc]
            lambda _: None,
            Clock(None),
            first,
        )
        runs = holds_all_positions(space, limited[0])
        for one in found.points:
            able = (
                r.energy_pj
                for r in runs
                if r.cycles <= one.cycles and (r.held_bytes or 0) <= (one.held_bytes or 0)
            )
            assert one.bound_pj <= min(able, default=inf) * (1 + 1e-9)
        fronts += 1
    assert fronts > examples(60) // 30


def test_what_is_left_out_is_no_better_than_what_stays() -> None:
    space = next(s for s in map(small_space, range(40)) if s and s.architecture.memories[1:])
    one = holds_all_positions(space, space.architecture.memories[1].name)[0]

    def at(cycles: float, energy_pj: float, held: float) -> FrontPoint:
        return replace(one, cycles=cycles, energy_pj=energy_pj, held_bytes=held)

    fast, lean, frugal = at(100, 50, 900), at(120, 50, 300), at(130, 40, 900)
    assert non_dominated_in_three([frugal, lean, fast], TOLERANCE) == (fast, lean, frugal)
    # No better in anything; faster by next to nothing; saving next to nothing.
    assert non_dominated_in_three([fast, at(110, 50, 900)], TOLERANCE) == (fast,)
    assert non_dominated_in_three([fast, at(99.99, 60, 950)], TOLERANCE) == (fast,)
    assert non_dominated_in_three([fast, at(110, 49.99, 880)], TOLERANCE) == (fast,)
    many = [at(100 + n, 100 - n, 1000 - 9 * n) for n in range(60)]
    shown = non_dominated_in_three(many, TOLERANCE)
    assert 1 < len(shown) <= MAX_POINTS_IN_THREE
    assert shown[0] == many[0]


@pytest.mark.slow
def test_with_less_of_a_memory_other_mappings_are_found(tmp_path: Path) -> None:
    small = ("--set", "batch=2", "--set", "H=2", "--set", "seq_len=256")
    naive = ("bert-base", "fusemax", *small, "--set", "cascade=attention-naive", "--json")
    asked = ("--pareto", "latency,energy,nearest", "--time-limit", "20 s")
    front = json.loads(run("map", *naive, *asked).stdout)
    assert (front["pareto"], front["memory"]) == (["latency", "energy", "buffer"], "global_buffer")
    held = [p["held_bytes"] for p in front["points"]]
    assert min(held) * 4 < max(held)
    written = tmp_path / "mapping.yaml"
    for point in front["points"]:
        written.write_text(json.dumps(point["mapping_spec"]), encoding="utf-8")
        again = json.loads(run("simulate", *naive, "--mapping", str(written)).stdout)
        assert again["cycles"] == point["cycles"]
        assert again["buffer_bytes"]["global_buffer"]["required"] == point["held_bytes"]


def test_a_machine_none_of_whose_inner_memories_is_limited_is_told_so() -> None:
    machine = Architecture.load("fusemax")
    outermost, inner = machine.memories
    endless = replace(machine, memories=(outermost, replace(inner, capacity_bytes=None)))
    assert axes_called("energy,latency,buffer", machine) == "global_buffer"
    with pytest.raises(SpecError, match="no inner memory of fusemax is limited in size"):
        axes_called("latency,energy,buffer", endless)
