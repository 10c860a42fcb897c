"""Parallel-coordinates chart of a frame, an interactive HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum_cascade.errors import InputError, Problem
from einsum_cascade.source import html_text

from ..figure_style import ORDERED, check_suffix
from ..sweeping.columns import NUMBERS
from .axes import measure_of, shown
from .frame import FrameView, PlotOptions, need_numbers, numbers_of, values_of_axis
from .scales import label_of, scale_of, with_unit

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


PARALLEL_OPTIONS = ("colour",)

_MOST_NAMES = 60


def draw_parallel(view: FrameView, options: PlotOptions) -> Figure:
    """Draw a line for each point through an axis for each setting and result that varies.

    Raises
    ------
    InputError
        plotly is not installed, or a column is not there.
    """
    try:
        from plotly.graph_objects import Figure, Parcoords
    except ImportError:
        text = "parallel: plotly draws these and is not installed"
        raise InputError(Problem(text, hint="pip install 'archsim[plotly]'")) from None
    colour = measure_of(view, options.colour, "colour")
    need_numbers(view, colour, "colour")
    results = [c for c in NUMBERS if c in view.frame.columns and view.frame[c].nunique() > 1]
    columns = dict.fromkeys((*view.axes, *results, colour))
    tint = _upright(view, colour)
    lines = {"color": tint["values"], "colorscale": ORDERED, "showscale": False}
    drawn = Parcoords(line=lines, dimensions=[_upright(view, c) for c in columns])
    figure = Figure(drawn)
    told = "; ".join((f"colour: {tint['label']}", *view.told))
    wide = max(900, 110 * len(columns))
    figure.update_layout(title={"text": told, "font": {"size": 12}}, width=wide, height=480)
    return figure


def write_page(figure: Figure, path: Path) -> None:
    """Write the page, which needs no network.

    Raises
    ------
    InputError
        The name does not end in ``.html``.
    OSError
        The file cannot be written.
    """
    check_suffix(path, (".html",))
    path.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")


def _upright(view: FrameView, column: str) -> dict[str, Any]:
    """Return an axis of the chart: numbers in a readable unit, names by position."""
    values = values_of_axis(view, column)
    numbers = numbers_of(view.frame[column])
    if numbers is None:
        if len(values) > _MOST_NAMES:
            raise InputError(f"parallel: '{column}' has {len(values)} names, too many to be read")
        places = [values.index(v) for v in view.frame[column]]
        return {
            "label": _plain(label_of(column)),
            "values": places,
            "tickvals": list(range(len(values))),
            "ticktext": [html_text(str(v)) for v in values],
        }
    scale = scale_of(numbers, view.units.get(column), log=False)
    found = {
        "label": with_unit(_plain(label_of(column)), scale.unit),
        "values": [scale.drawn(n) for n in numbers],
    }
    if column in view.axes and len(values) <= _MOST_NAMES:
        # Settings stand evenly: most are multiples of one another.
        found["values"] = [values.index(v) for v in view.frame[column]]
        found["tickvals"] = list(range(len(values)))
        found["ticktext"] = [_plain(shown(view, column, v)) for v in values]
        found["label"] = _plain(label_of(column))
    return found


def _plain(text: str) -> str:
    """Return a picture's text for a page, which has no formulas to escape."""
    return html_text(text.replace(r"\$", "$"))
