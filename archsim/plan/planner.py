"""Planning and running: the jobs of a workload on a machine, and one result for all jobs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

from einsum_cascade.errors import InputError
from workloads.parts.part import Part
from workloads.spec import Request
from workloads.workload import Workload

from ..engine.evaluate import evaluate_bound, evaluate_nests, takes_longer
from ..quantities import engineering
from ..result.merge import merged
from ..result.note import Note, noted
from ..result.record import PartUse, RequestUse
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from . import policy
from .capacity import memory_needs, stored_formats
from .defaults import default_job
from .factored import factoring_note
from .job import Evaluate, Generators, Job, JobPlan, SlowerError, naming_part
from .parts import (
    PartProblem,
    job_of,
    refuse_another,
    refuse_missing_operations,
    refuse_unknown_tensors,
)
from .selection import ByPart, Given, cascades_of, check_partitioned, given_mappings

Engine = Literal["analytical", "event"]


def evaluate_job(job: Job, engine: Engine = "analytical", limit_s: float | None = None) -> Result:
    """Return the result of one job, without the job's own notes.

    Parameters
    ----------
    job : Job
    engine : str
    limit_s : float, optional
        Latency in seconds beyond which the result is not needed. Several nests ignore the limit.

    Raises
    ------
    SpecError, MappingError
        As ``Job.bind``, and where the schedule contradicts the cascade's dependencies.
    SlowerError
        The job certainly exceeds the limit.
    """
    if job.mapping.nests:
        parts = tuple((nest.nest, nest.bind()) for nest in job.nests)
        return evaluate_nests(job.program, job.mapping, parts, workload=job.name, engine=engine)
    bound = job.bind()
    if limit_s is not None and takes_longer(bound, limit_s):
        raise SlowerError
    return evaluate_bound(bound, workload=job.name, engine=engine)


class _JobEvaluator:
    """Evaluator of the jobs of one machine; jobs that differ only in name are evaluated once.

    Parameters
    ----------
    engine : str
    evaluate : callable, optional
        Simulates each job in the engine's place, whatever the limit.
    """

    def __init__(self, engine: Engine, evaluate: Evaluate | None) -> None:
        self._engine = engine
        self._evaluate = evaluate
        self._results: dict[Hashable, Result] = {}
        self._exceeded: dict[Hashable, float] = {}

    def __call__(self, job: Job, limit_s: float | None = None, /) -> Result:
        """Return the result of a job. Raises as ``evaluate_job``."""
        key = (job.mapping, job.shapes, job.program.formats)
        if key not in self._results:
            if limit_s is not None and limit_s <= self._exceeded.get(key, -1.0):
                raise SlowerError
            try:
                self._results[key] = (
                    evaluate_job(job, self._engine, limit_s)
                    if self._evaluate is None
                    else self._evaluate(job)
                )
            except SlowerError:
                assert limit_s is not None, "only a limit can be exceeded"
                self._exceeded[key] = limit_s
                raise
        return replace(self._results[key], workload=job.name)


def run_plan(
    plan: JobPlan, *, engine: Engine = "analytical", evaluate: Evaluate | None = None
) -> Result:
    """Return the result of all jobs of a plan, run one after the other.

    Parameters
    ----------
    plan : JobPlan
    engine : str
        ``"event"`` accepts longer runs than ``"analytical"``; the results are the same.
    evaluate : callable, optional
        Simulates each job in the engine's place, for example from memory.

    Raises
    ------
    InputError
        There is no such engine, or an error of ``evaluate_job``; names the part.
    """
    if engine not in ("analytical", "event"):
        raise InputError(f"there is no engine '{engine}'; use 'analytical' or 'event'")
    run = _JobEvaluator(engine, evaluate)

    def result_of(job: Job, known: Result | None) -> Result:
        result = run(job) if known is None or known.engine != engine else known
        own = job.part.cascade == plan.workload.cascade
        worth = factoring_note(job, result) if own else ()
        return replace(result, notes=(*job.notes, *worth, *result.notes))

    if plan.single:
        alone = result_of(plan.jobs[0], plan.results[0])
        needs = memory_needs(plan.workload, plan.jobs, [alone])
        formats = stored_formats(plan.workload, plan.jobs)
        return _advised(plan, _within_power(plan, replace(alone, capacity=needs, formats=formats)))
    parts: list[PartUse] = []
    for job, known in zip(plan.jobs, plan.results, strict=True):
        part = job.part
        try:
            result = result_of(job, known)
        except InputError as wrong:
            raise naming_part(part.name, wrong) from None
        use = PartUse(
            name=part.name,
            times=part.times,
            result=result,
            stage=part.stage,
            together=part.together,
        )
        parts.append(use)
    own_first = sorted(plan.jobs, key=lambda job: job.part.cascade != plan.workload.cascade)
    whole = merged(
        tuple(parts),
        workload=plan.workload.name,
        mapping=" + ".join(dict.fromkeys(job.mapping.name for job in own_first)),
        shape=plan.workload.shapes,
        notes=noted("scope", plan.workload.left_out),
    )
    tokens, request = plan.workload.tokens, plan.workload.request
    if request is not None:
        whole = replace(whole, request=_stages(request, parts))
    needs = memory_needs(plan.workload, plan.jobs, [part.result for part in parts])
    formats = stored_formats(plan.workload, plan.jobs)
    whole = replace(whole, tokens=tokens, capacity=needs, formats=formats)
    return _advised(plan, _within_power(plan, whole))


def _stages(request: Request, parts: Sequence[PartUse]) -> RequestUse:
    """Return times and energies of an answer: of its first token, and of each further token."""
    first = [p for p in parts if p.stage == "prefill"]
    further = [p for p in parts if p.stage == "decode"]
    steps = request.answer_len - 1
    return RequestUse(
        prompt_len=request.prompt_len,
        answer_len=request.answer_len,
        time_to_first_token_s=sum(p.latency_s for p in first),
        time_per_output_token_s=sum(p.latency_s for p in further) / steps if steps else None,
        first_token_j=sum(p.energy_pj for p in first) / 1e12,
        output_token_j=sum(p.energy_pj for p in further) / 1e12 / steps if steps else None,
    )


def _within_power(plan: JobPlan, result: Result) -> Result:
    """Return the result with a note if the run draws more power than the machine can sustain."""
    machine, drawn_w = plan.architecture, result.power_w
    if machine.power_limit_w is None or drawn_w <= machine.power_limit_w:
        return result
    drawn, limit = (engineering(power, "W") for power in (drawn_w, machine.power_limit_w))
    note = f"the run draws {drawn} on average, and {machine.name} sustains {limit}"
    return replace(result, notes=(*result.notes, Note(note, "power")))


def _advised(plan: JobPlan, result: Result) -> Result:
    """Return the result with a note that advises a search, if the lower bound is far away."""
    searched = plan.searched or all(job.searched for job in plan.jobs)
    if searched or result.over_floor <= policy.FLOOR_RATIO_TO_ADVISE_SEARCH:
        return result
    note = f"latency is {result.over_floor:.3g}x the lower bound of any mapping"
    note += ": --mapping auto searches for a faster one"
    return replace(result, notes=(*result.notes, Note(note, "mapping")))


def plan(
    workload: Workload,
    architecture: Architecture,
    mapping: Given = None,
    *,
    generators: Generators,
    evaluate: Evaluate | None = None,
    approximate: bool = False,
) -> JobPlan:
    """Return the jobs of a workload on a machine, one for each part, in the order in which they
    run.

    Parameters
    ----------
    mapping : Mapping, sequence of Mapping, ByPart, or None
        Mapping as in ``given_mappings``. A part without a given mapping runs the best known mapping
        (``defaults``).
    generators : Generators
        Generators of mappings that no file states.
    evaluate : callable, optional
        Simulates each job in the engine's place where mappings are compared.
    approximate : bool
        True to accept a given mapping whose cascade computes something else than the part.

    Raises
    ------
    SpecError
        Something named does not exist, or a part cannot be run by its mapping's cascade.
    MappingError
        None of the mappings known for a part is legal; says why for each. Or the machine lacks
        operations that parts need; names all of them.
    """
    parts = tuple(workload.parts)
    single = len(parts) == 1 and parts[0].times == 1 and workload.request is None
    given = given_mappings(workload, mapping)
    judge = _JobEvaluator("analytical", evaluate)

    def planned(part: Part, how: Mapping | None) -> tuple[Job, Result | None]:
        name = workload.name if single else part.name
        problem = PartProblem(part, architecture, generators)
        if how is None:
            best = default_job(problem, name, judge)
            return best.job, best.result
        job = job_of(problem, how, name)
        if not isinstance(mapping, ByPart):
            if not approximate:
                refuse_another(part, how)
            check_partitioned(job)
        return job, None

    found: list[tuple[Job, Result | None]] = []
    for part, how in zip(parts, given, strict=True):
        try:
            found.append(planned(part, how))
        except InputError as wrong:
            if how is None:
                cascades = cascades_of(parts, given, architecture)
                refuse_missing_operations(workload, cascades, architecture)
            raise (wrong if single else naming_part(part.name, wrong)) from None
    refuse_unknown_tensors(workload, (job.program for job, _ in found))
    return JobPlan(
        workload=workload,
        architecture=architecture,
        jobs=tuple(job for job, _ in found),
        results=tuple(result for _, result in found),
        searched=isinstance(mapping, ByPart),
    )
