"""Bars against a baseline. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..result.plots.style import Picture
from .choose import Slots, best_of, colour_of, facet_of, measure_of, shown
from .options import PlotOptions
from .panels import (
    Panel,
    Shade,
    legend,
    named_axis,
    panels_of,
    remarks,
    shades_of,
)
from .scales import label_of, short
from .view import FrameView, column_called, is_ordered, need_numbers, values_of_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

TAKEN = ("x", "y", "colour", "facet", "baseline")

_MOST_GROUPS = 30
_LABEL_IN, _UPRIGHT_IN = 0.26, 0.11
"""Least widths of a bar with a number above it, level and upright."""


def draw_bars(view: FrameView, options: PlotOptions) -> Picture:
    """A measured column over that of a baseline, a group of bars for each setting.

    By itself: latency by machine, mapping or cascade, over that of the first one.

    Raises
    ------
    InputError
        Nothing is to be compared, or a column or the baseline is not there.
    """
    colour = _compared(view, options)
    slots = Slots(view).take(colour)
    x = options.x and column_called(view, options.x, "x")
    slots = slots.take(x)
    facet = options.facet and facet_of(slots, options.facet)
    slots = slots.take(facet)
    if x is None:
        x = slots.first(lambda a: a in view.work, lambda a: not is_ordered(view, a))
        slots = slots.take(x)
    if facet is None:
        facet = facet_of(slots, None)
        slots = slots.take(facet)
    if x is not None and slots.size(x) > _MOST_GROUPS:
        raise InputError(
            f"bars: '{x}' has {slots.size(x)} values, at most {_MOST_GROUPS} are drawn"
        )
    y = measure_of(view, options.y, "y", but=slots.taken)
    need_numbers(view, y, "y")
    view = best_of(view, slots, y)
    shades = shades_of(view, colour)
    base = _baseline(colour, shades, options.baseline)
    figure, panels = panels_of(view, facet, options.width_in, share="y")
    for panel in panels:
        _groups(panel, view, x, y, shades, base, colour)
        panel.axes.set_ylabel(f"{label_of(y)} over baseline's")
        panel.axes.label_outer()
    legend(figure, colour, [_patch(s, s is base) for s in shades])
    unit = view.units.get(y)
    told = []
    if x is None and facet is None:
        first = view.frame[view.frame[colour] == base.value][y]
        told = [f"1 is {short(float(first.iloc[0]), unit)}"]
    remarks(figure, (*told, *view.told))
    return figure


def _patch(shade: Shade, is_base: bool) -> Patch:
    return Patch(color=shade.colour, label=f"{shade.label} (baseline)" if is_base else shade.label)


def _compared(view: FrameView, options: PlotOptions) -> str:
    """The column whose values stand beside one another."""
    if options.colour is not None:
        colour = colour_of(Slots(view), options.colour)
    else:
        free = Slots(view).take(options.x).take(options.facet)
        colour = free.first(
            lambda a: a not in view.work and not is_ordered(view, a) and free.size(a) <= 14,
            lambda a: a not in view.work and free.size(a) <= 14,
            lambda a: free.size(a) <= 14,
        )
    if colour is None:
        raise InputError("bars: no setting has from 2 to 14 values, so there is nothing to compare")
    return colour


def _baseline(column: str, shades: Sequence[Shade], given: str | None) -> Shade:
    """The shade that others are measured by: as asked, else the first."""
    if given is None:
        return shades[0]
    for shade in shades:
        if given in (str(shade.value), shade.label):
            return shade
    known = [s.label for s in shades]
    text = f"baseline: no point has {column} '{given}'"
    raise InputError(Problem(text, hint=did_you_mean(given, known) or ", ".join(known)))


def _groups(
    panel: Panel,
    whole: FrameView,
    x: str | None,
    y: str,
    shades: Sequence[Shade],
    base: Shade,
    colour: str,
) -> None:
    """Draw the groups of a panel; one without its baseline stays empty."""
    values: tuple[Any, ...] = (None,) if x is None else values_of_axis(whole, x)
    frame = panel.view.frame
    wide = 0.8 / len(shades)
    room = 0.8 * panel.wide_in / (len(values) * len(shades))
    for at, value in enumerate(values):
        rows = frame if x is None else frame[frame[x] == value]
        found = dict(zip(rows[colour], rows[y], strict=True))
        if not found.get(base.value):
            panel.axes.text(at, 0, "no baseline", rotation=90, ha="center", va="bottom", fontsize=6)
            continue
        for n, shade in enumerate(shades):
            if shade.value not in found:
                continue
            ratio = found[shade.value] / found[base.value]
            place = at + (n - (len(shades) - 1) / 2) * wide
            panel.axes.bar(place, ratio, 0.92 * wide, color=shade.colour)
            if room >= _UPRIGHT_IN and shade is not base:
                text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.1f}"
                panel.axes.annotate(
                    text, (place, ratio), xytext=(0, 1.5), textcoords="offset points",
                    rotation=0 if room >= _LABEL_IN else 90, ha="center", va="bottom", fontsize=6.5,
                )  # fmt: skip
    panel.axes.axhline(1, color="0.4", linewidth=0.7, linestyle=":")
    texts = [""] if x is None else [shown(whole, x, v) for v in values]
    named_axis(panel, texts, "" if x is None else label_of(x))
    if x is None:
        panel.axes.tick_params(axis="x", length=0)
    panel.axes.margins(y=0.14)
    panel.axes.set_ylim(bottom=0)
