"""Strategies that try points: legal, the same again, no worse than what is known, over in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import pytest

from archsim import Architecture
from einsum_cascade import Cascade
from einsum_cascade.errors import SpecError
from mappers.exact.policy import THOROUGH
from mappers.exact.search import exhaustive
from mappers.local.trials import Annealing, OptunaSearch, Points, RandomSearch
from mappers.problem.certificate import Certificate, Searched
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import Advance, Mapper, SearchProblem
from mappers.space.mapspace import Mapspace
from mappers.strategies import STRATEGIES, strategy_called

pytestmark = pytest.mark.slow

ENERGY, LATENCY = objective_called("energy"), objective_called("latency")
Make = Callable[..., Mapper]
MADE: tuple[Make, ...] = (RandomSearch, Annealing, OptunaSearch)


@pytest.fixture(params=MADE, ids=lambda made: made.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    if request.param is OptunaSearch:
        pytest.importorskip("optuna")
    made: Make = request.param
    return made


@cache
def small(length: int = 512) -> Mapspace:
    """Attention in three passes, of two heads."""
    shapes = {"B": 1, "H": 2, "E": 64, "F": 64, "P": length, "M": length}
    if length < 16:
        shapes |= {"H": 1, "E": 2, "F": 2}
    program = Cascade.load("attention-naive").program
    return Mapspace.of(program, Architecture.load("fusemax"), shapes)


def problem_of(length: int = 512, known: EngineRun | None = None) -> SearchProblem:
    return SearchProblem(small(length), LATENCY, known=known)


def adds_up(found: Searched) -> bool:
    """Whether a certificate accounts for every candidate, and claims what it may."""
    c = found.certificate
    assert c.evaluated + c.pruned == c.candidates
    assert sum(count for _, count in c.reasons) == c.pruned
    return c.floor <= c.bound * (1 + 1e-9) and 0 <= c.gap < 1


def test_what_is_found_is_legal_and_the_same_again(make: Make) -> None:
    first = make(evaluations=12).search(problem_of())
    assert run_mapping(small(), first.mapping, LATENCY).value == first.certificate.value
    assert adds_up(first)
    assert first.certificate.runs == 12
    again = make(evaluations=12).search(problem_of())
    assert (again.mapping, again.certificate) == (first.mapping, first.certificate)
    other = make(evaluations=12, seed=1).search(problem_of())
    assert other.mapping != first.mapping


def test_more_evaluations_are_no_worse_and_what_is_known_is_kept(make: Make) -> None:
    few = make(evaluations=4).search(problem_of()).certificate.value
    assert make(evaluations=16).search(problem_of()).certificate.value <= few
    best = Annealing(evaluations=100).search(problem_of())
    known = EngineRun(value=best.certificate.value, mapping=best.mapping, result=best.result)
    kept = make(evaluations=4, seed=2).search(problem_of(known=known))
    assert kept.certificate.value <= known.value


def test_annealing_begins_with_what_is_known() -> None:
    best = Annealing(evaluations=100).search(problem_of())
    known = EngineRun(value=best.certificate.value, mapping=best.mapping, result=best.result)
    points = Points(small(), LATENCY)
    arrays = [e.array for e in points.mapping(points.like(known.mapping, 0)).einsums]
    assert arrays == [e.array for e in known.mapping.einsums]
    kept = {k.level: {*k.tensors} for k in points.mapping(points.like(known.mapping, 0)).keep}
    assert kept == {k.level: {*k.tensors} for k in known.mapping.keep}


def test_time_that_is_up_ends_it_with_the_first_that_is_legal(make: Make) -> None:
    found = make().search(SearchProblem(small(), LATENCY, is_over=lambda: True))
    assert found.certificate.runs == 1
    assert found.certificate.ended == "time limit"
    known = EngineRun(value=found.certificate.value, mapping=found.mapping, result=found.result)
    at_once = make().search(SearchProblem(small(), LATENCY, known=known, is_over=lambda: True))
    assert (at_once.mapping, at_once.certificate.runs) == (known.mapping, 0)
    assert adds_up(at_once)


def test_an_interrupt_gives_the_best_so_far(make: Make) -> None:
    left = [None] * 3

    def progress(total: int) -> Advance:
        def advance(_: int) -> None:
            left.pop()
            if not left:
                raise KeyboardInterrupt

        return advance

    left[:] = [None]
    # Nothing is known before the first is done.
    with pytest.raises(KeyboardInterrupt):
        make().search(problem_of(), progress)
    left[:] = [None] * 3
    found = make().search(problem_of(), progress)
    assert found.certificate.ended == "interrupted"
    assert adds_up(found)


def test_nothing_is_below_a_proven_optimum(make: Make) -> None:
    optimum = _optimum()
    assert optimum.optimal
    found = make(evaluations=40).search(SearchProblem(small(2), ENERGY)).certificate
    assert optimum.value <= found.value <= 3 * optimum.value
    # What is claimed of the space is true of its optimum.
    assert found.bound <= optimum.value
    assert not found.optimal


@cache
def _optimum() -> Certificate:
    return exhaustive(small(2), ENERGY, effort=THOROUGH).certificate


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SpecError, match=r"needs the package optuna") as refused:
        strategy_called("optuna").search(problem_of())
    assert refused.value.problems[0].hint == "pip install 'archsim[optuna]'"


def test_all_are_known_by_name() -> None:
    assert {type(strategy_called(name)) for name in STRATEGIES} >= {*MADE}
