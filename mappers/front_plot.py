"""The picture of a front. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from archsim.quantities import byte_size, energy, seconds
from archsim.result.plots.style import PAGE_IN, PALETTE, Picture, headline, look

from .front import Front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

_FOUND, _BOUND = PALETTE[0], PALETTE[1]
_BYTES = FuncFormatter(lambda held, _: byte_size(round(2.0**held)))
_WIDE = 4
"""Latencies further apart than by this factor are drawn on a logarithmic axis."""


def plot_front(front: Front) -> Picture:
    """Energy over latency: what was found, a step from point to point, and what is proven.

    Between two points the energy is that of the faster one: no mapping known is better. The axes
    end near the points, as what is saved may be a few percent; what is proven is drawn where it
    is that near, and said in the legend. Of a front of three the points have the colour of what
    they hold.
    """
    with look():
        figure = Picture(figsize=(PAGE_IN, 4.0), layout="constrained")
        axes = figure.subplots()
        if front.memory:
            label = f"held in {front.memory}"
            figure.colorbar(_draw_held(axes, front), ax=axes, label=label, format=_BYTES)
        else:
            _draw(axes, front)
            figure.legend(loc="outside lower left")
        headline(figure, f"{front.workload} on {front.architecture}")
    return figure


def _draw(axes: Axes, front: Front) -> None:
    late = [p.result.latency_s for p in front.points]
    spent = [p.result.energy_pj for p in front.points]
    proven = [p.result.energy_pj * (1 - p.gap) for p in front.points]
    wide = max(late[-1] - late[0], 0.02 * late[0])
    tall = max(spent[0] - spent[-1], 0.02 * spent[0])
    end = late[-1] + 0.2 * wide
    axes.step([*late, end], [*spent, spent[-1]], where="post", color=_FOUND)
    axes.plot(late, spent, "o", color=_FOUND, label="found, by number")
    least = f"no mapping of the space is below (proven): {energy(proven[0])} and less"
    bounds = [*proven, proven[-1]]
    axes.step([*late, end], bounds, where="post", color=_BOUND, linestyle="--", label=least)
    axes.set_xlim(late[0] - 0.15 * wide, end)
    axes.set_ylim(spent[-1] - 0.35 * tall, spent[0] + 0.15 * tall)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _name(axes, late, spent, [""] * len(late))


def _draw_held(axes: Axes, front: Front) -> PathCollection:
    """Points with the colour of what they hold, a step for each factor of two."""
    late = [p.result.latency_s for p in front.points]
    spent = [p.result.energy_pj for p in front.points]
    held = [p.held_bytes or 0.0 for p in front.points]
    least = min((b for b in held if b), default=1.0)
    shades = [log2(max(b, least / 4)) for b in held]
    dots = axes.scatter(late, spent, c=shades, cmap="viridis_r", s=40, zorder=2)
    axes.margins(0.12)
    if late[-1] > _WIDE * late[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    _name(axes, late, spent, [f": {byte_size(b)}" for b in held])
    return dots


def _name(axes: Axes, late: Sequence[float], spent: Sequence[float], more: Sequence[str]) -> None:
    for number, (x, y, text) in enumerate(zip(late, spent, more, strict=True), start=1):
        axes.annotate(f"{number}{text}", (x, y), xytext=(5, 4), textcoords="offset points")
    axes.xaxis.set_major_formatter(lambda x, _: seconds(x))
    axes.yaxis.set_major_formatter(lambda y, _: energy(y))
    axes.set_xlabel("latency")
    axes.set_ylabel("energy")
