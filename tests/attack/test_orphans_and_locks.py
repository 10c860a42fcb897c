"""Workers that lose their parent, locks that others hold, and limits of the system."""

from __future__ import annotations

import faulthandler
import fcntl
import io
import json
import logging
import multiprocessing
import os
import re
import resource
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import python, refused

from archsim import locks
from archsim.locks import wait_for
from archsim.processes import begin_worker, interrupts_blocked, map_in_order, processes
from archsim.sweeping.file import sweep_of
from archsim.sweeping.store import StoredSweep, opened_for, wait_until_free
from archsim.writing import alone_in, write_whole
from einsum_cascade.errors import InputError, SpecError
from einsum_cascade.source import Source, _lines
from mappers.exact.process_pool import ProcessPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes of another kind")

SWEEP = {
    "name": "small",
    "workload": "bert-base",
    "architecture": "fusemax",
    "mapping": "fusemax-binding",
    "set": {"batch": 1, "seq_len": 64},
    "axes": {"H": [1, 2]},
}
PATIENCE_S = 0.05
UNINTERRUPTED = range(3 * 10**9)
"""Numbers whose sum takes half a minute, in which no other thread of the process runs."""


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[tuple[int, int]]:
    """Run a function in a child that then sleeps; its number, and a pipe that ends with it and its
    own children."""
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        try:
            work()
            os.write(theirs, b".")
            time.sleep(60)
        finally:
            os._exit(3)
    os.close(theirs)
    assert os.read(ours, 1) == b"."
    try:
        yield child, ours
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_helpers_of_a_search_end_with_it_busy_or_idle(how: int) -> None:
    def search() -> None:
        pool = ProcessPool(sum, 2, at_once=True)
        pool.begin()
        pool.submit(UNINTERRUPTED)

    with forked(search) as (child, ends):
        os.kill(child, how)
        assert select.select([ends], [], [], 5)[0], "somebody is left"
        assert os.read(ends, 1) == b""


def test_workers_of_a_sweep_end_with_it_starting_or_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(20)\n")  # A long import.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told, tell = os.pipe()
    pools = ExitStack()

    def sweep() -> None:
        executor: Any = pools.enter_context(processes(2)).executor
        executor.submit(sum, UNINTERRUPTED)
        os.write(tell, json.dumps([*executor._processes]).encode())

    with forked(sweep):
        workers = [os.pidfd_open(number) for number in json.loads(os.read(told, 99))]
    assert all(select.select([worker], [], [], 5)[0] for worker in workers), "somebody is left"
    for file in (told, tell, *workers):
        os.close(file)


def test_a_worker_whose_parent_ended_while_it_started_ends() -> None:
    if not (child := os.fork()):
        begin_worker(-1)
        time.sleep(20)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_workers_end_with_results_that_nobody_wants_any_more() -> None:
    results = map_in_order(time.sleep, [0, *[20] * 12], 2, left="")
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("usual", [sys.__stderr__, None])
def test_workers_start_where_messages_are_caught(
    usual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook's stream of messages may have no descriptor, which a report of a crash needs, and
    a shell may close the usual one."""
    monkeypatch.setattr(sys, "__stderr__", usual)
    watched = faulthandler.is_enabled()
    faulthandler.disable()
    try:
        with redirect_stderr(io.StringIO()):
            assert [*map_in_order(abs, [-1, -2], 2, left="")] == [1, 2]
    finally:
        if watched:
            faulthandler.enable(2)


def test_ctrl_c_waits_until_workers_have_started_whatever_thread_it_meets() -> None:
    begins = threading.Event()
    thread = threading.Thread(target=lambda: begins.wait() and signal.raise_signal(signal.SIGINT))
    thread.start()
    steps: list[None] = []
    with pytest.raises(KeyboardInterrupt), interrupts_blocked():
        steps += (step() for step in (begins.set, thread.join))
    thread.join()
    assert steps == [None, None]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_lock_is_not_waited_for_in_silence_or_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "_TELL_AFTER_S", 0.0)
    monkeypatch.setattr("archsim.writing.wait_for", partial(wait_for, patience_s=PATIENCE_S))

    def hold() -> None:
        fcntl.flock(os.open(tmp_path, os.O_RDONLY), fcntl.LOCK_EX)

    with forked(hold) as (child, _):
        held = f"process {child} keeps"
        with pytest.raises(InputError, match=rf"gave up after 0 s: {held} {tmp_path} locked"):
            write_whole(tmp_path / "a.txt", Path.touch)
    assert caplog.messages == [f"waiting for {tmp_path}: {held} it locked (at most 0 s)"]
    assert caplog.records[0].levelno == logging.WARNING
    write_whole(tmp_path / "a.txt", Path.touch)
    assert names(tmp_path) == ["a.txt"]


def test_a_locked_store_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = StoredSweep(name="a", version="1", said="", files="", total=1, source="", text="")
    monkeypatch.setattr("archsim.sweeping.store.wait_for", partial(wait_for, patience_s=PATIENCE_S))
    monkeypatch.setattr("archsim.sweeping.store._BUSY_S", 0.0)
    path = tmp_path / "store.sqlite"
    with opened_for(tmp_path, known) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"gave up after 0 s: .*store\.sqlite locked"):
            store.add([])
        with pytest.raises(InputError, match=r"gave up after 0 s: .*store\.sqlite locked"):
            wait_until_free(path)
        other.rollback()
        store.add([])


def test_stages_of_the_dead_are_removed_whatever_is_written_next(tmp_path: Path) -> None:
    for name in (".gone.csv.99-0.part", ".kept.csv.99-1.part", ".mine.part"):
        (tmp_path / name).mkdir()
    with alone_in(tmp_path / ".kept.csv.99-1.part"):
        write_whole(tmp_path / "a.txt", Path.touch)
    assert names(tmp_path) == [".kept.csv.99-1.part", ".mine.part", "a.txt"]


def test_what_the_system_refuses_is_told_and_no_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(error: Exception) -> Callable[..., object]:
        def raises(*_: object, **__: object) -> None:
            raise error

        return raises

    advice = ImportError("a page of numpy's")
    advice.__cause__ = ImportError("libx.so: failed to map")
    (tmp_path / "sweep.yaml").write_text(json.dumps({"sweep": SWEEP}))
    monkeypatch.setattr("archsim.processes._FILES_OF_A_POOL", 10**7)
    words = ("sweep", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out"))
    told = "error: too many open files: /dev/null: 'ulimit -n' allows more\n"
    assert refused(*words, "--workers", "2") == told
    for error, told in (
        (MemoryError(), "error: out of memory"),
        (ImportError("libx.so: failed to map"), "error: cannot load a library: libx.so"),
        (advice, "error: cannot load a library: libx.so"),
        (RuntimeError("can't start new thread"), "error: can't start new thread"),
    ):
        monkeypatch.setattr("archsim.sweeping.sweep.check_sweep", fails(error))
        assert refused(*words).startswith(told)


@pytest.mark.parametrize("limit", [20_000, 100_000, 300_000])
def test_too_little_memory_is_told_before_a_library_crashes(limit: int) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit * 1024, resource.RLIM_INFINITY))

    words = [sys.executable, "-m", "archsim", "list"]
    done = subprocess.run(words, preexec_fn=limited, capture_output=True, text=True)
    told = f"'ulimit -v' allows {limit // 1024} MB, at least 512 are needed"
    assert done.stderr == f"error: not enough memory to start: {told}\n"
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
def test_a_killed_pool_leaves_no_warning() -> None:
    script = "import os\nfrom archsim.processes import processes\n"
    done = python("-c", f"{script}with processes(2):\n    os.kill(os.getpid(), 9)")
    assert (done.returncode, done.stderr) == (-9, "")


def test_no_error_exits_with_the_code_of_a_failed_check() -> None:
    script = """
import os, sys
from archsim.cli import application
def ends(words):
    sys.argv = ["archsim", *words]
    try:
        application.main()
    except SystemExit as end:
        return end.code
print(ends(["list", "nothing"]), ends(["--version"]), ends(["nothing"]))
import matplotlib
print(matplotlib.get_backend().lower())
application.Commands.get_command = lambda *_: 1 // 0
print(ends(["list"]))
sys.stderr.flush()
sys.stderr = open("/dev/full", "w")
print(ends(["nothing"]))
"""
    os.environ["MPLBACKEND"] = "nonsense"
    try:
        done = python("-c", script)
    finally:
        del os.environ["MPLBACKEND"]
    *version, backend, fault, full = done.stdout.splitlines()
    assert [version[-1], backend, fault, full] == ["2 0 2", "agg", "2", "2"], done.stderr
    assert done.returncode == 0
    assert re.findall("^[A-Z]\\w+Error", done.stderr, re.MULTILINE) == ["ZeroDivisionError"]


def test_long_conditions_are_read_in_one_pass() -> None:
    for text in (f"area_um2 < 1{' ' * 100_000}x", f"area_um2 < {'1 ' * 20_000}"):
        with pytest.raises(SpecError, match="is no number of"):
            sweep_of(SWEEP | {"where": text})
    (kept,) = sweep_of(SWEEP | {"where": "area_um2 < 1 mm^2 "}).conditions
    assert kept.column == "area_um2"


def test_a_text_is_split_once_for_all_its_problems() -> None:
    text = Source("a", "one\ntwo\n")
    before = _lines.cache_info().misses
    assert [text.line(n) for n in range(4)] == ["", "one", "two", ""]
    assert _lines.cache_info().misses == before + 1
