"""The planner: which jobs a workload is on a machine.

Every command that runs something asks here, so that one run means the same to all of them:
``simulate``, its trace and its dumps, ``compare``, ``map``, ``validate``, the atlas and the
reproductions.
"""

from __future__ import annotations

from einsum_cascade.errors import InputError

from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .defaults import default_job
from .job import Evaluate, Generators, Job, JobPlan, told_of
from .parts import job_of
from .programs import refuse_unknown_tensors, refuse_what_nobody_computes
from .run import evaluate_job, once
from .selection import ByPart, Given, check_spread, given_mappings
from .workload import PartLike, WorkloadLike


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
            check_spread(job)
        return job

    jobs: list[Job] = []
    for part, how in zip(parts, given, strict=True):
        try:
            jobs.append(planned(part, how))
        except InputError as wrong:
            if how is None:
                refuse_what_nobody_computes(workload, part, architecture)
            raise (wrong if single else told_of(part.name, wrong)) from None
    refuse_unknown_tensors(workload, (job.program for job in jobs))
    return JobPlan(
        workload=workload,
        architecture=architecture,
        jobs=tuple(jobs),
        searched=isinstance(mapping, ByPart),
    )
