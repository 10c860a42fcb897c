"""Command ``archsim plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import say_written
from .options import NamedPath, check_file

if TYPE_CHECKING:
    from ..views.plot import Drawable


@click.command("plot")
@click.argument("source", metavar="DIR|FILE", type=NamedPath())
@click.argument("kind", required=False)
@click.option(
    "--x",
    metavar="COLUMN",
    help="Column across; by default, as for the other options, a fitting one.",
)
@click.option("--y", metavar="COLUMN", help="Column up.")
@click.option("--colour", metavar="COLUMN", help="Column with a colour for each value.")
@click.option("--facet", metavar="COLUMN", help="Column with a panel for each value.")
@click.option("--baseline", metavar="VALUE", help="Value of --colour that bars are relative to.")
@click.option(
    "--width", metavar="INCHES", type=float, default=7.0, show_default=True,
    help="Width of the picture; 3.3 is a column of a paper.",
)  # fmt: skip
@click.option(
    "--out", metavar="FILE", type=NamedPath(check_file),
    help="File in .png, .svg or .pdf; for parallel in .html. By default KIND.png in DIR.",
)  # fmt: skip
def plot_command(
    source: Path,
    kind: str | None,
    x: str | None,
    y: str | None,
    colour: str | None,
    facet: str | None,
    baseline: str | None,
    width: float,
    out: Path | None,
) -> None:
    """Draw the results of a sweep, a simulation or a comparison.

    KIND of a sweep: pareto, heatmap, lines, bars, breakdown or parallel; of a simulation:
    breakdown, roofline, waterfall or capacity; of a comparison: bars or capacity.
    """
    from ..views.frame import PlotOptions
    from ..views.plot import draw, kind_for, load_drawable, usual_suffix, write

    data: Drawable = load_drawable(source)
    chosen = kind_for(data, kind)
    folder = source if source.is_dir() else source.parent
    path = out or folder / f"{chosen}{usual_suffix(chosen)}"
    options = PlotOptions(x=x, y=y, colour=colour, facet=facet, baseline=baseline, width_in=width)
    write(draw(data, chosen, options), path)
    say_written((path,))
