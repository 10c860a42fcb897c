"""Pareto charts of a frame: non-dominated points of two columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..dominance import undominated
from ..figure_style import Picture
from .axes import AxisChoice, colour_of, facet_of, measure_of, rows_of_one_workload, shown
from .frame import FrameView, PlotOptions, higher_is_better, is_ordered, need_numbers, plain_value
from .panels import (
    Panel,
    Shade,
    handles_of,
    legend,
    measured_axis,
    panels_of,
    remarks,
    shaded,
    shades_of,
)
from .scales import label_of, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .scales import PlotScale


_CLOSE = 0.05
"""Distance, as a share of an axis' length, below which two numbers overlap."""
_HIGH = 0.85
"""Height, as a share of an axis' length, above which a number stands below its point."""

PARETO_OPTIONS = ("x", "y", "colour", "facet")


@dataclass(frozen=True, slots=True)
class Objectives:
    """Columns of the two objectives of a front."""

    x: str
    y: str

    def costs(self, view: FrameView) -> list[tuple[float, float]]:
        """Return both objectives of every row as costs, of which less is better."""
        signs = [-1.0 if higher_is_better(c) else 1.0 for c in (self.x, self.y)]
        columns = [view.frame[c] for c in (self.x, self.y)]
        return [(signs[0] * a, signs[1] * b) for a, b in zip(*columns, strict=True)]


def draw_pareto(view: FrameView, options: PlotOptions) -> Picture:
    """Draw fronts of two columns as steps from point to point; other points are faint.

    By default the chart shows energy over latency, a panel for each workload, and a front for each
    colour. In each panel, the two ends of the front and the point of the least product have labels.

    Raises
    ------
    InputError
        A column is not there or holds no numbers.
    """
    x = measure_of(view, options.x, "x")
    y = measure_of(view, options.y, "y", but=(x,))
    need_numbers(view, x, "x")
    need_numbers(view, y, "y")
    wanted = Objectives(x, y)
    slots = AxisChoice(view).take(options.colour)
    facet = facet_of(slots, options.facet)
    colour = colour_of(AxisChoice(view).take(facet), options.colour)
    view = rows_of_one_workload(view, AxisChoice(view).take(facet).take(colour))
    shades = shades_of(view, colour)
    figure, panels = panels_of(view, facet, options.width_in)
    key: list[str] = []
    for panel in panels:
        key += _draw(panel, wanted, colour, shades, (facet,), len(key) + 1)
    legend(figure, colour, handles_of(shades))
    of = " of its colour" if colour else ""
    told = f"on a line: no other point{of} is better in both; faint: the others"
    remarks(figure, (*key, told, *view.told))
    return figure


def _draw(
    panel: Panel,
    wanted: Objectives,
    colour: str | None,
    shades: Sequence[Shade],
    apart: tuple[str | None, ...],
    first: int,
) -> list[str]:
    """Draw a panel, and return the meaning of its numbers, which begin with ``first``."""
    axes, view = panel.axes, panel.view
    across = measured_axis(axes, "x", view, wanted.x, panel.wide_in)
    up = measured_axis(axes, "y", view, wanted.y)
    for shade, part in shaded(view, colour, shades):
        costs = wanted.costs(part)
        best = undominated(costs, (0, 0))
        rows = part.frame
        points = [
            (across.drawn(a), up.drawn(b))
            for a, b in zip(rows[wanted.x], rows[wanted.y], strict=True)
        ]
        dominated = [p for n, p in enumerate(points) if n not in set(best)]
        if dominated:
            axes.plot(
                *zip(*dominated, strict=True), shade.marker, color=shade.colour, alpha=0.22,
                markersize=3, markeredgewidth=0, zorder=1,
            )  # fmt: skip
        ends = [points[n] for n in best]
        where: Literal["pre", "post"] = "pre" if higher_is_better(wanted.x) else "post"
        axes.step(*zip(*ends, strict=True), where=where, color=shade.colour, zorder=2)
        axes.plot(*zip(*ends, strict=True), shade.marker, color=shade.colour, zorder=3)
    axes.grid(alpha=0.25, linewidth=0.5)
    return _name(panel, wanted, across, up, apart, first)


def _name(
    panel: Panel,
    wanted: Objectives,
    across: PlotScale,
    up: PlotScale,
    apart: tuple[str | None, ...],
    first: int,
) -> list[str]:
    """Number the chosen points of a panel from ``first`` on, and return their descriptions."""
    view, axes = panel.view, panel.axes
    chosen = _chosen(wanted, wanted.costs(view))
    lines: list[str] = []
    spots: list[tuple[str, tuple[float, float]]] = []
    for number, (at, why) in enumerate(chosen.items(), start=first):
        row = view.frame.iloc[at]
        place = (across.drawn(row[wanted.x]), up.drawn(row[wanted.y]))
        lines.append(f"{number}  {', '.join(why)}: {_point(view, row, wanted, apart)}")
        for n, (text, other) in enumerate(spots):
            if _close(axes, place, other):
                spots[n] = (f"{text}, {number}", other)
                break
        else:
            spots.append((str(number), place))
    for text, place in spots:
        at = (axes.transScale + axes.transLimits).transform(place)[1]
        axes.annotate(
            text, place, xytext=(5, 4 if at < _HIGH else -3), textcoords="offset points",
            fontsize=7.5,
            fontweight="bold", zorder=5, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.7},
        )  # fmt: skip
    return lines


def _close(axes: Axes, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two numbers would overlap."""
    inside = axes.transScale + axes.transLimits
    (a, b), (c, d) = inside.transform([one, other])
    return bool(abs(a - c) < _CLOSE and abs(b - d) < 2 * _CLOSE)


def _chosen(wanted: Objectives, costs: Sequence[tuple[float, float]]) -> dict[int, list[str]]:
    """Return the labelled points of a front, and the reasons."""
    best = undominated(costs, (0, 0))
    found: dict[int, list[str]] = {}
    ends = ((wanted.x, best[0]), (wanted.y, best[-1]))
    for column, at in ends:
        most = "most" if higher_is_better(column) else "least"
        found.setdefault(at, []).append(f"{most} {label_of(column)}")
    if all(a > 0 and b > 0 for a, b in costs):
        knee = min(best, key=lambda n: costs[n][0] * costs[n][1])
        found.setdefault(knee, []).append("least product")
    return found


def _point(view: FrameView, row: Any, wanted: Objectives, apart: tuple[str | None, ...]) -> str:
    axes = [a for a in view.axes if a not in apart]
    # A name needs no name of its axis.
    settings = [f"{a} " * is_ordered(view, a) + shown(view, a, plain_value(row[a])) for a in axes]
    values = [short(row[c], view.units.get(c)) for c in (wanted.x, wanted.y)]
    if not settings and "point" in row:
        settings = [f"point {row['point']}"]
    return f"{', '.join(values)}" + (f" ({', '.join(settings)})" if settings else "")
