"""The mappings that are known for a part before anything is searched, run by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from archsim.jobs.defaults import KnownMapping, known_mappings
from archsim.jobs.job import Refusal
from archsim.jobs.workload import PartLike
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError

from .certificate import Searched
from .engine_run import EngineRun, run_mapping
from .generators import GENERATORS
from .objectives import LATENCY
from .part_space import name_of, space_of
from .protocol import SearchProblem

_AT_THE_FLOOR = 1.01
"""How many times its floor what was found may cost for no other to be worth its making."""


@dataclass(frozen=True, kw_only=True)
class KnownRuns:
    """Mappings known for a part, and those that are not worth making unless a search needs them."""

    part: PartLike
    problem: SearchProblem
    runs: tuple[EngineRun, ...]
    """Of those that are legal, the best first; of those that are as good the best in the other
    objective is first."""
    put_off: tuple[KnownMapping, ...] = ()
    """Dear to make, and tried by nobody whose latency is as near its floor as what is known."""
    refused: tuple[Refusal, ...] = ()
    """Those that are not legal here in any way to spread them, or break a constraint, and why."""

    @property
    def best(self) -> EngineRun | None:
        """What a search begins with."""
        return self.runs[0] if self.runs else None

    @property
    def others(self) -> tuple[EngineRun, ...]:
        """What it may compare with."""
        return self.runs[1:]

    def made_good(self, found: Searched) -> tuple[Searched, tuple[EngineRun, ...]]:
        """What was found, or a mapping that was put off and is better, and what of those ran.

        They are made where what was found could be better.
        """
        floor = self.problem.objective.floor(found.result)
        value = self.problem.objective.of(found.result)
        if not self.put_off or value <= _AT_THE_FLOOR * floor or found.certificate.ended:
            return found, ()
        late: list[EngineRun] = []
        for known in self.put_off:
            if self.problem.is_over():
                break
            late += _Runs(self.part, self.problem).of(known)
        runs = best_first(self.problem, late)
        if not runs or runs[0].value >= value:
            return found, runs
        # It need not be of the space, so that what bounds the space may be above it.
        gap = max(0.0, 1 - found.certificate.bound / runs[0].value)
        certificate = replace(found.certificate, value=runs[0].value, gap=gap)
        best = replace(found, mapping=runs[0].mapping, result=runs[0].result)
        return replace(best, certificate=certificate), runs


def known_runs(
    part: PartLike, problem: SearchProblem, start: Sequence[Mapping], *, sparing: bool = True
) -> KnownRuns:
    """The mappings known for a part that are legal here.

    Where there are constraints only those count that obey them.

    Parameters
    ----------
    sparing : bool
        Whether what is dear to make is put off where latency is searched, and what is there is
        near enough to its floor for a plain run. Of energy, one end of a front, floors of latency
        tell nothing.

    Raises
    ------
    MappingError
        One to begin with is not legal, or breaks a constraint.
    """
    found = given_runs(part, problem, start)
    sparing = sparing and problem.objective.code == LATENCY
    put_off: list[KnownMapping] = []
    runs = _Runs(part, problem)
    for known in known_mappings(part, problem.space.architecture, GENERATORS):
        if found and problem.is_over():
            break
        if not known.there():
            continue
        near = min((run.result.over_floor for run in found), default=inf)
        if sparing and near <= known.beyond:
            put_off.append(known)
        else:
            found += runs.of(known)
    return KnownRuns(
        part=part,
        problem=problem,
        runs=best_first(problem, found),
        put_off=tuple(put_off),
        refused=runs.refused,
    )


class _Runs:
    """Runs of known mappings, and which of them are not legal."""

    def __init__(self, part: PartLike, problem: SearchProblem) -> None:
        self.part, self.problem = part, problem
        self._legal: set[str] = set()
        self._refused: dict[str, Refusal] = {}

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Mappings of which no way to spread them is legal."""
        return tuple(r for name, r in self._refused.items() if name not in self._legal)

    def of(self, known: KnownMapping) -> tuple[EngineRun, ...]:
        """A known mapping, run; nothing where it is not legal, or breaks a constraint."""
        try:
            mapping, space = known(), self.problem.space
            if mapping.cascade not in (self.part.cascade, name_of(self.part)):
                if space.constraints:
                    return ()
                space = space_of(self.part, space.architecture, mapping.cascade)
            run = run_mapping(space, mapping, self.problem.objective)
        except InputError as wrong:
            self._refused.setdefault(known.name, Refusal(known.name, wrong.problems[0].message))
            return ()
        self._legal.add(known.name)
        return (run,)


def given_runs(part: PartLike, problem: SearchProblem, start: Sequence[Mapping]) -> list[EngineRun]:
    """The mappings given for a part, the best first; none where none is of its cascade.

    Raises
    ------
    MappingError
        One is not legal, or breaks a constraint.
    """
    mine = (part.cascade, name_of(part))
    given = (mapping for mapping in start if mapping.cascade in mine)
    runs = [run_mapping(problem.space, mapping, problem.objective) for mapping in given]
    return [*best_first(problem, runs)]


def best_first(problem: SearchProblem, runs: Iterable[EngineRun]) -> tuple[EngineRun, ...]:
    """Runs by the objective; of those that are as good the best in the other one is first."""
    return tuple(sorted(runs, key=lambda run: (run.value, problem.objective.tie(run.result))))
