"""Files that a sweep reads, each once: what changes is refused by name, what was absent is tried
again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import refused, run
from places import ROOT

import archsim
from archsim.api import find_best
from archsim.sweeping.file import sweep_of
from archsim.sweeping.sweep import run_sweep
from mappers.construct.generators import generators_of

MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
}
SWEEP: dict[str, Any] = {
    "name": "files",
    "workload": "./work.yaml",
    "architecture": "machine.yaml",
    "mapping": "parts/mapping.yaml",
    "set": {"seq_len": 64},
    "axes": {"ffn_up": ["up.yaml", "gated.yaml"]},
}
NAMED = (
    *("work.yaml", "base.yaml", "config.json", "attention.yaml", "up.yaml", "gated.yaml"),
    *("machine.yaml", "parts/technology.yaml", "parts/mapping.yaml", "parts/own.yaml"),
)


def copied(kind: str, name: str, to: Path, **changed: str) -> None:
    text = (ROOT / "specs" / kind / f"{name}.yaml").read_text(encoding="utf-8")
    for field, value in changed.items():
        (old,) = (x for x in text.splitlines() if x.startswith(f"  {field}:"))
        text = text.replace(old, f"  {field}: {value}")
    to.write_text(text, encoding="utf-8")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep whose inputs are files, most of them named by other files."""
    (tmp_path / "parts").mkdir()
    copied("cascades", "attention-1pass", tmp_path / "attention.yaml")
    copied("cascades", "linear-layer", tmp_path / "up.yaml")
    copied("cascades", "linear-layer-relu", tmp_path / "gated.yaml")
    copied("technology", "accelergy-45nm", tmp_path / "parts" / "technology.yaml")
    for name in ("mapping", "own"):
        mapping = tmp_path / "parts" / f"{name}.yaml"
        copied("mappings", "fusemax-binding", mapping, cascade="../attention.yaml")
    machine = tmp_path / "machine.yaml"
    copied("architectures", "fusemax", machine, technology="parts/technology.yaml")
    with machine.open("a", encoding="utf-8") as file:
        file.write("\n  mapping: ./parts/own.yaml\n")
    (tmp_path / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    written(tmp_path / "base.yaml", {"workload": {"config": "config.json", "batch": 1}})
    work = {"model": "base.yaml", "scope": "block", "cascade": "./attention.yaml"}
    written(tmp_path / "work.yaml", {"workload": work})
    written(tmp_path / "sweep.yaml", {"sweep": SWEEP})
    return tmp_path / "sweep.yaml"


def written(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


_OPENED: list[str] = []
"""Files that this process opened while a test counts them."""
_COUNTING: list[Path] = []


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    # One call of open with an opener of its own tells of the mode once, and once of none.
    if (
        event == "open"
        and _COUNTING
        and arguments[1]
        and isinstance(arguments[0], str | os.PathLike)
    ):
        path = Path(arguments[0]).absolute()
        if path.is_relative_to(_COUNTING[0]):
            _OPENED.append(os.path.relpath(path, _COUNTING[0]))


sys.addaudithook(_count)


@contextmanager
def counting(folder: Path) -> Iterator[list[str]]:
    _OPENED.clear()
    _COUNTING.append(folder)
    try:
        yield _OPENED
    finally:
        _COUNTING.clear()


def test_each_file_is_read_once_and_no_worker_opens_any(sweep: Path, tmp_path: Path) -> None:
    whole = archsim.sweep(sweep, tmp_path / "whole", workers=1)
    assert whole["status"].tolist() == ["ok"] * 2
    assert whole["latency_s"].nunique() > 1

    def vanish(total: int, done: int) -> Any:
        del total, done

        @contextmanager
        def advancing() -> Iterator[Any]:
            yield lambda _: [(tmp_path / name).unlink(missing_ok=True) for name in NAMED]

        return advancing()

    with counting(tmp_path) as seen:
        generators = generators_of(use_cache=False)
        run_sweep(
            sweep_of(sweep),
            tmp_path / "out",
            generators=generators,
            find=find_best,
            workers=1,
            progress=vanish,
        )
    opened_once = {n: c for n, c in Counter(seen).items() if n in ("sweep.yaml", *NAMED)}
    assert opened_once == dict.fromkeys(("sweep.yaml", *NAMED), 1)
    assert archsim.load_sweep(tmp_path / "out").equals(whole)


def test_a_file_that_changed_is_refused_by_its_name(sweep: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert run("sweep", str(sweep), "--out", out, "--limit", "1").exit_code == 0
    for name in NAMED:
        path = tmp_path / name
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert f"before a file that it names changed ({name})" in _refused(sweep, out)
        path.unlink()
        assert name in _refused(sweep, out)
        path.write_bytes(before)
    up, gated = tmp_path / "up.yaml", tmp_path / "gated.yaml"
    texts = up.read_bytes(), gated.read_bytes()
    gated.write_bytes(texts[0])
    up.write_bytes(texts[1])
    assert "(gated.yaml, up.yaml)" in _refused(sweep, out)
    up.write_bytes(texts[0])
    gated.write_bytes(texts[1])
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    end = run("sweep", str(moved / "sweep.yaml"), "--out", str(moved / "out"), "--workers", "1")
    assert "2 of 2 points: 2 ok" in end.stdout, end.output


def _refused(sweep: Path, out: str) -> str:
    return refused("sweep", str(sweep), "--out", out)


def test_points_that_lacked_a_file_run_again(sweep: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    copied("architectures", "fusemax", other, technology="parts/later.yaml")
    fields = SWEEP | {"axes": {"architecture": ["machine.yaml", "other.yaml"]}}
    written(sweep, {"sweep": {k: v for k, v in fields.items() if k != "architecture"}})
    out = str(tmp_path / "out")
    end = run("sweep", str(sweep), "--out", out, "--workers", "1")
    assert "2 of 2 points: 1 ok, 1 refused" in end.stdout, end.output
    assert f"there is no file '{tmp_path / 'parts' / 'later.yaml'}'" in end.stdout
    later = tmp_path / "parts" / "later.yaml"
    copied("technology", "accelergy-45nm", later)
    end = run("sweep", str(sweep), "--out", out, "--workers", "1")
    assert "2 of 2 points: 2 ok" in end.stdout, end.output
    later.write_text("technology: {}\n", encoding="utf-8")
    assert "(parts/later.yaml)" in _refused(sweep, out)


OPENS = """
import os, sys

def count(event, arguments):
    if event == "open" and arguments[1] and str(arguments[0]).startswith(os.environ["COUNTED"]):
        with_id = f"{os.getpid()} {os.path.relpath(arguments[0], os.environ['COUNTED'])}\\n"
        os.write(log, with_id.encode())

log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(count)
"""


@pytest.mark.slow
def test_processes_open_no_file(sweep: Path, tmp_path: Path) -> None:
    counted, hook = tmp_path / "opens", tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(OPENS, encoding="utf-8")
    text = {k: v for k, v in SWEEP.items() if k != "mapping"}
    written(sweep, {"sweep": text | {"axes": SWEEP["axes"] | {"batch": [1, 2]}}})
    environment = {"PYTHONPATH": f"{hook}:{ROOT}", "LOG": str(counted), "COUNTED": str(tmp_path)}
    words = ("sweep", str(sweep), "--out", str(tmp_path / "out"), "--workers", "2")
    done = subprocess.run(
        [sys.executable, "-m", "archsim", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 of 4 points: 4 ok" in done.stdout, done.stderr
    opened = [line.split(" ", 1) for line in counted.read_text(encoding="utf-8").splitlines()]
    # By default the machine's own mapping runs, and the sweep's is not named.
    names = sorted({"sweep.yaml", *NAMED} - {"parts/mapping.yaml"})
    read = [(name, process) for process, name in opened if name in names]
    assert sorted(name for name, _ in read) == names
    assert len({process for _, process in read}) == 1
