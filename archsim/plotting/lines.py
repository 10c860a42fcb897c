"""Lines over a setting. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from einsum_cascade.errors import InputError

from ..result.plots.style import Picture
from .choose import Slots, best_of, colour_of, facet_of, measure_of
from .options import PlotOptions
from .panels import (
    handles_of,
    legend,
    measured_axis,
    panels_of,
    remarks,
    set_axis,
    shaded,
    shades_of,
)
from .view import FrameView, column_called, need_numbers

TAKEN = ("x", "y", "colour", "facet")


def draw_lines(view: FrameView, options: PlotOptions) -> Picture:
    """What a measured column does over a setting, a line for each colour.

    By itself: over the axis with most numbers; of several points at one place the best.

    Raises
    ------
    InputError
        Nothing moves, or a column is not there.
    """
    slots = Slots(view)
    x = options.x or slots.longest(ordered=True) or slots.longest(ordered=False)
    if x is None:
        raise InputError("lines: no setting has two values, so there is nothing to draw over")
    slots = slots.take(column_called(view, x, "x"))
    y = measure_of(view, options.y, "y", but=slots.taken)
    need_numbers(view, y, "y")
    # A colour that is asked for does not stand in the panels, too.
    kept = slots.take(options.colour)
    facet = facet_of(kept, options.facet)
    slots = slots.take(facet)
    colour = colour_of(slots, options.colour)
    slots = slots.take(colour)
    view = best_of(view, slots, y)
    shades = shades_of(view, colour)
    figure, panels = panels_of(view, facet, options.width_in, share="xy")
    for panel in panels:
        places = set_axis(panel, view, x)
        scale = measured_axis(panel.axes, "y", view, y)
        panel.axes.label_outer()
        for shade, part in shaded(panel.view, colour, shades):
            # Lines that lie on one another show by their markers: each is smaller than the last.
            later = len(shades) - shades.index(shade) - 1
            rows = part.frame.assign(place=part.frame[x].map(places)).sort_values("place")
            drawn = [scale.drawn(n) for n in rows[y]]
            panel.axes.plot(
                rows["place"], drawn, color=shade.colour, marker=shade.marker,
                markersize=4 + min(5, 1.6 * later),
            )  # fmt: skip
        panel.axes.grid(alpha=0.25, linewidth=0.5)
    legend(figure, colour, handles_of(shades))
    remarks(figure, view.told)
    return figure
