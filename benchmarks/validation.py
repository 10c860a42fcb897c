"""Our times beside measured ones: the tables of docs/validation.md, printed.

Usage: python benchmarks/validation.py MEASURED_A100_MATMUL.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from archsim import Architecture, load, simulate

LAUNCH_S = 2.1e-5
"""To start a kernel, as the authors of the measurement have it; it is in every measured number."""


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
    return simulate(load(path), machine).latency_s + LAUNCH_S


def main() -> None:
    """Print the table of matrix products."""
    machine = Architecture.load("a100-80gb")
    errors = []
    print("| M x K x N | measured | ours | error |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for m, k, n, measured in products(Path(sys.argv[1])):
            ours = our_seconds(machine, m, k, n, Path(folder))
            errors.append(abs(ours / measured - 1))
            times = f"{1e6 * measured:,.1f} us | {1e6 * ours:,.1f} us"
            print(f"| {m} x {k} x {n} | {times} | {100 * (ours / measured - 1):+.0f} % |")
    print(f"\nmean error {100 * sum(errors) / len(errors):.0f} %")


if __name__ == "__main__":
    main()
