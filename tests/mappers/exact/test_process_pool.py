"""Answers of process pools, which do not depend on the worker, and searches with them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from brief_search import BRIEFLY

from archsim import Architecture
from einsum_cascade import Cascade
from mappers.exact import branch_and_bound, policy
from mappers.exact.branch_and_bound import exhaustive
from mappers.exact.process_pool import ProcessPool, usual_workers
from mappers.problem.certificate import Searched
from mappers.problem.objectives import OBJECTIVES
from mappers.problem.protocol import SearchProblem, never
from mappers.space.mapspace import Mapspace

pytestmark = pytest.mark.skipif(usual_workers() == 1, reason="no process is forked here")

SHAPES = {"B": 2, "H": 2, "E": 16, "F": 16, "P": 256, "M": 256}


def worked(piece: int) -> tuple[int, int]:
    """A square, and who made it; some pieces are odd."""
    if piece == 13:
        raise ValueError("thirteen")
    if piece == 7 and os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    if piece == 99:
        time.sleep(60)
    return piece * piece, os.getpid()


HERE = os.getpid()


@contextmanager
def at_work(workers: int) -> Iterator[ProcessPool[int, tuple[int, int]]]:
    """A team that forks at once."""
    found = ProcessPool(worked, workers, at_once=True)
    try:
        yield found
    finally:
        found.close()


def test_answers_come_from_others_and_in_any_order() -> None:
    with at_work(2) as able:
        numbers = [able.submit(n) for n in range(6)]
        answers = [able.answer(number, never) for number in reversed(numbers)]
        assert [a and a[0] for a in answers] == [25, 16, 9, 4, 1, 0]
        assert HERE not in {a and a[1] for a in answers}


def test_what_goes_wrong_is_told_to_whoever_asks_and_a_lost_process_is_done_without() -> None:
    with at_work(2) as able:
        wrong, lost, right = (able.submit(n) for n in (13, 7, 2))
        assert able.answer(lost, never) == (49, HERE)
        with pytest.raises(ValueError, match="thirteen"):
            able.answer(wrong, never)
        answer = able.answer(right, never)
        assert answer is not None
        assert answer[0] == 4


def test_what_takes_too_long_is_left_in_the_middle() -> None:
    begun = time.monotonic()
    with at_work(1) as able:
        number = able.submit(99)
        assert able.answer(number, lambda: time.monotonic() > begun + 0.1) is None
    assert time.monotonic() < begun + 20


def test_a_search_finds_the_same_whoever_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Cascade.load("attention-3pass").program
    space = Mapspace.of(program, Architecture.load("flat"), SHAPES)

    def found(workers: int) -> Searched:
        monkeypatch.setattr(branch_and_bound, "usual_workers", lambda: workers)
        monkeypatch.setattr(policy, "FORK_AFTER_S", 0.0 if workers > 1 else 1e9)
        return exhaustive(SearchProblem(space, OBJECTIVES["latency"]), BRIEFLY)

    alone, together = found(1), found(3)
    assert alone.certificate == together.certificate
    assert alone.mapping == together.mapping
    assert alone.result.cycles == together.result.cycles
