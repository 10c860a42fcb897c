"""Process pools: worker processes for tasks that are independent of one another."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from einsum_cascade.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

_HANDOVER_TIMEOUT_S = 1.0
"""Seconds that a pool has to take over submitted tasks before it is shut down."""
_FILES_OF_A_POOL = 32
_FILES_OF_A_WORKER = 2
"""Files that must be free: a pool of 2 or 4 workers keeps 10 open, and opens more to start."""
_PARENT_POLL_S = 0.2
"""Seconds between two checks of a worker that its parent still runs."""
_NO_LEAKS = "ignore:resource_tracker"
"""Option of Python that keeps the processes which remove the locks of a dead pool from reporting
that."""
COLLECT_AFTER = 50_000
"""Number of objects allocated between two garbage collections, on the command line as well."""


class SameProcess(Executor):
    """Executor that runs a task when it is submitted, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return a finished future."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass(frozen=True, slots=True)
class Pool:
    """Executor of tasks, and the number of tasks that it runs at a time."""

    executor: Executor
    workers: int


@contextmanager
def processes(workers: int) -> Iterator[Pool]:
    """Open a pool of worker processes, which end with the context; one worker is this process."""
    if workers == 1:
        yield Pool(SameProcess(), 1)
        return
    # A pool of one worker does not need joblib, which takes a tenth of a second to import.
    from multiprocessing import resource_tracker

    from joblib.externals.loky import ProcessPoolExecutor

    _check_descriptors(workers)
    sys.warnoptions.append(_NO_LEAKS)
    executor: Any = ProcessPoolExecutor(
        max_workers=workers, initializer=begin_worker, initargs=(os.getpid(),)
    )
    resource_tracker.ensure_running()  # It unblocks Ctrl-C when it starts.
    with interrupts_blocked():
        executor.submit(os.getpid)  # Starts all workers.
    sys.warnoptions.remove(_NO_LEAKS)
    try:
        yield Pool(executor, workers)
    finally:
        # The thread of the pool fails on tasks that it has not taken over before the shutdown.
        end = time.monotonic() + _HANDOVER_TIMEOUT_S
        while not executor._work_ids.empty() and time.monotonic() < end:
            time.sleep(_HANDOVER_TIMEOUT_S / 100)
        executor.shutdown(wait=True, kill_workers=True)


def _check_descriptors(workers: int) -> None:
    """Raise OSError if too few files may be open for a pool, which would fail halfway or hang."""
    with ExitStack() as stack:
        for _ in range(_FILES_OF_A_POOL + _FILES_OF_A_WORKER * workers):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C while workers start; they inherit this, and the parent is told afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(parent: int) -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, and ends with it.

    Parameters
    ----------
    parent : int
        Number of the parent process, from before the worker started: it may have ended since.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(COLLECT_AFTER)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def map_in_order(
    function: Callable[[T], R], tasks: Iterable[T], workers: int, *, left: str
) -> Iterator[R]:
    """Yield the result of a function for each task, in the order of the tasks.

    Parameters
    ----------
    function : callable
    tasks : iterable
    workers : int
        Processes; one runs each task when its result is asked for.
    left : str
        State of the work after a worker was killed, for the error message.

    Raises
    ------
    InputError
        A worker was killed.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    with processes(workers) as pool, report_killed_workers(left):
        yield from pool.executor.map(function, tasks)


@contextmanager
def report_killed_workers(left: str) -> Iterator[None]:
    """Report a worker process that the system killed.

    Parameters
    ----------
    left : str
        State of the work, and what the user can do.

    Raises
    ------
    InputError
        A worker was killed.
    """
    try:
        yield
    except BrokenProcessPool:
        text = "a worker process was killed, perhaps for want of memory"
        raise InputError(f"{text}: {left}") from None


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
