"""How long the published evaluation takes, and what makes it fast, measured in one run.

Run ``python benchmarks/reproduce.py``. The first lines time the whole command, the others
compare a shortcut with the plain way to the same answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from archsim.reproduction import Plan
from archsim.reproduction.runs import Simulator, Task, tasks


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def command(*arguments: str) -> Callable[[], object]:
    """``archsim reproduce fusemax`` as a process."""
    words = (sys.executable, "-m", "archsim", "reproduce", "fusemax", *arguments)
    return lambda: subprocess.run(words, check=True, capture_output=True)


def alone(task: Task) -> object:
    """One run with nothing remembered: every file read, every part simulated."""
    return Simulator().outcome(task)


def report(what: str, slow: float, fast: float) -> None:
    """One comparison."""
    print(f"{what:<58} {slow / fast:8.1f}x   ({slow:.2f} s / {fast:.2f} s)")


def main() -> None:
    """All measurements."""
    work = tasks(Plan.load("fusemax"))
    cores = os.cpu_count() or 1
    print(f"{len(work)} runs on {cores} cores")
    headline = seconds(command())
    print(f"{'the means':<58} {headline:8.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"{'the means, all tables and figures':<58} {seconds(command('--out', folder)):8.2f} s"
        )
    report("one process / one for each core", seconds(command("--workers", "1")), headline)

    some = work[::11]
    simulator = Simulator()
    report(
        f"{len(some)} runs, each alone / remembering what they share",
        seconds(lambda: [alone(t) for t in some]),
        seconds(lambda: [simulator.outcome(t) for t in some]),
    )


if __name__ == "__main__":
    main()
