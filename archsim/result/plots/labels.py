"""Names of points in a picture, placed so that they do not cover one another.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.textpath import TextPath

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = 8
"""Of the font, in points."""

_LINE = 1.25 * _SIZE
"""Height of a line of text, in points."""

_RINGS = 20
"""Distances at which a text is tried, a line apart."""

_MARKER = 5.0
"""Half the side of the square a point keeps free, in points."""


_THICK = 1.0
"""Lines at least this thick, in points, are kept clear of."""


class Label(NamedTuple):
    """A text at a point, in data coordinates."""

    text: str
    x: float
    y: float


class LabelBox(NamedTuple):
    """A rectangle on the canvas, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: LabelBox) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def beyond(self, other: LabelBox) -> bool:
        """Whether a part of this lies outside the other."""
        return (
            self.left < other.left
            or self.right > other.right
            or self.bottom < other.bottom
            or self.top > other.top
        )


def place_labels(axes: Axes, labels: Sequence[Label], longest: int = 28) -> None:
    """Write each text as near to its point as there is room; a line joins distant ones.

    Texts keep clear of one another, of the points, and of the texts and thick lines that
    the axes have already. Points at one place share a text, of lines of ``longest`` characters.
    The axes' limits and size must be final.
    """
    figure = axes.figure
    scale = 72.0 / figure.dpi
    frame = axes.get_window_extent()
    inside = LabelBox(*(v * scale for v in (frame.x0, frame.y0, frame.x1, frame.y1)))
    merged = [
        (label._replace(text=_folded(label.text, longest)), x, y)
        for label, x, y in _merged(axes, labels, scale)
    ]
    taken = [LabelBox(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for _, x, y in merged]
    taken += _drawn(axes, scale)
    for label, x, y in merged:
        box = _free(label.text, x, y, taken, inside)
        taken.append(box)
        middle = ((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y)
        far = (
            abs(middle[1]) > 9 + (box.top - box.bottom) / 2
            or abs(middle[0]) > 14 + (box.right - box.left) / 2
        )
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=middle,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": "0.55", "linewidth": 0.6} if far else None,
        )


def _folded(text: str, longest: int) -> str:
    return fill(text, longest, break_long_words=False, break_on_hyphens=False)


def _drawn(axes: Axes, scale: float) -> list[LabelBox]:
    """What texts must keep clear of: other texts, and lines as chains of small boxes."""
    frames = [text.get_window_extent() for text in axes.texts]
    found = [LabelBox(*(v * scale for v in (f.x0, f.y0, f.x1, f.y1))) for f in frames]
    for line in axes.lines:
        ends = axes.transData.transform(line.get_xydata()) * scale
        if line.get_linewidth() < _THICK or len(ends) != 2:
            continue
        (x0, y0), (x1, y1) = ends
        pieces = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / 4))
        for i in range(pieces + 1):
            x, y = x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces
            found.append(LabelBox(x - 2, y - 2, x + 2, y + 2))
    return found


def _merged(axes: Axes, labels: Sequence[Label], scale: float) -> list[tuple[Label, float, float]]:
    """Labels with their points on the canvas, texts of one point joined."""
    found: list[tuple[Label, float, float]] = []
    for label in labels:
        x, y = (v * scale for v in axes.transData.transform((label.x, label.y)))
        for at, (other, a, b) in enumerate(found):
            if abs(x - a) < 2 and abs(y - b) < 2:
                found[at] = (other._replace(text=f"{other.text}, {label.text}"), a, b)
                break
        else:
            found.append((label, x, y))
    return found


def _free(text: str, x: float, y: float, taken: Sequence[LabelBox], inside: LabelBox) -> LabelBox:
    """The nearest free place for a text, or the nearest inside the axes if none is free."""
    lines = text.splitlines()
    width, height = max(map(_width, lines)) + 4, _LINE * len(lines)
    fallback: LabelBox | None = None
    for dx, dy in _offsets(width, height):
        box = LabelBox(
            x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2
        )
        if box.beyond(inside):
            continue
        fallback = fallback or box
        if not any(box.meets(other) for other in taken):
            return box
    return fallback or LabelBox(x - width / 2, y + _MARKER, x + width / 2, y + _MARKER + height)


def _width(line: str) -> float:
    """Of a line of text, in points."""
    return float(TextPath((0, 0), line, size=_SIZE).get_extents().width)


def _offsets(width: float, height: float) -> list[tuple[float, float]]:
    """Middles of a text around its point (above, below, beside, aslant), near ones first."""
    found = []
    for ring in range(_RINGS):
        away = _MARKER + 1 + ring * _LINE
        for turn in (0.5, 1.5, 0.0, 1.0, 0.25, 0.75, 1.25, 1.75):
            across, up = cos(turn * pi), sin(turn * pi)
            found.append((across * (away + width / 2), up * (away + height / 2)))
    # A line to a text far to the side runs along a roof and looks like a part of it.
    return sorted(found, key=lambda at: hypot(2 * at[0], at[1]))
