"""Draw how close each strategy of ``map`` comes to the certified bound over time (``mapping.md``).

Run it from the project's folder: ``python docs/make_search.py``. It prints a table of them, and
takes some minutes: each strategy searches the same space, from nothing, for a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, NullLocator

from archsim import Architecture
from archsim.figure_style import PAGE_IN, PALETTE, Picture, headline, look
from mappers.problem.certificate import Moment
from mappers.problem.incumbents import space_of
from mappers.problem.objectives import objective_called
from mappers.problem.protocol import SearchProblem
from mappers.strategies import strategy_called
from workloads import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGE = Path(__file__).parent / "images" / "search.png"
SECONDS = 60.0
SEEDS = {"exhaustive": (0,), "anneal": (1, 2, 3), "random": (1, 2, 3), "optuna": (1, 2)}
"""Exact search draws nothing at random."""
MANY = 100_000
"""Evaluations: time ends a search before."""


@dataclass(frozen=True)
class StrategyRun:
    """What one search had found by when."""

    strategy: str
    history: tuple[Moment, ...]
    bound: float
    evaluated: int

    @property
    def found(self) -> tuple[Moment, ...]:
        """From the first legal mapping on."""
        return tuple(m for m in self.history if isfinite(m.value))


def searched() -> Iterator[StrategyRun]:
    """BERT's attention at 1K tokens on ``fusemax``: the same problem for each."""
    (part,) = load("bert-base", seq_len=1024).parts
    for name, seeds in SEEDS.items():
        for seed in seeds:
            options = {} if name == "exhaustive" else {"seed": seed, "evaluations": MANY}
            # A space keeps what it worked out: each has one of its own.
            space = space_of(part, Architecture.load("fusemax"))
            end = monotonic() + SECONDS
            problem = SearchProblem(
                space, objective_called("latency"), is_over=lambda end=end: monotonic() > end
            )
            found = strategy_called(name, **options).search(problem)
            certificate = found.certificate
            sys.stderr.write(f"{name} {seed}: {certificate.value:,.0f}, {certificate.runs} runs\n")
            yield StrategyRun(name, found.history, certificate.bound, certificate.runs)


def draw(runs: Sequence[StrategyRun]) -> Picture:
    """Percent above the certified bound, over seconds and over mappings that the engine ran."""
    bound = max(run.bound for run in runs)
    with look():
        picture = Picture(figsize=(PAGE_IN, 2.9), layout="constrained")
        left, right = picture.subplots(1, 2, sharey=True)
        drawn: set[str] = set()
        for run in runs:
            colour = PALETTE[[*SEEDS].index(run.strategy)]
            label = "_" if run.strategy in drawn else run.strategy
            drawn.add(run.strategy)
            above = [100 * (m.value / bound - 1) for m in run.found]
            style = {"where": "post", "color": colour, "label": label}
            left.step([max(m.seconds, 0.05) for m in run.found], above, **style)
            runs_by = [max(1, m.runs) for m in run.found]
            right.step(runs_by, above, **style)
            right.plot(runs_by[-1], above[-1], "o", color=colour)
        _finish(left, "seconds")
        _finish(right, "mappings run by the engine")
        left.set_ylabel("above what is proven, %")
        picture.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        headline(picture, "Least latency of BERT's attention, 1K tokens, on fusemax, from nothing")
    return picture


def _finish(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator())
    axes.yaxis.set_major_locator(LogLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel(what)


def table(runs: Sequence[StrategyRun]) -> str:
    """The page's table: what each seed found, and how many mappings it ran."""
    bound = max(run.bound for run in runs)
    rows = []
    for name in SEEDS:
        mine = sorted((r for r in runs if r.strategy == name), key=lambda run: run.found[-1].value)
        ends = [run.found[-1].value for run in mine]
        cells = (
            f"`{name}`",
            "; ".join(f"{end:,.0f}" for end in ends),
            "; ".join(f"{end / bound:.4g}" for end in ends),
            "; ".join(f"{run.evaluated:,}" for run in mine),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """Search, draw, print."""
    runs = [*searched()]
    draw(runs).write(IMAGE)
    sys.stdout.write(table(runs) + "\n")


if __name__ == "__main__":
    main()
