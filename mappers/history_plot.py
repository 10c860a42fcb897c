"""The picture of a search: how the best and the bound met.

Imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite, nan
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from archsim.document import picture_text
from archsim.quantities import count, energy, seconds
from archsim.result.plots.style import FAINT, PALETTE, Picture, headline, look

from .workload_search import PartSearched, WorkloadSearched

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEST, _BOUND = PALETTE[0], PALETTE[1]
_COLUMNS = 3
_FAR = 2.0
"""Best and bound so many times apart are drawn on a logarithmic axis."""
_NEAR = 0.02
"""Values that differ by less than this share are not blown up."""


def plot_history(found: WorkloadSearched) -> Picture:
    """The best mapping and what no mapping is below over the time of the search.

    Both curves are steps: what is known at a time holds until something better is. What lies
    between them when the search ends is the gap of the certificate. A panel for each part that was
    searched by itself.
    """
    parts = [p for p in found.parts if p.found.history]
    columns = min(_COLUMNS, max(1, len(parts)))
    rows = max(1, ceil(len(parts) / columns))
    with look():
        size = (max(4.6, 3.0 * columns), 2.6 * rows)
        figure = Picture(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, part in zip(panels, parts, strict=False):
            _draw(axes, part, found)
        for axes in panels[len(parts) :]:
            axes.set_visible(False)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        what = f"{found.objective.name} of {found.result.workload} on {found.result.architecture}"
        headline(figure, f"The search for the least {what}")
    return figure


@dataclass(frozen=True, slots=True)
class ObjectiveScale:
    """How an objective is drawn: latency in seconds, energy in picojoules."""

    unit: float
    """What a value is multiplied by."""
    shown: Callable[[float], str]

    @classmethod
    def of(cls, found: WorkloadSearched) -> ObjectiveScale:
        """That of a search's objective, whose latency is in cycles."""
        result = found.result
        match found.objective.name:
            case "latency":
                return cls(result.latency_s / result.cycles if result.cycles else 0.0, seconds)
            case "energy":
                return cls(1.0, energy)
            case _:
                return cls(1.0, lambda value: f"{count(value)} {found.objective.unit}")


def _draw(axes: Axes, part: PartSearched, found: WorkloadSearched) -> None:
    history, scale = part.found.history, ObjectiveScale.of(found)
    at = [m.seconds for m in history]
    values = [scale.unit * m.value if isfinite(m.value) else nan for m in history]
    bounds = [scale.unit * m.bound or nan for m in history]
    axes.fill_between(at, bounds, values, step="post", color=FAINT, alpha=0.35, linewidth=0)
    axes.step(at, values, where="post", color=_BEST, label="best mapping")
    axes.step(at, bounds, where="post", color=_BOUND, label="no mapping is below (proven)")
    changes = [n for n, m in enumerate(history) if not n or m.value < history[n - 1].value]
    axes.plot([at[n] for n in changes], [values[n] for n in changes], "o", color=_BEST)
    if floor := scale.unit * part.found.certificate.floor:
        axes.axhline(floor, color="0.45", linestyle=":", linewidth=0.9, label="floor")
    axes.set_xlim(0, 1.02 * at[-1] or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    scale_values(axes, [*values, *bounds], scale.shown)
    axes.set_xlabel("seconds of the search")
    gap = part.found.certificate.gap
    said = "optimal" if part.found.certificate.optimal else f"gap {100 * gap:.2g} %"
    axes.set_title(picture_text(f"{part.name}: {scale.shown(values[-1])}, {said}"), loc="left")


def scale_values(axes: Axes, values: Sequence[float], shown: Callable[[float], str]) -> None:
    """An axis of an objective, logarithmic where values are far from one another.

    Parameters
    ----------
    values : sequence of float
        All that is drawn.
    shown : callable
        How a value is said.
    """
    there = [v for v in values if isfinite(v) and v > 0]
    if there and max(there) > _FAR * min(there):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        if there and max(there) < (1 + _NEAR) * min(there):
            axes.set_ylim(min(there) * (1 - _NEAR), max(there) * (1 + _NEAR))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda y, _: shown(y))
