"""A result taken apart at any width: time and energy by Einsum or part, energy by component.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.patches import Patch

from ...quantities import energy, percent, seconds
from .breakdown import run_colours
from .style import IDLE, Picture, folded, name_bars

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..record import ArrayUse, Named, Result

_LEAST = 0.01
"""Of every bar; what is less in all of them has no entry of its own."""
_MOST = 13
_OTHERS, _WAITING = "others", "waiting"
_OTHERS_COLOUR = "#777777"
_COMPONENT = "#555555"
_ROW_IN = 0.27
_LINE_IN = 0.165


@dataclass(frozen=True, slots=True)
class ShareBar:
    """A bar of shares: its name, and (piece, share) from left to right."""

    name: str
    pieces: tuple[tuple[str, float], ...]


def share_bars(result: Result) -> tuple[ShareBar, ...]:
    """Time of each array and the energy, as shares of Einsums or parts.

    What an array does not work it waits; small pieces are taken together.
    """
    bars = [
        *(ShareBar(f"{a.array}, time", _time(result, a)) for a in result.arrays),
        ShareBar("energy", _energy(result)),
    ]
    best: dict[str, float] = {}
    for bar in bars:
        for name, share in bar.pieces:
            best[name] = max(share, best.get(name, 0.0))
    large = sorted((n for n in best if best[n] >= _LEAST), key=lambda n: -best[n])[:_MOST]
    return tuple(_without_small(bar, frozenset(large)) for bar in bars)


def _time(result: Result, use: ArrayUse) -> tuple[tuple[str, float], ...]:
    if result.parts:
        return tuple(
            (p.name, p.times * sum(_occupied(p.result, use.array)) / result.cycles)
            for p in result.parts
        )
    mine = (e for e in result.einsums if e.array == use.array)
    return tuple((e.name, e.cycles / result.cycles) for e in mine)


def _occupied(result: Result, array: str) -> list[float]:
    return [a.occupied_cycles for a in result.arrays if a.array == array]


def _energy(result: Result) -> tuple[tuple[str, float], ...]:
    whole = result.energy_pj or 1.0
    spent: Named = result.energy_by_einsum
    if result.parts:
        spent = tuple((p.name, p.energy_pj) for p in result.parts)
    return tuple((name, pj / whole) for name, pj in spent)


def _without_small(bar: ShareBar, large: frozenset[str]) -> ShareBar:
    kept = [(n, s) for n, s in bar.pieces if n in large]
    rest = sum(s for n, s in bar.pieces if n not in large)
    idle = 1 - rest - sum(s for _, s in kept)
    if rest > 0:
        kept.append((_OTHERS, rest))
    if idle > 1e-9:
        kept.append((_WAITING, idle))
    return ShareBar(bar.name, tuple(kept))


def plot_breakdown(result: Result, width_in: float = 7.0) -> Picture:
    """Time of each array and energy by Einsum or part; below it, energy by component.

    A colour is an Einsum's (or part's) in all bars; components, which are others, have none.
    """
    bars = share_bars(result)
    components = [(n, pj) for n, pj in result.energy_by_component if pj > 0]
    rows = (len(bars), len(components))
    colours = {**run_colours(result), _OTHERS: _OTHERS_COLOUR, _WAITING: IDLE}
    names = [n for n in colours if any(n == piece for b in bars for piece, _ in b.pieces)]
    columns = max(1, int(width_in / (0.42 + 0.068 * max(map(len, names)))))
    legend = _LINE_IN * math.ceil(len(names) / columns)
    high = 1.45 + _ROW_IN * sum(rows) + legend
    figure = Picture(figsize=(width_in, high), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[rows[0] + 0.6, rows[1] + 0.6])
    _draw_shares(upper, bars, colours)
    whole = f"{seconds(result.latency_s)}, {energy(result.energy_pj)}"
    upper.set_title(f"by {'part' if result.parts else 'Einsum'}: {whole}", loc="left")
    _draw_components(lower, components, result.energy_pj)
    lower.set_title("energy by component", loc="left")
    handles = [Patch(color=colours[n], label=n) for n in names]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    return figure


def _draw_shares(axes: Axes, bars: Sequence[ShareBar], colours: dict[str, str]) -> None:
    for at, bar in enumerate(bars):
        left = 0.0
        for name, share in bar.pieces:
            axes.barh(
                at, share, 0.72, left=left, color=colours[name], edgecolor="white", linewidth=0.4
            )
            left += share
    name_bars(axes, [folded(b.name, 16) for b in bars])
    _shares_axis(axes)


def _draw_components(axes: Axes, components: Sequence[tuple[str, float]], whole: float) -> None:
    for at, (_, pj) in enumerate(components):
        share = pj / whole
        axes.barh(at, share, 0.72, color=_COMPONENT)
        text = f"{percent(share)} ({energy(pj)})"
        inside = share > 0.6
        axes.annotate(
            text, (share, at), xytext=(-3 if inside else 3, 0), textcoords="offset points",
            va="center", ha="right" if inside else "left", fontsize=7,
            color="white" if inside else "black",
        )  # fmt: skip
    name_bars(axes, [folded(name, 20) for name, _ in components])
    _shares_axis(axes)


def _shares_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
