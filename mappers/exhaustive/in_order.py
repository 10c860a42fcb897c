"""Questions that are asked some before the others have answered, and answers in the order in which
they were asked: what comes of them does not depend on who answers sooner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from .answers import Answer, Question, SubspaceAnswer, SubspaceQuestion
from .team import Team

T = TypeVar("T")

_AHEAD = 8
"""Subspaces that are asked about before the first has answered, however many processes there are:
so what is found is the same."""


def answers_in_order(
    team: Team[Question, Answer],
    following: Callable[[], tuple[T, SubspaceQuestion] | None],
    *,
    is_moot: Callable[[T], bool],
    put_back: Callable[[T], None],
    is_over: Callable[[], bool],
) -> Iterator[tuple[T, SubspaceAnswer]]:
    """What was asked about, and what was answered, in the order in which it was asked.

    Parameters
    ----------
    team : Team
        Who answers.
    following : callable
        What is asked next, as far as is known by now; None: nothing, as far as is known.
    is_moot : callable
        Whether an answer is of no use any more, by what was learnt since it was asked for.
    put_back : callable
        Told what has no answer: of no use, or not there when time is up.
    is_over : callable
        Whether time is up.
    """
    asked = deque[tuple[T, int]]()
    while True:
        while len(asked) < _AHEAD and (after := following()) is not None:
            asked.append((after[0], team.submit(after[1])))
        if not asked:
            return
        first, number = asked[0]
        if is_moot(first):
            asked.popleft()
            team.cancel(number)
            put_back(first)
            continue
        answer = team.answer(number, is_over)
        if answer is None:
            for mine, number in asked:
                team.cancel(number)
                put_back(mine)
            return
        assert isinstance(answer, SubspaceAnswer), "what is said of a subspace"
        asked.popleft()
        yield first, answer
