"""The picture of a capacity curve. Imports matplotlib: load it only to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from archsim.document import picture_text
from archsim.quantities import byte_size, energy
from archsim.result.plots.style import PALETTE, Picture, look

from .capacity import CapacityCurves, CapacityPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOUND = "#666666"


def plot_capacity(curves: CapacityCurves) -> Picture:
    """Traffic of the outermost memory, and energy, over the capacity of the memory."""
    both = (("fused", curves.fused), ("Einsum by Einsum", curves.einsum_by_einsum))
    with look():
        figure = Picture(figsize=(8, 3.4), layout="constrained")
        traffic, spent = figure.subplots(1, 2)
        for colour, (label, series) in zip(PALETTE, both, strict=False):
            _draw(traffic, series.traffic, lambda p: p.result.traffic_bytes, (colour, label))
            _draw(spent, series.energy, lambda p: p.result.energy_pj, (colour, label))
        bound = f"bound of the passes: {byte_size(curves.bound_bytes)}"
        traffic.axhline(curves.bound_bytes, color=_BOUND, linestyle="--", label=bound)
        _finish(traffic, curves, f"least traffic of {curves.outermost}", byte_size)
        _finish(spent, curves, "least energy", energy)
        figure.legend(*traffic.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        title = picture_text(f"{curves.workload} on {curves.architecture}")
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw(
    axes: Axes,
    points: Sequence[CapacityPoint],
    value: Callable[[CapacityPoint], float],
    drawn: tuple[str, str],
) -> None:
    """A series: what fits a capacity holds up to the next one."""
    colour, label = drawn
    sizes = [p.capacity_bytes for p in points]
    values = [value(p) for p in points]
    axes.step(sizes, values, where="post", color=colour)
    axes.plot(sizes, values, "o", color=colour, label=label)


def _finish(axes: Axes, curves: CapacityCurves, title: str, shown: Callable[[float], str]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.axvline(curves.own_bytes, color=_BOUND, linestyle=":", linewidth=0.9)
    ticks = curves.capacities[::3]
    axes.set_xticks(ticks, [byte_size(c) for c in ticks], rotation=30, ha="right")
    axes.xaxis.set_minor_locator(NullLocator())
    # Bytes are counted in powers of two, and energies differ by a few percent.
    axes.yaxis.set_major_locator(LogLocator(base=2) if shown is byte_size else MaxNLocator(5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda y, _: shown(y))
    axes.set_xlabel(picture_text(f"capacity of {curves.memory} (dotted: this machine's)"))
    axes.set_title(picture_text(title), loc="left")
