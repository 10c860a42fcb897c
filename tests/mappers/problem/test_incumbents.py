"""Mappings that are known before a search, and those that are only made where it needs them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from brief_search import BRIEFLY

from archsim import Architecture, Mapping
from archsim.plan.defaults import KnownMapping
from mappers.problem.certificate import Certificate, Searched
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.incumbents import Incumbents, incumbents_of, space_of
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import SearchProblem, never
from mappers.views.reports import search_report
from mappers.workload_search import search_workload
from workloads import load

PART = load("bert-base", ("seq_len=4K", "batch=2", "H=2")).parts[0]
MACHINE = Architecture.load("fusemax")
PROBLEM = SearchProblem(space_of(PART, MACHINE), objective_called("latency"), is_over=never)


def none_is_wanted() -> Mapping:
    """What is not to be made."""
    raise AssertionError("it is dear to make, and nobody needs it")


def searched(run: EngineRun) -> Searched:
    """A run, as what a search found that proved nothing but the floor."""
    floor = PROBLEM.objective.floor(run.result)
    certificate = Certificate(
        strategy="one",
        objective="latency",
        candidates=1,
        evaluated=1,
        reasons=(),
        runs=1,
        gap=1 - floor / run.value,
        tolerance=PROBLEM.tolerance,
        value=run.value,
        floor=floor,
    )
    return Searched(mapping=run.mapping, result=run.result, certificate=certificate)


@pytest.fixture(scope="module", name="known")
def known_without_dear_ones() -> Incumbents:
    """What is known of attention on the machine that its mapping was written for."""
    return incumbents_of(PART, PROBLEM, ())


def test_what_is_dear_is_deferred_where_a_plain_run_would_not_make_it(known: Incumbents) -> None:
    assert known.best is not None
    assert [one.name for one in known.deferred] == ["beam", "fused"]
    assert not {"fused", "beam"}.intersection(run.mapping.name for run in known.runs)
    assert [run.value for run in known.runs] == sorted(run.value for run in known.runs)


def test_for_energy_all_are_made() -> None:
    part = load("bert-base", ("seq_len=32", "batch=1", "H=1")).parts[0]
    problem = SearchProblem(space_of(part, MACHINE), objective_called("energy"))
    found = incumbents_of(part, problem, ())
    assert not found.deferred
    assert "fused" in [run.mapping.name for run in found.runs]


def test_it_is_made_where_what_was_found_is_far_from_its_floor(known: Incumbents) -> None:
    best = known.best
    slow = max(known.runs, key=lambda run: run.value)
    assert best is not None
    assert best.value <= 1.1 * PROBLEM.objective.floor(best.result) < slow.value
    dear = KnownMapping("dear", lambda: best.mapping, beyond=2)
    late, runs = replace(known, deferred=(dear,)).or_deferred(searched(slow))
    assert late.mapping is best.mapping
    assert late.result == run_mapping(PROBLEM.space, best.mapping, PROBLEM.objective).result
    assert [run.mapping for run in runs] == [best.mapping]
    assert late.certificate.value == best.value
    assert late.certificate.bound == pytest.approx(PROBLEM.objective.floor(slow.result))
    worse = KnownMapping("worse", lambda: slow.mapping, beyond=2)
    medium = replace(searched(slow), mapping=replace(slow.mapping, name="found"))
    assert replace(known, deferred=(worse,)).or_deferred(medium)[0] is medium


def test_it_is_not_made_near_the_floor_nor_when_time_is_up(known: Incumbents) -> None:
    best, slow = known.best, max(known.runs, key=lambda run: run.value)
    assert best is not None
    dear = replace(known, deferred=(KnownMapping("dear", none_is_wanted, beyond=2),))
    at_its_floor = replace(PROBLEM.objective, floor=lambda _: best.value / 1.009)
    near = replace(dear, problem=replace(PROBLEM, objective=at_its_floor))
    assert near.or_deferred(searched(best)) == (searched(best), ())
    with pytest.raises(AssertionError, match="dear to make"):
        dear.or_deferred(searched(slow))
    ended = searched(slow)
    ended = replace(ended, certificate=replace(ended.certificate, ended="time limit"))
    assert dear.or_deferred(ended) == (ended, ())


@pytest.mark.slow
def test_what_is_not_legal_here_is_told() -> None:
    """A built-in mapping that was dropped without a word hid a fault of the search."""
    narrow = Architecture.load("fusemax", ["memories.global_buffer.capacity=100 KiB"])
    work = load("bert-base", ("seq_len=512", "batch=1", "H=1"))
    found = search_workload(work, narrow, objective_called("latency"), effort=BRIEFLY)
    refused = {r.mapping: r.reason for r in found.parts[0].refused}
    assert "global_buffer needs" in refused["fusemax-binding"]
    assert "could not begin with 'fusemax-binding'" in str(search_report(found))
    run = incumbents_of(PART, PROBLEM, ()).refused
    assert "fusemax-binding" not in [r.mapping for r in run]
