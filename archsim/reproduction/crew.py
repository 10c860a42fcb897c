"""Work shared by this process and others, with results in the order of the work."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

SIMULATING = (
    "archsim.api",
    "archsim.evaluate.evaluate",
    "mappers.choices.choose",
    "archsim.spec.files.load",
    "archsim.spec.files.mapping",
    "workloads",
)
"""What simulating imports."""
DRAWING = ("archsim.reproduction.figures",)
"""What drawing imports."""

Finished = Callable[[int], None]
"""Called with how much was finished since the last call, from any thread."""


def nothing(_: int) -> None:
    """Report nothing."""


class Crew:
    """``workers`` processes, of which this one is one.

    The others take work from the front, this process takes it from the back, so that nobody
    waits while they start. On Linux they are forks of this process, with what it has
    imported; elsewhere, and where it has threads, with which forking is not safe, they are
    fresh interpreters.

    Parameters
    ----------
    workers : int
        How many processes.
    modules : tuple of str
        What the work imports: before this process forks, or as the others start.
    """

    def __init__(self, workers: int, modules: tuple[str, ...] = SIMULATING) -> None:
        self.workers = workers
        self.modules = modules
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Crew:
        if self.workers > 1:
            method = _method()
            if method == "fork":
                _import(self.modules)
            others = self.workers - 1
            self._pool = ProcessPoolExecutor(
                others,
                mp_context=get_context(method),
                initializer=_start,
                initargs=(self.modules,),
            )
            for _ in range(others):
                self._pool.submit(nothing, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def share(
        self,
        there: Callable[[T], R],
        work: Sequence[T],
        *,
        here: Callable[[T], R] | None = None,
        size: Callable[[T], int] = lambda _: 1,
        finished: Finished = nothing,
    ) -> list[R]:
        """Results of a function for every piece of work.

        Parameters
        ----------
        there : callable
            A function of a module, run in the other processes.
        here : callable, optional
            The same for this process.
        size : callable
            How much of ``finished`` a piece of work is.
        """
        mine = here or there
        if self._pool is None:
            return [_done(mine, piece, size, finished) for piece in work]
        shares = [_Share(piece, self._pool.submit(there, piece)) for piece in work]
        for share in shares:
            share.report(size(share.piece), finished)
        for share in reversed(shares):
            if share.future.cancel():
                share.found = [_done(mine, share.piece, size, finished)]
        return [share.result() for share in shares]


class _Share(Generic[T, R]):
    """A piece of work that another process has, or this one took back."""

    def __init__(self, piece: T, future: Future[R]) -> None:
        self.piece = piece
        self.future = future
        self.found: list[R] = []

    def report(self, amount: int, finished: Finished) -> None:
        def done(future: Future[R]) -> None:
            if not future.cancelled():
                finished(amount)

        self.future.add_done_callback(done)

    def result(self) -> R:
        return self.found[0] if self.found else self.future.result()


def _done(function: Callable[[T], R], piece: T, size: Callable[[T], int], finished: Finished) -> R:
    result = function(piece)
    finished(size(piece))
    return result


def _method() -> str:
    """How to start other processes."""
    return "fork" if sys.platform == "linux" and threading.active_count() == 1 else "spawn"


def _import(modules: tuple[str, ...]) -> None:
    for name in modules:
        import_module(name)


def _start(modules: tuple[str, ...]) -> None:
    """Leave interrupts to the first process, and import what the work needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import(modules)
