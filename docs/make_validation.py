"""Fill in the tables of ``validation.md`` and draw its pictures, from fresh runs.

Run it from the project's folder: ``python docs/make_validation.py``. What was measured or published
stands in the page's tables alone: a row there needs no more than its sizes and that number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from recorded import FOLDER, filled, save, tables

from archsim import Architecture, Result, load, simulate
from archsim.figure_style import PAGE_IN, PALETTE, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = FOLDER / "validation.md"
LAUNCH_US = 21.0
"""To start a kernel, as the authors of the measurements on A100 have it for products."""


@dataclass(frozen=True, slots=True)
class Row:
    """Row of a table: its sizes, what was measured or published, and what is ours."""

    sizes: tuple[str, ...]
    theirs: str
    ours: float
    more: tuple[str, ...] = ()
    """Cells in place of the error."""

    @property
    def measured(self) -> float:
        """Number that was measured or published."""
        return float(self.theirs.replace(",", ""))

    @property
    def error(self) -> float:
        """Error of ours, as a share of what was measured."""
        return self.ours / self.measured - 1

    def text(self) -> str:
        """Return the line of the table."""
        ours = f"{self.ours:,.{len(self.theirs.partition('.')[2])}f}"
        more = self.more or (f"{100 * self.error:+.0f}",)
        return f"| {' | '.join((*self.sizes, self.theirs, ours, *more))} |\n"


@dataclass(frozen=True, slots=True)
class Ours:
    """Number of ours in the unit of a table, and cells in place of its error."""

    number: float
    more: tuple[str, ...] = ()


def _run(folder: str, cascade: str, shape: str, machine: str, mapping: str | None = None) -> Result:
    path = Path(folder) / "work.yaml"
    path.write_text(f"workload: {{name: work, cascade: {cascade}, shape: {shape}}}\n")
    return simulate(load(path), machine, mapping)


def product(sizes: str) -> Ours:
    """Microseconds of a matrix product by its default mapping, and the launch."""
    m, k, n = sizes.split(" x ")
    with TemporaryDirectory() as folder:
        run = _run(folder, "linear-layer", f"{{N: {m}, D: {k}, J: {n}}}", "a100-80gb")
    return Ours(1e6 * run.latency_s + LAUNCH_US)


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


def softmax(sizes: str) -> Ours:
    """Microseconds of softmax, Einsum by Einsum, and the launch."""
    rows, columns = sizes.split(" x ")
    shape = f"{{R: {rows}, N: {columns}}}"
    with TemporaryDirectory() as folder:
        (Path(folder) / "softmax.yaml").write_text(SOFTMAX)
        run = _run(folder, "./softmax.yaml", shape, "a100-80gb", "einsum-by-einsum")
    return Ours(1e6 * run.latency_s + LAUNCH_US)


FORMATS = "formats={default: fp16, BQK: fp32, SLNV: fp32}"
"""Scores and products with values go through memory in fp32, weights in fp16."""


def more_keys(queries: str, keys: str, _host: str) -> Ours:
    """Microseconds for 1,024 keys more, of the tiled kernel: the launch is in none of them."""
    less, more = (int(n.replace(",", "")) for n in keys.split("-"))
    seconds = _flash_seconds(int(queries), more) - _flash_seconds(int(queries), less)
    return Ours(1e6 * seconds / ((more - less) / 1024))


@cache
def _flash_seconds(queries: int, keys: int) -> float:
    shape = {"batch": 1, "H": 1, "E": 128, "F": 128, "P": queries, "M": keys}
    return simulate("bert-base", "ascend-910b2", "cube-and-vector", FORMATS, **shape).latency_s


def tile_of_fsa(side: str) -> Ours:
    """Cycles of a tile of FSA, and what part of them multiplies."""
    n = int(side)
    sizes = {"scratchpad": 12 * n**2, "accumulator_sram": 4 * n * (n + 1), "latches": 4 * n**2}
    arrays = ("array", "comparators", "accumulators")
    settings = [
        f"arrays.array.shape.rows={n}",
        *(f"arrays.{a}.shape.columns={n}" for a in arrays),
        # At the least one line.
        *(f"memories.{m}.capacity={max(size, 512)} B" for m, size in sizes.items()),
    ]
    machine = Architecture.load("fsa", settings)
    run = simulate("bert-base", machine, batch=1, H=1, E=n, F=n, P=n, M=64 * n)
    step = run.schedule.period_cycles
    macs = sum(dict(e.operations).get("mac", 0) for e in run.einsums) / (64 * n**2)
    work = next(a.busy_cycles for a in run.arrays if a.array == "array") / 64
    return Ours(step, tuple(f"{100 * cycles / step:.1f} %" for cycles in (macs, work)))


def layer_of_tpu_v1(tokens: str) -> Ours:
    """Tera-operations a second of a layer of 4096 x 4096 weights."""
    n = int(tokens.replace(",", ""))
    with TemporaryDirectory() as folder:
        run = _run(folder, "linear-layer", f"{{N: {n}, D: 4096, J: 4096}}", "tpu-v1")
    return Ours(2e-12 * n * 4096 * 4096 / run.latency_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Table of the page: what computes ours from the sizes of a row, and how it is drawn."""

    ours: Callable[..., Ours]
    unit: str
    title: str
    sizes: int = 1
    log: bool = True
    theirs: str = "measured"


COMPARED = {
    "products": Compared(
        ours=product, unit="a matrix product, µs", title="matrix products on an A100"
    ),
    "softmax": Compared(ours=softmax, unit="softmax, µs", title="softmax on an A100"),
    "ascend": Compared(
        ours=more_keys,
        unit="1,024 keys more, µs",
        title="FlashAttention on an Ascend 910B2",
        sizes=3,
        log=False,
    ),
    "tpu_v1": Compared(
        ours=layer_of_tpu_v1, unit="TOP/s, by tokens", title="TPU v1", theirs="published roof"
    ),
    "fsa": Compared(
        ours=tile_of_fsa, unit="cycles of a tile, by N", title="FSA", theirs="published"
    ),
}
"""By the names of the page's tables."""


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of a table of the page, with ours from a fresh run."""
    how = COMPARED[name]
    lines = tables(PAGE.read_text(encoding="utf-8"))[name].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return tuple(_row(tuple(c[: how.sizes]), c[how.sizes], how) for c in cells)


def _row(sizes: tuple[str, ...], theirs: str, how: Compared) -> Row:
    ours = how.ours(*sizes)
    return Row(sizes, theirs, ours.number, ours.more)


def table(name: str) -> str:
    """A table of the page with ours from a fresh run."""
    heading = tables(PAGE.read_text(encoding="utf-8"))[name].splitlines(keepends=True)[:2]
    return "".join((*heading, *(row.text() for row in rows(name))))


def errors() -> str:
    """The table of mean errors."""
    lines = [
        f"| {how.title} | {100 * sum(abs(r.error) for r in rows(name)) / len(rows(name)):.0f} % |\n"
        for name, how in COMPARED.items()
    ]
    return "".join(("| compared | mean absolute error |\n|---|---|\n", *lines))


def picture(name: str) -> Picture:
    """Each run as it was measured and as it is here, and the error beside it."""
    found = rows(name)
    figure = Picture(figsize=(PAGE_IN, 0.9 + 0.2 * len(found)), layout="constrained")
    draw(figure.subplots(), found, COMPARED[name])
    return figure


def draw(axes: Axes, found: tuple[Row, ...], how: Compared) -> None:
    """A line from each number of theirs to ours."""
    places = range(len(found))
    theirs, ours = [r.measured for r in found], [r.ours for r in found]
    axes.hlines(places, theirs, ours, color="#bbbbbb", zorder=1)
    axes.plot(
        theirs,
        places,
        "o",
        color="#222222",
        ms=6,
        mfc="white",
        mec="#222222",
        mew=1,
        label=how.theirs,
    )
    axes.plot(ours, places, "D", color=PALETTE[1], ms=4.5, label="ours")
    if how.log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_yticks(places, ["   ".join(r.sizes) for r in found])
    axes.set_xlabel(how.unit)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    beside = axes.get_yaxis_transform()
    for place, row in zip(places, found, strict=True):
        axes.text(1.01, place, f"{100 * row.error:+.0f} %", transform=beside, va="center")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


PICTURES = {f"validation-{name.replace('_', '-')}": partial(picture, name) for name in COMPARED}


def page(text: str) -> str:
    """The page with its tables from fresh runs."""
    return filled(text, {"errors": errors(), **{name: table(name) for name in COMPARED}})


def main() -> None:
    """Write the page and its pictures."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    save(PICTURES)


if __name__ == "__main__":
    main()
