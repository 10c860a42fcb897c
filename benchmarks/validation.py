"""Our times beside measured and published ones: the tables of docs/validation.md, printed.

Usage: python benchmarks/validation.py [MEASURED.csv ...]

What was measured is known by the columns of a table; the closed form of FSA needs none.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim import Architecture, load, simulate


def products(path: Path) -> Iterator[tuple[int, int, int, float]]:
    """Rows, summed length, columns and measured seconds of every product."""
    lines = [line for line in path.read_text().splitlines() if line and line[0].isdigit()]
    for m, k, n, seconds in csv.reader(lines):
        yield int(m), int(k), int(n), float(seconds)


def our_seconds(machine: Architecture, m: int, k: int, n: int, folder: Path) -> float:
    """Of a product by its default mapping, and the launch."""
    path = folder / "product.yaml"
    shape = f"{{N: {m}, D: {k}, J: {n}}}"
    path.write_text(f"workload:\n  name: product\n  cascade: linear-layer\n  shape: {shape}\n")
    return simulate(load(path), machine).latency_s + (machine.launch_s or 0.0)


def a100_products(path: Path) -> None:
    """Print the table of matrix products."""
    machine = Architecture.load("a100-80gb")
    errors = []
    print("| M x K x N | measured | ours | error |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for m, k, n, measured in products(path):
            ours = our_seconds(machine, m, k, n, Path(folder))
            errors.append(abs(ours / measured - 1))
            times = f"{1e6 * measured:,.1f} us | {1e6 * ours:,.1f} us"
            print(f"| {m} x {k} x {n} | {times} | {100 * (ours / measured - 1):+.0f} % |")
    print(f"\nmean error {100 * sum(errors) / len(errors):.0f} %")


def closed_form_of_fsa() -> None:
    """Print cycles of a tile of FSA, published and simulated, and what part of them multiplies."""
    print("| N | published | cycles of a step | products | all work |\n|---|---|---|---|---|")
    for n in (16, 32, 64, 128, 256):
        sizes = {"scratchpad": 12 * n**2, "accumulator_sram": 4 * n * (n + 1), "latches": 4 * n**2}
        arrays = ("array", "comparators", "accumulators")
        machine = Architecture.load(
            "fsa",
            [
                f"arrays.array.shape.rows={n}",
                *(f"arrays.{a}.shape.columns={n}" for a in arrays),
                # At the least one line.
                *(f"memories.{m}.capacity={max(size, 512)} B" for m, size in sizes.items()),
            ],
        )
        found = simulate("bert-base", machine, batch=1, H=1, E=n, F=n, P=n, M=64 * n)
        step = found.schedule.period_cycles
        macs = sum(dict(e.operations).get("mac", 0) for e in found.einsums) / (64 * n**2)
        work = next(a.busy_cycles for a in found.arrays if a.array == "array") / 64
        print(
            f"| {n} | {5 * n + 11:,} | {step:,g} | {macs / step:.1%} | {work / step:.1%} |".replace(
                "%", " %"
            )
        )


TABLES = {"M,K,N,seconds": a100_products}
"""What compares with a measured table, by its columns."""


def main() -> None:
    """Print the closed form of FSA, and a table for each file."""
    closed_form_of_fsa()
    for name in sys.argv[1:]:
        lines = Path(name).read_text().splitlines()
        columns = next(line for line in lines if not line.startswith("#"))
        print(f"\n{name}\n")
        TABLES[columns](Path(name))


if __name__ == "__main__":
    main()
