"""Strategy ``anneal``: simulated annealing over points of a mapspace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, inf, log
from random import Random

from ..problem.certificate import Searched
from ..problem.protocol import Progress, SearchProblem, silent
from . import policy
from .trials import MappingPoint, MappingTrials, search_by


@dataclass(frozen=True, slots=True)
class Annealing:
    """Walk from the best known mapping to mappings that differ in one choice (``Mapper``)."""

    seed: int = 0
    evaluations: int = policy.EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """Return the best point of a walk. Raises as ``search_by``."""
        return search_by(self.walk, "anneal", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Walk from point to point until the search is over."""
        random = Random(self.seed)  # noqa: S311
        here, value = _start(trials, random)
        while here is not None and not trials.is_over():
            there = trials.points.near(here, random)
            if there == here:
                # A mapspace of a single point has no neighbour, and its search has to end, too.
                there = trials.points.near(trials.points.draw(random), random)
            reached = trials.value(there)
            # The heat falls from 0.1 to 0.002. A mapping worse by a tenth is accepted with a
            # probability of exp(log(1 / 1.1) / 0.1) = 0.39 at first, and of 0 at the end.
            heat = policy.FIRST_HEAT * (policy.LAST_HEAT / policy.FIRST_HEAT) ** trials.done
            if reached < inf and random.random() < exp(min(0.0, log(value / reached) / heat)):
                here, value = there, reached


def _start(trials: MappingTrials, random: Random) -> tuple[MappingPoint | None, float]:
    """Return the best of the first points; none if time is up before one is legal."""
    best: MappingPoint | None = None
    value, legal = inf, 0
    for point in _starts(trials, random):
        if trials.is_over() or legal >= policy.MAX_STARTS:
            break
        reached = trials.value(point)
        legal += reached < inf
        if reached < value:
            best, value = point, reached
    return best, value


def _starts(trials: MappingTrials, random: Random) -> Iterator[MappingPoint]:
    """Yield the points nearest to the known mapping, then random points without end."""
    known = trials.problem.known
    if known is not None:
        for number, choices in enumerate(trials.points.regions[: policy.MAX_STARTS]):
            found = trials.points.like(known.mapping, number)
            yield found
            yield replace(found, places=choices.outermost)
    while True:
        yield trials.points.draw(random)


STRATEGY = Annealing()
