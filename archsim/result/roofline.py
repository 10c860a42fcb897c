"""Rooflines of a result, one panel per memory, with labels that do not overlap.

This module imports matplotlib: import it only to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, sin
from textwrap import fill, shorten
from typing import TYPE_CHECKING

from matplotlib.textpath import TextPath
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox, BboxBase

from einsum_cascade.errors import InputError

from ..document import picture_text
from ..figure_style import Picture, caption, headline, palette
from ..quantities import engineering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from .record import EinsumUse, MemoryRoof, Roofs, RunRecord


_LEAST_PANEL_IN = 3.2
"""Smallest width of a panel that stands beside another panel, in inches."""

_NARROW_IN = 4.0
"""Width in inches below which a panel has short lines of labels."""
_NARROW_LABEL, _WIDE_LABEL = 13, 28
"""Characters per line of a broken label, in a narrow and in a wide panel."""

_FEW_PARTS = 10
"""Largest number of parts for which every part has a number in the picture."""

_LEAST_TIME = 0.03
"""Share of the run below which a part has no number, if there are many parts."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Point of a roofline: operations per byte, and operations per second."""

    name: str
    array: str
    intensity: float
    ops_per_s: float
    whole_run: bool = False


def plot_roofline(result: RunRecord, width_in: float | None = None) -> Picture:
    """Draw log-log rooflines: a panel for each memory, a roof for each array, a point for each
    Einsum.

    Parameters
    ----------
    result : RunRecord
        Result of a simulation.
    width_in : float, optional
        Width in inches; by default, all panels fit side by side. Narrow panels are stacked.

    Raises
    ------
    InputError
        The result has no roofs.

    Notes
    -----
    Operations per second are operations over the longer of two times: that of the array, and that
    of the memory for the Einsum's bytes. The run has a point per array: the array's operations over
    the latency, over all bytes of the memory. A mac is one operation; operations that take no
    cycles are not counted. A workload in parts has a numbered point for each part and array, with a
    key below the panels.
    """
    if not result.roofs.arrays or not result.roofs.memories:
        raise InputError("this result does not say what its machine can do at the most")
    levels = [m for m in result.roofs.memories if spots(result, m)]
    number = max(1, len(levels))
    wide = width_in or 1.0 + 5.6 * number
    columns = number if wide / number > _LEAST_PANEL_IN else 1
    rows = -(-number // columns)
    high = 4.8 if width_in is None else 0.4 + rows * (0.5 + min(3.2, 0.85 * wide / columns))
    figure = Picture(figsize=(wide, high), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, memory in zip(panels, levels, strict=False):
        _panel(axes, result, memory, wide / columns)
    subject = f"{result.workload} on {result.architecture}, mapped by {result.mapping}"
    if width_in is None:
        figure.suptitle(picture_text(subject), x=0.01, ha="left", fontsize=11)
    else:
        headline(figure, subject)
    numbers = _part_numbers(result) if result.parts else None
    if numbers:
        # A line is never broken between a number and its name.
        key = (f"{number}\u00a0{name}" for name, number in numbers.items())
        caption(figure, ["\u00a0\u00a0 ".join(key)])
    # Constrained layout moves the axes; labels need their final places.
    figure.draw_without_rendering()
    for axes, memory in zip(panels, levels, strict=False):
        longest = _NARROW_LABEL if wide / columns < _NARROW_IN else _WIDE_LABEL
        _name_spots(axes, spots(result, memory), numbers, longest)
    return figure


def _part_numbers(result: RunRecord) -> dict[str, str]:
    """Return the number that labels each part, in sequence; if there are many parts, short ones
    get none."""
    quick = _nameless(result)
    named = [p.name for p in result.parts if p.name not in quick]
    return {name: str(at) for at, name in enumerate(dict.fromkeys(named), start=1)}


def spots(result: RunRecord, memory: MemoryRoof) -> list[Spot]:
    """Return the points of one panel: Einsums (or parts) that use the memory, then the run."""
    if result.parts:
        found = [
            spot
            for part in result.parts
            for spot in _runs(part.result, memory, result.roofs, part.name, whole_run=False)
        ]
    else:
        found = list(_einsums(result, memory))
    return [*found, *_runs(result, memory, result.roofs, "run", whole_run=True)]


def _einsums(result: RunRecord, memory: MemoryRoof) -> Iterator[Spot]:
    untimed = _untimed(result.roofs)
    for e in result.einsums:
        moved = sum(t.total_bytes for t in e.traffic if t.level == memory.level)
        ops = _operations(e, untimed)
        time = max(
            e.cycles / result.clock_hz, moved / memory.bytes_per_s if memory.bytes_per_s else 0.0
        )
        if moved and ops and time:
            yield Spot(e.name, e.array, ops / moved, ops / time)


def _runs(
    result: RunRecord, memory: MemoryRoof, roofs: Roofs, name: str, *, whole_run: bool
) -> Iterator[Spot]:
    """Yield the point of a run or a part for each array."""
    untimed = _untimed(roofs)
    moved = sum(t.total_bytes for t in result.traffic if t.level == memory.level)
    for roof in roofs.arrays:
        ops = sum(_operations(e, untimed) for e in result.einsums if e.array == roof.array)
        if moved and ops:
            text = f"{name} ({roof.array})" if whole_run else name
            yield Spot(text, roof.array, ops / moved, ops / result.latency_s, whole_run)


def _untimed(roofs: Roofs) -> dict[str, set[str]]:
    return {r.array: set(r.untimed) for r in roofs.arrays}


def _operations(einsum: EinsumUse, untimed: dict[str, set[str]]) -> int:
    free = untimed.get(einsum.array, set())
    return sum(n for kind, n in einsum.operations if kind not in free)


def _panel(axes: Axes, result: RunRecord, memory: MemoryRoof, wide_in: float) -> None:
    found = spots(result, memory)
    peaks = {r.array: r.peak_ops_per_s for r in result.roofs.arrays}
    colours = palette([a.array for a in result.arrays])
    left, right = _range(
        [s.intensity for s in found]
        + [p / memory.bytes_per_s for p in peaks.values() if memory.bytes_per_s]
    )
    low, high = _range([s.ops_per_s for s in found] + list(peaks.values()))
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
    for array, peak in peaks.items():
        begin = left if memory.bytes_per_s is None else max(left, peak / memory.bytes_per_s)
        axes.plot([begin, right], [peak, peak], color=colours[array], linewidth=1.6)
    for peak in dict.fromkeys(peaks.values()):
        names = "\n".join(a for a, p in peaks.items() if p == peak)
        text = f" {names}\n {engineering(peak, 'op/s')}"
        axes.text(right, peak, text, ha="left", va="center", fontsize=8, color="0.25")
    if memory.bytes_per_s is not None:
        top = max(peaks.values()) / memory.bytes_per_s
        axes.plot([left, top], [left * memory.bytes_per_s, top * memory.bytes_per_s], color="0.35")
        for peak in peaks.values():
            axes.plot([peak / memory.bytes_per_s] * 2, [low, peak], color="0.8", linewidth=0.6)
    for s in found:
        axes.plot(
            s.intensity,
            s.ops_per_s,
            marker="D" if s.whole_run else "o",
            markersize=8 if s.whole_run else 5,
            markeredgecolor="black" if s.whole_run else "white",
            markeredgewidth=0.8,
            color=colours[s.array],
            linestyle="none",
            zorder=3,
        )
    _describe(axes, result, memory, found, wide_in)


def _describe(
    axes: Axes, result: RunRecord, memory: MemoryRoof, found: list[Spot], wide_in: float
) -> None:
    limit = "bandwidth without limit"
    if memory.bytes_per_s is not None:
        limit = engineering(memory.bytes_per_s, "B/s")
    narrow = wide_in < _NARROW_IN
    axes.set_title(f"{memory.level}: {limit}", loc="left", fontsize=8.5 if narrow else 10)
    used = {s.name for s in found}
    quiet = [u.name for u in result.parts or result.einsums if u.name not in used]
    text = f"no traffic here: {', '.join(quiet)}"
    below = "\n" + shorten(text, int(11 * wide_in), placeholder=" ...") if quiet else ""
    if _nameless(result):
        below += (
            f"\nwithout a number: operators of less than {100 * _LEAST_TIME:.0f} % of the time each"
        )
    axes.set_xlabel(
        f"operations a byte of {memory.level} traffic (op/B){below}", fontsize=8 if narrow else 9
    )
    axes.set_ylabel("operations a second (op/s)", fontsize=8 if narrow else 9)
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    axes.spines[["top", "right"]].set_visible(False)


def _range(values: list[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis, with a margin around the values."""
    low, high = min(values), max(values)
    margin = max(3.0, (high / low) ** 0.12)
    return low / margin, high * margin


def _nameless(result: RunRecord) -> frozenset[str]:
    """Return the names of parts without a label: short parts, if there are many parts."""
    if len(result.parts) <= _FEW_PARTS:
        return frozenset()
    least = _LEAST_TIME * result.latency_s
    return frozenset(p.name for p in result.parts if p.latency_s < least)


def _name_spots(
    axes: Axes, found: list[Spot], numbers: dict[str, str] | None, longest: int
) -> None:
    """Label the points with names or numbers; points of the whole run come first, as they are
    larger."""
    order = sorted(found, key=lambda s: not s.whole_run)
    names = [(s, s.name if s.whole_run or numbers is None else numbers.get(s.name)) for s in order]
    _place_labels(axes, [(name, s) for s, name in names if name], longest)


_SIZE = 8
"""Font size of labels, in points."""

_LINE = 1.25 * _SIZE
"""Height of a line of text, in points."""

_RINGS = 20
"""Number of distances from its point at which a label is tried, one line apart."""

_MARKER = 5.0
"""Half the side, in points, of the square around a point that labels avoid."""


_THICK = 1.0
"""Smallest width, in points, of lines that labels avoid."""


def _place_labels(axes: Axes, labels: Sequence[tuple[str, Spot]], longest: int) -> None:
    """Write each text as near to its point as there is space; a line joins distant texts.

    Texts avoid one another, the points, and the texts and thick lines that the axes have already.
    Points at one place share a text with lines of ``longest`` characters. The limits and size of
    the axes must be final.
    """
    figure = axes.figure
    scale = 72.0 / figure.dpi
    inside = _in_points(axes.get_window_extent(), scale)
    merged = _merged(axes, labels, scale)
    taken = [_box(x, y, 2 * _MARKER, 2 * _MARKER) for _, _, x, y in merged]
    taken += _drawn(axes, scale)
    for whole, spot, x, y in merged:
        text = fill(whole, longest, break_long_words=False, break_on_hyphens=False)
        box = _free(text, x, y, taken, inside)
        taken.append(box)
        middle = ((box.x0 + box.x1) / 2 - x, (box.y0 + box.y1) / 2 - y)
        far = abs(middle[1]) > 9 + box.height / 2 or abs(middle[0]) > 14 + box.width / 2
        axes.annotate(
            text,
            (spot.intensity, spot.ops_per_s),
            xytext=middle,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": "0.55", "linewidth": 0.6} if far else None,
        )


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    """Return the rectangle of a width and height around a point on the canvas, in points."""
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _in_points(frame: BboxBase, scale: float) -> Bbox:
    return Bbox(frame.get_points() * scale)


def _drawn(axes: Axes, scale: float) -> list[Bbox]:
    """Return the boxes that labels must avoid: texts, and lines as chains of small boxes."""
    found = [_in_points(text.get_window_extent(), scale) for text in axes.texts]
    for line in axes.lines:
        ends = axes.transData.transform(line.get_xydata()) * scale
        if line.get_linewidth() < _THICK or len(ends) != 2:
            continue
        (x0, y0), (x1, y1) = ends
        pieces = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / 4))
        for i in range(pieces + 1):
            x, y = x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces
            found.append(_box(x, y, 4, 4))
    return found


def _merged(
    axes: Axes, labels: Sequence[tuple[str, Spot]], scale: float
) -> list[tuple[str, Spot, float, float]]:
    """Return labels with their positions on the canvas; labels at one position are joined."""
    found: list[tuple[str, Spot, float, float]] = []
    for text, spot in labels:
        x, y = (v * scale for v in axes.transData.transform((spot.intensity, spot.ops_per_s)))
        for at, (other, first, a, b) in enumerate(found):
            if abs(x - a) < 2 and abs(y - b) < 2:
                found[at] = (f"{other}, {text}", first, a, b)
                break
        else:
            found.append((text, spot, x, y))
    return found


def _free(text: str, x: float, y: float, taken: Sequence[Bbox], inside: Bbox) -> Bbox:
    """Return the nearest free rectangle for a text; if none is free, the nearest one inside the
    axes."""
    lines = text.splitlines()
    width, height = max(map(_width, lines)) + 4, _LINE * len(lines)
    fallback: Bbox | None = None
    for dx, dy in _offsets(width, height):
        box = _box(x + dx, y + dy, width, height)
        if not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)):
            continue
        fallback = fallback or box
        if not box.count_overlaps(taken):
            return box
    return fallback or _box(x, y + _MARKER + height / 2, width, height)


def _width(line: str) -> float:
    """Return the width of a line of text, in points."""
    return float(TextPath((0, 0), line, size=_SIZE).get_extents().width)


def _offsets(width: float, height: float) -> list[tuple[float, float]]:
    """Return positions of a text relative to its point, the nearest first."""
    found = []
    for ring in range(_RINGS):
        away = _MARKER + 1 + ring * _LINE
        for turn in (0.5, 1.5, 0.0, 1.0, 0.25, 0.75, 1.25, 1.75):
            across, up = cos(turn * pi), sin(turn * pi)
            found.append((across * (away + width / 2), up * (away + height / 2)))
    # A line to a text far to the side runs along a roof and looks like a part of the roof.
    return sorted(found, key=lambda at: hypot(2 * at[0], at[1]))
