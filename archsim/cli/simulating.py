"""``archsim simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from einsum_cascade.errors import InputError

from .console import show, show_json
from .files import write_result
from .options import Known, json_option, settings_option

if TYPE_CHECKING:
    from archsim.results import Result


@click.command("simulate")
@click.argument("workload", default="bert-base")
@click.argument("architecture", metavar="[ARCH]", default="fusemax")
@click.option(
    "--mapping",
    "mappings",
    multiple=True,
    metavar="NAME|FILE",
    help="Default: of each part's cascade. May be given for several parts.",
)
@click.option("--engine", type=Known(["analytical", "event"]), default="analytical")
@settings_option
@json_option
@click.option("--out", metavar="DIR", type=Path, help="Write result, report and pictures.")
@click.option("--trace", metavar="FILE", type=Path, help="Write the timeline (event engine).")
@click.option("--explain", is_flag=True, help="Say where each cycle and picojoule came from.")
def simulate_command(
    workload: str,
    architecture: str,
    mappings: tuple[str, ...],
    engine: str,
    settings: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    trace: Path | None,
    explain: bool,
) -> None:
    """Simulate a WORKLOAD on an ARCH; by default BERT at 4K tokens on fusemax."""
    _refuse_what_is_not_there(mappings, engine, trace)
    if as_json and explain:
        raise click.UsageError("--explain is for people; --json prints the exact numbers")
    result = _simulate(workload, architecture, mappings, settings)
    written = write_result(result, out) if out else ()
    if as_json:
        show_json(result.to_dict())
    else:
        _show_result(result, explain, written)


def _simulate(
    workload: str, architecture: str, mappings: tuple[str, ...], settings: tuple[str, ...]
) -> Result:
    from archsim import Architecture, Mapping, simulate
    from archsim.engine import default_mapping
    from archsim.spec.overrides import parse_overrides
    from workloads import load

    given = parse_overrides(settings)
    work = load(workload, given.workload)
    machine = Architecture.load(architecture, given)
    names = mappings or (default_mapping(work.cascade).name,)
    if len(names) > 1 and given.mapping:
        raise InputError(
            f"--set mapping.{given.mapping[0].field} is for one mapping, but {len(names)} are "
            "given: change it in its file"
        )
    return simulate(work, machine, [Mapping.load(name, given) for name in names])


def _show_result(result: Result, explained: bool, written: tuple[Path, ...]) -> None:
    from archsim.report import explain, report

    show(report(result))
    if explained:
        click.echo()
        show(explain(result))
    for path in written:
        click.echo(f"wrote {path}", err=True)


def _refuse_what_is_not_there(mappings: tuple[str, ...], engine: str, trace: Path | None) -> None:
    if engine == "event":
        raise InputError("--engine event: there is no event engine yet; use --engine analytical")
    if trace is not None:
        raise InputError("--trace: a timeline needs the event engine, which is not there yet")
    if "auto" in mappings:
        raise InputError(
            "--mapping auto: there is no search for mappings yet; "
            "name a built-in mapping (archsim list mappings) or a file"
        )
