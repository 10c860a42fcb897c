"""Our times beside measured and published ones: the tables of docs/validation.md, printed.

Usage: python benchmarks/validation.py [--pictures DIR] [MEASURED.csv ...]

What was measured is known by the columns of a table; the closed form of FSA and the roofline of
TPU v1 need none. With --pictures a picture of each is drawn.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from archsim import Architecture, load, simulate
from archsim.figure_style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAUNCH_S = 2.1e-5
"""To start a kernel, as the authors of the measurements on A100 have it for products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A run as it was measured and as it is here, in seconds (of slopes: a thousand keys)."""

    label: str
    measured: float
    ours: float

    @property
    def error(self) -> float:
        """Of ours, as a share of what was measured."""
        return self.ours / self.measured - 1


def rows_of(path: Path) -> Iterator[list[str]]:
    """The lines of a table that hold numbers."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    yield from list(csv.reader(lines))[1:]


def show(what: str, compared: list[Compared]) -> None:
    """Print a table, and the mean error."""
    print(f"| {what} | measured | ours | error |\n|---|---|---|---|")
    for c in compared:
        times = f"{1e6 * c.measured:,.1f} us | {1e6 * c.ours:,.1f} us"
        print(f"| {c.label} | {times} | {100 * c.error:+.0f} % |")
    print(f"\nmean error {100 * sum(abs(c.error) for c in compared) / len(compared):.0f} %")


# ------------------------------------------------------------------ matrix products on an A100


def our_seconds(machine: Architecture, m: int, k: int, n: int, folder: Path) -> float:
    """Of a product by its default mapping, and the launch."""
    path = folder / "product.yaml"
    shape = f"{{N: {m}, D: {k}, J: {n}}}"
    path.write_text(f"workload:\n  name: product\n  cascade: linear-layer\n  shape: {shape}\n")
    return simulate(load(path), machine).latency_s + LAUNCH_S


def a100_products(path: Path) -> list[Compared]:
    """The table of matrix products."""
    machine = Architecture.load("a100-80gb")
    found = []
    with TemporaryDirectory() as folder:
        for row in rows_of(path):
            m, k, n = (int(size) for size in row[:3])
            ours = our_seconds(machine, m, k, n, Path(folder))
            found.append(Compared(label=f"{m} x {k} x {n}", measured=float(row[3]), ours=ours))
    show("M x K x N", found)
    return found


# ----------------------------------------------------------------------------- softmax on an A100

SOFTMAX = """cascade: softmax
ranks: {R: rows, N: columns}
inputs: {X: [R, N]}
output: A
einsums: |
  GM[r] = X[r, n] :: max[n]
  SD[r] = exp(X[r, n] - GM[r])
  A[r, n] = exp(X[r, n] - GM[r]) / SD[r]
"""
"""The framework's kernel for long rows, which reads each row three times."""


def a100_softmax(path: Path) -> list[Compared]:
    """Compare softmax: three reads of each row, Einsum by Einsum, and the launch."""
    machine = Architecture.load("a100-80gb")
    found = []
    with TemporaryDirectory() as folder:
        work = Path(folder) / "work.yaml"
        (Path(folder) / "softmax.yaml").write_text(SOFTMAX)
        for row in rows_of(path):
            m, n = int(row[0]), int(row[1])
            shape = f"{{R: {m}, N: {n}}}"
            work.write_text(f"workload: {{name: rows, cascade: ./softmax.yaml, shape: {shape}}}\n")
            ours = simulate(load(work), machine, "einsum-by-einsum").latency_s + LAUNCH_S
            measured = m * n / (1e9 * float(row[2]))
            found.append(Compared(label=f"{m} x {n}", measured=measured, ours=ours))
    show("rows x columns", found)
    return found


# ------------------------------------------------------------------ FlashAttention on an Ascend

FORMATS = "formats={default: fp16, BQK: fp32, SLNV: fp32}"
"""Scores and products with values go through memory in fp32, weights in fp16."""


def ascend_flash(path: Path) -> list[Compared]:
    """Seconds for a thousand keys more, of the tiled kernel: the launch is in none of them."""
    runs: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for host, queries, keys, tiled, _ in rows_of(path):
        runs.setdefault((host, int(queries)), []).append((int(keys), 1e-6 * float(tiled)))
    found = []
    for (host, asked), measured in runs.items():
        ours = [_flash_seconds(asked, keys) for keys, _ in measured]
        for n in range(1, len(measured)):
            (less, before), (more, after) = measured[n - 1 : n + 1]
            thousands = (more - less) / 1024
            found.append(
                Compared(
                    label=f"{asked} queries, {less:,} to {more:,} keys, {host}",
                    measured=(after - before) / thousands,
                    ours=(ours[n] - ours[n - 1]) / thousands,
                )
            )
    show("a thousand keys more", found)
    return found


def _flash_seconds(queries: int, keys: int) -> float:
    machine, mapping = "ascend-910b2", "cube-and-vector"
    found = simulate(
        "bert-base", machine, mapping, FORMATS, batch=1, H=1, E=128, F=128, P=queries, M=keys
    )
    return found.latency_s


# ------------------------------------------------------------------ FlashAttention in one array


def closed_form_of_fsa() -> list[Compared]:
    """Cycles of a tile of FSA, published and simulated, and what part of them multiplies."""
    print("| N | published | cycles of a step | products | all work |\n|---|---|---|---|---|")
    found = []
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
        run = simulate("bert-base", machine, batch=1, H=1, E=n, F=n, P=n, M=64 * n)
        step = run.schedule.period_cycles
        macs = sum(dict(e.operations).get("mac", 0) for e in run.einsums) / (64 * n**2)
        work = next(a.busy_cycles for a in run.arrays if a.array == "array") / 64
        shares = f"{100 * macs / step:.1f} % | {100 * work / step:.1f} %"
        print(f"| {n} | {5 * n + 11:,} | {step:,g} | {shares} |")
        found.append(Compared(label=f"{n}", measured=5 * n + 11, ours=step))
    return found


# --------------------------------------------------------------------- the roofline of TPU v1

RIDGE, PEAK_OPS = 1350, 92e12
"""As published: operations a byte of weights from which on TPU v1 is bound by its array."""


def roofline_of_tpu_v1() -> list[Compared]:
    """Operations a second of a layer of 4096 x 4096 weights, by tokens: operations a byte."""
    print("| tokens | published roof | ours | error |\n|---|---|---|---|")
    found = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "layer.yaml"
        for n in (64, 128, 256, 512, 1024, 1350, 2048, 4096):
            shape = f"{{N: {n}, D: 4096, J: 4096}}"
            path.write_text(f"workload: {{name: fc, cascade: linear-layer, shape: {shape}}}\n")
            ours = 2 * n * 4096 * 4096 / simulate(load(path), "tpu-v1").latency_s
            roof = PEAK_OPS * min(1, n / RIDGE)
            found.append(Compared(label=f"{n}", measured=roof, ours=ours))
            error = f"{100 * found[-1].error:+.0f} %"
            print(f"| {n:,} | {1e-12 * roof:.1f} TOP/s | {1e-12 * ours:.1f} TOP/s | {error} |")
    return found


# ----------------------------------------------------------------------------------- pictures


def draw(axes: Axes, compared: list[Compared], sight: Sight) -> None:
    """Each run as it was measured and as it is here, and the error beside it."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    places = list(range(len(compared)))
    theirs = [sight.scale * c.measured for c in compared]
    ours = [sight.scale * c.ours for c in compared]
    axes.hlines(places, theirs, ours, color="#bbbbbb", zorder=1)
    axes.plot(theirs, places, "o", color="#222222", ms=6, mfc="white", label=sight.theirs)
    axes.plot(ours, places, "D", color="#ee6677", ms=3.5, label="ours")
    if sight.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(places, [c.label for c in compared], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(sight.unit, fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    beside = axes.get_yaxis_transform()
    for place, c in zip(places, compared, strict=True):
        error = f"{100 * c.error:+.0f} %"
        axes.text(1.01, place, error, transform=beside, fontsize=7, va="center")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How a comparison is drawn."""

    name: str
    unit: str
    scale: float = 1e6
    log: bool = True
    theirs: str = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What compares with a table, and how it is drawn."""

    compare: Callable[[Path], list[Compared]]
    sight: Sight


TABLES = {
    "M,K,N,seconds": Comparison(
        compare=a100_products, sight=Sight(name="products", unit="a matrix product, µs")
    ),
    "M,N,gelements_per_second": Comparison(
        compare=a100_softmax, sight=Sight(name="softmax", unit="softmax, µs")
    ),
    "host,S0,S1,tiled_us,fused_us": Comparison(
        compare=ascend_flash, sight=Sight(name="ascend", unit="1,024 keys more, µs", log=False)
    ),
}
"""By the columns of what was measured."""

FSA = Sight(name="fsa", unit="cycles of a tile, by N", scale=1, theirs="published")
TPU_V1 = Sight(name="tpu-v1", unit="TOP/s, by tokens", scale=1e-12, theirs="published roof")


def save(folder: Path, compared: list[Compared], sight: Sight) -> None:
    """A picture as wide as a page of a paper."""
    figure = Picture(figsize=(6.6, 0.9 + 0.2 * len(compared)), layout="constrained")
    draw(figure.subplots(), compared, sight)
    figure.savefig(folder / f"validation-{sight.name}.png", dpi=140)


def main() -> None:
    """Print what needs no file, and a table for each file; draw what is asked for."""
    names, folder = sys.argv[1:], None
    if names[:1] == ["--pictures"]:
        folder, names = Path(names[1]), names[2:]
    for published, sight in ((closed_form_of_fsa, FSA), (roofline_of_tpu_v1, TPU_V1)):
        compared = published()
        if folder:
            save(folder, compared, sight)
    for name in names:
        lines = Path(name).read_text().splitlines()
        table = TABLES[next(line for line in lines if not line.startswith("#"))]
        print(f"\n{name}\n")
        compared = table.compare(Path(name))
        if folder:
            save(folder, compared, table.sight)


if __name__ == "__main__":
    main()
