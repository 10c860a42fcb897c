"""Paths that no system takes, and files that are none: a message, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import refused, run
from places import ROOT
from small import write

LONG = "./" + "a" * 5000
DEEP = "a/" * 3000 + "a.yaml"
LOOPED = "loop/x.yaml"


def _specification(folder: Path, kind: str, name: str, old: str, new: str) -> str:
    text = (ROOT / "specs" / kind / f"{name}.yaml").read_text(encoding="utf-8")
    assert old in text
    path = folder / "referring.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "path", [LONG, DEEP, LOOPED, "a\0b/c"], ids=["long", "deep", "loop", "nul"]
)
def test_a_path_in_a_file_is_refused_with_its_place(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    written = '"' + path.replace("\0", "\\0") + '"'
    work = _specification(
        tmp_path, "workloads", "bert-base", "name: bert-base", f"model: {written}"
    )
    assert "referring.yaml:" in refused("simulate", work)
    work = _specification(
        tmp_path, "workloads", "bert-base", "name: bert-base", f"config: {written}"
    )
    assert "referring.yaml:" in refused("simulate", work)
    mapping = _specification(
        tmp_path, "mappings", "flat", "cascade: attention-3pass", f"cascade: {written}"
    )
    assert "referring.yaml:" in refused("simulate", "bert-base", "flat", "--mapping", mapping)
    plan = write(tmp_path, ("workloads: [bert-base]\n  seq", f"workloads: [{written}]\n  seq"))
    assert "small.yaml:" in refused("reproduce", str(plan))


@pytest.mark.parametrize("path", [LONG, DEEP], ids=["long", "deep"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", "PATH"),
        ("show", "PATH"),
        ("simulate", "PATH"),
        ("simulate", "bert-base", "PATH"),
        ("simulate", "bert-base", "fusemax", "--mapping", "PATH"),
        ("simulate", "bert-base", "fusemax", "--set", "cascade=PATH"),
        ("simulate", "bert-base", "fusemax", "--set", "config=PATH"),
        ("simulate", "bert-base", "fusemax", "--set", "technology=PATH"),
        ("simulate", "bert-base", "fusemax", "--set", "seq_len=64", "--out", "PATH"),
        ("simulate", "bert-base", "fusemax", "--set", "seq_len=64", "--trace", "PATH"),
        ("rewrite", "attention-3pass", "defer_division", "--out", "PATH"),
        ("compare", "bert-base", "fusemax", "PATH"),
        ("validate", "PATH"),
        ("sweep", "PATH", "--out", "PATH"),
        ("reproduce", "PATH"),
        ("reproduce", "fusemax", "--figure", "9", "--published", "PATH"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_path_on_the_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(path if word == "PATH" else word.replace("PATH", path) for word in arguments))
    assert result.exit_code == 2, (result.output[-500:], result.exception)
    assert not list(tmp_path.iterdir())


def test_a_published_table_that_is_no_table(tmp_path: Path) -> None:
    plan = write(tmp_path)
    (tmp_path / "theirs.csv").write_text("workload,table\n" + "x" * 200_000, encoding="utf-8")
    assert "field larger than field limit" in refused(
        "reproduce", str(plan), "--published", str(tmp_path)
    )


def test_a_cache_that_cannot_be_there_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSIM_CACHE", LONG)
    result = run("simulate", "bert-base", "fusemax", "--set", "seq_len=64", "--set", "batch=1")
    assert result.exit_code == 0, result.output
