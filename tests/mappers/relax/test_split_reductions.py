"""Cascades whose sums may be in parts over cores are searched where that promises more."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from brief_search import BRIEFLY

from archsim import Architecture, simulate
from archsim.plan.parts import PartProblem
from archsim.plan.selection import derived_mapping, promising_split_reductions, recalled_mapping
from archsim.spec.mapping import SpatialRank
from mappers import workload_search
from mappers.construct.generators import GENERATORS, WITH_CACHE
from mappers.cut import nest_search
from mappers.cut.nest_search import SplitReductions
from mappers.exact.policy import Effort
from mappers.local import policy
from mappers.memory import VARIABLE
from mappers.problem.certificate import INTERRUPTED, Searched
from mappers.problem.engine_run import run_mapping
from mappers.problem.incumbents import Incumbents, space_of
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import Progress, SearchProblem, silent
from mappers.relax.relaxation import Family, answer
from mappers.relax.search import BestMapping
from mappers.workload_search import search_workload
from workloads import load
from workloads.parts.part import Part

LATENCY = objective_called("latency")
OTHER = "mla-absorbed-2pass"
SPREAD = tuple(SpatialRank(instances="sms", rank=r, parts=4) for r in ("H", "M"))
WORK = """
workload:
  name: latents
  cascade: mla-absorbed
  shape: {B: 1, H: 16, D: 16, R: 8, L: 32, F: 16, P: 1, M: 1024}
"""


@pytest.fixture
def part(tmp_path: Path) -> Part:
    (tmp_path / "latents.yaml").write_text(WORK)
    (found,) = load(tmp_path / "latents.yaml").parts
    return found


def cores(*settings: str) -> Architecture:
    """16 cores that share an L2 that is no faster than the memory outside of it."""
    given = ("bandwidth=3350 GB/s", "instances.sms=16", *settings)
    return Architecture.load("h100-sxm", [f"memories.L2.{s}" for s in given])


def test_what_is_found_of_another_cascade_is_known(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
        """What is made for one way to spread, for a search of all."""
        machine = problem.space.architecture
        search = BestMapping(effort, problem, progress, Family())
        mapping = derived_mapping(PartProblem(part, machine, GENERATORS, OTHER), (("L2", SPREAD),))
        run = run_mapping(problem.space, mapping, problem.objective)
        if problem.known is None or run.value < problem.known.value:
            search.best = replace(run, mapping=replace(mapping, cascade="whatever"))
        return search.answer()

    monkeypatch.setattr(nest_search, "search_multi_core", first)
    problem = SearchProblem(space_of(part, cores()), LATENCY)
    nothing = Incumbents(part=part, problem=problem, runs=())
    searches = SplitReductions(BRIEFLY, part, problem, nothing, silent)
    known = answer(searches)
    assert known.best is not None
    assert known.best.mapping.cascade == OTHER
    assert run_mapping(space_of(part, cores(), OTHER), known.best.mapping, LATENCY) == known.best
    # Nothing is better than what is found: it is not known twice, but what was done counts.
    more = SplitReductions(BRIEFLY, part, problem, known, silent)
    again = answer(more)
    assert again.runs == known.runs
    (certificate,) = more.certificates
    own = replace(certificate, runs=3, candidates=5, reasons=(("why", 5),))
    both = own.with_effort_of(searches.certificates)
    assert (both.runs, both.candidates, both.reasons) == (3, 5, (("why", 5),))
    assert both.with_effort_of(more.certificates).candidates == 5 + certificate.candidates


def test_an_interrupted_search_of_another_cascade_ends_the_whole(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
        search = BestMapping(effort, problem, progress, Family())
        machine = problem.space.architecture
        mapping = derived_mapping(PartProblem(part, machine, GENERATORS, OTHER), (("L2", SPREAD),))
        search.best = run_mapping(problem.space, mapping, problem.objective)
        found = search.answer()
        return replace(found, certificate=replace(found.certificate, ended=INTERRUPTED))

    monkeypatch.setattr(nest_search, "search_multi_core", interrupted)
    monkeypatch.setattr(nest_search, "promising_split_reductions", lambda *_: (OTHER, OTHER))
    problem = SearchProblem(space_of(part, cores()), LATENCY)
    nothing = Incumbents(part=part, problem=problem, runs=())
    searches = SplitReductions(BRIEFLY, part, problem, nothing, silent)
    answer(searches)
    (certificate,) = searches.certificates
    assert searches.ended == INTERRUPTED
    # What was not searched to its end is not remembered as if it had been.
    own = replace(certificate, ended="")
    assert own.with_effort_of(searches.certificates).ended == INTERRUPTED


def test_keys_are_in_parts_where_each_core_would_read_all_of_them(part: Part) -> None:
    assert promising_split_reductions(PartProblem(part, cores(), GENERATORS)) == (OTHER,)
    assert promising_split_reductions(PartProblem(part, cores("multicast=true"), GENERATORS)) == ()
    assert (
        promising_split_reductions(PartProblem(part, cores("bandwidth=900 TB/s"), GENERATORS)) == ()
    )
    assert (
        promising_split_reductions(PartProblem(part, Architecture.load("fusemax"), GENERATORS))
        == ()
    )


def test_what_is_found_of_another_cascade_is_remembered(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[str] = []

    def spread(effort: Effort, problem: SearchProblem, progress: Progress) -> Searched:
        """What is made for one way to spread, of the other cascade; what is known, of its own."""
        searches.append(problem.space.program.name)
        search = BestMapping(effort, problem, progress, Family())
        if problem.space.program.name == OTHER:
            machine = problem.space.architecture
            mapping = derived_mapping(
                PartProblem(part, machine, GENERATORS, OTHER), (("L2", SPREAD),)
            )
            search.best = run_mapping(problem.space, mapping, problem.objective)
        return search.answer()

    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(nest_search, "search_multi_core", spread)
    monkeypatch.setattr(policy, "MAX_CHANGES", 0)
    # Defaults take long to make.
    none = partial(Incumbents, runs=())
    monkeypatch.setattr(
        workload_search, "incumbents_of", lambda part, problem, _: none(part=part, problem=problem)
    )
    monkeypatch.setattr(workload_search, "default_run", lambda part, problem: None)
    work, machine = load(tmp_path / "latents.yaml"), cores()
    found, again = (search_workload(work, machine, LATENCY) for _ in range(2))
    assert searches == [OTHER, "mla-absorbed"]
    assert [s.certificate().get("remembered", False) for s in (found, again)] == [False, True]
    for searched in (found, again):
        (its,) = searched.parts
        assert its.found.mapping.cascade == OTHER
    assert again.result.cycles == found.result.cycles
    # Who asks for what is known is given it, too.
    recalled = recalled_mapping(PartProblem(part, machine, WITH_CACHE))
    assert recalled is not None
    assert recalled.cascade == OTHER
    assert simulate(work, machine, recalled).cycles == found.result.cycles
