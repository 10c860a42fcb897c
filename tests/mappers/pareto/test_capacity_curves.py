"""``archsim map --capacity-curve``: against all mappings of small spaces, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path

import pytest
from commands import refused, run
from portions import portions
from test_exhaustive import mappings, small_space

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import MappingError
from mappers.exact.policy import THOROUGH
from mappers.pareto.capacity_search import KINDS, CapacityCurve, capacity_curves, value_of
from mappers.pareto.front_search import with_capacity
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.space.mapspace import Mapspace
from workloads import load

SEEDS = 4
CAPACITIES = (4, 24, 64, 128, 1024)
PRODUCT = """cascade: product
ranks: {M: rows, K: summed}
inputs: {A: [M, K], X: [K]}
output: Z
einsums: |
  Z[m] = A[m, k] * X[k]
"""


def space_of_a_product() -> Mapspace:
    """A matrix times a vector, on one element below a small buffer."""
    machine = Architecture.load("fusemax")
    outermost, buffer = machine.memories
    lane = machine.arrays[1]
    one = replace(lane, dimensions=tuple(replace(d, size=1) for d in lane.dimensions))
    small = replace(buffer, capacity_bytes=64)
    machine = replace(machine, memories=(outermost, small), arrays=(one,))
    return Mapspace.of(Cascade.parse(PRODUCT).program, machine, {"M": 3, "K": 3})


def least_of_all(
    space: Mapspace, memory: str, capacities: Sequence[int]
) -> dict[tuple[str, int], float]:
    """The least of both kinds at each capacity, of all mappings, one by one."""
    found: dict[tuple[str, int], float] = dict.fromkeys(product(KINDS, capacities), inf)
    machine = with_capacity(space.architecture, memory, capacities[-1])
    for region, mapping in mappings(replace(space, architecture=machine)):
        with suppress(MappingError):
            ran = run_mapping(region, mapping, OBJECTIVES["energy"])
            (needs,) = [b.required_bytes for b in ran.result.buffers if b.level == memory]
            for kind, capacity in product(KINDS, capacities):
                if needs <= capacity:
                    least = min(found[kind, capacity], value_of(kind, ran.result))
                    found[kind, capacity] = least
    return found


def compared(space: Mapspace, memory: str, capacities: Sequence[int]) -> list[float]:
    """The traffic of a curve, after it was compared with all mappings."""
    curve = CapacityCurve(space, memory, capacities, effort=THOROUGH)
    runs = {(r.kind, r.capacity_bytes): r.value for r in curve.run(lambda _: None).points}
    least = least_of_all(space, memory, capacities)
    assert {key for key, value in least.items() if value < inf} == {*runs}
    for key, value in runs.items():
        assert value == pytest.approx(least[key], rel=1e-9), key
    for kind in KINDS:
        values = [runs.get((kind, c), inf) for c in capacities]
        assert values == sorted(values, reverse=True)
    return [runs.get(("traffic", c), inf) for c in capacities]


@pytest.mark.parametrize("first", portions(32, SEEDS))
def test_a_curve_has_the_least_of_all_mappings_at_each_capacity(first: int) -> None:
    curves = 0
    for seed in range(first, first + SEEDS):
        space = small_space(seed)
        if space is not None:
            inner = [m.name for m in space.architecture.memories[1:] if m.capacity_bytes]
            curves += bool(inner) and len(compared(space, inner[-1], CAPACITIES)) > 0
    assert curves


@pytest.mark.slow
def test_a_product_moves_less_the_more_of_its_vector_fits() -> None:
    moved = compared(space_of_a_product(), "global_buffer", (4, 6, 64))
    assert moved[0] > moved[-1]
    # The matrix, the vector and the result once each, in words of two bytes.
    assert moved[-1] == 2 * (9 + 3 + 3)


@pytest.mark.slow
def test_the_command_writes_numbers_mappings_and_a_picture(tmp_path: Path) -> None:
    few = ("batch=1", "H=1", "E=4", "F=4", "P=16", "M=16", "cascade=attention-naive")
    settings = [word for setting in few for word in ("--set", setting)]
    picture = tmp_path / "curve.svg"
    asked = ("--capacity-curve", "nearest", "--out", str(tmp_path))
    told = run("map", "bert-base", "fusemax", *settings, *asked, "--plot", str(picture), "--json")
    curve = json.loads(told.stdout)
    assert json.loads((tmp_path / "capacity.json").read_text(encoding="utf-8")) == curve
    assert picture.stat().st_size > 1000
    assert (tmp_path / "capacity.png").exists()
    assert curve["capacity_curve"] == "global_buffer"
    for series in ("fused", "einsum_by_einsum"):
        moved = [p["traffic_bytes"] for p in curve[series]["least_traffic"]]
        assert moved == sorted(moved, reverse=True)
        assert min(moved) >= curve["bound_traffic_bytes"]
    last = curve["fused"]["least_traffic"][-1]
    assert last["traffic_bytes"] < curve["einsum_by_einsum"]["least_traffic"][-1]["traffic_bytes"]
    mapping = tmp_path / "mine.json"
    mapping.write_text(json.dumps(last["mapping_spec"]), encoding="utf-8")
    size = f"architecture.memories.global_buffer.capacity={last['capacity_bytes']}B"
    again = run(
        *("simulate", "bert-base", "fusemax", *settings, "--set", size),
        *("--mapping", str(mapping), "--json"),
    )
    assert json.loads(again.stdout)["traffic_bytes"]["DRAM"]["total"] == last["traffic_bytes"]


def test_any_mapping_moves_no_more_than_one_einsum_after_the_other() -> None:
    settings = ["batch=1", "H=1", "E=4", "F=4", "P=16", "M=16", "cascade=attention-naive"]
    curves = capacity_curves(
        load("bert-base", settings), Architecture.load("fusemax"), "nearest", time_limit_s=0.1
    )
    fused, apart = curves.fused, curves.einsum_by_einsum
    moved = {p.capacity_bytes: p.result.traffic_bytes for p in fused.traffic}
    taken = {p.capacity_bytes: p.result.energy_pj for p in fused.energy}
    assert apart.traffic
    assert all(moved[p.capacity_bytes] <= p.result.traffic_bytes for p in apart.traffic)
    assert all(taken[p.capacity_bytes] <= p.result.energy_pj for p in apart.energy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--capacity-curve", "global_bufer"), "did you mean 'global_buffer'"),
        (("--capacity-curve", "DRAM"), "DRAM is the outermost"),
        (("--capacity-curve", "nearest", "--objective", "edp"), "--objective goes not with"),
        (("--capacity-curve", "nearest", "--start", "unfused"), "--start goes not with"),
        (
            ("--capacity-curve", "nearest", "--pareto", "latency,energy"),
            "--capacity-curve goes not",
        ),
        (("--capacity-curve", "nearest", "--set", "scope=block"), "scope=attention"),
        (("--capacity-curve", "nearest", "--plot", "curve.txt"), "expected .png"),
        (("--plot", "curve.txt"), "expected .png"),
    ],
)
def test_what_no_curve_is_of_is_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("map", "bert-base", "fusemax", *arguments)
