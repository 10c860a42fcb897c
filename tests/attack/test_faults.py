"""Disks, folders, pipes, signals: old files stay, or new ones are whole, and somebody is told."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace

import pytest
from commands import python, refused, run
from numba.core.caching import FunctionCache, IndexDataCacheFile
from places import ROOT

from archsim.atlas.survey import AtlasPlan, survey
from archsim.cli.console import WaitingSign
from archsim.compiled import KeptCode, compiled
from archsim.processes import map_in_order
from archsim.writing import OutputFolder, Write, write_whole
from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names

SMALL = ("bert-base", "fusemax", "--set", "seq_len=64", "--set", "batch=1")


def _fails(path: Path) -> None:
    path.write_text("half", encoding="utf-8")
    raise OSError(28, "No space left on device")


def _write_two(folder: Path, second: Write) -> None:
    with OutputFolder(folder) as out:
        out.text("a.txt", "new")
        out.file("b.txt", second)


def test_files_of_a_folder_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")
    (tmp_path / "a.txt").chmod(0o640)
    with pytest.raises(InputError, match=r"cannot write .*b\.txt: no space left on device"):
        _write_two(tmp_path, _fails)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    with OutputFolder(tmp_path) as out:
        out.text("a.txt", "new")
        out.text("b.txt", "new")
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", lambda p: p.write_text("new", encoding="utf-8"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"
    write_whole(Path(os.devnull), lambda p: p.write_text("new", encoding="utf-8"))
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_told() -> None:
    assert "no space left" in refused("simulate", *SMALL, "--trace", "/dev/full")
    assert (
        "no space left"
        in refused("rewrite", "attention-3pass", "defer_division", "--out", "/dev/full").lower()
    )


@pytest.mark.skipif(os.name != "posix", reason="pipes of another kind")
def test_a_reader_that_went_away_and_a_full_place_are_told() -> None:
    """Help is printed before a command is there to be run."""
    ours, theirs = os.pipe()
    os.close(ours)
    gone = python("-m", "archsim", "--help", stdout=theirs)
    os.close(theirs)
    assert (gone.returncode, gone.stderr) == (141, "")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            told = python("-m", "archsim", "--help", stdout=full)
        assert told.returncode == 2
        assert told.stderr.startswith("error: cannot write the output: No space left on device")


def test_compiled_code_that_cannot_be_kept_or_read_is_compiled() -> None:
    def broken(self: IndexDataCacheFile, *_: object) -> None:
        raise next(faults)

    faults = iter((EOFError(), OSError(28, "No space left on device"), UnpicklingError()))
    made = compiled(_twice)
    if not hasattr(made, "_cache"):
        pytest.skip("nothing is compiled here")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(IndexDataCacheFile, "load", broken)
        patched.setattr(IndexDataCacheFile, "save", broken)
        assert made(3) == 6
    assert isinstance(next(faults), UnpicklingError)


def test_code_that_llvm_does_not_hand_over_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen once in a search: "no compiled object yet for <Library '_is_better'>"."""

    def lost(*_: object) -> None:
        raise RuntimeError("no compiled object yet")

    made = compiled(_twice)
    if not hasattr(made, "_cache"):
        pytest.skip("nothing is compiled here")
    monkeypatch.setattr("numba.core.caching.CompileResultCacheImpl.reduce", lost)
    monkeypatch.setattr(IndexDataCacheFile, "load", lambda *_: None)
    assert made(3) == 6


def test_code_of_another_signature_is_not_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes may give what they keep at once the same name."""
    of_integers = SimpleNamespace(signature=SimpleNamespace(args=("int64",)))
    monkeypatch.setattr(FunctionCache, "load_overload", lambda *_: of_integers)
    kept = KeptCode(_twice)
    assert kept.load_overload(("int64",), None) is of_integers
    assert kept.load_overload(("float64",), None) is None


def _twice(number: int) -> int:
    return 2 * number


@pytest.mark.slow
def test_a_killed_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = r"a worker process was killed, perhaps for want of memory: nothing was written"
    monkeypatch.setattr("archsim.atlas.survey._entry_and_steps", _dies)
    names = builtin_names("cascades")[:8]
    nothing = AtlasPlan(cascades=names, machines=(), mappings=(), scenarios=())
    with pytest.raises(InputError, match=told):
        survey(nothing, workers=2)
    with pytest.raises(InputError, match=told):
        list(map_in_order(_dies, [1, 2], 2, left="nothing was written"))


def _dies(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_nothing_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "permission denied" in refused("simulate", *SMALL, "--out", str(tmp_path / "new"))


@pytest.mark.parametrize("cache", ["/dev/null", "/dev/null/below", "/proc/none"])
def test_a_cache_that_takes_nothing_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    expected = run("simulate", *SMALL).stdout
    monkeypatch.setenv("ARCHSIM_CACHE", cache)
    monkeypatch.setattr(
        "mappers.construct.policy.REMEMBER_AFTER_S", 0.0
    )  # what is made is worth keeping
    result = run("simulate", *SMALL)
    assert result.exit_code == 0, result.output
    assert result.stdout == expected


def test_no_home_and_no_user_of_that_number_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is run as a user whom it does not know."""
    monkeypatch.delenv("ARCHSIM_CACHE")
    for places in (_nobody, lambda _: Path("~/.cache")):
        monkeypatch.setattr("platformdirs.user_cache_path", places)
        assert run("simulate", *SMALL).exit_code == 0
    assert not Path("~").exists()


def _nobody(name: str) -> Path:
    raise RuntimeError("could not determine the home directory")


def test_no_home_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "ARCHSIM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr(
        "mappers.construct.policy.REMEMBER_AFTER_S", 0.0
    )  # what is made is worth keeping
    assert run("simulate", *SMALL).exit_code == 0
    assert not Path("/nowhere").exists(), "a home is not made"


def test_somebody_who_waits_is_told_on_one_line_that_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("archsim.cli.console._AFTER_S", 0.02)
    monkeypatch.setattr("archsim.cli.console._EVERY_S", 0.01)
    stream = io.StringIO()
    sign = WaitingSign(stream)
    until = time.monotonic() + 10
    while "working" not in stream.getvalue() and time.monotonic() < until:
        time.sleep(0.01)
    with sign.muted():
        before = stream.getvalue()
        time.sleep(0.06)
        assert stream.getvalue() == before
    sign.stop()
    assert before.startswith("\rworking, 0 s (Ctrl-C ends it)")
    assert stream.getvalue().endswith("\r")


def test_a_log_file_has_a_line_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archsim.cli.console._LOGGED_EVERY_S", 0.03)
    monkeypatch.setattr("archsim.cli.console._EVERY_S", 0.01)
    stream = io.StringIO()
    sign = WaitingSign(stream, live=False)
    sign.doing = "points: 3 of 9"
    until = time.monotonic() + 10
    while stream.getvalue().count("\n") < 2 and time.monotonic() < until:
        time.sleep(0.01)
    sign.stop()
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"points: 3 of 9, 0 s"}


@pytest.mark.skipif(os.name != "posix", reason="a terminal of another kind")
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_long_search_shows_that_it_works_and_ends_at_once(tmp_path: Path, how: int) -> None:
    import pty

    ours, theirs = pty.openpty()
    words = (
        "-m",
        "archsim",
        "reproduce",
        "fusemax",
        "--workers",
        "1",
        "--out",
        str(tmp_path / "out"),
    )
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ARCHSIM_CACHE": ""},
    )
    os.close(theirs)
    assert os.read(ours, 1)  # a bar, or the sign
    process.send_signal(how)
    assert process.wait(timeout=60) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    os.close(ours)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("[!.]*"))
