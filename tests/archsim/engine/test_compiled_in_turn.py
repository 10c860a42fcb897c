"""Processes that begin at a time: one compiles a function, the others read what it made."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numba
import pytest
from filelock import FileLock

from archsim import compiled as room
from archsim.compiled import compiled, compiled_inside

pytestmark = [
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="Numba is told to compile nothing"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked"),
]


def _cube(x: int) -> int:
    return x * x * x


def _compile(all_there: Barrier, missed: SimpleQueue[int]) -> None:
    made: Any = compiled(_cube)
    all_there.wait()
    assert made(3) == 27
    missed.put(sum(made.stats.cache_misses.values()))


def test_several_that_begin_at_a_time_compile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    context = multiprocessing.get_context("fork")
    all_there, missed = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=_compile, args=(all_there, missed)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(missed.get() for _ in processes) == [0, 0, 1]


def test_who_takes_too_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(room, "_PATIENCE_S", 0)
    made: Any = compiled(_cube)
    made._cache.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made._cache.lock):
        assert made(3) == 27


@compiled_inside
def _half(x: int) -> int:
    return x // 2


@compiled
def _quarter(x: int) -> int:
    return _half(_half(x))


def test_what_has_no_way_in_from_python_says_so() -> None:
    for made in (None, _quarter(13)):  # before it is compiled, and after
        assert made in (None, 3)
        with pytest.raises(TypeError, match="_half is called by compiled code alone: @compiled"):
            _half(13)
