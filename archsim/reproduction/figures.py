"""Figures of a study. This module imports matplotlib: load it only to draw.

A figure has a row for every panel and billing; models stand side by side in it, and bars of
one length together, in the order of the plan's configurations. Bars of one
colour are one path, which is many times faster than one rectangle at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import NullFormatter

from ..result.plots.waterfall import Picture
from .plan import Figure, Headline, Panel
from .study import Study
from .tables import breakdown, breakdown_einsums, energy_parts, tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "png")

_COLOURS = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb"),
    *("#994455", "#004488", "#997700", "#44aa99", "#ddaa33"),
)
"""Colours that stay apart for most colour-blind readers."""

_Bar = tuple[float, float, float]
"""Left edge, bottom, top."""
_OUTLINE = (Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY)
_GAP = 0.1
"""Between neighbouring bars, as a part of a bar."""
_GROUP = 0.84
"""Width of the bars of one length together; lengths are one apart."""
_MODEL_INCHES = 3.0
_ROW_INCHES = 1.9
_HEAD_INCHES = 1.0
_FOOT_INCHES = 0.45
_LEFT_INCHES = 0.85
_RIGHT_INCHES = 0.15
_DPI = 130
_REMARK = 8
_INK = "#333333"


def draw(study: Study, figure: Figure) -> Picture:
    """The figure of a number, with what the study found."""
    drawn = {
        "bars": _draw_bars,
        "stack": _draw_stack,
        "breakdown": _draw_breakdown,
        "scatter": _draw_scatter,
    }
    return drawn[figure.kind](study, figure)


def rendered(picture: Picture, form: str) -> bytes:
    """An ``svg`` (with text as text) or a ``png``; the same picture gives the same bytes."""
    stream = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "archsim"}):
        own: dict[str, Any] = (
            {"metadata": {"Date": None}} if form == "svg" else {"pil_kwargs": {"compress_level": 4}}
        )
        picture.savefig(stream, format=form, dpi=_DPI, **own)
    return stream.getvalue()


# ------------------------------------------------------------------------- the frame


def _frame(study: Study, figure: Figure, rows: Sequence[str]) -> tuple[Picture, list[Axes]]:
    """An axes for each row; lengths stand one apart, models one further."""
    plan = study.plan
    models, lengths = len(plan.workloads), len(plan.lengths)
    width = _LEFT_INCHES + models * _MODEL_INCHES + _RIGHT_INCHES
    height = _HEAD_INCHES + len(rows) * _ROW_INCHES + _FOOT_INCHES
    picture = Picture(figsize=(width, height))
    grid = picture.subplots(
        len(rows),
        squeeze=False,
        gridspec_kw={
            "left": _LEFT_INCHES / width,
            "right": 1 - _RIGHT_INCHES / width,
            "top": 1 - _HEAD_INCHES / height,
            "bottom": _FOOT_INCHES / height,
            "hspace": 0.34,
        },
    )
    found = [row[0] for row in grid]
    places = [_place(study, m, i) for m in range(models) for i in range(lengths)]
    for axes, title in zip(found, rows, strict=True):
        _title(axes, title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, length=2)
        axes.set_xlim(-0.7, places[-1] + 0.7)
        axes.set_xticks([])
    found[-1].set_xticks(places, [tokens(n) for n in plan.lengths] * models)
    for m, workload in enumerate(plan.workloads):
        middle = _place(study, m, 0) + (lengths - 1) / 2
        found[0].annotate(
            workload,
            (middle, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 22),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            fontweight="bold",
        )
    title = f"Figure {figure.number}: {figure.title}"
    picture.text(_LEFT_INCHES / width, 1 - 0.2 / height, title, fontsize=11, va="center")
    picture.text(0.5, 0.12 / height, "tokens", fontsize=9, ha="center", va="center")
    return picture, found


def _title(axes: Axes, text: str) -> None:
    """Name a row; a fixed height spares looking for what may be in the way."""
    axes.set_title(text, loc="left", fontsize=9, y=1.02)


def _place(study: Study, model: int, length: int) -> float:
    """Where the bars of a model and length, by their numbers, have their middle."""
    return model * (len(study.plan.lengths) + 0.6) + length


def _places(study: Study) -> Iterator[tuple[float, str, int]]:
    """Middles of all bars of a configuration, with model and length."""
    for m, workload in enumerate(study.plan.workloads):
        for i, length in enumerate(study.plan.lengths):
            yield _place(study, m, i), workload, length


def _legend(picture: Picture, handles: Sequence[Patch | Line2D], remark: str = "") -> None:
    """Handles in rows below the title, each with its name."""
    width, height = picture.get_size_inches()
    picture.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=((_LEFT_INCHES - 0.1) / width, 1 - 0.3 / height),
        ncols=min(len(handles), 8),
        frameon=False,
        fontsize=_REMARK,
        columnspacing=1.2,
        handlelength=1.4,
    )
    if remark:
        right = 1 - _RIGHT_INCHES / width
        picture.text(right, 1 - 0.2 / height, remark, fontsize=_REMARK, ha="right", va="center")


def _bars(axes: Axes, bars: Sequence[_Bar], width: float, colour: str) -> None:
    """Bars given as (left edge, bottom, top), with a gap after each."""
    width *= 1 - _GAP
    corners = [
        corner
        for x, low, high in bars
        if high > low
        for corner in ((x, low), (x + width, low), (x + width, high), (x, high), (x, low))
    ]
    if corners:
        codes = _OUTLINE * (len(corners) // len(_OUTLINE))
        axes.add_artist(PathPatch(Path(corners, codes), facecolor=colour, linewidth=0))


def _heights(axes: Axes, quantity: str, highest: float) -> None:
    """The axis of a quantity from nothing to a little above its largest value."""
    axes.set_ylim(0, 1.06 * highest or 1)
    if quantity == "energy" or quantity.startswith("utilization."):
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")


# ------------------------------------------------------------------------- bars


def _draw_bars(study: Study, figure: Figure) -> Picture:
    """A bar for each configuration and length."""
    plan = study.plan
    rows = [(p, b, words) for p in figure.panels for b, words in plan.billings]
    picture, grid = _frame(study, figure, [f"{p.title}, {words}" for p, _, words in rows])
    width = _GROUP / len(figure.configurations)
    lines: dict[str, Line2D] = {}
    for axes, (panel, billing, _) in zip(grid, rows, strict=True):
        highest = 0.0
        for at, name in enumerate(figure.configurations):
            bars: list[_Bar] = []
            for middle, workload, length in _places(study):
                value = study.value(figure, panel.quantity, billing, name, workload, length)
                if value is not None:
                    bars.append((middle + at * width - _GROUP / 2, 0.0, value))
            _bars(axes, bars, width, _COLOURS[at])
            highest = max([highest, *(high for _, _, high in bars)])
        _heights(axes, panel.quantity, highest)
        lines |= _mean_lines(study, figure, panel, billing, axes)
    patches = [
        Patch(color=_COLOURS[at], label=plan.configuration(name).title)
        for at, name in enumerate(figure.configurations)
    ]
    _legend(picture, [*patches, *lines.values()])
    return picture


def _mean_lines(
    study: Study, figure: Figure, panel: Panel, billing: str, axes: Axes
) -> dict[str, Line2D]:
    """Published and reproduced means over all models, as lines across a row."""
    found: dict[str, Line2D] = {}
    means: list[str] = []
    for headline in _headlines(study, figure, panel):
        title = study.plan.configuration(headline.of).title
        mean = study.mean(headline, billing)
        if mean is not None:
            axes.axhline(mean, color=_INK, linewidth=1.0, linestyle=":")
            found["ours"] = Line2D(
                [], [], color=_INK, linewidth=1.0, linestyle=":", label=f"mean of {title}, ours"
            )
            means.append(f"mean of {title} {headline.published.like(mean, more=1)}")
        if billing == study.plan.billings[0][0]:
            value = headline.published.value
            axes.axhline(value, color="black", linewidth=0.9, linestyle="--")
            label = f"mean of {title}, published ({headline.published.text})"
            found["published"] = Line2D(
                [], [], color="black", linewidth=0.9, linestyle="--", label=label
            )
    if means:
        title = f"{axes.get_title(loc='left')}: {', '.join(means)}"
        _title(axes, title)
    return found


def _headlines(study: Study, figure: Figure, panel: Panel) -> Iterator[Headline]:
    """Means of what a panel shows."""
    for h in study.plan.headlines:
        if (h.scope, h.quantity, h.over) == (figure.scope, panel.quantity, figure.baseline):
            yield h


# ------------------------------------------------------------------------- stacks


class _Layers:
    """Stacked bars, collected by what each part is; parts keep their colours."""

    def __init__(self) -> None:
        self.colours: dict[str, str] = {}
        self.bars: dict[str, list[_Bar]] = {}
        self.highest = 0.0

    def add(self, left: float, parts: Iterable[tuple[str, float]]) -> None:
        """One stack, its parts from below."""
        low = 0.0
        for part, share in parts:
            self.bars.setdefault(part, []).append((left, low, low + share))
            low += share
        self.highest = max(self.highest, low)

    def draw(self, axes: Axes, width: float) -> None:
        """Draw what was collected, and forget it."""
        for part, bars in self.bars.items():
            self.colours.setdefault(part, _COLOURS[len(self.colours) % len(_COLOURS)])
            _bars(axes, bars, width, self.colours[part])
        self.bars, self.highest = {}, 0.0

    def patches(self) -> list[Patch]:
        """What the legend shows."""
        return [Patch(color=colour, label=part) for part, colour in self.colours.items()]


def _draw_stack(study: Study, figure: Figure) -> Picture:
    """Energy by component: a stack for each configuration and length."""
    plan = study.plan
    panel = figure.panels[0]
    picture, grid = _frame(study, figure, [f"{panel.title}, {words}" for _, words in plan.billings])
    width = _GROUP / len(figure.configurations)
    layers = _Layers()
    lines: dict[str, Line2D] = {}
    for axes, (billing, _) in zip(grid, plan.billings, strict=True):
        for at, name in enumerate(figure.configurations):
            for middle, workload, length in _places(study):
                parts = energy_parts(study, figure, billing, name, workload, length)
                layers.add(middle + at * width - _GROUP / 2, parts)
        _heights(axes, panel.quantity, layers.highest)
        layers.draw(axes, width)
        lines |= _mean_lines(study, figure, panel, billing, axes)
    titles = ", ".join(plan.configuration(c).title for c in figure.configurations)
    _legend(picture, [*layers.patches(), *lines.values()], f"bars from the left: {titles}")
    return picture


def _draw_breakdown(study: Study, figure: Figure) -> Picture:
    """Time of one array by Einsum: a row for each configuration, as the publication bills."""
    plan = study.plan
    billing, words = plan.billings[0]
    shown = [c for c in figure.configurations if breakdown_einsums(study, figure, c)]
    shown = shown or list(figure.configurations)
    picture, grid = _frame(study, figure, [plan.configuration(c).title for c in shown])
    layers = _Layers()
    for axes, name in zip(grid, shown, strict=True):
        for middle, workload, length in _places(study):
            parts = breakdown(study, figure, billing, name, workload, length) or {}
            layers.add(middle - _GROUP / 2, parts.items())
        _heights(axes, figure.panels[0].quantity, 0.96)
        layers.draw(axes, _GROUP)
    remark = f"{figure.panels[0].title}, share of the elapsed time, {words}"
    _legend(picture, layers.patches(), remark)
    return picture


# ------------------------------------------------------------------------- scatter


def _draw_scatter(study: Study, figure: Figure) -> Picture:
    """Area against latency: a line for each model, a point for each machine."""
    plan = study.plan
    picture = Picture(figsize=(7.2, 4.8))
    axes = picture.subplots(gridspec_kw={"left": 0.11, "right": 0.97, "top": 0.9, "bottom": 0.12})
    handles: list[Line2D] = []
    styles: tuple[dict[str, Any], ...] = (
        {"linestyle": "-", "marker": "o", "markersize": 4},
        {"linestyle": ":", "marker": "s", "markersize": 9, "fillstyle": "none"},
    )
    for at, workload in enumerate(plan.workloads):
        for style, (billing, _) in zip(styles, plan.billings, strict=False):
            found = [m for r, m in study.points(figure, billing) if r.workload == workload]
            x = [m.area_um2 / 1e6 for m in found]
            y = [m.latency_s for m in found]
            axes.plot(x, y, color=_COLOURS[at], linewidth=1.1, **style)
        handles.append(Line2D([], [], color=_COLOURS[at], label=workload))
    for style, (_, words) in zip(styles, plan.billings, strict=False):
        handles.append(Line2D([], [], color=_INK, label=words, **style))
    _label_points(study, figure, axes)
    axes.margins(x=0.13)
    if any(True for billing, _ in plan.billings for _ in study.points(figure, billing)):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("area (mm²)", fontsize=9)
    axes.set_ylabel("latency (s)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Figure {figure.number}: {figure.title}", loc="left", fontsize=11, y=1.02)
    axes.legend(handles=handles, frameon=False, fontsize=_REMARK)
    return picture


def _label_points(study: Study, figure: Figure, axes: Axes) -> None:
    """Name each machine once, beside its slowest model."""
    slowest: dict[str, tuple[float, float]] = {}
    for run, own in study.points(figure, study.plan.billings[0][0]):
        here = (own.latency_s, own.area_um2 / 1e6)
        slowest[run.label] = max(slowest.get(run.label, here), here)
    for label, (latency, area) in slowest.items():
        axes.annotate(
            label, (area, latency), xytext=(5, 5), textcoords="offset points", fontsize=_REMARK
        )
