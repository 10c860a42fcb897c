"""Figures of a result: time, energy, utilization, latency waterfall, buffer capacity.

This module imports matplotlib: import it only to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import EngFormatter

from einsum_cascade.errors import InputError

from ..document import picture_text
from ..figure_style import (
    FAINT,
    IDLE,
    PALETTE,
    Picture,
    headline,
    ink_on,
    look,
    name_bars,
    note_bar,
    palette,
    patches,
    show_shares,
    stack_bar,
    wrapped_name,
)
from ..quantities import byte_size, energy, percent, seconds
from .roofline import plot_roofline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .record import ArrayUse, LevelBuffer, Named, RunRecord


_LABEL_SHARE = 0.055
"""Smallest share of the axis for which a segment has its name inside the bar, not below."""

_CHARACTER_SHARE = 0.009
"""Share of the axis that one character of a label needs, with a margin."""

_LINE_CHARACTERS = 115
"""Largest number of characters of the names below a bar. Names left out are in the utilization
figure."""

_MIN_NAMED_SHARE = 0.0005
"""Smallest share for which a segment has a name: less would show as 0.0 %."""

_HEIGHT = 0.62
"""Height of a bar as a share of its row; labels below the bar take the rest."""


def plot_time(result: RunRecord) -> Picture:
    """Draw how each array spends the run: a bar for each array, a segment for each Einsum.

    A segment's width is the Einsum's cycles on the array over the elapsed cycles. For a workload in
    parts, one bar shows the parts in sequence, and the bars below show each array's work in each
    part.
    """
    rows = len(result.arrays) + bool(result.parts)
    figure = Picture(figsize=(9, 0.7 + 0.75 * max(1, rows)), layout="constrained")
    draw_array_time(figure.subplots(), result)
    return figure


def plot_energy(result: RunRecord) -> Picture:
    """Draw energy by component, and by Einsum or part, as two bars of shares."""
    figure = Picture(figsize=(9, 2.4), layout="constrained")
    draw_energy(figure.subplots(), result)
    return figure


def draw_array_time(axes: Axes, result: RunRecord) -> None:
    """Draw a bar for each array into ``axes``: its Einsums, then its idle time."""
    if result.parts:
        _draw_part_time(axes, result)
        return
    colours = run_colours(result) | {_WAITING: IDLE}
    for row, use in enumerate(result.arrays):
        pieces = _time(result, use)
        idle = max(0.0, 1 - sum(share for _, share in pieces))
        _stack(axes, row, [*pieces, (_WAITING, idle)], colours)
    _rows(axes, [a.array for a in result.arrays])
    axes.set_title(
        f"time of each array in {seconds(result.latency_s)} (grey: waiting), "
        f"bound by {result.bound_by}",
        loc="left",
    )


def _draw_part_time(axes: Axes, result: RunRecord) -> None:
    """Draw a bar of the parts, then one bar per array that shows work before idle time in each
    part."""
    colours = run_colours(result)
    _stack(axes, 0, [(p.name, p.cycles / result.cycles) for p in result.parts], colours)
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
                _write_inside(axes, left + busy / 2, row, percent(works[use.array]), colour)
        left += share
    _rows(axes, ["operators", *(a.array for a in result.arrays)])
    axes.set_title(
        f"time of each operator in {seconds(result.latency_s)}, and the share of it that each "
        f"array works (grey: waiting)",
        loc="left",
    )


def draw_energy(axes: Axes, result: RunRecord) -> None:
    """Draw energy by component and by Einsum (or by part) into ``axes``."""
    components = palette([name for name, _ in result.energy_by_component])
    _stack(axes, 0, _shares(result.energy_by_component, result.energy_pj), components)
    _stack(axes, 1, _energy(result), run_colours(result))
    _rows(axes, ["by component", "by operator" if result.parts else "by Einsum"])
    axes.set_title(f"energy: {energy(result.energy_pj)}", loc="left")


def _stack(
    axes: Axes, row: int, pieces: Sequence[tuple[str, float]], colours: dict[str, str]
) -> None:
    """Draw a stacked bar; names of segments too narrow for a label are listed below, in order."""
    stack_bar(axes, row, pieces, colours, _HEIGHT)
    left = 0.0
    narrow: list[str] = []
    for name, share in pieces:
        if share >= max(_LABEL_SHARE, _CHARACTER_SHARE * len(name)):
            text = f"{name}\n{percent(share)}"
            _write_inside(axes, left + share / 2, row, text, colours[name])
        elif share >= _MIN_NAMED_SHARE:
            narrow.append(f"{name} {percent(share)}")
        left += share
    if narrow:
        text = f"narrow ones, left to right: {_one_line(narrow)}"
        axes.text(0, row + _HEIGHT / 2 + 0.03, text, ha="left", va="top", fontsize=7)


def _write_inside(axes: Axes, x: float, row: int, text: str, colour: str) -> None:
    axes.text(x, row, text, ha="center", va="center", fontsize=7, color=ink_on(colour))


def _one_line(names: list[str]) -> str:
    """Join as many names as fit on the line below a bar, and count the rest."""
    text = ", ".join(names)
    shown = len(names)
    while shown > 1 and len(text) > _LINE_CHARACTERS:
        shown -= 1
        text = f"{', '.join(names[:shown])}, and {len(names) - shown} more"
    return text


def _rows(axes: Axes, names: list[str]) -> None:
    """Write the names of the bars, the first on top, and percentages on the axis."""
    name_bars(axes, names)
    axes.set_xlim(0, 1)
    show_shares(axes.xaxis)


def run_colours(result: RunRecord) -> dict[str, str]:
    """Return a colour for every part, or every Einsum of a run without parts.

    All pictures of the run use the same colours.
    """
    return palette([piece.name for piece in result.parts or result.einsums])


_LEAST = 0.01
"""Share below which a segment is merged into "others", if it is small in all bars."""
_MOST = 13
_OTHERS, _WAITING = "others", "waiting"
_OTHERS_COLOUR = "#777777"
_COMPONENT = "#555555"
_SHARE_ROW_IN = 0.27
_LINE_IN = 0.165


@dataclass(frozen=True, slots=True)
class ShareBar:
    """Bar of a picture: its name, and the name and share of each segment from left to right."""

    name: str
    pieces: Named


def share_bars(result: RunRecord) -> tuple[ShareBar, ...]:
    """Return one bar for the time of each array and one for energy, divided by Einsum or part.

    Idle time takes the rest of an array's bar; small segments are merged.
    """
    bars = [
        *(ShareBar(f"{a.array}, time", tuple(_time(result, a))) for a in result.arrays),
        ShareBar("energy", _energy(result)),
    ]
    best: dict[str, float] = {}
    for bar in bars:
        for name, share in bar.pieces:
            best[name] = max(share, best.get(name, 0.0))
    large = sorted((n for n in best if best[n] >= _LEAST), key=lambda n: -best[n])[:_MOST]
    return tuple(_without_small(bar, frozenset(large)) for bar in bars)


def _time(result: RunRecord, use: ArrayUse, *, useful: bool = False) -> list[tuple[str, float]]:
    """Return each Einsum or part with the share of the run that it takes on an array.

    Parameters
    ----------
    useful : bool
        True to weigh cycles by the share of elements at work.
    """
    if not result.parts:
        mine = (e for e in result.einsums if e.array == use.array)
        return [(e.name, e.utilization if useful else e.cycles / result.cycles) for e in mine]
    found = []
    for part in result.parts:
        uses = (a for a in part.result.arrays if a.array == use.array)
        cycles = sum(a.busy_cycles if useful else a.occupied_cycles for a in uses)
        found.append((part.name, part.times * cycles / result.cycles))
    return found


def _energy(result: RunRecord) -> Named:
    spent = tuple((p.name, p.energy_pj) for p in result.parts) or result.energy_by_einsum
    return _shares(spent, result.energy_pj)


def _shares(numbers: Named, whole: float) -> Named:
    return tuple((name, number / whole if whole else 0.0) for name, number in numbers)


def _without_small(bar: ShareBar, large: frozenset[str]) -> ShareBar:
    kept = [(n, s) for n, s in bar.pieces if n in large]
    rest = sum(s for n, s in bar.pieces if n not in large)
    idle = 1 - rest - sum(s for _, s in kept)
    if rest > 0:
        kept.append((_OTHERS, rest))
    if idle > 1e-9:
        kept.append((_WAITING, idle))
    return ShareBar(bar.name, tuple(kept))


def plot_breakdown(result: RunRecord, width_in: float = 7.0) -> Picture:
    """Draw the time of each array and the energy by Einsum or part, and below it energy by
    component.

    An Einsum (or part) has one colour in all bars; components have no colour.
    """
    bars = share_bars(result)
    components = [(n, pj) for n, pj in result.energy_by_component if pj > 0]
    rows = (len(bars), len(components))
    colours = {**run_colours(result), _OTHERS: _OTHERS_COLOUR, _WAITING: IDLE}
    names = [n for n in colours if any(n == piece for b in bars for piece, _ in b.pieces)]
    columns = max(1, int(width_in / (0.42 + 0.068 * max(map(len, names)))))
    legend = _LINE_IN * math.ceil(len(names) / columns)
    high = 1.45 + _SHARE_ROW_IN * sum(rows) + legend
    figure = Picture(figsize=(width_in, high), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[rows[0] + 0.6, rows[1] + 0.6])
    for at, bar in enumerate(bars):
        stack_bar(upper, at, bar.pieces, colours)
    _rows(upper, [wrapped_name(bar.name, 16) for bar in bars])
    whole = f"{seconds(result.latency_s)}, {energy(result.energy_pj)}"
    upper.set_title(f"by {'operator' if result.parts else 'Einsum'}: {whole}", loc="left")
    _draw_components(lower, components, result.energy_pj)
    lower.set_title("energy by component", loc="left")
    handles = patches({n: colours[n] for n in names})
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    return figure


def _draw_components(axes: Axes, components: Sequence[tuple[str, float]], whole: float) -> None:
    for at, (_, pj) in enumerate(components):
        share = pj / whole
        axes.barh(at, share, 0.72, color=_COMPONENT)
        note_bar(axes, share, at, f"{percent(share)} ({energy(pj)})", inside=share > 0.6)
    _rows(axes, [wrapped_name(name, 20) for name, _ in components])


_WIDTH = 0.32
"""Width of a column as a share of its distance to the next one; names beside it take the rest."""

_IDLE, _WAITING_USE = "(elements idle)", "(waiting)"
"""Names of the segments for occupied cycles with idle elements, and for waiting."""

_CHARACTER = 0.12
"""Width in inches that each character of the longest name beside a column adds to the column."""

_LINE = 0.17
"""Height of a line of text, in inches."""


def plot_utilization(result: RunRecord) -> Picture:
    """Draw a column for each array, whose segments are useful work of Einsums over elapsed time.

    The segments add up to the array's utilization. A hatched segment above them is time in which
    the array is occupied but elements idle (small or ragged tiles, fill and drain). In the rest the
    array waits. A workload in parts has a segment for each part.
    """
    columns = [_parts(result, use) for use in result.arrays]
    named = max(sum(share >= _MIN_NAMED_SHARE for _, share in c) for c in columns)
    height = max(3.6, 1.1 + _LINE * (named + 1))
    longest = max(len(n) for c in columns for n, share in c if share >= _MIN_NAMED_SHARE)
    width = max(2.6, _CHARACTER * longest)
    figure = Picture(figsize=(1.0 + width * len(result.arrays), height), layout="constrained")
    axes = figure.subplots()
    colours = run_colours(result)
    gap = _LINE / (height - 1.0)
    for at, column in enumerate(columns):
        _column(axes, at, column, colours, gap)
    names = [f"{a.array}\n{percent(a.utilization)}" for a in result.arrays]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.3, len(result.arrays) - 0.3)
    axes.set_ylim(0, 1)
    show_shares(axes.yaxis)
    axes.set_ylabel(f"share of {seconds(result.latency_s)}")
    axes.tick_params(bottom=False)
    headline(figure, f"{result.workload} on {result.architecture}, mapped by {result.mapping}")
    return figure


def _parts(result: RunRecord, use: ArrayUse) -> list[tuple[str, float]]:
    """Return names and shares of one column from the bottom up; idle elements and waiting come
    last."""
    taken = use.occupied_cycles / result.cycles
    idle = max(0.0, taken - use.utilization)
    waiting = max(0.0, 1 - taken)
    return [*_time(result, use, useful=True), (_IDLE, idle), (_WAITING_USE, waiting)]


def _column(
    axes: Axes, at: int, parts: list[tuple[str, float]], colours: dict[str, str], gap: float
) -> None:
    """Draw one column with every name beside its segment; names do not overlap."""
    looks: dict[str, dict[str, Any]] = {
        _IDLE: {"facecolor": "white", "edgecolor": "0.6", "hatch": "////"},
        _WAITING_USE: {"facecolor": "white", "edgecolor": "0.75"},
    }
    bottom = 0.0
    labels: list[tuple[str, float]] = []
    for name, share in parts:
        look = looks.get(name) or {"facecolor": colours[name], "edgecolor": "white"}
        axes.bar(at, share, _WIDTH, bottom=bottom, linewidth=0.5, **look)
        if share >= _MIN_NAMED_SHARE:
            labels.append((f"{name} {percent(share)}", bottom + share / 2))
        bottom += share
    places = separate_labels([y for _, y in labels], gap)
    edge = at + _WIDTH / 2
    for (text, y), place in zip(labels, places, strict=True):
        axes.plot([edge, edge + 0.05], [y, place], color="0.6", linewidth=0.6, clip_on=False)
        axes.text(edge + 0.07, place, text, va="center", ha="left", fontsize=8)


def separate_labels(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending positions, moved as little as needed to be ``gap`` apart.

    Neighbours that are too close become a group around their mean.
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and (
            _low(groups[-1], gap) < _low(groups[-2], gap) + len(groups[-2]) * gap
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    found: list[float] = []
    for group in groups:
        found += [_low(group, gap) + i * gap for i in range(len(group))]
    return found


def _low(group: list[float], gap: float) -> float:
    """Return the lowest position of a group: centred on its mean, but inside 0..1 if there is
    space."""
    length = (len(group) - 1) * gap
    middle = sum(group) / len(group) - length / 2
    return max(gap / 2, min(middle, 1.0 - gap / 2 - length))


_FLOOR, _MAPPING, _WAITING_STEP, _ENDS = FAINT, PALETTE[0], PALETTE[1], PALETTE[3]
_TOTAL = "#444444"
_MOST_PARTS = 10
_MIN_STEP_SHARE = 0.001
"""Share of the latency below which a part's cost above its lower bound is merged with other
parts'."""
_STEP_ROW_IN = 0.27


@dataclass(frozen=True, slots=True)
class LatencyStep:
    """Bar of a latency waterfall: a cost by name, and its start and end in seconds."""

    name: str
    begin_s: float
    end_s: float
    colour: str

    @property
    def length_s(self) -> float:
        """Length of the bar in seconds."""
        return self.end_s - self.begin_s


def latency_steps(result: RunRecord) -> tuple[LatencyStep, ...]:
    """Return the costs that make up the latency, as bars from the lower bound up to the latency.

    The floor is the lower bound of any mapping. The second bar is the cost of this mapping: idle
    elements, and bytes that cross again. The rest is the schedule's cost: arrays and memories wait
    for one another in the steady state, then in fill and drain. For a workload in parts, each part
    adds its time above its own floor, the largest first.

    Parameters
    ----------
    result : RunRecord
        Result of ``simulate``.

    Raises
    ------
    InputError
        The result has no floor, as one made by hand.
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


def _of_one(result: RunRecord) -> list[tuple[str, float, str]]:
    floor, latency = result.floor, result.latency_s
    bound = min(latency, max(floor.latency_s, result.bounds.compute_s, result.bounds.bandwidth_s))
    ends = min(latency - bound, result.schedule.fill_drain_cycles / result.clock_hz)
    by = "compute" if floor.compute_s >= floor.bandwidth_s else "bandwidth"
    mine = "compute" if result.bounds.compute_s >= result.bounds.bandwidth_s else "bandwidth"
    return [
        (f"lower bound of any mapping: {by}", floor.latency_s, _FLOOR),
        (f"this mapping: more {mine}", bound - floor.latency_s, _MAPPING),
        ("waiting for one another", latency - bound - ends, _WAITING_STEP),
        ("fill and drain", ends, _ENDS),
    ]


def _of_parts(result: RunRecord) -> list[tuple[str, float, str]]:
    above = [(p.name, p.latency_s - p.times * p.result.floor.latency_s) for p in result.parts]
    above.sort(key=lambda part: -part[1])
    large = [part for part in above[:_MOST_PARTS] if part[1] >= _MIN_STEP_SHARE * result.latency_s]
    rest = above[len(large) :]
    steps = [("lower bound of all operators", result.floor.latency_s, _FLOOR)]
    steps += [(f"{name}: above its lower bound", height, _MAPPING) for name, height in large]
    if rest:
        left = sum(height for _, height in rest)
        steps.append((f"{len(rest)} more operators, above theirs", left, _MAPPING))
    return steps


def plot_waterfall(result: RunRecord, width_in: float = 7.0) -> Picture:
    """Draw the latency as a waterfall, from the lower bound of any mapping, with one bar for each
    cost.

    Raises
    ------
    InputError
        The result has no floor.
    """
    steps = latency_steps(result)
    high = 0.75 + _STEP_ROW_IN * len(steps)
    figure = Picture(figsize=(width_in, high), layout="constrained")
    axes = figure.subplots()
    for at, step in enumerate(steps):
        axes.barh(at, step.length_s, 0.68, left=step.begin_s, color=step.colour)
        share = step.length_s / result.latency_s
        text = seconds(step.length_s) if at == len(steps) - 1 else percent(share)
        _note_step(axes, at, step, result.latency_s, text)
        if at < len(steps) - 2:
            axes.plot([step.end_s] * 2, [at, at + 1], color="0.5", linewidth=0.6, zorder=0)
    wide = 40 if width_in > 5 else 18
    name_bars(axes, [wrapped_name(s.name, wide) for s in steps])
    axes.set_xlim(0, 1.02 * result.latency_s)
    headline(figure, f"{result.workload} on {result.architecture}, mapped by {result.mapping}")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.set_xlabel("time")
    return figure


def _note_step(axes: Axes, at: int, step: LatencyStep, whole: float, text: str) -> None:
    """Write text behind a bar if there is space, else before it; a long bar has the text inside."""
    inside = step.length_s > 0.3 * whole
    behind = not inside and step.end_s < 0.85 * whole
    end = step.end_s if behind or inside else step.begin_s
    colour = "white" if inside and step.colour != _FLOOR else "black"
    note_bar(axes, end, at, text, inside=not behind, colour=colour)


def plot_capacity(result: RunRecord, width_in: float = 7.0) -> Picture:
    """Draw the footprint of live tiles in each memory: a share of its capacity, or bytes if
    unlimited.

    Raises
    ------
    InputError
        The mapping keeps nothing anywhere.
    """
    return plot_capacities([(result.architecture, result)], width_in)


def plot_capacities(runs: Sequence[tuple[str, RunRecord]], width_in: float) -> Picture:
    """Draw the share of each memory that live tiles take, side by side for several runs."""
    rows = [(name, b) for name, r in runs for b in r.buffers if b.required_bytes]
    if not rows:
        raise InputError("capacity: the mapping keeps no tiles in any memory")
    several = len(runs) > 1
    figure = Picture(figsize=(width_in, 0.75 + _STEP_ROW_IN * len(rows)), layout="constrained")
    axes = figure.subplots()
    for at, (_, buffer) in enumerate(rows):
        _level(axes, at, buffer)
    texts = [f"{picture_text(name)}: {b.level}" if several else b.level for name, b in rows]
    _rows(axes, [wrapped_name(t, 40 if width_in > 5 else 18) for t in texts])
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
    note_bar(axes, min(1.0, share), at, text, inside=share > 0.5)


_PICTURES: dict[str, Callable[..., Picture]] = {
    "roofline": plot_roofline,
    "waterfall": plot_waterfall,
    "breakdown": plot_breakdown,
    "capacity": plot_capacity,
    "time": plot_time,
    "utilization": plot_utilization,
    "energy": plot_energy,
}
"""Functions that draw a result, by the name of the picture; the first four take a width."""


def draw_result(result: RunRecord, kind: str, width_in: float | None = None) -> Picture:
    """Draw one kind of picture of a result, in a paper's format if the width is given.

    Raises
    ------
    InputError
        The result lacks the data of the picture, as one made by hand.
    """
    with look():
        width = () if width_in is None else (width_in,)
        return _PICTURES[kind](result, *width)
