"""Search of a workload: the best mapping of each of its parts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from archsim.document import Listing
from archsim.plan.job import JobPlan, Refusal
from archsim.plan.parts import PartProblem, refuse_missing_operations
from archsim.plan.planner import plan, run_plan
from archsim.plan.selection import ByPart, recalled_mapping
from archsim.result.record import limits
from archsim.result.result import Result
from archsim.spec.arch import Architecture
from archsim.spec.files.mapping_text import mapping_dict
from archsim.spec.mapping import Mapping
from archsim.views.loop_nest import loop_nest
from einsum_cascade.memo import cached_property
from workloads.parts.part import Part
from workloads.workload import Workload

from .construct.generators import GENERATORS, WITH_CACHE
from .exact.process_pool import ProcessPool, usual_workers
from .memory import MappingKey
from .problem.certificate import INTERRUPTED, TIME_LIMIT, Searched, added_reasons
from .problem.constraint_files import ConstraintFile
from .problem.engine_run import EngineRun
from .problem.incumbents import (
    Incumbents,
    check_start,
    default_run,
    given_runs,
    incumbents_of,
    recall_search,
    remember_search,
    space_of,
)
from .problem.objectives import EDP, LATENCY, SearchObjective, objective_called
from .problem.protocol import (
    TOLERANCE,
    Clock,
    Progress,
    ProgressOfParts,
    SearchProblem,
    at_once,
    infrequent_collection,
    never,
    quiet,
)
from .problem.search_log import SearchLog
from .relax.relaxation import answer, relaxed_certificate
from .space.mapspace import Mapspace

if TYPE_CHECKING:
    from .exact.policy import Effort

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSearched:
    """Best mapping found for one part of a workload."""

    name: str
    found: Searched
    times: int = 1
    """Number of runs of the part, with other parts that equal it."""
    refused: tuple[Refusal, ...] = ()
    """Known mappings that are illegal here, and why."""


@dataclass(frozen=True)
class WorkloadSearched:
    """Result of a workload under the best mappings of its parts."""

    result: Result
    parts: tuple[PartSearched, ...]
    """Distinct parts, in the order in which they run."""
    objective: SearchObjective
    by_part: ByPart
    """Mapping of every part, for ``simulate``."""
    plan: JobPlan
    """Plan that ran all parts under these mappings."""

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """Mappings of all distinct parts."""
        return tuple(part.found.mapping for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``archsim map --json`` prints: result, certificate and mapping.

        ``mapping_spec`` is the content of a mapping file, and ``loop_nest`` its loops as text.
        ``runner_up`` and ``history`` are as in ``Searched``. If several parts have mappings of
        their own, each of these is a list.
        """
        specs = [{"mapping": mapping_dict(mapping)} for mapping in self.mappings]
        others = [p.found.runner_up for p in self.parts]
        met = [[m.to_dict() for m in p.found.history] for p in self.parts]
        return {
            **self.result.to_dict(),
            "certificate": self.certificate(),
            "mapping_spec": _one_or_all(specs),
            "loop_nest": _one_or_all(["\n".join(x.lines) for x in self.loop_nests]),
            "limits": [x.to_dict() for x in limits(self.result)],
            "runner_up": _one_or_all([None if r is None else r.to_dict() for r in others]),
            "history": _one_or_all(met),
        }

    @cached_property
    def loop_nests(self) -> tuple[Listing, ...]:
        """Loop nests of all mappings, in the order of ``parts``."""
        found: list[Listing] = []
        for part in self.parts:
            job = next(
                job
                for job in self.plan.jobs
                if job.part.name == part.name and job.mapping == part.found.mapping
            )
            nests = [loop_nest(nest.bind()).lines for nest in job.nests]
            first, *others = nests
            if others:
                first = (f"{len(nests)} nests, one after the other", *first)
            lines = (*first, *(line for nest in others for line in ("", *nest)))
            found.append(Listing(title=f"{part.name} as loops", lines=lines))
        return tuple(found)

    def certificate(self) -> dict[str, Any]:
        """Return the certificate of the workload: sums over parts, and the gap of the whole."""
        all_of = [part.found.certificate for part in self.parts]
        # Fields that do not add up, such as the effort, are those of the part with the largest
        # gap.
        total = replace(
            max(all_of, key=lambda c: c.gap),
            candidates=sum(c.candidates for c in all_of),
            evaluated=sum(c.evaluated for c in all_of),
            reasons=added_reasons(all_of),
            runs=sum(c.runs for c in all_of),
            gap=self._gap(),
            value=self.objective.of(self.result),
            floor=self.objective.floor(self.result),
            ended=next((c.ended for c in all_of if c.ended), ""),
        )
        found = total.to_dict()
        if len(all_of) > 1:
            found["parts"] = [{"part": p.name, **p.found.certificate.to_dict()} for p in self.parts]
        return found

    def _gap(self) -> float:
        """Return the share by which other mappings of all parts could improve the objective
        together.

        Parts run one after the other, so energies and latencies add up. By Cauchy and Schwarz, a
        product of two sums is no less than the square of the sum of the roots of products, which
        bounds the energy delay product.
        """
        if len(self.parts) == 1:
            return self.parts[0].found.certificate.gap
        # sum E * sum D >= (sum sqrt(E D))**2: products of 4 and 9 give at least 25.
        power = 0.5 if self.objective.code == EDP else 1.0
        roots = 0.0
        for p in self.parts:
            least = self.objective.of(p.found.result) * (1 - p.found.certificate.gap)
            roots += p.times * least**power
        return float(max(0.0, 1 - roots ** (1 / power) / self.objective.of(self.result)))


def _one_or_all(found: list[T]) -> T | list[T]:
    """Return the only item of a list by itself, and longer lists as they are."""
    return found[0] if len(found) == 1 else found


@infrequent_collection()
def search_workload(
    workload: Workload,
    architecture: Architecture,
    objective: SearchObjective,
    *,
    effort: Effort | None = None,
    tolerance: float = TOLERANCE,
    progress: ProgressOfParts = quiet,
    start: Sequence[Mapping] = (),
    time_limit_s: float | None = None,
    constraints: Sequence[ConstraintFile] = (),
) -> WorkloadSearched:
    """Search the best mapping of every part of a workload on a machine.

    Parameters
    ----------
    objective : SearchObjective
        Objective of every part by itself.
    effort : Effort, optional
        Limits of the search; the usual ones by default.
    tolerance : float
        Share by which a mapping has to promise to be better, to be run.
    progress : callable
        Called with the name and the amount of work of each part.
    start : sequence of Mapping
        Mappings to begin with: the mapping found is no worse.
    time_limit_s : float, optional
        Time limit in seconds. The default mappings are always run; all parts share the time
        that is left.
    constraints : sequence of ConstraintFile
        Constraints on all mappings, for a workload of one part.

    Raises
    ------
    SpecError
        Something named does not exist, or shapes are missing.
    MappingError
        As ``exhaustive`` and ``incumbents_of``; or the machine lacks operations, and names all.
    """
    clock = Clock(time_limit_s)
    check_start(workload, start, constraints)
    own = ((part, part.cascade) for part in workload.parts)
    refuse_missing_operations(workload, own, architecture)
    # The least products of all parts may give a larger product of the sums.
    is_sum = objective.code != EDP or len(workload.parts) == 1
    found: dict[Hashable, PartSearched] = {}
    defaults: dict[Hashable, tuple[Part, SearchProblem]] = {}
    waiting: dict[Hashable, tuple[Part, SearchProblem]] = {}
    times: dict[Hashable, int] = {}
    keys: list[Hashable] = []
    for part in workload.parts:
        space = space_of(part, architecture, constraints=constraints)
        keys.append(key := _key(part, space))
        if key not in times:
            space = replace(space, slow=objective.code != LATENCY)
            problem = SearchProblem(space, objective, tolerance=tolerance)
            before = None if effort or constraints else _remembered(part, problem, start)
            if before is None:
                waiting[key] = part, problem
            else:
                found[key] = PartSearched(name=part.name, found=before)
            if before is None or not is_sum:
                defaults[key] = part, problem
        times[key] = times.get(key, 0) + part.times
    usual = _default_runs(defaults)
    # All parts have a mapping by now, and share the time that is left.
    for number, (key, (part, problem)) in enumerate(waiting.items()):
        its = clock.part(len(waiting) - number)
        # Local search follows the exhaustive search, and needs some of the time.
        is_over, is_late = its.most().share(1), its.late()
        if any(p.found.certificate.ended == INTERRUPTED for p in found.values()):
            is_over = is_late = at_once
        problem = replace(problem, known=usual[key], is_over=is_over, is_late=is_late)
        found[key] = _searched(effort, part, problem, start, partial(progress, part.name))
    parts = {key: replace(found[key], times=times[key]) for key in times}
    default = {key: _with_run(parts[key], run) for key, run in usual.items()}
    able = (_ran(workload, architecture, objective, by, keys) for by in (parts, default))
    return next(able) if is_sum else min(able, key=lambda one: objective.of(one.result))


def _default_runs(
    parts: dict[Hashable, tuple[Part, SearchProblem]],
) -> dict[Hashable, EngineRun | None]:
    """Return the default run of each distinct part; on several processors parts run at a time."""
    keys = [*parts]
    pool = ProcessPool[int, "EngineRun | None"](
        lambda number: default_run(*parts[keys[number]]), min(len(parts) or 1, usual_workers())
    )
    try:
        numbers = [pool.submit(number) for number in range(len(keys))]
        return {key: pool.answer(number, never) for key, number in zip(keys, numbers, strict=True)}
    finally:
        pool.close()


def _key(part: Part, space: Mapspace) -> Hashable:
    """Return a key that is equal for parts with the same problem."""
    # The width of a window is a parameter: layers with different widths are searched apart.
    program = space.program
    return part.cascade, tuple(space.shapes.items()), program.parameters, program.formats


def _ran(
    workload: Workload,
    architecture: Architecture,
    objective: SearchObjective,
    parts: dict[Hashable, PartSearched],
    keys: Sequence[Hashable],
) -> WorkloadSearched:
    """Run a workload under the mappings found; ``keys`` names the distinct part of each part."""
    by_part = ByPart(tuple(parts[key].found.mapping for key in keys))
    jobs = plan(workload, architecture, by_part, generators=GENERATORS).with_results(
        parts[key].found.result for key in keys
    )
    return WorkloadSearched(run_plan(jobs), tuple(parts.values()), objective, by_part, jobs)


def _with_run(part: PartSearched, run: EngineRun | None) -> PartSearched:
    """Return a part with another run, if there is one, in place of the mapping found."""
    if run is None:
        return part
    certificate = part.found.certificate
    found = replace(
        part.found,
        mapping=run.mapping,
        result=run.result,
        certificate=certificate.bounded(run.value, certificate.bound),
        runner_up=None,
    )
    return replace(part, found=found)


def best_mappings(
    workload: Workload, architecture: Architecture, *, progress: ProgressOfParts = quiet
) -> ByPart:
    """Return the fastest mapping of every part, remembered from an earlier search or searched
    now.

    Raises as ``search_workload``.
    """
    known = [
        recalled_mapping(PartProblem(part, architecture, WITH_CACHE)) for part in workload.parts
    ]
    if all(mapping is not None for mapping in known):
        return ByPart(tuple(mapping for mapping in known if mapping is not None))
    latency = objective_called("latency")
    return search_workload(workload, architecture, latency, progress=progress).by_part


def _question(part: Part, problem: SearchProblem) -> MappingKey:
    """Return the content of a part's mapping problem."""
    content = PartProblem(part, problem.space.architecture, GENERATORS)
    return MappingKey(
        program=content.program,
        architecture=content.architecture,
        shapes=content.shapes,
        objective=problem.objective.name,
    )


def _remembered(part: Part, problem: SearchProblem, start: Sequence[Mapping]) -> Searched | None:
    """Return the search remembered for the very same part, unless a given mapping is better."""
    question = _question(part, problem)
    own = question.program.name

    def space_called(cascade: str) -> Mapspace:
        if cascade == own:
            return problem.space
        return space_of(part, problem.space.architecture, cascade)

    found = recall_search(question, space_called, problem.objective, problem.tolerance)
    if found is None:
        return None
    value, tie = problem.objective.of(found.result), problem.objective.tie(found.result)
    for given in given_runs(part, problem, start)[:1]:
        if (given.value, problem.objective.tie(given.result)) < (value, tie):
            return None
    if found.mapping.cascade != own:
        return found
    return replace(found, mapping=replace(found.mapping, cascade=part.cascade))


def _searched(
    effort: Effort | None,
    part: Part,
    problem: SearchProblem,
    start: Sequence[Mapping],
    progress: Progress,
) -> PartSearched:
    """Search the best mapping of a part.

    The mapping may be an incumbent outside of the mapspace, or one of another cascade for which the
    machine was designed.
    """
    constraints = problem.space.constraints
    own = incumbents_of(part, problem, start)
    if own.best is not None and problem.is_over():
        found, runs, cascades = _best_known(own), own.runs, tuple[str, ...]()
    else:
        # imported late: the search takes a third of a second to load
        from .cut.nest_search import SplitReductions, search_machine

        splits = SplitReductions(effort, part, problem, own, progress)
        known = answer(splits)
        of_own = replace(problem, known=known.best, others=known.others)
        if splits.ended == INTERRUPTED:
            of_own = replace(of_own, is_over=at_once, is_late=at_once)
        found = search_machine(effort, of_own, progress)
        certificate = found.certificate.with_effort_of(splits.certificates)
        found, late = known.or_deferred(replace(found, certificate=certificate))
        runs, cascades = (*known.runs, *late), splits.cascades
    if all(found.mapping is not run.mapping for run in runs):
        # The mapping names the cascade as the part does, by name or by file.
        found = replace(found, mapping=replace(found.mapping, cascade=part.cascade))
    if constraints:
        certificate = replace(found.certificate, constraints=tuple(c.text for c in constraints.all))
        found = replace(found, certificate=certificate)
    if problem.is_over() and not found.certificate.ended:
        # Some step was skipped for lack of time.
        found = replace(found, certificate=replace(found.certificate, ended=TIME_LIMIT))
    # A search is not remembered if it ended early, or if its effort was not the
    # usual one.
    another = found.mapping.cascade in cascades
    whole = effort is None and not constraints
    if whole and not found.certificate.ended and (another or found.mapping.cascade == part.cascade):
        remember_search(_question(part, problem), found, another=another)
    return PartSearched(name=part.name, found=found, refused=own.refused)


def _best_known(own: Incumbents) -> Searched:
    """Return the best incumbent as the result of a search that had no time."""
    best, problem, runs = own.best, own.problem, len(own.runs)
    assert best is not None, "the caller checks it"
    log = SearchLog(best, own.others)
    certificate = relaxed_certificate(
        problem, best.result, (), where="", runs=runs, ended=TIME_LIMIT
    )
    return Searched(
        mapping=best.mapping,
        result=best.result,
        certificate=certificate,
        runner_up=log.runner_up(problem.space, best.mapping, more=False),
        history=log.end(runs),
    )
