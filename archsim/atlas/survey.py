"""What the atlas shows: each cascade analysed, and run by the mappings that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.counting.symbolic import Analysis
from einsum_cascade.errors import InputError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import resolve_shapes, with_usual
from mappers.choices.choose import choose
from mappers.einsum_by_einsum import einsum_by_einsum

from ..api import simulate
from ..evaluate.evaluate import evaluate_mapping
from ..jobs.workload import WorkloadLike
from ..result.record import Result
from ..spec.arch import Architecture
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping


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
    """The analysis with numbers, for every length, in the shapes of its first run there or,
    where it does not run, in those of the workload."""
    for scenario in scenarios:
        ran = (r.result.shape for r in runs if r.result and r.length == scenario.label)
        try:
            shapes = dict(next(ran, ())) or _shapes(analysis.program, scenario)
        except InputError:
            continue
        yield scenario.label, analysis.at(shapes)


def _shapes(program: Program, scenario: Scenario) -> dict[str, int]:
    """All shapes of a cascade, from the workload's and usual ones. Raises InputError."""
    given = {r: n for r, n in scenario.workload.shapes if r in program.settable}
    return resolve_shapes(program, with_usual(program, given)[0])


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
    """One run; where no mapping is written, by the one that is made for any cascade.

    A cascade that lacks ranks of the workload (a linear layer has no heads) takes the shapes
    that it has, and usual ones.
    """
    result, refusal, work = None, "", scenario.workload
    program = cascade.program
    fixed = [t.member for t in mapping.tiles] if mapping else []
    shapes = {r: n for r, n in work.shapes if r in program.settable}
    given, _ = with_usual(program, shapes, fixed)
    try:
        made = mapping or einsum_by_einsum(program, machine, given)
        if len(shapes) == len(work.shapes):
            result = simulate(work, machine, made)
        else:
            result = evaluate_mapping(
                program, made, machine, given, workload=work.name, choose=choose
            )
    except InputError as error:
        refusal = "; ".join(p.message for p in error.problems)
    return Run(
        machine=machine.name,
        mapping=mapping.name if mapping else EINSUM_BY_EINSUM,
        length=scenario.label,
        result=result,
        refusal=refusal,
    )
