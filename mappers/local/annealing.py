"""Strategy ``anneal``: simulated annealing over points of a mapspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, inf, log
from random import Random

from ..problem.certificate import Searched
from ..problem.protocol import Progress, SearchProblem, silent
from .trials import EVALUATIONS, MappingPoint, MappingTrials, search_by

_WARM, _COLD = 0.1, 0.002
"""A mapping that is worse by this share is taken about once in three times: at first, and at
the end."""

_STARTS = 6
"""Regions in which the mapping that is known is looked for, and random points, to begin with."""


@dataclass(frozen=True, slots=True)
class Annealing:
    """A walk from the best mapping known to others that differ in one thing (``Mapper``)."""

    seed: int = 0
    evaluations: int = EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """The best point of a walk. Raises as ``search_by``."""
        return search_by(self.walk, "anneal", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Go from point to point until it is over."""
        random = Random(self.seed)  # noqa: S311
        here, value = _start(trials, random)
        while here is not None and not trials.is_over():
            there = trials.points.near(here, random)
            if there == here:
                # Nothing to try: but a space of a single point has to end, too.
                there = trials.points.near(trials.points.draw(random), random)
            reached = trials.value(there)
            # From 0.1 down to 0.002. Worse by a tenth: exp(log(1 / 1.1) / 0.1) = 0.39 at first, 0
            # at the end.
            heat = _WARM * (_COLD / _WARM) ** trials.done
            if reached < inf and random.random() < exp(min(0.0, log(value / reached) / heat)):
                here, value = there, reached


def _start(trials: MappingTrials, random: Random) -> tuple[MappingPoint | None, float]:
    """The best of the points to begin with; none where time is up before one is legal."""
    best: MappingPoint | None = None
    value, legal = inf, 0
    for point in _starts(trials, random):
        if trials.is_over() or legal >= _STARTS:
            break
        reached = trials.value(point)
        legal += reached < inf
        if reached < value:
            best, value = point, reached
    return best, value


def _starts(trials: MappingTrials, random: Random) -> Iterator[MappingPoint]:
    """The mapping that is known, as far as regions have it, then random points without end."""
    known = trials.problem.known
    if known is not None:
        for number, choices in enumerate(trials.points.regions[:_STARTS]):
            found = trials.points.like(known.mapping, number)
            yield found
            yield replace(found, places=choices.outermost)
    while True:
        yield trials.points.draw(random)


STRATEGY = Annealing()
