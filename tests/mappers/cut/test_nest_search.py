"""Several nests: the best cut of a cascade is found, and what is left out could not be better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from brief_search import BRIEFLY
from commands import run
from portions import left
from products import TWO_LAYERS

from archsim import Architecture
from archsim.spec.overrides import parse_overrides
from einsum_cascade import Cascade
from einsum_cascade.algebra.excerpt import cut_blocks, excerpt
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from mappers.construct.generators import GENERATORS
from mappers.cut import policy
from mappers.cut.nest_search import search_nests
from mappers.exact.branch_and_bound import exhaustive
from mappers.memory import VARIABLE, MappingKey
from mappers.problem.certificate import Certificate, Searched
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.incumbents import recall_search, remember_search
from mappers.problem.objectives import SearchObjective, objective_called
from mappers.problem.protocol import SearchProblem
from mappers.space.mapspace import Mapspace

SHAPES = {"M": 8, "K": 32, "H": 8, "N": 32}


def small() -> Architecture:
    """A machine of few elements, whose memory is slow and whose buffer holds little."""
    shape = "architecture.arrays.array_2d.shape"
    settings = (
        f"{shape}.rows=2",
        f"{shape}.columns=2",
        "architecture.arrays.array_1d.shape.lanes=2",
        "architecture.memories.global_buffer.capacity=512 B",
        "architecture.memories.DRAM.bandwidth=2 GB/s",
    )
    return Architecture.load("fusemax", parse_overrides(settings))


def every_cut(program: Program) -> Iterator[tuple[tuple[str, ...], ...]]:
    """All ways to cut a cascade into runs of blocks, that into one included."""
    blocks = cut_blocks(program)
    for count in range(len(blocks)):
        for cuts in combinations(range(1, len(blocks)), count):
            ends = pairwise((0, *cuts, len(blocks)))
            yield tuple(tuple(n for b in blocks[i:j] for n in b) for i, j in ends)


def made(space: Mapspace, objective: SearchObjective) -> EngineRun:
    """The better of the mappings that are made for any cascade."""
    found: list[EngineRun] = []
    for make in (GENERATORS.fuse, GENERATORS.make):
        try:
            mapping = make(space.program, space.architecture, space.given)
            found.append(run_mapping(space, mapping, objective))
        except InputError:
            continue
    return min(found, key=lambda run: run.value)


def known(run: EngineRun, objective: SearchObjective) -> Searched:
    """A search that found nothing better than what was known, and nothing that could be."""
    certificate = Certificate(
        strategy="none",
        objective=objective.name,
        candidates=1,
        evaluated=1,
        reasons=(),
        runs=1,
        gap=0.0,
        tolerance=0.0,
        value=run.value,
        floor=objective.floor(run.result),
    )
    return Searched(mapping=run.mapping, result=run.result, certificate=certificate)


def idle(problem: SearchProblem) -> Searched:
    """A search that brings nothing: what was known before."""
    assert problem.known is not None
    return known(problem.known, problem.objective)


@pytest.mark.parametrize("name", ["latency", left("energy"), "edp"])
def test_the_best_of_all_cuts_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MIN_GAIN", 0.0)
    monkeypatch.setattr(policy, "MAX_EINSUMS_SEARCHED", 1000)
    objective = objective_called(name)
    program = Cascade.parse(TWO_LAYERS).program
    space = Mapspace.of(program, small(), SHAPES)
    cuts = [*every_cut(program)]
    assert len(cuts) == 8
    runs: dict[tuple[str, ...], EngineRun] = {}
    for names in {names for cut in cuts for names in cut}:
        part = excerpt(program, names)
        own = {r: n for r, n in SHAPES.items() if r in part.settable}
        runs[names] = made(Mapspace.of(part, small(), own), objective)

    def together(cut: tuple[tuple[str, ...], ...]) -> float:
        results = [runs[names].result for names in cut]
        cycles, energy = sum(r.cycles for r in results), sum(r.energy_pj for r in results)
        return {"latency": cycles, "energy": energy}.get(name, cycles * energy)

    one = known(runs[tuple(e.name for e in program.einsums)], objective)
    found = search_nests(SearchProblem(space, objective, 0.0), one, idle)
    value = objective.of(found.result)
    if name == "edp":
        # Cycles and energies of nests add up each by themselves: what is taken bounds it.
        assert value <= together((tuple(e.name for e in program.einsums),)) * (1 + 1e-12)
    else:
        assert value == pytest.approx(min(map(together, cuts)), rel=1e-12)
    assert found.certificate.bound <= min(map(together, cuts)) * (1 + 1e-12)
    assert found.certificate.floor <= found.certificate.bound * (1 + 1e-12)


def test_several_nests_are_taken_where_they_are_better_and_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    objective = objective_called("latency")
    program = Cascade.load("feed-forward").program
    shapes = {"N": 8, "D": 32, "S": 8}
    space = Mapspace.of(program, small(), shapes)
    fused = GENERATORS.fuse(program, space.architecture, shapes)
    one = known(run_mapping(space, fused, objective), objective)
    effort = replace(BRIEFLY, regions=1, sketches=1, subspaces=1, again=0)
    found = search_nests(
        SearchProblem(space, objective), one, lambda nest: exhaustive(nest, effort)
    )
    assert objective.of(found.result) < objective.of(one.result)
    assert len(found.mapping.nests) > 1
    assert found.certificate.strategy == "none, nest by nest"
    again = run_mapping(space, found.mapping, objective)
    assert again.value == objective.of(found.result)
    assert found.runner_up is not None
    assert found.runner_up.differences[0].what == "nests"
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    question = MappingKey(
        program=program, architecture=space.architecture, shapes=shapes, objective=objective.name
    )
    remember_search(question, found)
    before = recall_search(question, lambda _: space, objective, found.certificate.tolerance)
    assert before is not None
    assert before.mapping == found.mapping
    assert before.runner_up is not None
    assert before.runner_up.differences == found.runner_up.differences


@pytest.mark.slow
def test_the_best_in_one_nest_may_be_of_another_cascade() -> None:
    """One token on flat is soonest done in three passes, which know no chunks of keys."""
    small = ("--set", "seq_len=1", "--set", "batch=1", "--set", "H=2")
    result = run("simulate", "bert-base", "flat", *small, "--mapping", "auto", "--json")
    assert result.exit_code == 0, result.exception
