"""The results as files, written by one process or by two."""

from __future__ import annotations

from pathlib import Path

import pytest

import archsim
from archsim.sweeping import export
from archsim.sweeping.file import sweep_of
from archsim.sweeping.store import opened
from einsum_cascade.errors import InputError

SWEEP = {
    "name": "few",
    "workload": "bert-base",
    "architecture": "fusemax",
    "axes": {"seq_len": [64, 128], "batch": [1, 2]},
}


def test_two_processes_write_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archsim.sweep(SWEEP, out=tmp_path)
    files = [tmp_path / export.CSV, tmp_path / export.PARQUET]
    before = [path.read_bytes() for path in files]
    monkeypatch.setattr(export, "_MIN_ROWS_FOR_A_PROCESS", 1)
    for path in files:
        path.unlink()
    with opened(tmp_path) as store:
        assert export.export(store, sweep_of({"sweep": SWEEP}), workers=2) == tuple(files)
    assert [path.read_bytes() for path in files] == before
    # What goes wrong in the other process is told in this one.
    (tmp_path / export.PARQUET).unlink()
    (tmp_path / export.PARQUET).mkdir()
    with opened(tmp_path) as store, pytest.raises(InputError, match="the store beside it has it"):
        export.export(store, sweep_of({"sweep": SWEEP}), workers=2)
