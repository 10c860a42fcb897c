"""``simulate`` in process, now against another revision of the project, in one run.

Two Python processes, one for each tree, simulate the same fresh lengths in turn, so that
whatever else the machine does slows both alike; what counts is processor time. Printed are the
medians and their ratio. A process that has simulated some 250 fresh lengths chooses orders of issue
by compiled code; ``--before 300`` lets both do so many first.

    python benchmarks/simulate.py --against 4cf3f47 [--before N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]

CASES = {
    "BERT attention, fusemax-binding": ("bert-base", "fusemax-binding", {}),
    "BERT attention, no mapping given": ("bert-base", "", {}),
    "BERT attention, fusemax-arch (phases)": ("bert-base", "fusemax-arch", {}),
    "Llama 3 8B, one block": ("llama-3-8b", "", {"scope": "block", "batch": 1}),
}
"""By title: workload, mapping, and fields of the workload."""

LENGTHS = (2048, 3072, 5120, 6000, 8192, 12288, 16640, 33024)
"""Fresh lengths in tokens: none comes twice, so that nothing is remembered."""

WORKER = """
import json, sys, time
from archsim import Architecture, Mapping, simulate
from workloads import load
machine = Architecture.load("fusemax")
for line in sys.stdin:
    workload, mapping, fields = json.loads(line)
    work = load(workload, **fields)
    how = Mapping.load(mapping) if mapping else None
    began = time.process_time()
    simulate(work, machine, how)
    print(time.process_time() - began, flush=True)
"""


class Tree:
    """A process that simulates with one revision's code."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )

    def seconds(self, workload: str, mapping: str, fields: dict[str, object]) -> float:
        """Processor time of one call."""
        import json

        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([workload, mapping, fields]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Print a line for every case: medians in milliseconds and how many times faster."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="HEAD", help="a revision of this repository")
    parser.add_argument("--before", type=int, default=0, help="lengths simulated before")
    told = parser.parse_args()
    revision, before = told.against, told.before
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "tree"
        git = ("git", "-C", str(ROOT))
        subprocess.run([*git, "worktree", "add", "-q", "--detach", other, revision], check=True)
        try:
            trees = Tree(ROOT), Tree(other)
            for tree in trees:
                for length in range(before):
                    tree.seconds("bert-base", "fusemax-binding", {"seq_len": 9001 + length})
            print(f"{'case':40} {'here':>9} {revision[:9]:>9} {'faster':>7}")
            for title, (workload, mapping, fields) in CASES.items():
                here, there = measured(trees, workload, mapping, fields)
                print(f"{title:40} {1e3 * here:6.1f} ms {1e3 * there:6.1f} ms {there / here:6.2f}x")
            for tree in trees:
                tree.close()
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", other], check=True)


def measured(
    trees: tuple[Tree, Tree], workload: str, mapping: str, fields: dict[str, object]
) -> tuple[float, float]:
    """Median processor seconds of both trees over the fresh lengths, in turn.

    As many others warm up: what a process imports once is no part of a call.
    """
    for tree in trees:
        for length in LENGTHS:
            tree.seconds(workload, mapping, {**fields, "seq_len": length + 64})
    taken = [
        [tree.seconds(workload, mapping, {**fields, "seq_len": length}) for tree in trees]
        for length in LENGTHS
    ]
    return median(t for t, _ in taken), median(t for _, t in taken)


if __name__ == "__main__":
    main()
