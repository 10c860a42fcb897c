"""Command ``archsim map``: the best mapping, a Pareto front or a capacity curve."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from einsum_cascade.errors import InputError, Problem
from mappers.problem.objectives import OBJECTIVES, objective_called
from mappers.strategies import STRATEGIES, unless_usual

from ..writing import OutputFolder, write_whole
from .console import progress, say, show, show_json
from .files import NamedPath, check_file, check_folder, write_result
from .options import ChoiceWithHint, json_option, refuse_mapping_settings, settings_option

if TYPE_CHECKING:
    from mappers.pareto.capacity_search import CapacityCurves
    from mappers.pareto.front_search import Front
    from mappers.problem.constraint_files import ConstraintFile
    from mappers.workload_search import WorkloadSearched
    from workloads import Workload

    from .. import Architecture
    from ..figure_style import Picture
    from ..plan.selection import ByPart
    from ..result.result import Result
    from ..spec.mapping import Mapping


@click.command("map")
@click.argument("workload")
@click.argument("architecture", metavar="ARCH")
@click.option(
    "--objective",
    type=ChoiceWithHint(OBJECTIVES),
    default="latency",
    show_default=True,
    help="Quantity to minimise; edp is energy x latency.",
)
@click.option(
    "--strategy",
    type=ChoiceWithHint(STRATEGIES),
    default="exhaustive",
    show_default=True,
    help="Search strategy.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of a strategy that tries mappings; equal seeds find equal mappings.",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    help="Number of legal mappings after which such a strategy stops.",
)
@click.option(
    "--start",
    "starts",
    metavar="MAPPING",
    multiple=True,
    help="Mapping to begin with, by name or file: the result is no worse. May be repeated.",
)
@click.option(
    "--time-limit",
    metavar="TIME",
    help="Stop after this time (for example 10s) and report the best mapping found. Ctrl-C does"
    " the same.",
)
@click.option(
    "--pareto",
    metavar="latency,energy[,buffer]",
    help="Search a Pareto front instead of the best mapping. `buffer`, or the name of a memory,"
    " adds its footprint as an objective.",
)
@click.option(
    "--capacity-curve",
    "memory",
    metavar="MEMORY",
    help="Least traffic and energy against the capacity of a memory, instead of the best mapping.",
)
@click.option(
    "--fix",
    "fixed",
    metavar="FILE",
    multiple=True,
    help="Constraints that all mappings obey (docs/mapping.md). May be repeated.",
)
@click.option(
    "--forbid",
    "forbidden",
    metavar="FILE",
    multiple=True,
    help="Constraints that no mapping may satisfy. May be repeated.",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=NamedPath(),
    help="Draw the progress of best and bound, the front or the curve (.png, .svg or .pdf).",
)
@settings_option
@json_option
@click.option("--out", metavar="DIR", type=NamedPath(), help="Write mappings, result and pictures.")
def map_command(
    workload: str,
    architecture: str,
    objective: str,
    strategy: str,
    seed: int | None,
    evaluations: int | None,
    starts: tuple[str, ...],
    time_limit: str | None,
    pareto: str | None,
    memory: str | None,
    fixed: tuple[str, ...],
    forbidden: tuple[str, ...],
    plot: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    out: Path | None,
) -> None:
    """Find the best mapping of a WORKLOAD on an ARCH, and say how sure that is."""
    limit = _seconds(time_limit)
    options = {"seed": seed, "evaluations": evaluations}
    given = tuple((name, value) for name, value in options.items() if value is not None)
    how = SearchRequest(objective, strategy, starts, limit, _constraints(fixed, forbidden), given)
    asked = (workload, architecture, settings)
    if pareto is not None:
        _refuse_combination("--pareto", "objective", "strategy", "seed", "evaluations", "memory")
        show_front(asked, pareto, how, (out, plot), as_json=as_json)
        return
    if memory is not None:
        others = ("objective", "strategy", "seed", "evaluations", "starts")
        _refuse_combination("--capacity-curve", *others)
        show_capacity(asked, memory, how, (out, plot), as_json=as_json)
        return
    check_places(out, plot)
    found, usual = _searched(workload, architecture, how, settings)
    written = (*write_result(found.result, out), *_write_mappings(found, out)) if out else ()
    written = (*written, *_write_history(found, plot))
    if as_json:
        show_json(found.to_dict())
        return
    from mappers.views.reports import search_report

    from ..result.report import report

    show(report(found.result))
    say()
    show(search_report(found, usual))
    if not written:
        say("--out DIR writes the mapping, to be run by simulate --mapping FILE", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


@dataclass(frozen=True)
class SearchRequest:
    """Options of a search."""

    objective: str
    strategy: str = "exhaustive"
    starts: tuple[str, ...] = ()
    time_limit_s: float | None = None
    constraints: tuple[ConstraintFile, ...] = ()
    options: tuple[tuple[str, int], ...] = ()
    """Options of the strategy, by name."""


def check_places(out: Path | None, plot: Path | None) -> None:
    """Refuse output places that cannot be written before the work begins."""
    if out:
        check_folder(out)
    if plot:
        from ..figure_style import check_suffix

        check_suffix(plot)
        check_file(plot)


def _write_history(found: WorkloadSearched, plot: Path | None) -> tuple[Path, ...]:
    """Show how the best value and the bound approached each other, if requested."""
    if plot is None:
        return ()
    from mappers.views.plots import plot_history

    return (write_whole(plot, plot_history(found).write),)


def _constraints(fixed: tuple[str, ...], forbidden: tuple[str, ...]) -> tuple[ConstraintFile, ...]:
    """Return the constraints of files."""
    if not fixed and not forbidden:
        return ()
    from mappers.problem.constraint_files import ConstraintFile

    return (
        *(ConstraintFile.read(name, must=True) for name in fixed),
        *(ConstraintFile.read(name, must=False) for name in forbidden),
    )


def _refuse_combination(option: str, *others: str) -> None:
    """Refuse options that contradict the search, or one another."""
    context = click.get_current_context()
    for other in others:
        if context.get_parameter_source(other) is ParameterSource.COMMANDLINE:
            name = {"starts": "start", "memory": "capacity-curve"}.get(other, other)
            raise InputError(
                Problem(f"--{name} goes not with {option}", hint="leave one of the two out")
            )


def _seconds(text: str | None) -> float | None:
    """Return a time limit in seconds."""
    if text is None:
        return None
    from pydantic_core import PydanticCustomError

    from einsum_cascade.errors import SpecError

    from ..spec.files.fields import TIME, parse_quantity

    try:
        return float(parse_quantity(text, TIME))
    except PydanticCustomError as wrong:
        raise SpecError(f"--time-limit: {wrong.message()}") from None


def _searched(
    workload: str, architecture: str, how: SearchRequest, settings: tuple[str, ...]
) -> tuple[WorkloadSearched, Result | None]:
    """Show the mapping found, and results of the usual mappings."""
    from workloads import load

    from .. import Architecture, simulate
    from ..spec.overrides import parse_overrides

    given = parse_overrides(settings)
    refuse_mapping_settings("map", given, "the mapping is what is searched for")
    work = load(workload, given.workload)
    machine = Architecture.load(architecture, given)
    found = searched(work, machine, how)
    if any(part.found.certificate.ended for part in found.parts):
        # After an interrupt or a time limit, the comparison is skipped as well.
        return found, None
    try:
        usual = simulate(work, machine)
    except InputError:
        usual = None
    return found, usual


def searched(work: Workload, machine: Architecture, how: SearchRequest) -> WorkloadSearched:
    """Return the best mappings of a workload, with a progress bar for each part."""
    from mappers.workload_search import search_workload

    from ..spec.mapping import Mapping

    starts = tuple(Mapping.load(name) for name in how.starts)
    with part_progress() as start:
        return search_workload(
            work,
            machine,
            objective_called(how.objective),
            strategy=unless_usual(how.strategy, **dict(how.options)),
            progress=start,
            start=starts,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
        )


def found_or_searched(work: Workload, machine: Architecture, /) -> ByPart:
    """Return the fastest mapping of every part, remembered or searched, with progress bars."""
    from mappers.workload_search import best_mappings

    with part_progress() as start:
        return best_mappings(work, machine, progress=start)


@contextmanager
def part_progress() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Yield a function that shows a progress bar for one part after the other."""
    with ExitStack() as stack:

        def start(what: str, total: int) -> Callable[[int], None]:
            stack.pop_all().close()
            return stack.enter_context(progress(f"mapping {what}", total))

        yield start


def _write_mappings(found: WorkloadSearched, folder: Path) -> tuple[Path, ...]:
    from ..spec.files.mapping_text import mapping_text

    mappings: dict[str, Mapping] = {}
    for part in found.parts:
        name = "mapping" if len(found.parts) == 1 else f"mapping-{part.name}"
        mappings[name] = part.found.mapping
    with OutputFolder(folder) as out:
        for name, mapping in mappings.items():
            out.text(f"{name}.yaml", mapping_text(mapping, folder))
    return out.paths


T = TypeVar("T")

Problems = tuple[str, str, tuple[str, ...]]
"""Workload, machine and settings, as typed."""


Written = tuple[Path | None, Path | None]
"""Folder and picture to write, if requested."""


def show_front(
    asked: Problems, axes: str, how: SearchRequest, places: Written, *, as_json: bool
) -> None:
    """Run ``map --pareto``.

    Raises
    ------
    InputError
        Something named does not exist, or the workload has several parts.
    """
    from mappers.pareto.front_search import axes_called, search_front
    from mappers.views.reports import front_report

    from ..spec.mapping import Mapping

    out, plot = places
    check_places(out, plot)
    work, machine = _loaded(asked)
    memory = axes_called(axes, machine)
    starts = tuple(Mapping.load(name) for name in how.starts)
    with part_progress() as start:
        front = search_front(
            work,
            machine,
            progress=start,
            start=starts,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
            memory=memory,
        )
    written = (
        *(_write_front(front, out) if out else ()),
        *_write_picture(_front_picture, front, plot),
    )
    if as_json:
        show_json(front.to_dict())
        return
    show(front_report(front))
    if not written:
        say("--out DIR writes the mappings and a picture", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


def show_capacity(
    asked: Problems, memory: str, how: SearchRequest, places: Written, *, as_json: bool
) -> None:
    """Run ``map --capacity-curve``.

    Raises
    ------
    InputError
        Something named does not exist, or the workload has several parts.
    """
    from mappers.pareto.capacity_search import capacity_curves
    from mappers.views.reports import capacity_report

    out, plot = places
    check_places(out, plot)
    work, machine = _loaded(asked)
    with part_progress() as start:
        curves = capacity_curves(
            work,
            machine,
            memory,
            progress=start,
            time_limit_s=how.time_limit_s,
            constraints=how.constraints,
        )
    written = _write_picture(_capacity_picture, curves, plot)
    if out:
        exact = json.dumps(curves.to_dict(), indent=2, allow_nan=False)
        picture = _capacity_picture(curves)
        with OutputFolder(out) as folder:
            folder.text("capacity.json", exact)
            folder.file("capacity.png", picture.write)
            folder.file("capacity.svg", picture.write)
        written = (*written, *folder.paths)
    if as_json:
        show_json(curves.to_dict())
        return
    show(capacity_report(curves))
    if not written:
        say("--out DIR writes the numbers, the mappings and a picture", err=True)
    for path in written:
        say(f"wrote {path}", err=True)


def _front_picture(front: Front) -> Picture:
    from mappers.views.plots import plot_front

    return plot_front(front)


def _capacity_picture(curves: CapacityCurves) -> Picture:
    from mappers.views.plots import plot_capacity

    return plot_capacity(curves)


def _write_picture(draw: Callable[[T], Picture], what: T, path: Path | None) -> tuple[Path, ...]:
    """Write a picture to a file, if requested."""
    return (write_whole(path, draw(what).write),) if path else ()


def _loaded(asked: Problems) -> tuple[Workload, Architecture]:
    from workloads import load

    from .. import Architecture
    from ..spec.overrides import parse_overrides

    workload, architecture, settings = asked
    given = parse_overrides(settings)
    refuse_mapping_settings("map", given, "the mapping is what is searched for")
    return load(workload, given.workload), Architecture.load(architecture, given)


def _write_front(front: Front, folder: Path) -> tuple[Path, ...]:
    from mappers.views.plots import plot_front

    from ..spec.files.mapping_text import mapping_text

    exact = json.dumps(front.to_dict(), indent=2, allow_nan=False)
    picture = plot_front(front)
    with OutputFolder(folder) as out:
        for n, point in enumerate(front.points, start=1):
            out.text(f"mapping-{n}.yaml", mapping_text(point.mapping, folder))
        out.text("front.json", exact)
        out.file("front.png", picture.savefig)
        out.file("front.svg", picture.savefig)
    return out.paths
