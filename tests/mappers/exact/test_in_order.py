"""Questions asked ahead, and answers in the order in which they were asked."""

from __future__ import annotations

from mappers.exact.process_pool import ProcessPool
from mappers.exact.subspaces import Answer, Question, SubspaceAnswer, SubspaceQuestion
from mappers.problem.protocol import never


def _asked(moot: set[int], known_after: int) -> tuple[list[int], list[int], list[int]]:
    """Twelve questions of which some are moot once one is answered: what is answered, in which
    order, what somebody worked on, and what is put back."""
    worked: list[int] = []

    def work(question: Question) -> Answer:
        assert isinstance(question, SubspaceQuestion)
        worked.append(question.subspace)
        return SubspaceAnswer(least=float(question.subspace))

    waiting = [SubspaceQuestion(0, n, 0.0, plain=True) for n in range(12)]
    answered: list[int] = []
    back: list[int] = []
    found = ProcessPool(work, 1).in_order(
        lambda: (waiting[0].subspace, waiting.pop(0)) if waiting else None,
        is_moot=lambda n: n in moot and known_after in answered,
        put_back=back.append,
        is_over=never,
    )
    for number, answer in found:
        assert isinstance(answer, SubspaceAnswer)
        assert answer.least == number
        answered.append(number)
    return answered, worked, back


def test_answers_come_in_order() -> None:
    assert _asked(set(), 0) == ([*range(12)], [*range(12)], [])


def test_what_is_of_no_use_any_more_is_not_worked_on_but_put_back() -> None:
    answered, worked, back = _asked({1, 2, 5, 11}, known_after=2)
    assert answered == worked == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert back == [5, 11]
