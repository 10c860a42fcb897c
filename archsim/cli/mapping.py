"""Command ``archsim map``: the best mapping, a Pareto front or a capacity curve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from einsum_cascade.errors import InputError
from mappers.problem.objectives import OBJECTIVES, objective_called

from ..writing import write_whole
from .console import answer, part_progress
from .files import write_numbers, write_result
from .options import (
    check_picture,
    choice_option,
    file_option,
    json_option,
    option,
    out_option,
    refuse_mapping_settings,
    repeated_option,
    settings_option,
)

if TYPE_CHECKING:
    from mappers.views.plots import Drawable
    from workloads import Workload

    from .. import Architecture, Mapping
    from ..document import Document
    from ..figure_style import Picture
    from ..result.result import Result


@click.command("map")
@click.argument("workload")
@click.argument("architecture", metavar="ARCH")
@choice_option(
    "--objective", OBJECTIVES, "Quantity to minimise; edp is energy x latency.", default="latency"
)
@choice_option(
    "--strategy",
    ("exhaustive",),
    "Search strategy: branch and bound is the only one.",
    expose_value=False,
)
@repeated_option(
    "--start starts",
    "MAPPING",
    "Mapping to begin with, by name or file: the result is no worse. May be repeated.",
)
@option(
    "--time-limit",
    "TIME",
    "Stop after this time (for example 10s) and report the best mapping found. Ctrl-C does"
    " the same.",
)
@option(
    "--pareto",
    "latency,energy[,buffer]",
    "Search a Pareto front instead of the best mapping. `buffer`, or the name of a memory,"
    " adds its footprint as an objective.",
)
@option(
    "--capacity-curve memory",
    "MEMORY",
    "Least traffic and energy against the capacity of a memory, instead of the best mapping.",
)
@repeated_option(
    "--fix fixed", "FILE", "Constraints that all mappings obey (docs/mapping.md). May be repeated."
)
@repeated_option(
    "--forbid forbidden", "FILE", "Constraints that no mapping may satisfy. May be repeated."
)
@file_option(
    "--plot",
    "Draw the progress of best and bound, the front or the curve (.png, .svg or .pdf).",
    check_picture,
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
    from mappers.problem.constraint_files import ConstraintFile
    from workloads import load

    from .. import Architecture
    from ..spec.mapping import Mapping
    from ..spec.overrides import parse_overrides

    how: dict[str, Any] = {
        "time_limit_s": _seconds_left(time_limit),
        "constraints": (
            *(ConstraintFile.read(name, must=True) for name in fixed),
            *(ConstraintFile.read(name, must=False) for name in forbidden),
        ),
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
        how["objective"] = objective_called(objective)
        found = _best(work, machine, how)
    written = found.write(out) if out else ()
    if plot:
        written = (*written, write_whole(plot, found.picture().write))
    answer(found.found.to_dict, found.documents, as_json=as_json, written=written, hint=found.hint)


@dataclass(frozen=True, kw_only=True)
class MapAnswer:
    """Answer of a search, in each form in which it is printed or written."""

    found: Drawable
    documents: Iterable[Document]
    name: str = "result"
    """Name of the written files."""
    result: Result | None = None
    """Result under the best mappings, if these are searched."""
    mappings: dict[str, Mapping]
    """Mappings to write, by the names of their files."""
    hint: str
    """Advice to print if nothing is written."""

    def picture(self) -> Picture:
        """Draw the answer."""
        # Only a picture needs matplotlib.
        from mappers.views.plots import plot_search

        return plot_search(self.found)

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write the files of ``--out DIR``, and return their paths."""
        from ..spec.files.mapping_text import mapping_text

        texts = {f"{name}.yaml": mapping_text(m, folder) for name, m in self.mappings.items()}
        if self.result is not None:
            return write_result(self.result, folder, texts)
        return write_numbers(folder, self.name, self.found.to_dict(), self.picture(), texts)


def _refuse_combination(option: str, *others: str) -> None:
    """Raise an error for options that contradict the kind of search, or one another."""
    context = click.get_current_context()
    for other in others:
        if context.get_parameter_source(other) is ParameterSource.COMMANDLINE:
            name = {"starts": "start", "memory": "capacity-curve"}.get(other, other)
            raise InputError(f"--{name} goes not with {option}", hint="leave one of the two out")


def _seconds_left(text: str | None) -> float | None:
    """Return the seconds that start-up has left of a time limit, which is given as text."""
    if text is None:
        return None
    from pydantic_core import PydanticCustomError

    from einsum_cascade.errors import SpecError

    from ..spec.files.fields import TIME, parse_quantity

    try:
        limit = float(parse_quantity(text, TIME))
    except PydanticCustomError as wrong:
        raise SpecError(f"--time-limit: {wrong.message()}") from None
    started = click.get_current_context().obj
    return limit if started is None else max(0.0, limit - (monotonic() - started))


def _best(work: Workload, machine: Architecture, how: dict[str, Any]) -> MapAnswer:
    """Search for the best mappings, with a progress bar for each part."""
    from mappers.workload_search import search_workload

    from .. import simulate
    from ..result.report import report

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

    parts = found.parts
    names = ["mapping"] if len(parts) == 1 else [f"mapping-{part.name}" for part in parts]
    return MapAnswer(
        found=found,
        documents=documents(),
        result=found.result,
        mappings={name: part.found.mapping for name, part in zip(names, parts, strict=True)},
        hint="--out DIR writes the mapping, to be run by simulate --mapping FILE",
    )


def _front(work: Workload, machine: Architecture, axes: str, how: dict[str, Any]) -> MapAnswer:
    """Search for a Pareto front of mappings."""
    from mappers.pareto.front_search import axes_called, search_front
    from mappers.views.reports import front_report

    with part_progress() as start:
        memory = axes_called(axes, machine)
        front = search_front(work, machine, progress=start, memory=memory, **how)
    return MapAnswer(
        found=front,
        documents=(front_report(front),),
        name="front",
        mappings={f"mapping-{n}": point.mapping for n, point in enumerate(front.points, start=1)},
        hint="--out DIR writes the mappings and a picture",
    )


def _curves(work: Workload, machine: Architecture, memory: str, how: dict[str, Any]) -> MapAnswer:
    """Search for the best mapping at each capacity of a memory."""
    from mappers.pareto.capacity_search import capacity_curves
    from mappers.views.reports import capacity_report

    with part_progress() as start:
        curves = capacity_curves(work, machine, memory, progress=start, **how)
    return MapAnswer(
        found=curves,
        documents=(capacity_report(curves),),
        name="capacity",
        mappings={},
        hint="--out DIR writes the numbers, the mappings and a picture",
    )
