"""Searches on machines of many cores: a core's problem, spread, and priced on the whole machine."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
from brief_search import BRIEFLY
from commands import run
from evaluated import evaluate_mapping
from machines import cores, small

import archsim
from archsim import Architecture, Mapping, simulate
from archsim.plan.partition_factors import Partitioning
from archsim.plan.partitioning import critical_core_shapes
from archsim.spec.mapping import SpatialRank
from einsum_cascade import Cascade
from mappers.cut import nest_search
from mappers.problem.objectives import objective_called
from mappers.relax import multi_core
from mappers.relax.multi_core import core_view, placements
from mappers.relax.search import best_mapping
from mappers.workload_search import search_workload
from workloads import load

LATENCY = objective_called("latency")

PRODUCT = """
workload: {name: product, cascade: linear-layer, shape: {N: 24, D: 16, J: 24}}
"""

MACHINE = cores(6, bandwidth="24 GB/s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("cores")
    (found / "cores.yaml").write_text(MACHINE)
    (found / "product.yaml").write_text(PRODUCT)
    return found


def fed_by_dram(cores: int) -> Architecture:
    """Cores of 4 x 4 and 8 lanes, and bandwidth for each of one's own."""
    machine = small((4, 4), 8)
    outer, *inner = machine.memories
    assert outer.bandwidth_bytes_per_s is not None
    instances = (("cores", cores),) if cores > 1 else ()
    speed = outer.bandwidth_bytes_per_s * cores
    outer = replace(outer, instances=instances, bandwidth_bytes_per_s=speed)
    return replace(machine, memories=(outer, *inner))


def test_cores_with_bandwidth_of_their_own_find_what_one_finds_for_its_part(folder: Path) -> None:
    given = ("shape.D=16", "shape.J=16")
    many, one = (
        search_workload(
            load(folder / "product.yaml", [*given, f"shape.N={16 * cores}"]),
            fed_by_dram(cores),
            LATENCY,
            effort=BRIEFLY,
        )
        for cores in (4, 1)
    )
    # Other parts than those of N alone could be better, none need be worse.
    assert many.result.cycles <= one.result.cycles * (1 + 1e-9)
    certificate = many.certificate()
    assert certificate["floor"] <= certificate["bound"] <= many.result.cycles
    assert any(note.startswith("4 of 4 cores are used") for note in many.result.notes)


def test_found_is_no_slower_than_what_nobody_searched_for(folder: Path) -> None:
    work = load(folder / "product.yaml")
    machine = Architecture.load(folder / "cores.yaml")
    usual = simulate(work, machine)
    found = search_workload(work, machine, LATENCY, effort=BRIEFLY)
    assert found.result.floor.latency_s <= found.result.latency_s <= usual.latency_s
    # What is said to be found is what a run of its mapping gives.
    again = simulate(work, machine, found.mappings[0])
    assert again.cycles == found.result.cycles


@pytest.mark.parametrize("parts", [(("N", 2), ("J", 3)), (("J", 6),), (("N", 6),)])
@pytest.mark.parametrize("setting", ["L2.multicast=false", "L2.multicast=true"])
def test_a_core_has_the_share_that_the_engine_gives_it(
    folder: Path, parts: tuple[tuple[str, int], ...], setting: str
) -> None:
    """Where each core takes all it needs once, its one memory is as slow as the slowest of both."""
    program = Cascade.load("linear-layer").program
    machine = Architecture.load(
        folder / "cores.yaml", [f"memories.{setting}", "memories.L1.capacity=64 KiB"]
    )
    given = {"N": 48, "D": 64, "J": 96}
    ranks = tuple(SpatialRank(instances="cores", rank=r, parts=n) for r, n in parts)
    spreading: Partitioning = (("L2", ranks),)
    core = core_view(program, machine, spreading, given)
    path = folder / "once.yaml"
    path.write_text(
        "mapping: {name: once, cascade: linear-layer, einsums: {Z: {array: matrix,"
        " loops: {L1: [N, J, D]}}}, keep: {HBM: [X, W, Z], L1: [X, W, Z]},"
        " schedule: {kind: sequential}}"
    )
    once = Mapping.load(path)
    whole, *_ = placements(once, spreading, machine, program)
    traffic = {t.level: t for t in evaluate_mapping(program, whole, machine, given).traffic}
    slowest = max(
        float(traffic[m.name].total_bytes / m.bandwidth_bytes_per_s)
        for m in machine.memories[:2]
        if m.bandwidth_bytes_per_s
    )
    alone = evaluate_mapping(program, once, core, critical_core_shapes(spreading, given)).traffic[0]
    speed = core.memories[0].bandwidth_bytes_per_s
    assert speed is not None
    assert float(alone.total_bytes / speed) == pytest.approx(slowest)


SHARING = """
cascade: sharing
title: rows of which all need a product that has none of them
ranks: {S: rows, P: queries, E: width, F: features}
inputs: {A: [P, E], B: [E, F], X: [S, F]}
output: Y
einsums: |
  C[p, f] = A[p, e] * B[e, f]
  Y[s, p] = C[p, f] * X[s, f]
"""


@pytest.mark.slow
def test_cores_have_parts_of_what_needs_what_one_of_them_makes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sharing.yaml").write_text(SHARING)
    (folder / "rows.yaml").write_text(
        "workload: {name: rows, cascade: sharing.yaml, shape: {S: 72, P: 4, E: 4, F: 16}}"
    )
    speeds = ("HBM.bandwidth=240 GB/s", "L2.bandwidth=600 GB/s", "L1.bandwidth=24 GB/s")
    machine = Architecture.load(folder / "cores.yaml", [f"memories.{s}" for s in speeds])
    work = load(folder / "rows.yaml")
    found = search_workload(work, machine, LATENCY, effort=BRIEFLY)
    assert found.result.floor.latency_s <= found.result.latency_s
    monkeypatch.setattr(multi_core, "replicating_partitionings", lambda *_: ())
    # Others have the columns in parts, whose sums meet, or each Einsum a nest of its own.
    monkeypatch.setattr(nest_search, "search_multi_core", best_mapping)
    without = search_workload(work, machine, LATENCY, effort=BRIEFLY)
    assert found.result.cycles < 0.92 * without.result.cycles


def test_what_has_a_part_of_a_cut_rank_comes_to_each_core_for_its_own() -> None:
    """Heads are groups of some: a core with a part of a group has its part of what all heads have,
    and all that heads of a group share."""
    program = Cascade.load("ssd-chunked-prefill").program
    machine = Architecture.load("h100-sxm")
    given = {"B": 1, "H": 80, "G": 1, "S": 80, "E": 128, "F": 64, "P": 4096}
    spreading: Partitioning = (("L2", (SpatialRank(instances="sms", rank="S", parts=80),)),)
    core = core_view(program, machine, spreading, given)
    length, heads, cores = 4096, 80, 80
    own = 2 * heads * length * 64 + heads * length + heads * 128 * 64  # X and Y, A, SO
    shared = 2 * length * 128  # BT and CT
    part = own / cores + shared
    # Into L2 each comes once, and from it to each core; results go through it once.
    into, outof = heads * length * 64 + heads * length + shared, own + cores * shared
    l2 = machine.memories[1].bandwidth_bytes_per_s
    assert l2 is not None
    speed = core.memories[0].bandwidth_bytes_per_s
    assert speed is not None
    assert float(speed / l2) == pytest.approx(part / (into + outof))


def test_commands_search_machines_of_many_cores(folder: Path) -> None:
    work, machine = str(folder / "product.yaml"), str(folder / "cores.yaml")
    found = json.loads(run("map", work, machine, "--time-limit", "1 s", "--json").stdout)
    assert found["certificate"]["strategy"] == "exhaustive, of one core's part"
    assert prod(found["mapping_spec"]["mapping"]["nest"][0]["spatial"]["cores"].values()) == 6
    (folder / "found.yaml").write_text(json.dumps(found["mapping_spec"]))
    given = ("simulate", work, machine, "--mapping", str(folder / "found.yaml"), "--json")
    assert json.loads(run(*given).stdout)["cycles"] == found["cycles"]
    (folder / "fix.yaml").write_text("constraints: {keep: {L2: X}, einsums: {Z: {innermost: N}}}")
    fixed = ("--fix", str(folder / "fix.yaml"), "--time-limit", "1 s", "--json")
    told = json.loads(run("map", work, machine, *fixed).stdout)["certificate"]["constraints"]
    assert told == ["the innermost loop of Z must be over N", "X must be kept in L2"]


def test_comparisons_and_sweeps_search_them_too(folder: Path) -> None:
    tiny, machine = folder / "tiny.yaml", str(folder / "cores.yaml")
    tiny.write_text(PRODUCT.replace("N: 24, D: 16, J: 24", "N: 12, D: 2, J: 4"))
    said = run("compare", str(tiny), machine, "fusemax", "--mapping", "auto", "--json")
    assert said.exit_code == 0, said.stderr
    searched = json.loads(said.stdout)["rows"][0]
    assert searched["cycles"] <= simulate(load(tiny), Architecture.load(machine)).cycles
    asked = {"name": "s", "workload": str(tiny), "architecture": machine, "mapping": "auto"}
    frame = archsim.sweep({**asked, "axes": {"batch": [1]}}, workers=1)
    assert frame["status"].tolist() == ["ok"]
    assert frame["cycles"].tolist() == [searched["cycles"]]
