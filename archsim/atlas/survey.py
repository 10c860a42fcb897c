"""What the atlas shows: each cascade analysed, and run by the mappings that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.errors import InputError
from einsum_cascade.symbolic import Analysis

from ..arch import Architecture
from ..einsum_by_einsum import einsum_by_einsum
from ..engine import WorkloadLike, simulate
from ..mapping import EINSUM_BY_EINSUM, Mapping
from ..results import Result


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One sequence length: the workload to take shapes from."""

    label: str
    workload: WorkloadLike


@dataclass(frozen=True, kw_only=True)
class Run:
    """A cascade under one mapping on one machine at one length, or why it does not run."""

    machine: str
    mapping: str
    length: str
    result: Result | None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cascade, what analysis says of it, and its runs."""

    cascade: Cascade
    analysis: Analysis
    sized: tuple[tuple[str, Analysis], ...]
    """Per length the analysis with the workload's shapes, where they fix all counts."""
    runs: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to survey."""

    cascades: tuple[str, ...]
    machines: tuple[Architecture, ...]
    mappings: tuple[Mapping, ...]
    scenarios: tuple[Scenario, ...]

    def mappings_of(self, cascade: str) -> tuple[Mapping, ...]:
        """The mappings that name a cascade."""
        return tuple(m for m in self.mappings if m.cascade == cascade)

    @property
    def steps(self) -> int:
        """Analyses and simulations, for a progress bar."""
        per_mapping = len(self.machines) * len(self.scenarios)
        return sum(1 + per_mapping * max(1, len(self.mappings_of(c))) for c in self.cascades)


def survey(plan: Plan, advance: Callable[[str], Any] = lambda _: None) -> tuple[Entry, ...]:
    """Analyse and simulate everything in a plan.

    Parameters
    ----------
    plan : Plan
    advance : callable
        Called with a short text before each of ``plan.steps`` steps.

    Raises
    ------
    CascadeError
        A cascade is wrong. (What does not run is recorded with its reason instead.)
    """
    return tuple(_entry(plan, name, advance) for name in plan.cascades)


def _entry(plan: Plan, name: str, advance: Callable[[str], Any]) -> Entry:
    advance(name)
    cascade = Cascade.load(name)
    analysis = cascade.analyze()
    runs = tuple(_runs(plan, cascade, plan.mappings_of(name), advance))
    return Entry(
        cascade=cascade,
        analysis=analysis,
        sized=tuple(_sized(analysis, plan.scenarios, runs)),
        runs=runs,
    )


def _sized(
    analysis: Analysis, scenarios: Sequence[Scenario], runs: Sequence[Run]
) -> Iterator[tuple[str, Analysis]]:
    """The analysis with numbers, for every length at which none of its counts stays open.

    Tile sizes that a cascade leaves to its mapping are those of the first run. Counts
    without a closed form are left out: they would be added up term by term.
    """
    import sympy

    if any(n.has(sympy.Sum) for n in (analysis.total_operations, analysis.traffic_min)):
        return
    program = analysis.program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    for scenario in scenarios:
        mapped = (r.result.shape for r in runs if r.result and r.length == scenario.label)
        try:
            given = dict(next(mapped, ())) or dict(scenario.workload.shapes)
            found = analysis.subs({rank: size for rank, size in given.items() if rank in ranks})
        except InputError:
            continue
        if not found.total_operations.free_symbols and not found.traffic_min.free_symbols:
            yield scenario.label, found


def _runs(
    plan: Plan, cascade: Cascade, mappings: tuple[Mapping, ...], advance: Callable[[str], Any]
) -> Iterator[Run]:
    for mapping in mappings or (None,):
        for machine in plan.machines:
            for scenario in plan.scenarios:
                name = mapping.name if mapping else EINSUM_BY_EINSUM
                advance(f"{cascade.name} by {name} on {machine.name} at {scenario.label}")
                yield _run(cascade, mapping, machine, scenario)


def _run(
    cascade: Cascade, mapping: Mapping | None, machine: Architecture, scenario: Scenario
) -> Run:
    """One run; where no mapping is written, by the one that is made for any cascade."""
    result, refusal = None, ""
    try:
        if mapping is None:
            given = scenario.workload.shapes_for(cascade.program.settable)
            made = einsum_by_einsum(cascade.program, machine, given)
        result = simulate(scenario.workload, machine, mapping or made)
    except InputError as error:
        refusal = "; ".join(p.message for p in error.problems)
    return Run(
        machine=machine.name,
        mapping=mapping.name if mapping else EINSUM_BY_EINSUM,
        length=scenario.label,
        result=result,
        refusal=refusal,
    )
