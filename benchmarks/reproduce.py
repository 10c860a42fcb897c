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

from archsim.reproduction import Reproduction
from archsim.reproduction.runs import RunRequest
from archsim.reproduction.simulator import Simulator
from archsim.reproduction.study import planned_runs


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def command(what: str, *arguments: str) -> None:
    """Time ``archsim reproduce fusemax``: until it is done, and of all cores together."""
    words = (sys.executable, "-m", "archsim", "reproduce", "fusemax", *arguments)
    before = os.times()
    wall = seconds(lambda: subprocess.run(words, check=True, capture_output=True))
    after = os.times()
    work = sum(after[2:4]) - sum(before[2:4])
    print(f"{what:<58} {wall:8.2f} s   ({work:.2f} s of work)")


def alone(request: RunRequest) -> object:
    """One run with nothing remembered: every file read, every part simulated."""
    return Simulator().outcome(request)


def report(what: str, slow: float, fast: float) -> None:
    """One comparison."""
    print(f"{what:<58} {slow / fast:8.1f}x   ({slow:.2f} s / {fast:.2f} s)")


def main() -> None:
    """All measurements."""
    work = [*planned_runs(Reproduction.load("fusemax")).values()]
    cores = os.cpu_count() or 1
    print(f"{len(work)} runs on {cores} cores")
    command("the means")
    command("the means, in one process", "--workers", "1")
    with tempfile.TemporaryDirectory() as folder:
        command("the means, all tables and figures", "--out", folder)

    some = work[::11]
    simulator = Simulator()
    report(
        f"{len(some)} runs, each alone / remembering what they share",
        seconds(lambda: [alone(r) for r in some]),
        seconds(lambda: [simulator.outcome(r) for r in some]),
    )


if __name__ == "__main__":
    main()
