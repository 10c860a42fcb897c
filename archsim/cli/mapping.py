"""Command ``archsim map``: the best mapping, a Pareto front or a capacity curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from einsum_cascade.errors import InputError, Problem
from mappers.problem.objectives import OBJECTIVES, objective_called

from ..writing import OutputFolder, write_whole
from .console import answer, part_progress
from .files import write_numbers, write_result
from .options import (
    ChoiceWithHint,
    NamedPath,
    check_picture,
    json_option,
    out_option,
    refuse_mapping_settings,
    settings_option,
)

if TYPE_CHECKING:
    from mappers.problem.constraint_files import ConstraintFile
    from mappers.workload_search import WorkloadSearched
    from workloads import Workload

    from .. import Architecture
    from ..document import Document
    from ..figure_style import Picture


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
    type=ChoiceWithHint(("exhaustive",)),
    expose_value=False,
    help="Search strategy: branch and bound is the only one.",
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
    type=NamedPath(check_picture),
    help="Draw the progress of best and bound, the front or the curve (.png, .svg or .pdf).",
)
@settings_option
@json_option
@out_option("Write mappings, result and pictures.")
def map_command(
    workload: str,
    architecture: str,
    objective: str,
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
    from workloads import load

    from .. import Architecture
    from ..spec.mapping import Mapping
    from ..spec.overrides import parse_overrides

    how: dict[str, Any] = {
        "time_limit_s": _seconds(time_limit),
        "constraints": _constraints(fixed, forbidden),
    }
    if pareto is not None:
        _refuse_combination("--pareto", "objective", "memory")
    elif memory is not None:
        _refuse_combination("--capacity-curve", "objective", "starts")
    given = parse_overrides(settings)
    refuse_mapping_settings("map", given, "the mapping is what is searched for")
    work, machine = load(workload, given.workload), Architecture.load(architecture, given)
    if memory is None:
        how["start"] = tuple(Mapping.load(name) for name in starts)
    if pareto is not None:
        found = _front(work, machine, pareto, how)
    elif memory is not None:
        found = _curves(work, machine, memory, how)
    else:
        how["objective"] = objective
        found = _best(work, machine, how)
    written = found.write(out) if out else ()
    if plot:
        written = (*written, write_whole(plot, found.picture().write))
    answer(found.exact, found.documents, as_json=as_json, written=written, hint=found.hint)


@dataclass(frozen=True, kw_only=True)
class MapAnswer:
    """Answer of a search, in each form in which it is printed or written."""

    exact: Callable[[], dict[str, Any]]
    """Function that returns the object of ``map --json``."""
    documents: Iterable[Document]
    picture: Callable[[], Picture]
    write: Callable[[Path], tuple[Path, ...]]
    """Function that writes the files of ``--out DIR``."""
    hint: str
    """Advice to print if nothing is written."""


def _constraints(fixed: tuple[str, ...], forbidden: tuple[str, ...]) -> tuple[ConstraintFile, ...]:
    """Return the constraints on mappings that some files contain."""
    if not fixed and not forbidden:
        return ()
    from mappers.problem.constraint_files import ConstraintFile

    return (
        *(ConstraintFile.read(name, must=True) for name in fixed),
        *(ConstraintFile.read(name, must=False) for name in forbidden),
    )


def _refuse_combination(option: str, *others: str) -> None:
    """Raise an error for options that contradict the kind of search, or one another."""
    context = click.get_current_context()
    for other in others:
        if context.get_parameter_source(other) is ParameterSource.COMMANDLINE:
            name = {"starts": "start", "memory": "capacity-curve"}.get(other, other)
            raise InputError(
                Problem(f"--{name} goes not with {option}", hint="leave one of the two out")
            )


def _seconds(text: str | None) -> float | None:
    """Return a time limit, given as text, in seconds."""
    if text is None:
        return None
    from pydantic_core import PydanticCustomError

    from einsum_cascade.errors import SpecError

    from ..spec.files.fields import TIME, parse_quantity

    try:
        return float(parse_quantity(text, TIME))
    except PydanticCustomError as wrong:
        raise SpecError(f"--time-limit: {wrong.message()}") from None


def _best(work: Workload, machine: Architecture, how: dict[str, Any]) -> MapAnswer:
    """Search for the best mappings, with a progress bar for each part."""
    from mappers.workload_search import search_workload

    from .. import simulate
    from ..result.report import report

    how["objective"] = objective_called(how["objective"])
    with part_progress() as start:
        found = search_workload(work, machine, progress=start, **how)

    def documents() -> Iterator[Document]:
        from mappers.views.reports import search_report

        usual = None
        # After an interrupt or a time limit, the comparison is skipped as well.
        if not any(part.found.certificate.ended for part in found.parts):
            with suppress(InputError):
                usual = simulate(work, machine)
        yield report(found.result)
        yield search_report(found, usual)

    def picture() -> Picture:
        from mappers.views.plots import plot_history

        return plot_history(found)

    return MapAnswer(
        exact=found.to_dict,
        documents=documents(),
        picture=picture,
        write=lambda out: (*write_result(found.result, out), *_write_mappings(found, out)),
        hint="--out DIR writes the mapping, to be run by simulate --mapping FILE",
    )


def _write_mappings(found: WorkloadSearched, folder: Path) -> tuple[Path, ...]:
    from ..spec.files.mapping_text import mapping_text

    with OutputFolder(folder) as out:
        for part in found.parts:
            name = "mapping" if len(found.parts) == 1 else f"mapping-{part.name}"
            out.text(f"{name}.yaml", mapping_text(part.found.mapping, folder))
    return out.paths


def _front(work: Workload, machine: Architecture, axes: str, how: dict[str, Any]) -> MapAnswer:
    """Search for a Pareto front of mappings."""
    from mappers.pareto.front_search import axes_called, search_front
    from mappers.views.reports import front_report

    with part_progress() as start:
        memory = axes_called(axes, machine)
        front = search_front(work, machine, progress=start, memory=memory, **how)

    def picture() -> Picture:
        from mappers.views.plots import plot_front

        return plot_front(front)

    def write(out: Path) -> tuple[Path, ...]:
        from ..spec.files.mapping_text import mapping_text

        texts = {
            f"mapping-{n}.yaml": mapping_text(point.mapping, out)
            for n, point in enumerate(front.points, start=1)
        }
        return write_numbers(out, "front", front.to_dict(), picture(), texts)

    return MapAnswer(
        exact=front.to_dict,
        documents=(front_report(front),),
        picture=picture,
        write=write,
        hint="--out DIR writes the mappings and a picture",
    )


def _curves(work: Workload, machine: Architecture, memory: str, how: dict[str, Any]) -> MapAnswer:
    """Search for the best mapping at each capacity of a memory."""
    from mappers.pareto.capacity_search import capacity_curves
    from mappers.views.reports import capacity_report

    with part_progress() as start:
        curves = capacity_curves(work, machine, memory, progress=start, **how)

    def picture() -> Picture:
        from mappers.views.plots import plot_capacity

        return plot_capacity(curves)

    return MapAnswer(
        exact=curves.to_dict,
        documents=(capacity_report(curves),),
        picture=picture,
        write=lambda out: write_numbers(out, "capacity", curves.to_dict(), picture()),
        hint="--out DIR writes the numbers, the mappings and a picture",
    )
