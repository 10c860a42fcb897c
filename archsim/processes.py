"""Process pools: worker processes for tasks that are independent of one another."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, TypeVar

from einsum_cascade.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

_FILES_OF_A_POOL = 32
_FILES_OF_A_WORKER = 2
"""Files that must be free: a pool of 2 or 4 workers keeps 10 open, and opens more to start."""
_PARENT_POLL_S = 0.2
"""Seconds between two checks of a worker that its parent still runs, if the system makes none."""
_PR_SET_PDEATHSIG = 1
"""Number by which Linux is asked for a signal at the end of the parent."""
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
    """Open a pool of worker processes, which end with the context; one worker is this process.

    Workers are forked on Linux. A worker that starts by imports outlives a parent killed meanwhile.
    """
    if workers == 1:
        yield Pool(SameProcess(), 1)
        return
    # A pool of one worker does not need joblib, which takes a tenth of a second to import.
    from multiprocessing import get_context, resource_tracker

    from joblib.externals.loky import ProcessPoolExecutor

    _check_descriptors(workers)
    sys.warnoptions.append(_NO_LEAKS)
    context = get_context("fork") if sys.platform == "linux" else None
    executor: Any = ProcessPoolExecutor(
        max_workers=workers, context=context, initializer=begin_worker, initargs=(os.getpid(),)
    )
    if context is None:
        resource_tracker.ensure_running()  # It unblocks Ctrl-C when it starts.
    try:
        # Workers need a stream with a descriptor, which one that catches messages lacks.
        with ExitStack() as stack:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stderr(sys.__stderr__ or nowhere))
            stack.enter_context(interrupts_blocked())
            executor.submit(os.getpid)  # Starts all workers.
        yield Pool(executor, workers)
    finally:
        sys.warnoptions.remove(_NO_LEAKS)
        # The thread of the pool fails on tasks that it would take over after the shutdown.
        with suppress(Empty):
            while True:
                executor._work_ids.get_nowait()
        executor.shutdown(wait=True, kill_workers=True)


def _check_descriptors(workers: int) -> None:
    """Raise OSError if too few files may be open for a pool, which would fail halfway or hang."""
    with ExitStack() as stack:
        for _ in range(_FILES_OF_A_POOL + _FILES_OF_A_WORKER * workers):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C while workers start; they inherit this, and the parent is told afterwards.

    Another thread may receive a signal that this one blocks, and Python drops an exception that a
    handler raises in the middle of a fork. The handler therefore waits, too.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[Any] = []
    handler: Any = signal.getsignal(signal.SIGINT)
    waits = callable(handler) and threading.current_thread() is threading.main_thread()
    if waits:
        signal.signal(signal.SIGINT, lambda *arguments: came.append(arguments))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if waits:
            signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


def begin_worker(parent: int) -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, and ends with it.

    On Linux the system kills the worker with the thread that started it. Elsewhere a thread of the
    worker watches the parent.

    Parameters
    ----------
    parent : int
        Number of the parent process, from before the worker started: it may have ended since.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # The collector would touch inherited objects, whose pages would be copied.
    gc.set_threshold(COLLECT_AFTER)


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
        # The map of an executor cancels tasks if it is left, which the pool's thread cannot bear.
        futures = deque(pool.executor.submit(function, task) for task in tasks)
        while futures:
            yield futures.popleft().result()


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
