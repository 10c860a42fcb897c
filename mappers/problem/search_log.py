"""Log of a search: how bound and incumbent converged, and the best mapping of every kind.

Two mappings are of one kind where the same ranks' loops are shared in the same order: what is
*fused*, and how. Of the kinds that lost, the best is the runner-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from time import monotonic

from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from ..space.mapspace import Mapspace
from ..space.region import Region
from .certificate import (
    Certificate,
    Moment,
    RanMapping,
    RunnerUp,
    Searched,
    differences,
    differences_of_nests,
)
from .engine_run import (
    EngineRun,
    Kind,
    bound_mapping,
    bound_nests,
    kind_of_bound,
    kind_of_nests,
)
from .protocol import SearchProblem

_FEW = 8
"""Runs that are told of beside the best."""

_TRIES = 4
"""Mappings of other kinds that are run at the end, at the most."""


class SearchLog:
    """What one search sees of a space.

    Parameters
    ----------
    known : EngineRun, optional
        A mapping that it begins with.
    others : sequence of EngineRun
        More that are known.
    """

    def __init__(self, known: EngineRun | None = None, others: Sequence[EngineRun] = ()) -> None:
        self.moments: list[Moment] = []
        self._begun = monotonic()
        self._runs: dict[Kind, EngineRun] = {}
        self._few: dict[float, Mapping] = {}
        """The best few of all runs, by their values."""
        self._promises: dict[Kind, tuple[float, Callable[[], EngineRun]]] = {}
        for run in others:
            self.ran(run)
        if known is not None:
            self.ran(known)
            self.note(0, known.value, 0.0)

    def note(self, runs: int, value: float, bound: float) -> None:
        """The best so far, and what is proven; kept where either is better than before.

        Parameters
        ----------
        runs : int
            Mappings that the engine has run by now.
        value : float
            The best of them, infinite before there is one.
        bound : float
            What no mapping is below, as far as is known by now.
        """
        last = self.moments[-1] if self.moments else Moment(0.0, 0, inf, 0.0)
        value, bound = min(value, last.value), max(bound, last.bound)
        if (value, bound) != (last.value, last.bound):
            self.moments.append(Moment(monotonic() - self._begun, runs, value, min(value, bound)))

    def end(self, runs: int) -> tuple[Moment, ...]:
        """All moments, with that of now as the last: the search is over.

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
        """A mapping that the engine ran."""
        known = self._runs.get(run.kind)
        if known is None or run.value < known.value:
            self._runs[run.kind] = run
        self._few.setdefault(run.value, run.mapping)
        if len(self._few) > _FEW:
            del self._few[max(self._few)]

    def best(self) -> tuple[RanMapping, ...]:
        """A few of all that ran, the best first, of those that are as good the first."""
        return tuple(RanMapping(value, self._few[value]) for value in sorted(self._few))

    def promise(self, estimate: float, kind: Kind, run: Callable[[], EngineRun]) -> None:
        """A mapping that was not run, and what its objective may be.

        Parameters
        ----------
        run : callable
            Runs it; raises ``MappingError`` where it is not legal.
        """
        known = self._promises.get(kind)
        if known is None or estimate < known[0]:
            self._promises[kind] = estimate, run

    def runner_up(
        self, space: Mapspace | Region, winner: Mapping, *, more: bool = True
    ) -> RunnerUp | None:
        """The best known mapping of another kind than the winner; None where there is none.

        Parameters
        ----------
        space : Mapspace or Region
            Whose cascade, shapes and machine both are of.
        winner : Mapping
            The best of all.
        more : bool
            Whether there is time to run what promises to be better than all that have run.
        """
        try:
            mine = bound_mapping(space, winner)
        except InputError:
            # It is of another cascade that stands in for this one.
            return None
        kind = kind_of_bound(mine)
        others = [run for its, run in self._runs.items() if its != kind]
        promised = self._promised(kind, others) if more else ()
        for run in sorted((*others, *promised), key=lambda run: run.value):
            try:
                other = bound_mapping(space, run.mapping)
            except InputError:
                continue
            return RunnerUp(
                mapping=run.mapping, result=run.result, differences=differences(mine, other)
            )
        return None

    def _promised(self, kind: Kind, known: Sequence[EngineRun]) -> Iterator[EngineRun]:
        """Mappings of other kinds that promise to be better than all that have run: those that
        are legal."""
        best = min((run.value for run in known), default=inf)
        promised = ((p, run) for its, (p, run) in self._promises.items() if its != kind)
        for estimate, run in sorted(promised, key=lambda p: p[0])[:_TRIES]:
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
    """Return what a search found, with a better run of a later step in its place.

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
    gap = max(0.0, 1 - bound / run.value) if run.value else 0.0
    certificate = replace(certificate, value=run.value, gap=gap)
    history = found.history
    if history:
        seconds = history[-1].seconds + monotonic() - begun
        last = Moment(seconds, certificate.runs, run.value, min(bound, run.value))
        history = (*history, last)
    return replace(
        found,
        mapping=run.mapping,
        result=run.result,
        certificate=certificate,
        runner_up=_next_best(problem, found, run),
        history=history,
    )


def _next_best(problem: SearchProblem, found: Searched, best: EngineRun) -> RunnerUp | None:
    """Return the runner-up of a better run: the mapping found before, or its runner-up.

    Of the two, the first that is of another kind than the better run is taken. None is of another
    kind where a mapping is of another cascade, which has nothing to be compared by.
    """
    try:
        nests = bound_nests(problem.space, best.mapping)
    except InputError:
        return None
    for other in (found, found.runner_up):
        if other is None:
            continue
        try:
            its = bound_nests(problem.space, other.mapping)
        except InputError:
            continue
        if kind_of_nests(its) != kind_of_nests(nests):
            return RunnerUp(
                mapping=other.mapping,
                result=other.result,
                differences=differences_of_nests(nests, its),
            )
    return None
