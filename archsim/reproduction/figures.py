"""Figures of a study, and the files in its output folder.

Import this module only to draw: it loads matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.text import Text

from ..document import Document, to_markdown
from ..figure_style import Picture, look, palette, patches, show_shares
from ..processes import map_in_order
from .plan import FigurePanel
from .published import PublishedValue, differences_csv, differences_document
from .runs import is_share
from .simulator import NOTHING_WRITTEN, Finished
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


_GAP = 0.1
"""Gap between neighbouring bars, as a share of a bar."""
_GROUP = 0.84
"""Total width of the bars of one sequence length; lengths are one unit apart."""
_MODEL_INCHES = 3.0
_ROW_INCHES = 1.9
_DPI = 130
_INK = "#333333"
_GRID: Mapping[str, Any] = MappingProxyType({"color": "#dddddd", "linewidth": 0.6})


def draw_figure(data: FigureData) -> Picture:
    """Draw a figure of a study."""
    with look():
        picture = _draw_scatter(data) if data.figure.kind == "scatter" else _draw_bars(data)
    for text in picture.findobj(Text):
        # Titles in a plan are no formulas. Tick labels of the axes are written later.
        if "$" in text.get_text():
            text.set_parse_math(False)
    return picture


def pictures(data: FigureData) -> dict[str, bytes]:
    """Draw a figure, and return its files by format; an SVG file has its text as text."""
    with look(), mpl.rc_context({"svg.fonttype": "none"}):
        picture = draw_figure(data)
        # One layout serves both formats.
        picture.set_dpi(_DPI)
        picture.draw_without_rendering()
        picture.set_layout_engine("none")
        return {form: picture.rendered(form, _DPI) for form in ("svg", "png")}


@dataclass(frozen=True)
class _BarRow:
    """Row of bars in a figure: one quantity of several configurations in one billing."""

    title: str
    panel: FigurePanel
    billing: str
    names: tuple[str, ...]


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


def _places(data: FigureData) -> Iterator[tuple[float, tuple[str, int]]]:
    """Yield the centre of the bars of each model and length."""
    for m, workload in enumerate(data.plan.workloads):
        for i, length in enumerate(data.plan.seq_len):
            yield m * (len(data.plan.seq_len) + 0.6) + i, (workload, length)


def _draw_bars(data: FigureData) -> Picture:
    """Draw a bar or a stack for each configuration and length."""
    plan, kind = data.plan, data.figure.kind
    titles = {c: plan.configuration(c).title for c in data.figure.configurations}
    parts = chain.from_iterable(numbers.parts for numbers in data.shown.values())
    colours = palette([*(titles.values() if kind == "bars" else parts)])
    rows = _bar_rows(data)
    size = (1 + _MODEL_INCHES * len(plan.workloads), 1.4 + _ROW_INCHES * len(rows))
    picture = Picture(figsize=size, layout="constrained")
    grid = [*picture.subplots(len(rows), squeeze=False, sharex=True).flat]
    lines: dict[str, Line2D] = {}
    for axes, row in zip(grid, rows, strict=True):
        axes.set_title(row.title, loc="left")
        axes.grid(axis="y", **_GRID)
        axes.set_axisbelow(True)
        highest = _draw_row(axes, data, row, colours)
        axes.set_ylim(0, 1 if kind == "breakdown" else 1.06 * highest or 1)
        if is_share(row.panel.quantity):
            show_shares(axes.yaxis)
        if kind != "breakdown":
            lines |= _mean_lines(data, row.panel, row.billing, axes)
    _name_groups(grid, data)
    remark = ""
    if kind == "stack":
        remark = f"; bars from the left: {', '.join(titles.values())}"
    if kind == "breakdown":
        words = plan.billings[plan.published_billing]
        remark = f"; {rows[0].panel.title}, share of the elapsed time, {words}"
    picture.suptitle(_title(data) + remark, x=0.01, ha="left")
    handles = [*patches(colours), *lines.values()]
    picture.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))
    return picture


def _title(data: FigureData) -> str:
    return f"Figure {data.figure.number}: {data.figure.title}"


def _draw_row(axes: Axes, data: FigureData, row: _BarRow, colours: Mapping[str, str]) -> float:
    """Draw the stacks of a row, all segments of a name together; return the largest height."""
    width = _GROUP / len(row.names)
    corners: dict[str, list[list[tuple[float, float]]]] = {}
    highest = 0.0
    for at, name in enumerate(row.names):
        for middle, case in _places(data):
            numbers = data.numbers(row.billing, name, case)
            parts = numbers.parts
            if data.figure.kind == "bars":
                parts = {
                    data.plan.configuration(name).title: numbers.whole[row.panel.quantity] or 0
                }
            left = middle + at * width - _GROUP / 2
            right, low = left + (1 - _GAP) * width, 0.0
            for part, size in parts.items():
                high = low + size
                bar = [(left, low), (right, low), (right, high), (left, high)]
                corners.setdefault(part, []).append(bar)
                low = high
            highest = max(highest, low)
    for part, bars in corners.items():
        axes.add_collection(PolyCollection(bars, facecolor=colours[part], linewidth=0))
    return highest


def _name_groups(grid: Sequence[Axes], data: FigureData) -> None:
    """Write the lengths below the last row, and the models above the first."""
    plan = data.plan
    places = [middle for middle, _ in _places(data)]
    grid[-1].set_xlim(-0.7, places[-1] + 0.7)
    grid[-1].set_xticks(places, [tokens(n) for n in plan.seq_len] * len(plan.workloads))
    grid[-1].set_xlabel("tokens")
    for axes in grid:
        axes.tick_params(axis="x", length=0)
    lengths = len(plan.seq_len)
    for m, workload in enumerate(plan.workloads):
        x = places[m * lengths] + (lengths - 1) / 2
        grid[0].annotate(
            workload, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 18),
            textcoords="offset points", ha="center", fontweight="bold",
        )  # fmt: skip


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
            label = f"mean of {title}, ours"
            found["ours"] = axes.axhline(ours, color=_INK, linewidth=1, linestyle=":", label=label)
            labels.append(f"mean of {title} {mean.published.like(ours, more=1)}")
        if billing == data.plan.published_billing:
            label = f"mean of {title}, published ({mean.published.text})"
            found["published"] = axes.axhline(
                mean.published.value, color="black", linewidth=0.9, linestyle="--", label=label
            )
    if labels:
        axes.set_title(f"{axes.get_title(loc='left')}: {', '.join(labels)}", loc="left")
    return found


_UNITS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {"area_um2": (" (mm²)", 1e6), "latency_s": (" (s)", 1.0)}
)
"""Suffix that names a quantity's unit at an axis, and the divisor of its numbers."""

_POINTS: tuple[Mapping[str, Any], ...] = (
    MappingProxyType({"linestyle": "-", "marker": "o", "markersize": 4}),
    MappingProxyType(
        {
            "linestyle": ":",
            "marker": "s",
            "markersize": 9,
            "fillstyle": "none",
            "markeredgewidth": 1.0,
        }
    ),
)
"""Lines and points of the machines in each billing."""


def _draw_scatter(data: FigureData) -> Picture:
    """Draw the last panel over the first one: a line for each model, with a point for each
    machine."""
    plan, panels = data.plan, data.figure.panels
    picture = Picture(figsize=(7.2, 4.8), layout="constrained")
    axes = picture.subplots()
    colours = palette(plan.workloads)
    for workload, colour in colours.items():
        for style, billing in zip(_POINTS, plan.billings, strict=False):
            points = [point for _, point in _points(data, billing, workload)]
            axes.plot(
                *(zip(*points, strict=True) if points else ((), ())),
                color=colour,
                markeredgecolor=colour,
                **style,
            )
    _label_points(data, axes)
    axes.margins(x=0.13)
    if data.shown:
        axes.set_xscale("log")
        axes.set_yscale("log")
    for axis, panel in ((axes.xaxis, panels[0]), (axes.yaxis, panels[-1])):
        axis.set_label_text(panel.title + _UNITS.get(panel.quantity, ("", 1.0))[0])
    axes.grid(**_GRID)
    axes.set_title(_title(data), loc="left")
    words = zip(_POINTS, plan.billings.values(), strict=False)
    billed = [
        Line2D([], [], color=_INK, markeredgecolor=_INK, label=label, **style)
        for style, label in words
    ]
    axes.legend(handles=[*patches(colours), *billed])
    return picture


def _points(
    data: FigureData, billing: str, workload: str
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the name and the coordinates of each machine that ran a workload."""
    for run, numbers in data.shown.items():
        if (run.billing, run.workload) == (billing, workload):
            x, y = (
                (numbers.whole[p.quantity] or 0.0) / _UNITS.get(p.quantity, ("", 1.0))[1]
                for p in (data.figure.panels[0], data.figure.panels[-1])
            )
            yield run.label, (x, y)


def _label_points(data: FigureData, axes: Axes) -> None:
    """Name each machine once, beside its highest point."""
    highest: dict[str, tuple[float, float]] = {}
    for workload in data.plan.workloads:
        for label, point in _points(data, data.plan.published_billing, workload):
            highest[label] = max(highest.get(label, point), point, key=lambda p: p[::-1])
    for label, point in highest.items():
        axes.annotate(label, point, xytext=(5, 5), textcoords="offset points")


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
    study: Study, workers: int = 1, finished: Finished = lambda _: None
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
