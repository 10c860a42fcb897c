"""From the floor to the latency, and what a result needs of its memories' capacities.

This module imports matplotlib: load it only to draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from einsum_cascade.errors import InputError

from ...document import picture_text
from ...quantities import byte_size, percent, seconds
from .style import FAINT, PALETTE, Picture, folded, headline, name_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ..record import LevelBuffer, Result

_FLOOR, _MAPPING, _WAITING, _ENDS = FAINT, PALETTE[0], PALETTE[1], PALETTE[3]
_TOTAL = "#444444"
_MOST_PARTS = 10
_LEAST_SHARE = 0.001
"""Of the latency; parts that cost less than that above their floor are taken together."""
_ROW_IN = 0.27
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True, slots=True)
class LatencyStep:
    """One bar of a waterfall: where it begins and ends, in seconds, and what it is."""

    name: str
    begin_s: float
    end_s: float
    colour: str

    @property
    def length_s(self) -> float:
        """How much it adds."""
        return self.end_s - self.begin_s


def latency_steps(result: Result) -> tuple[LatencyStep, ...]:
    """What latency is made of, one step on the other, first the floor and last the latency.

    The floor is what no mapping beats. What is above it up to the bound, which no schedule of
    this mapping beats, is the mapping's: elements at rest, and bytes that cross again. The rest
    is the schedule's: arrays and memories that wait for one another while tiles follow one
    another, then fill and drain. Of a workload in parts each part adds what it is above its
    own floor, the largest first.

    Parameters
    ----------
    result : Result
        Of ``simulate``.

    Raises
    ------
    InputError
        It has no floor (it was made by hand).
    """
    if not result.floor.latency_s:
        raise InputError("this result has no floor, which the waterfall begins at")
    heights = _of_parts(result) if result.parts else _of_one(result)
    steps: list[LatencyStep] = []
    level = 0.0
    for name, height, colour in heights:
        steps.append(LatencyStep(name, level, level + height, colour))
        level += height
    return (*steps, LatencyStep("latency", 0.0, result.latency_s, _TOTAL))


def _of_one(result: Result) -> list[tuple[str, float, str]]:
    floor, latency = result.floor, result.latency_s
    bound = min(latency, max(floor.latency_s, result.bounds.compute_s, result.bounds.bandwidth_s))
    clock = result.cycles / latency
    ends = min(latency - bound, result.schedule.fill_drain_cycles / clock)
    by = "compute" if floor.compute_s >= floor.bandwidth_s else "bandwidth"
    mine = "compute" if result.bounds.compute_s >= result.bounds.bandwidth_s else "bandwidth"
    return [
        (f"floor: {by}, by any mapping", floor.latency_s, _FLOOR),
        (f"this mapping: more {mine}", bound - floor.latency_s, _MAPPING),
        ("waiting for one another", latency - bound - ends, _WAITING),
        ("fill and drain", ends, _ENDS),
    ]


def _of_parts(result: Result) -> list[tuple[str, float, str]]:
    above = [(p.name, p.latency_s - p.times * p.result.floor.latency_s) for p in result.parts]
    above.sort(key=lambda part: -part[1])
    large = [part for part in above[:_MOST_PARTS] if part[1] >= _LEAST_SHARE * result.latency_s]
    shown, rest = large, above[len(large) :]
    steps = [("floor of all parts", result.floor.latency_s, _FLOOR)]
    steps += [(f"{name}: above its floor", height, _MAPPING) for name, height in shown]
    if rest:
        left = sum(height for _, height in rest)
        steps.append((f"{len(rest)} more parts, above theirs", left, _MAPPING))
    return steps


def plot_waterfall(result: Result, width_in: float = 7.0) -> Picture:
    """From the floor to the latency: what costs how much.

    Raises
    ------
    InputError
        The result has no floor.
    """
    steps = latency_steps(result)
    high = 0.75 + _ROW_IN * len(steps)
    figure = Picture(figsize=(width_in, high), layout="constrained")
    axes = figure.subplots()
    for at, step in enumerate(steps):
        axes.barh(at, step.length_s, 0.68, left=step.begin_s, color=step.colour)
        share = step.length_s / result.latency_s
        text = seconds(step.length_s) if at == len(steps) - 1 else percent(share)
        _beside(axes, at, step, result.latency_s, text)
        if at < len(steps) - 2:
            axes.plot([step.end_s] * 2, [at, at + 1], color="0.5", linewidth=0.6, zorder=0)
    wide = 40 if width_in > 5 else 18
    name_bars(axes, [folded(s.name, wide) for s in steps])
    axes.set_xlim(0, 1.02 * result.latency_s)
    headline(figure, f"{result.workload} on {result.architecture}, mapped by {result.mapping}")
    _seconds_axis(axes, result.latency_s)
    return figure


def _beside(axes: Axes, at: int, step: LatencyStep, whole: float, text: str) -> None:
    """Write at the end of a bar where there is room, else before it; in a long one inside."""
    inside = step.length_s > 0.3 * whole
    right = not inside and step.end_s < 0.85 * whole
    x = step.end_s if right or inside else step.begin_s
    axes.annotate(
        text, (x, at), xytext=(3 if right else -3, 0), textcoords="offset points", va="center",
        ha="left" if right else "right", fontsize=7,
        color="white" if inside and step.colour != _FLOOR else "black",
    )  # fmt: skip


def _seconds_axis(axes: Axes, whole: float) -> None:
    """A readable unit of time along the lower edge."""
    factor, unit = next((f for f in _TIMES if whole >= f[0]), _TIMES[-1])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / factor:,.4g}")
    axes.set_xlabel(f"time ({unit})")


def plot_capacity(result: Result, width_in: float = 7.0) -> Picture:
    """What live tiles take of each memory that has a limit, and of those without, how much.

    Raises
    ------
    InputError
        The mapping keeps nothing anywhere.
    """
    return plot_capacities([(result.architecture, result)], width_in)


def plot_capacities(runs: Sequence[tuple[str, Result]], width_in: float) -> Picture:
    """What live tiles take of the memories, run by run."""
    rows = [(name, b) for name, r in runs for b in r.buffers if b.required_bytes]
    if not rows:
        raise InputError("capacity: the mapping keeps no tiles in any memory")
    several = len(runs) > 1
    figure = Picture(figsize=(width_in, 0.75 + _ROW_IN * len(rows)), layout="constrained")
    axes = figure.subplots()
    for at, (_, buffer) in enumerate(rows):
        _level(axes, at, buffer)
    texts = [f"{picture_text(name)}: {b.level}" if several else b.level for name, b in rows]
    name_bars(axes, [folded(t, 40 if width_in > 5 else 18) for t in texts])
    axes.set_xlim(0, 1.0)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_xlabel("share of the memory that live tiles take")
    return figure


def _level(axes: Axes, at: int, buffer: LevelBuffer) -> None:
    needed = byte_size(buffer.required_bytes, digits=3)
    if buffer.capacity_bytes is None:
        axes.text(0.01, at, f"{needed}, without a limit", va="center", fontsize=7)
        return
    share = buffer.required_bytes / buffer.capacity_bytes
    axes.barh(at, 1, 0.68, color="white", edgecolor=FAINT, linewidth=0.7)
    axes.barh(at, min(1.0, share), 0.68, color=PALETTE[0])
    text = f"{needed} of {byte_size(buffer.capacity_bytes, digits=3)} ({percent(share)})"
    inside = share > 0.5
    axes.text(
        min(1.0, share) - 0.01 if inside else share + 0.01, at, text, va="center", fontsize=7,
        ha="right" if inside else "left", color="white" if inside else "black",
    )  # fmt: skip
