"""Pictures of a sweep, a result or a comparison: ``archsim.plot``."""

from __future__ import annotations

import json
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args

from pydantic import Field, ValidationError

from einsum_cascade.errors import InputError, did_you_mean
from einsum_cascade.yaml.library import read_source
from einsum_cascade.yaml.schema import StoredFields

from ..comparison.compare import Comparison
from ..figure_style import check_suffix, look
from ..result.figures import draw_result, plot_capacities
from ..result.record import ResultPicture
from ..result.result import Result
from ..sweeping.export import load_sweep
from ..writing import write_whole
from .charts import CHARTS
from .frame import PlotOptions, view_of

FRAME_KINDS: Final = tuple(CHARTS)
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
        Kind of chart. For a frame ``pareto`` (by default), ``heatmap``, ``lines``, ``bars``,
        ``breakdown`` or ``parallel``; for a result ``breakdown``, ``roofline``, ``waterfall`` or
        ``capacity``; for a comparison ``bars`` or ``capacity``.
    x, y, colour, facet : str, optional
        Columns of a frame; by themselves those that fit its axes. ``facet`` has a panel for
        every value.
    baseline : str, optional
        Value of ``colour`` that bars are relative to; by default the first.
    width : float
        Width of the picture in inches: 3.3 is a column of a paper, 7 a page of two columns.
    out : str or path, optional
        File to write: PNG, SVG or PDF, or HTML (``parallel``), by the suffix of the name.

    Returns
    -------
    matplotlib.figure.Figure
        Jupyter shows it; of ``parallel`` a plotly figure.

    Raises
    ------
    InputError
        There is no such kind, no such column or nothing to draw; says the nearest name.
    """

    drawn = load_drawable(Path(data)) if isinstance(data, str | PathLike) else data
    options = PlotOptions(
        x=x, y=y, colour=colour, facet=facet, baseline=baseline, width_in=float(width)
    )
    figure = draw(drawn, kind, options)
    if out is not None:
        write(figure, Path(out))
    return figure


def kind_for(data: Drawable, kind: str | None) -> str:
    """Return the requested kind of chart, or the default kind for the data.

    Raises
    ------
    InputError
        The data cannot be drawn, or not as such a picture; says the nearest.
    """
    kinds: tuple[str, ...]
    if isinstance(data, Result):
        what, kinds = "a result", RESULT_KINDS
    elif isinstance(data, Comparison):
        what, kinds = "a comparison", COMPARISON_KINDS
    elif hasattr(data, "columns") and hasattr(data, "attrs"):
        what, kinds = "a sweep", FRAME_KINDS
    else:
        expected = "a frame, a result or a comparison"
        raise InputError(f"cannot draw a {type(data).__name__}: expected {expected}")
    if kind is None or kind in kinds:
        return kind or kinds[0]
    known = f"there are {', '.join(kinds)}"
    hint = known if kind in ALL_KINDS else did_you_mean(kind, kinds) or known
    raise InputError(f"of {what} there is no picture '{kind}'", hint=hint)


def draw(data: Drawable, kind: str | None, options: PlotOptions) -> Any:
    """Draw a chart of one kind. Raises InputError if the data has no chart of this kind."""
    chosen = kind_for(data, kind)
    width_in = options.width_in
    of_frame = not isinstance(data, Result | Comparison)
    options.check(chosen, CHARTS[chosen].options if of_frame else ())
    if isinstance(data, Result):
        return draw_result(data, chosen, width_in)
    if isinstance(data, Comparison):
        if chosen == "bars":
            return data.plot(width_in)
        with look():
            return plot_capacities([(row.label, row.result) for row in data.rows], width_in)
    with look():
        return CHARTS[chosen].draw(view_of(data), options)


def write(figure: Any, path: Path, *, named: bool = True) -> None:
    """Write a picture to a file.

    Parameters
    ----------
    named : bool
        True if a user names the file, as for ``write_whole``.

    Raises
    ------
    InputError
        The name's end is unknown for it, or the file cannot be written.
    """
    if hasattr(figure, "write"):
        check_suffix(path)
        write_whole(path, figure.write, named=named)
        return
    # A chart of parallel axes is an HTML page, which needs no network.
    check_suffix(path, (".html",))
    page = figure.to_html(include_plotlyjs=True)
    write_whole(path, lambda place: place.write_text(page, encoding="utf-8"), named=named)


if TYPE_CHECKING:
    from pandas import DataFrame

    Drawable: TypeAlias = DataFrame | Result | Comparison

_STORE: Final = "store.sqlite"
_JSON: Final = ("result.json", "compare.json")
_TABLES: Final = (".csv", ".parquet")


def load_drawable(place: Path) -> Drawable:
    """Load a sweep, a result or a comparison from a folder or a file.

    Parameters
    ----------
    place : Path
        The ``--out`` of ``sweep``, ``simulate`` or ``compare``, or one of the files in it.

    Raises
    ------
    InputError
        It holds nothing that can be drawn; says what was looked for.
    """
    if place.is_dir():
        if (place / _STORE).exists():
            return load_sweep(place)
        for name in _JSON:
            if (found := place / name).is_file() and not found.is_symlink():
                return _written(found)
        known = f"{_STORE} of a sweep, {' or '.join(_JSON)}"
        raise InputError(f"{place} holds nothing to draw: it has no {known}")
    if not place.is_file():
        raise InputError(f"there is no folder and no file {place}")
    if place.suffix.lower() in _TABLES:
        # The store beside the table knows units, and which settings are of the work.
        has_store = place.name.startswith("results.") and (place.parent / _STORE).exists()
        return load_sweep(place.parent) if has_store else _table(place)
    if place.suffix.lower() == ".json":
        return _written(place)
    text = f"cannot draw {place}: expected a folder, .csv, .parquet or .json"
    raise InputError(text, hint="archsim sweep SWEEP.yaml --out DIR; archsim plot DIR pareto")


def _table(path: Path) -> DataFrame:
    import pandas as pd

    reader = pd.read_csv if path.suffix.lower() == ".csv" else pd.read_parquet
    try:
        frame = reader(path)
    except (ValueError, OSError, ImportError, LookupError, TypeError, NotImplementedError) as wrong:
        # pandas and pyarrow report errors of a table as these.
        raise InputError(f"cannot read {path}: {' '.join(str(wrong).split())}") from None
    frame.columns = [str(c) for c in frame.columns]
    if not frame.columns.is_unique:
        raise InputError(f"cannot draw {path}: two columns have one name")
    scalar = pd.api.types.is_scalar
    for name in (c for c in frame.columns if frame[c].dtype.kind == "O"):
        if any(isinstance(cell, bytes) or not scalar(cell) for cell in frame[name]):
            raise InputError(f"cannot draw {path}: '{name}' holds no texts and no numbers")
    try:
        _TableAttributes.model_validate(frame.attrs)
    except ValidationError:
        raise InputError(f"cannot draw {path}: its attributes are not those of a sweep") from None
    return frame


class _TableAttributes(StoredFields):
    """Attributes of a frame that ``load_sweep`` makes."""

    axes: tuple[str, ...] | None = None
    work_axes: tuple[str, ...] | None = None
    units: dict[str, str] = Field(default_factory=dict)
    names: dict[str, dict[str, str]] = Field(default_factory=dict)


def _written(path: Path) -> Result | Comparison:
    source = read_source(path, InputError)
    data: Any = None
    with suppress(ValueError, RecursionError):  # Either reader says what is wrong with the text.
        data = json.loads(source.text)
    kind = Comparison if isinstance(data, dict) and "rows" in data else Result
    return kind.from_json(source)
