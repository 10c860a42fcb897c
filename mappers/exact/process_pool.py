"""Process pool: forked workers, or this process if the work is too short for a fork."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from time import process_time
from typing import Any, Generic, TypeVar

from archsim.processes import begin_worker, interrupts_blocked

from . import policy

W = TypeVar("W")
A = TypeVar("A")
T = TypeVar("T")


def usual_workers() -> int:
    """Return the number of worker processes: one per CPU core, or one if forking is impossible."""
    return len(os.sched_getaffinity(0)) if _can_fork() else 1


def _can_fork() -> bool:
    """Return whether this process can fork workers: on Linux, and not a worker itself."""
    return sys.platform == "linux" and multiprocessing.parent_process() is None


class ProcessPool(Generic[W, A]):
    """Workers that answer pieces of work; callers ask for the answers in any order.

    Parameters
    ----------
    work : callable
        Returns the answer to a piece. Pieces and answers can be pickled.
    workers : int
        Number of processes; with one, this process does all the work.
    at_once : bool
        True if the pool forks immediately, even for one worker. Only work in another process can
        be interrupted.
    """

    def __init__(self, work: Callable[[W], A], workers: int, *, at_once: bool = False) -> None:
        self.work = work
        self.workers = workers
        self._fork_at = process_time() + (0.0 if at_once else policy.FORK_AFTER_S)
        self._forked = workers == 1 and not at_once
        self._processes: list[_Worker] = []
        self._pieces: dict[int, W] = {}
        self._queue: deque[int] = deque()
        self._answers: dict[int, tuple[A | None, BaseException | None]] = {}
        self._number = 0

    def begin(self) -> None:
        """Fork now, so that workers start before the first answer is asked for."""
        self._fork_at = 0.0
        self._fork()

    def submit(self, piece: W, *, first: bool = False) -> int:
        """Queue a piece of work, before or behind all others, and return its number."""
        self._number += 1
        self._pieces[self._number] = piece
        if first:
            self._queue.appendleft(self._number)
        else:
            self._queue.append(self._number)
        self._hand_out()
        return self._number

    def cancel(self, number: int) -> None:
        """Drop a piece of work whose answer is not needed any more."""
        self._pieces.pop(number, None)
        self._answers.pop(number, None)
        with suppress(ValueError):
            self._queue.remove(number)

    def answer(self, number: int, is_over: Callable[[], bool]) -> A | None:
        """Return the answer to a piece, or None where time is up before it exists.

        Raises
        ------
        Exception
            The work raised it.
        """
        self._fork()
        while number not in self._answers:
            if is_over():
                return None
            if not self._processes:
                self._queue.remove(number)
                self._answer_here(number)
                break
            self._hand_out()
            busy = {m.connection: m for m in self._processes if m.number is not None}
            for connection in wait([*busy], timeout=policy.POLL_S):
                self._receive(busy[connection])  # type: ignore[index]
        found, wrong = self._answers.pop(number)
        self._pieces.pop(number, None)
        if wrong is not None:
            raise wrong
        return found

    def in_order(
        self,
        next_piece: Callable[[], tuple[T, W] | None],
        *,
        is_moot: Callable[[T], bool],
        put_back: Callable[[T], None],
        is_over: Callable[[], bool],
    ) -> Iterator[tuple[T, A]]:
        """Yield labels of pieces with their answers, in the order of submission.

        Parameters
        ----------
        next_piece : callable
            Returns a label and the next piece of work; None where no more work is known yet.
        is_moot : callable
            Returns whether the answer to a labelled piece has become useless.
        put_back : callable
            Receives the label of each piece without an answer: moot, or unfinished at the end.
        is_over : callable
            Returns whether time is up.
        """
        waiting = deque[tuple[T, int]]()
        while True:
            while (
                len(waiting) < policy.MAX_PIECES_AHEAD and (following := next_piece()) is not None
            ):
                waiting.append((following[0], self.submit(following[1])))
            if not waiting:
                return
            label, number = waiting[0]
            if is_moot(label):
                waiting.popleft()
                self.cancel(number)
                put_back(label)
                continue
            answer = self.answer(number, is_over)
            if answer is None:
                for other, number in waiting:
                    self.cancel(number)
                    put_back(other)
                return
            waiting.popleft()
            yield label, answer

    def close(self) -> None:
        """Kill all workers at once, even busy ones."""
        for worker in self._processes:
            worker.process.kill()
        for worker in self._processes:
            worker.process.join()
            worker.connection.close()
        self._processes = []

    def _fork(self) -> None:
        if self._forked or not _can_fork() or process_time() < self._fork_at:
            return
        self._forked = True
        context = multiprocessing.get_context("fork")
        with interrupts_blocked():
            for _ in range(self.workers):
                here, there = context.Pipe()
                given = (there, self.work, os.getpid())
                process = context.Process(target=_serve, args=given, daemon=True)
                process.start()
                there.close()
                self._processes.append(_Worker(process, here))
        self._hand_out()

    def _hand_out(self) -> None:
        for worker in [*self._processes]:
            if worker.number is None and self._queue:
                number = self._queue.popleft()
                try:
                    worker.connection.send(self._pieces[number])
                    worker.number = number
                except OSError:
                    self._lose(worker, number)

    def _receive(self, worker: _Worker) -> None:
        number = worker.number
        assert number is not None, "who is asked has something to do"
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            self._lose(worker, number)
            return
        worker.number = None
        if number in self._pieces:
            self._answers[number] = answer

    def _lose(self, worker: _Worker, number: int) -> None:
        """Drop a worker that was killed, perhaps for lack of memory, and do its work in this
        process."""
        self._processes.remove(worker)
        worker.connection.close()
        if number in self._pieces:
            self._answer_here(number)

    def _answer_here(self, number: int) -> None:
        self._answers[number] = _attempt(self.work, self._pieces[number])


def _attempt(work: Callable[[W], A], piece: W) -> tuple[A | None, BaseException | None]:
    """Return the answer to a piece of work and None, or None and the exception that was raised."""
    try:
        return work(piece), None
    except Exception as error:  # noqa: BLE001 - handed to the caller
        return None, error


@dataclass(eq=False)
class _Worker:
    """A worker process, its connection, and the number of the piece of work in progress."""

    process: Any
    connection: Connection
    number: int | None = None


def _serve(connection: Connection, work: Callable[[Any], Any], parent: int) -> None:
    """Answer pieces of work in a worker process until the connection closes or its parent ends."""
    begin_worker(parent)
    while True:
        try:
            piece = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_attempt(work, piece))
        except OSError:
            return
