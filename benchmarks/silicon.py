"""Fit the measured losses of a machine to tables of measured kernels, with cross-validation.

Run ``python benchmarks/silicon.py FOLDER MACHINE``. The folder has tables in the form of
``data/silicon``: products in ``aic_gemm.csv`` (machine, dtype, m, k, n, best_us) and attention in
``aic_attention.csv`` (machine, phase, dtype, heads, kv_heads, head_dim, window, batch, new_tokens,
cache_tokens, best_us); a table that is not there is left out, and so are rows above the peak of the
memory. The first lines compare each group of rows with the design and with the machine as built,
fitted without each fifth of the rows in turn. The last lines are the section ``measured`` of a
machine file.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean

from archsim import Architecture, simulate
from archsim.result.as_built import with_losses
from archsim.result.record import RunRecord, limits
from archsim.result.result import Result
from archsim.spec.losses import Losses, Measurement
from workloads import Workload, load

FORMATS = {"fp8": "fp8_e4m3"}
"""Formats by the names of the tables, where these differ."""

FOLDS = 5
TRIED = {
    "launch": [n / 10 for n in range(201)],
    "fill": [n / 20 for n in range(61)],
    "exposed": [n / 50 for n in range(51)],
}
"""Numbers tried for each loss, times in microseconds."""
PART = "sustained."
"""Beginning of the name of a share, which tells a memory called ``fill`` from the loss."""
SHARES = [n / 100 for n in range(30, 101)]
"""Shares of a rate that are tried."""
LEAST_ROWS = 3
"""Rows that an array or a memory bounds, from which on its share is fitted."""


@dataclass(frozen=True)
class Row:
    """Measured kernel and its run as designed."""

    table: str
    group: str
    measured_s: float
    result: Result


def product(row: dict[str, str]) -> Workload:
    """Return the workload of a row of products."""
    shape = f"{{N: {row['m']}, D: {row['k']}, J: {row['n']}}}"
    dtype = FORMATS.get(row["dtype"], row["dtype"])
    text = f"workload:\n  name: product\n  cascade: linear-layer\n  shape: {shape}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.yaml"
        path.write_text(text + f"  formats: {{default: {dtype}}}\n", encoding="utf-8")
        return load(path)


def attention(row: dict[str, str]) -> Workload | None:
    """Return the workload of a row of attention; None for windows, which no single model has."""
    if row["window"] != "0":
        return None
    heads = ("num_attention_heads", row["heads"]), ("num_key_value_heads", row["kv_heads"])
    config = [f"config.{name}={n}" for name, n in (*heads, ("head_dim", row["head_dim"]))]
    dtype = f"formats.default={FORMATS.get(row['dtype'], row['dtype'])}"
    if row["phase"] == "decode":
        phase = ["phase=decode", f"cached_len={int(row['cache_tokens'])}"]
    else:
        phase = [f"seq_len={row['new_tokens']}"]
    return load("llama-3-8b", [*config, dtype, *phase, f"batch={row['batch']}"])


def rows_of(folder: Path, machine: Architecture) -> Iterator[Row]:
    """Yield the rows of one machine, simulated as designed."""
    for table, workload in (("aic_gemm.csv", product), ("aic_attention.csv", attention)):
        path = folder / table
        for row in csv.DictReader(path.open(encoding="utf-8")) if path.exists() else ():
            work = workload(row) if row["machine"] == machine.name else None
            if work is not None:
                found, measured_s = simulate(work, machine), float(row["best_us"]) / 1e6
                print(".", end="", flush=True)
                # No kernel reads faster than the memory: such a row measured a cache, or nothing.
                if measured_s >= found.floor.bandwidth_s:
                    group = f"{table} {row.get('phase', '')} {row['dtype']}"
                    yield Row(table, group, measured_s, found)


def error(rows: Sequence[Row], losses: Losses) -> float:
    """Return the mean of the absolute logarithm of ours over measured."""
    return fmean(abs(log(with_losses(row.result, losses) / row.measured_s)) for row in rows)


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
    )


def fitted(rows: Sequence[Row]) -> Losses:
    """Return the losses with the least error, one number changed at a time until none helps."""
    tables = tuple(dict.fromkeys(row.table for row in rows))
    first = [limits(part)[0].name for row in rows for part in leaves(row.result)]
    names = [name for name in dict.fromkeys(first) if first.count(name) >= LEAST_ROWS]
    values = dict.fromkeys(TRIED, 0.0) | {f"{PART}{name}": 1.0 for name in names}
    least = error(rows, losses_of(values, tables))
    while True:
        before = least
        for name in values:
            for value in TRIED.get(name, SHARES):
                found = error(rows, losses_of(values | {name: value}, tables))
                if found < least:
                    least, values = found, values | {name: value}
        if least == before:
            return losses_of(values, tables)


def leaves(result: RunRecord) -> list[RunRecord]:
    """Return the runs of single nests."""
    return [x for p in result.parts for x in leaves(p.result)] if result.parts else [result]


def factors(pairs: Sequence[tuple[Row, float]]) -> str:
    """Return the geometric mean of ours over measured, the typical factor, and the worst one."""
    ratios = [log(seconds / row.measured_s) for row, seconds in pairs]
    typical, worst = fmean(map(abs, ratios)), max(ratios, key=abs)
    return f"{exp(fmean(ratios)):6.2f} {exp(typical):6.2f} {exp(worst):6.2f}"


def main() -> None:
    """Print the comparison and the fitted section."""
    folder, machine = Path(sys.argv[1]), Architecture.load(sys.argv[2])
    rows = [*rows_of(folder, machine)]
    unseen: dict[int, float] = {}
    for fold in range(FOLDS):
        losses = fitted([row for n, row in enumerate(rows) if n % FOLDS != fold])
        unseen |= {n: with_losses(rows[n].result, losses) for n in range(fold, len(rows), FOLDS)}
    print(f"\n{'ours over measured: geometric mean, typical, worst':<50} {'designed':^20} unseen")
    for group in dict.fromkeys(row.group for row in rows):
        mine = [n for n, row in enumerate(rows) if row.group == group]
        designed = factors([(rows[n], rows[n].result.latency_s) for n in mine])
        built = factors([(rows[n], unseen[n]) for n in mine])
        print(f"{group:<44} {len(mine):5} {designed} {built}")
    losses = fitted(rows)
    origin = f"source: fitted, rows: [{', '.join(dict.fromkeys(row.table for row in rows))}]"
    print("\n  measured:")
    for name in ("launch", "fill"):
        time = getattr(losses, f"{name}_s")
        # A machine file states what is lost; it has no zeros.
        if time:
            print(f"    {name}: {{value: {1e6 * time:.4g} us, {origin}}}")
    if losses.exposed_share:
        print(f"    exposed: {{value: {losses.exposed_share:.4g}, {origin}}}")
    if losses.sustained:
        print("    sustained:")
    for name, share in losses.sustained:
        print(f"      {name}: {{value: {share.value:.4g}, {origin}}}")


if __name__ == "__main__":
    main()
