"""Batches of runs, which several processes share.

A run is named by files and settings, as on the command line; this module knows no publication."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from .runs import Outcome, RunRequest

T = TypeVar("T")
R = TypeVar("R")

Finished = Callable[[int], None]
"""Called with how much was finished since the last call."""


def nothing(_: int) -> None:
    """Report nothing."""


def run_all(
    requests: Sequence[RunRequest], *, workers: int = 1, finished: Finished = nothing
) -> tuple[Outcome, ...]:
    """The outcome of every request, in their order.

    Parameters
    ----------
    requests : sequence of RunRequest
    workers : int
        Processes that share the runs; with one, nothing leaves this process.
    finished : callable
        Told how many more runs are done.
    """
    if workers == 1:
        from .simulator import Simulator

        simulator = Simulator()
        return tuple(_told(map(simulator.outcome, requests), finished))
    batches = _batches(requests, workers)
    found = shared(_outcomes, [[requests[i] for i in b] for b in batches], workers)
    outcomes: dict[int, Outcome] = {}
    for batch, done in zip(batches, found, strict=True):
        outcomes.update(zip(batch, done, strict=True))
        finished(len(batch))
    return tuple(outcomes[i] for i in range(len(requests)))


def shared(function: Callable[[T], R], work: Iterable[T], workers: int) -> Iterator[R]:
    """Results of a function in the order of the work, from several processes."""
    if workers == 1:
        return map(function, work)
    # With one process nothing of joblib is needed: it would be a tenth of a second.
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator", batch_size=1)
    return _whole(parallel(delayed(function)(piece) for piece in work))


def _whole(found: Iterator[R]) -> Iterator[R]:
    """Results of processes, none of which was killed. Raises InputError."""
    # Not above: with one process nothing of it is needed.
    from ..sweeping.workers import report_killed_workers

    with report_killed_workers("nothing was written (fewer --workers need less memory)"):
        yield from found


def _told(outcomes: Iterable[Outcome], finished: Finished) -> Iterator[Outcome]:
    for outcome in outcomes:
        finished(1)
        yield outcome


def _batches(requests: Sequence[RunRequest], workers: int) -> list[list[int]]:
    """Numbers of requests that one process does: those that have most in common.

    Runs of one workload have: its parts are bound and counted once for machines of one
    layout. Where that is not enough for all workers, they are told apart by mapping, too.
    """
    keys: list[tuple[str, ...]] = [(r.workload,) for r in requests]
    if len(set(keys)) < workers:
        keys = [(r.workload, r.mappings[0]) for r in requests]
    found: dict[tuple[str, ...], list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return list(found.values())


def _outcomes(requests: Sequence[RunRequest]) -> list[Outcome]:
    """Outcomes in a process that remembers nothing of other batches."""
    # Not above: a process whose runs are done by others need not import what simulates.
    from .simulator import Simulator

    return [*map(Simulator().outcome, requests)]
