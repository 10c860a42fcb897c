"""Constraints, fronts and curves on machines of many cores and of memories side by side: against
mappings of their stand-ins, looked at one by one on the machine itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product
from math import inf
from pathlib import Path
from typing import Any

import pytest
from brief_search import BRIEFLY
from test_chain import branched
from test_exhaustive import mappings
from test_multi_core import MACHINE, fed_by_dram

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, NoLegalMappingError
from mappers.exact.policy import BRIEF
from mappers.pareto.capacity_search import CurveQuery, run_with, value_of
from mappers.pareto.front_search import Front, pareto_front
from mappers.problem.constraint_files import ConstraintFile, constraints_of
from mappers.problem.engine_run import EngineRun, bound_mapping, run_mapping
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import Clock, SearchProblem, silent
from mappers.relax.multi_core import core_family
from mappers.relax.relaxation import answer
from mappers.relax.search import best_mapping
from mappers.space.mapspace import Mapspace

LATENCY, ENERGY = OBJECTIVES["latency"], OBJECTIVES["energy"]
LAYER = Cascade.load("linear-layer").program
SHAPES = {"N": 4, "D": 2, "J": 1}
EVERY = 37
"""Of the mappings of a core one of so many is run: there are thousands."""

KEPT = {"keep": {"L2": ["X"]}}
TOLD: list[tuple[dict[str, Any], bool]] = [
    ({"keep": {"L1": ["X"]}}, False),
    (KEPT, True),
    ({"einsums": {"Z": {"innermost": ["N"]}}}, True),
    ({"tiles": {"L2": {"N": 1}}}, True),
]


@pytest.fixture(scope="module")
def two_cores(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    path = tmp_path_factory.mktemp("two") / "cores.yaml"
    one = MACHINE.replace("columns: 4, rows: 4", "rows: 1")
    path.write_text(one.replace("cores: 6", "cores: 2"))
    return Architecture.load(path, ["memories.L1.capacity=16B", "memories.L1.line=16 bit"])


def space_of(machine: Architecture, folder: Path, *told: tuple[dict[str, Any], bool]) -> Mapspace:
    """A small layer on a machine, under constraints of files."""
    files = []
    for number, (fields, must) in enumerate(told):
        path = folder / f"{number}.yaml"
        path.write_text(str({"constraints": fields}))
        files.append(ConstraintFile.read(str(path), must=must))
    return Mapspace.of(LAYER, machine, SHAPES, constraints_of(files, LAYER, machine))


def some_runs(space: Mapspace) -> Iterator[EngineRun]:
    """Mappings of a core on all of them, under no constraint."""
    for member in core_family(space).members:
        core = member.make()
        for _, mapping in islice(mappings(core.space), 0, None, EVERY):
            for brought in core.lift(mapping):
                with suppress(InputError):
                    yield run_mapping(space, brought, LATENCY)


@pytest.fixture(scope="module")
def tried(two_cores: Architecture, tmp_path_factory: pytest.TempPathFactory) -> list[EngineRun]:
    return [*some_runs(space_of(two_cores, tmp_path_factory.mktemp("all")))]


def front_of(space: Mapspace) -> Front:
    return pareto_front(SearchProblem(space, LATENCY), lambda _: None, Clock(None), effort=BRIEF)


@pytest.mark.parametrize("told", TOLD)
def test_what_is_found_obeys_and_nothing_that_does_is_better(
    told: tuple[dict[str, Any], bool],
    two_cores: Architecture,
    tried: list[EngineRun],
    tmp_path: Path,
) -> None:
    space = space_of(two_cores, tmp_path, told)
    found = best_mapping(BRIEFLY, SearchProblem(space, LATENCY), silent)
    assert not space.constraints.broken(bound_mapping(space, found.mapping))
    obeying = [r for r in tried if not space.constraints.broken(bound_mapping(space, r.mapping))]
    assert 0 < len(obeying) < len(tried) or told == (KEPT, True)
    assert all(found.certificate.value <= run.value for run in obeying)
    assert found.certificate.is_floor


def test_fronts_have_all_that_is_not_beaten(
    two_cores: Architecture, tried: list[EngineRun], tmp_path: Path
) -> None:
    space = space_of(two_cores, tmp_path)
    front = front_of(space)
    for run in tried:
        as_fast = [p.energy_pj for p in front.points if p.cycles <= run.value * (1 + 1e-9)]
        # In the space of a core L2 costs what HBM does.
        assert min(as_fast, default=inf) <= 1.01 * ENERGY.of(run.result)
    for point in front.points:
        again = run_mapping(space, point.mapping, LATENCY)
        assert (again.value, ENERGY.of(again.result)) == (point.cycles, point.energy_pj)
        assert point.bound_pj <= point.energy_pj
    for number, objective in enumerate((LATENCY, ENERGY)):
        alone = best_mapping(BRIEFLY, SearchProblem(space, objective), silent)
        assert objective.of(front.points[-number].result) <= alone.certificate.value * (1 + 1e-3)
        assert front.least[number].is_floor


@pytest.mark.parametrize("memory", ["L1", "L2"])
def test_nothing_moves_less_with_so_much_of_a_memory(
    memory: str, two_cores: Architecture, tried: list[EngineRun], tmp_path: Path
) -> None:
    space, capacities = space_of(two_cores, tmp_path), (32, 64, 4096)
    points = answer(CurveQuery(space, memory, capacities, Clock(None), lambda _: None)).points
    moved = {r.capacity_bytes: r.value for r in points if r.kind == "traffic"}
    assert [*moved.values()] == sorted(moved.values(), reverse=True)
    bounds = tried[0].result.bounds
    assert moved[4096] == bounds.traffic_bytes
    for found in points:
        again = run_with(space, memory, found.capacity_bytes, found.mapping)
        assert again is not None
        assert value_of(found.kind, again.result) == found.value
    for run, capacity in product(tried, capacities):
        (needs,) = [b.required_bytes for b in run.result.buffers if b.level == memory]
        if needs <= capacity:
            assert moved[capacity] <= value_of("traffic", run.result)


class UpAfterTheSearch(Clock):
    """Time that is up when what was found is to be confirmed."""

    def most(self) -> Clock:
        return Clock(None)


def test_time_that_is_up_leaves_a_first_point(two_cores: Architecture, tmp_path: Path) -> None:
    """It covers what confirms points, on a machine of cores and on one of them."""
    space, capacities = space_of(two_cores, tmp_path), (32, 64, 4096)
    (core, *_) = (member.make() for member in core_family(space).members)
    for one in (space, core.space):
        whole = answer(CurveQuery(one, "L1", capacities, Clock(None), lambda _: None))
        hasty = answer(CurveQuery(one, "L1", capacities, UpAfterTheSearch(0.0), lambda _: None))
        assert len(hasty.points) == 1 < len(whole.points)
        assert (hasty.ended, whole.ended) == ("time limit", "")
        assert hasty.runs < whole.runs


def test_one_core_below_its_memory_is_the_machine_itself(tmp_path: Path) -> None:
    one = fed_by_dram(1)
    outer, *inner = one.memories
    told = ({"einsums": {"Z": {"array": "array_2d"}}}, True)
    below = replace(one, memories=(replace(outer, instances=(("cores", 1),)), *inner))
    fronts, curves = [], []
    for machine in (one, below):
        space = space_of(machine, tmp_path, told)
        front = front_of(space)
        fronts.append([(run.cycles, run.energy_pj) for run in front.points])
        curve = answer(CurveQuery(space, "global_buffer", (64, 256), Clock(None), lambda _: None))
        curves.append([(r.kind, r.capacity_bytes, r.value) for r in curve.points])
    assert fronts[0] == fronts[1]
    assert curves[0] == curves[1]


def test_what_cores_share_need_not_keep_what_a_core_is_brought(
    two_cores: Architecture, tmp_path: Path
) -> None:
    space = space_of(two_cores, tmp_path, (KEPT, False))
    found = best_mapping(BRIEFLY, SearchProblem(space, LATENCY), silent)
    bound = bound_mapping(space, found.mapping)
    assert "L2" not in [home.name for home in dict(bound.residency.places)["X"]]


def test_what_nothing_obeys_says_so(two_cores: Architecture, tmp_path: Path) -> None:
    space = space_of(two_cores, tmp_path, (KEPT, True), (KEPT, False))
    with pytest.raises(NoLegalMappingError) as refused:
        best_mapping(BRIEFLY, SearchProblem(space, LATENCY), silent)
    assert "X must be kept in L2" in str(refused.value)


def test_memories_side_by_side_have_constraints_and_fronts(tmp_path: Path) -> None:
    machine = branched()
    space = space_of(machine, tmp_path, ({"keep": {"tiles": ["W"]}}, False))
    front = front_of(space)
    found = best_mapping(BRIEFLY, SearchProblem(space, LATENCY), silent)
    assert found.certificate.value >= front.points[0].cycles * (1 - 1e-3)
    for run in (*front.points, found):
        bound = bound_mapping(space, run.mapping)
        assert "tiles" not in [home.name for home in dict(bound.residency.places)["W"]]
