"""``archsim.plot``: a picture by its kind, of whatever can be drawn that way."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from einsum_cascade.errors import InputError, Problem, did_you_mean

from ..writing import write_whole
from .options import PlotOptions

if TYPE_CHECKING:
    from .source import Drawable

FRAME_KINDS: Final = ("pareto", "heatmap", "lines", "bars", "breakdown", "parallel")


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
        ``parallel``.
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


def kind_for(data: Drawable, kind: str | None) -> str:
    """The kind of picture that is drawn of some data: as asked, else the usual one.

    Raises
    ------
    InputError
        There is no such picture of these data; says the nearest.
    """
    if not hasattr(data, "columns"):
        raise InputError(f"cannot draw a {type(data).__name__}: expected a frame")
    if kind is None or kind in FRAME_KINDS:
        return kind or FRAME_KINDS[0]
    hint = did_you_mean(kind, FRAME_KINDS) or f"there are {', '.join(FRAME_KINDS)}"
    raise InputError(Problem(f"of a sweep there is no picture '{kind}'", hint=hint))


def draw(data: Drawable, kind: str | None, options: PlotOptions) -> Any:
    """The picture of a kind. Raises InputError where there is none of these data."""
    # Not above: who asks what kinds there are need not wait for what draws them.
    from ..result.plots.style import look
    from .view import view_of

    chosen = kind_for(data, kind)
    module = import_module(f".{chosen}", __package__)
    options.check(chosen, module.TAKEN)
    with look():
        return getattr(module, f"draw_{chosen}")(view_of(data), options)


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
