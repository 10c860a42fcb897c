"""Survey of the atlas: every cascade is analysed, and simulated with each of its mappings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from einsum_cascade import Cascade
from einsum_cascade.analysis_report import RankPasses
from einsum_cascade.counting.symbolic import Analysis
from einsum_cascade.errors import CascadeError, InputError
from einsum_cascade.ir import Program
from einsum_cascade.notation import program_mathml
from einsum_cascade.shapes import complete_shapes, resolve_shapes
from einsum_cascade.source import Source, html_text
from einsum_cascade.yaml.library import builtin_source, is_file_name, read_source
from mappers.construct.generators import GENERATORS
from mappers.memory import content_key, recall_text, remember_texts
from workloads.workload import Workload

from ..document import html_table, names, numbers, table_of, texts
from ..plan.planner import evaluate_job, plan
from ..plan.selection import mapping_called
from ..processes import map_in_order
from ..quantities import byte_size, energy, engineering, percent, seconds
from ..result.result import Result
from ..spec.arch import Architecture
from ..spec.mapping import EINSUM_BY_EINSUM, Mapping
from ..version import source_hash
from ..views.analysis import analysis_tables


@dataclass(frozen=True, kw_only=True)
class RunMeasures:
    """Measures of a result that the page shows."""

    mapping: str
    latency_s: float
    traffic_bytes: int | float
    energy_pj: float
    bound_by: str
    utilization: dict[str, float]

    @classmethod
    def of(cls, result: Result) -> RunMeasures:
        """Return the measures of a result."""
        return cls(**{field.name: getattr(result, field.name) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class AtlasRun:
    """Run of a cascade under one mapping on one machine at one length, or the reason of a
    refusal."""

    machine: str
    mapping: str
    length: str
    shapes: tuple[tuple[str, int], ...] = ()
    """Sizes of the cascade's ranks and values of its parameters."""
    result: RunMeasures | None = None
    refusal: str = ""


Shown = tuple[str, float | str | None, str]
"""Text, value to sort by (or None), and tooltip."""


_OPERATION = "a multiply-accumulate is one"
_TRAFFIC = "inputs and outputs once"


def _counted(count: Any, tooltip: str) -> Shown:
    value = float(count)
    return engineering(value, ""), value, tooltip


def _state(analysis: Analysis) -> Shown:
    """Return the largest state that later passes over a rank need."""
    needs = [
        (float(f.needed), f.rank)
        for f in analysis.footprint
        if isinstance(f.needed, int) or getattr(f.needed, "is_number", False)
    ]
    value, rank = max(needs, default=(0.0, ""))
    if not value:
        return "none", 0.0, "no pass revisits the elements of an earlier one"
    return engineering(value, ""), value, f"footprint over {rank} for later passes"


SIZES: Final[tuple[tuple[str, str, Callable[[Analysis], Shown]], ...]] = (
    ("operations", "operations", lambda a: _counted(a.total_operations, _OPERATION)),
    ("least", "least traffic (elements)", lambda a: _counted(a.traffic_min, _TRAFFIC)),
    ("state", "footprint for later passes (elements)", _state),
)
"""Analysis with a workload's shapes: field, heading, measure."""

MEASURES: Final[tuple[tuple[str, str, Callable[[RunMeasures], Shown]], ...]] = (
    ("latency", "latency", lambda r: (seconds(r.latency_s), r.latency_s, f"bound by {r.bound_by}")),
    ("traffic", "traffic", lambda r: (byte_size(r.traffic_bytes), r.traffic_bytes, "")),
    ("energy", "energy", lambda r: (energy(r.energy_pj), r.energy_pj, "")),
)
"""Simulation: field, heading, measure."""

LEGEND: Final = (
    "Passes: traversals of a whole fiber that no mapping can avoid; passes inside a tile of a "
    "partitioned rank are listed below, cascade by cascade. Footprint for later passes: elements "
    "per fiber that cause traffic if the buffer cannot hold them. The mapping shown is the fastest "
    "legal built-in one; the tooltip of a number names its bottleneck. The best mapping is the "
    "fastest one on the page that computes the same on this machine, perhaps with another cascade. "
    "Cascades without a written "
    "mapping run one Einsum after the other, every tensor through memory. They are sorted apart, "
    "since their latency says little about the algorithm."
)


def most_passes(ranks: Sequence[RankPasses]) -> tuple[str, str]:
    """Return the largest number of passes as text, and the ranks that they go over.

    If no whole fiber needs a second pass, the text names the ranks that do inside of tiles.
    """
    whole = [r for r in ranks if r.grain != "member"]
    most = max((r.count for r in whole), default=0)
    often = [r for r in whole if r.count == most]
    count = min(often, key=lambda r: r.at_most).counted if often else "0"
    if most > 1:
        return count, ", ".join(r.rank for r in often)
    tiles = ", ".join(f"{r.counted} over {r.rank}" for r in ranks if r.count > 1)
    return count, f"all ranks; inside a tile {tiles}" if tiles else "all ranks"


def utilization(array: str) -> str:
    """Return the field of an array's utilization."""
    return f"use:{array}"


def details_html(program: Program, analysis: Analysis, runs: tuple[AtlasRun, ...]) -> str:
    """Return a ``<details>`` element that the table's names link to."""
    name = html_text(program.name)
    source = f'<p class="source">{html_text(program.origin)}</p>' if program.origin else ""
    doubt = (
        f'<p><span class="unverified">unverified</span> {html_text(program.unverified)}</p>'
        if program.unverified
        else ""
    )
    simulated = table_of("simulated", _RUN_COLUMNS, map(_run_cells, runs))
    tables = [*analysis_tables(analysis, analysis.passes.ranks), simulated]
    parts = [program_mathml(program), *(html_table(t) for t in tables if t.rows)]
    boxes = "".join(f'<div class="box">{part}</div>' for part in parts)
    return (
        f'<details class="cascade" id="cascade-{name}"><summary><h2>{name}</h2> '
        f"{html_text(program.title)}</summary>{source}{doubt}{boxes}</details>"
    )


_RUN_COLUMNS: Final = (
    *(*names("mapping", "machine", "length"), *numbers("latency")),
    *(*texts("bound by", "utilization"), *numbers("traffic", "energy")),
)


def _run_cells(run: AtlasRun) -> tuple[str, ...]:
    place = (run.mapping, run.machine, run.length)
    result = run.result
    if result is None:
        return (*place, "-", run.refusal, "", "", "")
    used = ", ".join(f"{a} {percent(u)}" for a, u in result.utilization.items())
    moved = (byte_size(result.traffic_bytes), energy(result.energy_pj))
    return (*place, seconds(result.latency_s), result.bound_by, used, *moved)


_MIN_CASCADES_FOR_PROCESSES = 8
"""Number of cascades from which processes save more time than they take to start."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Sequence length, and the workload that gives the shapes."""

    label: str
    workload: Workload


@dataclass(frozen=True, kw_only=True)
class AtlasEntry:
    """Cascade, its analysis as text, and its runs: everything that the page shows.

    The analysis stays in its process: to send its expressions takes longer than all else.
    """

    name: str
    title: str
    unverified: str
    """Reason why nothing confirms the cascade; empty if something does."""
    function: str
    """Name of the function that the cascade computes."""
    passes: tuple[str, str]
    """Number of passes and ranks, as ``most_passes`` returns them."""
    sized: tuple[tuple[str, dict[str, Shown]], ...]
    """Cells of ``SIZES`` by length; absent if the shapes do not determine all counts."""
    runs: tuple[AtlasRun, ...]
    details: str
    """Section about the cascade, a ``<details>`` element."""

    @property
    def is_mapped(self) -> bool:
        """True if a mapping is written for the cascade; else the generated one runs."""
        return any(run.mapping != EINSUM_BY_EINSUM for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class AtlasPlan:
    """Cascades, machines, mappings and lengths of a survey."""

    cascades: tuple[str, ...]
    machines: tuple[Architecture, ...]
    mappings: tuple[Mapping, ...]
    scenarios: tuple[Scenario, ...]

    def mappings_of(self, cascade: str) -> tuple[Mapping, ...]:
        """Return the mappings that name a cascade."""
        return tuple(m for m in self.mappings if m.cascade == cascade)

    def only(self, cascade: str) -> AtlasPlan:
        """Return the plan for one cascade, which is small to send to a process."""
        return replace(self, cascades=(cascade,), mappings=self.mappings_of(cascade))

    @property
    def steps(self) -> int:
        """Number of analyses and simulations, for a progress bar."""
        per_mapping = len(self.machines) * len(self.scenarios)
        return sum(1 + per_mapping * max(1, len(self.mappings_of(c))) for c in self.cascades)


def survey(
    to_survey: AtlasPlan, advance: Callable[[str], Any] = lambda _: None, workers: int = 1
) -> tuple[AtlasEntry, ...]:
    """Analyse and simulate all cascades of a plan.

    Entries of earlier surveys are remembered as long as nothing changes on which they depend.

    Parameters
    ----------
    to_survey : AtlasPlan
    advance : callable
        Function that is called with a short text for each of ``to_survey.steps`` steps, after all
        steps of a cascade.
    workers : int
        Processes.

    Raises
    ------
    CascadeError
        A cascade is wrong. (What does not run is recorded with its reason instead.)
    InputError
        A process was killed.
    """
    files = _entry_files(to_survey)
    found: dict[str, AtlasEntry] = {}
    for name, file in files.items():
        with suppress(ValidationError):
            if (text := recall_text(_FOLDER, file)) is not None:
                found[name] = _entries_as_json().validate_json(text)
                for _ in range(to_survey.only(name).steps):
                    advance(name)
    # Long tasks go first: at the end, all other processes would wait for one.
    order = sorted((name for name in files if name not in found), key=_length, reverse=True)
    tasks = (to_survey.only(name) for name in order)
    workers = workers if len(order) >= _MIN_CASCADES_FOR_PROCESSES else 1
    done = map_in_order(_entry_and_steps, tasks, workers, left="nothing was written")
    made: dict[str, str] = {}
    for name, (text, steps) in zip(order, done, strict=True):
        made[name] = text
        # The page is the same whether an entry comes from here or from the cache.
        found[name] = _entries_as_json().validate_json(text)
        for step in steps:
            advance(step)
    with suppress(InputError):  # A file may have changed, or gone, since it was read.
        now = _entry_files(to_survey)
        remember_texts(_FOLDER, {now[n]: made[n] for n in made if now[n] == files[n]})
    return tuple(found[name] for name in to_survey.cascades)


_FOLDER = "atlas"
"""Folder of remembered entries below the cache directory."""


def _entry_files(to_survey: AtlasPlan) -> dict[str, str]:
    """Return, for each cascade, the name of the file that keeps its entry.

    The name is a hash of the cascade's text, the other inputs of the survey, and the code.
    """
    given = (source_hash(), repr(to_survey.machines), repr(to_survey.scenarios))
    key = content_key(*given)
    return {
        name: f"{content_key(key, repr(_source(name)), repr(to_survey.mappings_of(name)))}.json"
        for name in to_survey.cascades
    }


@cache
def _entries_as_json() -> TypeAdapter[AtlasEntry]:
    return TypeAdapter(AtlasEntry)


def _source(cascade: str) -> Source:
    """Return the text of a cascade, of a file or built in."""
    if is_file_name(cascade):
        return read_source(cascade, CascadeError)
    return builtin_source("cascades", cascade, CascadeError)


def _length(cascade: str) -> int:
    """Return the length of a cascade's text, which grows with the time it takes."""
    return len(_source(cascade).text)


def _entry_and_steps(to_survey: AtlasPlan) -> tuple[str, list[str]]:
    """Return the entry of the only cascade as a JSON text, and the texts of its steps."""
    steps: list[str] = []
    entry = _entry(to_survey, to_survey.cascades[0], steps.append)
    return _entries_as_json().dump_json(entry).decode(), steps


def _entry(to_survey: AtlasPlan, name: str, advance: Callable[[str], Any]) -> AtlasEntry:
    advance(name)
    cascade = Cascade.load(name)
    analysis = cascade.analyze()
    runs = tuple(_runs(to_survey, name, advance))
    program = cascade.program
    entry = AtlasEntry(
        name=program.name,
        title=program.title,
        unverified=program.unverified,
        function=program.reference or program.name,
        passes=most_passes(analysis.passes.ranks),
        sized=tuple(_sized(analysis, to_survey.scenarios, runs)),
        runs=runs,
        details=details_html(program, analysis, runs),
    )
    # Bindings of all cascades take so much memory that joblib starts other processes, which begin
    # anew.
    program.forget()
    return entry


def _sized(
    analysis: Analysis, scenarios: Sequence[Scenario], runs: Sequence[AtlasRun]
) -> Iterator[tuple[str, dict[str, Shown]]]:
    """Yield the cells of ``SIZES`` for every length.

    Shapes are those of the cascade's first run. If it does not run, they are those of the workload
    and usual ones.
    """
    program = analysis.program
    for scenario in scenarios:
        ran = (r.shapes for r in runs if r.result and r.length == scenario.label)
        try:
            given = dict(next(ran, scenario.workload.shapes))
            settable = {r: n for r, n in given.items() if r in program.settable}
            shapes = resolve_shapes(program, complete_shapes(program, settable)[0])
            # A mask may have too many points to count.
            found = analysis.at(shapes)
        except InputError:
            continue
        yield scenario.label, {field: measure(found) for field, _, measure in SIZES}


def _runs(to_survey: AtlasPlan, cascade: str, advance: Callable[[str], Any]) -> Iterator[AtlasRun]:
    """Yield every run; a cascade without a written mapping uses the generated one."""
    title, settable = Cascade.load(cascade).name, Cascade.load(cascade).program.settable
    for machine in to_survey.machines:
        # Lengths that give the cascade's ranks equal sizes share their runs.
        known: dict[Hashable, AtlasRun] = {}
        for scenario in to_survey.scenarios:
            work = replace(
                scenario.workload, cascade=cascade, stated=(), stand_ins=(), omissions=()
            )
            for mapping in to_survey.mappings_of(cascade) or (None,):
                name = mapping.name if mapping else EINSUM_BY_EINSUM
                advance(f"{title} by {name} on {machine.name} at {scenario.label}")
                run = AtlasRun(machine=machine.name, mapping=name, length=scenario.label)
                key: Hashable = scenario.label
                with suppress(InputError):  # The run refuses these shapes with the same error.
                    key = tuple(work.shapes_for(settable).items())
                if (name, key) not in known:
                    mapping_or_name = mapping or EINSUM_BY_EINSUM
                    known[name, key] = _simulated(run, work, machine, mapping_or_name)
                yield replace(known[name, key], length=scenario.label)


def _simulated(
    run: AtlasRun, work: Workload, machine: Architecture, mapping: Mapping | str
) -> AtlasRun:
    """Return a run with its result, or with the reason of its refusal."""
    try:
        if isinstance(mapping, str):
            mapping = mapping_called(mapping, work, machine, GENERATORS)
        (job,) = plan(work, machine, mapping, generators=GENERATORS).jobs
        result = evaluate_job(job)
    except InputError as error:
        return replace(run, refusal="; ".join(p.message for p in error.problems))
    # A core runs tiles of the ranks that are partitioned over cores; all cores run the job's.
    shapes = dict(result.shape) | dict(job.shapes)
    return replace(run, shapes=tuple(shapes.items()), result=RunMeasures.of(result))
