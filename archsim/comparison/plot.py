"""Picture of a comparison. Import this module only to draw: it loads matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from ..document import picture_text
from ..figure_style import (
    Picture,
    headline,
    look,
    name_bars,
    note_bar,
    palette,
    patches,
    show_shares,
    stack_bar,
    wrapped_name,
)
from ..quantities import area, energy, percent, ratio, seconds
from .record import ComparedMachine, ComparisonRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from ..result.record import Named

_HEIGHT = 0.6
_PLAIN, _FIRST = "#555555", "#bbbbbb"
"""Colours for the speedup of a machine, and for that of the first machine."""
_THREE_CHARTS_IN = 8.0
"""Smallest width of a picture, in inches, in which the three charts stand side by side."""


def plot_comparison(comparison: ComparisonRecord, width_in: float) -> Picture:
    """Draw speedup, energy and area of several machines, with a bar for each machine.

    Energy and area are relative to the first machine and divided by component. Components have the
    order and the colours of the first machine's picture of energy.

    Parameters
    ----------
    width_in : float
        In inches; in a narrow picture the three stand below one another.
    """
    rows = comparison.rows
    wide = width_in >= _THREE_CHARTS_IN
    tall = 1.6 + 0.62 * len(rows) if wide else 1.3 + 3 * (0.45 + 0.42 * len(rows))
    spent = [(_spent(r), r.totals.energy_pj, r.energy_ratio) for r in rows]
    taken = [(r.result.area_by_component, r.result.area_um2, r.area_ratio) for r in rows]
    colours = palette(
        [n for (e, *_), (a, *_) in zip(spent, taken, strict=True) for n, _ in (*e, *a)]
    )
    first = picture_text(comparison.first.label)
    with look():
        figure = Picture(figsize=(width_in, tall), layout="constrained")
        speed, joules, space = figure.subplots(*((1, 3) if wide else (3, 1)), sharey=True).ravel()
        _draw_speedup(speed, rows)
        _draw_parts(joules, spent, colours, energy)
        _draw_parts(space, taken, colours, area)
        if wide:
            names = [picture_text(r.label) + "\n" + picture_text(r.result.mapping) for r in rows]
        else:
            names = [wrapped_name(picture_text(r.label), 14) for r in rows]
        titles = (f"speedup over {first}", f"energy, {first} = 100 %", f"area, {first} = 100 %")
        for axes, title in zip((speed, joules, space), titles, strict=True):
            axes.set_title(title, loc="left")
            name_bars(axes, names)
            axes.axvline(1, color="0.6", linewidth=0.8, linestyle=":")
            axes.xaxis.set_major_locator(MaxNLocator(4))
        columns = min(6 if wide else max(2, int(width_in / 1.6)), len(colours))
        figure.legend(handles=patches(colours), loc="outside lower center", ncols=columns)
        subject = f"{comparison.first.result.workload} {comparison.how}".rstrip()
        headline(figure, subject + comparison.files)
    return figure


def _spent(row: ComparedMachine) -> Named:
    """Return the energy by component, and as built what is drawn at any load."""
    parts = row.result.energy_by_component
    constant_pj = row.totals.energy_pj - row.result.energy_pj
    return (*parts, ("power at any load", constant_pj)) if constant_pj > 0 else parts


def _draw_speedup(axes: Axes, rows: Sequence[ComparedMachine]) -> None:
    """Draw a bar for each machine, the first in grey, on a linear axis from zero."""
    for at, row in enumerate(rows):
        axes.barh(at, row.speedup, _HEIGHT, color=_PLAIN if at else _FIRST)
        text = f"{ratio(row.speedup)}  ({seconds(row.totals.latency_s)})"
        note_bar(axes, row.speedup, at, text)
    axes.set_xlim(0, 1.45 * max(r.speedup for r in rows))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")


def _draw_parts(
    axes: Axes,
    bars: Sequence[tuple[Named, float, float]],
    colours: dict[str, str],
    show: Callable[[float], str],
) -> None:
    """Draw stacked bars, labelled with the ratio to the first machine's sum.

    Each bar is given by its parts, their sum, and the ratio.
    """
    for at, (parts, whole, share) in enumerate(bars):
        pieces = [(name, share * value / whole) for name, value in parts]
        stack_bar(axes, at, pieces, colours, _HEIGHT)
        note_bar(axes, share, at, f"{percent(share)}  ({show(whole)})")
    axes.set_xlim(0, 1.5 * max(share for _, _, share in bars))
    show_shares(axes.xaxis)
