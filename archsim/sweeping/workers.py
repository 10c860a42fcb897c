"""Who runs batches of points: this process, or several."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from einsum_cascade.errors import InputError

from .points import Point
from .run import BatchDone, run_batch

_SECONDS = 0.5
"""What a batch should take: what is lost when the power goes, and how often the store writes."""
_LARGEST = 1000
_LOOK_AFTER = 0.2
"""Seconds between two looks whether the process that started this one is there."""
_COLLECT_AFTER = 50_000
"""Objects made between two looks for garbage, as in the command line itself."""

NextPoints = Callable[[int], tuple[Point, ...]]
"""The next points to run, at most so many; none when there are no more."""


class SameProcess(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def pool(workers: int) -> Iterator[Executor]:
    """Some processes, or this one; they are gone afterwards, whatever happened."""
    if workers == 1:
        yield SameProcess()
        return
    # With one process nothing of joblib is needed: it would be a tenth of a second.
    from joblib.externals.loky import ProcessPoolExecutor

    executor: Any = ProcessPoolExecutor(
        max_workers=workers, initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _begin(parent: int) -> None:
    """Ctrl-C is for the process that waits for this one, and without that one it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_COLLECT_AFTER)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_AFTER)
    os._exit(1)


def batches_done(
    executor: Executor, workers: int, task: bytes, next_points: NextPoints
) -> Iterator[BatchDone]:
    """Batches as they are finished; their size follows from how long points take.

    Raises
    ------
    InputError
        A process was killed.
    """
    size = 1
    waiting: set[Future[BatchDone]] = set()
    most = 1 if workers == 1 else 2 * workers
    while True:
        while len(waiting) < most and (points := next_points(size)):
            waiting.add(executor.submit(run_batch, task, points))
        if not waiting:
            return
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                batch = future.result()
            except BrokenProcessPool:
                raise InputError(_KILLED) from None
            yield batch
            size = _next_size(size, batch)


_KILLED = (
    "a worker process was killed, perhaps for want of memory: finished points are kept, start "
    "again to go on (fewer --workers need less memory)"
)


def _next_size(size: int, batch: BatchDone) -> int:
    """At most twice as many: the first points of a process take longer than those after them."""
    wanted = int(_SECONDS * len(batch.rows) / max(batch.seconds, 1e-6))
    return max(1, min(wanted, 2 * size, _LARGEST))


def usable_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
