"""Machines that extend others: whose losses they have, and what of their numbers is assumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import refused, run

import archsim
from archsim import Architecture
from workloads import load

B200 = """\
architecture:
  extends: h100-sxm
  name: b200
  clock: 1850 MHz
  tdp: 1000 W
  memories:
    HBM: {installed: 180 GB, bandwidth: 8 TB/s}
    L2: {capacity: 126 MiB, bandwidth: 15 TB/s, instances: {sms: 148}}
  arrays:
    tensor_core: {shape: {columns: 128, rows: 32}}
"""
LOSSES = ["launch", "fill", "exposed", "sustained.HBM", "sustained.vector_unit", "power.idle"]
WORK = ("qwen3-8b", "--set", "scope=layer", "--set", "phase=decode", "--set", "context=1K")


def write(folder: Path, text: str, name: str = "b200.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def b200(tmp_path: Path) -> Path:
    return write(tmp_path, B200)


def simulated(machine: Path | str, *more: str) -> dict[str, object]:
    found = run("simulate", "bert-base", str(machine), "--set", "seq_len=128", "--json", *more)
    return dict(json.loads(found.stdout))


def test_inherited_losses_are_named_with_their_machine(b200: Path) -> None:
    told = simulated(b200)["as_built"]
    assert told["inherited"] == {"from": "h100-sxm", "losses": LOSSES}  # type: ignore[index]
    assert "inherited" not in simulated("h100-sxm")["as_built"]  # type: ignore[operator]
    text = run("simulate", "bert-base", str(b200), "--set", "seq_len=128").stdout
    assert "inherited from h100-sxm" in " ".join(text.split())


def test_own_losses_drop_the_inherited_ones(tmp_path: Path, b200: Path) -> None:
    assert "as_built" not in simulated(b200, "--set", "architecture.as_built=own")
    stated = "  as_built: own\n  measured: {launch: {value: 2 us, source: mine}}\n"
    losses = Architecture.load(write(tmp_path, B200 + stated, "own.yaml")).losses
    assert losses is not None
    assert [path for path, _ in losses.items()] == ["launch"]
    assert losses.launch_s == 2e-6
    told = refused("simulate", "bert-base", str(b200), "--set", "architecture.as_built=mine")
    assert "as_built" in told


def test_a_loss_is_of_the_file_that_states_it_across_three_levels(
    tmp_path: Path, b200: Path
) -> None:
    own = "measured: {fill: {value: 1 us, source: m}}"
    middle = f"architecture: {{extends: b200.yaml, name: middle, {own}}}"
    write(tmp_path, middle, "middle.yaml")
    mine = write(tmp_path, "architecture: {extends: middle.yaml, name: mine}", "mine.yaml")
    losses = Architecture.load(mine).losses
    assert losses is not None
    origins = {path: m.inherited_from for path, m in losses.items()}
    assert origins == dict.fromkeys(LOSSES, "h100-sxm") | {"fill": "middle"}


def test_a_loss_of_a_removed_part_does_not_apply(tmp_path: Path) -> None:
    renamed = B200.replace("HBM:", "HBM: null\n    stack:").replace(
        "180 GB, bandwidth: 8 TB/s", "180 GB, bandwidth: 8 TB/s, line: 64 bit, energy: dram_hbm3"
    )
    losses = Architecture.load(write(tmp_path, renamed)).losses
    assert losses is not None
    assert "sustained.HBM" not in dict(losses.items())
    own = renamed + "  measured: {sustained: {HBM: {value: 0.5, source: mine}}}\n"
    told = refused("simulate", "bert-base", str(write(tmp_path, own, "own.yaml")))
    assert "'HBM' is not a memory with a bandwidth" in told


def test_compare_and_sweeps_name_inherited_losses(tmp_path: Path, b200: Path) -> None:
    text = run("compare", "bert-base", "h100-sxm", str(b200), "--as-built", "--set", "seq_len=128")
    assert "exposed, sustained.HBM" in " ".join(text.stdout.split())
    axes = {"architecture": ["h100-sxm", str(b200)], "seq_len": [128]}
    frame = archsim.sweep({"name": "s", "workload": "bert-base", "axes": axes}, workers=1)
    column = frame["as_built_inherited"].tolist()
    assert not isinstance(column[0], str) or not column[0]
    assert column[1].endswith("inherited from h100-sxm")


def test_overridden_numbers_are_assumed_without_evidence_of_the_same_file(
    tmp_path: Path, b200: Path
) -> None:
    machine = Architecture.load(b200)
    stated = ["clock", "tdp", "memories.HBM.bandwidth", "memories.L2.instances.sms"]
    assert {machine.evidence_of(path) for path in stated} == {"assumed"}
    assert machine.evidence_of("memories.L1.bandwidth") == "measured"
    proved = B200 + "  evidence: {published: [clock, memories.HBM]}\n"
    machine = Architecture.load(write(tmp_path, proved, "proved.yaml"))
    assert machine.evidence_of("clock") == "published"
    assert machine.evidence_of("memories.HBM.bandwidth") == "published"
    assert machine.evidence_of("tdp") == "assumed"


def test_a_result_with_inherited_losses_is_read_back(b200: Path) -> None:
    work, machine = load("bert-base", seq_len=128), Architecture.load(b200)
    result = archsim.simulate(work, machine)
    found = archsim.Result.from_dict(result.to_dict())
    assert found.as_built == result.as_built
