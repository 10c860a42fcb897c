"""Draw the README's picture (``images/overview.png``) and print its table, from real runs.

Run it from the project's folder: ``python docs/make_pictures.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archsim import Architecture, Mapping, simulate
from archsim.plots import Picture, draw_array_time, draw_energy
from archsim.quantities import byte_size, energy, percent, seconds
from workloads import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from archsim.results import Result

LENGTHS = tuple(2**k for k in range(10, 21, 2))
"""Sequence lengths: 1K, 4K, ... 1M tokens."""

MAPPINGS = ("fusemax-binding", "fusemax-arch")
IMAGES = Path(__file__).parent / "images"


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


def draw_lengths(axes: Axes) -> None:
    """Utilization of the 2D array against sequence length, a line per mapping."""
    for mapping in MAPPINGS:
        shares = [100 * run(n, mapping).utilization["array_2d"] for n in LENGTHS]
        axes.plot(LENGTHS, shares, marker="o", label=mapping)
    axes.set_xscale("log", base=2)
    axes.set_xticks(LENGTHS, [tokens(n) for n in LENGTHS])
    axes.set_ylim(0, 105)
    axes.set_xlabel("tokens")
    axes.set_title("utilization of array_2d, %", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def main() -> None:
    """Draw the overview: time, energy, and how both mappings scale."""
    result = run(4096)
    figure = Picture(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplot_mosaic([["time", "lengths"], ["energy", "lengths"]], width_ratios=(2, 1))
    draw_array_time(axes["time"], result)
    draw_energy(axes["energy"], result)
    draw_lengths(axes["lengths"])
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "overview.png", dpi=100)
    sys.stdout.write("".join(f"{row(n)}\n" for n in LENGTHS))


if __name__ == "__main__":
    main()
