"""What a search found is found again, for the very same problem and for no other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import run

from archsim import Architecture, compare, simulate
from einsum_cascade import Cascade
from mappers.exact.policy import BRIEF
from mappers.memory import VARIABLE, MappingKey, recall, remember
from mappers.problem.certificate import TIME_LIMIT
from mappers.problem.objectives import objective_called
from mappers.workload_search import best_mappings, search_workload
from workloads import load

pytestmark = pytest.mark.slow

SMALL = ("--set", "seq_len=256", "--set", "batch=1", "--set", "H=2")
NAIVE = "attention-naive"
"""A cascade of few Einsums: its search is short."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where mappings are kept in this test."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "mappings"


def cycles(*arguments: str) -> float:
    """Of a simulation by the command line."""
    return float(json.loads(run("simulate", *arguments, "--json").stdout)["cycles"])


def question(**changes: object) -> MappingKey:
    asked = MappingKey(
        program=Cascade.load("attention-1pass").program,
        architecture=Architecture.load("fusemax"),
        shapes={"P": 1024, "M": 1024},
        objective="latency",
    )
    return replace(asked, **changes)


def test_each_part_of_a_problem_is_in_its_key() -> None:
    machine = Architecture.load("fusemax", ["memories.DRAM.bandwidth=401 GiB/s"])
    asked = [
        question(),
        question(program=Cascade.load("attention-3pass").program),
        question(architecture=machine),
        question(shapes={"P": 1024, "M": 1025}),
        question(objective="energy"),
    ]
    assert len({q.key for q in asked}) == len(asked)
    assert question(shapes={"M": 1024, "P": 1024}).key == question().key
    moved = replace(Architecture.load("fusemax"), source="elsewhere.yaml")
    assert question(architecture=moved).key == question().key


def test_a_search_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = load("bert-base", seq_len=256, batch=1, H=2, cascade=NAIVE)
    machine = Architecture.load("fusemax")
    first = search_workload(work, machine, objective_called("latency"))
    assert len(list(folder.glob("*.json"))) == 1
    # All that it told is told again, and nothing is searched.
    monkeypatch.setattr("mappers.relax.search.exhaustive", None)
    told = search_workload(work, machine, objective_called("latency"))
    again, before = told.to_dict(), first.to_dict()
    assert again["certificate"].pop("remembered")
    assert again == before
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, str(folder.parent))
    monkeypatch.setattr("mappers.workload_search.search_workload", None)
    found = simulate(work, machine, best_mappings(work, machine))
    assert found.cycles == first.result.cycles
    # A run that names no mapping may take it where it is asked to.
    default = simulate(work, machine, use_cache=True)
    assert default.cycles <= first.result.cycles
    assert any("earlier search" in note for note in default.notes)
    compared = compare(work, [machine, "fusemax-micro24"], mappings={"fusemax": "auto"})
    assert compared.rows[0].result.cycles == first.result.cycles


def test_what_was_found_in_haste_is_not_remembered(folder: Path) -> None:
    work = load("bert-base", seq_len=256, batch=1, H=2, cascade=NAIVE)
    machine, latency = Architecture.load("fusemax"), objective_called("latency")
    hasty = search_workload(work, machine, latency, time_limit_s=1e-9)
    assert hasty.parts[0].found.certificate.ended == TIME_LIMIT
    tried = search_workload(work, machine, latency, effort=BRIEF)
    assert not tried.parts[0].found.certificate.ended
    assert not list(folder.glob("*.yaml"))


def test_the_command_says_the_same_from_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cycles("bert-base", "fusemax", *SMALL, "--set", f"cascade={NAIVE}", "--mapping", "auto")
    assert list(folder.glob("*.yaml"))
    monkeypatch.setattr("mappers.workload_search.search_workload", None)
    assert (
        cycles("bert-base", "fusemax", *SMALL, "--set", f"cascade={NAIVE}", "--mapping", "auto")
        == first
    )


def test_a_cascade_of_ones_own_is_remembered_under_its_equations(
    folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(Cascade.load(NAIVE).text(), encoding="utf-8")
    work = load("bert-base", seq_len=256, batch=1, H=2, cascade=str(own))
    machine = Architecture.load("fusemax")
    first = search_workload(work, machine, objective_called("latency"))
    assert list(folder.glob("*.yaml"))
    assert simulate(work, machine, best_mappings(work, machine)).cycles == first.result.cycles


def test_what_cannot_be_kept_or_read_is_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, work = Architecture.load("fusemax"), load("bert-base", seq_len=256, batch=1, H=2)
    latency = objective_called("latency")
    mapping = search_workload(work, machine, latency, time_limit_s=1).mappings[0]
    asked = question()
    monkeypatch.setenv(VARIABLE, "/dev/null/nowhere")
    remember(asked, mapping)
    assert recall(asked) is None
    monkeypatch.setenv(VARIABLE, "")
    remember(asked, mapping)
    assert recall(asked) is None
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    remember(asked, mapping)
    assert recall(asked) == mapping
    (file,) = (tmp_path / "mappings").iterdir()
    whole = file.read_text(encoding="utf-8")
    file.write_text("mapping: {name: [broken", encoding="utf-8")
    assert recall(asked) is None
    # Cut at the end of a line it may be a mapping, which lacks an Einsum or keeps something else.
    for lines in range(whole.count("\n")):
        file.write_text("\n".join(whole.split("\n")[:lines]), encoding="utf-8")
        assert recall(asked) is None
    file.write_text(whole, encoding="utf-8")
    assert recall(asked) == mapping


def test_compare_searches_for_each_machine_after_it_is_scaled() -> None:
    asked = (
        "compare",
        "bert-base",
        "fusemax-micro24",
        "flat-micro24",
        *SMALL,
        "--set",
        "cascade=attention-naive",
        "--iso-area",
        "--json",
    )
    plain, searched = (
        [row["cycles"] for row in json.loads(run(*asked, *how).stdout)["rows"]]
        for how in ((), ("--mapping", "auto"))
    )
    assert all(a <= b for a, b in zip(searched, plain, strict=True))
    assert searched != plain
    both = run(
        *("compare", "bert-base", "fusemax", "flat", "--mapping", "auto"),
        *("--mapping", "flat=flat"),
    )
    assert both.exit_code == 2
    assert "for every machine" in both.output
