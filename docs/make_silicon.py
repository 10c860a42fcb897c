"""Compare machines as built with measured kernels: the table and pictures of ``validation.md``.

Run it from the project's folder: ``python docs/make_silicon.py FOLDER``. The folder has the tables
of ``benchmarks/silicon_rows.py``. Ours over measured of each row is kept in ``silicon.csv``, from
which the table and the pictures are made; without the folder, from the rows that were kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, exp, floor, log, log10
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recorded import FOLDER, filled, save

from archsim import Architecture
from archsim.figure_style import PAGE_IN, PALETTE, Picture
from archsim.result.as_built import as_built_of_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = FOLDER / "validation.md"
KEPT = FOLDER / "silicon.csv"
MACHINES = ("a100-80gb", "h100-sxm", "h200-sxm")

FACTOR = 1.3
"""Typical factor up to which a group agrees."""

CAUSES = {
    "products bf16": "the default mapping leaves columns of the last tiles idle",
    "prefill bf16": "short sequences: kernels are far from every rate",
    "window prefill bf16": "kernels compute whole blocks around a window, ours the window alone",
    "decode bf16": "measured at nearly the memory's peak",
    "window decode bf16": "kernels read blocks around a window",
    "decode H800": "a start of 30 us at batch 1, in this library alone",
    "FA2 fwd": "written for A100: FlashAttention-3 is faster on the same machine",
    "FA2 fwd+bwd": "written for A100; atomic sums of gradients are not modelled",
    "FA3 fwd": "the default mapping of heads of 256",
    "latent decode": "the default mapping, 2.3 x its floor",
    "latent prefill": "short sequences, as prefill",
    "delta rule decode": "one sequence: kernels of many Einsums fill faster than ours",
    "experts": "an old Triton kernel",
    "linear layers": "timed with starts of its own",
    "Lightning": "blocks of a head in sequence, each waiting for all of the one before",
    "model prefill": "the default mapping reads L1 for each use in gated products",
}
"""Causes of the worst row of each group, where it is off by more than the factor."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over measured of one row, as designed and as built, and of its energy if measured."""

    machine: str
    group: str
    case: str
    measured_us: float
    designed: float
    built: float
    energy: float | None


def measured(folder: Path) -> Iterator[Ratio]:
    """Yield the rows of all tables, simulated as designed and as built."""
    sys.path.insert(0, str(FOLDER.parent / "benchmarks"))
    from silicon_rows import kernels

    for machine in map(Architecture.load, MACHINES):
        for kernel in kernels(folder, machine.name):
            parts = kernel.run(machine)
            # No kernel reads faster than the memory: such a row measured a cache, or nothing.
            if kernel.seconds < sum(part.result.floor.bandwidth_s for part in parts):
                continue
            built = as_built_of_parts(parts)
            assert built is not None, "the machine states losses"
            yield Ratio(
                machine.name,
                kernel.group,
                kernel.case,
                round(1e6 * kernel.seconds, 3),
                sum(part.latency_s for part in parts) / kernel.seconds,
                built.latency_s / kernel.seconds,
                built.energy_pj / 1e12 / kernel.joules if kernel.joules else None,
            )


def kept() -> list[Ratio]:
    """Return the rows that were kept."""
    frame = pd.read_csv(KEPT).replace({np.nan: None})
    return [Ratio(*row) for row in frame.itertuples(index=False)]


def groups(rows: Sequence[Ratio]) -> dict[tuple[str, str], list[Ratio]]:
    """Return the rows by machine and group, the order kept."""
    found: dict[tuple[str, str], list[Ratio]] = {}
    for row in rows:
        found.setdefault((row.machine, row.group), []).append(row)
    return found


def factors(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the geometric mean of ratios, and the typical factor from 1."""
    logs = [log(ratio) for ratio in ratios]
    return exp(fmean(logs)), exp(fmean(map(abs, logs)))


def table(rows: Sequence[Ratio]) -> str:
    """Return the table of all groups."""
    lines = ["| machine, kernels | rows | designed | built | worst row | | cause |\n"]
    lines.append("|---|---|---|---|---|---|---|\n")
    for (machine, group), mine in groups(rows).items():
        designed, built = (factors([getattr(r, n) for r in mine]) for n in ("designed", "built"))
        worst = max(mine, key=lambda row: abs(log(row.built)))
        cells = (
            f"{machine.partition('-')[0]}, {group}",
            str(len(mine)),
            *(f"{mean:.2f}, {typical:.2f}" for mean, typical in (designed, built)),
            worst.case,
            f"{worst.built:.2f}",
            CAUSES.get(group, "") if abs(log(worst.built)) > log(FACTOR) else "",
        )
        lines.append(f"| {' | '.join(cells)} |\n")
        if energies := [row.energy for row in mine if row.energy is not None]:
            mean, typical = factors(energies)
            worst = max(mine, key=lambda row: abs(log(row.energy or 1)))
            lines.append(
                f"| {machine.partition('-')[0]}, joules | {len(energies)} | | {mean:.2f}, "
                f"{typical:.2f} | {worst.case} | {worst.energy:.2f} | |\n"
            )
    return "".join(lines)


def picture(machine: str) -> Picture:
    """Draw ours over measured against what was measured, a panel for each group."""
    mine = {g: rows for (name, g), rows in groups(kept()).items() if name == machine}
    columns = min(4, len(mine))
    deep = -(-len(mine) // columns)
    figure = Picture(figsize=(PAGE_IN, 0.6 + 1.6 * deep), layout="constrained")
    panels = figure.subplots(deep, columns, squeeze=False, sharey=True).ravel()
    for axes, (group, rows) in zip(panels, mine.items(), strict=False):
        draw(axes, group, rows)
    for axes in panels[len(mine) :]:
        axes.set_axis_off()
    figure.supxlabel("measured, µs")
    figure.supylabel("ours over measured")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def draw(axes: Axes, group: str, rows: Sequence[Ratio]) -> None:
    """Draw the rows of a group on a band of 30 % around what was measured."""
    times = [row.measured_us for row in rows]
    axes.axhspan(1 / FACTOR, FACTOR, color="0.92", zorder=0)
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.plot(times, [r.designed for r in rows], "o", color="0.65", ms=3, label="as designed")
    axes.plot(times, [r.built for r in rows], "D", color=PALETTE[1], ms=3.5, label="as built")
    axes.set_xscale("log")
    axes.set_yscale("log")
    first, last = floor(log10(0.9 * min(times))), ceil(log10(1.1 * max(times)))
    axes.set_xlim(10.0**first, 10.0**last)
    ticks = [10.0**n for n in range(first, last + 1)]
    axes.set_xticks(ticks, [f"1e{n}" for n in range(first, last + 1)])
    axes.set_ylim(0.1, 5)
    axes.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
    axes.minorticks_off()
    axes.set_title(group, loc="left", fontsize=8)


PICTURES = {f"silicon-{name}": partial(picture, name) for name in MACHINES}


def page(text: str) -> str:
    """Return the page with its table of the rows that were kept."""
    return filled(text, {"silicon": table(kept())})


def main() -> None:
    """Measure if a folder is given; write the table and the pictures."""
    if len(sys.argv) > 1:
        pd.DataFrame([*measured(Path(sys.argv[1]))]).to_csv(KEPT, index=False, float_format="%.4g")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    save(PICTURES)


if __name__ == "__main__":
    main()
