"""The runs of a plan: which there are, and carrying them out, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError

from .measures import Measures, measure
from .plan import Plan

if TYPE_CHECKING:
    from archsim.arch import Architecture
    from archsim.mapping import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One simulation. ``label`` names a point of the sweep, and is empty elsewhere."""

    billing: str
    scope: str
    configuration: str
    workload: str
    seq_len: int
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why a run gave nothing."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run in the words of ``simulate``: names of files, and settings."""

    run: Run
    architecture: str
    mapping: str
    workload_settings: tuple[str, ...]
    architecture_settings: tuple[str, ...] = ()


Outcome = Measures | Missing
Finished = Callable[[int], None]
"""Called with how many runs were finished since the last call."""


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
    return (*found, *_sweep(plan))


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


def _task(plan: Plan, run: Run, settings: tuple[str, ...] = ()) -> Task:
    configuration = plan.configuration(run.configuration)
    return Task(
        run=run,
        architecture=configuration.architecture(run.billing),
        mapping=configuration.mapping,
        workload_settings=(f"seq_len={run.seq_len}", *plan.scope(run.scope).settings),
        architecture_settings=settings,
    )


def carry_out(
    work: Sequence[Task], workers: int = 1, finished: Finished = lambda _: None
) -> tuple[Outcome, ...]:
    """Simulate every task, in their order however many processes share them.

    Runs of one mapping on one machine stay in one process, which then reads and lowers
    them once.
    """
    if workers <= 1 or len(work) <= 1:
        return tuple(_counted(work, finished))
    from .processes import shared_out

    return shared_out(work, workers, finished)


def _counted(work: Iterable[Task], finished: Finished) -> Iterator[Outcome]:
    for task in work:
        yield simulated(task)
        finished(1)


def simulated(task: Task) -> Outcome:
    """The measures of one task, or why there are none."""
    from archsim.engine import simulate
    from archsim.spec.overrides import parse_overrides
    from workloads import load

    try:
        settings = parse_overrides(task.workload_settings).workload
        workload = load(task.run.workload, settings)
        machine = _architecture(task.architecture, task.architecture_settings)
        return measure(simulate(workload, machine, _mapping(task.mapping)))
    except InputError as error:
        return Missing(reason=error.problems[0].message)


@lru_cache(maxsize=64)
def _architecture(name: str, settings: tuple[str, ...]) -> Architecture:
    from archsim.arch import Architecture

    return Architecture.load(name, settings)


@lru_cache(maxsize=64)
def _mapping(name: str) -> Mapping:
    from archsim.mapping import Mapping

    return Mapping.load(name)
