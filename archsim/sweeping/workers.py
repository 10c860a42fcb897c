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
"""What a batch should take: what is lost when the power goes, and how often the store writes."""
_MAX_BATCH = 1000
_SCHEDULER_TIMEOUT_S = 10
"""Seconds a scheduler has to answer."""

NextPoints = Callable[[int], tuple[Point, ...]]
"""The next points to run, at most so many; none when there are no more."""


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


_KEPT = "finished points are kept, start again to go on (fewer --workers need less memory)"
_LOST = "the Dask cluster lost a batch: finished points are kept, start again to go on"


def _is_of_cluster(wrong: Exception) -> bool:
    """Whether it is a failure of Dask's own, not of what it ran."""
    return type(wrong).__module__.startswith("distributed.") or isinstance(wrong, CancelledError)


def _next_size(size: int, batch: BatchDone) -> int:
    """At most twice as many: the first points of a process take longer than those after them."""
    wanted = int(_BATCH_SECONDS * len(batch.columns) / max(batch.seconds, 1e-6))
    return max(1, min(wanted, 2 * size, _MAX_BATCH))
