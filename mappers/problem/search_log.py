"""Log of a search: its convergence, and the best mapping of each kind.

Two mappings are of one kind if they share loops over the same ranks in the same order. The runner-
up is the best mapping of another kind than the winner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from time import monotonic

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from ..space.mapspace import Mapspace
from ..space.region import Region
from . import policy
from .certificate import Certificate, Moment, RunnerUp, Searched, differences_of_nests
from .engine_run import EngineRun, Kind, bound_nests, kind_of_nests
from .protocol import SearchProblem


class SearchLog:
    """Log of one search: its incumbents, lower bounds and runs.

    Parameters
    ----------
    known : EngineRun, optional
        Incumbent at the start.
    others : sequence of EngineRun
        Further incumbents.
    """

    def __init__(self, known: EngineRun | None = None, others: Sequence[EngineRun] = ()) -> None:
        self.moments: list[Moment] = []
        self._begun = monotonic()
        self._runs: dict[Kind, EngineRun] = {}
        self._few: dict[float, EngineRun] = {}
        """Best few runs, keyed by the value of the objective."""
        self._promises: dict[Kind, tuple[float, Callable[[], EngineRun]]] = {}
        for run in others:
            self.ran(run)
        if known is not None:
            self.ran(known)
            self.note(0, known.value, 0.0)

    def note(self, runs: int, value: float, bound: float) -> None:
        """Record the incumbent and the lower bound if either has improved.

        Parameters
        ----------
        runs : int
            Mappings that the engine has run so far.
        value : float
            Objective of the incumbent; infinite before there is one.
        bound : float
            Lower bound of the objective proven so far.
        """
        last = self.moments[-1] if self.moments else Moment(0.0, 0, inf, 0.0)
        value, bound = min(value, last.value), max(bound, last.bound)
        if (value, bound) != (last.value, last.bound):
            self.moments.append(Moment(monotonic() - self._begun, runs, value, min(value, bound)))

    def end(self, runs: int) -> tuple[Moment, ...]:
        """Return all recorded states of the search; the last one is that at its end.

        Parameters
        ----------
        runs : int
            Mappings that the engine has run.
        """
        if self.moments:
            now = monotonic() - self._begun
            self.moments.append(replace(self.moments[-1], seconds=now, runs=runs))
        return tuple(self.moments)

    def ran(self, run: EngineRun) -> None:
        """Record the engine run of a mapping."""
        known = self._runs.get(run.kind)
        if known is None or run.value < known.value:
            self._runs[run.kind] = run
        self._few.setdefault(run.value, run)
        if len(self._few) > policy.MAX_REPORTED_RUNS:
            del self._few[max(self._few)]

    def best(self) -> tuple[EngineRun, ...]:
        """Return the best few runs, best first; of equal values, the run recorded first."""
        return tuple(self._few[value] for value in sorted(self._few))

    def promise(self, estimate: float, kind: Kind, run: Callable[[], EngineRun]) -> None:
        """Record a mapping that was not run, with an estimate of its objective.

        Parameters
        ----------
        run : callable
            Runs the mapping. Raises ``MappingError`` if it is illegal.
        """
        known = self._promises.get(kind)
        if known is None or estimate < known[0]:
            self._promises[kind] = estimate, run

    def runner_up(
        self, space: Mapspace | Region, winner: Mapping, *, more: bool = True
    ) -> RunnerUp | None:
        """Return the best known mapping of another kind than the winner; None if there is none.

        Parameters
        ----------
        space : Mapspace or Region
            Source of the cascade, shapes and machine of both.
        winner : Mapping
            Best mapping of all.
        more : bool
            True if there is time to run promising mappings that have not run.
        """
        try:
            kind = kind_of_nests(bound_nests(space, winner))
        except InputError:
            # The winner is of another cascade, which has nothing to be compared by.
            return None
        others = [run for its_kind, run in self._runs.items() if its_kind != kind]
        promised = self._promised(kind, others) if more else ()
        ranked = sorted((*others, *promised), key=lambda run: run.value)
        return first_of_another_kind(space, winner, ranked)

    def _promised(self, kind: Kind, known: Sequence[EngineRun]) -> Iterator[EngineRun]:
        """Run mappings of other kinds whose estimates beat all runs, and yield the legal runs."""
        best = min((run.value for run in known), default=inf)
        promised = ((p, run) for its_kind, (p, run) in self._promises.items() if its_kind != kind)
        for estimate, run in sorted(promised, key=lambda p: p[0])[: policy.MAX_RUNNER_UP_RUNS]:
            if estimate < best:
                try:
                    found = run()
                except InputError:
                    continue
                if found.kind != kind:
                    best = min(best, found.value)
                    yield found


def with_better(
    problem: SearchProblem, found: Searched, run: EngineRun, certificate: Certificate, begun: float
) -> Searched:
    """Return a search's outcome with its mapping replaced by a better run from a later step.

    The runner-up is the former best mapping or the former runner-up: the first of another kind.

    Parameters
    ----------
    run : EngineRun
        Run that is better than the mapping found. It may be outside of the mapspace.
    certificate : Certificate
        Certificate of all steps; its bound is kept.
    begun : float
        Start of the later step, in seconds of ``time.monotonic``.
    """
    bound = certificate.bound
    certificate = certificate.bounded(run.value, bound)
    history = found.history
    if history:
        seconds = history[-1].seconds + monotonic() - begun
        last = Moment(seconds, certificate.runs, run.value, min(bound, run.value))
        history = (*history, last)
    former = [other for other in (found, found.runner_up) if other is not None]
    return replace(
        found,
        mapping=run.mapping,
        result=run.result,
        certificate=certificate,
        runner_up=first_of_another_kind(problem.space, run.mapping, former),
        history=history,
    )


def first_of_another_kind(
    space: Mapspace | Region, winner: Mapping, others: Iterable[EngineRun | Searched | RunnerUp]
) -> RunnerUp | None:
    """Return the first mapping of another kind than the winner; None if there is none.

    Mappings of another cascade are skipped, as their kinds cannot be compared.
    """
    try:
        nests = bound_nests(space, winner)
    except InputError:
        return None
    for other in others:
        try:
            its_nests = bound_nests(space, other.mapping)
        except InputError:
            continue
        if kind_of_nests(its_nests) != kind_of_nests(nests):
            differences = differences_of_nests(nests, its_nests)
            return RunnerUp(mapping=other.mapping, result=other.result, differences=differences)
    return None
