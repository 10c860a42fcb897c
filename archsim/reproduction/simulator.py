"""One process's simulations: whatever two of its runs share is worked out once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from einsum_cascade.errors import InputError
from mappers.construct.choices import ChoiceMemory, choose
from workloads import Workload, load

from ..api import simulate
from ..legality.binding_key import binding_key
from ..plan.incremental import IncrementalEvaluator
from ..plan.job import Job
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.overrides import parse_overrides
from .runs import MissingRun, Outcome, RunRequest

_Key = tuple[Mapping, object, tuple[tuple[str, int], ...]]
"""A mapping (it names its cascade), a machine or its layout, and shapes."""


class Simulator:
    """Simulates requests, and remembers what they share: specifications, and whole jobs.

    Attention by itself is also a part of a whole layer, and layers of several models have
    projections alike.
    """

    def __init__(self) -> None:
        self._workload = cache(_load_workload)
        self._architecture = cache(Architecture.load)
        self._mapping = cache(Mapping.load)
        self._alike = IncrementalEvaluator()
        self._choices: dict[_Key, ChoiceMemory] = {}
        self._results: dict[_Key, Result] = {}

    def outcome(self, request: RunRequest) -> Outcome:
        """The result of one request, or why there is none."""
        try:
            return simulate(
                self._workload(request.workload, request.workload_settings),
                self._architecture(request.architecture, request.architecture_settings),
                [self._mapping(name) for name in request.mappings],
                evaluate=self._evaluate,
            )
        except InputError as error:
            return MissingRun(reason=error.problems[0].message)

    def _evaluate(self, job: Job) -> Result:
        """As ``evaluate_job``, from memory where the same was asked before."""
        shapes = tuple(sorted(job.shapes))
        key = (job.mapping, job.architecture, shapes)
        if key not in self._results:
            self._results[key] = self._alike.evaluate(self._choosing(job, shapes))
        return replace(self._results[key], workload=job.name)

    def _choosing(self, job: Job, shapes: tuple[tuple[str, int], ...]) -> Job:
        """A job that remembers what each combination of open choices moves, if it has any."""
        if not job.mapping.choices:
            return job
        alike = (job.mapping, binding_key(job.architecture), shapes)
        memory = self._choices.setdefault(alike, ChoiceMemory())
        return replace(job, choose=partial(choose, memory=memory))


def _load_workload(name: str, settings: tuple[str, ...]) -> Workload:
    return load(name, parse_overrides(settings).workload)
