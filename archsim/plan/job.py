"""Job: one part of a workload (a layer or operator) under one mapping on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from einsum_cascade.errors import InputError, Problem, SpecError
from einsum_cascade.ir import Program
from einsum_cascade.memo import cached_property
from workloads.parts.part import Part
from workloads.workload import Workload

from ..legality.binding import Choose, bind, with_parameters
from ..nest.record import Bound
from ..nest.sequence import BoundNest, nests_of
from ..result.note import Note
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from .partition_factors import Partitioning
from .problem import MappingProblem

MakeMapping = Callable[[Program, Architecture, dict[str, int]], Mapping]
"""Function that generates a mapping of a cascade on a machine, from shapes in elements by rank.

It raises MappingError if there is no mapping.
"""
FindMapping = Callable[[Program, Architecture, dict[str, int]], Mapping | None]
"""Function that generates or recalls a mapping of a cascade on a machine; None if there is none."""

ConstructMapping = Callable[[MappingProblem, Partitioning], Mapping]
"""Function that searches a mapping of a whole machine with a given partitioning over its cores.

It raises MappingError if it finds none.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generators:
    """Functions that generate or recall mappings which no file contains; ``mappers`` provides them.

    ``archsim`` evaluates mappings and does not search them: ``mappers`` stands above it.
    """

    make: MakeMapping
    """Function that generates a mapping of one Einsum after the other."""
    fuse: MakeMapping
    """Function that generates a fused mapping, whose Einsums share loops if capacity allows."""
    construct: ConstructMapping
    """Function that searches a fused mapping by a beam search, for a partitioning over cores."""
    choose: Choose
    """Function that selects among a mapping's open choices, and returns the bound mapping."""
    recall: FindMapping
    """Function that returns the fastest mapping that an earlier search found (``mappers.memory``).
    """


@dataclass(frozen=True, slots=True)
class Refusal:
    """Mapping that a machine cannot run, with the first reason."""

    mapping: str
    reason: str


class SlowerError(Exception):
    """Error of a run that is not timed, since its latency certainly exceeds the limit."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Part of a workload under one mapping on one machine.

    ``shapes`` are the part's shapes, completed by the cascade's defaults, in elements by rank.
    They may include parameters of the cascade.
    """

    name: str
    """Name of the workload, or of the part that the job runs."""
    part: Part
    program: Program
    mapping: Mapping
    shapes: tuple[tuple[str, int], ...]
    architecture: Architecture
    choose: Choose
    notes: tuple[Note, ...] = ()
    """Sentences about features of the part that the cascade lacks, and about assumptions."""
    refused: tuple[Refusal, ...] = ()
    """Mappings that were tried and refused before the job's own."""
    nest: str = ""
    """Name of the nest if the job runs one nest of a mapping, else empty."""
    searched: bool = False
    """True if a search found the mapping."""
    bound_nests: tuple[BoundNest, ...] = field(default=(), repr=False, compare=False)
    """Nests that were already bound while the mapping was generated; empty for a written mapping.
    """
    foreign: Problem | None = None
    """Problem to report together with missing shapes.

    It exists if the mapping's cascade computes something else than the part's cascade.
    """

    @cached_property
    def nests(self) -> tuple[Job, ...]:
        """Jobs to bind separately: one for each nest of the mapping, or this job if there are no
        nests.

        Raises
        ------
        SpecError
            The nests do not go together.
        """
        if not self.mapping.nests:
            return (self,)
        program, shapes = with_parameters(self.program, dict(self.shapes))
        parts = nests_of(program, self.mapping, shapes)
        return tuple(
            replace(
                self,
                name=f"{self.name}, {part.name}",
                nest=part.name,
                program=part.program,
                mapping=part.mapping,
                shapes=tuple(part.shapes.items()),
                bound_nests=self.bound_nests[number : number + 1],
                notes=(),
            )
            for number, part in enumerate(parts)
        )

    def bind(self) -> Bound:
        """Bind the mapping to the job's cascade, shapes and machine.

        Raises
        ------
        SpecError
            The mapping or the shapes name something that does not exist.
        MappingError
            The mapping is not legal on this machine; says why, with the numbers.
        """
        shapes = dict(self.shapes)
        for nest in self.bound_nests:
            if nest.shapes == shapes:
                return nest.bound
        try:
            return bind(self.program, self.mapping, self.architecture, shapes, choose=self.choose)
        except SpecError as wrong:
            if self.foreign is None:
                raise
            raise SpecError([self.foreign, *wrong.problems]) from None


@dataclass(frozen=True, slots=True)
class EvaluatedJob:
    """Job with its result."""

    job: Job
    result: Result


Evaluate = Callable[[Job], Result]
"""Function that simulates one job: ``evaluate_job``, or a function that remembers results.

The result lacks the job's own notes. It raises as ``Job.bind``.
"""
EvaluateWithin = Callable[[Job, float | None], Result]
"""Function that simulates one job, unless the latency exceeds a limit in seconds.

It raises SlowerError beyond the limit.
"""


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """Plan of a workload on a machine: jobs that run one after the other."""

    workload: Workload
    architecture: Architecture
    jobs: tuple[Job, ...]
    results: tuple[Result | None, ...]
    """Results of the jobs whose mapping was chosen by their results; None for each job with a given
    mapping."""
    searched: bool = False
    """True if a search found the mappings of all parts."""

    @cached_property
    def single(self) -> bool:
        """True if the workload is a single job that runs once, and is not a request."""
        alone = len(self.jobs) == 1 and self.jobs[0].part.times == 1
        return alone and self.workload.request is None

    def with_results(self, results: Iterable[Result]) -> JobPlan:
        """Return the plan with results of all jobs, whose names the results take."""
        named = (replace(r, workload=job.name) for job, r in zip(self.jobs, results, strict=True))
        return replace(self, results=tuple(named))

    def on(self, architecture: Architecture) -> JobPlan:
        """Return the plan on another machine, by the same mappings and without results."""
        jobs = (replace(job, architecture=architecture, bound_nests=()) for job in self.jobs)
        results = (None,) * len(self.jobs)
        return replace(self, architecture=architecture, jobs=tuple(jobs), results=results)

    @property
    def nests(self) -> tuple[Job, ...]:
        """Jobs to bind separately, in the order in which they run: the nests of each job."""
        return tuple(nest for job in self.jobs for nest in job.nests)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Sentences about features of the workload that the cascades lack."""
        found = (note for job in self.jobs for note in job.part.left_out_by(job.program))
        return tuple(dict.fromkeys(found))

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Mappings that were tried and refused before those that run, each once."""
        return tuple(dict.fromkeys(r for job in self.jobs for r in job.refused))


def naming_part(name: str, error: InputError) -> InputError:
    """Return an error whose messages name the part of the workload that they concern.

    Parameters
    ----------
    name : str
        Name of the part, set before each message.

    Returns
    -------
    InputError
        Error of the same class, which determines the exit code of the command line.
    """
    problems = [replace(p, message=f"{name}: {p.message}") for p in error.problems]
    return type(error)(problems)
