"""Mappings that were searched for are inputs of a row: what is remembered may change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import archsim
from archsim import Architecture, Mapping, simulate
from archsim.plan.parts import program_of
from archsim.sweeping.store import opened
from einsum_cascade.shapes import complete_shapes
from mappers.memory import MappingKey, remember
from workloads import load

WORK, MACHINE = "bert-base", "fusemax-micro24"


def _remembered(name: str) -> None:
    """What a search would leave: a written mapping of the part's cascade, with its choices."""
    machine = Architecture.load(MACHINE)
    (part,) = load(WORK, seq_len=256, batch=1).parts
    program = program_of(part, machine)
    given, _ = complete_shapes(program, part.shapes_for(program.settable))
    question = MappingKey(program=program, architecture=machine, shapes=given, objective="latency")
    remember(question, replace(Mapping.load(name), name=f"found-{name}"))


def _row(folder: Path, mapping: str, *, use_cache: bool = False) -> tuple[str, dict[str, Any]]:
    sweep = {
        "name": "remembered",
        "workload": WORK,
        "architecture": MACHINE,
        "mapping": mapping,
        "set": {"batch": 1},
        "axes": {"seq_len": [256]},
    }
    frame = archsim.sweep(sweep, folder, workers=1, use_cache=use_cache)
    with opened(folder) as store:
        row = store.row(0)
    assert row is not None
    inputs: dict[str, Any] = json.loads(row.inputs)
    assert frame["mapping"][0] == row.mapping
    assert row.status == "ok", row.message
    return row.key, inputs | {"latency_s": row.latency_s}


def test_what_is_remembered_is_told_and_makes_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))
    _remembered("fusemax-arch")
    first, told = _row(tmp_path / "first", "auto")
    assert told["mapping_spec"]["mapping"]["name"] == "found-fusemax-arch"
    assert _row(tmp_path / "again", "auto")[0] == first
    written = tmp_path / "mapping.json"
    written.write_text(json.dumps(told["mapping_spec"]), encoding="utf-8")
    same = simulate(load(WORK, seq_len=256, batch=1), MACHINE, Mapping.load(written))
    assert same.latency_s == told["latency_s"]
    _remembered("fusemax-binding")
    second, told = _row(tmp_path / "second", "auto")
    assert second != first
    assert told["mapping_spec"]["mapping"]["name"] == "found-fusemax-binding"
    asked = _row(tmp_path / "asked", "default", use_cache=True)[1]
    assert asked["mapping_spec"] == told["mapping_spec"]


def test_a_default_depends_on_no_earlier_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHSIM_CACHE", str(tmp_path / "cache"))
    fields: dict[str, Any] = {"seq_len": 256, "batch": 1}
    before, row = simulate(WORK, MACHINE, **fields), _row(tmp_path / "before", "default")
    _remembered("fusemax-binding")
    assert simulate(WORK, MACHINE, **fields) == before
    assert _row(tmp_path / "after", "default") == row
    assert simulate(WORK, MACHINE, use_cache=True, **fields) != before


def test_settings_of_a_mapping_that_no_file_states_are_refused(tmp_path: Path) -> None:
    """They were left out without a word, so that the row was that of other inputs."""
    sweep = {
        "name": "set",
        "workload": "bert-base",
        "architecture": "h100-sxm",
        "set": {"cascade": "click-attention", "mapping.schedule.lookahead": 2},
        "axes": {"seq_len": [64]},
    }
    (row,) = archsim.sweep(sweep, tmp_path, workers=1).to_dict("records")
    assert row["status"] == "refused"
    assert "no mapping is written for this cascade" in row["message"]
