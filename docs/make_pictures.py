"""Draw the pictures of the README, ``engine.md`` and the guide; print the README's table.

Run it from the project's folder: ``python docs/make_pictures.py [NAME ...]``. ``make pictures``
draws all pictures of the documentation; ``tests/test_pictures.py`` tells which are stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

import yaml
from matplotlib.transforms import Affine2D
from recorded import FOLDER, save

from archsim import Architecture, Mapping, plot, search, simulate, sweep
from archsim.figure_style import MARKERS, PALETTE, Picture, name_bars, nested_size, note_bar
from archsim.quantities import byte_size, energy, percent, ratio, seconds
from archsim.result.figures import draw_array_time, draw_energy
from archsim.spec.index import interchangeable_entries
from einsum_cascade.errors import MappingError
from mappers.views.plots import plot_history
from workloads import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from archsim.result.result import Result

LENGTHS = tuple(2**k for k in range(10, 21, 2))
"""Sequence lengths: 1K, 4K, ... 1M tokens."""

MAPPINGS = ("fusemax-binding", "fusemax-arch")


def run(length: int, mapping: str = MAPPINGS[0], machine: str = "fusemax") -> Result:
    """BERT's attention of one length."""
    return simulate(
        load("bert-base", seq_len=length), Architecture.load(machine), Mapping.load(mapping)
    )


def tokens(length: int) -> str:
    """``4K`` for 4096."""
    return f"{length >> 10}K" if length < 1 << 20 else f"{length >> 20}M"


def row(length: int) -> str:
    """One line of the README's table."""
    full, published = run(length), run(length, machine="fusemax-micro24")
    cells = (
        tokens(length),
        seconds(full.latency_s),
        percent(full.utilization["array_2d"]),
        percent(full.utilization["array_1d"]),
        byte_size(full.traffic_bytes),
        energy(full.energy_pj),
        energy(published.energy_pj),
    )
    return f"| {' | '.join(cells)} |"


def _style(at: int, lines: int, label: str) -> dict[str, Any]:
    """Colour and marker of one of several lines, which may lie on one another."""
    size = nested_size(at, lines)
    return {"color": PALETTE[at], "marker": MARKERS[at], "markersize": size, "label": label}


def draw_lengths(axes: Axes) -> None:
    """Utilization of the 2D array against sequence length, a line per mapping."""
    for at, mapping in enumerate(MAPPINGS):
        shares = [100 * run(n, mapping).utilization["array_2d"] for n in LENGTHS]
        axes.plot(LENGTHS, shares, **_style(at, len(MAPPINGS), mapping))
    axes.set_xscale("log", base=2)
    axes.set_xticks(LENGTHS, [tokens(n) for n in LENGTHS])
    axes.set_ylim(0, 105)
    axes.set_xlabel("tokens")
    axes.set_title("utilization of array_2d, %", loc="left")
    axes.legend()


OPERANDS = {
    "broadcast": ("operands=broadcast",),
    "systolic, fill and drain overlapped": ("operands=systolic", "overlap=true"),
    "systolic, not overlapped": ("operands=systolic", "overlap=false"),
}
"""Ways for operands to reach the elements of the 2D array, as settings of it."""

SIDES = (16, 32, 64, 128, 256, 512)


def skewed(mapping: Mapping, operands: tuple[str, ...], side: int = 256) -> Result | None:
    """BERT's attention at 4K tokens on ``fusemax`` with arrays of another side or operands.

    None where the mapping is not legal on that machine.
    """
    settings = [f"arrays.array_2d.{s}" for s in operands]
    settings += [f"arrays.array_2d.shape.{axis}={side}" for axis in ("rows", "columns")]
    machine = Architecture.load("fusemax", [*settings, f"arrays.array_1d.shape.lanes={side}"])
    try:
        return simulate(load("bert-base", seq_len=4096), machine, mapping)
    except MappingError:
        return None


def draw_skew(bars: Axes, sides: Axes) -> None:
    """What skew costs each shipped attention mapping: as bars, and against the side."""
    shipped = [entry.load() for entry in interchangeable_entries("attention-1pass")]
    mappings = [m for m in shipped if skewed(m, OPERANDS["broadcast"])]
    height = 0.8 / len(OPERANDS)
    for row, mapping in enumerate(mappings):
        base = skewed(mapping, OPERANDS["broadcast"])
        for at, (name, operands) in enumerate(OPERANDS.items()):
            result = skewed(mapping, operands)
            if base is None or result is None:
                continue
            slower = result.latency_s / base.latency_s
            y = row + (at - 1) * height
            label = name if row == 0 else None
            bars.barh(y, slower, 0.9 * height, color=PALETTE[at], label=label)
            note_bar(bars, slower, y, f"{ratio(slower)}  {seconds(result.latency_s)}")
    name_bars(bars, [m.name for m in mappings])
    bars.set_xlim(0, 1.3 * max(p.get_width() for p in bars.patches))
    bars.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
    bars.set_title("latency over that of broadcast operands, 256 x 256", loc="left")
    bars.legend(loc="upper center", bbox_to_anchor=(0.4, -0.1), ncols=3)
    for at, mapping in enumerate(mappings):
        points = [(n, skewed(mapping, OPERANDS["broadcast"], n)) for n in SIDES]
        slow = {n: skewed(mapping, OPERANDS["systolic, not overlapped"], n) for n in SIDES}
        line = [(n, r.latency_s / b.latency_s) for n, b in points if b and (r := slow[n])]
        style = _style(at, len(mappings), mapping.name)
        sides.plot(*zip(*line, strict=True), **style)
    sides.set(xscale="log", yscale="log", xlabel="elements a side")
    sides.set_xticks(SIDES, [str(n) for n in SIDES])
    sides.set_yticks([1, 2, 5, 10, 20], ["1x", "2x", "5x", "10x", "20x"])
    sides.set_title("not overlapped, against the side", loc="left")
    sides.legend()


FAMILIES = {
    "softmax, one pass (fusemax-binding)": ("fusemax-binding", {}),
    "causal softmax (fusemax-causal)": ("fusemax-causal", {}),
    "window of 4K keys (fusemax-window)": ("fusemax-window", {"W": 4096}),
    "lightning attention 2": ("lightning-attention-2", {}),
}
"""Ways to attend to earlier tokens: mapping, and parameters of its cascade."""


def draw_cost_per_token(times: Axes, buffers: Axes) -> None:
    """Latency of a token, and what the buffer holds, against the length of its sequence."""
    machine = Architecture.load("fusemax")
    for number, (label, (name, parameters)) in enumerate(FAMILIES.items()):
        mapping = Mapping.load(name)
        cascade = mapping.cascade
        works = [load("bert-base", seq_len=n, cascade=cascade, **parameters) for n in LENGTHS]
        runs = [simulate(work, machine, mapping) for work in works]
        style = _style(number, len(FAMILIES), label)
        per_token = [1e9 * r.latency_s / n / 64 for r, n in zip(runs, LENGTHS, strict=True)]
        times.plot(LENGTHS, per_token, **style)
        held = [next(b for b in r.buffers if b.level == "global_buffer") for r in runs]
        buffers.plot(LENGTHS, [b.required_bytes / 2**20 for b in held], **style)
    for axes in (times, buffers):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(LENGTHS, [tokens(n) for n in LENGTHS])
        axes.set_xlabel("tokens")
        axes.grid(alpha=0.25)
    buffers.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
    times.set_title("latency per token, ns", loc="left")
    buffers.set_title("footprint in the global buffer, MiB", loc="left")
    times.legend()


@cache
def swept() -> DataFrame:
    """The sweep of ``sweeps.md``, as its page says."""
    page = (FOLDER / "sweeps.md").read_text(encoding="utf-8")
    text = re.search(r"```yaml\n(sweep:.*?)```", page, re.DOTALL)
    assert text is not None
    return sweep(yaml.safe_load(text[1]))


def searched() -> Picture:
    """A search of a few seconds: the guide's page on mapping.

    Its time is that of the processor, since other work on the machine makes a search wait.
    """
    small = "architecture.memories.global_buffer.capacity=256KiB"
    sizes = {"cascade": "attention-naive", "batch": 2, "H": 2, "seq_len": 256}
    begun, busy = monotonic(), process_time()
    figure = plot_history(search("bert-base", "fusemax", "energy", small, **sizes))
    share = min(1.0, (process_time() - busy) / (monotonic() - begun))
    (axes,) = figure.axes
    for drawn in (*axes.lines, *axes.collections):
        if drawn.get_transform() == axes.transData:
            drawn.set_transform(Affine2D().scale(share, 1) + axes.transData)
    axes.set_xlim(0, share * axes.get_xlim()[1])
    axes.set_xlabel("processor seconds of the search")
    return figure


CACHES = ("bf16", "int8", "fp8_e4m3", "mxfp6", "nvfp4", "mxfp4")
"""Formats of keys and values in the cache."""

CACHED = (8191, 131071)
"""Tokens that came before the one decoded."""


def decoded(fmt: str, cached: int) -> Result:
    """One token of Llama-3-8B, all layers, at 7 nm: weights in bf16, the cache in a format."""
    settings = ("formats.default=bf16", f"formats.K={fmt}", f"formats.V={fmt}")
    work = load("llama-3-8b", settings, scope="model", phase="decode", cached_len=cached)
    return simulate(work, Architecture.load("fusemax", ["technology=jouppi-7nm"]))


def draw_formats(axes: Axes, cached: int) -> None:
    """Energy per token by the format of the cache: attention apart, DRAM apart."""
    left = [0.0] * len(CACHES)
    runs = [decoded(fmt, cached) for fmt in CACHES]
    pieces = {
        "weights from DRAM": (False, True, "#4477aa"),
        "other parts, on the chip": (False, False, "#99ddff"),
        "cache from DRAM": (True, True, "#ee6677"),
        "attention, on the chip": (True, False, "#ffaabb"),
    }
    for name, (attention, dram, colour) in pieces.items():
        sizes = [_joules(run, attention=attention, dram=dram) for run in runs]
        axes.barh(range(len(CACHES)), sizes, 0.62, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    for at, total in enumerate(left):
        note_bar(axes, total, at, f"{total:.3f} J")
    name_bars(axes, CACHES)
    axes.set_xlim(0, 1.18 * max(left))
    axes.set_xlabel("J per token")
    axes.set_title(f"{tokens(cached + 1)} tokens in the cache", loc="left")


def _joules(run: Result, *, attention: bool, dram: bool) -> float:
    """Joules of attention or of all else, in DRAM or on the chip."""
    return sum(
        part.times * pj * 1e-12
        for part in run.parts
        for component, pj in part.result.energy_by_component
        if (part.name == "attention") == attention and (component == "DRAM") == dram
    )


def overview() -> Picture:
    """Time, energy, and how mappings scale."""
    result = run(4096)
    figure = Picture(figsize=(9, 5), layout="constrained")
    axes = figure.subplot_mosaic([["time", "lengths"], ["energy", "lengths"]], width_ratios=(2, 1))
    draw_array_time(axes["time"], result)
    draw_energy(axes["energy"], result)
    draw_lengths(axes["lengths"])
    return figure


def cost_per_token() -> Picture:
    """Latency per token and footprint of four kinds of attention."""
    figure = Picture(figsize=(9, 3.2), layout="constrained")
    draw_cost_per_token(*figure.subplots(1, 2))
    return figure


def skew() -> Picture:
    """Cost of skew."""
    figure = Picture(figsize=(9, 3.2), layout="constrained")
    draw_skew(*figure.subplots(1, 2, width_ratios=(3, 2)))
    return figure


def formats() -> Picture:
    """Energy per token by the format of the cache."""
    figure = Picture(figsize=(9, 3), layout="constrained")
    sides = figure.subplots(1, 2, sharex=True)
    for axes, cached in zip(sides, CACHED, strict=True):
        draw_formats(axes, cached)
    handles, names = sides[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


PICTURES: dict[str, Callable[[], Picture]] = {
    "overview": overview,
    "tokens": cost_per_token,
    "skew": skew,
    "formats": formats,
    "sweep-pareto": lambda: plot(swept(), "pareto", y="area_um2"),
    "sweep-traffic": lambda: plot(swept(), "heatmap", colour="traffic_bytes.DRAM"),
    "search": searched,
}


def main() -> None:
    """Draw the pictures named on the command line, or all, and print the README's table."""
    save(PICTURES, sys.argv[1:])
    if not sys.argv[1:]:
        sys.stdout.write("".join(f"{row(n)}\n" for n in LENGTHS))


if __name__ == "__main__":
    main()
