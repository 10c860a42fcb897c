"""The runs of a plan: which there are, and carrying them out, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError

from .crew import Crew, Finished, nothing
from .measures import Measures, measure
from .plan import Plan

if TYPE_CHECKING:
    from einsum_cascade.ir import Program
    from mappers.choices.choose import ChoiceMemory
    from workloads import Workload

    from ..bound.record import Bound
    from ..cost.accesses import EinsumCount
    from ..jobs.job import Job
    from ..result.record import Result
    from ..spec.arch import Architecture
    from ..spec.mapping import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One simulation.

    ``label`` names a point of the sweep and ``omission`` what is put right; both are empty
    elsewhere.
    """

    billing: str
    scope: str
    configuration: str
    workload: str
    seq_len: int
    label: str = ""
    omission: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a run gave nothing."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run in the words of ``simulate``: names of files, and settings."""

    run: Run
    architecture: str
    mappings: tuple[str, ...]
    workload_settings: tuple[str, ...]
    architecture_settings: tuple[str, ...] = ()


Outcome = Measures | Missing


def tasks(plan: Plan) -> tuple[Task, ...]:
    """Every run that the figures and means of a plan need, each once."""
    needed = {(f.scope, c) for f in plan.figures for c in f.configurations if f.kind != "scatter"}
    needed |= {(f.scope, f.baseline) for f in plan.figures if f.baseline}
    needed |= {(h.scope, c) for h in plan.headlines for c in (h.of, h.over)}
    found = [
        _task(plan, Run(billing=b, scope=s.name, configuration=c.name, workload=w, seq_len=n))
        for b, _ in plan.billings
        for s in plan.scopes
        for c in plan.configurations
        if (s.name, c.name) in needed
        for w in plan.workloads
        for n in plan.lengths
    ]
    return (*found, *_sweep(plan), *_omissions(plan))


def _sweep(plan: Plan) -> Iterator[Task]:
    """Runs of the sweep: one for each machine, workload and figure's scope."""
    sweep = plan.sweep
    scopes = dict.fromkeys(f.scope for f in plan.figures if f.kind == "scatter")
    if sweep is None:
        return
    for billing, _ in plan.billings:
        for scope in scopes:
            for workload in plan.workloads:
                for point in sweep.points:
                    if workload in point.workloads:
                        run = Run(
                            billing=billing,
                            scope=scope,
                            configuration=sweep.configuration,
                            workload=workload,
                            seq_len=sweep.seq_len,
                            label=point.label,
                        )
                        yield _task(plan, run, point.settings)


def _omissions(plan: Plan) -> Iterator[Task]:
    """What omissions are put right on, and runs with each of them put right."""
    some = plan.omissions
    if some is None:
        return
    for case in some.cases:
        run = Run(
            billing=plan.billings[0][0],
            scope=some.scope,
            configuration=case.configuration,
            workload=some.workload,
            seq_len=some.seq_len,
            omission=case.title,
        )
        yield _task(plan, run, case.settings)


def _task(plan: Plan, run: Run, settings: tuple[str, ...] = ()) -> Task:
    configuration, scope = plan.configuration(run.configuration), plan.scope(run.scope)
    return Task(
        run=run,
        architecture=configuration.architecture(run.billing),
        mappings=(configuration.mapping, *scope.mappings),
        workload_settings=(f"seq_len={run.seq_len}", *scope.settings),
        architecture_settings=settings,
    )


def carry_out(
    work: Sequence[Task], crew: Crew, finished: Finished = nothing
) -> tuple[Outcome, ...]:
    """Simulate every task; outcomes in their order, however many processes share them."""
    groups = _groups(work)
    simulator = Simulator()
    found = crew.share(
        _simulated,
        [tuple(work[i] for i in group) for group in groups],
        here=simulator.outcomes,
        size=len,
        finished=finished,
    )
    numbers = (i for group in groups for i in group)
    outcomes = dict(zip(numbers, chain.from_iterable(found), strict=True))
    return tuple(outcomes[i] for i in range(len(work)))


def _groups(work: Sequence[Task]) -> list[tuple[int, ...]]:
    """Numbers of tasks by mapping and model: those that have most in common."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, task in enumerate(work):
        key = (task.mappings[0], task.run.workload)
        found.setdefault(key, []).append(number)
    return [tuple(numbers) for numbers in found.values()]


def _simulated(work: tuple[Task, ...]) -> list[Outcome]:
    """Outcomes in another process."""
    return _simulator().outcomes(work)


@lru_cache(maxsize=1)
def _simulator() -> Simulator:
    """The simulator of a process that works for another: it remembers between groups."""
    return Simulator()


class Simulator:
    """Simulates tasks, and remembers what they share: specifications, and whole parts.

    Attention by itself is also a part of a whole layer, and layers of several models have
    projections alike.
    """

    def __init__(self) -> None:
        self._architectures: dict[tuple[str, tuple[str, ...]], Architecture] = {}
        self._workloads: dict[tuple[str, tuple[str, ...]], Workload] = {}
        self._mappings: dict[str, Mapping] = {}
        self._bound: dict[tuple[object, ...], tuple[Bound, tuple[EinsumCount, ...]]] = {}
        self._known: dict[tuple[object, ...], ChoiceMemory] = {}
        self._results: dict[_PartKey, Result] = {}

    def outcomes(self, work: Sequence[Task]) -> list[Outcome]:
        """The outcome of every task."""
        return [self.outcome(task) for task in work]

    def outcome(self, task: Task) -> Outcome:
        """The measures of one task, or why there are none."""
        from ..api import simulate

        try:
            workload = self._workload(task.run.workload, task.workload_settings)
            machine = self._architecture(task.architecture, task.architecture_settings)
            mappings = [self._mapping(name) for name in task.mappings]
            return measure(simulate(workload, machine, mappings, evaluate=self._evaluate))
        except InputError as error:
            return Missing(reason=error.problems[0].message)

    def _workload(self, name: str, settings: tuple[str, ...]) -> Workload:
        from workloads import load

        from ..spec.files.overrides import parse_overrides

        key = (name, settings)
        if key not in self._workloads:
            self._workloads[key] = load(name, parse_overrides(settings).workload)
        return self._workloads[key]

    def _architecture(self, name: str, settings: tuple[str, ...]) -> Architecture:
        from ..spec.arch import Architecture

        key = (name, settings)
        if key not in self._architectures:
            self._architectures[key] = Architecture.load(name, settings)
        return self._architectures[key]

    def _mapping(self, name: str) -> Mapping:
        from ..spec.mapping import Mapping

        if name not in self._mappings:
            self._mappings[name] = Mapping.load(name)
        return self._mappings[name]

    def _evaluate(self, job: Job) -> Result:
        """As ``evaluate_job``; objects are told apart by identity, as all are kept.

        A mapping that chooses nothing by speed is bound and counted once for machines of one
        layout; one that does remembers what its choices do.
        """
        from ..bound.layout import layout, rebind
        from ..evaluate.evaluate import evaluate_bound

        program, mapping, architecture = job.program, job.mapping, job.architecture
        shapes = dict(job.shapes)
        sizes = tuple(sorted(shapes.items()))
        key = (id(mapping), id(architecture), sizes)
        if key not in self._results:
            alike = (id(mapping), layout(architecture), sizes)
            bound, counts = self._bind(program, mapping, architecture, shapes, alike)
            self._results[key] = evaluate_bound(rebind(bound, architecture), counts=counts)
        return replace(self._results[key], workload=job.name)

    def _bind(
        self,
        program: Program,
        mapping: Mapping,
        architecture: Architecture,
        shapes: dict[str, int],
        alike: tuple[object, ...],
    ) -> tuple[Bound, tuple[EinsumCount, ...]]:
        """A mapping bound and counted, from memory where another machine bound it alike."""
        from functools import partial

        from mappers.choices.choose import ChoiceMemory, choose

        from ..bound.binding import bind
        from ..cost.spill import count_mapping

        if mapping.choices:
            known = self._known.setdefault(alike, ChoiceMemory())
            bound = bind(
                program, mapping, architecture, shapes, choose=partial(choose, memory=known)
            )
            return bound, count_mapping(bound)
        if alike not in self._bound:
            bound = bind(program, mapping, architecture, shapes)
            self._bound[alike] = bound, count_mapping(bound)
        return self._bound[alike]


_PartKey = tuple[int, int, tuple[tuple[str, int], ...]]
"""A part by mapping, machine and shapes; a mapping names its cascade."""
