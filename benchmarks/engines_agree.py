"""Both engines on every part of every shipped model: how far apart, and how long they take.

Run as ``python benchmarks/engines_agree.py [TOKENS ...]``; by default 4096, 4099 and 65536.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import perf_counter

import workloads
from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.engine.latency import time_bound, time_events
from archsim.engine.timing import time_average
from archsim.legality.binding import bind
from archsim.plan.planner import plan
from einsum_cascade import Cascade
from einsum_cascade.yaml.library import builtin_names
from mappers.construct.choices import choose
from mappers.construct.generators import GENERATORS

Case = tuple[Mapping, tuple[tuple[str, int], ...]]


def cases(tokens: int, machine: Architecture) -> Iterator[tuple[str, Case]]:
    """Parts of the shipped models in prefill and decode, with what maps them."""
    for name in builtin_names("workloads"):
        for phase in ("prefill", "decode"):
            length = {"seq_len" if phase == "prefill" else "cached_len": tokens}
            work = workloads.load(name, (), scope="model", phase=phase, batch=1, **length)
            for job in plan(work, machine, generators=GENERATORS).jobs:
                yield f"{name} {phase} {job.name}", (job.mapping, tuple(sorted(job.shapes)))


def main() -> None:
    """Print a line for every different part."""
    machine = Architecture.load("fusemax")
    lengths = [int(text) for text in sys.argv[1:]] or [4096, 4099, 65536]
    seen: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
    print(f"{'average':>10} {'told':>10} {'told s':>8} {'event s':>8}  part")
    for tokens in lengths:
        for label, (mapping, shapes) in cases(tokens, machine):
            if (mapping.name, shapes) in seen:
                continue
            seen.add((mapping.name, shapes))
            program = Cascade.load(mapping.cascade).program
            bound = bind(program, mapping, machine, dict(shapes), choose=choose)
            counts = count_mapping(bound)
            average = time_average(bound, counts).cycles
            begin = perf_counter()
            told = time_bound(bound, counts, "analytical").cycles
            middle = perf_counter()
            event = time_events(bound, counts).timing.cycles
            times = f"{middle - begin:8.3f} {perf_counter() - middle:8.3f}"
            apart = f"{float(event / average - 1):+10.1e} {float(event / told - 1):+10.1e}"
            print(f"{apart} {times}  {mapping.name}: {label}, {tokens} tokens")


if __name__ == "__main__":
    main()
