"""Simulator of one process: computations that several runs share are made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

from einsum_cascade.errors import InputError
from einsum_cascade.memo import Cache, Key
from mappers.construct.choices import ChoiceMemory, choose
from workloads import Workload, load

from ..api import simulate
from ..legality.binding_key import binding_key
from ..plan.incremental import IncrementalEvaluator
from ..plan.job import Job
from ..processes import map_in_order
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import Mapping
from ..spec.overrides import parse_overrides
from .runs import Outcome, RunRequest


class Simulator:
    """Simulator that remembers specifications and evaluated jobs, which requests may share.

    Attention alone is also a part of a whole layer, and layers of several models share projections.
    """

    def __init__(self) -> None:
        self._workload = cache(_load_workload)
        self._architecture = cache(Architecture.load)
        self._mapping = cache(Mapping.load)
        self._evaluator = IncrementalEvaluator()
        self._choices: Cache[ChoiceMemory] = Cache()
        self._results: Cache[Result] = Cache()

    def outcome(self, request: RunRequest) -> Outcome:
        """Return the result of one request, or the reason why there is none."""
        try:
            return simulate(
                self._workload(request.workload, request.workload_settings),
                self._architecture(request.architecture, request.architecture_settings),
                [self._mapping(name) for name in request.mappings],
                evaluate=self._evaluate,
            )
        except InputError as error:
            return error.problems[0].message

    def _evaluate(self, job: Job) -> Result:
        """Return the result of a job, from memory if an equal job was evaluated before."""
        shapes = tuple(sorted(job.shapes))
        result = self._results.get(
            Key(job.mapping, job.architecture, shapes),
            lambda: self._evaluator.evaluate(self._choosing(job, shapes)),
        )
        return replace(result, workload=job.name)

    def _choosing(self, job: Job, shapes: tuple[tuple[str, int], ...]) -> Job:
        """Return a job whose selection among open choices remembers the traffic of each
        combination."""
        if not job.mapping.choices:
            return job
        key = Key(job.mapping, binding_key(job.architecture), shapes)
        return replace(job, choose=partial(choose, memory=self._choices.get(key, ChoiceMemory)))


def _load_workload(name: str, settings: tuple[str, ...]) -> Workload:
    return load(name, parse_overrides(settings).workload)


Finished = Callable[[int], None]
"""Function that is called with the number of runs finished since its last call."""


def run_all(
    requests: Sequence[RunRequest], *, workers: int = 1, finished: Finished = lambda _: None
) -> dict[RunRequest, Outcome]:
    """Return the outcomes of all requests.

    Parameters
    ----------
    requests : sequence of RunRequest
    workers : int
        Processes that share the runs; one is this process.
    finished : callable
        Function that is called with the number of further finished runs.
    """
    # One process shares everything it computes; several processes share within a batch.
    batches = _batches(requests, workers) if workers > 1 else [[request] for request in requests]
    outcomes_of = partial(_outcomes, Simulator() if workers == 1 else None)
    outcomes: dict[RunRequest, Outcome] = {}
    done = map_in_order(outcomes_of, batches, workers, left=NOTHING_WRITTEN)
    for batch, found in zip(batches, done, strict=True):
        outcomes.update(zip(batch, found, strict=True))
        finished(len(batch))
    return outcomes


NOTHING_WRITTEN = "nothing was written (fewer --workers need less memory)"
"""Message after a worker was killed, which says that no file was written."""


def _batches(requests: Sequence[RunRequest], workers: int) -> list[list[RunRequest]]:
    """Return groups of requests, so that the runs of a group share most computations.

    Runs of one workload share bound and counted parts on machines of one layout. If there are fewer
    workloads than workers, runs are also grouped by mapping.
    """
    by_mapping = len({request.workload for request in requests}) < workers
    found: dict[tuple[str, str], list[RunRequest]] = {}
    for request in requests:
        key = (request.workload, request.mappings[0] if by_mapping else "")
        found.setdefault(key, []).append(request)
    return list(found.values())


def _outcomes(shared: Simulator | None, requests: Sequence[RunRequest]) -> list[Outcome]:
    """Return the outcomes of a batch, by a simulator that remembers no other batch unless it is
    shared."""
    simulator = shared or Simulator()
    return [simulator.outcome(request) for request in requests]
