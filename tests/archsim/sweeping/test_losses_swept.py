"""Columns of the machine as built: in rows, files, conditions and searches."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import refused, run
from lossy_machine import ODD

import archsim
from archsim import simulate
from archsim.sweeping.columns import AS_BUILT
from einsum_cascade.errors import SpecError
from workloads import load

SIZES = [64, 128]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with losses whose parts are called as no other machine's."""
    path = tmp_path_factory.mktemp("machine") / "odd.yaml"
    path.write_text(ODD)
    return path


def given(*machines: str | Path, **more: Any) -> dict[str, Any]:
    """A sweep of BERT's attention in two lengths on some machines."""
    axes = {"architecture": [str(m) for m in machines], "seq_len": SIZES}
    return {"name": "built", "workload": "bert-base", "set": {"batch": 1}, "axes": axes} | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, odd: Path) -> Path:
    found = tmp_path_factory.mktemp("sweep") / "mixed"
    archsim.sweep(given("fusemax", odd), found, workers=1)
    return found


def test_rows_have_what_the_machine_as_built_takes(folder: Path, odd: Path) -> None:
    frame = archsim.load_sweep(folder)
    for machine, rows in frame.groupby("architecture", sort=False):
        for size, (_, row) in zip(SIZES, rows.iterrows(), strict=True):
            work = load("bert-base", batch=1, seq_len=size)
            result = simulate(work, odd if str(machine) == str(odd) else "fusemax")
            columns = {k: v for k, v in result.to_row().items() if k in AS_BUILT}
            assert (result.as_built is None) == (not columns)
            if result.as_built is None:
                assert row[list(AS_BUILT)].isna().all()
                continue
            built = result.as_built
            numbers = (built.latency_s, built.energy_pj, built.average_power_w)
            assert tuple(columns.values()) == tuple(row[list(AS_BUILT)]) == numbers
            assert row["as_built_latency_s"] > row["latency_s"]
    assert frame[list(AS_BUILT)].notna().sum().tolist() == [2, 2, 2]


def test_the_columns_stand_after_the_area_with_their_units(folder: Path) -> None:
    frame = archsim.load_sweep(folder)
    at = list(frame.columns).index("area_um2")
    assert tuple(frame.columns[at + 1 : at + 4]) == AS_BUILT
    assert [frame.attrs["units"][c] for c in AS_BUILT] == ["s", "pJ", "W"]
    assert [frame[c].dtype.kind for c in AS_BUILT] == ["f"] * 3
    written = pd.read_csv(folder / "results.csv")
    stored = pq.read_table(folder / "results.parquet").to_pandas()
    for column in AS_BUILT:
        assert written[column].equals(frame[column])
        assert stored[column].equals(frame[column])
    shown = run("sweep", "--show", "2", "--out", str(folder)).stdout
    assert f'"as_built_latency_s": {float(frame["as_built_latency_s"][2])!r}' in shown


def test_a_sweep_without_losses_has_no_such_columns() -> None:
    frame = archsim.sweep(given("fusemax"), workers=1)
    assert not {*AS_BUILT} & {*frame.columns}


def test_a_store_from_before_the_columns_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes((folder / "store.sqlite").read_bytes())
    with sqlite3.connect(tmp_path / "store.sqlite") as store:
        for point, text in store.execute("SELECT point, members FROM points").fetchall():
            members = {k: v for k, v in json.loads(text).items() if k not in AS_BUILT}
            command = "UPDATE points SET members = ? WHERE point = ?"
            store.execute(command, (json.dumps(members), point))
    store.close()
    frame = archsim.load_sweep(tmp_path)
    whole = archsim.load_sweep(folder)
    pd.testing.assert_frame_equal(frame, whole.drop(columns=list(AS_BUILT)))


def test_conditions_are_on_the_machine_as_built(odd: Path) -> None:
    where = ["as_built_latency_s < 10 s", "as_built_average_power_w < 1 kW"]
    frame = archsim.sweep(given("fusemax", odd, where=where), workers=1)
    assert frame["status"].tolist() == ["excluded", "excluded", "ok", "ok"]
    assert "there is no as_built_latency_s here" in frame["message"][0]
    tight = archsim.sweep(given(odd, where="as_built_latency_s < 1 ns"), workers=1)
    assert set(tight["status"]) == {"excluded"}


@pytest.mark.parametrize(
    "more",
    [
        {"where": "as_built_latency_s < 1 s"},
        {"points": {"search": "optuna", "trials": 2, "objectives": ["as_built_energy_pj"]}},
    ],
    ids=["where", "objectives"],
)
def test_columns_that_no_machine_has_are_refused_first(more: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"(?s)no column 'as_built.*states losses"):
        archsim.sweep(given("fusemax", **more), workers=1)


@pytest.mark.slow
def test_a_search_takes_the_best_machine_that_states_losses(tmp_path: Path, odd: Path) -> None:
    optuna = pytest.importorskip("optuna")
    points = {"search": "optuna", "trials": 4, "objectives": ["as_built_latency_s"]}
    frame = archsim.sweep(given("fusemax", odd, points=points), tmp_path, workers=1)
    study = optuna.load_study(study_name="built", storage=f"sqlite:///{tmp_path / 'study.sqlite'}")
    assert study.best_value == frame["as_built_latency_s"].min()


def test_no_axis_is_called_as_a_column(odd: Path) -> None:
    axes = {"as_built_latency_s": {"field": "seq_len", "values": SIZES}}
    with pytest.raises(SpecError, match="'as_built_latency_s' is a column of the results"):
        archsim.sweep(given(odd) | {"axes": axes, "architecture": str(odd)})


def test_pictures_have_axes_of_the_machine_as_built(folder: Path, tmp_path: Path) -> None:
    frame = archsim.load_sweep(folder)
    built = frame.dropna(subset=list(AS_BUILT))
    axes = {"x": "as_built_average_power_w", "y": "as_built_latency_s"}
    figure = archsim.plot(built, "pareto", facet="seq_len", **axes)
    left = figure.axes[0]
    assert left.get_xlabel().startswith("power as built (")
    assert left.get_xlabel().endswith("W)")
    assert left.get_ylabel().startswith("latency as built (")
    told = refused(
        "plot", str(folder), "lines", "--y", "as_built_latency_s", "--out", str(tmp_path / "a.png")
    )
    assert "'as_built_latency_s' has no finite number in 2 of 4 rows" in told
    pytest.importorskip("plotly")
    page = archsim.plot(built, "parallel")
    names = [d.label for d in page.data[0].dimensions]
    assert any(name.startswith("latency as built") for name in names)
    mixed = archsim.plot(frame, "parallel")
    assert not any("as built" in d.label for d in mixed.data[0].dimensions)
