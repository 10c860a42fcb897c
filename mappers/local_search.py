"""Small changes to the best mapping that a search found, as long as one makes it better.

A space leaves out what seldom matters, and a search some of its space. What either missed close to
the best is found by the engine, which runs what is changed a little: a tile a half longer, a tensor
in one memory more. It goes on from whatever is better until no change is. So it does from the best
mapping in which other loops are shared, which may have more to gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from time import monotonic

from archsim.bound.record import Bound
from archsim.result.record import Result
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from .certificate import INTERRUPTED, TIME_LIMIT, Moment, RunnerUp, Searched
from .differences import differences_of_nests
from .engine_run import EngineRun, KnownNests, bound_nests, kind_of_nests, run_mapping, run_to_beat
from .moves import Move, moves_of
from .protocol import SearchProblem

_FAR = 0.02
"""Of what is proven within this share of the best, no small change matters."""

_TRIES = 400
"""Changes of a mapping that are tried, at the most; as many again after each that gains a
hundredth."""

_LEAST = 1e-4
"""What a change gains at the least, as a share, to be one."""

_HOPELESS = 1.2
"""How many times the best a runner-up may cost for small changes to be worth it."""

_LEAST_S, _SHARE = 1.0, 0.2
"""Seconds that it takes, at the most: so many, or this share of what the search took."""


def improved(problem: SearchProblem, found: Searched, began: float) -> Searched:
    """What was found, or what small changes make of it, which the engine has run.

    Parameters
    ----------
    problem : SearchProblem
        What was searched.
    began : float
        When the search did, in seconds of ``time.monotonic``.

    Returns
    -------
    Searched
        Its certificate's bound is what was proven before: a change may leave the space.
    """
    certificate = found.certificate
    if certificate.ended == INTERRUPTED or certificate.gap <= _FAR:
        return found
    now, best = monotonic(), found
    end = now + max(_LEAST_S, _SHARE * (now - began))
    for start in _starts(problem, found):
        climb = _Climb(problem, start, end)
        climb.go()
        best = _with(problem, best, climb, began)
        if climb.ended:
            break
    return best


def _starts(problem: SearchProblem, found: Searched) -> Iterator[EngineRun]:
    """The best, and the best of another kind."""
    yield _as_run(problem, found.mapping, found.result)
    if found.runner_up is None:
        return
    value, other = (problem.objective.of(r) for r in (found.result, found.runner_up.result))
    if other <= _HOPELESS * value:
        yield _as_run(problem, found.runner_up.mapping, found.runner_up.result)


def _as_run(problem: SearchProblem, mapping: Mapping, result: Result) -> EngineRun:
    return EngineRun(value=problem.objective.of(result), mapping=mapping, result=result)


@dataclass
class _Climb:
    """From one mapping to better ones next to it."""

    problem: SearchProblem
    best: EngineRun
    end: float
    runs: int = 0
    left: int = _TRIES
    ended: str = ""
    tried: set[Mapping] = field(default_factory=set)
    nests: KnownNests = field(default_factory=KnownNests)
    """Of the best, where it has several."""

    def go(self) -> None:
        """Try all changes, one after the other, from what is best by then."""
        try:
            self._climb()
        except KeyboardInterrupt:
            self.ended = INTERRUPTED

    def _climb(self) -> None:
        moves = self._moves()
        while not self._over():
            before = self.best
            for move in moves:
                # What is better by a change may be better still by the same once more.
                while self._try(move(self.best.mapping)):
                    pass
                if self._over():
                    return
            if self.best is before:
                return

    def _over(self) -> bool:
        if self.left <= 0 or monotonic() >= self.end:
            return True
        # With more time more might be found: it is not the answer to the next question.
        if self.problem.is_late():
            self.ended = TIME_LIMIT
        return bool(self.ended)

    def _moves(self) -> tuple[Move, ...]:
        """Changes of each nest; none of a mapping of another cascade that stands in for this."""
        space, mapping = self.problem.space, self.best.mapping
        try:
            bounds = [bound for _, bound in bound_nests(space, mapping)]
            run = run_mapping(space, mapping, self.problem.objective, self.nests)
        except InputError:
            return ()
        if run.value != self.best.value:
            return ()  # the other cascade has the same names
        self.nests.keep()
        if not mapping.nests:
            # Roles are parts of this machine from here on.
            mapping = bounds[0].mapping
            self.best = replace(self.best, mapping=mapping)
        found: list[Move] = []
        for number, bound in enumerate(bounds):
            nest = mapping.nests[number] if mapping.nests else mapping
            moves = moves_of(space.architecture, nest, _sizes(bound), tuple(space.given))
            found += (partial(_in_nest, number, m) for m in moves) if mapping.nests else moves
        return tuple(found)

    def _try(self, mapping: Mapping) -> bool:
        """Whether a mapping is better than the best, which it is then."""
        if mapping in self.tried or self._over():
            return False
        self.tried.add(mapping)
        self.runs += 1
        self.left -= 1
        try:
            space, objective = self.problem.space, self.problem.objective
            run = run_to_beat(space, mapping, objective, self.best, self.nests)
        except InputError:
            return False
        if run is None or not _is_better(self.problem, run, self.best):
            return False
        if run.value < self.best.value * 0.99:
            self.left = max(self.left, _TRIES)
        self.best = run
        self.nests.keep()
        return True


def _is_better(problem: SearchProblem, run: EngineRun, best: EngineRun) -> bool:
    """Whether it is better, or as good and better in the other objective."""
    tie = problem.objective.tie
    if run.value != best.value:
        return run.value < best.value * (1 - _LEAST)
    return tie(run.result) < tie(best.result) * (1 - _LEAST)


def _with(problem: SearchProblem, found: Searched, climb: _Climb, began: float) -> Searched:
    """The better of what was found and where a climb ended."""
    before, best = found.certificate, climb.best
    runs = before.runs + climb.runs
    certificate = replace(before, runs=runs, ended=climb.ended or before.ended)
    if not _is_better(problem, best, _as_run(problem, found.mapping, found.result)):
        return replace(found, certificate=certificate)
    bound = before.bound
    gap = max(0.0, 1 - bound / best.value) if best.value else 0.0
    last = Moment(monotonic() - began, runs, best.value, min(bound, best.value))
    return replace(
        found,
        mapping=best.mapping,
        result=best.result,
        certificate=replace(certificate, value=best.value, gap=gap),
        runner_up=_beaten(problem, found, best),
        history=(*found.history, last),
    )


def _beaten(problem: SearchProblem, found: Searched, best: EngineRun) -> RunnerUp | None:
    """The runner-up, which is of another kind than the best: of the two that were the best of
    their kinds before, and where the best differs from it."""
    runner_up = found.runner_up
    if runner_up is None:
        return None
    space = problem.space
    now = bound_nests(space, best.mapping)
    for mapping, result in ((runner_up.mapping, runner_up.result), (found.mapping, found.result)):
        try:
            other = bound_nests(space, mapping)
        except InputError:
            continue  # it is of another cascade, and has nothing to be compared by
        if kind_of_nests(other) != kind_of_nests(now):
            differences = differences_of_nests(now, other)
            return RunnerUp(mapping=mapping, result=result, differences=differences)
    return None


def _sizes(bound: Bound) -> dict[str, int]:
    """Lengths of tiles by member, in coordinates."""
    cuts = (members for _, members in bound.tiling.cuts)
    pairs = (pair for members in cuts for pair in pairwise(members))
    return {inner.name: outer.stride for outer, inner in pairs}


def _in_nest(number: int, move: Move, mapping: Mapping) -> Mapping:
    nests = list(mapping.nests)
    nests[number] = move(nests[number])
    return replace(mapping, nests=tuple(nests))
