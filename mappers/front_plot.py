"""The picture of a front. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from archsim.quantities import energy, seconds
from archsim.result.plots.style import PAGE_IN, PALETTE, Picture, headline, look

from .front import Front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FOUND, _BOUND = PALETTE[0], PALETTE[1]


def plot_front(front: Front) -> Picture:
    """Energy over latency: what was found, a step from point to point, and what is proven.

    Between two points the energy is that of the faster one: no mapping known is better. The axes
    end near the points, as what is saved may be a few percent; what is proven is drawn where it
    is that near, and said in the legend.
    """
    with look():
        figure = Picture(figsize=(PAGE_IN, 4.0), layout="constrained")
        _draw(figure.subplots(), front)
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
    for number, place in enumerate(zip(late, spent, strict=True), start=1):
        axes.annotate(str(number), place, xytext=(5, 4), textcoords="offset points")
    axes.set_xlim(late[0] - 0.15 * wide, end)
    axes.set_ylim(spent[-1] - 0.35 * tall, spent[0] + 0.15 * tall)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda x, _: seconds(x))
    axes.yaxis.set_major_formatter(lambda y, _: energy(y))
    axes.set_xlabel("latency")
    axes.set_ylabel("energy")
