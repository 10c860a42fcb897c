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

_LONG = """
import numba  # whoever has it already does not run in Python first
from archsim.cli import main
main()
"""

PACKAGES = ("archsim", "einsum_cascade", "mappers", "workloads", "specs")


def sealed(folder: Path) -> Path:
    """A copy of the packages beside whose modules nothing can be kept."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=lambda *_: {"__pycache__"})
    (folder / "archsim" / "engine" / "__pycache__").touch()
    return folder


def python(folder: Path, caches: Path, *arguments: str) -> str:
    """What a process prints whose caches are elsewhere; how well it is compiled is no matter."""
    given = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    given |= {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(caches), "HOME": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-B", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=given,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="caches are elsewhere on other systems")
def test_the_kernel_is_kept_in_the_users_cache_or_nowhere(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "site")
    caches = tmp_path / "caches"
    caches.mkdir()
    said = python(folder, caches, "-c", _LONG, "simulate", "--set", "seq_len=64K", "--json")
    assert json.loads(said)["schedule"]["simulated_events"] > 1000
    assert list(caches.rglob("kernel.run-*.nbi"))
    # Where nothing can be kept the kernel is there too; a small function is as soon compiled.
    small = folder / "archsim" / "engine" / "small.py"
    small.write_text(
        "from ..compiled import compiled\nfrom . import kernel\n\n\n"
        "@compiled\ndef twice(x: int) -> int:\n    return 2 * x\n\n\n"
        "assert callable(kernel.run)\nprint(twice(21))\n"
    )
    nowhere = Path("/dev/null/nowhere")
    assert python(folder, nowhere, "-c", "import archsim.engine.small") == "42\n"
