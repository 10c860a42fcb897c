"""Style of all figures: palette, letter sizes, and file formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.axis import XAxis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.scale import LogTransform
from matplotlib.ticker import Locator, LogFormatter, LogLocator, MaxNLocator, NullLocator

from einsum_cascade.errors import InputError

from .document import picture_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backend_bases import RendererBase
    from matplotlib.typing import ColorType


PAGE_IN: Final = 7.0
"""Width of a page of two columns, in inches."""

_LETTERS_IN: Final = 12.5
"""Letters of a headline per inch."""

SUFFIXES: Final = (".png", ".svg", ".pdf")
"""File formats of a picture."""

PALETTE: Final = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866"),
    *("#44bb99", "#99ddff", "#bbcc33", "#ffaabb", "#999933", "#882255", "#ddaa33"),
)
"""Colours that most colour-blind readers can distinguish: Paul Tol's bright scheme, then the
rest of his light and muted ones."""

MARKERS: Final = "osD^vPX*<>ph8d"
"""Marker beside each colour of the palette, for readers without colours and for grey prints."""

ORDERED: Final = "cividis"
"""Colour map of numbers: its lightness rises evenly for colour-blind readers, too."""

IDLE: Final = "#e6e6e6"
"""Colour of idle time."""
FAINT: Final = "0.72"
"""Colour of values shown for comparison only."""

_LOOK: Final[dict[Any, Any]] = {
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.5,
}
_FILES: Final[dict[Any, Any]] = {"pdf.fonttype": 42, "svg.hashsalt": "archsim"}
"""Fonts with text that a reader can copy, and a fixed salt for reproducible SVG files."""


_MAX_CAPTION_LINES: Final = 3
_CAPTION_LETTERS_IN: Final = 20.5
_CAPTION_LINE_IN: Final = 0.108
"""Letters of a caption per inch, and height of its lines in inches."""


class Picture(Figure):
    """Figure that Jupyter shows without a backend.

    Its ticks are 1, 2 or 5 times powers of ten.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw the picture after its ticks are rounded."""
        for axes in self.axes:
            _round_ticks(axes.xaxis)
            _round_ticks(axes.yaxis)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        return stream.getvalue()

    def rendered(self, form: str, dpi: int = 200) -> bytes:
        """Return the picture as ``png``, ``svg`` or ``pdf``, always with the same bytes."""
        stamp = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        stream = BytesIO()
        with mpl.rc_context(_FILES):
            self.savefig(stream, format=form, dpi=dpi, metadata=stamp)
        return stream.getvalue()

    def write(self, path: Path) -> None:
        """Write the picture as PNG, SVG or PDF, by the suffix of the name.

        Raises
        ------
        InputError
            The name ends otherwise.
        OSError
            The file cannot be written.
        """
        check_suffix(path)
        path.write_bytes(self.rendered(path.suffix.lower().removeprefix(".")))


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse a file name whose suffix is no picture format.

    Raises
    ------
    InputError
        The error lists the known suffixes.
    """
    if path.suffix.lower() not in suffixes:
        ending = f"'{path.suffix}'" if path.suffix else "nothing"
        known = ", ".join(suffixes)
        text = f"cannot write a picture as {path}: the name ends in {ending}, expected {known}"
        raise InputError(text, hint=f"{path.with_suffix(suffixes[0]).name}")


@contextmanager
def look() -> Iterator[None]:
    """Apply the sizes and lines of all pictures to figures made in the context."""
    with mpl.rc_context(_LOOK):
        yield


def palette(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for every name, the same in every picture with the same names.

    Parameters
    ----------
    names : sequence of str
        In the order of the legend; a name that comes twice has one colour.

    Returns
    -------
    dict of str to str
        Colours by name. They begin again where there are more names than colours.
    """
    unique = list(dict.fromkeys(names))
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(unique)}


def ink_on(colour: ColorType) -> str:
    """Return black or white, whichever contrasts more with a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.30 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def wrapped_name(text: str, wide: int = 18) -> str:
    """Return a long name on several lines."""
    return "\n".join(wrap(text, wide, break_long_words=False)) or text


def headline(figure: Picture, text: str) -> None:
    """Write the subject above a figure, at its full width."""
    lines = wrapped_name(picture_text(text), int(_LETTERS_IN * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + 0.14 * (1 + lines.count("\n")))
    figure.suptitle(lines, x=0.01, ha="left", fontsize=8.5)


def caption(figure: Picture, *choices: Sequence[str]) -> None:
    """Write notes below a picture in small letters, on three lines at most.

    Parameters
    ----------
    choices : sequence of str
        Notes, the longest first: those are written that are the first to fit. Of the last ones, as
        many words are written as fit.
    """
    wide = int(_CAPTION_LETTERS_IN * figure.get_figwidth())
    texts = ["; ".join(notes) for notes in choices]
    fits = (wrap(text, wide, break_on_hyphens=False) for text in texts)
    lines = next((found for found in fits if len(found) <= _MAX_CAPTION_LINES), None)
    if lines is None:
        lines = wrap(texts[-1], wide, max_lines=_MAX_CAPTION_LINES, placeholder=" ...")
    if lines:
        figure.set_figheight(figure.get_figheight() + _CAPTION_LINE_IN * (1 + len(lines)))
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.5, color="0.25")


_NESTED: Final = 6.0
"""Points by which the largest of several kinds of markers is wider than the smallest."""


def nested_size(at: int, markers: int) -> float:
    """Return the size of one of several kinds of markers, each smaller than the last, so that
    markers at one place all show."""
    return 4.5 + min(1.6, _NESTED / max(1, markers - 1)) * (markers - 1 - at)


_LETTER_TICKS: Final = 0.18
"""Width of a digit, as a share of the distance of ticks for which matplotlib finds space."""


def _written(number: float) -> str:
    return f"{number:,.10g}"


class _RoundLogLocator(Locator):
    """Locator of the ticks of ``ticks_of`` on a logarithmic axis."""

    def __init__(self, *, binary: bool) -> None:
        self._binary = binary

    def __call__(self) -> Sequence[float]:
        """Return the ticks inside the axis."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks between two ends, so few that labels side by side do not touch."""
        low, high = sorted((vmin, vmax))
        found = (ticks_of(low, high, binary=self._binary, most=most) for most in range(7, 1, -1))
        return next((ticks for ticks in found if self._fit(ticks, high / low)), (low, high))

    def _fit(self, ticks: Sequence[float], span: float) -> bool:
        if not isinstance(self.axis, XAxis):
            return True
        room = self.axis.get_tick_space() / (_LETTER_TICKS * math.log(span))
        return all(
            room * math.log(b / a) >= (len(_written(a)) + len(_written(b))) / 2 + 1.5
            for a, b in pairwise(ticks)
        )


def _round_ticks(axis: Axis) -> None:
    """Place the ticks of an axis at 1, 2 and 5 times powers of ten, unless ticks were set."""
    axis.set_minor_locator(NullLocator())
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(steps=[1, 2, 5, 10])
    elif isinstance(locator, LogLocator):
        scale = axis.get_transform()
        axis.set_major_locator(
            _RoundLogLocator(binary=isinstance(scale, LogTransform) and scale.base == 2)
        )
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(lambda number, _: _written(number))


def ticks_of(low: float, high: float, *, binary: bool = False, most: int = 7) -> tuple[float, ...]:
    """Return a handful of round numbers between two ends of a logarithmic axis.

    Parameters
    ----------
    low, high : float
        Above zero.
    binary : bool
        True if powers of two are round.
    most : int
        Largest number of ticks.

    Examples
    --------
    >>> ticks_of(0.9, 30), ticks_of(1, 64, binary=True)
    ((1.0, 2.0, 5.0, 10.0, 20.0), (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0))
    """
    first, last = low * (1 - 1e-9), high * (1 + 1e-9)
    found: list[float] = []
    steps: tuple[int, ...]
    if binary:
        powers = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
        found = [2.0**p for p in powers if first <= 2.0**p <= last]
    else:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 5), (1, 5), (1,)):
            found = [m * 10.0**d for d in decades for m in steps if first <= m * 10.0**d <= last]
            if len(found) <= most:
                break
    every = math.ceil(len(found) / (most + 1)) or 1
    return tuple(found[::every])


def panel_grid(
    figure: Figure, panels: int, columns: int, *, sharex: bool = False, sharey: bool = False
) -> list[Axes]:
    """Return axes for some panels, row by row; the rest of the last row stays empty."""
    rows = math.ceil(panels / columns)
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False).ravel()
    for axes in grid[panels:]:
        axes.set_visible(False)
    return [*grid[:panels]]


def name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Write names beside horizontal bars, the first on top, and remove that axis."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def stack_bar(
    axes: Axes,
    at: float,
    pieces: Iterable[tuple[str, float]],
    colours: Mapping[str, str],
    height: float = 0.72,
) -> None:
    """Draw a horizontal bar of pieces from zero to the right, in the colours of their names."""
    left = 0.0
    for name, size in pieces:
        axes.barh(
            at, size, height, left=left, color=colours[name], edgecolor="white", linewidth=0.3
        )
        left += size


def note_bar(
    axes: Axes, x: float, at: float, text: str, *, inside: bool = False, colour: str = ""
) -> None:
    """Write a text at the end of a horizontal bar, to the right of it or ``inside`` in white."""
    axes.annotate(
        text, (x, at), xytext=(-3 if inside else 3, 0), textcoords="offset points", va="center",
        ha="right" if inside else "left", fontsize=7,
        color=colour or ("white" if inside else "black"),
        bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def show_shares(axis: Axis) -> None:
    """Label an axis of shares of one in percent."""
    axis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")


def patches(colours: Mapping[str, str]) -> list[Patch]:
    """Return a legend's entry for each colour, by name."""
    return [Patch(color=colour, label=name) for name, colour in colours.items()]
