"""``archsim map --pareto``: fronts against every mapping of small spaces, and the command."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from test_exhaustive import mappings, small_space

from archsim import Architecture
from einsum_cascade.errors import InputError, NoLegalMappingError
from mappers.exact.policy import THOROUGH
from mappers.pareto.front_search import Front, pareto_front, search_front
from mappers.problem.engine_run import run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import Clock, SearchProblem
from mappers.space.mapspace import Mapspace
from mappers.workload_search import search_workload
from workloads import load

pytestmark = pytest.mark.slow

SMALL = ("--set", "batch=2", "--set", "H=2", "--set", "seq_len=512")
NAIVE = (*SMALL, "--set", "cascade=attention-naive")
TOLERANCE = 1e-3
SEEDS = 40


def all_runs(space: Mapspace) -> list[tuple[float, float]]:
    """Cycles and pJ of every mapping of a space that is legal."""
    found = []
    for region, mapping in mappings(space):
        try:
            result = run_mapping(region, mapping, OBJECTIVES["energy"]).result
        except InputError:
            continue
        found.append((result.cycles, OBJECTIVES["energy"].of(result)))
    return found


def front_of(space: Mapspace) -> Front:
    problem = SearchProblem(space, OBJECTIVES["latency"], tolerance=TOLERANCE)
    return pareto_front(problem, lambda _: None, Clock(None), effort=THOROUGH)


def test_no_mapping_of_a_small_space_is_below_what_is_proven_of_a_front() -> None:
    fronts = points = tight = 0
    for seed in range(SEEDS):
        space = small_space(seed)
        if space is None:
            continue
        try:
            front = front_of(space)
        except NoLegalMappingError:
            continue
        runs = all_runs(space)
        fronts += 1
        for found in front.points:
            as_fast = min((e for c, e in runs if c <= found.cycles), default=inf)
            assert found.bound_pj <= as_fast * (1 + 1e-9)
            assert (found.cycles, found.energy_pj) in runs
            tight += found.bound_pj >= found.energy_pj * (1 - 2 * TOLERANCE)
            points += 1
        # The ends are the least of each, as the certificates say.
        assert front.points[0].cycles <= min(c for c, _ in runs) / (1 - front.least[0].gap)
        assert front.points[-1].energy_pj <= min(e for _, e in runs) * (1 + 2 * TOLERANCE)
        energies = [r.energy_pj for r in front.points]
        assert energies == sorted(energies, reverse=True)
        assert [r.cycles for r in front.points] == sorted(r.cycles for r in front.points)
    assert fronts > 5
    assert points > fronts
    assert tight > points / 2


def test_the_fastest_point_takes_no_more_energy_than_a_search_for_it_finds() -> None:
    work, machine = load("bert-base"), Architecture.load("fusemax")
    fastest = search_front(work, machine).points[0].result
    found = search_workload(work, machine, OBJECTIVES["latency"]).result
    assert fastest.cycles <= found.cycles * (1 + TOLERANCE)
    assert fastest.energy_pj <= found.energy_pj * (1 + TOLERANCE)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("front")
    asked = ("--pareto", "energy,latency", "--time-limit", "30 s", "--out", str(folder), "--json")
    return json.loads(run("map", "bert-base", "fusemax", *NAIVE, *asked).stdout), folder


def test_each_point_is_a_mapping_that_simulates_to_what_it_says(
    written: tuple[dict[str, Any], Path],
) -> None:
    front, folder = written
    assert json.loads((folder / "front.json").read_text(encoding="utf-8")) == front
    assert {"front.png", "front.svg"} <= {path.name for path in folder.iterdir()}
    assert "<dc:date>" not in (folder / "front.svg").read_text(), "equal runs draw equal files"
    assert len(front["points"]) > 1
    for number, point in enumerate(front["points"], start=1):
        mapping = str(folder / f"mapping-{number}.yaml")
        again = json.loads(
            run("simulate", "bert-base", "fusemax", *NAIVE, "--mapping", mapping, "--json").stdout
        )
        assert again["cycles"] == point["cycles"]
        assert again["latency_s"] == point["latency_s"]
        assert point["bound_energy_pj"] <= point["energy_pj"]
        assert 0 <= point["gap"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pareto", "latncy,energy"), "did you mean 'latency'"),
        (("--pareto", "latency"), "write latency,energy"),
        (("--pareto", "latency,energy,bufer"), "did you mean 'buffer'"),
        (("--pareto", "latency,energy,DRAM"), "DRAM is the outermost"),
        (("--pareto", "latency,buffer"), "write latency,energy or latency,energy,buffer"),
        (("--pareto", "latency,energy", "--objective", "edp"), "--objective goes not with"),
        (("--pareto", "latency,energy", "--set", "scope=block"), "scope=attention"),
    ],
)
def test_what_no_front_is_of_is_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("map", "bert-base", "fusemax", *arguments)
