"""What the search finds on every machine of the library, for ten workloads and two objectives.

    python benchmarks/machines.py [--limit SECONDS] [WORD ...]

A row for each: found, proven gap, floor, seconds of the clock and of processors. With words only
those whose machine, workload and objective have all of them. A machine that a workload does not
run on says why.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from archsim import Architecture
from archsim.quantities import count, energy
from archsim.spec.files.overrides import parse_overrides
from einsum_cascade.errors import InputError
from einsum_cascade.yaml.library import builtin_names
from mappers.memory import VARIABLE
from mappers.objectives import objective_called
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


def used() -> float:
    """Seconds of processors by now, those of processes that have ended included."""
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


def row(machine: str, work: Work, objective: str, limit_s: float | None) -> str:
    """A row of the table."""
    wanted = objective_called(objective)
    begun, before = time.perf_counter(), used()
    try:
        asked = load(work.workload, parse_overrides(work.settings).workload)
        found = search_workload(asked, Architecture.load(machine), wanted, time_limit_s=limit_s)
    except InputError as wrong:
        return f"{wrong.problems[0].message} | | | | |"
    said = count if objective == "latency" else energy
    value = wanted.of(found.result)
    certificate = found.certificate()
    gap, ended = certificate["gap"], certificate.get("ended", "")
    return (
        f"{said(value)} | {100 * gap:.1f} % | {said(wanted.floor(found.result))} "
        f"| {time.perf_counter() - begun:.0f} | {used() - before:.0f} | {ended}"
    )


def main() -> None:
    """Print a row for each."""
    os.environ[VARIABLE] = ""
    words, limit = sys.argv[1:], None
    if words[:1] == ["--limit"]:
        limit, words = float(words[1]), words[2:]
    print("| machine | workload | least | found | gap | floor | seconds | of processors | ended |")
    print("|---|---|---|---|---|---|---|---|---|")
    for machine in builtin_names("architectures"):
        for work in WORKS:
            for objective in ("latency", "energy"):
                mine = f"{machine} | {work.name} | {objective}"
                if all(word in mine for word in words):
                    print(f"| {mine} | {row(machine, work, objective, limit)} |", flush=True)


if __name__ == "__main__":
    main()
