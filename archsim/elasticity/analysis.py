"""Sensitivity analysis: a run on machines that differ in a single number each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from math import log
from typing import TYPE_CHECKING, Final

from einsum_cascade.errors import InputError, did_you_mean
from einsum_cascade.operations import kind_and_format

from ..document import to_html
from ..plan.incremental import IncrementalEvaluator
from ..plan.job import Evaluate, JobPlan
from ..plan.planner import run_plan
from ..plan.policy import ACCEPTED_FLOOR_RATIO
from ..result.record import RunRecord
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.evidence import Evidence
from ..spec.files.load import Name, load_architecture, numbers_of_machine
from ..spec.files.numbers import StatedNumber
from ..spec.overrides import Overrides, parse_overrides
from .record import QUANTITIES, Elasticity, FixedNumber, Quantity, RunTotals, SensitivityRecord
from .report import sensitivity_report

if TYPE_CHECKING:
    from ..document import Document
    from ..figure_style import Picture

STEP: Final = Fraction(11, 10)
"""Factor by which a number is raised and lowered."""

WHOLE_STEP: Final = Fraction(2)
"""Factor for whole numbers, on which runs depend in steps. BERT at 1K tokens on fusemax takes 1.25
times as long with 233 lanes as with 256, and as long with 282: -1.2 at 10 %, -0.5 at a factor of
two."""

_MAX_MAPPINGS: Final = 32
"""Largest number of bound mappings to remember, which take a few megabytes."""

PlanJobs = Callable[[Architecture], JobPlan]
"""Function that plans the run on a machine, and chooses its mappings."""

StartProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Function that opens a progress bar, from the number of fields."""


class Sensitivity(SensitivityRecord):
    """Elasticities of latency, energy and area by every number of a machine."""

    __slots__ = ()

    def table(self) -> Document:
        """Return the elasticities as text, or HTML in Jupyter."""
        return sensitivity_report(self)

    def plot(self, width: float = 7.0) -> Picture:
        """Draw a bar for every number with an effect (a matplotlib figure).

        Parameters
        ----------
        width : float
            In inches; 3.3 is a column of a paper, 7 a page.
        """
        # Only a picture needs matplotlib.
        from .plot import plot_sensitivity

        return plot_sensitivity(self, width)

    def _repr_html_(self) -> str:
        return to_html(self.table())


def sensitivity_of(
    architecture: Name,
    given: Overrides,
    plan_jobs: PlanJobs,
    *,
    by: Quantity = "latency",
    remap: bool = True,
    progress: StartProgress | None = None,
) -> Sensitivity:
    """Return the elasticities of a run by every number of its machine, the largest first.

    Parameters
    ----------
    architecture : str or path
        Name or file of the machine.
    given : Overrides
        Settings of the machine and its technology.
    plan_jobs : callable
        Plans the run on the machine; with ``remap`` also on varied machines.
    by : str
        Quantity whose elasticities sort the fields.
    remap : bool
        True to choose mappings anew where a number changes latency, floor or capacity, and take
        the faster of the new and the base's; False to keep those of the base.
    progress : callable, optional
        Opens a progress bar.

    Raises
    ------
    InputError
        There is no such machine or quantity, or the run is not legal on it.
    """
    if by not in QUANTITIES:
        raise InputError(f"by: there is no quantity '{by}'", hint=did_you_mean(by, QUANTITIES))
    machine = load_architecture(architecture, given)
    base = plan_jobs(machine)
    if by == "as_built" and not machine.losses:
        text = f"by: {machine.name} states no losses, so nothing is known of it as built"
        raise InputError(text, hint="latency, energy or area")
    evaluate = IncrementalEvaluator(kept=_MAX_MAPPINGS).evaluate
    result = run_plan(base, evaluate=evaluate)
    runs = _VariedRuns(
        architecture=architecture,
        given=given,
        plan_jobs=plan_jobs if remap else None,
        jobs=base,
        evaluate=evaluate,
        evidence=machine.evidence,
        result=result,
        base=_totals(result),
        needed=None if remap else _operations_of(result),
    )
    varied: list[Elasticity] = []
    fixed: list[FixedNumber] = []
    numbers = numbers_of_machine(architecture, given)
    bar = nullcontext(lambda _: None) if progress is None else progress(len(numbers))
    with bar as advance:
        for number in numbers:
            found = runs.elasticity(number)
            varied += [found] if isinstance(found, Elasticity) else []
            fixed += [found] if isinstance(found, FixedNumber) else []
            advance(1)
    order = (by, *QUANTITIES)
    return Sensitivity(
        workload=result.workload,
        architecture=machine.name,
        mapping=result.mapping,
        remapped=remap,
        by=by,
        totals=runs.base,
        fields=tuple(sorted(varied, key=lambda e: [-abs(round(e.of(q), 3)) for q in order])),
        not_varied=tuple(fixed),
    )


def _totals(result: RunRecord) -> RunTotals:
    return RunTotals(
        latency_s=result.latency_s,
        as_built_s=None if result.as_built is None else result.as_built.latency_s,
        energy_pj=result.energy_pj,
        area_um2=result.area_um2,
    )


def _operations_of(result: RunRecord) -> frozenset[tuple[str, str]]:
    """Return the pairs of an array and a kind of operation that a run does."""
    below = (pair for part in result.parts for pair in _operations_of(part.result))
    own = ((e.array, kind_and_format(o)[0]) for e in result.einsums for o, _ in e.operations)
    return frozenset((*below, *own))


@dataclass(frozen=True, slots=True, kw_only=True)
class _VariedRuns:
    """Runs of one workload on machines that differ in a single number."""

    architecture: Name
    given: Overrides
    plan_jobs: PlanJobs | None
    """Function that chooses mappings anew; None to keep those of the base."""
    jobs: JobPlan
    evaluate: Evaluate
    evidence: Evidence
    result: Result
    """Result on the base machine."""
    base: RunTotals
    needed: frozenset[tuple[str, str]] | None
    """Pairs of an array and a kind of operation that the runs need; None if that is unknown."""

    def elasticity(self, number: StatedNumber) -> Elasticity | FixedNumber:
        """Return the elasticities by a number, or the reason why it was not varied.

        If the run is legal on one side only, the base stands for the other side.
        """
        reason = "it is zero"
        for step in (WHOLE_STEP, STEP) if number.whole else (STEP,):
            points: list[tuple[float, RunTotals]] = []
            for factor in (step, 1 / step) if number.value else ():
                text = number.times(factor)
                try:
                    if text is not None:
                        points.append((number.ratio(text), self._totals(number, text)))
                except InputError as wrong:
                    reason = wrong.problems[0].message
            if points:
                return self._between(number, points)
        return FixedNumber(field=number.field, value=number.text, reason=reason)

    def _between(
        self, number: StatedNumber, points: Sequence[tuple[float, RunTotals]]
    ) -> Elasticity:
        """Return the elasticities between two runs, or between one and the base, given with the
        ratio of each number to that of the base."""
        (ratio, one), (other_ratio, other), *_ = (*points, (1.0, self.base))
        span = log(ratio / other_ratio)

        def by(quantity: Quantity) -> float:
            high, low = one.of(quantity), other.of(quantity)
            return log(high / low) / span if high and low else 0.0

        return Elasticity(
            field=number.field,
            value=number.text,
            latency=by("latency"),
            as_built=None if self.base.as_built_s is None else by("as_built"),
            energy=by("energy"),
            area=by("area"),
            one_sided=len(points) == 1,
            evidence=self._evidence_for(number.field),
        )

    def _evidence_for(self, field: str) -> str | None:
        """Return the evidence for a number of the machine; its technology names sources alone."""
        kind, _, path = field.partition(".")
        return self.evidence.of(path) if kind == "architecture" else None

    def _totals(self, number: StatedNumber, text: str) -> RunTotals:
        """Return the quantities of the run on a machine with another number."""
        if self._is_unneeded(number.field):
            return self.base
        more, given = parse_overrides([f"{number.field}={text}"], prefix=""), self.given
        machine = load_architecture(
            self.architecture,
            replace(
                given,
                architecture=(*given.architecture, *more.architecture),
                technology=(*given.technology, *more.technology),
            ),
        )
        return _totals(self._run(machine))

    def _run(self, machine: Architecture) -> Result:
        """Return the result on a varied machine, by the base's mappings or by faster ones.

        Prices alone choose no other mapping, and neither does a run close to its lower bound.
        """
        kept: Result | None = None
        try:
            kept = run_plan(self.jobs.on(machine), evaluate=self.evaluate)
        except InputError:
            if self.plan_jobs is None:
                raise
        if self.plan_jobs is None or (kept is not None and self._keeps(machine, kept)):
            assert kept is not None, "it was run or refused"
            return kept
        new = run_plan(self.plan_jobs(machine), evaluate=self.evaluate)
        return new if kept is None or new.latency_s < kept.latency_s else kept

    def _keeps(self, machine: Architecture, kept: Result) -> bool:
        if kept.over_floor <= ACCEPTED_FLOOR_RATIO:
            return True
        sizes, times = (
            [[m.capacity_bytes for m in a.memories] for a in (machine, self.jobs.architecture)],
            [(r.latency_s, r.floor.latency_s) for r in (kept, self.result)],
        )
        return sizes[0] == sizes[1] and times[0] == times[1]

    def _is_unneeded(self, field: str) -> bool:
        """Return whether a field is the cost of an operation that the runs do not need."""
        match field.split("."):
            case [_, "arrays", array, "operations", kind, *_]:
                return self.needed is not None and (array, kind) not in self.needed
        return False
