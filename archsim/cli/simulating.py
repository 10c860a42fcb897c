"""Command ``archsim simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .console import say, show, show_json
from .files import NamedPath, check_file, check_folder, write_result
from .options import ChoiceWithHint, json_option, settings_option

if TYPE_CHECKING:
    from workloads.workload import Workload

    from .. import Architecture
    from ..plan.job import JobPlan
    from ..plan.selection import ByPart, Given
    from ..result.result import Result


@click.command("simulate")
@click.argument("workload", default="bert-base")
@click.argument("architecture", metavar="[ARCH]", default="fusemax")
@click.option(
    "--mapping",
    "mappings",
    multiple=True,
    metavar="NAME|FILE|auto",
    help="Default: the machine's own, or the fastest known mapping. May be given for several "
    "parts. auto searches for the fastest.",
)
@click.option(
    "--engine",
    type=ChoiceWithHint(["analytical", "event"]),
    help="Limit of steps: event simulates 100 times as many before it averages.",
)
@click.option(
    "--rewrite",
    "rules",
    multiple=True,
    metavar="RULE",
    help="Rewrite the attention's cascade first, by one rule after another, such as factor:QK.",
)
@settings_option
@json_option
@click.option("--out", metavar="DIR", type=NamedPath(), help="Write result, report and pictures.")
@click.option(
    "--trace", metavar="FILE", type=NamedPath(), help="Write the timeline, run by the event engine."
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show the loops, and the source of each cycle and picojoule.",
)
@click.option(
    "--dump",
    "stage",
    type=ChoiceWithHint(["bound", "counts", "program"]),
    help="Print an intermediate stage instead of the result: loops, counts, or the step program.",
)
def simulate_command(
    workload: str,
    architecture: str,
    mappings: tuple[str, ...],
    engine: Literal["analytical", "event"] | None,
    rules: tuple[str, ...],
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
    settings = _rewritten(workload, settings, rules)
    asked = _asked(workload, architecture, mappings, settings)
    from ..plan.planner import run_plan

    plan = _planned(*asked)
    if stage:
        from ..views.dump import dump

        say(dump(plan, stage))
        return
    result = run_plan(plan, engine=engine or ("event" if trace else "analytical"))
    written = write_result(result, out) if out else ()
    if trace:
        from ..views.trace import trace as timeline

        timeline(plan).save(trace)
        written = (*written, trace)
    if as_json:
        show_json(result.to_dict())
    else:
        _show_result(result, plan if explain else None, written)


def _rewritten(workload: str, settings: tuple[str, ...], rules: tuple[str, ...]) -> tuple[str, ...]:
    """Add settings that name the rewritten cascade, a file that lives as long as the command."""
    if not rules:
        return settings
    # Only a rewrite needs sympy.
    from tempfile import TemporaryDirectory

    from einsum_cascade import Cascade
    from einsum_cascade.rewrites import rewrite

    from ..plan.inputs import load_workload
    from ..plan.parts import own_part
    from ..spec.overrides import parse_overrides

    own = own_part(load_workload(workload, parse_overrides(settings)))
    derived = rewrite(Cascade.load(own.cascade), *rules, prove_it=False).result
    folder = click.get_current_context().with_resource(TemporaryDirectory())
    file = Path(folder) / f"{derived.program.name}.yaml"
    file.write_text(derived.text(), encoding="utf-8")
    others = (s for s in settings if not s.startswith("cascade="))
    return (*others, f"cascade={file}")


def _asked(
    workload: str, architecture: str, mappings: tuple[str, ...], settings: tuple[str, ...]
) -> tuple[Workload, Architecture, Given]:
    """Return the plan of a simulation, read from names and settings."""
    from mappers.construct.generators import GENERATORS

    from ..plan.inputs import load_machine, load_mapping, load_workload
    from ..spec.overrides import parse_overrides

    given = parse_overrides(settings)
    work = load_workload(workload, given)
    machine = load_machine(architecture, given)
    how = load_mapping(mappings, work, machine, given, generators=GENERATORS, find=_find)
    return work, machine, how


def _find(work: Workload, machine: Architecture, /) -> ByPart:
    # Only a search needs its module.
    from .mapping import found_or_searched

    return found_or_searched(work, machine)


def _planned(work: Workload, machine: Architecture, how: Given) -> JobPlan:
    from mappers.construct.generators import GENERATORS

    from ..plan.planner import plan

    return plan(work, machine, how, generators=GENERATORS)


def _show_result(result: Result, explained: JobPlan | None, written: tuple[Path, ...]) -> None:
    from ..result.report import explain, report

    show(report(result))
    if explained is not None:
        from ..views.loop_nest import loop_nests

        for document in (loop_nests(explained), explain(result)):
            say()
            show(document)
    for path in written:
        say(f"wrote {path}", err=True)
