"""Sweeps against one simulation after the other: rows, resuming, kills, and what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import refused, run
from places import ROOT

import archsim
from archsim import Architecture, Mapping, simulate
from archsim.sweeping import run as running
from archsim.sweeping import sweep as sweeping
from archsim.sweeping.run import run_batch
from archsim.sweeping.store import opened
from einsum_cascade.errors import InputError
from workloads import Workload, load

SIZES = {"64 KiB": 65536, "1 MiB": 2**20}
SWEEP: dict[str, Any] = {
    "name": "small",
    "workload": "bert-base",
    "architecture": "fusemax",
    "mapping": "fusemax-binding",
    "set": {"batch": 1},
    "axes": {
        "seq_len": ["1K", 512],
        "buffer": {
            "field": "architecture.memories.global_buffer.capacity",
            "from": "64 KiB",
            "to": "1 MiB",
            "steps": 2,
        },
        "side": {
            "fields": [
                "architecture.arrays.array_2d.shape.rows",
                "architecture.arrays.array_2d.shape.columns",
                "architecture.arrays.array_1d.shape.lanes",
            ],
            "values": [64, 128],
        },
    },
    "where": ["area_um2 <= 200 mm^2", "utilization.array_2d > 10 %"],
}


ARRAYS = ("array_2d", "array_1d")
COMPONENTS = ("DRAM", "global_buffer", *(n for a in ARRAYS for n in (f"{a}.registers", a)))


def many(points: int) -> dict[str, Any]:
    """A sweep of quick points, none of which is refused."""
    axes = {"batch": list(range(1, points // 2 + 1)), "seq_len": [512, 1024]}
    return {k: v for k, v in SWEEP.items() if k not in ("set", "where")} | {"axes": axes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sweep") / "made" / "here"
    archsim.sweep(SWEEP, found, workers=1)
    return found


def test_every_row_is_what_a_simulation_says(folder: Path) -> None:
    frame = archsim.load_sweep(folder)
    expected = list(product(["1K", 512], SIZES.items(), [64, 128]))
    assert frame["point"].tolist() == list(range(len(expected)))
    statuses = set()
    for (seq_len, (size, number), side), (_, row) in zip(expected, frame.iterrows(), strict=True):
        assert (row["seq_len"], row["buffer"], row["side"]) == (seq_len, number, side)
        shape = [f"arrays.array_2d.shape.{axis}={side}" for axis in ("rows", "columns")]
        settings = [*shape, f"arrays.array_1d.shape.lanes={side}"]
        machine = Architecture.load(
            "fusemax", [f"memories.global_buffer.capacity={size}", *settings]
        )
        work = load("bert-base", batch=1, seq_len=seq_len)
        statuses.add(row["status"])
        result, message = _simulated(work, machine)
        if result is None:
            assert (row["status"], row["message"]) == ("refused", message)
            assert pd.isna(row["latency_s"])
            continue
        assert row["status"] == ("ok" if result.area_um2 <= 200e6 else "excluded")
        assert ("area_um2 <= 200 mm^2 does not hold" in row["message"]) == (row["status"] != "ok")
        for column, value in {
            "workload": "bert-base",
            "architecture": "fusemax",
            "mapping": "fusemax-binding",
            "latency_s": result.latency_s,
            "floor_latency_s": result.floor.latency_s,
            "cycles": result.cycles,
            "energy_pj": result.energy_pj,
            "area_um2": result.area_um2,
            "bound_by": result.bound_by,
            "fits": result.fits,
            **{f"traffic_bytes.{t.level}": t.total_bytes for t in result.traffic},
            **{f"utilization.{a}": u for a, u in result.utilization.items()},
            **{f"buffer_bytes.{b.level}": b.required_bytes for b in result.buffers},
            **{f"energy_pj.{name}": energy for name, energy in result.energy_by_component},
        }.items():
            assert row[column] == value, column
    assert statuses == {"ok", "refused", "excluded"}


def _simulated(work: Workload, machine: Architecture) -> tuple[archsim.Result | None, str]:
    try:
        return simulate(work, machine, Mapping.load("fusemax-binding")), ""
    except InputError as wrong:
        return None, wrong.problems[0].message


def test_the_files_and_the_frame_are_one_table(folder: Path) -> None:
    frame = archsim.load_sweep(folder)
    assert list(frame.columns) == [
        *("point", "seq_len", "buffer", "side", "workload", "architecture", "mapping", "status"),
        *("message", "latency_s", "floor_latency_s", "cycles", "energy_pj", "area_um2"),
        *("fits", "needed_bytes.DRAM"),
        *("traffic_bytes.DRAM", "traffic_bytes.global_buffer"),
        *("utilization.array_2d", "utilization.array_1d", "buffer_bytes.global_buffer"),
        *(f"energy_pj.{name}" for name in COMPONENTS),
        "bound_by",
    ]
    assert frame.attrs["sweep"] == "small"
    assert frame.attrs["units"] == {
        "buffer": "B",
        "cycles": "cycles",
        "energy_pj": "pJ",
        "area_um2": "um^2",
        **dict.fromkeys(["latency_s", "floor_latency_s"], "s"),
        "buffer_bytes.global_buffer": "B",
        "needed_bytes.DRAM": "B",
        **{f"traffic_bytes.{level}": "B" for level in ("DRAM", "global_buffer")},
        **{f"utilization.{array}": "1" for array in ("array_2d", "array_1d")},
        **{f"energy_pj.{name}": "pJ" for name in COMPONENTS},
    }
    parts = frame[[f"energy_pj.{name}" for name in COMPONENTS]].sum(axis=1)
    assert parts[frame["status"] != "refused"].tolist() == pytest.approx(
        frame["energy_pj"].dropna().tolist(), rel=1e-12
    )
    written = pd.read_csv(folder / "results.csv", keep_default_na=False, dtype=str)
    told = frame.astype(object).where(frame.notna(), "")
    assert written.to_numpy().tolist() == [[str(v) for v in row] for row in told.to_numpy()]
    stored = pq.read_table(folder / "results.parquet").to_pandas()
    assert stored["latency_s"].equals(frame["latency_s"])
    assert stored["seq_len"].tolist() == [str(v) for v in frame["seq_len"]]
    assert stored["buffer"].dtype == "int64"


def test_a_points_inputs_can_be_had_again(folder: Path) -> None:
    shown = run("sweep", "--show", "7", "--out", str(folder))
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    row = archsim.load_sweep(folder).iloc[7]
    assert found["row"]["latency_s"] == row["latency_s"]
    assert len(found["key"]) == 64
    again = run(*(w.replace("'", "") for w in _words(found["command"])), "--json")
    assert json.loads(again.stdout)["latency_s"] == row["latency_s"]
    assert "points go from 0 to 7" in refused("sweep", "--show", "8", "--out", str(folder))


def _words(command: str) -> list[str]:
    import shlex

    return shlex.split(command)[1:]


def test_what_is_finished_is_not_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def counted(task: bytes, points: Any) -> Any:
        ran.extend(point.number for point in points)
        return run_batch(task, points)

    monkeypatch.setattr(running, "run_batch", counted)
    out = tmp_path / "parts"
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({"sweep": SWEEP}))
    first = run("sweep", str(path), "--out", str(out), "--limit", "3")
    assert first.exit_code == 0, first.output
    assert "3 of 8 points" in first.stdout
    assert "5 are left; start again to go on" in first.stderr
    assert len(archsim.load_sweep(out)) == 3
    archsim.sweep(SWEEP, out, limit=2)
    run("sweep", str(path), "--out", str(out))
    assert ran == list(range(8))
    archsim.sweep(SWEEP, out)
    assert ran == list(range(8))
    whole = folder / "results.csv"
    assert (out / "results.csv").read_text() == whole.read_text()


def test_another_sweep_or_version_is_refused_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="holds sweep 'small', not 'other': give another --out"):
        archsim.sweep(SWEEP | {"name": "other"}, folder)
    with pytest.raises(
        InputError, match=r"another sweep that is called 'small', too \(not the same: set\)"
    ):
        archsim.sweep(SWEEP | {"set": {"batch": 2}}, folder)
    monkeypatch.setattr(sweeping, "installed_version", lambda: "9.9")
    with pytest.raises(InputError, match=r"holds sweep 'small' of archsim .*, this is archsim 9.9"):
        archsim.sweep(SWEEP, folder)
    (tmp_path / "store.sqlite").write_bytes(b"something else, and long enough" * 40)
    with pytest.raises(InputError, match="is no store of a sweep"):
        archsim.sweep(SWEEP, tmp_path)
    with pytest.raises(InputError, match="is no store of a sweep"):
        archsim.load_sweep(tmp_path)
    with pytest.raises(InputError, match="there is no sweep in"):
        archsim.load_sweep(tmp_path / "nowhere")


def test_a_file_that_changes_makes_it_another_sweep(tmp_path: Path) -> None:
    machine = tmp_path / "mine.yaml"
    machine.write_text((ROOT / "specs" / "architectures" / "fusemax.yaml").read_text())
    asked = SWEEP | {"architecture": str(machine), "axes": {"seq_len": [512]}}
    archsim.sweep(asked, tmp_path / "out")
    machine.write_text(machine.read_text().replace("940 MHz", "941 MHz"))
    with pytest.raises(InputError, match="before a file that it names changed"):
        archsim.sweep(asked, tmp_path / "out")


def test_machines_mappings_and_cascades_are_axes_too() -> None:
    frame = archsim.sweep(
        {
            "name": "who",
            "workload": "bert-base",
            "set": {"seq_len": 256, "batch": 1},
            "axes": {
                "architecture": ["fusemax", "flat"],
                "mapping": ["default", "einsum-by-einsum", "fusemax-binding"],
                "cascade": ["attention-3pass", "attention-1pass"],
            },
        }
    )
    assert list(frame.columns[:5]) == ["point", "architecture", "mapping", "cascade", "workload"]
    assert len(frame) == 12
    assert frame["architecture"].tolist() == ["fusemax"] * 6 + ["flat"] * 6
    best = frame[frame["mapping"] == "default"]["latency_s"].tolist()
    made = frame[frame["mapping"] == "einsum-by-einsum"]["latency_s"].tolist()
    assert all(b <= m for b, m in zip(best, made, strict=True))


def start(path: Path, out: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "archsim", "sweep", str(path), "--out", str(out), *more],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(out: Path) -> int:
    try:
        return len(archsim.load_sweep(out))
    except (InputError, sqlite3.Error):
        return 0


def wait_for(out: Path, points: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 240
    while finished(out) < points and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_or_run_twice(tmp_path: Path) -> None:
    asked = many(80)
    path = tmp_path / "many.yaml"
    path.write_text(json.dumps({"sweep": asked}))
    archsim.sweep(asked, tmp_path / "whole", workers=1)
    chance, out = random.Random(5), tmp_path / "killed"
    kept = 0
    for kill in range(2):
        process = start(path, out, "--workers", str(1 + kill % 2))
        wait_for(out, kept + 1, process)
        time.sleep(chance.random() / 4)
        process.kill()
        process.communicate(timeout=240)  # its workers are gone, too
        now = finished(out)
        assert now > kept
        kept = now
    assert kept < 80
    archsim.sweep(path, out, workers=1)
    assert (out / "results.csv").read_text() == (tmp_path / "whole" / "results.csv").read_text()
    assert sorted(p.name for p in out.iterdir() if not p.name.startswith("lock")) == [
        *("results.csv", "results.parquet", "store.sqlite")
    ]


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(tmp_path: Path) -> None:
    path, out = tmp_path / "many.yaml", tmp_path / "out"
    path.write_text(json.dumps({"sweep": many(1000)}))
    process = start(path, out, "--workers", "2", start_new_session=True)
    wait_for(out, 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the workers, too
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines() == [
        f"finished points are kept in {out}; start again to go on",
        "interrupted",
    ]
    assert not (out / "results.csv").exists()
    kept = archsim.load_sweep(out)
    assert 0 < len(kept) < 1000
    assert (kept["status"] == "ok").all()


@pytest.mark.slow
def test_a_killed_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_batch", _dies)
    with pytest.raises(InputError, match=r"a worker process was killed.*start again to go on"):
        archsim.sweep(many(20), tmp_path / "out", workers=2)


def _dies(task: bytes, points: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_full_disk_is_told_and_what_was_finished_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def small(database: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(database, **options)
        connection.execute("PRAGMA max_page_count = 30")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", small)
        with pytest.raises(InputError, match=r"store.sqlite: database or disk is full; finished"):
            archsim.sweep(many(400), tmp_path, workers=1)
    kept = archsim.load_sweep(tmp_path)
    assert 0 < len(kept) < 400
    assert archsim.sweep(many(400), tmp_path, limit=1)["point"].is_unique


def test_a_folder_that_takes_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite by itself would make files beside the store to read it."""
    whole = archsim.sweep(many(2), tmp_path, workers=1)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("archsim.sweeping.store.os.access", lambda *_: False)
    with opened(tmp_path) as store:
        another = next(store.rows())._replace(point=7, key="another")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store.add([another])
        assert sorted(tmp_path.iterdir()) == before
    assert archsim.load_sweep(tmp_path).equals(whole)


def test_two_processes_do_not_sweep_into_one_folder(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(json.dumps({"sweep": many(1000)}))
    process = start(path, tmp_path / "out", "--workers", "1")
    wait_for(tmp_path / "out", 1, process)
    told = refused("sweep", str(path), "--out", str(tmp_path / "out"))
    process.kill()
    process.communicate(timeout=240)
    assert "another process sweeps into" in told


SEARCH: dict[str, Any] = {
    "name": "search",
    "workload": "bert-base",
    "architecture": "fusemax",
    "mapping": "fusemax-binding",
    "set": {"batch": 1, "seq_len": 512},
    "axes": {
        "buffer": SWEEP["axes"]["buffer"] | {"to": "16 MiB", "steps": 9, "scale": "log"},
        "side": SWEEP["axes"]["side"] | {"values": [128, 32, 64]},
        "bandwidth": {
            "field": "architecture.memories.DRAM.bandwidth",
            "from": "50 GB/s",
            "to": "400 GB/s",
            "steps": 8,
        },
    },
    "where": ["area_um2 <= 200 mm^2"],
    "points": {"search": "optuna", "trials": 30, "objectives": ["latency_s"], "seed": 3},
}


@pytest.mark.slow
def test_a_search_asks_for_the_same_points_however_it_is_run(tmp_path: Path) -> None:
    whole = archsim.sweep(SEARCH, tmp_path / "whole", workers=1)
    assert (tmp_path / "whole" / "study.sqlite").is_file()
    assert whole["point"].tolist() == list(range(30))
    assert not whole.duplicated(["buffer", "side", "bandwidth"]).any()
    grid = archsim.sweep({k: v for k, v in SEARCH.items() if k != "points"}, workers=1)
    best = grid[grid["status"] == "ok"]["latency_s"].min()
    assert whole[whole["status"] == "ok"]["latency_s"].min() <= 1.05 * best
    parts = tmp_path / "parts"
    for workers_, limit in ((1, 5), (2, 14), (1, None)):
        found = archsim.sweep(SEARCH, parts, workers=workers_, limit=limit)
    pd.testing.assert_frame_equal(found, whole)


@pytest.mark.slow
def test_a_search_goes_on_after_a_kill_between_row_and_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archsim.sweeping.sweep import StudyPoints

    done, calls = StudyPoints.done, []

    def ends(self: StudyPoints, rows: Any) -> None:
        calls.append(rows)
        if len(calls) == 4:
            raise KeyboardInterrupt
        done(self, rows)

    asked = SEARCH | {"points": SEARCH["points"] | {"trials": 12}}
    with monkeypatch.context() as patched:
        patched.setattr(StudyPoints, "done", ends)
        with pytest.raises(KeyboardInterrupt):
            archsim.sweep(asked, tmp_path / "killed", workers=1)
    assert len(archsim.load_sweep(tmp_path / "killed")) == 4
    found = archsim.sweep(asked, tmp_path / "killed", workers=1)
    pd.testing.assert_frame_equal(found, archsim.sweep(asked, tmp_path / "whole", workers=1))


def test_a_search_without_optuna_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'archsim\[optuna\]'"):
        archsim.sweep(SEARCH, tmp_path)


@pytest.mark.slow
def test_as_many_trials_as_there_are_points_are_all_of_them() -> None:
    axes = {"side": SEARCH["axes"]["side"], "batch": [1, 2]}
    asked = SEARCH | {"axes": axes, "set": {"seq_len": 512}}
    found = archsim.sweep(asked | {"points": SEARCH["points"] | {"trials": 6}}, workers=1)
    assert not found.duplicated(["side", "batch"]).any()
    assert len(found) == 6


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_the_workers_of_a_dask_cluster_give_the_same_rows(tmp_path: Path, folder: Path) -> None:
    script, path = tmp_path / "cluster.py", tmp_path / "small.yaml"
    script.write_text(CLUSTER)
    path.write_text(json.dumps({"sweep": SWEEP}))
    with subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        process = start(path, tmp_path / "out", "--dask", address)
        told = process.communicate(timeout=240)
        cluster.communicate("\n", timeout=30)
    assert process.returncode == 0, told
    whole = folder / "results.csv"
    assert (tmp_path / "out" / "results.csv").read_text() == whole.read_text()


def test_no_scheduler_and_no_dask_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no Dask scheduler answers at 'nowhere'"):
        archsim.sweep(SWEEP, tmp_path, dask="nowhere")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'archsim\[dask\]'"):
        archsim.sweep(SWEEP, tmp_path, dask="tcp://127.0.0.1:1")
