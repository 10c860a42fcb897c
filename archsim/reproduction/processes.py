"""Sharing runs among processes. The order of the results is that of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .runs import Finished, Outcome, Simulator, Task

_Group = tuple[int, ...]
"""Numbers of tasks that belong together."""


def shared_out(work: Sequence[Task], workers: int, finished: Finished) -> tuple[Outcome, ...]:
    """Simulate tasks in ``workers`` processes, of which this one is one.

    The others take groups of tasks from the front and this one from the back, so that
    nobody waits while they start.
    """
    from .runs import Simulator

    groups = _groups(work)
    found: dict[int, Outcome] = {}
    here = Simulator()
    # A fresh interpreter is started: forking one that has threads is not safe.
    with ProcessPoolExecutor(workers - 1, mp_context=get_context("spawn")) as pool:
        futures = [(g, pool.submit(_simulate_all, [work[i] for i in g])) for g in groups]
        for group, future in futures:
            future.add_done_callback(_reporter(len(group), finished))
        for group, future in reversed(futures):
            if future.cancel():
                for i in group:
                    found[i] = here.outcome(work[i])
                    finished(1)
        for group, future in futures:
            if not future.cancelled():
                found |= zip(group, future.result(), strict=True)
    return tuple(found[i] for i in range(len(work)))


def _groups(work: Sequence[Task]) -> list[_Group]:
    """Tasks by machine and model: those that have parts in common."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for number, task in enumerate(work):
        key = (task.mappings[0], task.architecture, task.run.workload)
        found.setdefault(key, []).append(number)
    return [tuple(numbers) for numbers in found.values()]


def _reporter(count: int, finished: Finished) -> Callable[[Future[list[Outcome]]], None]:
    def done(future: Future[list[Outcome]]) -> None:
        if not future.cancelled():
            finished(count)

    return done


def _simulate_all(work: Sequence[Task]) -> list[Outcome]:
    simulator = _simulator()
    return [simulator.outcome(task) for task in work]


@lru_cache(maxsize=1)
def _simulator() -> Simulator:
    """The simulator of a worker, which remembers between groups."""
    from .runs import Simulator

    return Simulator()
