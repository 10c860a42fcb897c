"""A plan with the outcomes of its runs: values, ratios, means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .crew import Crew, Finished, nothing
from .measures import RATIOS, Measures, ratio
from .plan import MEANS, Figure, Headline, Omission, Plan
from .runs import Missing, Outcome, Run, carry_out, tasks


@dataclass(frozen=True, kw_only=True)
class Study:
    """Every run of a plan and what came of it, in the order of the plan."""

    plan: Plan
    outcomes: tuple[tuple[Run, Outcome], ...]

    @cached_property
    def of_run(self) -> dict[Run, Outcome]:
        """Outcomes by run."""
        return dict(self.outcomes)

    @property
    def missing(self) -> tuple[tuple[Run, str], ...]:
        """Runs that gave nothing, and why."""
        return tuple((r, o.reason) for r, o in self.outcomes if isinstance(o, Missing))

    def measures(
        self,
        billing: str,
        scope: str,
        configuration: str,
        workload: str,
        seq_len: int,
        omission: str = "",
    ) -> Measures | None:
        """What came of a run; None where there is nothing."""
        run = Run(
            billing=billing,
            scope=scope,
            configuration=configuration,
            workload=workload,
            seq_len=seq_len,
            omission=omission,
        )
        found = self.of_run.get(run)
        return found if isinstance(found, Measures) else None

    def value(
        self,
        figure: Figure,
        quantity: str,
        billing: str,
        configuration: str,
        workload: str,
        seq_len: int,
    ) -> float | None:
        """What a figure shows of a run: a quantity, or its ratio to the baseline."""
        own = self.measures(billing, figure.scope, configuration, workload, seq_len)
        if own is None:
            return None
        if figure.baseline is None:
            return None if quantity in RATIOS else own.value(quantity)
        base = self.measures(billing, figure.scope, figure.baseline, workload, seq_len)
        return None if base is None else ratio(quantity, own, base)

    def ratios(self, headline: Headline, billing: str) -> tuple[float, ...] | None:
        """The ratios a mean is of, over all workloads and lengths; None if one is missing."""
        found: list[float] = []
        for workload in self.plan.workloads:
            for length in self.plan.lengths:
                own, base = (
                    self.measures(billing, headline.scope, c, workload, length)
                    for c in (headline.of, headline.over)
                )
                if own is None or base is None:
                    return None
                found.append(ratio(headline.quantity, own, base))
        return tuple(found)

    def mean(self, headline: Headline, billing: str) -> float | None:
        """A mean over all workloads and lengths; None if a run is missing."""
        found = self.ratios(headline, billing)
        return None if found is None else MEANS[headline.mean](found)

    def against(
        self, first: str, other: str, scope: str, configuration: str, quantity: str
    ) -> float | None:
        """Mean ratio of a quantity in another billing to the first; None if a run is missing."""
        found: list[float] = []
        for workload in self.plan.workloads:
            for length in self.plan.lengths:
                base, own = (
                    self.measures(b, scope, configuration, workload, length) for b in (first, other)
                )
                if base is None or own is None:
                    return None
                found.append(ratio(quantity, own, base))
        return MEANS["arithmetic"](found)

    def put_right(self) -> Iterator[tuple[Omission, Measures, Measures]]:
        """Each omission that was simulated, without and with what is left out."""
        some = self.plan.omissions
        if some is None:
            return
        billing = self.plan.billings[0][0]
        for case in some.cases:
            own = (billing, some.scope, case.configuration, some.workload, some.seq_len)
            before = self.measures(*own)
            after = self.measures(*own, omission=case.title)
            if before is not None and after is not None:
                yield case, before, after

    def points(self, figure: Figure, billing: str) -> Iterator[tuple[Run, Measures]]:
        """The sweep's machines that were simulated."""
        for run, outcome in self.outcomes:
            here = (run.billing, run.scope) == (billing, figure.scope)
            if run.label and here and isinstance(outcome, Measures):
                yield run, outcome


def study(plan: Plan, *, crew: Crew | None = None, finished: Finished = nothing) -> Study:
    """Carry out every run of a plan.

    Parameters
    ----------
    crew : Crew, optional
        Processes that share the runs; by default this one does all of them. A script that
        enters a crew of several must keep its own work behind
        ``if __name__ == "__main__":``, as fresh interpreters import it.
    finished : callable
        Told how many more runs are done, from any thread.
    """
    work = tasks(plan)
    outcomes = carry_out(work, crew or Crew(1), finished)
    return Study(plan=plan, outcomes=tuple((t.run, o) for t, o in zip(work, outcomes, strict=True)))
