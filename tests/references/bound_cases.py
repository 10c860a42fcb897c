"""Cases and built-in runs, bound; what was counted of them and what was walked, side by side."""

from __future__ import annotations

from collections import Counter

from nest_cases import Case
from nest_walker import EinsumWalk, NestWalker

import workloads
from archsim import Architecture, Mapping, Result
from archsim.counts.accesses import EinsumCount
from archsim.legality.binding import bind
from archsim.nest.binder import bind_loops
from archsim.nest.record import Bound
from archsim.nest.tiling import build_tiling
from einsum_cascade import Cascade
from einsum_cascade.algebra.conditions import with_masks


def bound(case: Case) -> Bound:
    tiling = build_tiling(case.program, case.mapping, case.given, case.sizes)
    return bind_loops(case.program, case.mapping, case.architecture, tiling)


def walker(case: Case) -> NestWalker:
    program = with_masks(case.program)
    return NestWalker(program, case.mapping, case.architecture, case.shapes, case.sizes)


def bert(seq_len: int, mapping: str = "fusemax-binding") -> Bound:
    how = Mapping.load(mapping)
    program = Cascade.load(how.cascade).program
    ranks = (*program.parallel, *(r.name for r in program.ranks))
    shapes = workloads.load("bert-base", seq_len=seq_len).shapes_for(ranks)
    return bind(program, how, Architecture.load("fusemax"), shapes)


def counted(count: EinsumCount) -> dict[str, object]:
    accesses: Counter[tuple[str, str, str]] = Counter()
    for a in count.accesses:
        accesses[a.tensor, a.place, "read"] += a.reads
        accesses[a.tensor, a.place, "write"] += a.writes
    return {
        "points": count.points,
        "allowed": count.allowed,
        "iterations": count.iterations,
        "accesses": +accesses,
        "registers": (count.registers.reads, count.registers.writes),
        "one element": (count.registers_of_one.reads, count.registers_of_one.writes),
    }


def walked(walk: EinsumWalk) -> dict[str, object]:
    return {
        "points": walk.points,
        "allowed": walk.allowed,
        "iterations": walk.iterations,
        "accesses": +walk.accesses,
        "registers": (walk.registers["read"], walk.registers["write"]),
        "one element": (walk.registers_of_one["read"], walk.registers_of_one["write"]),
    }


def untimed(result: Result) -> dict[str, object]:
    """What does not depend on how long the run takes."""
    timed = {"engine", "latency_s", "cycles", "bound_by", "utilization", "schedule", "notes"}
    found = {k: v for k, v in result.to_dict().items() if k not in timed}
    found["einsums"] = [{**e, "utilization": None} for e in found["einsums"]]
    return found
