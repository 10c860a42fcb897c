"""The results as files, which are whole or not there."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import archsim
from archsim.sweeping import export
from archsim.sweeping.file import sweep_of
from archsim.sweeping.store import opened
from archsim.writing import csv_text
from einsum_cascade.errors import InputError

SWEEP = {
    "name": "few",
    "workload": "bert-base",
    "architecture": "fusemax",
    "axes": {"seq_len": [64], "batch": [1, 2]},
}


@pytest.mark.slow
def test_a_file_that_cannot_be_written_says_that_the_store_has_it_all(tmp_path: Path) -> None:
    archsim.sweep(SWEEP, out=tmp_path)
    (tmp_path / export.PARQUET).unlink()
    (tmp_path / export.PARQUET).mkdir()
    with opened(tmp_path) as store, pytest.raises(InputError, match="the store beside it has it"):
        export.export(store, sweep_of({"sweep": SWEEP}))


def test_no_text_of_a_table_is_a_formula(tmp_path: Path) -> None:
    scopes = ["attention", "=1+1"]
    archsim.sweep(SWEEP | {"axes": {"scope": scopes}}, out=tmp_path, workers=1)
    with (tmp_path / export.CSV).open(encoding="utf-8") as file:
        assert [row["scope"] for row in csv.DictReader(file)] == ["attention", "'=1+1"]
    assert archsim.load_sweep(tmp_path)["scope"].tolist() == scopes
    texts = ("=1", "+1", "-1", "@a", "\ta", "a=1", "")
    assert csv_text(["@b", "c"], [(-1.5, None), texts]) == (
        "'@b,c\n-1.5,\n'=1,'+1,'-1,'@a,'\ta,a=1,\n"
    )
