"""Who runs batches of points: this process, several, or those of a cluster."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from einsum_cascade.errors import InputError

from ..version import installed_version
from .run import BatchDone, run_batch
from .spec import Point

_BATCH_SECONDS = 0.5
"""What a batch should take: what is lost when the power goes, and how often the store writes."""
_MAX_BATCH = 1000
_SCHEDULER_TIMEOUT_S = 10
"""Seconds a scheduler has to answer."""
_HANDOVER_S = 1.0
"""Seconds within which a pool takes over what was handed to it."""
_PARENT_POLL_S = 0.2
"""Seconds between two looks whether the process that started this one is there."""
_GC_THRESHOLD = 50_000
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


@dataclass(frozen=True, slots=True)
class Pool:
    """Who runs batches, and how many of them at a time."""

    executor: Executor
    workers: int


@contextmanager
def processes(workers: int) -> Iterator[Pool]:
    """Some processes, or this one; they are gone afterwards, whatever happened."""
    if workers == 1:
        yield Pool(SameProcess(), 1)
        return
    with extra_processes(workers) as pool:
        yield pool


@contextmanager
def extra_processes(workers: int) -> Iterator[Pool]:
    """Some processes beside this one; they are gone afterwards, whatever happened."""
    # With one process nothing of joblib is needed: it would be a tenth of a second.
    from joblib.externals.loky import ProcessPoolExecutor

    executor: Any = ProcessPoolExecutor(
        max_workers=workers, initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        yield Pool(executor, workers)
    finally:
        # Its thread trips over work that it has not taken over by the time it is told to end.
        late = time.monotonic() + _HANDOVER_S
        while not executor._work_ids.empty() and time.monotonic() < late:
            time.sleep(_HANDOVER_S / 100)
        executor.shutdown(wait=True, kill_workers=True)


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """The workers of a Dask scheduler, which stay there.

    Raises
    ------
    InputError
        Dask is not installed, no scheduler answers, or its workers lack this version.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        text = "--dask needs Dask, which is not installed: pip install 'archsim[dask]'"
        raise InputError(text) from None
    connect: Any = Client
    parts_of: Any = get_address_host_port
    try:
        parts_of(address)
        client = connect(address, timeout=_SCHEDULER_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as wrong:
        raise InputError(f"no Dask scheduler answers at '{address}': {wrong}") from None
    try:
        threads = client.nthreads()
        if not threads:
            raise InputError(f"the Dask scheduler at '{address}' has no workers yet")
        _check_versions(client)
        executor = client.get_executor()
        try:
            yield Pool(executor, sum(threads.values()))
        finally:
            executor.shutdown(wait=False)
    finally:
        client.close()


def _check_versions(client: Any) -> None:
    """Refuse workers that would run another archsim."""
    own = installed_version()
    try:
        found = client.run(installed_version)
    except ImportError as wrong:
        raise InputError(f"the Dask workers do not have archsim: {wrong}") from None
    for worker, version in found.items():
        if version != own:
            there = version or "(unknown)"
            raise InputError(f"Dask worker {worker} has archsim {there}, this is archsim {own}")


def _begin(parent: int) -> None:
    """Ctrl-C is for the process that waits for this one, and without that one it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_GC_THRESHOLD)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def batches_done(pool: Pool, task: bytes, next_points: NextPoints) -> Iterator[BatchDone]:
    """Batches as they are finished; their size follows from how long points take.

    Raises
    ------
    InputError
        A process was killed.
    """
    size = 1
    waiting: set[Future[BatchDone]] = set()
    # For each worker a batch that it runs and one that waits for it.
    most = 1 if pool.workers == 1 else 2 * pool.workers
    while True:
        while len(waiting) < most and (points := next_points(size)):
            waiting.add(pool.executor.submit(run_batch, task, points))
        if not waiting:
            return
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                with report_killed_workers(_KEPT):
                    batch = future.result()
            except Exception as wrong:
                if not _is_of_cluster(wrong):
                    raise
                raise InputError(f"{_LOST}: {wrong}") from None
            yield batch
            size = _next_size(size, batch)


@contextmanager
def report_killed_workers(left: str) -> Iterator[None]:
    """Say of a process of a pool that the system ended it.

    Parameters
    ----------
    left : str
        What is left of the work, and what to do.

    Raises
    ------
    InputError
        A process was killed.
    """
    try:
        yield
    except BrokenProcessPool:
        told = "a worker process was killed, perhaps for want of memory"
        raise InputError(f"{told}: {left}") from None


_KEPT = "finished points are kept, start again to go on (fewer --workers need less memory)"
_LOST = "the Dask cluster lost a batch: finished points are kept, start again to go on"


def _is_of_cluster(wrong: Exception) -> bool:
    """Whether it is a failure of Dask's own, not of what it ran."""
    return type(wrong).__module__.startswith("distributed.") or isinstance(wrong, CancelledError)


def _next_size(size: int, batch: BatchDone) -> int:
    """At most twice as many: the first points of a process take longer than those after them."""
    wanted = int(_BATCH_SECONDS * len(batch.columns) / max(batch.seconds, 1e-6))
    return max(1, min(wanted, 2 * size, _MAX_BATCH))


def usable_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
