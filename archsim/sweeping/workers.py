"""Batches of points, run by a process pool or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from typing import Any

from einsum_cascade.errors import InputError

from ..processes import Pool, report_killed_workers
from ..version import installed_version
from .run import BatchDone, run_batch
from .spec import Point

_BATCH_SECONDS = 0.5
"""Target duration of a batch: the loss in a power cut, and the interval of writes."""
_MAX_BATCH = 1000
_SCHEDULER_TIMEOUT_S = 10
"""Seconds that a scheduler has to answer."""

NextPoints = Callable[[int], tuple[Point, ...]]
"""Function that returns at most so many points to run next; none after the last."""


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """Open the workers of a Dask scheduler, which keep running afterwards.

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
    """Refuse workers that would run another version of archsim."""
    own = installed_version()
    try:
        found = client.run(installed_version)
    except ImportError as wrong:
        raise InputError(f"the Dask workers do not have archsim: {wrong}") from None
    for worker, version in found.items():
        if version != own:
            there = version or "(unknown)"
            raise InputError(f"Dask worker {worker} has archsim {there}, this is archsim {own}")


def batches_done(pool: Pool, task: bytes, next_points: NextPoints) -> Iterator[BatchDone]:
    """Yield finished batches; their size follows from the time that points take.

    Raises
    ------
    InputError
        A process was killed.
    """
    size = 1
    waiting: set[Future[BatchDone]] = set()
    # Each worker runs one batch, and one more waits for it.
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


_KEPT = "finished points are kept, start again to go on (fewer --workers need less memory)"
_LOST = "the Dask cluster lost a batch: finished points are kept, start again to go on"


def _is_of_cluster(wrong: Exception) -> bool:
    """Return whether an exception is Dask's own, and not one of the task."""
    return type(wrong).__module__.startswith("distributed.") or isinstance(wrong, CancelledError)


def _next_size(size: int, batch: BatchDone) -> int:
    """Return the next size, at most doubled: the first points of a process take longest."""
    wanted = int(_BATCH_SECONDS * len(batch.columns) / max(batch.seconds, 1e-6))
    return max(1, min(wanted, 2 * size, _MAX_BATCH))
