"""The picture of a front. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from archsim.document import picture_text
from archsim.quantities import energy, seconds
from archsim.result.plots.style import Picture

from .front import Front

_FOUND = "#4477aa"
_BOUND = "#bbbbbb"


def plot_front(front: Front) -> Picture:
    """Energy over latency: what was found, a step from point to point, and what is proven.

    Between two points the energy is that of the faster one: no mapping known is better. The axes
    end near the points, as what is saved may be a few percent; what is proven is drawn where it
    is that near, and said in the legend.
    """
    figure = Picture(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    late = [p.result.latency_s for p in front.points]
    spent = [p.result.energy_pj for p in front.points]
    proven = [p.result.energy_pj * (1 - p.gap) for p in front.points]
    wide = max(late[-1] - late[0], 0.02 * late[0])
    tall = max(spent[0] - spent[-1], 0.02 * spent[0])
    end = late[-1] + 0.2 * wide
    axes.step([*late, end], [*spent, spent[-1]], where="post", color=_FOUND, linewidth=1.2)
    axes.plot(late, spent, "o", color=_FOUND, markersize=5, label="found, by number")
    least = f"no mapping of the space is below (proven): {energy(proven[0])} and less"
    bounds = [*proven, proven[-1]]
    axes.step([*late, end], bounds, where="post", color=_BOUND, linestyle="--", label=least)
    for number, place in enumerate(zip(late, spent, strict=True), start=1):
        axes.annotate(str(number), place, xytext=(5, 4), textcoords="offset points", fontsize=9)
    axes.set_xlim(late[0] - 0.15 * wide, end)
    axes.set_ylim(spent[-1] - 0.35 * tall, spent[0] + 0.15 * tall)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda x, _: seconds(x))
    axes.yaxis.set_major_formatter(lambda y, _: energy(y))
    axes.set_xlabel("latency")
    axes.set_ylabel("energy")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    title = picture_text(f"{front.workload} on {front.architecture}")
    axes.set_title(title, loc="left", fontsize=11)
    return figure
