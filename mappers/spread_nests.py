"""Several nests on a machine of many cores, each spread in a way of its own.

Weights that heads have for themselves and keys that they share ask for different parts: of one way
to spread all Einsums, cores with parts of the sequences all read the weights, those with parts of
the heads all read the keys. Nests that follow one another may each be spread as what they read asks
for, if what they hand on is little. Where what memories have to move promises that to be sooner,
each of these nests is searched like a cascade of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import inf
from time import monotonic

from archsim.bound.nests import in_nests
from archsim.jobs.partial_results import elements_of
from archsim.jobs.served import least_times
from archsim.spec.mapping import Mapping
from archsim.spec.words import words_of
from einsum_cascade.algebra.excerpt import crossing, cut_blocks, excerpt, tiled_families
from einsum_cascade.errors import InputError

from .certificate import Certificate, Moment, RunnerUp, Searched
from .differences import differences_of_nests
from .engine_run import EngineRun, bound_nests, run_mapping
from .objectives import LATENCY
from .protocol import Mapper, Progress, SearchProblem
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
    begun = monotonic()
    found = spread_search(strategy, problem, progress)
    if problem.objective.code != LATENCY or problem.space.constraints or found.certificate.ended:
        return found
    seconds, nests = Cuts(problem.space).best
    clock = float(problem.space.architecture.clock_hz)
    value = problem.objective.of(found.result)
    if len(nests) < 2 or seconds * clock > _SOONER * value:
        return found
    searched: list[Searched] = []
    for names in nests:
        asked = replace(problem, space=space_of_nest(problem.space, names), known=None, others=())
        try:
            searched.append(spread_search(strategy, asked, progress))
        except InputError:
            return found  # a nest that nobody can map
    certificate = found.certificate.beside([s.certificate for s in searched])
    whole = Mapping(name="best-latency", cascade=problem.space.program.name)
    mapping = in_nests(whole, tuple(s.mapping for s in searched))
    try:
        run = run_mapping(problem.space, mapping, problem.objective)
    except InputError:
        return replace(found, certificate=certificate)
    if run.value >= value * (1 - problem.tolerance):
        return replace(found, certificate=certificate)
    return _of_nests(problem, found, run, certificate, monotonic() - begun)


def space_of_nest(whole: Mapspace, names: Names) -> Mapspace:
    """The mapspace of some of a cascade's Einsums on the same machine. Raises as that."""
    program = whole.program.once(excerpt, names)
    known = {*program.settable}
    given = {name: size for name, size in whole.given.items() if name in known}
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
        for block in program.once(cut_blocks):
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
        words = program.once(words_of, machine.word_bits)
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
