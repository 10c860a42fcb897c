"""Plans and runs: the jobs of a workload on a machine, and one result of all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from einsum_cascade.errors import InputError
from einsum_cascade.number_formats import TensorFormats

from ..engine.early_exit import takes_longer
from ..engine.evaluate import evaluate_bound
from ..result.record import PartUse, RequestUse
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .defaults import default_job
from .job import Evaluate, Generators, Job, JobPlan, SlowerError, naming_part
from .parts import job_of
from .programs import refuse_uncomputable_formats, refuse_unknown_tensors
from .selection import ByPart, Given, check_partitioned, given_mappings
from .workload import PartLike, RequestLike, WorkloadLike

Engine = Literal["analytical", "event"]

_FLOOR_RATIO_TO_ADVISE_SEARCH = 1.5
"""From how many times the floor on a run is said to be slow."""


def evaluate_job(job: Job, engine: Engine = "analytical") -> Result:
    """The result of one job, without the job's own notes.

    Raises
    ------
    SpecError, MappingError
        As ``Job.bind``, and where the schedule contradicts the cascade's dependencies.
    SlowerError
        It certainly takes longer than the job's limit.
    """
    if job.known is not None and job.known.engine == engine:
        return job.known
    if job.mapping.nests:
        # Not above: few mappings have several.
        from ..engine.evaluate import evaluate_nests

        parts = tuple((nest.nest, nest.bind()) for nest in job.nests)
        return evaluate_nests(job.program, job.mapping, parts, workload=job.name, engine=engine)
    bound = job.bind()
    if job.limit_s is not None and takes_longer(bound, job.limit_s):
        raise SlowerError
    return evaluate_bound(bound, workload=job.name, engine=engine)


def once(evaluate: Evaluate) -> Evaluate:
    """The same, but parts that differ in name alone (keys and values) are worked out once.

    Parameters
    ----------
    evaluate : callable
        What simulates a job of one machine.
    """
    found: dict[tuple[Mapping, tuple[tuple[str, int], ...], TensorFormats], Result] = {}
    slower: dict[tuple[Mapping, tuple[tuple[str, int], ...], TensorFormats], float] = {}

    def run(job: Job) -> Result:
        if job.known is not None:
            return evaluate(job)
        key = (job.mapping, job.shapes, job.program.formats)
        if key not in found:
            if job.limit_s is not None and job.limit_s <= slower.get(key, -1.0):
                raise SlowerError
            try:
                found[key] = evaluate(job)
            except SlowerError:
                assert job.limit_s is not None, "it is slower than something"
                slower[key] = job.limit_s
                raise
        return replace(found[key], workload=job.name)

    return run


def run_plan(
    plan: JobPlan, *, engine: Engine = "analytical", evaluate: Evaluate | None = None
) -> Result:
    """The result of all jobs of a plan, one after the other.

    Parameters
    ----------
    engine : str
        ``"event"`` is more patient with long runs than ``"analytical"``; else they are the same.
    evaluate : callable, optional
        What simulates each job in the engine's place, for example from memory.

    Raises
    ------
    InputError
        There is no such engine, or as ``evaluate_job``; says which part it is about.
    """
    if engine not in ("analytical", "event"):
        raise InputError(f"there is no engine '{engine}'; use 'analytical' or 'event'")
    run = evaluate or partial(evaluate_job, engine=engine)
    if plan.single:
        return _advised(plan, _with_notes(plan.jobs[0], run))
    run = once(run)
    parts = tuple(_part_use(job, run) for job in plan.jobs)
    # Not above: most workloads are one job, and need not wait for this.
    from ..result.merge import merged

    whole = merged(
        parts,
        workload=plan.workload.name,
        mapping=" + ".join(dict.fromkeys(m.name for m in _own_first(plan))),
        shape=plan.workload.shapes,
        notes=plan.workload.left_out,
    )
    tokens, request = plan.workload.tokens, plan.workload.request
    if request is not None:
        whole = replace(whole, request=_stages(request, parts))
    return _advised(plan, replace(whole, tokens=tokens))


def _stages(request: RequestLike, parts: tuple[PartUse, ...]) -> RequestUse:
    """What comes before the first token of an answer, and what a further one takes."""
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


def _advised(plan: JobPlan, result: Result) -> Result:
    """The result, saying so where another mapping may be much faster and none was searched."""
    searched = plan.searched or all(job.searched for job in plan.jobs)
    if searched or result.over_floor <= _FLOOR_RATIO_TO_ADVISE_SEARCH:
        return result
    note = f"latency is {result.over_floor:.3g} times the floor of any mapping"
    note += ": --mapping auto searches for a faster one"
    return replace(result, notes=(*result.notes, note))


def _with_notes(job: Job, run: Evaluate) -> Result:
    result = run(job)
    return replace(result, notes=(*job.notes, *result.notes))


def _part_use(job: Job, run: Evaluate) -> PartUse:
    """One job simulated; what is wrong with it says which part it is."""
    try:
        found = _with_notes(job, run)
    except InputError as wrong:
        raise naming_part(job.part.name, wrong) from None
    return PartUse(name=job.part.name, times=job.part.times, result=found, stage=job.part.stage)


def _own_first(plan: JobPlan) -> list[Mapping]:
    """Mappings of the jobs, that of the workload's own cascade first."""
    own = plan.workload.cascade
    return [job.mapping for job in sorted(plan.jobs, key=lambda j: j.part.cascade != own)]


def plan(
    workload: WorkloadLike,
    architecture: Architecture,
    mapping: Given = None,
    *,
    generators: Generators,
    evaluate: Evaluate = evaluate_job,
) -> JobPlan:
    """The jobs of a workload on a machine, one for each part, in the order they run.

    Parameters
    ----------
    mapping : Mapping, sequence of Mapping, ByPart, or None
        As in ``given_mappings``. A part for which none is given takes the best that is known
        (``defaults``).
    generators : Generators
        Where mappings come from that no file spells out.
    evaluate : callable
        What judges mappings of which the best is taken.

    Raises
    ------
    SpecError
        Something named does not exist, or a part cannot be run by its mapping's cascade.
    MappingError
        None of the mappings known for a part is legal; says why for each.
    """
    parts = tuple(workload.parts)
    single = len(parts) == 1 and parts[0].times == 1 and workload.request is None
    given = given_mappings(workload, mapping)
    judge = once(evaluate)

    def planned(part: PartLike, how: Mapping | None) -> Job:
        name = workload.name if single else part.name
        if how is None:
            return default_job(part, name, architecture, generators, judge)
        job = job_of(part, how, architecture, generators, name=name)
        if not isinstance(mapping, ByPart):
            check_partitioned(job)
        return job

    jobs: list[Job] = []
    for part, how in zip(parts, given, strict=True):
        try:
            jobs.append(planned(part, how))
        except InputError as wrong:
            if how is None:
                refuse_uncomputable_formats(workload, part, architecture)
            raise (wrong if single else naming_part(part.name, wrong)) from None
    refuse_unknown_tensors(workload, (job.program for job in jobs))
    return JobPlan(
        workload=workload,
        architecture=architecture,
        jobs=tuple(jobs),
        searched=isinstance(mapping, ByPart),
    )
