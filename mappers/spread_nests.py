"""Several nests on a machine of many cores, each spread in a way of its own.

Weights that heads have for themselves and keys that they share ask for different parts: of one way
to spread all Einsums, cores with parts of the sequences all read the weights, those with parts of
the heads all read the keys. Nests that follow one another may each be spread as what they read asks
for, if what they hand on is little. Where what memories have to move promises that to be sooner,
each of these nests is searched like a cascade of its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from time import monotonic

from archsim.bound.nests import in_nests
from archsim.jobs.partial_results import elements_of
from archsim.jobs.served import least_times
from archsim.spec.mapping import Mapping
from archsim.spec.words import words_of
from einsum_cascade.algebra.excerpt import (
    crossing,
    cut_blocks,
    excerpt,
    sizes_of_excerpt,
    tiled_families,
)
from einsum_cascade.errors import InputError
from einsum_cascade.memo import cached_property

from .certificate import INTERRUPTED, Certificate, Moment, RunnerUp, Searched
from .differences import differences_of_nests
from .engine_run import EngineRun, bound_nests, run_mapping
from .objectives import LATENCY
from .protocol import Mapper, Progress, SearchProblem, at_once
from .space.mapspace import Mapspace
from .spread_search import spread_search, ways_of

_SOONER = 0.9
"""The share of what was found that nests have to promise to stay below to be searched."""

_BLOCKS = 16
"""Runs of Einsums between places to cut, at the most: of more the first ones are not cut apart."""

Names = tuple[str, ...]


def search_spread(strategy: Mapper, problem: SearchProblem, progress: Progress) -> Searched:
    """The best mapping that is spread in one way, or in several nests each in a way of its own.

    Parameters and errors as of ``spread_search``.
    """
    if problem.objective.code != LATENCY or problem.space.constraints:
        return spread_search(strategy, problem, progress)
    begun, cuts = monotonic(), Cuts(problem.space)
    seconds, nests = cuts.best
    promised = seconds * float(problem.space.architecture.clock_hz)
    if len(nests) < 2 or (problem.known and promised > _SOONER * problem.known.value):
        return spread_search(strategy, problem, progress)
    if seconds <= _SOONER * cuts.in_one_way:
        # What nests take shows which ways to spread all of them need not be searched.
        run, certificates = _search_nests(strategy, problem, nests, progress)
        found = spread_search(strategy, _from(problem, run, certificates), progress)
        certificate = found.certificate.beside(certificates)
        if run is None or found.mapping != run.mapping:
            return replace(found, certificate=certificate)
        named = f"{certificate.strategy}, nest by nest"
        return replace(found, certificate=replace(certificate, strategy=named))
    found = spread_search(strategy, problem, progress)
    value = problem.objective.of(found.result)
    if found.certificate.ended or promised > _SOONER * value:
        return found
    run, certificates = _search_nests(strategy, problem, nests, progress)
    certificate = found.certificate.beside(certificates)
    if run is None or run.value >= value * (1 - problem.tolerance):
        return replace(found, certificate=certificate)
    return _of_nests(problem, found, run, certificate, monotonic() - begun)


def _search_nests(
    strategy: Mapper, problem: SearchProblem, nests: tuple[Names, ...], progress: Progress
) -> tuple[EngineRun | None, tuple[Certificate, ...]]:
    """A cascade in the best mappings of its nests, if there are legal ones, and how their spaces
    were covered."""
    searched: list[Searched] = []
    whole = Mapping(name="best-latency", cascade=problem.space.program.name)
    run = None
    with suppress(InputError):  # a nest that nobody can map
        for names in nests:
            space = space_of_nest(problem.space, names)
            asked = replace(problem, space=space, known=None, others=())
            searched.append(spread_search(strategy, asked, progress))
        mapping = in_nests(whole, tuple(s.mapping for s in searched))
        run = run_mapping(problem.space, mapping, problem.objective)
    return run, tuple(s.certificate for s in searched)


def _from(
    problem: SearchProblem, run: EngineRun | None, certificates: tuple[Certificate, ...]
) -> SearchProblem:
    """The same problem, with what is known by now; over where somebody asked for what there is."""
    if any(c.ended == INTERRUPTED for c in certificates):
        problem = replace(problem, is_over=at_once)
    if run is None or (problem.known is not None and problem.known.value <= run.value):
        return problem
    others = problem.others if problem.known is None else (problem.known, *problem.others)
    return replace(problem, known=run, others=others)


def space_of_nest(whole: Mapspace, names: Names) -> Mapspace:
    """The mapspace of some of a cascade's Einsums on the same machine. Raises as that."""
    program = whole.program.memo(excerpt, names)
    given = sizes_of_excerpt(whole.program, program, whole.given)
    return Mapspace.of(program, whole.architecture, given, slow=whole.slow)


@dataclass
class Cuts:
    """What nests of a cascade take at the best where each is spread in the way best for it, by
    what memories have to move and arrays to do."""

    whole: Mapspace

    @cached_property
    def blocks(self) -> tuple[Names, ...]:
        """Runs of Einsums between places where a cut hands on no tiles of a rank that the cascade
        cuts, which nests would have to cut alike."""
        program = self.whole.program
        found: list[Names] = []
        before: Names = ()
        for block in program.memo(cut_blocks):
            torn = any(tiled_families(program, t) for t in crossing(program, before))
            joined = found and (torn or len(found) == _BLOCKS)
            found = [*found[:-1], (*found[-1], *block)] if joined else [*found, block]
            before = (*before, *block)
        return tuple(found)

    @cached_property
    def best(self) -> tuple[float, tuple[Names, ...]]:
        """The least time in seconds, and the Einsums of each nest: a shortest path."""
        ends: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,))]
        for last in range(1, len(self.blocks) + 1):
            ways = (
                (ends[first][0] + self._handed(first) + self._time(first, last), ends[first][1])
                for first in range(last)
            )
            seconds, path = min(ways)
            ends.append((seconds, (*path, last)))
        seconds, path = ends[-1]
        return seconds, tuple(self._names(first, last) for first, last in pairwise(path))

    @property
    def in_one_way(self) -> float:
        """The least time where all Einsums are spread in one way, in seconds."""
        return self._time(0, len(self.blocks))

    def _names(self, first: int, last: int) -> Names:
        return tuple(name for block in self.blocks[first:last] for name in block)

    def _time(self, first: int, last: int) -> float:
        """What the ways to spread a nest take at the best."""
        try:
            space = space_of_nest(self.whole, self._names(first, last))
        except InputError:
            return inf
        ways = ways_of(space)
        return min(least_times(space.program, space.architecture, space.given, ways))

    def _handed(self, first: int) -> float:
        """The time to write what crosses a cut; that it is read counts where it is."""
        machine, program = self.whole.architecture, self.whole.program
        speed = machine.home.bandwidth_bytes_per_s
        if speed is None or not first:
            return 0.0
        words = program.memo(words_of, machine.word_bits)
        handed = crossing(program, self._names(0, first))
        moved = sum(
            elements_of(program, program.tensor_ranks[t], self.whole.shapes) * words.of(t)
            for t in handed
        )
        return float(moved * machine.word_bytes / speed)


def _of_nests(
    problem: SearchProblem, one: Searched, run: EngineRun, certificate: Certificate, seconds: float
) -> Searched:
    """Several nests are better than what was found in one."""
    floor = problem.objective.floor(run.result)
    certificate = replace(
        certificate,
        strategy=f"{certificate.strategy}, nest by nest",
        value=run.value,
        floor=floor,
        gap=max(0.0, 1 - floor / run.value),
    )
    moment = Moment(seconds, certificate.runs, run.value, floor)
    try:
        differences = differences_of_nests(
            bound_nests(problem.space, run.mapping), bound_nests(problem.space, one.mapping)
        )
    except InputError:
        runner_up = None  # it is of another cascade
    else:
        runner_up = RunnerUp(mapping=one.mapping, result=one.result, differences=differences)
    return Searched(
        mapping=run.mapping,
        result=run.result,
        certificate=certificate,
        runner_up=runner_up,
        history=(*one.history, moment),
    )
