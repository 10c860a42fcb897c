"""Charts of a data frame: fronts, lines, bars, heat maps, breakdowns, parallel axes.

Import this module only to draw: it loads matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from einsum_cascade.errors import InputError, did_you_mean
from einsum_cascade.source import html_text

from ..document import picture_text
from ..dominance import undominated
from ..figure_style import (
    FAINT,
    ORDERED,
    Picture,
    caption,
    ink_on,
    name_bars,
    nested_size,
    palette,
    patches,
    stack_bar,
    ticks_of,
    wrapped_name,
)
from ..sweeping.columns import AS_BUILT, NUMBERS, unit_of
from .frame import (
    MOST_COLOURS,
    AxisChoice,
    FrameView,
    PlotOptions,
    higher_is_better,
    numbers_of,
    plain_value,
)
from .panels import (
    Panel,
    Shade,
    handles_of,
    legend,
    measured_axis,
    named_axis,
    panels_of,
    set_axis,
    shaded,
    shades_of,
    shared_axis,
    texts_of_axis,
    thinned,
)
from .scales import PlotScale, label_of, scale_of, short, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure


def draw_lines(view: FrameView, options: PlotOptions) -> Picture:
    """Draw lines of a measured column over a setting, one line for each colour.

    By default the setting is the axis with most numbers. Of several points at one position the best
    is drawn.

    Raises
    ------
    InputError
        Nothing moves, or a column is not there.
    """
    slots = AxisChoice(view)
    x = options.x or slots.most(view.is_ordered, slots.size)
    if x is None:
        raise InputError("lines: no setting has two values, so there is nothing to draw over")
    slots.take(view.column(x, "x"))
    y = view.measured_column(options.y, "y", but=slots.taken)
    # A requested colour is not also used for panels.
    slots.take(options.colour)
    facet, colour = slots.facet(options.facet), slots.colour(options.colour)
    view = slots.best(y)
    shades = shades_of(view, colour)
    figure, panels = panels_of(view, facet, options.width_in, share="xy")
    for panel in panels:
        places = set_axis(panel, view, x)
        scale = measured_axis(panel.axes, "y", view, y)
        panel.axes.label_outer()
        for shade, part in shaded(panel.view, colour, shades):
            rows = part.frame.assign(place=part.frame[x].map(places)).sort_values("place")
            drawn = [scale.drawn(n) for n in rows[y]]
            panel.axes.plot(
                rows["place"], drawn, color=shade.colour, marker=shade.marker,
                markersize=nested_size(shades.index(shade), len(shades)),
            )  # fmt: skip
        panel.axes.grid(alpha=0.25, linewidth=0.5)
    legend(figure, colour, handles_of(shades))
    caption(figure, view.notes)
    return figure


_MOST_GROUPS = 30
_LABEL_IN, _UPRIGHT_IN = 0.26, 0.11
"""Smallest widths in inches of a bar with a number above it: for horizontal and for vertical text.
"""


def draw_bars(view: FrameView, options: PlotOptions) -> Picture:
    """Draw bars of a measured column relative to a baseline, with a group of bars for each setting.

    By default the chart shows latency by machine, mapping or cascade, relative to the first one.

    Raises
    ------
    InputError
        Nothing is to be compared, or a column or the baseline is not there.
    """
    colour = _compared(view, options)
    slots = AxisChoice(view, [colour])
    x = slots.take(options.x and view.column(options.x, "x"))
    facet = options.facet and slots.facet(options.facet)
    if x is None:
        x = slots.take(slots.first(view.work.__contains__, lambda a: not view.is_ordered(a)))
    if facet is None:
        facet = slots.facet(None)
    if x is not None and slots.size(x) > _MOST_GROUPS:
        raise InputError(
            f"bars: '{x}' has {slots.size(x)} values, at most {_MOST_GROUPS} are drawn"
        )
    y = view.measured_column(options.y, "y", but=slots.taken)
    view = slots.best(y)
    shades = shades_of(view, colour)
    base = _baseline(colour, shades, options.baseline)
    figure, panels = panels_of(view, facet, options.width_in, share="y")
    for panel in panels:
        _groups(panel, view, x, y, shades, base, colour)
        panel.axes.set_ylabel(f"{label_of(y)} over baseline's")
        panel.axes.label_outer()
    labels = [f"{s.label} (baseline)" if s is base else s.label for s in shades]
    handles = [Patch(color=s.colour, label=label) for s, label in zip(shades, labels, strict=True)]
    legend(figure, colour, handles)
    notes = view.notes
    if x is None and facet is None:
        first = view.where(colour, base.value).frame[y]
        notes = (f"1 is {short(float(first.iloc[0]), view.units.get(y))}", *notes)
    caption(figure, notes)
    return figure


def _compared(view: FrameView, options: PlotOptions) -> str:
    """Return the column whose values have bars side by side."""
    free = AxisChoice(view, [a for a in (options.x, options.facet) if a is not None])
    few = {a for a in free.free() if free.size(a) <= MOST_COLOURS}
    compared = few - view.work
    if options.colour is not None:
        colour = free.colour(options.colour)
    else:
        names = {a for a in compared if not view.is_ordered(a)}
        colour = free.first(names.__contains__, compared.__contains__, few.__contains__)
    if colour is None:
        raise InputError("bars: no setting has from 2 to 14 values, so there is nothing to compare")
    return colour


def _baseline(column: str, shades: Sequence[Shade], given: str | None) -> Shade:
    """Return the colour entry of the baseline: the requested one, or the first."""
    if given is None:
        return shades[0]
    for shade in shades:
        if given in (str(shade.value), shade.label):
            return shade
    known = [s.label for s in shades]
    text = f"baseline: no point has {column} '{given}'"
    raise InputError(text, hint=did_you_mean(given, known) or ", ".join(known))


def _groups(
    panel: Panel,
    whole: FrameView,
    x: str | None,
    y: str,
    shades: Sequence[Shade],
    base: Shade,
    colour: str,
) -> None:
    """Draw the groups of bars of a panel; a group without a baseline has no bars."""
    values = whole.values(x)
    wide = 0.8 / len(shades)
    room = 0.8 * panel.wide_in / (len(values) * len(shades))
    for at, value in enumerate(values):
        rows = panel.view.where(x, value).frame
        found = dict(zip(rows[colour], rows[y], strict=True))
        if not found.get(base.value):
            panel.axes.text(at, 0, "no baseline", rotation=90, ha="center", va="bottom", fontsize=6)
            continue
        for n, shade in [(n, s) for n, s in enumerate(shades) if s.value in found]:
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
    named_axis(panel, [whole.shown(x, v) for v in values], "" if x is None else label_of(x))
    if x is None:
        panel.axes.tick_params(axis="x", length=0)
    panel.axes.margins(y=0.14)
    panel.axes.set_ylim(bottom=0)


_TOO_LARGE = "does not fit the memory"
_HATCH: Final[dict[str, Any]] = {"hatch": "////", "linewidth": 0, "fill": False, "zorder": 2}
"""Style of cells that do not fit the memory."""
_BAR_IN = 0.3
"""Width in inches of the colour bar beside each panel."""
_LETTER_IN = 0.06
_MOST_TICKS = 10
"""Largest number of values across that all have a tick."""
_MANY = 600
"""Largest number of cells that white lines divide; a file of a larger map holds an image."""


def draw_heatmap(view: FrameView, options: PlotOptions) -> Picture:
    """Draw a heat map of a measured column over two settings; colours show numbers or names.

    By default the chart shows the least latency over the two axes with most values. ``colour`` may
    be a column of names (``bound_by``). A cell then has the name of its point of least latency.

    Raises
    ------
    InputError
        Fewer than two settings move, or a column is not there.
    """
    slots = AxisChoice(view)
    slots.take(options.facet)
    x, y = _places(slots, options)
    value = view.measure(options.colour, "colour", but=(x, y))
    facet = slots.facet(options.facet)
    view = slots.best(value)
    figure, panels = panels_of(view, facet, options.width_in, height=0.7, share="xy")
    marks = [] if view.fits.all() else [Patch(edgecolor="0.4", label=_TOO_LARGE, **_HATCH)]
    if numbers_of(view.frame[value]) is None:
        names = view.values(value)
        colours = palette([picture_text(str(n)) for n in names])
        for panel in panels:
            _cells(panel, x, y, value, view, lambda v: colours[picture_text(str(v))], None)
        legend(figure, value, patches(colours), marks)
    else:
        numbers = view.numbers(value, "colour")
        scale = scale_of(numbers, view.units.get(value))
        ends = (scale.drawn(min(numbers)), scale.drawn(max(numbers)))
        norm = (LogNorm if scale.log else Normalize)(*ends)
        shade = ScalarMappable(norm, mpl.colormaps[ORDERED])
        for panel in panels:
            _cells(panel, x, y, value, view, lambda v: shade.cmap(norm(scale.drawn(v))), scale)
        legend(figure, None, (), marks)
        label = with_unit(label_of(value), scale.unit)
        bar = figure.colorbar(shade, ax=[p.axes for p in panels], label=label, pad=0.02, aspect=25)
        bar.outline.set_visible(False)
        if scale.log:
            ticks = ticks_of(*ends, binary=scale.binary)
            bar.set_ticks(list(ticks), labels=[f"{t:,.6g}" for t in ticks])
    caption(figure, view.notes)
    return figure


def _places(slots: AxisChoice, options: PlotOptions) -> tuple[str, str]:
    """Take the settings of the horizontal and the vertical axis."""
    for name, place in ((options.x, "x"), (options.y, "y")):
        slots.take(name and slots.view.column(name, place))
    if options.x is not None and options.x == options.y:
        raise InputError(f"heatmap: '{options.x}' cannot stand across and up")
    wishes = (slots.view.is_ordered, lambda a: a not in slots.view.work, slots.size)
    x = options.x or slots.take(slots.most(*wishes))
    y = options.y or slots.take(slots.most(*wishes))
    if x is None or y is None:
        moving = ", ".join(slots.view.axes) or "none"
        text = f"heatmap: it needs two settings of two values or more, there is {moving}"
        raise InputError(text, hint="archsim plot DIR lines")
    return x, y


def _cells(
    panel: Panel,
    x: str,
    y: str,
    value: str,
    whole: FrameView,
    colour: Callable[[Any], Any],
    scale: PlotScale | None,
) -> None:
    """Draw the cells of a panel, with numbers in them if there is space."""
    across, up = whole.values(x), whole.values(y)
    axes = panel.axes
    names = max(
        len(line) for text in texts_of_axis(whole, y)[0] for line in wrapped_name(text).split("\n")
    )
    room = (panel.wide_in - _BAR_IN - _LETTER_IN * names) / len(across)
    texts = [_short(scale.drawn(v)) for v in whole.frame[value]] if scale else []
    written = bool(texts) and room >= _LETTER_IN * (1 + max(map(len, texts)))
    found = {
        (across.index(a), up.index(b)): (v, fits)
        for a, b, v, fits in zip(
            *(panel.view.frame[c] for c in (x, y, value)), panel.view.fits, strict=True
        )
    }
    shades = np.zeros((len(up), len(across), 4))
    for place, (v, fits) in found.items():
        shade = shades[place[1], place[0]] = to_rgba(colour(v))
        if written and scale is not None:
            text = _short(scale.drawn(v))
            axes.text(
                *place, text, ha="center", va="center", fontsize=6.5, color=ink_on(shade),
                bbox={"facecolor": shade, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        if not fits:
            corner, ink = (place[0] - 0.5, place[1] - 0.5), to_rgba(ink_on(shade), 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, edgecolor=ink, **_HATCH))
    many = len(found) > _MANY
    grid, width = (range(len(across)), range(len(up)), shades), 0 if many else 0.5
    axes.pcolormesh(*grid, edgecolor="white", linewidth=width, rasterized=many)
    axes.set_ylim(-0.5, len(up) - 0.5)
    texts, unit = texts_of_axis(whole, y)
    axes.set_yticks(range(len(up)), [wrapped_name(text) for text in texts])
    axes.set_ylabel(with_unit(label_of(y), unit))
    texts, unit = texts_of_axis(whole, x)
    every = thinned(texts, panel.wide_in) if len(texts) > _MOST_TICKS else 1
    inside = replace(panel, wide_in=room * len(across))
    named_axis(inside, texts, with_unit(label_of(x), unit), every)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.label_outer()


def _short(number: float) -> str:
    return f"{number:.3g}" if 0.001 <= abs(number) < 1000 else f"{number:,.0f}"


LATENCY, FLOOR, BOUND_BY = "latency_s", "floor_latency_s", "bound_by"
_FLOOR = "lower bound: no mapping beats it"
_MOST_ROWS = 24


@dataclass(frozen=True, slots=True)
class StackedQuantity:
    """Quantity that is a sum: its name, and the columns that add up to it."""

    name: str
    columns: tuple[str, ...]


def draw_breakdown(view: FrameView, options: PlotOptions) -> Picture:
    """Draw stacked bars: latency as its lower bound and the rest, or bytes or energy by component.

    ``y`` is ``latency_s`` (the default, if its lower bound is known) or a prefix of columns, one
    for each memory or component: ``traffic_bytes``, ``buffer_bytes``, ``energy_pj``.

    Raises
    ------
    InputError
        There are no such columns, or too many bars.
    """
    whole = _whole(view, options.y)
    slots = AxisChoice(view)
    slots.take(options.x and view.column(options.x, "x"))
    facet = slots.facet(options.facet)
    x = options.x or slots.first(
        lambda a: not view.is_ordered(a) and slots.size(a) <= _MOST_ROWS,
        lambda a: slots.size(a) <= _MOST_ROWS,
    )
    if x is None and facet is not None and options.facet is None:
        x, facet = facet, None
    slots.take(x)
    if x is not None and slots.size(x) > _MOST_ROWS:
        raise InputError(f"breakdown: '{x}' has {slots.size(x)} values, at most {_MOST_ROWS} fit")
    for column in whole.columns:
        # Machines have different components, and each of them a latency and a floor.
        there = view.frame if whole.name == LATENCY else view.frame.dropna(subset=[column])
        replace(view, frame=there).numbers(column, "y")
    view = slots.best(LATENCY if LATENCY in view.frame.columns else whole.columns[0])
    rows = 1 if x is None else slots.size(x)
    unit = unit_of(whole.columns[0])
    figure, panels = panels_of(view, facet, options.width_in, height=0.1 * rows, share="y")
    names = list(
        dict.fromkeys(n for p in panels for _, r in _rows(p, x) for n, _ in _pieces(r, whole))
    )
    colours = palette([n for n in names if n != _FLOOR]) | {_FLOOR: FAINT}
    ends = [max(sum(n for _, n in _pieces(r, whole)) for _, r in _rows(p, x)) for p in panels]
    shared = shared_axis(ends, unit)
    for panel, own in zip(panels, ends, strict=True):
        end = max(ends) if shared else own
        scale = scale_of([end], unit, log=False)
        _stacks(panel, view, x, whole, colours, scale)
        panel.axes.set_xlim(0, 1.05 * scale.drawn(end))
        if shared:
            panel.axes.label_outer()
    legend(figure, whole.name, patches({n: colours[n] for n in names}))
    caption(figure, view.notes)
    return figure


def _whole(view: FrameView, given: str | None) -> StackedQuantity:
    """Return the quantity that the bars divide: the requested one, or the first that the frame
    has."""
    named = [str(c) for c in view.frame.columns]
    stems = {c.partition(".")[0] for c in named if "." in c}
    if LATENCY in named and FLOOR in named:
        stems.add(LATENCY)
    known = [s for s in (LATENCY, "traffic_bytes", "buffer_bytes", "energy_pj") if s in stems]
    if not known:
        text = "breakdown: the frame has no floor, and no bytes or energy by place: nothing adds up"
        raise InputError(text, hint=f"its columns are {', '.join(named)}")
    quantity = known[0] if given is None else given.removesuffix(".")
    if quantity not in known:
        hint = did_you_mean(quantity, known) or f"it can be {', '.join(known)}"
        raise InputError(f"y: '{given}' is not made of pieces", hint=hint)
    if quantity == LATENCY:
        return StackedQuantity(LATENCY, (FLOOR, LATENCY))
    return StackedQuantity(quantity, tuple(c for c in named if c.startswith(f"{quantity}.")))


def _rows(panel: Panel, x: str | None) -> Iterator[tuple[Any, Any]]:
    """Yield each value of a column with the first row that has the value."""
    for value in panel.view.values(x):
        yield value, panel.view.where(x, value).frame.iloc[0]


def _pieces(row: Any, whole: StackedQuantity) -> list[tuple[str, float]]:
    """Return the names and sizes of the segments in a row's bar."""
    if whole.name == LATENCY:
        cause = f", bound by {picture_text(str(row[BOUND_BY]))}" if BOUND_BY in row else ""
        above = max(0.0, row[LATENCY] - row[FLOOR])
        return [(_FLOOR, row[FLOOR]), (f"above it{cause}", above)]
    return [(picture_text(c.partition(".")[2]), row[c]) for c in whole.columns if row[c] == row[c]]


def _stacks(
    panel: Panel,
    view: FrameView,
    x: str | None,
    whole: StackedQuantity,
    colours: dict[str, str],
    scale: PlotScale,
) -> None:
    axes = panel.axes
    values = view.values(x)
    for value, row in _rows(panel, x):
        pieces = [(name, scale.drawn(size)) for name, size in _pieces(row, whole)]
        stack_bar(axes, values.index(value), pieces, colours)
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.6g}")
    name_bars(axes, [wrapped_name(view.shown(x, v)) for v in values])
    axes.set_xlabel(with_unit(label_of(whole.name), scale.unit))
    if panel.first and x is not None and view.is_ordered(x):
        axes.set_ylabel(label_of(x))


_CROSS: Final[dict[str, Any]] = {"marker": "x", "linestyle": "none", "markeredgecolor": "auto"}
"""Marker of points that do not fit the memory."""
_CLOSE = 0.05
"""Distance, as a share of an axis' length, below which two numbers overlap."""
_HIGH = 0.85
"""Height, as a share of an axis' length, above which the number of a point is written below it."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """Names of the columns of a front's two objectives."""

    x: str
    y: str

    @property
    def reasons(self) -> tuple[str, str, str]:
        """Reasons to number a point of the front."""
        x, y = (
            f"{'most' if higher_is_better(c) else 'least'} {label_of(c)}" for c in (self.x, self.y)
        )
        return x, y, "least product"

    def costs(self, view: FrameView) -> list[tuple[float, float]]:
        """Return the two objectives of every row as costs: a lower cost is better."""
        signs = [-1.0 if higher_is_better(c) else 1.0 for c in (self.x, self.y)]
        columns = [view.frame[c] for c in (self.x, self.y)]
        return [(signs[0] * a, signs[1] * b) for a, b in zip(*columns, strict=True)]


FrontScales = tuple[PlotScale, PlotScale]
"""Scales of the horizontal and the vertical axis of a panel."""


def draw_pareto(view: FrameView, options: PlotOptions) -> Picture:
    """Draw Pareto fronts of two columns as steps from point to point; other points are faint.

    By default the chart shows energy over latency, a panel for each workload, and a front for each
    colour. In each panel, the two ends of the front and the point of the least product have labels.

    Raises
    ------
    InputError
        A column is not there or holds no numbers.
    """
    x = view.measured_column(options.x, "x")
    y = view.measured_column(options.y, "y", but=(x,))
    wanted = Objectives(x, y)
    slots = AxisChoice(view)
    slots.take(options.colour)
    facet, colour = slots.facet(options.facet), slots.colour(options.colour)
    view = slots.rows_of_one_workload()
    shades = shades_of(view, colour)
    parts = [view.where(facet, value).frame for value in view.values(facet)]
    share = "".join(
        side
        for side, column in (("x", x), ("y", y))
        if shared_axis([part[column].max() for part in parts], view.units.get(column))
    )
    figure, panels = panels_of(view, facet, options.width_in, share=share)
    points: list[str] = []
    for panel in panels:
        scales = _draw_front(panel, view, wanted, colour, shades, share)
        if "y" in share and not panel.first:
            panel.axes.set_ylabel("")
        points += _number_points(panel, wanted, scales, facet)
    cross = Line2D([], [], color="0.4", label=_TOO_LARGE, **_CROSS)
    legend(figure, colour, handles_of(shades), [] if view.fits.all() else [cross])
    of = " of its colour" if colour else ""
    notes = (f"on a line: no other point{of} is better in both; faint: the others", *view.notes)
    reasons = ", ".join(f"{n} {why}" for n, why in enumerate(wanted.reasons, start=1))
    caption(figure, (*points, *notes), (reasons, *notes))
    return figure


def _draw_front(
    panel: Panel,
    whole: FrameView,
    wanted: Objectives,
    colour: str | None,
    shades: Sequence[Shade],
    share: str,
) -> FrontScales:
    """Draw the fronts of a panel, and return the scales of its axes."""
    axes, view = panel.axes, panel.view
    of_x, of_y = (whole if side in share else view for side in "xy")
    across = measured_axis(axes, "x", of_x, wanted.x, panel.wide_in)
    up = measured_axis(axes, "y", of_y, wanted.y)

    def drawn(rows: Any) -> list[tuple[float, float]]:
        places = zip(rows[wanted.x], rows[wanted.y], strict=True)
        return [(across.drawn(a), up.drawn(b)) for a, b in places]

    for shade, part in shaded(view, colour, shades):
        points = drawn(part.fitting().frame)
        best = undominated(wanted.costs(part.fitting()), (0, 0))
        size = nested_size(shades.index(shade), len(shades))
        dominated = [p for n, p in enumerate(points) if n not in set(best)]
        if dominated:
            axes.plot(
                *zip(*dominated, strict=True), shade.marker, color=shade.colour, alpha=0.22,
                markersize=3, markeredgewidth=0, zorder=1,
            )  # fmt: skip
        if too_large := drawn(part.frame[~part.fits]):
            axes.plot(*zip(*too_large, strict=True), color=shade.colour, **_CROSS)
        if not best:
            continue
        ends = [points[n] for n in best]
        where: Literal["pre", "post"] = "pre" if higher_is_better(wanted.x) else "post"
        axes.step(*zip(*ends, strict=True), where=where, color=shade.colour, zorder=2)
        axes.plot(
            *zip(*ends, strict=True), shade.marker, color=shade.colour, markersize=size, zorder=3
        )
    axes.grid(alpha=0.25, linewidth=0.5)
    return across, up


def _number_points(
    panel: Panel, wanted: Objectives, scales: FrontScales, facet: str | None
) -> list[str]:
    """Write the numbers of their reasons at the chosen points of a panel, and return texts about
    the points."""
    view, axes, (across, up) = panel.view.fitting(), panel.axes, scales
    lines: list[str] = []
    spots: dict[tuple[float, float], list[int]] = {}
    for at, numbers in _chosen(wanted.costs(view)).items():
        row = view.frame.iloc[at]
        place = (across.drawn(row[wanted.x]), up.drawn(row[wanted.y]))
        why = ", ".join(f"{n} {wanted.reasons[n - 1]}" for n in numbers)
        lines.append(f"{why}: {_point(view, row, wanted, facet)}")
        spot = next((other for other in spots if _close(axes, place, other)), place)
        spots.setdefault(spot, []).extend(numbers)
    for place, numbers in spots.items():
        text = ", ".join(map(str, sorted(numbers)))
        at = (axes.transScale + axes.transLimits).transform(place)[1]
        axes.annotate(
            text, place, xytext=(5, 4 if at < _HIGH else -3), textcoords="offset points",
            fontsize=7.5,
            fontweight="bold", zorder=5, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.7},
        )  # fmt: skip
    return lines


def _close(axes: Axes, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether the numbers at two points would overlap."""
    (a, b), (c, d) = (axes.transScale + axes.transLimits).transform([one, other])
    return bool(abs(a - c) < _CLOSE and abs(b - d) < 2 * _CLOSE)


def _chosen(costs: Sequence[tuple[float, float]]) -> dict[int, list[int]]:
    """Return the points of a front to label, each with the numbers of its reasons: an end, or the
    least product."""
    best = undominated(costs, (0, 0))
    found: dict[int, list[int]] = {}
    for number, at in enumerate(best[:1] + best[-1:], start=1):
        found.setdefault(at, []).append(number)
    if best and all(a > 0 and b > 0 for a, b in costs):
        knee = min(best, key=lambda n: costs[n][0] * costs[n][1])
        found.setdefault(knee, []).append(3)
    return found


def _point(view: FrameView, row: Any, wanted: Objectives, facet: str | None) -> str:
    axes = [a for a in view.axes if a != facet]
    # A name needs no name of its axis.
    settings = [f"{a} " * view.is_ordered(a) + view.shown(a, plain_value(row[a])) for a in axes]
    values = ", ".join(short(row[c], view.units.get(c)) for c in (wanted.x, wanted.y))
    if not settings and "point" in row:
        settings = [f"point {row['point']}"]
    return f"{values} ({', '.join(settings)})" if settings else values


_MOST_NAMES = 60


def draw_parallel(view: FrameView, options: PlotOptions) -> Figure:
    """Draw one axis for each setting and result that varies, and a line across all axes per point.

    Raises
    ------
    InputError
        plotly is not installed, or a column is not there.
    """
    try:
        from plotly.graph_objects import Figure, Parcoords
    except ImportError:
        text = "parallel: plotly draws these and is not installed"
        raise InputError(text, hint="pip install 'archsim[plotly]'") from None
    colour = view.measured_column(options.colour, "colour")
    # A line needs a number on every axis.
    whole = view.frame.dropna(axis="columns")
    results = [c for c in (*NUMBERS, *AS_BUILT) if c in whole.columns and whole[c].nunique() > 1]
    columns = dict.fromkeys((*view.axes, *results, colour))
    tint = _upright(view, colour)
    lines = {"color": tint["values"], "colorscale": ORDERED, "showscale": False}
    drawn = Parcoords(line=lines, dimensions=[_upright(view, c) for c in columns])
    figure = Figure(drawn)
    notes = "; ".join((f"colour: {tint['label']}", *view.notes))
    wide = max(900, 110 * len(columns))
    figure.update_layout(title={"text": notes, "font": {"size": 12}}, width=wide, height=480)
    return figure


def _upright(view: FrameView, column: str) -> dict[str, Any]:
    """Return the description of one axis: numbers in a readable unit, names by position."""
    label = _plain(label_of(column))
    values = view.values(column)
    numbers = numbers_of(view.frame[column])
    if numbers is None and len(values) > _MOST_NAMES:
        raise InputError(f"parallel: '{column}' has {len(values)} names, too many to be read")
    if numbers is not None and (column not in view.axes or len(values) > _MOST_NAMES):
        scale = scale_of(numbers, view.units.get(column), log=False)
        drawn = [scale.drawn(n) for n in numbers]
        return {"label": with_unit(label, scale.unit), "values": drawn}
    # Settings stand evenly: most are multiples of one another.
    return {
        "label": label,
        "values": [values.index(v) for v in view.frame[column]],
        "tickvals": list(range(len(values))),
        "ticktext": [_plain(view.shown(column, v)) for v in values],
    }


def _plain(text: str) -> str:
    """Return a text for a page, without the escapes that protect formulas in a picture."""
    return html_text(text.replace(r"\$", "$"))


class ChartKind(NamedTuple):
    """Kind of chart: the function that draws it, and the options that the function takes."""

    draw: Callable[[FrameView, PlotOptions], Any]
    options: tuple[str, ...]


CHARTS: Final = {
    "pareto": ChartKind(draw_pareto, ("x", "y", "colour", "facet")),
    "heatmap": ChartKind(draw_heatmap, ("x", "y", "colour", "facet")),
    "lines": ChartKind(draw_lines, ("x", "y", "colour", "facet")),
    "bars": ChartKind(draw_bars, ("x", "y", "colour", "facet", "baseline")),
    "breakdown": ChartKind(draw_breakdown, ("x", "y", "facet")),
    "parallel": ChartKind(draw_parallel, ("colour",)),
}
