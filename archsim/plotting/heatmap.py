"""Maps over two settings. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgb, to_rgba
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullLocator

from einsum_cascade.errors import InputError, Problem

from ..document import picture_text
from ..result.plots.style import ORDERED, Picture, folded, ink_on, palette
from .choose import Slots, best_of, facet_of, measure_of
from .options import PlotOptions
from .panels import Panel, legend, panels_of, remarks, texts_of_axis, thinned
from .scales import PlotScale, label_of, scale_of, ticks_of, with_unit
from .view import FrameView, column_called, need_numbers, numbers_of, values_of_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

_BAR_IN = 0.3
"""What the bar of colours takes of each panel."""
_LETTER_IN = 0.06
_MANY = 600
"""Cells from which on a map is drawn as an image, without numbers."""

TAKEN = ("x", "y", "colour", "facet")


def draw_heatmap(view: FrameView, options: PlotOptions) -> Picture:
    """A measured column over two settings: a number or a name by its colour.

    By itself: the least latency over the two axes with most values. ``colour`` may be a column of
    names (``bound_by``): that of the point of least latency.

    Raises
    ------
    InputError
        Fewer than two settings move, or a column is not there.
    """
    slots = _places(view, options)
    x, y = slots.taken[-2:]
    value = measure_of(view, options.colour, "colour", but=(x, y))
    facet = facet_of(slots, options.facet)
    view = best_of(view, slots.take(facet), value)
    figure, panels = panels_of(view, facet, options.width_in, height=0.7, share="xy")
    if numbers_of(view.frame[value]) is None:
        names = values_of_axis(view, value)
        colours = palette([picture_text(str(n)) for n in names])
        for panel in panels:
            _cells(panel, x, y, value, view, lambda v: colours[picture_text(str(v))], None)
        legend(figure, value, [Patch(color=c, label=n) for n, c in colours.items()])
    else:
        numbers = need_numbers(view, value, "colour")
        scale = scale_of(numbers, view.units.get(value))
        drawn = [scale.drawn(n) for n in numbers]
        norm = (LogNorm if scale.log else Normalize)(min(drawn), max(drawn))
        shade = ScalarMappable(norm, mpl.colormaps[ORDERED])
        for panel in panels:
            _cells(panel, x, y, value, view, lambda v: shade.cmap(norm(scale.drawn(v))), scale)
        _bar(figure, panels, shade, scale, value, (min(drawn), max(drawn)))
    remarks(figure, view.told)
    return figure


def _places(view: FrameView, options: PlotOptions) -> Slots:
    """What stands across and up, which are the last two taken."""
    slots = Slots(view).take(options.facet)
    given = [(options.x, "x"), (options.y, "y")]
    for name, place in given:
        if name is not None:
            slots = slots.take(column_called(view, name, place))
    if options.x is not None and options.x == options.y:
        raise InputError(f"heatmap: '{options.x}' cannot stand across and up")
    found: list[str] = []
    for name, _ in given:
        chosen = name or slots.longest_choice()
        if chosen is None:
            moving = ", ".join(view.axes) or "none"
            text = f"heatmap: it needs two settings of two values or more, there is {moving}"
            raise InputError(Problem(text, hint="archsim plot DIR lines"))
        slots = slots if name else slots.take(chosen)
        found.append(chosen)
    return Slots(view, tuple(t for t in slots.taken if t not in found) + tuple(found))


def _cells(
    panel: Panel,
    x: str,
    y: str,
    value: str,
    whole: FrameView,
    colour: Callable[[Any], Any],
    scale: PlotScale | None,
) -> None:
    """Draw the cells of a panel; with numbers in them where there is room."""
    across, up = values_of_axis(whole, x), values_of_axis(whole, y)
    axes = panel.axes
    names = max(
        len(line) for text in texts_of_axis(whole, y)[0] for line in folded(text).split("\n")
    )
    room = (panel.wide_in - _BAR_IN - _LETTER_IN * names) / len(across)
    texts = [_short(scale.drawn(v)) for v in whole.frame[value]] if scale else []
    written = bool(texts) and room >= _LETTER_IN * (1 + max(map(len, texts)))
    found = {
        (across.index(a), up.index(b)): v
        for a, b, v in zip(*(panel.view.frame[c] for c in (x, y, value)), strict=True)
    }
    if len(found) > _MANY:
        _pixels(axes, found, (len(across), len(up)), colour)
    for place, v in found.items() if len(found) <= _MANY else ():
        shade = colour(v)
        corner = (place[0] - 0.5, place[1] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=shade, edgecolor="white", linewidth=0.5))
        if written and scale is not None:
            ink = ink_on(to_rgb(shade))
            text = _short(scale.drawn(v))
            axes.text(*place, text, ha="center", va="center", fontsize=6.5, color=ink)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(-0.5, len(up) - 0.5)
    for axis, column, values in ((axes.xaxis, x, across), (axes.yaxis, y, up)):
        texts, unit = texts_of_axis(whole, column)
        every = thinned(texts, panel.wide_in) if axis is axes.xaxis else 1
        if axis is axes.yaxis:
            texts = [folded(text) for text in texts]
        axis.set_ticks(range(0, len(values), every), texts[::every])
        axis.set_minor_locator(NullLocator())
        axis.set_label_text(with_unit(label_of(column), unit))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.label_outer()


def _pixels(
    axes: Axes,
    found: dict[tuple[int, int], Any],
    size: tuple[int, int],
    colour: Callable[[Any], Any],
) -> None:
    """Cells of a large map as one image: thousands of rectangles take long to draw."""
    image = np.ones((size[1], size[0], 4))
    for (at, up), value in found.items():
        image[up, at] = to_rgba(colour(value))
    extent = (-0.5, size[0] - 0.5, -0.5, size[1] - 0.5)
    axes.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="nearest")


def _short(number: float) -> str:
    return f"{number:.3g}" if 0.001 <= abs(number) < 1000 else f"{number:,.0f}"


def _bar(
    figure: Picture,
    panels: Sequence[Panel],
    shade: ScalarMappable,
    scale: PlotScale,
    value: str,
    ends: tuple[float, float],
) -> None:
    """The colours of the numbers."""
    label = with_unit(label_of(value), scale.unit)
    bar = figure.colorbar(shade, ax=[p.axes for p in panels], label=label, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    if scale.log:
        ticks = ticks_of(*ends, binary=scale.binary)
        bar.set_ticks(list(ticks), labels=[f"{t:,.6g}" for t in ticks])
        bar.ax.minorticks_off()
