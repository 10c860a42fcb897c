"""The compiled kernel where the package cannot be written, and where nothing can."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("archsim", "einsum_cascade", "mappers", "workloads", "specs")


def sealed(folder: Path) -> Path:
    """A copy of the packages beside whose modules nothing can be kept."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=lambda *_: {"__pycache__"})
    (folder / "archsim" / "events" / "__pycache__").touch()
    return folder


def simulated(folder: Path, caches: Path) -> float:
    """Cycles by the event engine, in a process whose caches are elsewhere."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    given |= {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(caches), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-B", "-m", "archsim", "simulate", "--engine", "event", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=given,
    )
    assert done.stderr == ""
    return float(json.loads(done.stdout)["cycles"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="caches are elsewhere on other systems")
def test_the_kernel_is_kept_in_the_users_cache_or_nowhere(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "site")
    caches = tmp_path / "caches"
    caches.mkdir()
    kept = simulated(folder, caches)
    assert list(caches.rglob("kernel.run-*.nbi"))
    assert simulated(folder, Path("/dev/null/nowhere")) == kept
