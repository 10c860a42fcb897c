"""Useful work of each array, Einsum by Einsum. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...document import picture_text
from ...quantities import percent, seconds
from .breakdown import run_colours
from .style import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ..record import ArrayUse, Result

_WIDTH = 0.32
"""Of a bar; the rest of its unit is for the names beside it."""

_LEAST_SHARE = 0.0005
"""Below this a share shows as 0.0 % and is not named."""

_IDLE, _WAITING = "(elements idle)", "(waiting)"
"""Parts that are no Einsum's."""

_CHARACTER = 0.12
"""Inches of a column for each character of the longest name beside it."""

_LINE = 0.17
"""Height of a line of text, in inches."""


def plot_utilization(result: Result) -> Picture:
    """One column per array: an Einsum's part is its useful work over the elapsed time.

    The parts add up to the array's utilization. Above them, hatched: the array is taken,
    but elements idle (small or ragged tiles, fill and drain); the rest: it waits. A
    workload in parts has a segment per part.
    """
    columns = [_parts(result, use) for use in result.arrays]
    named = max(sum(share >= _LEAST_SHARE for _, share in c) for c in columns)
    height = max(3.6, 1.1 + _LINE * (named + 1))
    longest = max(len(n) for c in columns for n, share in c if share >= _LEAST_SHARE)
    width = max(2.6, _CHARACTER * longest)
    figure = Picture(figsize=(1.0 + width * len(result.arrays), height), layout="constrained")
    axes = figure.subplots()
    colours = run_colours(result)
    gap = _LINE / (height - 1.0)
    for at, column in enumerate(columns):
        _column(axes, at, column, colours, gap)
    axes.set_xticks(
        range(len(result.arrays)),
        [f"{a.array}\n{percent(a.utilization)}" for a in result.arrays],
    )
    axes.set_xlim(-0.3, len(result.arrays) - 0.3)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_ylabel(f"share of {seconds(result.latency_s)}")
    axes.set_title(
        picture_text(f"{result.workload} on {result.architecture}\nmapped by {result.mapping}"),
        loc="left",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(bottom=False)
    return figure


def _parts(result: Result, use: ArrayUse) -> list[tuple[str, float]]:
    """Names and shares of one column from below, idle elements and waiting last."""
    if result.parts:
        parts = [(p.name, p.times * _busy(p.result, use) / result.cycles) for p in result.parts]
    else:
        parts = [(e.name, e.utilization) for e in result.einsums if e.array == use.array]
    taken = use.occupied_cycles / result.cycles
    idle = max(0.0, taken - use.utilization)
    return [*parts, (_IDLE, idle), (_WAITING, max(0.0, 1 - taken))]


def _busy(result: Result, use: ArrayUse) -> float:
    return sum(a.busy_cycles for a in result.arrays if a.array == use.array)


def _column(
    axes: Axes, at: int, parts: list[tuple[str, float]], colours: dict[str, str], gap: float
) -> None:
    """Draw one column, and every name beside its part, apart from the others."""
    looks: dict[str, dict[str, Any]] = {
        _IDLE: {"facecolor": "white", "edgecolor": "0.6", "hatch": "////"},
        _WAITING: {"facecolor": "white", "edgecolor": "0.75"},
    }
    bottom = 0.0
    labels: list[tuple[str, float]] = []
    for name, share in parts:
        look = looks.get(name) or {"facecolor": colours[name], "edgecolor": "white"}
        axes.bar(at, share, _WIDTH, bottom=bottom, linewidth=0.5, **look)
        if share >= _LEAST_SHARE:
            labels.append((f"{name} {percent(share)}", bottom + share / 2))
        bottom += share
    places = spread([y for _, y in labels], gap)
    edge = at + _WIDTH / 2
    for (text, y), place in zip(labels, places, strict=True):
        axes.plot([edge, edge + 0.05], [y, place], color="0.6", linewidth=0.6, clip_on=False)
        axes.text(edge + 0.07, place, text, va="center", ha="left", fontsize=8)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved as little as needed to be ``gap`` apart.

    Neighbours that are too close become a group around the middle of its members.
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _low(groups[-1], gap) < _high(groups[-2], gap) + gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    found: list[float] = []
    for group in groups:
        found += [_low(group, gap) + i * gap for i in range(len(group))]
    return found


def _low(group: list[float], gap: float) -> float:
    """Where a group begins: around its middle, but inside 0..1 where there is room."""
    length = (len(group) - 1) * gap
    middle = sum(group) / len(group) - length / 2
    return max(gap / 2, min(middle, 1.0 - gap / 2 - length))


def _high(group: list[float], gap: float) -> float:
    return _low(group, gap) + (len(group) - 1) * gap
