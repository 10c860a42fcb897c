"""Mappings that are as good in one objective: the better one in the other is what is found."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from archsim import Architecture, Mapping, simulate
from archsim.result.result import Result
from mappers.exact.branch_and_bound import tied
from mappers.problem.certificate import Certificate, Searched
from mappers.problem.engine_run import EngineRun
from mappers.problem.incumbents import incumbents_of, space_of
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import SearchProblem
from workloads import load

MACHINE = Architecture.load("fusemax")
WORK = load("bert-base", batch=1, H=1, seq_len=256)
LATENCY = OBJECTIVES["latency"]


@cache
def usual() -> Result:
    return simulate(WORK, MACHINE, "fusemax-binding")


def result(cycles: float, energy_pj: float) -> Result:
    some = usual()
    return replace(some, cycles=cycles, energy_by_component=(("DRAM", energy_pj),))


def run(name: str, cycles: float, energy_pj: float) -> EngineRun:
    mapping = replace(Mapping.load("fusemax-binding"), name=name)
    return EngineRun(value=cycles, mapping=mapping, result=result(cycles, energy_pj))


def searched(name: str, cycles: float, energy_pj: float) -> Searched:
    certificate = Certificate(
        strategy="exhaustive",
        objective="latency",
        candidates=1,
        evaluated=1,
        reasons=(),
        runs=1,
        gap=0.5,
        tolerance=1e-3,
        value=cycles,
        floor=1.0,
    )
    mapping = run(name, cycles, energy_pj).mapping
    return Searched(mapping=mapping, result=result(cycles, energy_pj), certificate=certificate)


@pytest.mark.parametrize(
    ("first", "others", "winner"),
    [
        # This one is as good as the best known mapping and needs less energy.
        (("found", 99.95, 9.0), (("twin", 100.0, 3.0), ("late", 100.02, 1.0)), "twin"),
        (("found", 99.95, 2.0), (("twin", 100.0, 3.0),), "found"),
        # Better by more than the tolerance: there is no tie.
        (("found", 90.0, 9.0), (("twin", 100.0, 3.0),), "found"),
    ],
)
def test_a_known_mapping_as_good_wins_by_the_other_objective(
    first: tuple[str, float, float], others: tuple[tuple[str, float, float], ...], winner: str
) -> None:
    (part,) = WORK.parts
    known = run("known", 100.0, 5.0)
    problem = SearchProblem(
        space_of(part, MACHINE), LATENCY, known=known, others=tuple(run(*other) for other in others)
    )
    cap = min(first[1] * (1 + problem.tolerance), known.value)
    found = tied(problem, searched(*first), cap)
    assert found.mapping.name == winner
    assert found.certificate.value == found.result.cycles
    # The proof stands: no mapping takes less than half of the first result.
    assert found.certificate.bound == pytest.approx(first[1] / 2)


@pytest.mark.slow
def test_of_known_mappings_as_good_the_better_is_the_first() -> None:
    (part,) = WORK.parts
    problem = SearchProblem(space_of(part, MACHINE), LATENCY)
    runs = incumbents_of(part, problem, (Mapping.load("fusemax-binding"),)).runs
    keys = [(one.value, one.result.energy_pj) for one in runs]
    assert keys == sorted(keys)
    assert len(keys) > 2


def test_only_regions_that_are_as_fast_are_asked_for_less_energy() -> None:
    """A region that its bound rules out would replace one that is worth a look."""
    space = space_of(load("bert-base").parts[0], MACHINE)
    every = space.regions(40)
    limit = sorted(one.bound for one in every)[len(every) // 2]
    able = [one.cuts for one in every if one.bound <= limit]
    assert [one.cuts for one in space.regions(5, within=limit)] == able[:5]
    assert [one.cuts for one in every[:5]] != able[:5]
