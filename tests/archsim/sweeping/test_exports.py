"""The results as files, which are whole or not there."""

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
    "axes": {"seq_len": [64], "batch": [1, 2]},
}


def test_a_file_that_cannot_be_written_says_that_the_store_has_it_all(tmp_path: Path) -> None:
    archsim.sweep(SWEEP, out=tmp_path)
    (tmp_path / export.PARQUET).unlink()
    (tmp_path / export.PARQUET).mkdir()
    with opened(tmp_path) as store, pytest.raises(InputError, match="the store beside it has it"):
        export.export(store, sweep_of({"sweep": SWEEP}))
