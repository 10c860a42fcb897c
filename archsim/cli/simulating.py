"""``archsim simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from einsum_cascade.errors import InputError, Problem

from ..spec.mapping import AUTO
from .console import say, show, show_json
from .files import NamedPath, check_file, check_folder, write_result
from .options import Known, json_option, settings_option

if TYPE_CHECKING:
    from workloads import Workload

    from .. import Architecture, Mapping
    from ..jobs.job import JobPlan
    from ..jobs.selection import ByPart
    from ..result.record import Result


@click.command("simulate")
@click.argument("workload", default="bert-base")
@click.argument("architecture", metavar="[ARCH]", default="fusemax")
@click.option(
    "--mapping",
    "mappings",
    multiple=True,
    metavar="NAME|FILE|auto",
    help="Default: the machine's own, or the fastest of those known. May be given for several "
    "parts. auto searches for the fastest.",
)
@click.option(
    "--engine",
    type=Known(["analytical", "event"]),
    help="Which of two limits: event runs 100 times as many steps before it takes an average one.",
)
@settings_option
@json_option
@click.option("--out", metavar="DIR", type=NamedPath(), help="Write result, report and pictures.")
@click.option(
    "--trace", metavar="FILE", type=NamedPath(), help="Write the timeline, run by the event engine."
)
@click.option("--explain", is_flag=True, help="Say where each cycle and picojoule came from.")
@click.option(
    "--dump",
    "stage",
    type=Known(["bound", "counts", "program"]),
    help="Print a stage in between, and no result: loops, counts, or the step program.",
)
def simulate_command(
    workload: str,
    architecture: str,
    mappings: tuple[str, ...],
    engine: Literal["analytical", "event"] | None,
    settings: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    trace: Path | None,
    explain: bool,
    stage: str | None,
) -> None:
    """Simulate a WORKLOAD on an ARCH; by default BERT at 4K tokens on fusemax."""
    if as_json and explain:
        raise click.UsageError("--explain is for people; --json prints the exact numbers")
    if trace and engine == "analytical":
        raise click.UsageError("--trace is of the event engine; leave out --engine analytical")
    if stage and (as_json or explain or out or trace):
        raise click.UsageError("--dump prints a stage of the run and no result: give it alone")
    if out:
        check_folder(out)
    if trace:
        check_file(trace)
    asked = _asked(workload, architecture, mappings, settings)
    from ..jobs.run import run_plan

    plan = _planned(*asked)
    if stage:
        from ..dump import dump

        say(dump(plan, stage))
        return
    result = run_plan(plan, engine=engine or ("event" if trace else "analytical"))
    written = write_result(result, out) if out else ()
    if trace:
        from ..trace import trace as timeline

        timeline(plan).save(trace)
        written = (*written, trace)
    if as_json:
        show_json(result.to_dict())
    else:
        _show_result(result, explain, written)


def _asked(
    workload: str, architecture: str, mappings: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[Workload, Architecture, list[Mapping] | ByPart]:
    """What is simulated: read from the names, with the settings."""
    from mappers.generators import GENERATORS
    from workloads import load

    from .. import Architecture
    from ..jobs.selection import mapping_called
    from ..spec.files.overrides import parse_overrides
    from ..spec.mapping import EINSUM_BY_EINSUM

    given = parse_overrides(settings)
    work = load(workload, given.workload)
    machine = Architecture.load(architecture, given)
    if AUTO in mappings:
        if len(mappings) > 1 or given.mapping:
            text = (
                f"--mapping {AUTO} searches for every part's mapping: give no other, and no field"
            )
            raise InputError(text)
        from .mapping import found_or_searched

        return work, machine, found_or_searched(work, machine)
    names = mappings or (_set_by_default(work, machine) if given.mapping else ())
    if given.mapping and (len(names) != 1 or EINSUM_BY_EINSUM in names):
        text = f"mapping.{given.mapping[0].field}"
        if len(names) > 1:
            text += f" is for one mapping, but {len(names)} are given: change it in its file"
        else:
            text += f": {EINSUM_BY_EINSUM} is made from the cascade and takes no settings"
        raise InputError(Problem(text, given.mapping[0].span))
    return work, machine, [mapping_called(name, work, machine, GENERATORS, given) for name in names]


def _set_by_default(work: Workload, machine: Architecture) -> tuple[str, ...]:
    """The name of the mapping that runs where none is given, if it is a written one."""
    from ..jobs.selection import usual_mapping

    found = usual_mapping(work, machine)
    return (found.name,) if found else ()


def _planned(work: Workload, machine: Architecture, mappings: list[Mapping] | ByPart) -> JobPlan:
    from mappers.generators import GENERATORS

    from ..jobs.plan import plan

    return plan(work, machine, mappings, generators=GENERATORS)


def _show_result(result: Result, explained: bool, written: tuple[Path, ...]) -> None:
    from ..result.report import explain, report

    show(report(result))
    if explained:
        say()
        show(explain(result))
    for path in written:
        say(f"wrote {path}", err=True)
