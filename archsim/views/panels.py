"""Panels of a chart: axes, legends and remarks, sized for a column or a page of a paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..figure_style import MARKERS, ORDERED, PALETTE, Picture, panel_grid, ticks_of
from .frame import FrameView, numbers_written
from .scales import PlotScale, label_of, scale_of, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


Side = Literal["x", "y"]

_TALL_IN: Final = 2.5
_PANEL_IN: Final = 2.1
"""Smallest width of a panel, in inches."""
_SLANTED_IN: Final = 0.24
"""Smallest distance of slanted names that do not touch, in inches."""
_SAME_ORDER: Final = 10.0
"""Ratio of panels' largest numbers above which the small ones could not be read on one axis."""
_LEGEND_LINE_IN: Final = 0.165
_MOST_HANDLES: Final = 13
_TICK_IN: Final = 0.075
"""Width of a character in the labels below an axis, in inches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Panel of a chart: a pair of axes, and the rows that the panel shows."""

    axes: Axes
    view: FrameView
    wide_in: float
    """Approximate width of the area inside the axes, in inches."""
    first: bool
    """True if the panel is the first of its row."""


def panels_of(
    view: FrameView, facet: str | None, width_in: float, *, height: float = 0.8, share: str = ""
) -> tuple[Picture, tuple[Panel, ...]]:
    """Return a figure with a panel for every value of a column.

    Parameters
    ----------
    height : float
        Height of a panel, relative to its width.
    share : str
        Axes that all panels have in common: "", "x", "y" or "xy".
    """
    values = view.values(facet)
    most = max(1, int(width_in // _PANEL_IN))
    columns = math.ceil(len(values) / math.ceil(len(values) / most))
    rows = math.ceil(len(values) / columns)
    wide = width_in / columns - 0.6
    tall = min(3.0, max(1.2, height * wide))
    if rows > 1:
        tall = max(1.1, 0.7 * tall)
    figure = Picture(figsize=(width_in, rows * (tall + 0.55)), layout="constrained")
    grid = panel_grid(figure, len(values), columns, sharex="x" in share, sharey="y" in share)
    found = []
    for at, (value, axes) in enumerate(zip(values, grid, strict=True)):
        if facet is not None:
            axes.set_title(f"{label_of(facet)} = {view.shown(facet, value)}", loc="left")
        part = view.where(facet, value)
        found.append(Panel(axes=axes, view=part, wide_in=wide, first=not at % columns))
    return figure, tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade:
    """Colour, marker and label for the rows with one value of a column."""

    value: Any
    label: str
    colour: str
    marker: str


def shades_of(view: FrameView, column: str | None) -> tuple[Shade, ...]:
    """Return a colour and a marker for every value: numbers have a ramp, names distinct colours."""
    values = view.values(column)
    colours = list(PALETTE[: len(values)])
    if len(values) > 2 and column is not None and view.is_ordered(column):
        ramp = mpl.colormaps[ORDERED]
        # The light end is invisible on white.
        colours = [to_hex(ramp(0.9 * n / (len(values) - 1))) for n in range(len(values))]
    return tuple(
        Shade(value=value, label=view.shown(column, value), colour=colour, marker=marker)
        for value, colour, marker in zip(values, colours, cycle(MARKERS), strict=False)
    )


def shaded(
    view: FrameView, column: str | None, shades: Sequence[Shade]
) -> Iterator[tuple[Shade, FrameView]]:
    """Yield each colour entry that occurs in a view, with its rows."""
    for shade in shades:
        part = view.where(column, shade.value)
        if len(part.frame):
            yield shade, part


def legend(
    figure: Picture, column: str | None, handles: Sequence[Any], marks: Sequence[Any] = ()
) -> None:
    """Draw a legend above all panels: the values of a column, if there is one, and then marks."""
    handles = [*(handles if column else ()), *marks]
    if not handles:
        return
    longest = max(len(str(h.get_label())) for h in handles)
    room = figure.get_figwidth() / (0.35 + 0.065 * longest)
    columns = max(1, min(len(handles), int(room)))
    more_in = _LEGEND_LINE_IN * (1 + math.ceil(len(handles) / columns))
    figure.set_figheight(figure.get_figheight() + more_in)
    figure.legend(
        handles=handles,
        title=label_of(column) if column else None,
        title_fontsize=7.5,
        alignment="left",
        loc="outside upper left",
        ncols=columns,
    )


def handles_of(shades: Sequence[Shade]) -> list[Line2D]:
    """Return the legend's entries; of many colours, the ends and some between them."""
    every = math.ceil((len(shades) - 1) / _MOST_HANDLES) or 1
    kept = [*shades[:-1:every], shades[-1]] if len(shades) > 1 else list(shades)
    return [Line2D([], [], color=s.colour, marker=s.marker, label=s.label) for s in kept]


def measured_axis(
    axes: Axes, side: Side, view: FrameView, column: str, room_in: float = _TALL_IN
) -> PlotScale:
    """Set the scale, label and ticks of an axis for measured numbers, and return the scale.

    An axis of energy begins at zero if it is linear.

    Parameters
    ----------
    room_in : float
        The length of the axis if it lies level: numbers side by side must not touch.
    """
    numbers = view.numbers(column, side)
    scale = scale_of(numbers, view.units.get(column))
    low, high = min(map(scale.drawn, numbers)), max(map(scale.drawn, numbers))
    set_scale(axes, side, scale, (low, high), most=max(2, min(6, int(room_in / 0.36))))
    if is_energy(view, column) and not scale.log:
        axes.set(**{f"{side}lim": (min(0.0, low), 1.06 * high)})
    _of(axes, side).set_label_text(with_unit(label_of(column), scale.unit))
    return scale


def is_energy(view: FrameView, column: str) -> bool:
    """Return whether a column holds energies, whose axes begin at zero."""
    return view.units.get(column) == "pJ"


def shared_axis(ends: Sequence[float], unit: str | None) -> bool:
    """Return whether panels share an axis: energies of one order are compared across panels.

    Parameters
    ----------
    ends : sequence of float
        Largest number of each panel.
    """
    return unit == "pJ" and max(ends) <= _SAME_ORDER * min(ends)


def _of(axes: Axes, side: Side) -> Axis:
    return axes.xaxis if side == "x" else axes.yaxis


def set_scale(
    axes: Axes, side: Side, scale: PlotScale, ends: tuple[float, float], most: int = 6
) -> None:
    """Set the ends and ticks of an axis from the lowest and the highest number drawn."""
    low, high = ends
    axis = _of(axes, side)
    if not scale.log:
        axis.set_major_locator(MaxNLocator(max(2, most - 1)))
        axis.set_major_formatter(lambda number, _: f"{number:,.6g}")
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set(**{f"{side}lim": (low - room, high + room)})
        return
    room = (high / low) ** 0.06
    axes.set(**{f"{side}scale": "log", f"{side}lim": (low / room, high * room)})
    ticks = ticks_of(low / room, high * room, binary=scale.binary, most=most)
    axis.set_ticks(list(ticks), [f"{t:,.6g}" for t in ticks])


def set_axis(panel: Panel, view: FrameView, column: str) -> dict[Any, float]:
    """Set the scale, label and ticks of an axis for settings, and return the position of each
    value.

    Numbers stand at their value. The axis is logarithmic if numbers are multiples of one another
    rather than evenly spaced. Names stand side by side.

    Parameters
    ----------
    view : FrameView
        View with all values, of which the panel may have fewer.
    """
    axes = panel.axes
    values = view.values(column)
    numbers = numbers_written(values)
    if numbers is None:
        named_axis(panel, [view.shown(column, v) for v in values], label_of(column))
        return {value: float(n) for n, value in enumerate(values)}
    scale = scale_of(numbers, view.units.get(column), log=_multiples(numbers))
    places = {v: scale.drawn(n) for v, n in zip(values, numbers, strict=True)}
    set_scale(axes, "x", scale, (min(places.values()), max(places.values())))
    texts, unit = texts_of_axis(view, column)
    if _evenly(list(places.values()), scale.log):
        # Ticks stand at the values themselves, as many as can be read.
        every = thinned(texts, panel.wide_in)
        axes.xaxis.set_ticks(list(places.values())[::every], texts[::every])
    axes.set_xlabel(with_unit(label_of(column), unit))
    return places


def thinned(texts: Sequence[str], room_in: float) -> int:
    """Return a stride n, so that every n-th name fits below an axis; 1 if all names fit."""
    longest = max(map(len, texts)) + 1.5
    return max(1, math.ceil(len(texts) / max(2, int(room_in / (_TICK_IN * longest)))))


def texts_of_axis(view: FrameView, column: str) -> tuple[list[str], str]:
    """Return the tick labels of an axis, and their common unit."""
    values = view.values(column)
    numbers = numbers_written(values)
    if numbers is None or any(isinstance(v, str) for v in values):
        return [view.shown(column, v) for v in values], ""
    scale = scale_of(numbers, view.units.get(column), log=_multiples(numbers))
    return [f"{scale.drawn(n):,.4g}" for n in numbers], scale.unit


def named_axis(panel: Panel, texts: Sequence[str], label: str, every: int = 1) -> None:
    """Write names side by side below a panel; too long ones are slanted, or upright if narrow.

    Parameters
    ----------
    every : int
        Stride of the names that are written.
    """
    axes = panel.axes
    names = texts[::every]
    room = panel.wide_in / len(names)
    degrees = (30 if room > _SLANTED_IN else 90) if max(map(len, names)) * 0.07 > room else 0
    axes.set_xticks(
        range(0, len(texts), every), names, rotation=degrees, ha="right" if degrees else "center",
        va="center" if degrees == 90 else "top", rotation_mode="anchor" if degrees else "default",
    )  # fmt: skip
    axes.set_xlim(-0.5, len(texts) - 0.5)
    axes.set_xlabel(label)


def _multiples(numbers: Sequence[float]) -> bool:
    """Return whether numbers grow by a factor rather than by equal steps."""
    if len(numbers) < 3 or min(numbers) <= 0:
        return False
    steps = [b - a for a, b in pairwise(numbers)]
    return steps[-1] > 2 * steps[0]


def _evenly(places: Sequence[float], log: bool) -> bool:
    """Return whether values are spaced nearly evenly, so that each can have a tick."""
    at = [math.log(p) for p in places] if log else list(places)
    gaps = [b - a for a, b in pairwise(at)]
    return not gaps or max(gaps) <= 4.5 * min(gaps)
