"""The index of built-in mappings and references says what the files themselves say."""

from __future__ import annotations

from pathlib import Path

import pytest
from portions import some

from archsim import Architecture, simulate
from archsim.spec import index
from archsim.spec.files import load as reading
from archsim.spec.files.mapping import build_mapping
from archsim.spec.index import (
    builtin_mappings,
    compute_the_same,
    interchangeable_entries,
    mapping_entries,
    reference_of,
)
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import CascadeError
from einsum_cascade.yaml.library import builtin_names
from einsum_cascade.yaml.source import YamlNode
from workloads import load


def test_every_entry_is_what_the_whole_file_says() -> None:
    for entry in builtin_mappings():
        whole = entry.load()
        assert (whole.name, whole.cascade, whole.schedule.kind) == (
            entry.name,
            entry.cascade,
            entry.schedule,
        )
    assert sorted(entry.name for entry in builtin_mappings()) == [*builtin_names("mappings")]


def test_pipelined_ones_come_first_then_by_name() -> None:
    order = [(entry.schedule != "pipelined", entry.name) for entry in builtin_mappings()]
    assert order == sorted(order)
    assert mapping_entries("attention-3pass") == tuple(
        entry for entry in builtin_mappings() if entry.cascade == "attention-3pass"
    )


@pytest.mark.parametrize("name", some(builtin_names("cascades"), 8))
def test_a_reference_is_what_the_whole_cascade_names(name: str) -> None:
    assert reference_of(name) == Cascade.load(name).program.reference


def test_a_file_has_the_reference_it_names_and_no_mapping_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(Cascade.load("attention-1pass").text(), encoding="utf-8")
    assert compute_the_same(str(path), "attention-3pass")
    assert mapping_entries(str(path)) == ()
    assert interchangeable_entries(str(path)) == interchangeable_entries("attention-1pass")


def test_an_unknown_cascade_is_told() -> None:
    with pytest.raises(CascadeError, match="there is no built-in cascade 'attention-9pass'"):
        interchangeable_entries("attention-9pass")


def test_a_schedule_over_several_lines_is_read() -> None:
    """Fields below a head belong to it; comments and later fields do not."""
    text = """mapping:
  name: x  # comment
  cascade: some-cascade
  schedule:
    kind: phases

    groups: [[A]]
  keep: {cascade: 1}
"""
    found = index._fields(index.Source("x", text), ("cascade", "schedule"), indent=2)
    assert found == {"cascade": "some-cascade", "schedule": {"kind": "phases", "groups": [["A"]]}}


def test_loading_an_entry_is_loading_by_name() -> None:
    entry = builtin_mappings()[0]
    assert entry.load() == Mapping.load(entry.name)


def test_a_run_without_a_mapping_reads_the_one_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is near the floor is taken without a look at others."""
    read: list[str] = []

    def building(root: YamlNode) -> Mapping:
        found = build_mapping(root)
        read.append(found.name)
        return found

    monkeypatch.setattr(reading, "build_mapping", building)
    reading._built_in.cache_clear()
    result = simulate(load("bert-base", seq_len=4096), Architecture.load("fusemax"))
    assert read == ["fusemax-binding"] == [result.mapping]
