"""Incumbents of a search: given, built-in, generated and remembered mappings.

A remembered search has its mapping, its certificate, its runner-up and its history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from math import inf
from time import monotonic

from archsim.legality.binding import with_parameters
from archsim.plan.defaults import KnownMapping, default_job, known_mappings
from archsim.plan.job import Refusal
from archsim.plan.parts import PartProblem, refuse_unknown_tensors
from archsim.plan.planner import evaluate_job
from archsim.spec.arch import Architecture
from archsim.spec.mapping import Mapping
from einsum_cascade import Cascade
from einsum_cascade.errors import InputError, SpecError
from workloads.parts.part import Part
from workloads.workload import Workload

from ..construct.generators import GENERATORS, WITH_CACHE
from ..memory import RUNNER_UP, MappingKey, recall, recall_details, remember, remember_details
from ..space.mapspace import Mapspace
from . import policy
from .certificate import Certificate, Moment, Searched
from .constraint_files import ConstraintFile, constraints_of
from .engine_run import EngineRun, run_mapping
from .objectives import LATENCY, SearchObjective
from .protocol import SearchProblem
from .search_log import first_of_another_kind, with_better


def name_of(part: Part) -> str:
    """Return the name of the cascade of a workload's part, even if a file is given instead."""
    return Cascade.load(part.cascade).program.name


def space_of(
    part: Part,
    architecture: Architecture,
    cascade: str = "",
    *,
    constraints: Sequence[ConstraintFile] = (),
) -> Mapspace:
    """Return the mapspace of one part (layer or operator) of a workload.

    For machines with many cores or a memory tree, relaxations of this mapspace are searched.

    Parameters
    ----------
    cascade : str
        Another cascade that computes the same. If empty, the part's own cascade is used.

    Raises
    ------
    InputError
        As ``Mapspace.of``, with the name of the part.
    """
    problem = PartProblem(part, architecture, GENERATORS, cascade)
    try:
        program, shapes = with_parameters(problem.program, problem.shapes)
        obeyed = constraints_of(constraints, program, architecture)
        return Mapspace.of(program, architecture, shapes, obeyed)
    except InputError as wrong:
        problems = [replace(p, message=f"{part.name}: {p.message}") for p in wrong.problems]
        raise type(wrong)(problems) from None


def check_start(
    workload: Workload, start: Sequence[Mapping], constraints: Sequence[ConstraintFile] = ()
) -> None:
    """Check the inputs of a search before it starts, as it may take minutes.

    Raises
    ------
    SpecError
        A mapping to begin with is of no cascade of the workload, several parts are constrained, or
        a format is of no tensor of the workload.
    """
    refuse_unknown_tensors(workload, (Cascade.load(p.cascade).program for p in workload.parts))
    if constraints:
        only_part(workload, "a constraint on mappings")
    cascades = dict.fromkeys(c for part in workload.parts for c in (part.cascade, name_of(part)))
    for mapping in start:
        if mapping.cascade not in cascades:
            raise SpecError(
                f"the mapping '{mapping.name}' is of cascade '{mapping.cascade}'; "
                f"{workload.name} computes {', '.join(cascades)}"
            )


def only_part(workload: Workload, what: str) -> Part:
    """Return the only part (layer or operator) of a workload; raise an error if there are several.

    Parameters
    ----------
    what : str
        Subject of the error's sentence.

    Raises
    ------
    SpecError
        The workload has several parts; names the option that takes one.
    """
    if len(workload.parts) > 1:
        names = ", ".join(dict.fromkeys(part.name for part in workload.parts))
        raise SpecError(
            f"{what} is of a workload of one part; {workload.name} has {names}",
            hint="take its attention alone: --set scope=attention",
        )
    return workload.parts[0]


@dataclass(frozen=True, kw_only=True)
class Incumbents:
    """Known mappings of a workload's part, and known mappings that are made only when needed."""

    part: Part
    problem: SearchProblem
    runs: tuple[EngineRun, ...]
    """Runs of all legal mappings, best first; ties are decided by the second objective."""
    deferred: tuple[KnownMapping, ...] = ()
    """Mappings that take long to make, put off because a known mapping is near its floor."""
    refused: tuple[Refusal, ...] = ()
    """Mappings that break a constraint or are illegal under every partitioning, with the reason."""

    @property
    def best(self) -> EngineRun | None:
        """Best run, with which a search begins; None without a legal mapping."""
        return self.runs[0] if self.runs else None

    @property
    def others(self) -> tuple[EngineRun, ...]:
        """All runs except the best one, best first."""
        return self.runs[1:]

    def or_deferred(self, found: Searched) -> tuple[Searched, tuple[EngineRun, ...]]:
        """Return the search's outcome, or a better deferred mapping; also return all deferred runs.

        Deferred mappings are made and run only if the mapping found may be improved.
        """
        floor = self.problem.objective.floor(found.result)
        value = self.problem.objective.of(found.result)
        if (
            not self.deferred
            or value <= policy.GOOD_ENOUGH_FLOOR_RATIO * floor
            or found.certificate.ended
        ):
            return found, ()
        begun, late = monotonic(), list[EngineRun]()
        for known in self.deferred:
            if self.problem.is_over():
                break
            late += _Runs(self.part, self.problem).of(known)
        runs = best_first(self.problem, late)
        if not runs or runs[0].value >= value:
            return found, runs
        return with_better(self.problem, found, runs[0], found.certificate, begun), runs


def default_run(part: Part, problem: SearchProblem) -> EngineRun | None:
    """Run the mapping that ``simulate`` takes by default; return None if it is illegal.

    Every search begins with this run, whatever its time limit, so that its result is no worse.
    """
    own = PartProblem(part, problem.space.architecture, GENERATORS)
    try:
        best = default_job(own, part.name, lambda job, limit: evaluate_job(job, limit_s=limit))
    except InputError:
        return None  # the search explains why no mapping is legal
    mapping = best.job.mapping
    runs = _Runs(part, problem).of(KnownMapping(mapping.name, lambda: mapping))
    return next(iter(runs), None)


def incumbents_of(
    part: Part, problem: SearchProblem, start: Sequence[Mapping], *, sparing: bool = True
) -> Incumbents:
    """Run all known mappings of a workload's part, and return the runs of legal ones.

    Parameters
    ----------
    problem : SearchProblem
        Its incumbent, if any, is one of these runs. Once time is up, it suffices.
    sparing : bool
        True if mappings that take long to make are put off while a known mapping is near its
        latency floor. A front needs them all: the floor says nothing about the least energy.

    Raises
    ------
    MappingError
        A given mapping is illegal, or breaks a constraint.
    """
    found = given_runs(part, problem, start)
    if problem.known is not None:
        found.append(problem.known)
    sparing = sparing and problem.objective.code == LATENCY
    deferred: list[KnownMapping] = []
    runs = _Runs(part, problem)
    for candidate in known_mappings(PartProblem(part, problem.space.architecture, WITH_CACHE)):
        if found and problem.is_over():
            break
        best = min(found, key=lambda run: run.value, default=None)
        known = candidate.refined(None if best is None else best.mapping)
        if not known.there():
            continue
        near = min((run.result.over_floor for run in found), default=inf)
        if sparing and near <= known.beyond:
            deferred.append(known)
        else:
            found += runs.of(known)
    ranked = best_first(problem, found)
    return Incumbents(
        part=part, problem=problem, runs=ranked, deferred=tuple(deferred), refused=runs.refused
    )


class _Runs:
    """Runs of known mappings, and the reasons why other known mappings are illegal."""

    def __init__(self, part: Part, problem: SearchProblem) -> None:
        self.part, self.problem = part, problem
        self._legal: set[str] = set()
        self._refused: dict[str, Refusal] = {}

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Mappings that are illegal under every partitioning."""
        return tuple(r for name, r in self._refused.items() if name not in self._legal)

    def of(self, known: KnownMapping) -> tuple[EngineRun, ...]:
        """Return the run of a known mapping; nothing if the mapping is illegal or breaks a
        constraint."""
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


def given_runs(part: Part, problem: SearchProblem, start: Sequence[Mapping]) -> list[EngineRun]:
    """Run the mappings that a user gives for a workload's part; return the runs, best first.

    Raises
    ------
    MappingError
        A given mapping is illegal, or breaks a constraint.
    """
    mine = (part.cascade, name_of(part))
    given = (mapping for mapping in start if mapping.cascade in mine)
    runs = [run_mapping(problem.space, mapping, problem.objective) for mapping in given]
    return [*best_first(problem, runs)]


def best_first(problem: SearchProblem, runs: Iterable[EngineRun]) -> tuple[EngineRun, ...]:
    """Sort runs by the objective; ties are decided by the second objective."""
    return tuple(sorted(runs, key=lambda run: (run.value, problem.objective.tie(run.result))))


_EDITION = 3
"""Version of the search; certificates stored by other versions are ignored."""

_EQUALITY_TOLERANCE = 1e-9
"""Relative difference up to which two values of the same mapping count as equal."""


def remember_search(question: MappingKey, found: Searched, *, another: bool = False) -> None:
    """Store the result of a search for later calls.

    Parameters
    ----------
    question : MappingKey
        Content of the mapping problem.
    found : Searched
        Result of a complete search without constraints.
    another : bool
        True if the mapping is of another cascade that it names. Its runner-up is not kept, as
        that may be of the part's own cascade.
    """
    remember(question, found.mapping, another=another)
    second = None if another else found.runner_up
    if second is not None:
        remember(question, second.mapping, RUNNER_UP)
    known = {
        "edition": _EDITION,
        "certificate": asdict(found.certificate),
        "history": [astuple(moment) for moment in found.history],
        "runner_up": second is not None,
    }
    remember_details(question, json.dumps(known))


def recall_search(
    question: MappingKey,
    space_of: Callable[[str], Mapspace],
    objective: SearchObjective,
    tolerance: float,
) -> Searched | None:
    """Return the stored search of the same problem; None if there is none.

    Parameters
    ----------
    space_of : callable
        Returns the mapspace of the problem for the cascade that a mapping is of.
    tolerance : float
        Tolerance of the search.
    """
    mapping, text = recall(question), recall_details(question)
    if mapping is None or text is None:
        return None
    # A file that can no longer be read is searched for again.
    with suppress(InputError, ValueError, TypeError, KeyError):
        known = json.loads(text)
        fields = known["certificate"]
        reasons = tuple((why, count) for why, count in fields["reasons"])
        certificate = Certificate(**(fields | {"reasons": reasons, "constraints": ()}))
        if known["edition"] != _EDITION or certificate.tolerance != tolerance:
            return None
        space = space_of(mapping.cascade)
        run = run_mapping(space, mapping, objective)
        if abs(run.value - certificate.value) > _EQUALITY_TOLERANCE * certificate.value:
            return None
        second = recall(question, RUNNER_UP) if known["runner_up"] else None
        others = () if second is None else (run_mapping(space, second, objective),)
        return Searched(
            mapping=mapping,
            result=run.result,
            certificate=replace(certificate, remembered=True),
            runner_up=first_of_another_kind(space, mapping, others),
            history=tuple(Moment(*moment) for moment in known["history"]),
        )
    return None
