"""Command ``archsim sweep``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from einsum_cascade.errors import InputError

from .console import progress, say, say_written
from .options import NamedPath, check_folder, count_option, option, use_cache_option

if TYPE_CHECKING:
    from ..sweeping.sweep import SweepDone


@click.command("sweep")
@click.argument("sweep", metavar="[SWEEP.yaml]", type=NamedPath(), required=False)
@option("--out", "DIR", "Folder of the results.", type=NamedPath(), required=True)
@count_option("--workers", "N", "Processes; by default one for each processor.")
@option("--dask", "ADDRESS", "Run on the workers of a Dask scheduler.")
@count_option("--limit", "N", "Run at most N further points.")
@use_cache_option
@option("--show point", "POINT", "Print a point's inputs and row.", type=int)
def sweep_command(
    sweep: Path | None,
    out: Path,
    workers: int | None,
    dask: str | None,
    limit: int | None,
    use_cache: bool,
    point: int | None,
) -> None:
    """Run a simulation for every point of SWEEP.yaml. A second start continues the sweep."""
    if point is not None:
        if workers or dask or limit:
            raise click.UsageError("--show prints a point that was run: give it with --out alone")
        say(_shown(out, point))
        return
    if sweep is None:
        raise click.UsageError("give a sweep file: archsim sweep SWEEP.yaml --out DIR")
    if dask and workers:
        raise click.UsageError("--workers are of this machine, --dask has its own: give one")
    check_folder(out)
    from mappers.construct.generators import generators_of

    from ..api import find_best
    from ..sweeping.file import sweep_of
    from ..sweeping.sweep import run_sweep

    # Workers of a cluster may run in another folder.
    loaded = sweep_of(sweep.resolve() if dask else sweep)
    try:
        done = run_sweep(
            loaded,
            out,
            generators=generators_of(use_cache=use_cache),
            find=find_best,
            workers=workers,
            dask=dask,
            limit=limit,
            progress=lambda total, done: progress(loaded.name, total, done=done, unit="points"),
        )
    except KeyboardInterrupt:
        say(f"finished points are kept in {out}; start again to go on", err=True)
        raise
    _show_done(done, out)


def _show_done(done: SweepDone, out: Path) -> None:
    parts = ", ".join(f"{number} {status}" for status, number in done.counts)
    say(f"{done.finished} of {done.total} points: {parts}")
    if done.refused:
        say(f"the first refused one: {done.refused}")
    if done.finished < done.total:
        say(f"{done.total - done.finished} are left; start again to go on", err=True)
    say_written(done.written)
    from ..sweeping.export import PARQUET, has_parquet

    if not has_parquet():
        hint = "pip install 'archsim[parquet]'"
        say(f"{out / PARQUET} needs pyarrow, which is not installed: {hint}", err=True)


def _shown(folder: Path, point: int) -> str:
    """Print a point's inputs, the command that runs it, and its row."""
    from ..sweeping.export import ResultTable
    from ..sweeping.file import read_sweep
    from ..sweeping.store import opened

    with opened(folder) as store:
        meta = store.meta()
        there = 0 <= point < meta.total
        row = store.row(point) if there else None
        if row is None:
            why = "it is not finished yet" if there else f"points go from 0 to {meta.total - 1}"
            raise InputError(f"{folder} has no row of point {point}: {why}")
        table = ResultTable.of(store, read_sweep(store.sweep_source()))
        named = dict(zip(table.columns, table.values(row), strict=True))
        inputs = row.read_inputs()
    command = ["archsim", "simulate", inputs.workload, inputs.architecture]
    if inputs.mapping != "default":
        command += ["--mapping", inputs.mapping]
    for field, value in inputs.set.items():
        command += ["--set", f"{field}={value}"]
    parts = {"sweep": meta.name, "version": meta.version, "point": point, "key": row.key}
    parts |= {"inputs": json.loads(row.inputs), "command": shlex.join(command), "row": named}
    return json.dumps(parts, indent=2, ensure_ascii=False)
