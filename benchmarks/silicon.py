"""Fit the measured losses of a machine to tables of measured kernels, with cross-validation.

Run ``python benchmarks/silicon.py FOLDER MACHINE...``. The folder has tables in the form of
``data/silicon``, which ``silicon_rows.py`` reads; a table that is not there is left out, and so are
rows above the peak of the memory. Rows of several machines, such as two that differ in their memory
alone, are fitted to the same numbers. The first lines compare each group of rows with the design
and with the machine as built, fitted without each fifth of the rows in turn. The last lines are the
section ``measured`` of a machine file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from pathlib import Path
from statistics import fmean

from silicon_rows import Kernel, kernels

from archsim import Architecture
from archsim.result.as_built import with_losses
from archsim.result.record import AsBuilt, PartUse, RunRecord, limits
from archsim.spec.losses import Losses, Measurement

TABLES = ("aic_gemm.csv", "aic_attention.csv", "aic_power_h200.csv")
"""Tables of single kernels, to which the numbers are fitted."""
FOLDS = 5
TRIED = {
    "launch": [n / 10 for n in range(201)],
    "fill": [n / 20 for n in range(61)],
    "exposed": [n / 50 for n in range(51)],
    "idle": [10.0 * n for n in range(61)],
}
"""Numbers tried for each loss, times in microseconds and the power at any load in watts."""
PART = "sustained."
"""Beginning of the name of a share, which tells a memory called ``fill`` from the loss."""
SHARES = [n / 100 for n in range(30, 101)]
"""Shares of a rate that are tried."""
LEAST_ROWS = 3
"""Rows that an array or a memory bounds, from which on its share is fitted."""


@dataclass(frozen=True)
class Row:
    """Measured kernels and their runs as designed."""

    kernel: Kernel
    runs: tuple[PartUse, ...]
    limit_w: float | None

    @property
    def designed_s(self) -> float:
        """Seconds of the runs in sequence, as designed."""
        return sum(run.latency_s for run in self.runs)

    @property
    def designed_j(self) -> float:
        """Joules of the runs, as designed."""
        return sum(run.energy_pj for run in self.runs) / 1e12

    def built(self, losses: Losses) -> AsBuilt:
        """Return what the runs take in sequence with some losses."""
        return with_losses(self.runs, losses, self.limit_w)

    def errors(self, losses: Losses) -> list[float]:
        """Return the logarithms of ours over measured, of time and of energy if it was measured."""
        built, kernel = self.built(losses), self.kernel
        found = [log(built.latency_s / kernel.seconds)]
        if kernel.joules is not None:
            found.append(log(built.energy_pj / 1e12 / kernel.joules))
        return found


def rows_of(folder: Path, machine: Architecture) -> Iterator[Row]:
    """Yield the rows of one machine, simulated as designed."""
    for kernel in kernels(folder, machine.name, TABLES):
        runs = kernel.run(machine)
        print(".", end="", flush=True)
        # No kernel reads faster than the memory: such a row measured a cache, or nothing.
        if kernel.seconds >= sum(run.result.floor.bandwidth_s for run in runs):
            yield Row(kernel, runs, machine.power_limit_w)


def error(rows: Sequence[Row], losses: Losses) -> float:
    """Return the mean of the absolute logarithms of ours over measured."""
    return fmean(abs(ratio) for row in rows for ratio in row.errors(losses))


def losses_of(values: dict[str, float], tables: tuple[str, ...]) -> Losses:
    """Return losses by name; those that lose nothing are left out."""

    def measured(value: float) -> Measurement:
        return Measurement(value=value, source="fitted", rows=tables)

    shares = ((n.removeprefix(PART), v) for n, v in values.items() if n not in TRIED and v < 1)
    return Losses(
        launch=measured(values["launch"] / 1e6),
        fill=measured(values["fill"] / 1e6),
        exposed=measured(values["exposed"]),
        sustained=tuple((name, measured(value)) for name, value in shares),
        power=(("idle", measured(values["idle"])),) if values["idle"] else (),
    )


def fitted(rows: Sequence[Row]) -> Losses:
    """Return the losses with the least error, one number changed at a time until none helps."""
    first = [limits(leaf)[0].name for row in rows for leaf in leaves(row.runs)]
    names = [name for name in dict.fromkeys(first) if first.count(name) >= LEAST_ROWS]
    values = dict.fromkeys(TRIED, 0.0) | {f"{PART}{name}": 1.0 for name in names}
    metered = any(row.kernel.joules is not None for row in rows)
    most_w = min((row.limit_w or inf for row in rows), default=inf) if metered else 0.0
    tried = TRIED | {"idle": [watts for watts in TRIED["idle"] if watts < most_w]}
    least = error(rows, losses_of(values, TABLES))
    while True:
        before = least
        for name in values:
            for value in tried.get(name, SHARES):
                found = error(rows, losses_of(values | {name: value}, TABLES))
                if found < least:
                    least, values = found, values | {name: value}
        if least == before:
            return losses_of(values, TABLES)


def leaves(parts: Sequence[PartUse]) -> Iterator[RunRecord]:
    """Yield the runs of single nests."""
    for part in parts:
        if part.result.parts:
            yield from leaves(part.result.parts)
        else:
            yield part.result


def factors(ratios: Sequence[float]) -> str:
    """Return the geometric mean of ours over measured, the typical factor, and the worst one."""
    typical, worst = fmean(map(abs, ratios)), max(ratios, key=abs)
    return f"{exp(fmean(ratios)):6.2f} {exp(typical):6.2f} {exp(worst):6.2f}"


def compared(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each group of rows, each row with numbers that were fitted without it."""
    unseen: dict[int, list[float]] = {}
    for fold in range(FOLDS):
        losses = fitted([row for n, row in enumerate(rows) if n % FOLDS != fold])
        unseen |= {n: rows[n].errors(losses) for n in range(fold, len(rows), FOLDS)}
    yield f"{'ours over measured: geometric mean, typical, worst':<50} {'designed':^20} unseen"
    for group in dict.fromkeys(row.kernel.group for row in rows):
        mine = {n: row for n, row in enumerate(rows) if row.kernel.group == group}
        designed = factors([log(r.designed_s / r.kernel.seconds) for r in mine.values()])
        yield f"{group:<44} {len(mine):5} {designed} {factors([unseen[n][0] for n in mine])}"
        metered = {n: r for n, r in mine.items() if r.kernel.joules is not None}
        if metered:
            ratios = [log(r.designed_j / (r.kernel.joules or 1)) for r in metered.values()]
            built = factors([unseen[n][1] for n in metered])
            yield f"{group + ', joules':<44} {len(metered):5} {factors(ratios)} {built}"


def section(losses: Losses) -> Iterator[str]:
    """Yield the lines of the section ``measured``; what loses nothing is left out."""
    origin = f"source: fitted, rows: [{', '.join(TABLES)}]"
    yield "  measured:"
    for name in ("launch", "fill"):
        if time := getattr(losses, f"{name}_s"):
            yield f"    {name}: {{value: {1e6 * time:.4g} us, {origin}}}"
    if losses.exposed_share:
        yield f"    exposed: {{value: {losses.exposed_share:.4g}, {origin}}}"
    if losses.sustained:
        yield "    sustained:"
    for name, share in losses.sustained:
        yield f"      {name}: {{value: {share.value:.4g}, {origin}}}"
    for name, watts in losses.power:
        yield f"    power: {{{name}: {{value: {watts.value:.4g} W, {origin}}}}}"


def main() -> None:
    """Print the comparison and the fitted section."""
    folder, machines = Path(sys.argv[1]), [Architecture.load(name) for name in sys.argv[2:]]
    rows = [row for machine in machines for row in rows_of(folder, machine)]
    print()
    for line in compared(rows):
        print(line)
    for line in ("", *section(fitted(rows))):
        print(line)


if __name__ == "__main__":
    main()
