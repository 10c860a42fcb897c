"""Style of all figures: palette, letter sizes, and file formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from einsum_cascade.errors import InputError, Problem

from .document import picture_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLUMN_IN: Final = 3.3
"""Width of a column of a paper, in inches."""
PAGE_IN: Final = 7.0
"""Width of a page of two columns."""

_LETTERS_IN: Final = 12.5
"""Letters of a headline on an inch."""

SUFFIXES: Final = (".png", ".svg", ".pdf")
"""What a picture can be written as."""

PALETTE: Final = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866"),
    *("#44bb99", "#99ddff", "#bbcc33", "#ffaabb", "#999933", "#882255", "#ddaa33"),
)
"""Colours that stay apart for most colour-blind readers: Paul Tol's bright scheme, then those of
his light and muted ones that are left."""

MARKERS: Final = "osD^vPX*<>ph8d"
"""A shape beside each colour of the palette, for who sees no colours and for grey prints."""

ORDERED: Final = "cividis"
"""The colour map of numbers: its lightness rises evenly for colour-blind readers, too."""

IDLE: Final = "#e6e6e6"
"""Time in which nothing works."""
FAINT: Final = "0.72"
"""What is drawn to be compared with, and is not the answer."""

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
}
_FILES: Final[dict[Any, Any]] = {"pdf.fonttype": 42, "svg.hashsalt": "archsim"}
"""Fonts of which a reader can copy the text; the same SVG for the same picture."""


class Picture(Figure):
    """A figure that Jupyter shows without a backend."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        return stream.getvalue()

    def write(self, path: Path) -> None:
        """Write it as PNG, SVG or PDF, as the name ends.

        Raises
        ------
        InputError
            The name ends otherwise.
        OSError
            The file cannot be written.
        """
        check_suffix(path)
        stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        with mpl.rc_context(_FILES):
            self.savefig(path, dpi=200, metadata=stamp)


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse a name that says no way to write a picture.

    Raises
    ------
    InputError
        With those that there are.
    """
    if path.suffix.lower() not in suffixes:
        ending = f"'{path.suffix}'" if path.suffix else "nothing"
        known = ", ".join(suffixes)
        text = f"cannot write a picture as {path}: the name ends in {ending}, expected {known}"
        raise InputError(Problem(text, hint=f"{path.with_suffix(suffixes[0]).name}"))


@contextmanager
def look() -> Iterator[None]:
    """Sizes and lines as all pictures have them, for what is made inside."""
    with mpl.rc_context(_LOOK):
        yield


def palette(names: Sequence[str]) -> dict[str, str]:
    """A colour for every name, the same names in the same order alike in every picture.

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


def ink_on(colour: str | tuple[float, float, float]) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.30 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def wrapped_name(text: str, wide: int = 18) -> str:
    """A long name on several lines."""
    return "\n".join(wrap(text, wide, break_long_words=False)) or text


def headline(figure: Picture, text: str) -> None:
    """What the picture is of, above all of it and as wide."""
    lines = wrapped_name(picture_text(text), int(_LETTERS_IN * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + 0.14 * (1 + lines.count("\n")))
    figure.suptitle(lines, x=0.01, ha="left", fontsize=8.5)


def name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Names beside horizontal bars, the first on top, and nothing else on that side."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
