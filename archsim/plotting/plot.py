"""``archsim.plot``: a picture by its kind, of whatever can be drawn that way."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..comparison.compare import Comparison
from ..result.record import Result, ResultPicture
from ..writing import write_whole
from .options import PlotOptions

if TYPE_CHECKING:
    from .source import Drawable

FRAME_KINDS: Final = ("pareto", "heatmap", "lines", "bars", "breakdown", "parallel")
RESULT_KINDS: Final = ("breakdown", *(k for k in get_args(ResultPicture) if k != "breakdown"))
COMPARISON_KINDS: Final = ("bars", "capacity")
ALL_KINDS: Final = frozenset((*FRAME_KINDS, *RESULT_KINDS, *COMPARISON_KINDS))


def plot(
    data: Drawable | str | PathLike[str],
    kind: str | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    colour: str | None = None,
    facet: str | None = None,
    baseline: str | None = None,
    width: float = 7.0,
    out: str | PathLike[str] | None = None,
) -> Any:
    """Draw a sweep, a result or a comparison.

    Parameters
    ----------
    data : DataFrame, Result, Comparison, str or path
        A frame as of ``load_sweep``, or any with columns of settings and numbers; a result of
        ``simulate``, a comparison of ``compare``; or the folder or file that holds one.
    kind : str, optional
        Of a frame ``pareto`` (by default), ``heatmap``, ``lines``, ``bars``, ``breakdown`` or
        ``parallel``; of a result ``breakdown``, ``roofline``, ``waterfall`` or ``capacity``; of
        a comparison ``bars`` or ``capacity``.
    x, y, colour, facet : str, optional
        Columns of a frame; by themselves those that fit its axes. ``facet`` has a panel for
        every value.
    baseline : str, optional
        Of ``bars``: the value of ``colour`` that is 1; by default the first.
    width : float
        Of the picture in inches: 3.3 is a column of a paper, 7 a page of two.
    out : str or path, optional
        Writes it, too: as PNG, SVG or PDF, or as HTML (``parallel``), as the name ends.

    Returns
    -------
    matplotlib.figure.Figure
        Jupyter shows it; of ``parallel`` a plotly figure.

    Raises
    ------
    InputError
        There is no such kind, no such column or nothing to draw; says the nearest name.
    """
    from .source import load_drawable

    drawn = load_drawable(Path(data)) if isinstance(data, str | PathLike) else data
    options = PlotOptions(
        x=x, y=y, colour=colour, facet=facet, baseline=baseline, width_in=float(width)
    )
    figure = draw(drawn, kind, options)
    if out is not None:
        write(figure, Path(out))
    return figure


def kinds_of(data: Drawable) -> tuple[str, ...]:
    """Kinds of pictures that there are of some data, the usual one first.

    Raises
    ------
    InputError
        It is nothing that can be drawn.
    """
    if isinstance(data, Result):
        return RESULT_KINDS
    if isinstance(data, Comparison):
        return COMPARISON_KINDS
    if hasattr(data, "columns") and hasattr(data, "attrs"):
        return FRAME_KINDS
    what = "a frame, a result or a comparison"
    raise InputError(f"cannot draw a {type(data).__name__}: expected {what}")


def kind_for(data: Drawable, kind: str | None) -> str:
    """The kind of picture that is drawn of some data: as asked, else the usual one.

    Raises
    ------
    InputError
        There is no such picture of these data; says the nearest.
    """
    kinds = kinds_of(data)
    if kind is None or kind in kinds:
        return kind or kinds[0]
    what = {RESULT_KINDS: "a result", COMPARISON_KINDS: "a comparison"}.get(kinds, "a sweep")
    known = f"there are {', '.join(kinds)}"
    hint = known if kind in ALL_KINDS else did_you_mean(kind, kinds) or known
    raise InputError(Problem(f"of {what} there is no picture '{kind}'", hint=hint))


def draw(data: Drawable, kind: str | None, options: PlotOptions) -> Any:
    """The picture of a kind. Raises InputError where there is none of these data."""
    # Not above: who asks what kinds there are need not wait for what draws them.
    from ..result.plots.style import look

    chosen = kind_for(data, kind)
    if isinstance(data, Result):
        from ..result.plots.draw import draw_result

        options.check(chosen, ())
        return draw_result(data, cast(ResultPicture, chosen), options.width_in)
    with look():
        if isinstance(data, Comparison):
            options.check(chosen, ())
            return _compared(data, chosen, options.width_in)
        from .view import view_of

        module = import_module(f".{chosen}", __package__)
        options.check(chosen, module.TAKEN)
        return getattr(module, f"draw_{chosen}")(view_of(data), options)


def _compared(data: Comparison, kind: str, width_in: float) -> Any:
    if kind == "bars":
        return data.plot(width_in)
    from ..result.plots.latency import plot_capacities

    return plot_capacities([(row.label, row.result) for row in data.rows], width_in)


def usual_suffix(kind: str) -> str:
    """What a picture is written as where nobody says."""
    return ".html" if kind == "parallel" else ".png"


def write(figure: Any, path: Path) -> None:
    """Write a picture.

    Raises
    ------
    InputError
        The name's end is unknown for it, or the file cannot be written.
    """
    from .parallel import write_page

    if hasattr(figure, "write"):
        write_whole(path, figure.write)
    else:
        write_whole(path, lambda place: write_page(figure, place))
