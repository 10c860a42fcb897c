"""Mappings that are searched for on another machine, and run on the one that is asked about.

Where the mappings of a machine are not enumerated, those of a smaller or plainer one are. What is
found there is brought over in a few ways, and the engine prices it; the floor is that of the
machine itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from time import monotonic

from archsim.result.record import Result
from archsim.spec.index import mapping_entries
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError, NoLegalMappingError, Problem

from .block_by_block import block_by_block
from .certificate import INTERRUPTED, Certificate, Searched, added_reasons
from .einsum_by_einsum import einsum_by_einsum
from .engine_run import EngineRun, run_mapping
from .protocol import Mapper, Progress, SearchProblem
from .seen import Seen
from .space.mapspace import Mapspace
from .space.nothing_left import none_legal
from .tree_places import settled, starts_of

_SETTLING_S = 1.0
"""Seconds for better places of tensors, at the most, where time is up already."""


class Transfer:
    """The best so far, and how much was looked at for it.

    Parameters
    ----------
    problem : SearchProblem
        Its space is that of the machine itself, whose own mappings are not enumerated.
    where : str
        What of the machine is searched, as the certificate says it behind the strategy.
    """

    def __init__(self, strategy: Mapper, problem: SearchProblem, where: str) -> None:
        self.strategy, self.problem, self.where = strategy, problem, where
        self.best = problem.known
        self.seen = Seen(problem.known, problem.others)
        self.certificates: list[Certificate] = []
        self.runs = 0
        self.ran = 0
        """Those of them that are legal."""
        self.refused: list[InputError] = []

    @property
    def ended(self) -> str:
        """Why the search of another machine was over before it was through."""
        return next((c.ended for c in self.certificates if c.ended), "")

    @property
    def is_done(self) -> bool:
        """Whether nothing can be better by enough to matter, or time is up."""
        best, problem = self.best, self.problem
        if best is None:
            return bool(self.ended)
        return bool(self.ended) or self._is_near(best) or problem.is_over()

    def look_at(
        self,
        other: Mapspace,
        known: EngineRun | None,
        brought: Callable[[Mapping], Iterable[Mapping]],
        progress: Progress,
        how: Callable[[Mapper, SearchProblem, Progress], Searched] | None = None,
    ) -> None:
        """Search the space of another machine, and run what is found on this one.

        Parameters
        ----------
        known : EngineRun or None
            What the search begins with there.
        brought : callable
            Mappings of this machine from one of the other.
        how : callable, optional
            Searches the other by the strategy, where that does not do so itself.
        """
        asked = replace(self.problem, space=other, known=known, others=())
        try:
            if how is None:
                found = self.strategy.search(asked, progress)
            else:
                found = how(self.strategy, asked, progress)
        except InputError as wrong:
            self.refused.append(wrong)
            return
        self.certificates.append(found.certificate)
        for mapping in brought(found.mapping):
            self._run(mapping)
        for ran in found.ran:
            # What is no better there can hardly be better here.
            if self._beaten(ran.value) or self.problem.is_over():
                return
            if ran.mapping != found.mapping:
                for mapping in brought(ran.mapping):
                    self._run(mapping)

    def _run(self, mapping: Mapping) -> EngineRun | None:
        """Take a mapping if it is better; of those as good, if it takes less energy. None where it
        is not legal."""
        self.runs += 1
        try:
            run = run_mapping(self.problem.space, mapping, self.problem.objective)
        except InputError as wrong:
            self.refused.append(wrong)
            return None
        self.ran += 1
        self.seen.ran(run)
        if self.best is None or self._is_better(run, self.best):
            self.best = run
            floor = self.problem.objective.floor(run.result)
            self.seen.note(self.runs, run.value, floor)
        return run

    def settle(self) -> None:
        """Put tensors of the best in better places, where the machine's memories are a tree. That
        takes little time, and some of it where time is up: much is better afterwards."""
        problem, best = self.problem, self.best
        if best is None or self.ended == INTERRUPTED or self._is_near(best):
            return
        end = monotonic() + _SETTLING_S
        for start in starts_of(problem.space.architecture, best.mapping):
            # What is better than its start need not be better than the best yet.
            known: list[EngineRun] = []

            def better(mapping: Mapping, known: list[EngineRun] = known) -> bool:
                late = problem.is_over() and monotonic() >= end
                run = None if late else self._run(mapping)
                if run is None or (known and not self._is_better(run, known[-1])):
                    return False
                known.append(run)
                return True

            if better(start):
                settled(problem.space.architecture, start, better)

    def _is_near(self, best: EngineRun) -> bool:
        floor = self.problem.objective.floor(best.result)
        return best.value * (1 - self.problem.tolerance) <= floor

    def _beaten(self, value: float) -> bool:
        return self.best is not None and value >= self.best.value * (1 - self.problem.tolerance)

    def _is_better(self, run: EngineRun, best: EngineRun) -> bool:
        if run.value < best.value * (1 - self.problem.tolerance):
            return True
        return run.value <= best.value and run.result.energy_pj < best.result.energy_pj

    def found(self) -> Searched:
        """The best, and what was looked at; its gap is against the floor of any mapping.

        Raises
        ------
        NoLegalMappingError
            No mapping is known, and none was found legal.
        """
        best, all_of = self.best, self.certificates
        if best is None:
            raise nothing_found(self.problem.space, self.refused)
        certificate = brought_certificate(
            self.problem,
            best.result,
            all_of,
            where=self.where,
            runs=self.runs,
            ended=self.ended,
        )
        self.seen.note(self.runs, best.value, certificate.bound)
        return Searched(
            mapping=best.mapping,
            result=best.result,
            certificate=certificate,
            runner_up=self.seen.runner_up(self.problem.space, best.mapping),
            history=self.seen.end(self.runs),
        )


def brought_certificate(
    problem: SearchProblem,
    best: Result,
    all_of: Sequence[Certificate],
    *,
    where: str,
    runs: int,
    ended: str,
) -> Certificate:
    """How the spaces of other machines were covered; the gap is against the floor of any mapping.

    Parameters
    ----------
    best : Result
        The best that the engine ran on the machine itself.
    all_of : sequence of Certificate
        Of the other machines.
    where : str
        What of the machine was searched, as it is said behind the strategy.
    runs : int
        Mappings that the engine ran on the machine itself.
    """
    value, floor = problem.objective.of(best), problem.objective.floor(best)
    strategy = all_of[0].strategy if all_of else "exhaustive"
    return Certificate(
        strategy=strategy + where,
        objective=problem.objective.name,
        candidates=sum(c.candidates for c in all_of),
        evaluated=sum(c.evaluated for c in all_of),
        reasons=added_reasons(all_of),
        runs=runs + sum(c.runs for c in all_of),
        gap=max(0.0, 1 - floor / value) if value else 0.0,
        tolerance=problem.tolerance,
        value=value,
        floor=floor,
        ended=ended,
    )


def nothing_found(space: Mapspace, refused: Sequence[InputError]) -> InputError:
    """Why nothing that was brought over is legal.

    Parameters
    ----------
    space : Mapspace
        Of the machine itself.
    refused : sequence of InputError
        What was wrong with what was looked at.
    """
    if refused and not space.constraints:
        return refused[0]
    if refused:
        # Where constraints leave nothing anywhere, what was looked at first says so.
        nothing = (why for why in refused if isinstance(why, NoLegalMappingError))
        return next(nothing, None) or none_legal(space, refused[0].problems)
    return NoLegalMappingError(Problem(f"no mapping is legal on {space.architecture.name}"))


def first_known(space: Mapspace, problem: SearchProblem) -> EngineRun | None:
    """The best of the mappings that a machine could run by where nobody searches.

    Parameters
    ----------
    space : Mapspace
        Of the other machine.
    """
    best: EngineRun | None = None
    for mapping in _unsearched(space):
        try:
            run = run_mapping(space, mapping, problem.objective)
        except InputError:
            continue
        if best is None or run.value < best.value:
            best = run
    return best


def _unsearched(space: Mapspace) -> Iterator[Mapping]:
    for entry in mapping_entries(space.program.name):
        mapping = entry.load()
        # Its loops are at memories by their roles: any machine has these.
        if not any(level.spatial for level in mapping.nest):
            yield mapping
    for make in (block_by_block, einsum_by_einsum):
        try:
            made = make(space.program, space.architecture, space.given)
        except InputError:
            continue
        if made is not None:
            yield made
