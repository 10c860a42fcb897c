"""How fast the engine is, as ratios measured in one run.

Run ``python benchmarks/engine.py``. Each row compares two ways to the same answer, or a
command with what any Python program pays, and prints the median ratio over several rounds;
absolute times depend on the machine and are only there for orientation.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from archsim import Architecture, Mapping
from archsim.engine.evaluate import evaluate_bound
from archsim.engine.timing import makespan
from archsim.legality.binding import bind
from archsim.schedule import order_kernel
from archsim.schedule.event_graph import EventGraph, Issue, average_step
from archsim.schedule.kinds import unordered
from archsim.schedule.lowering import ProgramBuilder
from archsim.schedule.modulo import modulo_schedule, tables_of
from archsim.steps.group import fused_group, uniform_walk
from archsim.validation.mapped import execute_mapped
from einsum_cascade import Cascade

ROUNDS = 5
BERT = {"B": 64, "H": 12, "E": 64, "F": 64}


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(what: str, slow: Callable[[], object], fast: Callable[[], object]) -> None:
    """Print the median of slow / fast over some rounds taken in turn."""
    pairs = [(seconds(slow), seconds(fast)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    a, b = (statistics.median(p) for p in zip(*pairs, strict=True))
    print(f"{what:<66} {ratio:10.1f}x   ({a * 1e3:.1f} ms / {b * 1e3:.1f} ms)")


def command(*arguments: str) -> Callable[[], object]:
    """A whole process."""
    return lambda: subprocess.run(arguments, check=True, capture_output=True)


def graph_of(tokens: int) -> EventGraph:
    """The event graph of BERT's one-pass attention."""
    from archsim.counts.accesses import count_einsum

    shapes = {**BERT, "P": tokens, "M": tokens}
    bound = bind(CASCADE, BINDING, FUSEMAX, shapes)
    counts = tuple(count_einsum(bound, e) for e in bound.einsums)
    walk = uniform_walk(bound, fused_group(bound, counts, bound.einsums))
    program = unordered(ProgramBuilder(bound, walk), lookahead=7)
    return average_step(program, memories=tuple(m.name for m in FUSEMAX.memories))


def run_all_steps(graph: EventGraph, issue: Issue) -> int:
    """Return the makespan of a graph, with every step run."""
    tables = tables_of(graph, ())
    order = order_kernel.by_position([*issue.position])
    return order_kernel.end_of(tables, graph.steps, [*issue.stage], order, 1 << 62)


CASCADE = Cascade.load("attention-1pass").program
BINDING = Mapping.load("fusemax-binding")
FUSEMAX = Architecture.load("fusemax")


def main() -> None:
    """All comparisons."""
    start = command(sys.executable, "-c", "import numpy, pydantic")
    run = command(sys.executable, "-m", "archsim", "simulate", "--json")
    compare("archsim simulate / importing numpy and pydantic", run, start)

    long, short = ({**BERT, "P": n, "M": n} for n in (2**30, 1024))
    compare(
        "evaluating a billion tokens / a thousand tokens",
        lambda: evaluate_bound(bind(CASCADE, BINDING, FUSEMAX, long)),
        lambda: evaluate_bound(bind(CASCADE, BINDING, FUSEMAX, short)),
    )

    graph = graph_of(2048)
    issue = modulo_schedule(graph)
    steps = EventGraph(tasks=graph.tasks, dependencies=graph.dependencies, steps=20_000)
    compare(
        "20,000 steps fired one by one / jumping over the repetition",
        lambda: run_all_steps(steps, issue),
        lambda: makespan(steps, issue),
    )

    small = {"B": 1, "H": 1, "E": 8, "F": 8, "P": 600, "M": 600}
    bound = bind(CASCADE, BINDING, FUSEMAX, small)
    compare(
        "running the mapped nest on numbers / counting it (600 tokens)",
        lambda: execute_mapped(bound, _inputs(small)),
        lambda: evaluate_bound(bind(CASCADE, BINDING, FUSEMAX, small)),
    )


def _inputs(shapes: dict[str, int]) -> dict[str, object]:
    import numpy as np

    rng = np.random.default_rng(0)
    ranks = {"Q": "BHPE", "K": "BHME", "V": "BHMF"}
    return {t: rng.standard_normal([shapes[r] for r in rs]) for t, rs in ranks.items()}


if __name__ == "__main__":
    main()
