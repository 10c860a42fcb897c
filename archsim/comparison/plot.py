"""Picture of a comparison. Import this module only to draw: it loads matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..document import picture_text
from ..figure_style import Picture, palette, wrapped_name
from ..quantities import area, energy, percent, ratio, seconds
from .record import ComparedMachine, ComparisonRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from ..result.record import Named

_HEIGHT = 0.6
_PLAIN = "#555555"
_FIRST = "#bbbbbb"


_WIDE_IN = 11.0
_BESIDE_IN = 8.0
"""Width in inches from which the three charts stand side by side."""


def plot_comparison(comparison: ComparisonRecord, width_in: float = _WIDE_IN) -> Picture:
    """Draw speedup, energy and area of every machine, a row of bars each.

    Energy and area are relative to the first machine and divided by component. Components have the
    order and the colours of the first machine's picture of energy.

    Parameters
    ----------
    width_in : float
        In inches; in a narrow picture the three stand below one another.
    """
    rows = comparison.rows
    beside = width_in >= _BESIDE_IN
    tall = 1.9 + 0.62 * len(rows) if beside else 1.6 + 3 * (0.45 + 0.42 * len(rows))
    figure = Picture(figsize=(width_in, tall), layout="constrained")
    shape = (1, 3) if beside else (3, 1)
    speed, joules, space = figure.subplots(*shape, sharey=True).ravel()
    _draw_speedup(speed, rows)
    components = list(
        dict.fromkeys(
            name
            for row in rows
            for name, _ in (*row.result.energy_by_component, *row.result.area_by_component)
        )
    )
    colours = palette(components)
    spent = [(r.result.energy_by_component, r.result.energy_pj, r.energy_ratio) for r in rows]
    _draw_parts(joules, spent, colours, energy)
    taken = [(r.result.area_by_component, r.result.area_um2, r.area_ratio) for r in rows]
    _draw_parts(space, taken, colours, area)
    first = comparison.first.label
    speed.set_title(f"speedup over {first}", loc="left", fontsize=10)
    joules.set_title(f"energy, {first} = 100 %", loc="left", fontsize=10)
    space.set_title(f"area, {first} = 100 %", loc="left", fontsize=10)
    names = [_name(r) if beside else wrapped_name(picture_text(r.label), 14) for r in rows]
    speed.set_yticks(range(len(rows)), names)
    speed.set_ylim(len(rows) - 0.5, -0.5)
    handles = [Patch(color=colours[c], label=c) for c in components]
    columns = 6 if beside else max(2, int(width_in / 1.6))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), frameon=False
    )
    how = " at equal area" if comparison.iso_area else ""
    if comparison.iso_power:
        how = " at equal power"
    title = picture_text(f"{comparison.first.result.workload}{how}")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _name(row: ComparedMachine) -> str:
    return f"{row.label}\n{row.result.mapping}"


def _draw_speedup(axes: Axes, rows: Sequence[ComparedMachine]) -> None:
    """Draw a bar for each machine, the first in grey, on a linear axis from zero."""
    for at, row in enumerate(rows):
        axes.barh(at, row.speedup, _HEIGHT, color=_PLAIN if at else _FIRST)
        text = f"{ratio(row.speedup)}  ({seconds(row.result.latency_s)})"
        _beside(axes, row.speedup, at, text)
    axes.set_xlim(0, 1.45 * max(r.speedup for r in rows))
    axes.axvline(1, color="0.6", linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
    _open(axes)


def _draw_parts(
    axes: Axes,
    bars: Sequence[tuple[Named, float, float]],
    colours: dict[str, str],
    show: Callable[[float], str],
) -> None:
    """Draw stacked bars, each given by its parts, their sum and its ratio to the first machine's
    sum."""
    for at, (parts, whole, share) in enumerate(bars):
        left = 0.0
        for name, value in parts:
            width = share * value / whole
            axes.barh(at, width, _HEIGHT, left=left, color=colours[name])
            left += width
        _beside(axes, share, at, f"{percent(share)}  ({show(whole)})")
    axes.set_xlim(0, 1.5 * max(share for _, _, share in bars))
    axes.axvline(1, color="0.6", linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
    _open(axes)


def _beside(axes: Axes, x: float, y: float, text: str) -> None:
    """Write beside the end of a bar, on white: the line of the first machine stops there."""
    blank = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    axes.annotate(
        text,
        (x, y),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox=blank,
    )


def _open(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
