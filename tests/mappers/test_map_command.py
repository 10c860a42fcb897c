"""``archsim map`` and ``--mapping auto``: the contract of their output, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from brief_search import BRIEFLY as BRIEFLY_SEARCHED
from commands import refused, run

from archsim import Mapping
from archsim.spec.files.mapping_text import mapping_text
from einsum_cascade import Cascade

SMALL = (
    "--set",
    "batch=2",
    "--set",
    "H=2",
    "--set",
    "seq_len=512",
    "--set",
    "cascade=attention-naive",
)
BRIEFLY = ("--time-limit", "1 s")
"""For what does not depend on how good a mapping is."""

TOLD = {"certificate", "mapping_spec", "loop_nest", "limits", "runner_up", "history"}
"""What a search says beside a simulation's result."""

CERTIFICATE = {"strategy", "candidates", "evaluated", "pruned", "optimal", "gap"}


def mapped(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("map", *arguments, "--json").stdout)
    return found


def simulated(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("simulate", *arguments, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def fastest() -> dict[str, Any]:
    """What a search of little effort finds: as fast as the default at least."""
    with patch("mappers.cut.nest_search.USUAL", BRIEFLY_SEARCHED):
        return mapped("bert-base", "fusemax", *SMALL)


def test_json_is_a_simulation_with_a_certificate_and_a_mapping(fastest: dict[str, Any]) -> None:
    usual = simulated("bert-base", "fusemax", *SMALL)
    assert fastest.keys() == usual.keys() | TOLD
    certificate = fastest["certificate"]
    assert certificate.keys() >= CERTIFICATE
    assert certificate["evaluated"] + certificate["pruned"] == certificate["candidates"]
    assert sum(certificate["pruned_because"].values()) == certificate["pruned"]
    assert 0 <= certificate["gap"] < 1
    assert fastest["cycles"] <= usual["cycles"]


@pytest.mark.slow
def test_the_best_of_equals_is_named_for_the_objective_of_the_search() -> None:
    found = mapped("bert-base", "fusemax")
    assert found["mapping"] == found["mapping_spec"]["mapping"]["name"] == "best-latency"


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_the_mapping_can_be_simulated(fastest: dict[str, Any], ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{ending}"
    path.write_text(json.dumps(fastest["mapping_spec"]), encoding="utf-8")
    again = simulated("bert-base", "fusemax", *SMALL, "--mapping", str(path))
    assert again == {k: v for k, v in fastest.items() if k not in TOLD}


def test_the_winner_is_told_with_what_bounds_it_and_what_the_runner_up_lost(
    fastest: dict[str, Any], tmp_path: Path
) -> None:
    loops = fastest["loop_nest"].splitlines()
    assert loops[0].startswith("DRAM [Q ")
    assert sum(" on array_" in line for line in loops) >= len({*fastest["utilization"]})
    shares = {x["name"]: x["share"] for x in fastest["limits"]}
    assert shares[fastest["bound_by"]] > 0.5
    assert max(shares.values()) <= 1 + 1e-9
    other = fastest["runner_up"]
    assert other["cycles"] >= fastest["cycles"] * (1 - fastest["certificate"]["tolerance"])
    # It is what it says: another mapping that runs, of other shared loops.
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other["mapping_spec"]), encoding="utf-8")
    again = simulated("bert-base", "fusemax", *SMALL, "--mapping", str(path))
    assert (again["cycles"], again["energy_pj"]["total"]) == (other["cycles"], other["energy_pj"])
    assert any("loops at" in d["what"] for d in other["differences"])
    assert all(d["here"] != d["there"] for d in other["differences"])


def test_bound_and_best_meet_over_time(fastest: dict[str, Any]) -> None:
    history, certificate = fastest["history"], fastest["certificate"]
    for before, after in pairwise(history):
        assert before["seconds"] <= after["seconds"]
        assert before["runs"] <= after["runs"]
        assert before["bound"] <= after["bound"]
        assert before["best"] is None or before["best"] >= after["best"]
    assert all(m["best"] is None or m["bound"] <= m["best"] for m in history)
    near = certificate["tolerance"]
    assert history[-1]["best"] == pytest.approx(certificate["value"], rel=near)
    assert history[-1]["bound"] == pytest.approx(certificate["bound"], rel=near)


@pytest.mark.slow
def test_what_is_written_can_be_simulated_and_validated(tmp_path: Path) -> None:
    few = ("--set", "B=1", "--set", "H=1", "--set", "P=300", "--set", "M=520")
    run(
        "map",
        "bert-base",
        "fusemax",
        *few,
        "--objective",
        "energy",
        *BRIEFLY,
        "--out",
        str(tmp_path),
    )
    path = str(tmp_path / "mapping.yaml")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    again = simulated("bert-base", "fusemax", *few, "--mapping", path)
    assert again["energy_pj"] == result["energy_pj"]
    run("validate", "attention-1pass", "--mapping", path)


def test_the_mapping_of_ones_own_cascade_is_read_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of the cascade is as seen from the mapping's file, wherever that is read from."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(Cascade.load("log-softmax").text(), encoding="utf-8")
    few = ("--set", "N=64", "--set", "V=300")
    run(
        "map",
        "bert-base",
        "fusemax",
        "--set",
        "cascade=./mine.yaml",
        *few,
        *BRIEFLY,
        "--out",
        "deep/out",
    )
    found = Mapping.load("deep/out/mapping.yaml")
    assert Path(found.cascade).resolve() == tmp_path / "mine.yaml"
    monkeypatch.chdir("deep/out")
    set_ = ("--set", "cascade=../../mine.yaml", *few)
    again = simulated("bert-base", "fusemax", *set_, "--mapping", "./mapping.yaml")
    assert again["mapping"] == found.name
    # A path from the root is the same from everywhere.
    rooted = replace(found, cascade=str(tmp_path / "mine.yaml"))
    assert f"cascade: {tmp_path}/mine.yaml" in mapping_text(rooted, "deep/out")
    assert "cascade: log-softmax\n" in mapping_text(replace(found, cascade="log-softmax"), "out")


@pytest.mark.slow
def test_auto_is_the_fastest() -> None:
    fastest = mapped("bert-base", "fusemax", *SMALL)
    auto = simulated("bert-base", "fusemax", *SMALL, "--mapping", "auto")
    assert auto["cycles"] == fastest["cycles"]


@pytest.mark.slow
def test_objectives_are_what_they_say() -> None:
    few = ("--set", "cascade=log-softmax", "--set", "N=64", "--set", "V=300")
    found = {
        o: mapped("bert-base", "fusemax", *few, "--objective", o)
        for o in ("latency", "energy", "edp")
    }
    energy = {o: r["energy_pj"]["total"] for o, r in found.items()}
    cycles = {o: r["cycles"] for o, r in found.items()}
    near = 1 + 1e-3
    assert energy["energy"] == min(energy.values())
    assert cycles["latency"] <= min(cycles.values()) * near
    products = {o: energy[o] * cycles[o] for o in found}
    gap = found["edp"]["certificate"]["gap"]
    assert products["edp"] * (1 - gap) <= min(products.values()) * near


def test_nothing_is_worse_than_a_mapping_of_a_cascade_that_stands_in() -> None:
    """FLAT's machine is made for a cascade of three passes, not for the layer's own."""
    arguments = ("llama-3-8b", "flat-micro24", "--set", "phase=decode", "--set", "cached_len=4096")
    arguments = (*arguments, "--set", "scope=attention")
    assert mapped(*arguments, *BRIEFLY)["cycles"] <= simulated(*arguments)["cycles"]


def test_parts_of_a_block_have_mappings_of_their_own() -> None:
    few = (*SMALL, "--set", "scope=block", "--set", "model_width=128", "--set", "ffn_width=256")
    found = mapped("bert-base", "fusemax", *few, *BRIEFLY)
    parts = found["certificate"]["parts"]
    assert len(parts) == len(found["mapping_spec"]) > 1
    assert sum(p["candidates"] for p in parts) == found["certificate"]["candidates"]
    usual = simulated("bert-base", "fusemax", *few)
    assert found["cycles"] <= usual["cycles"]


@pytest.mark.slow
def test_a_mask_is_searched_aside_and_run_as_it_is() -> None:
    few = ("--set", "batch=1", "--set", "seq_len=1K")
    found = mapped("llama-3-8b", "fusemax", *few, *BRIEFLY)
    assert "aside" in found["certificate"]["strategy"]
    assert not found["certificate"]["optimal"]
    assert found["cycles"] <= simulated("llama-3-8b", "fusemax", *few)["cycles"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("map", "bert-base", "fusemax", "--objective", "enery"), 2, "Did you mean 'energy'?"),
        (("map", "bert-bse", "fusemax"), 2, "bert-base"),
        (("map", "bert-base", "fusemax", "--set", "mapping.name=x"), 2, "mapping.FIELD"),
        (
            ("simulate", "bert-base", "fusemax", "--mapping", "auto", "--mapping", "flat"),
            2,
            "give no other",
        ),
        (
            (
                *("map", "bert-base", "fusemax", "--set", "cascade=log-softmax"),
                *("--set", "N=64", "--set", "V=300"),
                *("--set", "architecture.memories.DRAM.capacity=1KiB"),
            ),
            3,
            "DRAM",
        ),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], code: int, says: str) -> None:
    assert says in refused(*arguments, code=code)


@pytest.mark.parametrize("machine", ["fusemax", "a100-80gb"])
def test_a_cascade_without_ranks_has_one_region(tmp_path: Path, machine: str) -> None:
    (tmp_path / "scalars.yaml").write_text(
        "cascade: scalars\ntitle: two numbers\nranks: []\ninputs: {A: [], B: []}\noutput: C\n"
        "einsums: C = exp(A - B)\n"
    )
    path = tmp_path / "work.yaml"
    path.write_text("workload: {name: two, cascade: scalars.yaml, shape: {}}")
    found = json.loads(run("map", str(path), machine, "--json").stdout)
    certificate = found["certificate"]
    assert 0 < certificate["floor"] <= found["cycles"]
    assert certificate["evaluated"] + certificate["pruned"] == certificate["candidates"]
