"""``archsim simulate``: the JSON contract, the screen, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import python, refused, run

SIMULATE_KEYS = {
    *("schema_version", "workload", "architecture", "mapping", "engine", "shape", "latency_s"),
    *("cycles", "bound_by", "utilization", "busy_cycles", "traffic_bytes", "buffer_bytes"),
    *("energy_pj", "area_um2", "bounds", "einsums"),
}


def simulated(*arguments: str) -> dict[str, Any]:
    result = run("simulate", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_simulate_without_arguments_is_bert_at_4k_on_fusemax() -> None:
    found = simulated()
    assert (found["workload"], found["architecture"]) == ("bert-base", "fusemax")
    assert found["shape"]["M"] == found["shape"]["P"] == 4096
    assert found == simulated("bert-base", "fusemax", "--mapping", "fusemax-binding")


def test_simulate_json_has_the_agreed_keys_and_nesting() -> None:
    found = simulated()
    assert set(found) >= SIMULATE_KEYS
    assert found["schema_version"] == 1
    arrays = set(found["utilization"])
    assert arrays == set(found["busy_cycles"]) == {"array_2d", "array_1d"}
    for level in found["traffic_bytes"].values():
        assert set(level) == {"read", "write", "total"}
        assert level["read"] + level["write"] == level["total"]
    for level in found["buffer_bytes"].values():
        assert set(level) == {"required", "capacity"}
    energy = found["energy_pj"]
    assert set(energy) == {"total", "by_component", "by_einsum"}
    for part in ("by_component", "by_einsum"):
        assert sum(energy[part].values()) == pytest.approx(energy["total"])
    area = found["area_um2"]
    assert sum(area["by_component"].values()) == pytest.approx(area["total"])
    assert set(found["bounds"]) == {"compute_s", "bandwidth_s", "traffic_bytes"}
    for einsum in found["einsums"]:
        assert set(einsum) == {"name", "array", "cycles", "operations", "utilization"}
        assert einsum["array"] in arrays


def test_the_screen_says_what_the_json_says() -> None:
    found, text = simulated(), run("simulate").stdout
    assert f"{1000 * found['latency_s']:.2f} ms" in text
    assert f"bound by {found['bound_by']}" in text
    assert all(e["name"] in text for e in found["einsums"])
    assert len(text.splitlines()) <= 55


def test_settings_win_over_the_model_and_reach_the_machine() -> None:
    found = simulated("--set", "B=3", "--set", "H=5", "--set", "E=32", "--set", "F=48")
    assert {r: found["shape"][r] for r in "BHEF"} == {"B": 3, "H": 5, "E": 32, "F": 48}
    assert simulated("--set", "seq_len=16K")["shape"]["M"] == 16384
    slower = simulated("--set", "architecture.clock=470 MHz")
    assert slower["latency_s"] > 1.9 * simulated()["latency_s"]
    bigger = simulated("--set", "architecture.memories.global_buffer.capacity=32MiB")
    assert bigger["buffer_bytes"]["global_buffer"]["capacity"] == 32 * 2**20


def test_a_setting_of_the_mapping_reaches_the_default_mapping() -> None:
    assert simulated("--set", "mapping.schedule.lookahead=1")["schedule"]["lookahead"] == 1


def test_explain_accounts_for_the_cycles() -> None:
    text = run("simulate", "--explain").stdout
    assert "steady state + fill and drain" in text
    assert "energy by Einsum and component" in text
    assert "--explain is for people" in refused("simulate", "--explain", "--json")


def test_out_writes_the_result_the_report_and_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    result = run("simulate", "--out", str(folder))
    assert result.exit_code == 0
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == simulated()
    assert "| array_2d |" in (folder / "report.md").read_text(encoding="utf-8")
    for picture in ("waterfall.png", "time.png", "utilization.png", "roofline.png", "energy.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        assert f"wrote {folder / picture}" in result.stderr


def test_out_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("here already", encoding="utf-8")
    assert "it is not a folder" in refused("simulate", "--out", str(path))
    below = refused("simulate", "--out", str(path / "below" / "more"))
    assert f"cannot write into {path / 'below' / 'more'}: {path} is not a folder" in below
    long = refused("simulate", "--out", str(tmp_path / ("long" * 500)))
    assert "file name too long" in long
    assert path.read_text(encoding="utf-8") == "here already"


OUTPUTS = [
    ["simulate", "--out"],
    ["simulate", "--trace"],
    ["compare", "bert-base", "fusemax", "flat", "--out"],
    ["rewrite", "attention-3pass", "reduce_passes", "--out"],
    ["reproduce", "fusemax", "--out"],
    ["atlas", "layer-norm", "--out"],
]
"""What takes a name to write to."""


@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_an_empty_name_is_not_the_working_folder(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for empty in ("", " "):
        assert "the name is empty; the working folder is '.'" in refused(*command, empty)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_a_folder_is_made_and_a_file_goes_into_one_that_is_there(
    command: list[str], tmp_path: Path
) -> None:
    """Files are refused before the work begins, and no folder is made for them."""
    file = tmp_path / "file"
    file.touch()
    if command[-1] == "--trace" or command[0] == "rewrite":
        said = refused(*command, str(tmp_path / "new" / "x"))
        assert f"the folder {tmp_path / 'new'} is not there" in said
        assert f"the folder {file} is not a folder" in refused(*command, str(file / "x"))
        assert "it is a folder" in refused(*command, str(tmp_path))
    else:
        assert f"{file} is not a folder" in refused(*command, str(file / "x"))
        assert "it is not a folder" in refused(*command, str(file))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bert-bas"], "did you mean 'bert-base'?"),
        (["bert-base", "fusemx"], "did you mean 'fusemax'?"),
        (["--mapping", "fusemax-bindin"], "did you mean 'fusemax-binding'?"),
        (["--set", "seq_ln=4K"], "did you mean 'seq_len'?"),
        (["--set", "seq_len=-4"], "at least 1, got -4"),
        (["--set", "architecture.clock=940 MiB"], "expected a frequency"),
        (["--set", "seq_len"], "there is no '='"),
        (["./nowhere.yaml"], "no such file"),
        (["--engine", "evnt"], "Did you mean 'event'?"),
        (["--engine", "analytical", "--trace", "t.json"], "--trace is of the event engine"),
        (["--trace", "/nowhere/t.json"], "cannot write /nowhere/t.json"),
        (["bert-base", "fusemax", "third"], "unexpected extra argument"),
    ],
)
def test_simulate_refuses_wrong_input(arguments: list[str], said: str) -> None:
    assert said in refused("simulate", *arguments)


def test_a_machine_without_room_has_no_legal_mapping() -> None:
    small = "architecture.memories.global_buffer.capacity=512B"
    message = refused("simulate", "--set", small, "--set", "seq_len=256", code=3)
    assert "global_buffer needs" in message
    assert "has 512 B" in message


def test_simulate_is_one_json_object_on_standard_output(tmp_path: Path) -> None:
    done = python("-m", "archsim", "simulate", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["workload"] == "bert-base"


def test_simulate_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from archsim.cli import archsim\n"
        "archsim(['simulate', '--json'], standalone_mode=False)\n"
        "archsim(['simulate'], standalone_mode=False)\n"
        "heavy = {'sympy', 'matplotlib', 'numba', 'numpy', 'networkx', 'pandas', 'rich'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    done = python("-c", code)
    assert done.returncode == 0
    assert done.stderr == ""
