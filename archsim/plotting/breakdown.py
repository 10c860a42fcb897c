"""What latency, traffic or utilization is made of, a bar for each setting.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.patches import Patch

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..document import picture_text
from ..result.plots.style import FAINT, Picture, folded, palette
from ..sweeping.columns import unit_of
from .choose import Slots, best_of, facet_of, shown
from .options import PlotOptions
from .panels import Panel, legend, panels_of, remarks, set_scale
from .scales import label_of, scale_of, with_unit
from .view import FrameView, column_called, is_ordered, values_of_axis

TAKEN = ("x", "y", "facet")

LATENCY, FLOOR, BOUND_BY = "latency_s", "floor_latency_s", "bound_by"
_FLOOR = "floor: no mapping beats it"
_MOST_ROWS = 24


@dataclass(frozen=True, slots=True)
class Whole:
    """Something that is made of pieces: its name, and the columns that add up to it."""

    name: str
    columns: tuple[str, ...]


def draw_breakdown(view: FrameView, options: PlotOptions) -> Picture:
    """Bars of pieces: latency as its floor and what is above it, bytes or energy by place.

    ``y`` is ``latency_s`` (by itself, where a floor is known), or what columns begin with of
    which each memory or component has one: ``traffic_bytes``, ``buffer_bytes``, ``energy_pj``.

    Raises
    ------
    InputError
        There are no such columns, or too many bars.
    """
    whole = _whole(view, options.y)
    slots = Slots(view).take(options.x and column_called(view, options.x, "x"))
    facet = facet_of(slots, options.facet)
    slots = slots.take(facet)
    x = options.x or slots.first(
        lambda a: not is_ordered(view, a) and slots.size(a) <= _MOST_ROWS,
        lambda a: slots.size(a) <= _MOST_ROWS,
    )
    if x is None and facet is not None and options.facet is None:
        x, facet = facet, None
    slots = slots.take(x)
    if x is not None and slots.size(x) > _MOST_ROWS:
        raise InputError(f"breakdown: '{x}' has {slots.size(x)} values, at most {_MOST_ROWS} fit")
    view = best_of(view, slots, LATENCY if LATENCY in view.frame.columns else whole.columns[0])
    rows = 1 if x is None else slots.size(x)
    figure, panels = panels_of(view, facet, options.width_in, height=0.1 * rows, share="y")
    names = list(
        dict.fromkeys(n for p in panels for r in _rows(p, x) for n, _ in _pieces(r, whole))
    )
    colours = palette([n for n in names if n != _FLOOR]) | {_FLOOR: FAINT}
    for panel in panels:
        _stacks(panel, view, x, whole, colours)
    legend(figure, whole.name, [Patch(color=colours[n], label=n) for n in names])
    remarks(figure, view.told)
    return figure


def _whole(view: FrameView, given: str | None) -> Whole:
    """What is taken apart."""
    named = [str(c) for c in view.frame.columns]
    latency = LATENCY in named and FLOOR in named
    stems = [
        s
        for s in ("traffic_bytes", "buffer_bytes", "energy_pj")
        if any(c.startswith(f"{s}.") for c in named)
    ]
    known = ([LATENCY] if latency else []) + stems
    if not known:
        text = "breakdown: the frame has no floor, and no bytes or energy by place: nothing adds up"
        raise InputError(Problem(text, hint=f"its columns are {', '.join(named)}"))
    asked = known[0] if given is None else given.removesuffix(".")
    if asked not in known:
        hint = did_you_mean(asked, known) or f"it can be {', '.join(known)}"
        raise InputError(Problem(f"y: '{given}' is not made of pieces", hint=hint))
    if asked == LATENCY:
        return Whole(LATENCY, (FLOOR, LATENCY))
    return Whole(asked, tuple(c for c in named if c.startswith(f"{asked}.")))


def _rows(panel: Panel, x: str | None) -> Iterator[Any]:
    frame = panel.view.frame
    if x is None:
        yield frame.iloc[0]
        return
    for value in values_of_axis(panel.view, x):
        yield frame[frame[x] == value].iloc[0]


def _pieces(row: Any, whole: Whole) -> list[tuple[str, float]]:
    """Names of a row's pieces, and how much each is."""
    if whole.name == LATENCY:
        above = row[LATENCY] - row[FLOOR]
        why = (
            f"above it, bound by {picture_text(str(row[BOUND_BY]))}"
            if BOUND_BY in row
            else "above it"
        )
        return [(_FLOOR, row[FLOOR]), (why, max(0.0, above))]
    return [(picture_text(c.partition(".")[2]), row[c]) for c in whole.columns if row[c] == row[c]]


def _stacks(
    panel: Panel, view: FrameView, x: str | None, whole: Whole, colours: dict[str, str]
) -> None:
    axes = panel.axes
    rows = [(row, _pieces(row, whole)) for row in _rows(panel, x)]
    ends = [sum(size for _, size in pieces) for _, pieces in rows]
    scale = scale_of(ends, unit_of(whole.columns[0]), log=False)
    texts = _texts(view, x)
    for row, pieces in rows:
        at = 0 if x is None else values_of_axis(view, x).index(row[x])
        left = 0.0
        for name, size in pieces:
            wide = scale.drawn(size)
            axes.barh(
                at, wide, 0.7, left=left, color=colours[name], edgecolor="white", linewidth=0.3
            )
            left += wide
    set_scale(axes, "x", scale, (0, scale.drawn(max(ends))))
    axes.set_xlim(0, 1.05 * scale.drawn(max(ends)))
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(with_unit(label_of(whole.name), scale.unit))
    if x is not None and is_ordered(view, x):
        axes.set_ylabel(label_of(x))
    if not panel.first:
        axes.set_ylabel("")
        axes.tick_params(axis="y", labelleft=False)


def _texts(view: FrameView, x: str | None) -> Sequence[str]:
    return [""] if x is None else [folded(shown(view, x, v)) for v in values_of_axis(view, x)]
