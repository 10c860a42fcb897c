"""A store of which a page is damaged is refused, whatever stands there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import archsim
from einsum_cascade.errors import InputError

SWEEP = {
    "name": "two",
    "workload": "bert-base",
    "architecture": "fusemax",
    "axes": {"seq_len": [256, 512]},
}


@pytest.mark.parametrize("there", ["NULL", "'7'", "'{'"])
def test_a_store_with_a_damaged_point_is_refused(tmp_path: Path, there: str) -> None:
    archsim.sweep(SWEEP, tmp_path / "out", workers=1)
    path = tmp_path / "out" / "store.sqlite"
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("PRAGMA writable_schema = ON")
        store.execute("UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')")
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(f"UPDATE points SET members = {there} WHERE point = 1")
    with pytest.raises(InputError, match="is no store of a sweep: what it keeps of a point is dam"):
        archsim.load_sweep(tmp_path / "out")
