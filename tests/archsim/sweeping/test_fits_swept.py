"""Columns that say whether a workload fits the memory: in rows, files, conditions and searches."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import refused, run

import archsim
from archsim.sweeping.spec import Condition, text_of
from einsum_cascade.errors import SpecError
from einsum_cascade.source import Source, Span
from einsum_cascade.yaml.source import YamlScalar

LENGTHS = [256, 512, 1024]
NEEDED = [4 * 64 * 12 * n * 64 * 2 for n in LENGTHS]
"""Bytes of queries, keys, values and outputs of BERT's attention."""
GIVEN = {
    "name": "fitting",
    "workload": "bert-base",
    "architecture": "fusemax",
    "mapping": "fusemax-binding",
    "set": {"architecture.memories.DRAM.installed": "200 MiB"},
    "axes": {"seq_len": LENGTHS},
}


def swept(**more: Any) -> pd.DataFrame:
    return archsim.sweep(GIVEN | more, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sweep") / "fits"
    archsim.sweep(GIVEN, found, workers=1)
    return found


def test_rows_say_what_fits_and_what_is_needed(folder: Path) -> None:
    frame = archsim.load_sweep(folder)
    assert frame["needed_bytes.DRAM"].tolist() == NEEDED
    assert frame["fits"].tolist() == [need <= 200 * 2**20 for need in NEEDED]
    assert frame["fits"].dtype == bool
    assert frame.attrs["units"]["needed_bytes.DRAM"] == "B"
    assert set(frame["status"]) == {"ok"}


def test_files_have_the_columns_in_their_types(folder: Path) -> None:
    frame = archsim.load_sweep(folder)
    stored = pq.read_table(folder / "results.parquet").to_pandas()
    for table in (pd.read_csv(folder / "results.csv"), stored):
        for column in ("fits", "needed_bytes.DRAM"):
            assert table[column].equals(frame[column])
    row = json.loads(run("sweep", "--show", "2", "--out", str(folder)).stdout)["row"]
    assert row["fits"] is False


def test_a_memory_of_unknown_size_fits() -> None:
    frame = swept(set={})
    assert frame["fits"].all()


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("fits", [True, True, False]),
        ("fits == true", [True, True, False]),
        ("fits != true", [False, False, True]),
        ("fits == false", [False, False, True]),
        (["fits", "needed_bytes.DRAM > 100 MiB"], [False, True, False]),
    ],
)
def test_conditions_select_what_fits(where: str | list[str], kept: list[bool]) -> None:
    frame = swept(where=where)
    assert (frame["status"] == "ok").tolist() == kept
    if where == "fits":
        assert frame["message"][2] == "fits does not hold: fits is false"


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("fit", "there is no column 'fit'.*did you mean 'fits'"),
        ("fits == maybe", "fits is true or false, got 'maybe'"),
        ("fits <= 3", "fits is true or false, got '3'"),
        ("fits < true", "fits is a text, which is '==' or '!=' another"),
        ("latency_s", "expected COLUMN, a comparison and a value, got 'latency_s'"),
        ("needed_bytes.DRAM", "expected COLUMN, a comparison and a value"),
        ("needed_bytes.DRM < 1 MiB", "no column 'needed_bytes.DRM'.*'needed_bytes.DRAM'"),
    ],
)
def test_typos_are_refused_with_the_nearest_name(where: str, told: str) -> None:
    with pytest.raises(SpecError, match=f"(?s){told}"):
        swept(where=where)


def test_the_command_says_the_place_of_a_typo(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    lines = [f"  {key}: {json.dumps(value)}" for key, value in (GIVEN | {"where": "fit"}).items()]
    file.write_text("\n".join(("sweep:", *lines)), encoding="utf-8")
    told = refused("sweep", str(file), "--out", str(tmp_path / "out"))
    assert f"{file}:8:" in told
    assert "did you mean 'fits'?" in told


def test_an_axis_of_booleans_is_compared() -> None:
    condition = Condition(column="deep", sign="==", node=_node("deep == true"), value="true")
    assert not condition.failure({"deep": True})
    assert condition.failure({"deep": False}) == "deep == true does not hold: deep is false"


def _node(text: str) -> YamlScalar:
    node = YamlScalar(span=Span(source=Source("s", text), line=1, column=1), value=text, text=text)
    assert text_of(node) == text
    return node


def test_no_axis_is_called_as_the_column() -> None:
    with pytest.raises(SpecError, match="'fits' is a column of the results"):
        swept(axes={"fits": {"field": "seq_len", "values": LENGTHS}})


def test_a_store_from_before_the_columns_is_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes((folder / "store.sqlite").read_bytes())
    new = ["fits", "needed_bytes.DRAM"]
    with sqlite3.connect(tmp_path / "store.sqlite") as store:
        for point, text in store.execute("SELECT point, members FROM points").fetchall():
            members = {k: v for k, v in json.loads(text).items() if k not in new}
            command = "UPDATE points SET members = ? WHERE point = ?"
            store.execute(command, (json.dumps(members), point))
    store.close()
    whole = archsim.load_sweep(folder)
    pd.testing.assert_frame_equal(archsim.load_sweep(tmp_path), whole.drop(columns=new))


def test_a_search_minimises_the_need() -> None:
    pytest.importorskip("optuna")
    points = {"search": "optuna", "trials": 2, "objectives": ["needed_bytes.DRAM"]}
    assert len(swept(points=points)) == 2
