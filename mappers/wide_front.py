"""Fronts on any machine: where its own mappings are not enumerated, those of its stand-ins.

A core's part, or the machine with its memories in a line, has a front of its own. All of its points
are brought over, and the engine prices them on the machine itself; what is proven there is the
floor of any mapping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from einsum_cascade.errors import InputError

from .certificate import INTERRUPTED, Searched
from .engine_run import run_mapping
from .exhaustive.capped import EFFORT, CappedFront, capped_front, spread_out
from .exhaustive.effort import Effort
from .front import FrontRun, undominated
from .line_search import IN_A_LINE, in_lines
from .objectives import OBJECTIVES
from .protocol import Advance, Clock, SearchProblem
from .spread_search import ONE_CORE, over_cores
from .stand_in import StandIn
from .transfer import brought_certificate, first_known, nothing_found

_AS_PROMISED = 1.05
"""How many times the ends of a line's front those of the machine may be to need no other line."""


def front_on(
    problem: SearchProblem, advance: Advance, clock: Clock, *, effort: Effort = EFFORT
) -> CappedFront:
    """Latency against energy over a space, or over what stands in for it.

    Parameters
    ----------
    problem : SearchProblem
        Its objective is not looked at; what is known are points of the front like others.
    clock : Clock
        Shared out among all that stands in for the space.
    effort : Effort
        Of the search for each end.

    Raises
    ------
    NoLegalMappingError, MappingError
        As ``capped_front``; or none is known, and none that was brought over is legal.
    """
    space = problem.space
    if space.architecture.has_instances:
        found = _BroughtFront(problem, ONE_CORE, effort)
        return found.run([*over_cores(space)], advance, clock)
    if not space.architecture.tree.is_line:
        found = _BroughtFront(problem, IN_A_LINE, effort)
        return found.run([*in_lines(space)], advance, clock)
    return capped_front(problem, advance, clock=clock, effort=effort)


class _BroughtFront:
    """The front of a machine, and how much was looked at for it.

    Parameters
    ----------
    where : str
        What of the machine is searched, as certificates say it behind the strategy.
    """

    def __init__(self, problem: SearchProblem, where: str, effort: Effort) -> None:
        self.problem, self.where, self.effort = problem, where, effort
        known = () if problem.known is None else (problem.known,)
        self.runs = [FrontRun.of(run.mapping, run.result) for run in (*known, *problem.others)]
        self.fronts: list[CappedFront] = []
        self.refused: list[InputError] = []
        self.tried = 0
        self.ended = ""

    def run(
        self, others: list[Callable[[], StandIn]], advance: Advance, clock: Clock
    ) -> CappedFront:
        """The front over all that stands in for the machine."""
        try:
            for number, make in enumerate(others):
                if self.ended != INTERRUPTED and not self._as_promised():
                    self._look_at(make, advance, clock.part(len(others) - number))
        except KeyboardInterrupt:
            # The points so far are what was asked for; without one there is nothing to say.
            if not self.runs:
                raise
            self.ended = INTERRUPTED
        if not self.runs:
            raise nothing_found(self.problem.space, self.refused)
        return self._found()

    def _look_at(self, make: Callable[[], StandIn], advance: Advance, clock: Clock) -> None:
        """The front of a stand-in, and its points on the machine."""
        try:
            other = make()
            known = first_known(other.space, self.problem)
            asked = replace(self.problem, space=other.space, known=known, others=())
            found = front_on(asked, advance, clock, effort=self.effort)
        except InputError as wrong:
            self.refused.append(wrong)
            return
        self.fronts.append(found)
        self.ended = found.ended or self.ended
        brought = chain.from_iterable(other.brought(run.mapping) for run in found.runs)
        for mapping in dict.fromkeys(brought):
            self.tried += 1
            try:
                run = run_mapping(self.problem.space, mapping, OBJECTIVES["latency"])
            except InputError as wrong:
                self.refused.append(wrong)
                continue
            self.runs.append(FrontRun.of(mapping, run.result))

    def _as_promised(self) -> bool:
        """Whether both ends are nearly as good as in a line: other lines promise no more."""
        if self.where != IN_A_LINE or not self.fronts or not self.runs:
            return False
        lines = [run for front in self.fronts for run in front.runs]
        return all(
            min(map(of, self.runs)) <= _AS_PROMISED * min(map(of, lines))
            for of in (_cycles, _energy_pj)
        )

    def _found(self) -> CappedFront:
        """The front; nothing is proven of it but the floor of any mapping."""
        runs = spread_out(undominated(self.runs, self.problem.tolerance))
        return CappedFront(
            runs=runs,
            bounds_pj=tuple(OBJECTIVES["energy"].floor(run.result) for run in runs),
            least=(self._end(0, runs[0]), self._end(1, runs[-1])),
            searches=sum(front.searches for front in self.fronts),
            engine_runs=self.tried + sum(front.engine_runs for front in self.fronts),
            ended=self.ended,
        )

    def _end(self, number: int, run: FrontRun) -> Searched:
        """The least latency, or the least energy."""
        certificate = brought_certificate(
            replace(self.problem, objective=OBJECTIVES[("latency", "energy")[number]]),
            run.result,
            [front.least[number].certificate for front in self.fronts],
            where=self.where,
            runs=self.tried,
            ended=self.ended,
        )
        return Searched(mapping=run.mapping, result=run.result, certificate=certificate)


def _cycles(run: FrontRun) -> float:
    return run.cycles


def _energy_pj(run: FrontRun) -> float:
    return run.energy_pj
