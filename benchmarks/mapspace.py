"""How close the search comes to the floor, on machines it was not built on, and how long it takes.

    python benchmarks/mapspace.py [energy|latency] [ROW ...]

Rows of docs/mapping.md: cycles found, the floor of any mapping, the proven gap, seconds of the
clock and of processors. ``machines.py`` has the machines of the library.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace

from machines import used

from archsim import Architecture
from archsim.quantities import count, energy
from archsim.spec.overrides import parse_overrides
from mappers.memory import VARIABLE
from mappers.problem.objectives import objective_called
from mappers.workload_search import search_workload
from workloads import load


@dataclass(frozen=True)
class Row:
    """A workload and a machine: settings of both, and operations that the matrix array lacks."""

    name: str
    workload: str
    settings: tuple[str, ...]
    machine: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def _sides(rows: int, columns: int, lanes: int) -> tuple[str, ...]:
    shape = {"array_2d.shape.rows": rows, "array_2d.shape.columns": columns}
    shape["array_1d.shape.lanes"] = lanes
    return tuple(f"architecture.arrays.{field}={size}" for field, size in shape.items())


NO_EXP = ("exp",)
SQUARE = _sides(128, 128, 1024)
H100_LIKE = (
    *_sides(512, 528, 4224),
    "architecture.clock=1.755 GHz",
    "architecture.memories.DRAM.bandwidth=3.35 TB/s",
    "architecture.memories.global_buffer.capacity=50 MiB",
    "architecture.memories.global_buffer.bandwidth=33 TB/s",
)
SMALL_BUFFER = (*_sides(128, 128, 128), "architecture.memories.global_buffer.capacity=1 MiB")
DECODE = ("phase=decode", "cached_len=4095", "batch=16")
PREFILL = ("batch=1", "seq_len=8K")

ROWS = (
    Row("BERT 1K, fusemax", "bert-base", ("seq_len=1K",)),
    Row("BERT 4K, fusemax", "bert-base", ()),
    Row("BERT 1K, 128x128 without exp, 1,024 lanes", "bert-base", ("seq_len=1K",), SQUARE, NO_EXP),
    Row("BERT 4K, the same", "bert-base", (), SQUARE, NO_EXP),
    Row("BERT 1K, 14x12 and 12 lanes", "bert-base", ("seq_len=1K",), _sides(14, 12, 12)),
    Row("BERT 4K, the same", "bert-base", (), _sides(14, 12, 12)),
    Row("BERT 1K, 16x16 and 256 lanes", "bert-base", ("seq_len=1K",), _sides(16, 16, 256)),
    Row("BERT 4K, the same", "bert-base", (), _sides(16, 16, 256)),
    Row("BERT 4K in three passes, fusemax", "bert-base", ("cascade=attention-3pass", "batch=1")),
    Row("Llama prefill 8K, 128x128 without exp", "llama-3-8b", PREFILL, SQUARE, NO_EXP),
    Row("Llama prefill 2K, H100-like", "llama-3-8b", ("batch=1", "seq_len=2K"), H100_LIKE, NO_EXP),
    Row("Llama decode, batch 16, fusemax", "llama-3-8b", DECODE),
    Row("DeepSeek-V3 decode, batch 16, 128x128, 1 MiB", "deepseek-v3", DECODE, SMALL_BUFFER),
    Row("Mamba-2 prefill 4K, fusemax", "mamba-2-2.7b", ("batch=1", "seq_len=4K")),
    Row("a block of Llama, 2K, fusemax", "llama-3-8b", ("seq_len=2K", "scope=block")),
)


def machine_of(row: Row) -> Architecture:
    """The machine of a row: fusemax, changed."""
    machine = Architecture.load("fusemax", parse_overrides(row.machine))
    matrix, *others = machine.arrays
    able = tuple(o for o in matrix.operations if o.kind not in row.lacks)
    return replace(machine, arrays=(replace(matrix, operations=able), *others))


def main() -> None:
    """Print a row for each."""
    os.environ[VARIABLE] = ""
    asked = sys.argv[1:]
    name = next((a for a in asked if a in ("latency", "energy")), "latency")
    wanted = [a for a in asked if a != name]
    print("| | found | floor | times the floor | proven gap | energy | seconds | of processors |")
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        if wanted and not any(w in row.name for w in wanted):
            continue
        work = load(row.workload, parse_overrides(row.settings).workload)
        start, before = time.perf_counter(), used()
        found = search_workload(work, machine_of(row), objective_called(name))
        took, processors = time.perf_counter() - start, used() - before
        result = found.result
        gap = found.certificate()["gap"]
        print(
            f"| {row.name} | {count(result.cycles)} | {count(result.cycles / result.over_floor)} "
            f"| {result.over_floor:.3f} | {100 * gap:.1f} % | {energy(result.energy_pj)} "
            f"| {took:.0f} | {processors:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
