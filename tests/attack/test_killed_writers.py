"""Folders of results, whose writers are killed: the old files, or the new, and nothing beside."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from archsim import writing as exchange
from archsim.writing import OutputFolder, move_together, write_whole

NAMES = ("a.txt", "b.txt", "c.txt")


def written(folder: Path, text: str) -> None:
    with OutputFolder(folder) as out:
        for name in NAMES:
            out.text(name, text)


def kept(folder: Path) -> set[str]:
    return {(folder / name).read_text(encoding="utf-8") for name in NAMES}


def in_folder(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(exchange._renameat2() is None, reason="no step that exchanges two folders")
def test_a_killed_writer_leaves_one_runs_files_and_the_next_clears_up(tmp_path: Path) -> None:
    folder, chance = tmp_path / "out", random.Random(3)
    seen = set[str]()
    for turn in range(20):
        if turn == 10:
            (folder / "mine.txt").write_text("mine", encoding="utf-8")
        ours, theirs = os.pipe()
        if not (child := os.fork()):
            try:
                for n in count(1000 * turn):
                    written(folder, str(n))
                    os.write(theirs, b".")
            finally:
                os._exit(1)
        os.read(ours, 1)
        time.sleep(0.01 * chance.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        os.close(theirs)
        (text,) = kept(folder)
        seen.add(text)
    assert len(seen) == 20
    written(folder, "last")
    assert kept(folder) == {"last\n"}
    assert in_folder(folder) == [*NAMES, "mine.txt"]
    assert in_folder(tmp_path) == ["out"]


def test_what_else_a_folder_holds_stays_and_so_does_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    written(folder, "old")
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    (folder / "link").symlink_to("mine.txt")
    (folder / "a.txt").chmod(0o600)
    folder.chmod(0o750)
    inode = (folder / "mine.txt").stat().st_ino
    written(folder, "new")
    assert kept(folder) == {"new\n"}
    assert (folder / "mine.txt").stat().st_ino == inode
    assert (folder / "link").is_symlink()
    assert (folder / "a.txt").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("why", ["a folder", "no step", "worked in"])
def test_a_folder_that_cannot_be_exchanged_gets_each_file_by_itself(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    written(folder, "old")
    inode = folder.stat().st_ino
    if why == "a folder":
        (folder / "more").mkdir()
    elif why == "no step":
        monkeypatch.setattr(exchange, "_renameat2", lambda: None)
    else:
        monkeypatch.chdir(folder)
    written(folder, "new")
    assert kept(folder) == {"new\n"}
    assert folder.stat().st_ino == inode
    assert in_folder(tmp_path) == ["out"]


def test_what_comes_while_files_are_linked_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stage = tmp_path / "out", tmp_path / "stage"
    written(folder, "old")
    stage.mkdir()
    for name in NAMES:
        (stage / name).write_text("new\n", encoding="utf-8")

    def late(one: Path, other: Path) -> None:
        (folder / "late.txt").write_text("late", encoding="utf-8")
        swap(one, other)

    swap = exchange._exchange
    monkeypatch.setattr(exchange, "_exchange", late)
    move_together(stage, folder)
    assert kept(folder) == {"new\n"}
    assert (folder / "late.txt").read_text(encoding="utf-8") == "late"


def test_a_stage_of_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out") as first:
        first.text("a.txt", "first")
        written(tmp_path / "out", "second")
    assert (tmp_path / "out" / "a.txt").read_text(encoding="utf-8") == "first\n"
    write_whole(tmp_path / "one.txt", lambda path: path.write_text("1", encoding="utf-8"))
    assert in_folder(tmp_path) == ["one.txt", "out"]
