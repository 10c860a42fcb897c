"""Points that are tried: each is run by the engine once, and the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from einsum_cascade.errors import MappingError, Problem

from ..certificate import Certificate, Searched
from ..engine_run import EngineRun, run_mapping
from ..protocol import Advance, Progress, SearchProblem
from ..seen import Seen
from ..space.nothing_left import none_legal
from .points import MappingPoint, Points

EVALUATIONS = 300
"""Legal mappings that are run, where nobody says how many."""

_ATTEMPTS = 10
"""Points that are looked at, at the most, for each that is to be run: many are not legal."""


class MappingTrials:
    """The points that a strategy tries of a problem.

    Parameters
    ----------
    evaluations : int
        Legal ones after which it is over.
    """

    def __init__(
        self, problem: SearchProblem, evaluations: int, advance: Advance | None = None
    ) -> None:
        self.problem = problem
        self.points = Points(problem.space, problem.objective)
        self.best = problem.known
        self.seen = Seen(problem.known, problem.others)
        self.ended = ""
        self._advance = advance or (lambda _: None)
        self._evaluations = evaluations
        self._values: dict[MappingPoint, float] = {}
        self._legal = self._attempts = 0
        self._failed: MappingError | None = None
        self._note()

    @property
    def done(self) -> float:
        """The share of what is to be looked at that was."""
        attempts = self._attempts / (_ATTEMPTS * self._evaluations)
        return max(self._legal / self._evaluations, attempts)

    def is_over(self) -> bool:
        """Whether nothing more is to be tried."""
        if self.best is not None:
            if not self.ended and self.problem.is_over():
                self.ended = "time limit"
            proven = self.points.bound >= self.best.value * (1 - self.problem.tolerance)
            if self.ended or proven:
                return True
        return self.done >= 1

    def value(self, point: MappingPoint) -> float:
        """The objective of a point; infinite where it is not legal."""
        self._attempts += 1
        if point not in self._values:
            self._values[point] = self._run(point)
        return self._values[point]

    def _run(self, point: MappingPoint) -> float:
        mapping = self.points.mapping(point)
        objective = self.problem.objective
        named = replace(mapping, name=f"best-{objective.name}")
        try:
            run = run_mapping(self.points.regions[point.region].region, named, objective)
        except MappingError as error:
            self._failed = self._failed or error
            return inf
        self._legal += 1
        self._advance(1)
        self.seen.ran(run)
        tie = self.problem.objective.tie
        if self.best is None or (run.value, tie(run.result)) < (
            self.best.value,
            tie(self.best.result),
        ):
            self.best = run
            self._note()
        return run.value

    def _note(self) -> None:
        best, objective = self.best, self.problem.objective
        floor = 0.0 if best is None else objective.floor(best.result)
        value = inf if best is None else best.value
        self.seen.note(self._legal, value, max(self.points.bound, floor))

    def searched(self, strategy: str) -> Searched:
        """The best, with what is certain about it.

        Raises
        ------
        NoLegalMappingError
            There is none; says why the first was not legal.
        """
        if self.best is None:
            tried = self._failed.problems if self._failed else [Problem("no mapping was tried")]
            raise none_legal(self.problem.space, tried)
        return Searched(
            mapping=self.best.mapping,
            result=self.best.result,
            certificate=self._certificate(strategy, self.best),
            runner_up=self.seen.runner_up(self.problem.space, self.best.mapping),
            history=self.seen.end(self._legal),
        )

    def _certificate(self, strategy: str, best: EngineRun) -> Certificate:
        opened = {point.region for point in self._values}
        candidates = sum(self.points.regions[n].candidates for n in opened)
        objective = self.problem.objective
        floor = objective.floor(best.result)
        refused = len(self._values) - self._legal
        return Certificate(
            strategy=strategy,
            objective=objective.name,
            candidates=candidates,
            evaluated=self._legal,
            reasons=(
                ("not legal", refused),
                ("not looked at", candidates - self._legal - refused),
            ),
            runs=self._legal,
            gap=max(0.0, 1 - max(self.points.bound, floor) / best.value),
            tolerance=self.problem.tolerance,
            value=best.value,
            floor=floor,
            ended=self.ended,
        )


def search_by(
    walk: Callable[[MappingTrials], None],
    strategy: str,
    evaluations: int,
    problem: SearchProblem,
    progress: Progress,
) -> Searched:
    """What a walk over points finds, also where it is interrupted.

    Parameters
    ----------
    walk : callable
        Tries points until ``MappingTrials.is_over``.
    strategy : str
        Its name.

    Raises
    ------
    NoLegalMappingError
        No mapping is known and none was found legal.
    """
    trials = MappingTrials(problem, evaluations, progress(evaluations))
    try:
        walk(trials)
    except KeyboardInterrupt:
        # The best so far is what was asked for; without one there is nothing to say.
        if trials.best is None:
            raise
        trials.ended = "interrupted"
    return trials.searched(strategy)
