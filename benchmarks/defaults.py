"""How far default mappings are from the floor, on machines and workloads that nobody tuned for.

    python benchmarks/defaults.py [--seed N] [--half tune|held] [--store FILE] [WORD ...]

A seed draws a machine of each kind and the sizes of all workloads from ``defaults.yaml``. Rows of
the half ``tune`` are for looking at while the mapper is worked on, those of ``held`` tell whether
it is better. A row says latency and energy over the floor, CPU seconds, what bounds the part that
is furthest from its floor, and the mapping of that part. With words, only rows that have all of
them are run. Rows in the store, one JSON object a line, are not run again.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from string import Template
from typing import Any

import yaml

from archsim import Architecture, Workload, load, simulate
from einsum_cascade.errors import InputError

HALVES = ("tune", "held")

FAR = 2.0
"""Rows with a larger ratio to the floor are listed once more."""


@dataclass(frozen=True)
class Work:
    """A workload of the library with settings, or a cascade with sizes of its ranks."""

    kind: str
    name: str
    numbers: str
    """Settings or sizes, as ``NAME=NUMBER`` with spaces between."""
    is_cascade: bool

    def load(self, folder: Path) -> Workload:
        """Read the workload. Raises SpecError."""
        if not self.is_cascade:
            return load(self.name, tuple(self.numbers.split()))
        sizes = ", ".join(pair.replace("=", ": ") for pair in self.numbers.split())
        file = folder / "work.yaml"
        file.write_text(
            f"workload:\n  name: {self.name}\n  cascade: {self.name}\n  shape: {{{sizes}}}\n"
        )
        return load(str(file))

    def __str__(self) -> str:
        return f"{self.name} {self.numbers}"


@dataclass(frozen=True)
class Row:
    """Result of a default mapping, or the message with which it was refused."""

    key: str
    over: float = 0.0
    """Latency over the floor."""
    energy_over: float = 0.0
    mapping: str = ""
    bound_by: str = ""
    cpu_s: float = 0.0
    refused: str = ""

    def __str__(self) -> str:
        if self.refused:
            return f"{self.key:80} refused: {self.refused}"
        ratios = f"{self.over:7.3f} energy {self.energy_over:6.2f}"
        return f"{self.key:80} {ratios} {self.cpu_s:6.2f} s {self.bound_by} {self.mapping}"


@dataclass(frozen=True)
class Task:
    """A machine and a workload, with the half of the rows that they are in."""

    seed: int
    half: str
    kind: str
    """Kind of the machine."""
    machine: str
    """Text of the machine's file."""
    work: Work

    @property
    def key(self) -> str:
        """Identity in a store."""
        return f"{self.seed} {self.kind} {self.work}"

    def has(self, words: list[str]) -> bool:
        """Return whether all words are in the description."""
        return all(word in f"{self.kind} {self.work.kind} {self.work}" for word in words)

    def run(self) -> Row:
        """Simulate with the default mapping."""
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "machine.yaml"
            file.write_text(self.machine)
            return row(self.key, Architecture.load(str(file)), self.work.load(Path(name)))


def row(key: str, machine: Architecture, work: Workload) -> Row:
    """Return the result of a workload's default mapping on a machine."""
    start = time.process_time()
    try:
        result = simulate(work, machine)
    except InputError as wrong:
        return Row(key, refused=str(wrong).splitlines()[0])
    parts = [p.result for p in result.parts] or [result]
    worst = max(parts, key=lambda p: p.latency_s - p.floor.latency_s)
    return Row(
        key=key,
        over=result.over_floor,
        energy_over=result.energy_pj / result.floor.energy_pj,
        mapping=worst.mapping,
        bound_by=worst.bound_by,
        cpu_s=time.process_time() - start,
    )


def drawn(
    fields: dict[str, Any], ranges: dict[str, list[Any]], draw: random.Random
) -> dict[str, Any]:
    """Return the values of a row's fields, drawn in their order."""
    values = dict(fields.get("fixed", {}))
    for name, options in fields.get("draws", {}).items():
        values[name] = draw.choice(ranges[options] if isinstance(options, str) else options)
    return values


def tasks(seed: int) -> Iterator[Task]:
    """Yield the tasks of a seed."""
    data = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    ranges, draw = data["ranges"], random.Random(seed)
    machines = {
        kind: Template(data["texts"][fields["text"]]).substitute(drawn(fields, ranges, draw))
        for kind, fields in data["machines"].items()
    }
    works = [work(fields, drawn(fields, ranges, draw)) for fields in data["workloads"]]
    for number, (kind, text) in enumerate(machines.items()):
        for at, each in enumerate(works):
            yield Task(seed, HALVES[(number + at) % 2], kind, text, each)


def work(fields: dict[str, Any], values: dict[str, Any]) -> Work:
    """Return a workload with drawn numbers in place of their names."""
    name = Template(fields["name"]).substitute(values)
    numbers = fields["sizes"] if "sizes" in fields else fields["settings"]
    return Work(fields["kind"], name, Template(numbers).substitute(values), "sizes" in fields)


def stored(file: Path | None) -> dict[str, Row]:
    """Return the rows of a store by key; none if there is no file."""
    if file is None or not file.exists():
        return {}
    rows = (Row(**json.loads(line)) for line in file.read_text().splitlines())
    return {found.key: found for found in rows}


def summary(half: str, rows: list[Row]) -> str:
    """Return the spread of the ratios of some rows, and their CPU seconds."""
    ran = [found for found in rows if not found.refused]
    overs = sorted(found.over for found in ran)
    if len(overs) < 2:
        return f"{half}: {len(overs)} rows"
    tenths = quantiles(overs, n=10)
    seconds = sum(found.cpu_s for found in ran)
    return (
        f"{half}: {len(overs)} rows, {len(rows) - len(ran)} refused: median {tenths[4]:.3f}, "
        f"90 % {tenths[8]:.3f}, worst {overs[-1]:.2f}; {seconds:.0f} CPU seconds, "
        f"slowest {max(found.cpu_s for found in ran):.1f}"
    )


def main() -> None:
    """Run the rows asked for, and say how far they are from the floor."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--half", choices=HALVES)
    parser.add_argument("--store", type=Path)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    known = stored(options.store)
    found: dict[str, list[Row]] = {half: [] for half in HALVES}
    for task in tasks(options.seed):
        if options.half not in (None, task.half) or not task.has(options.words):
            continue
        if task.key not in known:
            known[task.key] = task.run()
            if options.store:
                with options.store.open("a") as out:
                    out.write(json.dumps(asdict(known[task.key])) + "\n")
        found[task.half].append(known[task.key])
        print(known[task.key], flush=True)
    far = sorted(
        (r for rows in found.values() for r in rows if r.over > FAR), key=lambda r: -r.over
    )
    print(f"\n{len(far)} rows above {FAR:g}:", *far, "", sep="\n")
    for half, rows in found.items():
        if rows:
            print(summary(half, rows))


if __name__ == "__main__":
    main()
