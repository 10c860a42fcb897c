"""Command ``archsim reproduce``."""

from __future__ import annotations

from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..writing import OutputFolder
from .console import progress, say, show_all
from .options import NamedPath, count_option, option, out_option, repeated_option

if TYPE_CHECKING:
    from ..reproduction import Study
    from ..reproduction.published import PublishedValue

_INCOMPLETE = 1
_MOST_WORKERS = 8
_RUNS_EACH = 64
"""Smallest number of runs per process: for fewer, a process takes longer to start than to work."""


@click.command("reproduce")
@click.argument("name", metavar="NAME|FILE")
@repeated_option("--figure figures", None, "This figure alone; repeatable.", type=int)
@out_option("Write tables and figures.")
@option(
    "--published",
    "DIR",
    "Folder of published figures in CSV files, to compare with.",
    type=NamedPath(),
)
@count_option("--workers", None, "Processes; by default one for each core, up to 8.", most=64)
@click.pass_context
def reproduce_command(
    context: click.Context,
    name: str,
    figures: tuple[int, ...],
    out: Path | None,
    published: Path | None,
    workers: int | None,
) -> None:
    """Recompute a published evaluation: every figure, and the means it states.

    NAME is fusemax, or a file. Prints published, reproduced, and with everything billed.
    Exit code 1 if runs are missing.
    """
    from ..processes import usable_cores
    from ..reproduction import Reproduction, study
    from ..reproduction.published import differences_document, read_published
    from ..reproduction.study import planned_runs
    from ..reproduction.tables import figure_document, headline

    plan = Reproduction.load(name).only(figures)
    values = read_published(plan, published) if published is not None else ()
    runs = len(planned_runs(plan))
    workers = workers or min(usable_cores(), _MOST_WORKERS, 1 + runs // _RUNS_EACH)
    with progress("simulating", runs) as advance:
        found = study(plan, workers=workers, finished=advance)
    documents = [headline(found)]
    if values:
        documents.append(differences_document(found, values))
    show_all([*documents, *(figure_document(found, f) for f in found.plan.figures if figures)])
    if out is not None:
        _write(found, values, out, workers)
    context.exit(_INCOMPLETE if found.missing else 0)


def _write(found: Study, values: tuple[PublishedValue, ...], folder: Path, workers: int) -> None:
    """Write tables as CSV and Markdown, and figures as SVG and PNG."""
    from ..reproduction.figures import drawn, texts

    with OutputFolder(folder) as out:
        for name, text in texts(found, values):
            out.text(name, text)
        with progress("drawing", len(found.plan.figures)) as advance:
            for name, data in drawn(found, workers, advance):
                out.file(name, methodcaller("write_bytes", data))
    say(f"wrote {len(out.paths)} files to {folder}", err=True)
