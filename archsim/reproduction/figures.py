"""Figures of a study, and the files in its output folder.

Import this module only to draw: it loads matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

from ..document import Document, to_markdown
from ..figure_style import Picture
from ..processes import map_in_order
from .plan import FigurePanel
from .published import PublishedValue, differences_csv, differences_document
from .runs import is_share
from .simulator import NOTHING_WRITTEN, Finished, nothing
from .study import FigureData, Study
from .tables import (
    billings,
    figure_csv,
    figure_document,
    headline,
    means_csv,
    omissions,
    runs_csv,
    tokens,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_COLOURS = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb"),
    *("#994455", "#004488", "#997700", "#44aa99", "#ddaa33"),
)
"""Colours that most colour-blind readers can tell apart."""

_OUTLINE = (Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY)
_GAP = 0.1
"""Gap between neighbouring bars, as a share of a bar."""
_GROUP = 0.84
"""Total width of the bars of one sequence length; lengths are one unit apart."""
_MODEL_INCHES = 3.0
_ROW_INCHES = 1.9
_HEAD_INCHES = 1.0
_FOOT_INCHES = 0.45
_LEFT_INCHES = 0.85
_RIGHT_INCHES = 0.15
_DPI = 130
_REMARK = 8
_INK = "#333333"


def pictures(data: FigureData) -> dict[str, bytes]:
    """Draw a figure, and return its files by format."""
    picture = _draw_scatter(data) if data.figure.kind == "scatter" else _draw_bars(data)
    for text in picture.findobj(Text):
        # Titles in a plan are no formulas. Tick labels of the axes are written later.
        if "$" in text.get_text():
            text.set_parse_math(False)
    return {form: _rendered(picture, form) for form in ("svg", "png")}


def _rendered(picture: Picture, form: str) -> bytes:
    """Return a picture as ``svg`` (with text as text) or ``png``, always with the same bytes."""
    stream = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "archsim"}):
        own: dict[str, Any] = (
            {"metadata": {"Date": None}} if form == "svg" else {"pil_kwargs": {"compress_level": 4}}
        )
        picture.savefig(stream, format=form, dpi=_DPI, **own)
    return stream.getvalue()


def _frame(data: FigureData, rows: Sequence[str]) -> tuple[Picture, list[Axes]]:
    """Return a figure with axes for each row; bars of lengths are one unit apart, models
    further."""
    plan, figure = data.plan, data.figure
    models, lengths = len(plan.workloads), len(plan.seq_len)
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
    places = [middle for middle, _ in _places(data)]
    for axes, title in zip(found, rows, strict=True):
        _title(axes, title)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, length=2)
        axes.set_xlim(-0.7, places[-1] + 0.7)
        axes.set_xticks([])
    found[-1].set_xticks(places, [tokens(n) for n in plan.seq_len] * models)
    for m, workload in enumerate(plan.workloads):
        middle = places[m * lengths] + (lengths - 1) / 2
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
    """Write the title of a row at a fixed height, so that matplotlib need not search for free
    space."""
    axes.set_title(text, loc="left", fontsize=9, y=1.02)


def _places(data: FigureData) -> Iterator[tuple[float, tuple[str, int]]]:
    """Yield the centre of the bars of each model and length."""
    for m, workload in enumerate(data.plan.workloads):
        for i, length in enumerate(data.plan.seq_len):
            yield m * (len(data.plan.seq_len) + 0.6) + i, (workload, length)


def _legend(picture: Picture, handles: Sequence[Patch | Line2D], remark: str = "") -> None:
    """Draw a legend in rows below the title, and a remark at the right."""
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


class _StackedBars:
    """Stacked bars in one pair of axes, collected by the name of each segment.

    A bar is its left edge, its bottom and its top; a segment keeps its colour.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.colours = dict(zip(names, cycle(_COLOURS), strict=False))
        self.bars: dict[str, list[tuple[float, float, float]]] = {}
        self.highest = 0.0

    def add(self, left: float, parts: Mapping[str, float]) -> None:
        """Add one stack of bars, with its segments from the bottom up."""
        low = 0.0
        for part, share in parts.items():
            self.bars.setdefault(part, []).append((left, low, low + share))
            low += share
        self.highest = max(self.highest, low)

    def draw(self, axes: Axes, width: float) -> None:
        """Draw the collected stacks with a gap after each, and start a new collection."""
        width *= 1 - _GAP
        for part, bars in self.bars.items():
            colour = self.colours.setdefault(part, _COLOURS[len(self.colours) % len(_COLOURS)])
            corners = [
                corner
                for x, low, high in bars
                if high > low
                for corner in ((x, low), (x + width, low), (x + width, high), (x, high), (x, low))
            ]
            if corners:
                codes = _OUTLINE * (len(corners) // len(_OUTLINE))
                outline = PathPatch(Path(corners, codes), facecolor=colour, linewidth=0)
                axes.add_artist(outline)
        self.bars, self.highest = {}, 0.0

    def patches(self) -> list[Patch]:
        """Return the entries of the legend."""
        return [Patch(color=colour, label=part) for part, colour in self.colours.items()]


@dataclass(frozen=True)
class _BarRow:
    """Row of bars in a figure: one quantity of several configurations in one billing."""

    title: str
    panel: FigurePanel
    billing: str
    names: tuple[str, ...]


def _heights(axes: Axes, quantity: str, highest: float) -> None:
    """Set the axis of a quantity from zero to a little above its largest value."""
    axes.set_ylim(0, 1.06 * highest or 1)
    if is_share(quantity):
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f}%")


def _bar_rows(data: FigureData) -> list[_BarRow]:
    """Return a row for each panel and billing, and in a breakdown also for each configuration."""
    plan, names = data.plan, data.figure.configurations
    if data.figure.kind == "breakdown":
        names = tuple(c for c in names if data.parts_of(c)) or names
        billing, panel = plan.published_billing, data.figure.panels[0]
        return [_BarRow(plan.configuration(c).title, panel, billing, (c,)) for c in names]
    panels = data.figure.panels[:1] if data.figure.kind == "stack" else data.figure.panels
    return [
        _BarRow(f"{panel.title}, {words}", panel, billing, names)
        for panel in panels
        for billing, words in plan.billings.items()
    ]


def _draw_bars(data: FigureData) -> Picture:
    """Draw a bar or a stack for each configuration and length."""
    plan, kind = data.plan, data.figure.kind
    titles = {c: plan.configuration(c).title for c in data.figure.configurations}
    rows = _bar_rows(data)
    picture, grid = _frame(data, [row.title for row in rows])
    stacks = _StackedBars([*titles.values()] if kind == "bars" else [])
    lines: dict[str, Line2D] = {}
    for axes, row in zip(grid, rows, strict=True):
        width = _GROUP / len(row.names)
        for at, name in enumerate(row.names):
            for middle, case in _places(data):
                numbers = data.numbers(row.billing, name, case)
                value = numbers.whole[row.panel.quantity]
                parts = numbers.parts
                if kind == "bars":
                    parts = {} if value is None else {titles[name]: value}
                stacks.add(middle + at * width - _GROUP / 2, parts)
        _heights(axes, row.panel.quantity, 0.96 if kind == "breakdown" else stacks.highest)
        stacks.draw(axes, width)
        if kind != "breakdown":
            lines |= _mean_lines(data, row.panel, row.billing, axes)
    remark = ""
    if kind == "stack":
        remark = f"bars from the left: {', '.join(titles.values())}"
    if kind == "breakdown":
        words = plan.billings[plan.published_billing]
        remark = f"{rows[0].panel.title}, share of the elapsed time, {words}"
    _legend(picture, [*stacks.patches(), *lines.values()], remark)
    return picture


def _mean_lines(
    data: FigureData, panel: FigurePanel, billing: str, axes: Axes
) -> dict[str, Line2D]:
    """Draw published and reproduced means over all models as lines across a row."""
    found: dict[str, Line2D] = {}
    labels: list[str] = []
    for mean, reproduced in data.means:
        if mean.quantity != panel.quantity:
            continue
        title = data.plan.configuration(mean.of).title
        ours = reproduced[billing]
        if ours is not None:
            style: dict[str, Any] = {"color": _INK, "linewidth": 1.0, "linestyle": ":"}
            axes.axhline(ours, **style)
            found["ours"] = Line2D([], [], label=f"mean of {title}, ours", **style)
            labels.append(f"mean of {title} {mean.published.like(ours, more=1)}")
        if billing == data.plan.published_billing:
            style = {"color": "black", "linewidth": 0.9, "linestyle": "--"}
            axes.axhline(mean.published.value, **style)
            label = f"mean of {title}, published ({mean.published.text})"
            found["published"] = Line2D([], [], label=label, **style)
    if labels:
        _title(axes, f"{axes.get_title(loc='left')}: {', '.join(labels)}")
    return found


_UNITS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"area_um2": (" (mm²)", 1e6), "latency_s": (" (s)", 1.0)}
)
"""Suffix that names a quantity's unit at an axis, and the divisor of its numbers."""


def _draw_scatter(data: FigureData) -> Picture:
    """Draw the last panel over the first one: a line for each model, with a point for each
    machine."""
    plan, figure = data.plan, data.figure
    picture = Picture(figsize=(7.2, 4.8))
    axes = picture.subplots(gridspec_kw={"left": 0.11, "right": 0.97, "top": 0.9, "bottom": 0.12})
    styles: tuple[dict[str, Any], ...] = (
        {"linestyle": "-", "marker": "o", "markersize": 4},
        {"linestyle": ":", "marker": "s", "markersize": 9, "fillstyle": "none"},
    )
    handles: list[Line2D] = []
    for at, workload in enumerate(plan.workloads):
        for style, billing in zip(styles, plan.billings, strict=False):
            points = [(x, y) for _, x, y in _points(data, billing, workload)]
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, color=_COLOURS[at], linewidth=1.1, **style)
        handles.append(Line2D([], [], color=_COLOURS[at], label=workload))
    for style, words in zip(styles, plan.billings.values(), strict=False):
        handles.append(Line2D([], [], color=_INK, label=words, **style))
    _label_points(data, axes)
    axes.margins(x=0.13)
    if data.shown:
        axes.set_xscale("log")
        axes.set_yscale("log")
    for axis, panel in ((axes.xaxis, figure.panels[0]), (axes.yaxis, figure.panels[-1])):
        if data.shown:
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
        axis.set_label_text(panel.title + _UNITS.get(panel.quantity, ("", 1.0))[0], fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Figure {figure.number}: {figure.title}", loc="left", fontsize=11, y=1.02)
    axes.legend(handles=handles, frameon=False, fontsize=_REMARK)
    return picture


def _points(data: FigureData, billing: str, workload: str) -> Iterator[tuple[str, float, float]]:
    """Yield the name and the coordinates of each machine that ran a workload."""
    for run, numbers in data.shown.items():
        if (run.billing, run.workload) == (billing, workload):
            x, y = (
                (numbers.whole[p.quantity] or 0.0) / _UNITS.get(p.quantity, ("", 1.0))[1]
                for p in (data.figure.panels[0], data.figure.panels[-1])
            )
            yield run.label, x, y


def _label_points(data: FigureData, axes: Axes) -> None:
    """Name each machine once, beside its highest point."""
    highest: dict[str, tuple[float, float]] = {}
    for workload in data.plan.workloads:
        for label, x, y in _points(data, data.plan.published_billing, workload):
            highest[label] = max(highest.get(label, (y, x)), (y, x))
    for label, (y, x) in highest.items():
        axes.annotate(label, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=_REMARK)


def texts(study: Study, published: tuple[PublishedValue, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield names and contents of all text files.

    Parameters
    ----------
    study : Study
        Its runs are done.
    published : tuple of PublishedValue
        Published numbers to compare with; without them there is no ``published.csv``.

    Returns
    -------
    iterator of (str, str)
        ``report.md`` comes last, as it holds all tables before it.
    """
    yield "headline.csv", means_csv(study)
    yield "runs.csv", runs_csv(study)
    documents: list[Document] = [headline(study)]
    if published:
        yield "published.csv", differences_csv(study, published)
        documents.append(differences_document(study, published))
    documents += [d for d in (billings(study), omissions(study)) if d is not None]
    for figure in study.plan.figures:
        yield f"figure-{figure.number:02d}.csv", figure_csv(study.data(figure))
        documents.append(figure_document(study, figure))
    yield "report.md", "\n".join(to_markdown(d) for d in documents)


def drawn(
    study: Study, workers: int = 1, finished: Finished = nothing
) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of all pictures, which several processes draw.

    Parameters
    ----------
    workers : int
        Processes; 1 draws in this one.
    finished : callable
        Function that is called with 1 for each finished figure.

    Returns
    -------
    iterator of (str, bytes)
        Each figure in every form, in the order of the plan.
    """
    figures = study.plan.figures
    data = [study.data(figure) for figure in figures]
    found = map_in_order(pictures, data, workers, left=NOTHING_WRITTEN)
    for figure, forms in zip(figures, found, strict=True):
        finished(1)
        for form, picture in forms.items():
            yield f"figure-{figure.number:02d}.{form}", picture
