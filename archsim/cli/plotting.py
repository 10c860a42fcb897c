"""Command ``archsim plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import say_written
from .options import NamedPath, file_option, option

if TYPE_CHECKING:
    from ..views.plot import Drawable


@click.command("plot")
@click.argument("source", metavar="DIR|FILE", type=NamedPath())
@click.argument("kind", required=False)
@option("--x", "COLUMN", "Column across; by default, as for the other options, a fitting one.")
@option("--y", "COLUMN", "Column up.")
@option("--colour", "COLUMN", "Column with a colour for each value.")
@option("--facet", "COLUMN", "Column with a panel for each value.")
@option("--baseline", "VALUE", "Value of --colour that bars are relative to.")
@option(
    "--width",
    "INCHES",
    "Width of the picture; 3.3 is a column of a paper.",
    type=float,
    default=7.0,
)
@file_option(
    "--out", "File in .png, .svg or .pdf; for parallel in .html. By default KIND.png in DIR."
)
def plot_command(
    source: Path, kind: str | None, width: float, out: Path | None, **columns: str | None
) -> None:
    """Draw the results of a sweep, a simulation or a comparison.

    KIND of a sweep: pareto, heatmap, lines, bars, breakdown or parallel; of a simulation:
    breakdown, roofline, waterfall or capacity; of a comparison: bars or capacity.
    """
    from ..views.frame import PlotOptions
    from ..views.plot import draw, kind_for, load_drawable, write

    data: Drawable = load_drawable(source)
    chosen = kind_for(data, kind)
    folder = source if source.is_dir() else source.parent
    path = out or folder / f"{chosen}.{'html' if chosen == 'parallel' else 'png'}"
    options = PlotOptions(width_in=width, **columns)
    write(draw(data, chosen, options), path, named=out is not None)
    say_written((path,))
