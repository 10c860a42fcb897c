"""The strategy ``random``: points of the most promising regions, one as good as another."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ..certificate import Searched
from ..protocol import Progress, SearchProblem, silent
from .trials import EVALUATIONS, MappingTrials, search_by


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """Points drawn at random: what any other strategy has to beat (``Mapper``)."""

    seed: int = 0
    evaluations: int = EVALUATIONS

    def search(self, problem: SearchProblem, progress: Progress = silent) -> Searched:
        """The best of some points. Raises as ``search_by``."""
        return search_by(self.walk, "random", self.evaluations, problem, progress)

    def walk(self, trials: MappingTrials) -> None:
        """Try points until it is over."""
        random = Random(self.seed)  # noqa: S311
        while not trials.is_over():
            trials.value(trials.points.draw(random))


STRATEGY = RandomSearch()
