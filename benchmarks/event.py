"""How fast the event engine is: events a second, and what jumping over repetitions saves.

Run ``python benchmarks/event.py``. The kernel runs on one core without Python's lock. Times
are of the machine at hand; the ratios compare two ways to the same answer in one run.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from archsim import Architecture, Mapping
from archsim.counts.accesses import EinsumCount, count_einsum
from archsim.engine.events import run_program
from archsim.engine.latency import event_programs, time_events
from archsim.engine.timing import time_average
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.schedule.program import StepProgram
from einsum_cascade import Cascade

ROUNDS = 5
BERT = {"B": 64, "H": 12, "E": 64, "F": 64}


def bound(tokens: int, mapping: str = "fusemax-binding") -> tuple[Bound, tuple[EinsumCount, ...]]:
    """BERT's attention, bound to FuseMax."""
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    shapes = {**BERT, "P": tokens, "M": tokens}
    found = bind(program, how, Architecture.load("fusemax"), shapes)
    return found, tuple(count_einsum(found, e) for e in found.einsums)


def program_of(tokens: int, mapping: str = "fusemax-binding") -> StepProgram:
    """Its event program."""
    ((_, program),) = event_programs(*bound(tokens, mapping))
    return program


def seconds(action: Callable[[], object]) -> float:
    """Median wall time of some calls."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rate(program: StepProgram) -> None:
    """Task events a second, on one core and on two at once."""
    run = run_program(program, jumping=False)
    one = seconds(lambda: run_program(program, jumping=False))

    def both() -> None:
        threads = [
            threading.Thread(target=run_program, args=(program,), kwargs={"jumping": False})
            for _ in range(2)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    two = seconds(both)
    print(f"{run.fired:,} task events, one by one: {run.fired / one:.3g} a second on one core")
    print(f"  two runs in two threads: {2 * run.fired / two:.3g} a second together")


def jumps(tokens: int, mapping: str) -> None:
    """Jumping against not jumping; the same answer."""
    program = program_of(tokens, mapping)
    fast = run_program(program)
    short = seconds(lambda: run_program(program))
    line = f"{mapping} at {tokens:,} tokens: {fast.fired:,} of {fast.turns:,} events"
    if fast.turns < 50_000_000:
        slow = run_program(program, jumping=False)
        assert slow.cycles == fast.cycles, "jumping changes nothing"
        long = seconds(lambda: run_program(program, jumping=False))
        print(f"{line}, {short * 1e3:.1f} ms; jumping is {long / short:.0f} times as fast")
    else:
        print(f"{line}, {short * 1e3:.1f} ms")


def main() -> None:
    """All measurements."""
    start = time.perf_counter()
    run_program(program_of(256))
    print(f"first run, with compiling or loading the kernel: {time.perf_counter() - start:.2f} s")
    rate(program_of(8192))
    for mapping in ("fusemax-binding", "fusemax-arch"):
        for tokens in (1024, 4096, 16384, 2**20):
            jumps(tokens, mapping)
    found, counts = bound(2**20)
    event = seconds(lambda: time_events(found, counts))
    average = seconds(lambda: time_average(found, counts))
    print(f"timing 1M tokens: event {event * 1e3:.0f} ms, analytical {average * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
