"""What the search finds on every machine of the library, for ten workloads and two objectives.

    python benchmarks/machines.py [--limit SECONDS] [--store FILE] [--page FILE] [WORD ...]

A row for each: found, proven gap, floor, seconds of the clock and of processors. With words only
those whose machine, workload and objective have all of them. A machine that a workload does not
run on says why. Rows that are in the store, a JSON object a line, are not searched again; new ones
are written there as they come, so that it may be stopped and started. ``--table`` prints what
the store has, and searches nothing; ``--page docs/machines.md`` writes the tables of that page.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from archsim import Architecture
from archsim.quantities import count, energy
from archsim.spec.overrides import parse_overrides
from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names
from mappers.memory import VARIABLE
from mappers.problem.objectives import objective_called
from mappers.workload_search import search_workload
from workloads import load

DECODE = ("phase=decode", "cached_len=4095")


@dataclass(frozen=True)
class Work:
    """A workload by its name, and what is set of it."""

    name: str
    workload: str
    settings: tuple[str, ...] = ()


WORKS = (
    Work("BERT 1K", "bert-base", ("seq_len=1K",)),
    Work("BERT 4K", "bert-base"),
    Work("BERT 64K", "bert-base", ("seq_len=64K",)),
    Work("Llama prefill 8K", "llama-3-8b", ("batch=1", "seq_len=8K")),
    Work("Llama decode, batch 1", "llama-3-8b", (*DECODE, "batch=1")),
    Work("Llama decode, batch 16", "llama-3-8b", (*DECODE, "batch=16")),
    Work("DeepSeek decode, batch 1", "deepseek-v3", (*DECODE, "batch=1")),
    Work("DeepSeek decode, batch 16", "deepseek-v3", (*DECODE, "batch=16")),
    Work("Mamba-2 prefill 4K", "mamba-2-2.7b", ("batch=1", "seq_len=4K")),
    Work("a block of Llama, 2K", "llama-3-8b", ("seq_len=2K", "scope=block")),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a search found, or why it could not begin."""

    machine: str
    work: str
    objective: str
    found: float = 0.0
    gap: float = 0.0
    floor: float = 0.0
    seconds: float = 0.0
    processors: float = 0.0
    ended: str = ""
    refused: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is a row of."""
        return self.machine, self.work, self.objective

    @property
    def text(self) -> str:
        """The row as it stands in a table."""
        head = " | ".join(self.key)
        if self.refused:
            return f"| {head} | {self.refused} | | | | | |"
        said = count if self.objective == "latency" else energy
        return (
            f"| {head} | {said(self.found)} | {100 * self.gap:.1f} % | {said(self.floor)} "
            f"| {self.found / self.floor:.3f} | {self.seconds:.0f} | {self.processors:.0f} "
            f"{self.ended}|"
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """The row in a table of one workload: what was found, and how near that is."""
        if self.refused:
            return (self.refused, "", "", "")
        said = "{:,.0f}".format if self.objective == "latency" else energy
        shown = (said(self.found), said(self.floor), f"{self.found / self.floor:.3f}")
        cut = " *" if self.ended else ""
        return (*shown, f"{100 * self.gap:.1f} %{cut}")


BEGIN = "<!-- what follows is written by benchmarks/machines.py -->"
"""Where tables begin in the page."""


def page(rows: dict[tuple[str, str, str], Row], before: str) -> str:
    """A page that ends with a table for each workload, machine by machine."""
    lines = [before.split(BEGIN)[0] + BEGIN, ""]
    heading = ("machine", "cycles", "floor", "times it", "gap")
    for work in WORKS:
        both = (*heading, "energy", *heading[2:])
        lines += [f"## {work.name}", "", f"| {' | '.join(both)} |", "|---" * len(both) + "|"]
        for machine in builtin_names("architectures"):
            found = [rows.get((machine, work.name, name)) for name in ("latency", "energy")]
            cells = [c for row in found for c in (row.cells if row else ("not run", *("",) * 3))]
            lines.append(f"| `{machine}` | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


HEAD = "| machine | workload | least | found | gap | floor | times it | seconds | of processors |"


def used() -> float:
    """Seconds of processors by now, those of processes that have ended included."""
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


def row(machine: str, work: Work, objective: str, limit_s: float | None) -> Row:
    """A row of the table."""
    wanted = objective_called(objective)
    begun, before = time.perf_counter(), used()
    try:
        asked = load(work.workload, parse_overrides(work.settings).workload)
        found = search_workload(asked, Architecture.load(machine), wanted, time_limit_s=limit_s)
    except InputError as wrong:
        return Row(
            machine=machine, work=work.name, objective=objective, refused=wrong.problems[0].message
        )
    certificate = found.certificate()
    return Row(
        machine=machine,
        work=work.name,
        objective=objective,
        found=wanted.of(found.result),
        gap=certificate["gap"],
        floor=wanted.floor(found.result),
        seconds=time.perf_counter() - begun,
        processors=used() - before,
        ended=certificate.get("ended", ""),
    )


def stored(store: Path | None) -> Iterator[Row]:
    """The rows that a store has."""
    if store is not None and store.exists():
        yield from (Row(**json.loads(line)) for line in store.read_text().splitlines())


def main() -> None:
    """Print a row for each."""
    os.environ[VARIABLE] = ""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--limit", type=float, help="seconds of a search")
    asked.add_argument("--store", type=Path, help="file of rows")
    asked.add_argument("--table", action="store_true", help="print the store")
    asked.add_argument("--page", type=Path, help="a page whose tables are those of the store")
    asked.add_argument("words", nargs="*")
    told = asked.parse_args()
    known = {r.key: r for r in stored(told.store)}
    if told.page is not None:
        told.page.write_text(page(known, told.page.read_text()))
        return
    print(HEAD)
    print("|" + "---|" * 9)
    for objective, machine, work in product(
        ("latency", "energy"), builtin_names("architectures"), WORKS
    ):
        key = (machine, work.name, objective)
        if not all(word in " | ".join(key) for word in told.words):
            continue
        if key not in known and told.table:
            continue
        if key not in known:
            known[key] = row(machine, work, objective, told.limit)
            if told.store is not None:
                with told.store.open("a") as file:
                    file.write(json.dumps(asdict(known[key])) + "\n")
        print(known[key].text, flush=True)


if __name__ == "__main__":
    main()
