"""``archsim schema``: every file that ships is valid, and what is wrong with one is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from jsonschema import Draft202012Validator
from places import ROOT

from archsim.cli.schema import KINDS, schema_of
from einsum_cascade.number_formats import FORMATS
from einsum_cascade.yaml.library import read_source
from einsum_cascade.yaml.source import read_yaml

FOLDERS = {
    "architecture": "architectures",
    "cascade": "cascades",
    "mapping": "mappings",
    "reproduction": "reproductions",
    "technology": "technology",
    "workload": "workloads",
}


def content(path: Path) -> Any:
    return read_yaml(read_source(path)).plain()


def wrong(kind: str, value: Any) -> list[str]:
    return [e.message for e in Draft202012Validator(schema_of(kind)).iter_errors(value)]


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_file_that_ships_is_valid(kind: str) -> None:
    files = sorted((ROOT / "specs" / FOLDERS[kind]).glob("*.yaml"))
    validator = Draft202012Validator(schema_of(kind))
    assert files
    found = {p.name: [e.message for e in validator.iter_errors(content(p))] for p in files}
    assert {name: errors for name, errors in found.items() if errors} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_it_prints_a_schema(kind: str) -> None:
    schema = json.loads(run("schema", kind).stdout)
    Draft202012Validator.check_schema(schema)
    assert schema == schema_of(kind)
    # Every name that is referred to is there, and none is a name of our own code.
    text = json.dumps(schema)
    assert re.search(r"\wFields|\"Fields\"", text) is None
    for name in {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}:
        assert name in schema["$defs"]


WITHOUT_WORDS = {*FORMATS, *"BHEFPM", "from"}
"""Fields whose name says all, or that their page explains."""


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"cascade", "reproduction"}))
def test_it_says_what_every_field_is(kind: str) -> None:
    silent = {
        f"{name}.{field}"
        for name, definition in schema_of(kind)["$defs"].items()
        for field, schema in definition.get("properties", {}).items()
        if field not in WITHOUT_WORDS and not schema.get("description")
    }
    assert silent <= {"PhaseTask.einsum", "PhaseTask.shift"}


def test_a_sweep_is_valid_as_its_page_shows_it() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    from einsum_cascade.source import Source

    text = page.split("```yaml\n")[1].split("```")[0]
    given = read_yaml(Source("page", text)).plain()
    assert wrong("sweep", given) == []
    given["sweep"]["axes"]["buffer"]["stop"] = 3
    assert wrong("sweep", given)
    assert wrong("sweep", {"sweep": {"name": "x", "axes": {}}})


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("architecture", "fusemax", ("architecture", "clok"), "1 GHz"),
        ("architecture", "fusemax", ("architecture", "clock"), ["1 GHz"]),
        ("architecture", "fusemax", ("architecture", "arrays"), []),
        ("mapping", "fusemax-binding", ("mapping", "schedule", "kind"), "pipeline"),
        ("mapping", "fusemax-binding", ("mapping", "nest"), "DRAM"),
        ("technology", "accelergy-45nm", ("technology", "actions", "exp", "enrgy"), 1),
        ("workload", "bert-base", ("workload", "sequence"), "4K"),
        ("workload", "bert-base", ("workload", "E"), [64]),
        ("cascade", "attention-1pass", ("enisums",), ""),
        ("cascade", "attention-1pass", ("ranks", "M"), {"iz": "keys"}),
    ],
)  # fmt: skip
def test_a_slip_is_no_valid_file(kind: str, name: str, path: tuple[str, ...], value: Any) -> None:
    given = content(ROOT / "specs" / FOLDERS[kind] / f"{name}.yaml")
    assert wrong(kind, given) == []
    place = given
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = value
    assert wrong(kind, given)


def test_constraints_say_one_or_several() -> None:
    einsums = {"BQK": {"array": "matrix", "spatial": {"rows": ["M0"]}, "innermost": "E"}}
    assert wrong("constraints", {"constraints": {"einsums": einsums, "shared": "M1"}}) == []
    assert wrong("constraints", {"constraints": {"einsum": einsums}})
    for size in (64, {"at_least": 2}, {"at_least": 2, "at_most": 64}):
        spatial = {"columns": "P", "rows": {"E": size}}
        sized = {"tiles": {"nearest": {"P": size}}, "einsums": {"BQK": {"spatial": spatial}}}
        assert wrong("constraints", {"constraints": sized}) == []
    assert wrong("constraints", {"constraints": {"tiles": {"nearest": {"P": {"at_leest": 2}}}}})
    assert wrong("constraints", {"constraints": {"tiles": {"nearest": {"P": 0}}}})


def test_a_kind_that_is_not_there_has_a_nearest_one() -> None:
    assert "Did you mean 'mapping'?" in refused("schema", "mappings")
