"""Draw machines of the library at equal area and at equal power (``README.md``); print the table.

Run it from the project's folder: ``python docs/make_comparison.py``. Llama-3-8B whole, all in the
prices of one technology, each by the mappings it runs by default.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from recorded import save

from archsim import Architecture, Comparison, compare
from archsim.figure_style import FAINT, PAGE_IN, PALETTE, Picture
from workloads import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MACHINES = ("a100-80gb", "h100-sxm", "ascend-910b2", "tpu-v4i", "cloud", "edge")
TECHNOLOGY = "jouppi-7nm"
PHASES: dict[str, dict[str, int | str]] = {
    "prefill of 2,048 tokens": {"phase": "prefill", "seq_len": 2048, "batch": 1},
    "a token of 16 sequences, 2,047 cached": {"phase": "decode", "cached_len": 2047, "batch": 16},
}
EQUAL = {
    "one of each": {},
    "at equal area": {"iso_area": True, "scale": "copies"},
    "at equal power": {"iso_power": True},
}
COLOURS = (FAINT, *PALETTE[:2])


@cache
def compared(phase: str, how: str) -> Comparison:
    """All machines in a phase, relative to the first."""
    machines = [Architecture.load(name, [f"technology={TECHNOLOGY}"]) for name in MACHINES]
    work = load("llama-3-8b", scope="model", **PHASES[phase])
    return compare(work, machines, **EQUAL[how])  # type: ignore[arg-type]


def table(phase: str) -> str:
    """A line for each machine: its time, power and area, and its speed in the three ways."""
    lines = [f"\n{phase}\n\n| machine | time | power | area | {' | '.join(EQUAL)} |\n|---|---|"]
    lines[0] += "---|---|---|---|---|\n"
    for at, name in enumerate(MACHINES):
        rows = [compared(phase, how).rows[at] for how in EQUAL]
        result = rows[0].result
        watts = 1e-12 * result.energy_pj / result.latency_s
        own = (
            f"{1e3 * result.latency_s:,.3g} ms | {watts:,.0f} W | {result.area_um2 / 1e6:,.0f} mm²"
        )
        lines.append(f"| `{name}` | {own} | {' | '.join(f'{r.speedup:.2f}x' for r in rows)} |\n")
    return "".join(lines)


def draw(axes: Axes, phase: str) -> None:
    """A group of three bars for each machine."""
    for n, (how, colour) in enumerate(zip(EQUAL, COLOURS, strict=True)):
        rows = compared(phase, how).rows
        places = [at + 0.27 * (n - 1) for at in range(len(rows))]
        axes.bar(places, [r.speedup for r in rows], 0.25, color=colour, label=how)
    axes.set_xticks(range(len(MACHINES)), MACHINES, rotation=30, ha="right")
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_title(phase, loc="left")


def machines() -> Picture:
    """Throughput of all machines in each phase."""
    figure = Picture(figsize=(PAGE_IN, 3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, phase in zip(panels, PHASES, strict=True):
        draw(axes, phase)
    panels[0].set_ylabel(f"tokens a second, {MACHINES[0]} = 1")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


PICTURES = {"machines": machines}


def main() -> None:
    """Draw the picture, and print the tables."""
    save(PICTURES)
    sys.stdout.write("".join(map(table, PHASES)))


if __name__ == "__main__":
    main()
