"""What the atlas shows: each cascade analysed, and run by the mappings that name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from einsum_cascade import Cascade
from einsum_cascade.counting.symbolic import Analysis
from einsum_cascade.errors import CascadeError, InputError
from einsum_cascade.ir import Program
from einsum_cascade.shapes import complete_shapes, resolve_shapes
from einsum_cascade.yaml.library import builtin_source, is_file_name, read_source
from mappers.construct.generators import GENERATORS

from ..jobs.job import Job
from ..jobs.plan import plan
from ..jobs.run import evaluate_job, run_plan
from ..jobs.workload import WorkloadLike, own_part
from ..result.record import Result
from ..spec.arch import Architecture
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping
from .columns import SIZES, Shown, most_passes
from .details import details_html
from .run import AtlasRun

_WORTH_PROCESSES = 8
"""Cascades below which processes take longer to start than they save."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One sequence length: the workload to take shapes from."""

    label: str
    workload: WorkloadLike


@dataclass(frozen=True, kw_only=True)
class AtlasEntry:
    """A cascade, what is shown of its analysis, and its runs.

    The analysis itself stays where it was made: to send its expressions takes longer than all else.
    """

    cascade: Cascade
    passes: tuple[str, str]
    """As ``most_passes`` says them."""
    sized: tuple[tuple[str, dict[str, Shown]], ...]
    """Per length what ``SIZES`` are in the workload's shapes, where they fix all counts."""
    runs: tuple[AtlasRun, ...]
    details: str
    """A ``<details>`` element with all of it."""

    @classmethod
    def of(
        cls,
        cascade: Cascade,
        analysis: Analysis,
        sized: Iterable[tuple[str, Analysis]],
        runs: tuple[AtlasRun, ...],
    ) -> AtlasEntry:
        """What is shown of an analysis, which is ``sized`` per length."""
        return cls(
            cascade=cascade,
            passes=most_passes(analysis.passes.ranks),
            sized=tuple(
                (label, {field: measure(found) for field, _, measure in SIZES})
                for label, found in sized
            ),
            runs=runs,
            details=details_html(cascade.program, analysis, runs),
        )

    @property
    def is_mapped(self) -> bool:
        """Whether a mapping is written for it; else it runs Einsum by Einsum."""
        return any(run.mapping != EINSUM_BY_EINSUM for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class AtlasPlan:
    """What to survey."""

    cascades: tuple[str, ...]
    machines: tuple[Architecture, ...]
    mappings: tuple[Mapping, ...]
    scenarios: tuple[Scenario, ...]

    def mappings_of(self, cascade: str) -> tuple[Mapping, ...]:
        """The mappings that name a cascade."""
        return tuple(m for m in self.mappings if m.cascade == cascade)

    def only(self, cascade: str) -> AtlasPlan:
        """What there is to survey of one cascade: the rest need not be sent to a process."""
        return replace(self, cascades=(cascade,), mappings=self.mappings_of(cascade))

    @property
    def steps(self) -> int:
        """Analyses and simulations, for a progress bar."""
        per_mapping = len(self.machines) * len(self.scenarios)
        return sum(1 + per_mapping * max(1, len(self.mappings_of(c))) for c in self.cascades)


def survey(
    to_survey: AtlasPlan, advance: Callable[[str], Any] = lambda _: None, workers: int = 1
) -> tuple[AtlasEntry, ...]:
    """Analyse and simulate everything there.

    Parameters
    ----------
    to_survey : AtlasPlan
    advance : callable
        Called with a short text before each of ``to_survey.steps`` steps; of several
        processes once those of a cascade are done.
    workers : int
        Processes.

    Raises
    ------
    CascadeError
        A cascade is wrong. (What does not run is recorded with its reason instead.)
    InputError
        A process was killed.
    """
    names = to_survey.cascades
    if workers == 1 or len(names) < _WORTH_PROCESSES:
        return tuple(_entry(to_survey, name, advance) for name in names)
    # Not above: a survey of a few cascades need not wait for it.
    from concurrent.futures import as_completed

    from ..sweeping.workers import killed_workers_told, processes

    found: dict[int, AtlasEntry] = {}
    with processes(workers) as pool, killed_workers_told("nothing was written"):
        # Long ones first: with one of them at the end all other processes would wait for it.
        order = sorted(range(len(names)), key=lambda at: -_length(names[at]))
        tasks = [pool.executor.submit(_numbered, to_survey.only(names[at]), at) for at in order]
        for task in as_completed(tasks):
            at, entry, told = task.result()
            found[at] = entry
            for text in told:
                advance(text)
    return tuple(found[at] for at in range(len(names)))


def _length(cascade: str) -> int:
    """Characters of a cascade's text: one of many Einsums takes long, as a rule."""
    if is_file_name(cascade):
        return len(read_source(cascade, CascadeError).text)
    return len(builtin_source("cascades", cascade, CascadeError).text)


def _numbered(to_survey: AtlasPlan, at: int) -> tuple[int, AtlasEntry, list[str]]:
    """The entry of the only cascade, its place, and what there was to be told on the way."""
    told: list[str] = []
    return at, _entry(to_survey, to_survey.cascades[0], told.append), told


def _entry(to_survey: AtlasPlan, name: str, advance: Callable[[str], Any]) -> AtlasEntry:
    advance(name)
    cascade = Cascade.load(name)
    analysis = cascade.analyze()
    runs = tuple(_runs(to_survey, name, advance))
    return AtlasEntry.of(cascade, analysis, _sized(analysis, to_survey.scenarios, runs), runs)


def _sized(
    analysis: Analysis, scenarios: Sequence[Scenario], runs: Sequence[AtlasRun]
) -> Iterator[tuple[str, Analysis]]:
    """The analysis with numbers, for every length, in the shapes of its first run there or,
    where it does not run, in those of the workload."""
    for scenario in scenarios:
        ran = (r.result.shape for r in runs if r.result and r.length == scenario.label)
        try:
            shapes = dict(next(ran, ())) or _shapes(analysis.program, scenario)
            # Points of a mask may be too many to be counted.
            found = analysis.at(shapes)
        except InputError:
            continue
        yield scenario.label, found


def _shapes(program: Program, scenario: Scenario) -> dict[str, int]:
    """All shapes of a cascade, from the workload's and usual ones. Raises InputError."""
    given = {r: n for r, n in scenario.workload.shapes if r in program.settable}
    return resolve_shapes(program, complete_shapes(program, given)[0])


def _runs(to_survey: AtlasPlan, cascade: str, advance: Callable[[str], Any]) -> Iterator[AtlasRun]:
    title = Cascade.load(cascade).name
    for mapping in to_survey.mappings_of(cascade) or (None,):
        for machine in to_survey.machines:
            for scenario in to_survey.scenarios:
                name = mapping.name if mapping else EINSUM_BY_EINSUM
                advance(f"{title} by {name} on {machine.name} at {scenario.label}")
                yield _run(cascade, mapping, machine, scenario)


def _run(
    cascade: str, mapping: Mapping | None, machine: Architecture, scenario: Scenario
) -> AtlasRun:
    """One run; where no mapping is written, by the one that is made for any cascade."""
    result, refusal = None, ""
    try:
        result = _simulated(cascade, mapping, machine, scenario.workload)
    except InputError as error:
        refusal = "; ".join(p.message for p in error.problems)
    return AtlasRun(
        machine=machine.name,
        mapping=mapping.name if mapping else EINSUM_BY_EINSUM,
        length=scenario.label,
        result=result,
        refusal=refusal,
    )


def _simulated(
    cascade: str, mapping: Mapping | None, machine: Architecture, work: WorkloadLike
) -> Result:
    """The workload by a cascade, or the cascade by itself.

    One that lacks ranks of the workload (a linear layer has no heads) computes something else:
    it takes the shapes that it has, and usual ones.
    """
    program = Cascade.load(cascade).program
    shapes = {r: n for r, n in work.shapes if r in program.settable}
    fixed = [t.member for t in mapping.tiles] if mapping else []
    given, _ = complete_shapes(program, shapes, fixed)
    # A file's cascade can be called anything, like a built-in one too.
    how = mapping or replace(GENERATORS.make(program, machine, given), cascade=cascade)
    if len(shapes) == len(work.shapes):
        return run_plan(plan(work, machine, how, generators=GENERATORS))
    job = Job(
        name=work.name,
        part=own_part(work),
        program=program,
        mapping=how,
        shapes=tuple(given.items()),
        architecture=machine,
        choose=GENERATORS.choose,
    )
    return evaluate_job(job)
