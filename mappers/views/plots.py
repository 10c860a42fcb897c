"""Pictures of searches, fronts and capacity curves. Imports matplotlib: load it only to draw."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import ceil, isfinite, log2, nan
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from archsim.document import picture_text
from archsim.figure_style import (
    FAINT,
    MARKERS,
    PAGE_IN,
    PALETTE,
    Picture,
    headline,
    look,
    nested_size,
    panel_grid,
)
from archsim.quantities import byte_size, count, energy, seconds

from ..pareto.capacity_search import CapacityCurves
from ..pareto.front_search import Front
from ..workload_search import PartSearched, WorkloadSearched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import PathCollection


_FOUND, _PROVEN, _REFERENCE = PALETTE[0], PALETTE[1], "#666666"
_MAX_COLUMNS = 3
_MIN_LOG_RATIO = 2.0
"""Ratio of the largest to the smallest value above which an axis is logarithmic."""
_MIN_LOG_RATIO_OF_FRONT = 4
"""Ratio of the slowest to the fastest point above which latencies have a logarithmic axis."""
_MIN_SPAN = 0.02
"""Share of the smallest value that an axis spans at least, so that small changes look small."""
_BYTES = FuncFormatter(lambda exponent, _: byte_size(round(2.0**exponent)))


_ZEROS = re.compile(r"\.0+(?= )|(?<=\.)(\d*[1-9])0+(?= )")
"""Zeros at the end of a number, which say nothing at a tick."""

Drawable = WorkloadSearched | Front | CapacityCurves
"""Answer of a search: the best mappings, a front, or a curve."""


def plot_search(found: Drawable) -> Picture:
    """Draw the answer of a search."""
    match found:
        case WorkloadSearched():
            return plot_history(found)
        case Front():
            return plot_front(found)
        case CapacityCurves():
            return plot_capacity(found)


def plot_history(found: WorkloadSearched) -> Picture:
    """Draw the incumbent and the lower bound over the time of a search, a panel for each part.

    Both curves are steps. Their distance at the end of the search is the gap of the certificate.
    """
    parts = [p for p in found.parts if p.found.history]
    columns = min(_MAX_COLUMNS, max(1, len(parts)))
    rows = max(1, ceil(len(parts) / columns))
    with look():
        size = (max(4.6, 3.0 * columns), 2.6 * rows)
        figure = Picture(figsize=size, layout="constrained")
        # Energies of parts are compared.
        shared = found.objective.name == "energy"
        panels = panel_grid(figure, max(1, len(parts)), columns, sharey=shared)
        for axes, part in zip(panels, parts, strict=False):
            _draw_history(axes, part, found)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        what = f"{found.objective.name} of {found.result.workload} on {found.result.architecture}"
        headline(figure, f"The search for the least {what}")
    return figure


def objective_scale(found: WorkloadSearched) -> tuple[float, Callable[[float], str]]:
    """Return the factor from a search's objective to the value shown, and the value's format.

    Latency is in cycles, and shown in seconds.
    """
    result = found.result
    match found.objective.name:
        case "latency":
            return result.latency_s / result.cycles if result.cycles else 0.0, seconds
        case "energy":
            return 1.0, energy
        case _:
            return 1.0, lambda value: f"{count(value)} {found.objective.unit}"


def _draw_history(axes: Axes, part: PartSearched, found: WorkloadSearched) -> None:
    history, (unit, shown) = part.found.history, objective_scale(found)
    at = [m.seconds for m in history]
    values = [unit * m.value if isfinite(m.value) else nan for m in history]
    bounds = [unit * m.bound or nan for m in history]
    axes.fill_between(at, bounds, values, step="post", color=FAINT, alpha=0.35, linewidth=0)
    axes.step(at, values, where="post", color=_FOUND, label="best mapping")
    axes.step(at, bounds, where="post", color=_PROVEN, label="no mapping is below (proven)")
    changes = [n for n, m in enumerate(history) if not n or m.value < history[n - 1].value]
    axes.plot(
        [at[n] for n in changes], [values[n] for n in changes], "o", color=_FOUND, clip_on=False
    )
    if floor := unit * part.found.certificate.floor:
        axes.axhline(floor, color="0.45", linestyle=":", linewidth=0.9, label="floor")
    axes.set_xlim(0, 1.02 * at[-1] or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    shown_parts = found.parts if found.objective.name == "energy" else (part,)
    there = [
        unit * v
        for p in shown_parts
        for m in p.found.history
        for v in (m.value, m.bound)
        if isfinite(v) and v > 0
    ]
    low, high = (min(there), max(there)) if there else (1.0, 1.0)
    log = high > _MIN_LOG_RATIO * low
    if log:
        axes.set_yscale("log")
    elif found.objective.name == "energy":
        axes.set_ylim(0, 1.06 * high)
    elif there and high < (1 + _MIN_SPAN) * low:
        axes.set_ylim(low * (1 - _MIN_SPAN), high * (1 + _MIN_SPAN))
    _show_values(axes.yaxis, shown)
    axes.set_xlabel("seconds of the search")
    gap = part.found.certificate.gap
    verdict = "optimal" if part.found.certificate.optimal else f"gap {100 * gap:.2g} %"
    axes.set_title(picture_text(f"{part.name}: {shown(values[-1])}, {verdict}"), loc="left")


def _show_values(axis: Axis, shown: Callable[[float], str]) -> None:
    """Label an axis with formatted values, in few places if it is linear."""
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(lambda value, _: _ZEROS.sub(r"\1", shown(value)))


def plot_front(front: Front) -> Picture:
    """Draw energy over latency: a step from point to point, and the lower bound.

    Between two points the energy is that of the faster one. The axis of energy begins at zero. On a
    front of three objectives the colour of a point shows its footprint.
    """
    with look():
        figure = Picture(figsize=(PAGE_IN, 4.0), layout="constrained")
        axes = figure.subplots()
        if front.memory:
            label = f"footprint in {front.memory}"
            powers = MaxNLocator(integer=True)
            dots = _draw_held(axes, front)
            figure.colorbar(dots, ax=axes, label=label, format=_BYTES, ticks=powers)
        else:
            _draw_front(axes, front)
            figure.legend(loc="outside lower left")
        headline(figure, f"{front.workload} on {front.architecture}")
    return figure


def _draw_front(axes: Axes, front: Front) -> None:
    late = [p.result.latency_s for p in front.points]
    spent = [p.result.energy_pj for p in front.points]
    proven = [p.result.energy_pj * (1 - p.gap) for p in front.points]
    wide = max(late[-1] - late[0], 0.02 * late[0])
    end = late[-1] + 0.2 * wide
    axes.step([*late, end], [*spent, spent[-1]], where="post", color=_FOUND)
    axes.plot(late, spent, "o", color=_FOUND, label="found, by number")
    smallest = f"no mapping of the space is below (proven): {energy(proven[0])} and less"
    bounds = [*proven, proven[-1]]
    axes.step([*late, end], bounds, where="post", color=_PROVEN, linestyle="--", label=smallest)
    axes.set_xlim(late[0] - 0.15 * wide, end)
    _show_values(axes.xaxis, seconds)
    _name(axes, late, spent, [""] * len(late))


def _draw_held(axes: Axes, front: Front) -> PathCollection:
    """Draw points in the colours of their footprints, on a logarithmic scale."""
    late = [p.result.latency_s for p in front.points]
    spent = [p.result.energy_pj for p in front.points]
    footprints = [p.held_bytes or 0.0 for p in front.points]
    smallest = min((b for b in footprints if b), default=1.0)
    shades = [log2(max(b, smallest / 4)) for b in footprints]
    dots = axes.scatter(late, spent, c=shades, cmap="viridis_r", s=40, zorder=2)
    axes.margins(0.12)
    log = late[-1] > _MIN_LOG_RATIO_OF_FRONT * late[0]
    if log:
        axes.set_xscale("log")
    _show_values(axes.xaxis, seconds)
    _name(axes, late, spent, [f": {byte_size(b)}" for b in footprints])
    return dots


def _name(axes: Axes, late: Sequence[float], spent: Sequence[float], more: Sequence[str]) -> None:
    for number, (x, y, text) in enumerate(zip(late, spent, more, strict=True), start=1):
        axes.annotate(f"{number}{text}", (x, y), xytext=(5, 4), textcoords="offset points")
    axes.set_ylim(0, 1.1 * max(spent))
    _show_values(axes.yaxis, energy)
    axes.set_xlabel("latency")
    axes.set_ylabel("energy")


def plot_capacity(curves: CapacityCurves) -> Picture:
    """Draw traffic of the outermost memory, and energy, over the capacity of a memory."""
    both = (("fused", curves.fused), ("Einsum by Einsum", curves.einsum_by_einsum))
    with look():
        figure = Picture(figsize=(8, 3.4), layout="constrained")
        traffic, spent = figure.subplots(1, 2)
        for at, (label, series) in enumerate(both):
            style = {"color": PALETTE[at], "marker": MARKERS[at], "label": label}
            moved = [(p.capacity_bytes, p.result.traffic_bytes) for p in series.traffic]
            pj = [(p.capacity_bytes, p.result.energy_pj) for p in series.energy]
            for axes, points in ((traffic, moved), (spent, pj)):
                # A mapping that fits a capacity is best up to the next one.
                x, y = zip(*points, strict=True)
                size = nested_size(at, len(both))
                axes.step(x, y, where="post", markersize=size, **style)
        bound = f"bound of the passes: {byte_size(curves.bound_bytes)}"
        traffic.axhline(curves.bound_bytes, color=_REFERENCE, linestyle="--", label=bound)
        _finish(traffic, curves, f"least traffic of {curves.outermost}", byte_size)
        _finish(spent, curves, "least energy", energy)
        figure.legend(*traffic.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        headline(figure, f"{curves.workload} on {curves.architecture}")
    return figure


def _finish(axes: Axes, curves: CapacityCurves, title: str, shown: Callable[[float], str]) -> None:
    axes.set_xscale("log", base=2)
    if shown is byte_size:
        axes.set_yscale("log", base=2)
    else:
        axes.set_ylim(0, 1.06 * axes.dataLim.y1)
    axes.axvline(curves.own_bytes, color=_REFERENCE, linestyle=":", linewidth=0.9)
    ticks = curves.capacities[::3]
    axes.set_xticks(ticks, [byte_size(c) for c in ticks], rotation=30, ha="right")
    _show_values(axes.yaxis, shown)
    axes.set_xlabel(picture_text(f"capacity of {curves.memory} (dotted: this machine's)"))
    axes.set_title(picture_text(title), loc="left")
