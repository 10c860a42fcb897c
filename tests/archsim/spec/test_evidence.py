"""Evidence for the numbers of a machine: who states them, and what files and settings change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from commands import refused, run

from archsim import Architecture
from archsim.spec.evidence import Evidence
from archsim.spec.files.load import MachineCache
from archsim.spec.overrides import parse_overrides
from einsum_cascade.errors import SpecError
from einsum_cascade.yaml.library import builtin_names

MACHINE = """\
architecture:
  name: tiny
  technology: jouppi-7nm
  clock: 1 GHz
  word: 16 bit
  memories:
    - {name: pool, bandwidth: 100 GB/s, line: 64 bit, energy: dram_lpddr5, instances: {tiles: 2}}
    - {name: scratch, capacity: 2 MiB, line: 1024 bit, energy: sram}
  operations:
    few:
      mac: {cycles: 1, bill: {mac: 1}}
      exp: {fp16: {cycles: 2, bill: {exp: 1}}}
  arrays:
    - {name: grid, shape: {across: 4, down: 8}, registers: {depth: 16}, operations: {extends: few}}
"""
EVIDENCE = """\
  evidence:
    measured: memories.pool.bandwidth
    published: [clock, memories, arrays.grid.shape.down]
    derived: [arrays.grid.shape]
    assumed: [word, memories.scratch, arrays.grid]
"""


def write(folder: Path, text: str, name: str = "tiny.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tmp_path, MACHINE + EVIDENCE)


@pytest.mark.parametrize("name", builtin_names("architectures"))
def test_every_number_that_ships_has_evidence(name: str) -> None:
    machine = Architecture.load(name)
    unstated = [path for path in machine.evidence.numbers if machine.evidence_of(path) is None]
    assert unstated == []
    assert {"clock", "word"} < {*machine.evidence.numbers}
    measured = machine.evidence_of("measured")
    assert (measured is None) == (machine.losses is None)


def test_numbers_are_called_as_in_settings(tiny: Path) -> None:
    machine = Architecture.load(tiny)
    assert machine.evidence.numbers == (
        "clock",
        "word",
        "memories.pool.line",
        "memories.pool.bandwidth",
        "memories.pool.instances.tiles",
        "memories.scratch.line",
        "memories.scratch.capacity",
        "arrays.grid.shape.across",
        "arrays.grid.shape.down",
        "arrays.grid.registers.depth",
        "arrays.grid.operations.mac.cycles",
        "arrays.grid.operations.mac.bill.mac",
        "arrays.grid.operations.exp.fp16.cycles",
        "arrays.grid.operations.exp.fp16.bill.exp",
    )
    for path in machine.evidence.numbers:
        unit = {"clock": " GHz", "bandwidth": " GB/s", "capacity": " KiB", "line": " bit"}
        value = f"128{unit.get(path.rpartition('.')[2], '')}" if path != "word" else "8 bit"
        changed = Architecture.load(tiny, [f"{path}={value}"])
        assert replace(changed, evidence=Evidence()) != replace(machine, evidence=Evidence()), path
        assert changed.evidence_of(path) == "assumed"
        assert changed.evidence.numbers == machine.evidence.numbers


def test_the_longest_path_wins(tiny: Path) -> None:
    machine = Architecture.load(tiny)
    found = {path: machine.evidence_of(path) for path in machine.evidence.numbers}
    assert found["clock"] == "published"
    assert found["memories.pool.bandwidth"] == "measured"
    assert found["memories.pool.instances.tiles"] == "published"
    assert found["memories.scratch.capacity"] == "assumed"
    assert found["arrays.grid.shape.across"] == "derived"
    assert found["arrays.grid.shape.down"] == "published"
    assert found["arrays.grid.operations.exp.fp16.cycles"] == "assumed"
    assert machine.evidence_of("memories.pools") == "published"
    assert machine.evidence_of("memory") is None


def test_nothing_is_stated_without_the_section(tmp_path: Path) -> None:
    machine = Architecture.load(write(tmp_path, MACHINE))
    assert machine.evidence_of("clock") is None
    assert machine.evidence.counts() == (("not stated", 14),)
    changed = Architecture.load(tmp_path / "tiny.yaml", ["operations.few.mac.cycles=2"])
    assert changed.evidence.counts() == (("assumed", 1), ("not stated", 13))
    assert changed.evidence_of("arrays.grid.operations.mac.cycles") == "assumed"


def test_evidence_makes_no_other_machine(tiny: Path, tmp_path: Path) -> None:
    without = Architecture.load(write(tmp_path, MACHINE, "plain.yaml"))
    machine = Architecture.load(tiny)
    assert machine == without
    assert hash(machine) == hash(without)
    assert repr(replace(machine, source="")) == repr(replace(without, source=""))


def test_a_machine_with_other_sizes_tells_what_was_set(tiny: Path) -> None:
    cache = MachineCache()
    for size in ("80 GB/s", "90 GB/s"):
        setting = f"memories.pool.bandwidth={size}"
        machine = cache.machine(str(tiny), parse_overrides([f"architecture.{setting}"]))
        expected = Architecture.load(tiny, [setting])
        assert machine == expected
        kinds = [[m.evidence_of(path) for path in m.evidence.numbers] for m in (machine, expected)]
        assert kinds[0] == kinds[1]
        assert machine.evidence_of("memories.pool.bandwidth") == "assumed"
        assert machine.evidence_of("memories.pool.line") == "published"


# ------------------------------------------------------------------------------- what is merged


def test_the_file_that_extends_wins_for_its_paths(tiny: Path, tmp_path: Path) -> None:
    text = """\
architecture:
  extends: tiny.yaml
  name: more
  tdp: 5 W
  memories: {pool: {bandwidth: 200 GB/s}, scratch: {capacity: 1 MiB}}
  evidence:
    published: [tdp, memories.scratch.capacity]
    assumed: arrays.grid.shape
"""
    machine = Architecture.load(write(tmp_path, text, "more.yaml"))
    assert machine.evidence_of("tdp") == "published"
    assert machine.evidence_of("memories.scratch.capacity") == "published"
    assert machine.evidence_of("memories.scratch.line") == "assumed"
    # A section that is stated covers the base's entries below it.
    assert machine.evidence_of("arrays.grid.shape.down") == "assumed"
    # The evidence of the base is not evidence for a number that is given again.
    assert machine.evidence_of("memories.pool.bandwidth") == "assumed"
    assert machine.evidence_of("clock") == "published"


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ("evidence: null", [None, None, None]),
        ("evidence: {published: null}", [None, None, "assumed"]),
        ("evidence: {derived: clock}", ["derived", "published", "assumed"]),
        ("memories: {pool: {bandwidth: null}}", ["published", "published", "assumed"]),
    ],
)
def test_what_a_base_states_may_go(tiny: Path, evidence: str, expected: list[str | None]) -> None:
    text = f"architecture:\n  extends: {tiny}\n  {evidence}\n"
    machine = Architecture.load(write(tiny.parent, text, "less.yaml"))
    paths = ("clock", "memories.pool.line", "memories.scratch.line")
    assert [machine.evidence_of(path) for path in paths] == expected


# ------------------------------------------------------------------------------- what is refused


def problems(folder: Path, evidence: str) -> Iterator[tuple[str, str]]:
    """What is wrong in these lines of evidence: the text and place, and the hint."""
    path = write(folder, f"{MACHINE}  evidence: {evidence}\n")
    with pytest.raises(SpecError) as wrong:
        Architecture.load(path)
    for problem in wrong.value.problems:
        assert problem.span is not None
        assert problem.span.line == len(MACHINE.splitlines()) + 1
        yield problem.message, problem.hint or ""


def test_a_machine_may_lose_the_parts_whose_evidence_it_states() -> None:
    for setting in (
        "memories=[{name: far, energy: dram_hbm2, line: 64 bit, bandwidth: 400 GB/s}]",
        "arrays.array_2d.operations={mac: {cycles: 1, bill: {mac: 1}}}",
    ):
        machine = Architecture.load("fusemax", [setting])
        assert all(machine.evidence_of(path) for path in machine.evidence.numbers)
    renamed = Architecture.load("fusemax", ["memories.DRAM.name=far"])
    assert renamed.evidence_of("memories.far.bandwidth") is None
    assert ("not stated", 2) in renamed.evidence.counts()


def test_a_path_has_one_kind(tmp_path: Path) -> None:
    found = [*problems(tmp_path, "{published: [word, clock], assumed: [clock, word, word]}")]
    assert [text for text, _ in found] == [
        "'clock' is listed as published already",
        "'word' is listed as published already",
        "'word' is listed as published already",
    ]


def test_kinds_and_lists_are_checked(tmp_path: Path) -> None:
    [(text, hint)] = problems(tmp_path, "{publshed: [word]}")
    assert ("publshed" in text, "published" in hint) == (True, True)
    [(text, _)] = problems(tmp_path, "{published: {word: 1}}")
    assert "expected a list" in text
    [(text, _)] = problems(tmp_path, "[word]")
    assert "expected a mapping" in text


# -------------------------------------------------------------------------------- what is shown


def test_the_summary_of_a_machine_shows_evidence(tiny: Path) -> None:
    text = " ".join(run("show", str(tiny), "--summary").stdout.split())
    assert "1 measured, 4 published, 1 derived, 8 assumed" in text
    assert "assumed: word, memories.scratch, arrays.grid" in text
    found = json.loads(run("show", str(tiny), "--summary", "--json", "--set", "clock=2GHz").stdout)
    assert found["name"] == "tiny"
    assert found["evidence"]["clock"] == "assumed"
    assert found["evidence"]["memories.pool.bandwidth"] == "measured"
    built_in = run("show", "architecture/flat", "--summary").stdout
    assert "memories.global_buffer.bandwidth" in built_in
    assert "did you mean 'clock'" in refused("show", "flat", "--summary", "--set", "clok=1 GHz")
