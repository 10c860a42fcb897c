"""Time and energy of a run by Einsum, part and component.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...quantities import energy, percent, seconds
from .style import IDLE, Picture, ink_on, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..record import Named, Result

_LABEL_SHARE = 0.055
"""A segment narrower than this share of the axis, or than its name, is named below the bar."""

_CHARACTER_SHARE = 0.009
"""What a character of a label takes of the axis, with a margin."""

_LINE_CHARACTERS = 115
"""Of the names below a bar; those of an overlong list are in the plot of utilization."""

_LEAST_SHARE = 0.0005
"""Below this a share shows as 0.0 % and is not named at all."""

_HEIGHT = 0.62
"""Of a bar; the rest of a row is for the labels below it."""


def plot_time(result: Result) -> Picture:
    """How each array spends the run: one bar per array, one segment per Einsum.

    A segment's width is the Einsum's cycles on the array over the elapsed cycles. A
    workload in parts has a bar of its parts, in order, and below it what each array works
    in the time of each part.
    """
    rows = len(result.arrays) + bool(result.parts)
    figure = Picture(figsize=(9, 0.7 + 0.75 * max(1, rows)), layout="constrained")
    draw_array_time(figure.subplots(), result)
    return figure


def plot_energy(result: Result) -> Picture:
    """Energy by component, and by Einsum or part, as two bars of shares."""
    figure = Picture(figsize=(9, 2.4), layout="constrained")
    draw_energy(figure.subplots(), result)
    return figure


def draw_array_time(axes: Axes, result: Result) -> None:
    """Draw one bar per array into ``axes``: its Einsums, then the time it waits."""
    if result.parts:
        _draw_part_time(axes, result)
        return
    colours = run_colours(result)
    for row, use in enumerate(result.arrays):
        parts = [(e.name, e.cycles) for e in result.einsums if e.array == use.array and e.cycles]
        idle = max(0.0, 1 - sum(c for _, c in parts) / result.cycles)
        _stack(axes, row, parts, result.cycles, colours)
        axes.barh(row, idle, _HEIGHT, left=1 - idle, color=IDLE)
        if idle >= _LABEL_SHARE:
            text = f"waiting\n{percent(idle)}"
            axes.text(1 - idle / 2, row, text, ha="center", va="center", fontsize=7)
    _rows(axes, [a.array for a in result.arrays])
    axes.set_title(
        f"time of each array in {seconds(result.latency_s)} (grey: waiting), "
        f"bound by {result.bound_by}",
        loc="left",
    )


def _draw_part_time(axes: Axes, result: Result) -> None:
    """A bar of the parts, and one per array: in each part's time, work before waiting."""
    colours = run_colours(result)
    _stack(axes, 0, [(p.name, p.cycles) for p in result.parts], result.cycles, colours)
    left = 0.0
    for part in result.parts:
        share = part.cycles / result.cycles
        works = {a.array: a.occupied_cycles / part.result.cycles for a in part.result.arrays}
        for row, use in enumerate(result.arrays, start=1):
            busy = share * min(1.0, works[use.array])
            colour = colours[part.name]
            axes.barh(row, share, _HEIGHT, left=left, color=IDLE)
            axes.barh(row, busy, _HEIGHT, left=left, color=colour)
            if busy >= _LABEL_SHARE:
                text = percent(works[use.array])
                at, ink = left + busy / 2, ink_on(colour)
                axes.text(at, row, text, ha="center", va="center", fontsize=7, color=ink)
        left += share
    _rows(axes, ["parts", *(a.array for a in result.arrays)])
    axes.set_title(
        f"time of each part in {seconds(result.latency_s)}, and the share of it that each "
        f"array works (grey: waiting)",
        loc="left",
    )


def draw_energy(axes: Axes, result: Result) -> None:
    """Draw energy by component and by Einsum (or by part) into ``axes``."""
    if result.parts:
        what, shares = "by part", tuple((p.name, p.energy_pj) for p in result.parts)
    else:
        what, shares = "by Einsum", result.energy_by_einsum
    components = palette([name for name, _ in result.energy_by_component])
    _stack(axes, 0, result.energy_by_component, result.energy_pj, components)
    _stack(axes, 1, shares, result.energy_pj, run_colours(result))
    _rows(axes, ["by component", what])
    axes.set_title(f"energy: {energy(result.energy_pj)}", loc="left")


def _stack(
    axes: Axes, row: int, parts: Named | list[tuple[str, float]], whole: float, colours: _Colours
) -> None:
    """A stacked bar; what is too narrow for a label inside it is named below, in order."""
    left = 0.0
    narrow: list[str] = []
    for name, value in parts:
        share = value / whole if whole else 0.0
        colour = colours[name]
        axes.barh(row, share, _HEIGHT, left=left, color=colour, edgecolor="white", linewidth=0.5)
        if share >= max(_LABEL_SHARE, _CHARACTER_SHARE * len(name)):
            text = f"{name}\n{percent(share)}"
            ink = ink_on(colour)
            axes.text(left + share / 2, row, text, ha="center", va="center", fontsize=7, color=ink)
        elif share >= _LEAST_SHARE:
            narrow.append(f"{name} {percent(share)}")
        left += share
    if narrow:
        text = f"narrow ones, left to right: {_one_line(narrow)}"
        axes.text(0, row + _HEIGHT / 2 + 0.03, text, ha="left", va="top", fontsize=7)


def _one_line(names: list[str]) -> str:
    """As many names as there is room for below a bar, and how many more there are."""
    text = ", ".join(names)
    shown = len(names)
    while shown > 1 and len(text) > _LINE_CHARACTERS:
        shown -= 1
        text = f"{', '.join(names[:shown])}, and {len(names) - shown} more"
    return text


def _rows(axes: Axes, names: list[str]) -> None:
    """Name the bars, first on top, and make the axis a percentage."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


_Colours = dict[str, str]


def run_colours(result: Result) -> _Colours:
    """A colour for every part of a run, else for every Einsum: alike in all its pictures."""
    return palette([piece.name for piece in result.parts or result.einsums])
