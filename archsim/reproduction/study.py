"""Study: a plan with the outcomes of its runs, their ratios, means and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean, geometric_mean, harmonic_mean
from types import MappingProxyType

from ..result.result import Result
from .plan import MeanName, PublishedFigure, PublishedMean, Reproduction
from .runs import RATIOS, Outcome, RunRequest, quantity_of, ratio
from .simulator import Finished, run_all


@dataclass(frozen=True, slots=True)
class StudyRun:
    """Key of a run in a plan, with one field for each key of a table row.

    ``label`` names a machine of the sweep, and ``omission`` a cost that is included. Each is empty
    for other runs.
    """

    billing: str
    scope: str
    configuration: str
    workload: str
    seq_len: int
    label: str = ""
    omission: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownNumbers:
    """Numbers of one run in a figure. A number is None if the run or its baseline is missing."""

    whole: dict[str, float | None]
    """Number of the run for each panel's quantity."""
    parts: dict[str, float]
    """Addends of the first panel's number: Einsums of a breakdown, components of a stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureData:
    """Numbers of a figure, from which its tables and its picture are made.

    The record is small compared with a study: other processes draw the pictures.
    """

    plan: Reproduction
    figure: PublishedFigure
    shown: dict[StudyRun, ShownNumbers]
    """Numbers by run, billing by billing, in the order of the plan."""
    means: tuple[tuple[PublishedMean, dict[str, float | None]], ...]
    """Means of the figure's quantities, and their reproduced values by billing."""

    def numbers(self, billing: str, configuration: str, case: tuple[str, int]) -> ShownNumbers:
        """Return the numbers of a configuration for a workload and a length."""
        return self.shown[StudyRun(billing, self.figure.scope, configuration, *case)]

    def parts_of(self, configuration: str) -> tuple[str, ...]:
        """Return the names of all parts in a configuration's runs, in the order of first
        occurrence."""
        parts = (n.parts for run, n in self.shown.items() if run.configuration == configuration)
        return tuple(dict.fromkeys(chain.from_iterable(parts)))


def planned_runs(plan: Reproduction) -> dict[StudyRun, RunRequest]:
    """Return every run that the figures and means of a plan need, each once.

    Returns
    -------
    dict of StudyRun to RunRequest
        Request to the simulator, by the key of the run in the tables.
    """
    found: dict[StudyRun, RunRequest] = {}
    for run, settings in (*_grid(plan), *_swept(plan), *_omitted(plan)):
        configuration, scope = plan.configuration(run.configuration), plan.scope(run.scope)
        found[run] = RunRequest(
            workload=run.workload,
            architecture=configuration.architectures[run.billing],
            mappings=(configuration.mapping, *scope.mappings),
            workload_settings=(f"seq_len={run.seq_len}", *scope.settings),
            architecture_settings=settings,
        )
    return found


_PlannedRuns = Iterator[tuple[StudyRun, tuple[str, ...]]]
"""Runs, and settings of their machines."""


def _grid(plan: Reproduction) -> _PlannedRuns:
    """Yield the runs of configurations on all workloads and lengths, in every billing."""
    figures = [f for f in plan.figures if not f.is_of_sweep]
    needed = {(f.scope, c) for f in figures for c in f.configurations}
    needed |= {(f.scope, f.baseline) for f in plan.figures if f.baseline}
    needed |= {(h.scope, c) for h in plan.headline for c in (h.of, h.over)}
    for billing in plan.billings:
        for scope in plan.scopes:
            for c in plan.configurations:
                for workload, length in plan.cases if (scope.name, c.name) in needed else ():
                    yield StudyRun(billing, scope.name, c.name, workload, length), ()


def _swept(plan: Reproduction) -> _PlannedRuns:
    """Yield the runs of the sweep's machines, in the scope of every figure that shows them."""
    sweep = plan.sweep
    if sweep is None:
        return
    scopes = dict.fromkeys(f.scope for f in plan.figures if f.is_of_sweep)
    for billing in plan.billings:
        for scope in scopes:
            for workload in plan.workloads:
                for label, settings in sweep.points(workload):
                    key = (billing, scope, sweep.configuration, workload, sweep.seq_len)
                    yield StudyRun(*key, label=label), settings


def _omitted(plan: Reproduction) -> _PlannedRuns:
    """Yield runs that include omitted costs, one cost at a time."""
    some = plan.omissions
    if some is None:
        return
    for case in some.cases:
        key = (plan.published_billing, some.scope, case.configuration, some.workload, some.seq_len)
        yield StudyRun(*key, omission=case.title), case.settings


MEANS: Mapping[MeanName, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"arithmetic": fmean, "geometric": geometric_mean, "harmonic": harmonic_mean}
)
"""Functions that compute each kind of mean, for one or more positive numbers."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Study: a plan with its runs and their outcomes, in the order of the plan."""

    plan: Reproduction
    outcomes: dict[StudyRun, Outcome]

    @property
    def missing(self) -> tuple[tuple[StudyRun, str], ...]:
        """Runs without a result, each with the reason."""
        return tuple((r, o) for r, o in self.outcomes.items() if isinstance(o, str))

    def result(self, run: StudyRun) -> Result | None:
        """Return the result of a run, or None."""
        found = self.outcomes.get(run)
        return found if isinstance(found, Result) else None

    def mean(self, mean: PublishedMean, billing: str) -> float | None:
        """Return a mean over all workloads and lengths; None if a run is missing."""
        own, base = ((billing, mean.scope, c) for c in (mean.of, mean.over))
        found = self._ratios(mean.quantity, own, base)
        return MEANS[mean.mean](found) if found else None

    def against_published(
        self, billing: str, scope: str, configuration: str, quantity: str
    ) -> float | None:
        """Return the mean ratio of a quantity to the published billing; None if a run is
        missing."""
        own, base = ((b, scope, configuration) for b in (billing, self.plan.published_billing))
        found = self._ratios(quantity, own, base)
        return fmean(found) if found else None

    def _ratios(
        self, quantity: str, own: tuple[str, str, str], base: tuple[str, str, str]
    ) -> list[float]:
        """Return a ratio for every workload and length, or none at all if a run is missing.

        Keys are (billing, scope, configuration).
        """
        cases = self.plan.cases
        pairs = [[self.result(StudyRun(*key, *case)) for key in (own, base)] for case in cases]
        there = [ratio(quantity, a, b) for a, b in pairs if a is not None and b is not None]
        return there if len(there) == len(cases) else []

    def put_right(self) -> Iterator[tuple[StudyRun, Result, Result]]:
        """Yield each run that includes an omitted cost, with the results without and with it."""
        for run, after in self.outcomes.items():
            before = self.result(replace(run, omission=""))
            if run.omission and before is not None and isinstance(after, Result):
                yield run, before, after

    def points(self, figure: PublishedFigure) -> Iterator[tuple[StudyRun, Result]]:
        """Yield the sweep's machines that were simulated, billing by billing."""
        for run, outcome in self.outcomes.items():
            if run.label and run.scope == figure.scope and isinstance(outcome, Result):
                yield run, outcome

    def data(self, figure: PublishedFigure) -> FigureData:
        """Return the numbers of a figure."""
        plan, scope = self.plan, figure.scope
        panels = {(scope, p.quantity, figure.baseline) for p in figure.panels}
        runs = [run for run, _ in self.points(figure)]
        if not figure.is_of_sweep:
            runs = [
                StudyRun(billing, scope, configuration, *case)
                for billing in plan.billings
                for configuration in figure.configurations
                for case in plan.cases
            ]
        return FigureData(
            plan=plan,
            figure=figure,
            shown={run: self._shown(figure, run) for run in runs},
            means=tuple(
                (h, {b: self.mean(h, b) for b in plan.billings})
                for h in plan.headline
                if (h.scope, h.quantity, h.over) in panels
            ),
        )

    def _shown(self, figure: PublishedFigure, run: StudyRun) -> ShownNumbers:
        """Return the numbers of one run in a figure: quantities or ratios to the baseline, and
        their parts."""
        quantities = [panel.quantity for panel in figure.panels]
        own = base = self.result(run)
        baseline = None if figure.is_of_sweep else figure.baseline
        if baseline is not None:
            base = self.result(replace(run, configuration=baseline))
        if own is None or base is None:
            return ShownNumbers(whole=dict.fromkeys(quantities), parts={})
        whole: dict[str, float | None]
        if baseline is not None:
            whole = {q: ratio(q, own, base) for q in quantities}
        else:
            whole = {q: None if q in RATIOS else quantity_of(own, q) for q in quantities}
        parts: dict[str, float] = {}
        if figure.kind == "breakdown":
            array = quantities[0].partition(".")[2]
            parts = {e.name: e.utilization for e in own.einsums if e.array == array}
        elif figure.kind == "stack":
            parts = {name: e / base.energy_pj for name, e in own.energy_by_component}
        return ShownNumbers(whole=whole, parts=parts)


def study(plan: Reproduction, *, workers: int = 1, finished: Finished = lambda _: None) -> Study:
    """Simulate every run of a plan.

    Parameters
    ----------
    plan : Reproduction
    workers : int
        Processes that share the runs.
    finished : callable
        Function that is called with the number of further finished runs.
    """
    runs = planned_runs(plan)
    outcomes = run_all([*runs.values()], workers=workers, finished=finished)
    return Study(plan=plan, outcomes={run: outcomes[request] for run, request in runs.items()})
