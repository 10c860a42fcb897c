"""A time limit covers all of a search but the default mappings, which every search begins with."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

import pytest
from click.testing import CliRunner

from archsim import Architecture, simulate
from archsim.cli.application import archsim
from mappers import workload_search
from mappers.exact import policy
from mappers.memory import VARIABLE
from mappers.pareto.front_search import search_front
from mappers.problem.certificate import TIME_LIMIT
from mappers.problem.objectives import OBJECTIVES
from mappers.views.reports import search_report
from mappers.workload_search import search_workload
from workloads import load

AT_ONCE_S = 1e-9
SMALL = ("batch=2", "H=2", "seq_len=256")
ATTENTION = load("bert-base", SMALL)
BLOCK = load("bert-base", (*SMALL, "scope=block", "model_width=128", "ffn_width=256"))
LATENCY = OBJECTIVES["latency"]
TPU, FUSEMAX = Architecture.load("tpu-v4i"), Architecture.load("fusemax")


@pytest.mark.parametrize(
    "name", ["latency", *(pytest.param(n, marks=pytest.mark.slow) for n in ("energy", "edp"))]
)
def test_a_search_without_time_is_no_worse_than_the_default(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first known mapping took 6.4 times the cycles of the default on this machine."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    objective = OBJECTIVES[name]
    for work, machine in ((ATTENTION, TPU), (BLOCK, FUSEMAX)):
        found = search_workload(work, machine, objective, time_limit_s=AT_ONCE_S)
        assert objective.of(found.result) <= objective.of(simulate(work, machine))
        assert found.certificate()["ended"] == TIME_LIMIT
        assert {p.found.certificate.ended for p in found.parts} == {TIME_LIMIT}
        assert found.certificate()["candidates"] == 0
        assert TIME_LIMIT in str(search_report(found))
    assert not [*tmp_path.glob("mappings/*")]


def test_parts_that_run_at_a_time_have_the_mappings_of_parts_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(policy, "FORK_AFTER_S", 0)
    forked, alone = [], []
    for workers, found in ((2, forked), (1, alone)):
        monkeypatch.setattr(workload_search, "usual_workers", lambda workers=workers: workers)
        searched = search_workload(BLOCK, TPU, LATENCY, time_limit_s=AT_ONCE_S)
        found += [(p.name, p.found.mapping, p.found.result.cycles) for p in searched.parts]
    assert len(alone) > 2
    assert forked == alone


def test_a_front_without_time_has_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    front = search_front(ATTENTION, TPU, time_limit_s=AT_ONCE_S)
    assert (front.ended, front.searches) == (TIME_LIMIT, 0)
    assert front.points[0].result.cycles <= simulate(ATTENTION, TPU).cycles


def test_the_time_before_the_command_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    sizes = (word for size in SMALL for word in ("--set", size))
    asked = ["map", "bert-base", "fusemax", *sizes, "--time-limit", "3600 s", "--json"]
    said = CliRunner().invoke(archsim, asked, obj=monotonic() - 3600)
    certificate = json.loads(said.stdout)["certificate"]
    assert (certificate["ended"], certificate["candidates"]) == (TIME_LIMIT, 0)


def test_a_part_that_its_time_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word such a result would be kept, and stand in for a longer search."""
    monkeypatch.setenv(VARIABLE, "")
    found = search_workload(BLOCK, Architecture.load("tpu-v1"), LATENCY, time_limit_s=AT_ONCE_S)
    assert {p.found.certificate.ended for p in found.parts} == {TIME_LIMIT}
