"""What is told of a mapping before all of its parts are counted is what is told after."""

from __future__ import annotations

from fractions import Fraction

import pytest
from portions import left

from archsim import Architecture
from archsim.counts.cores import counts_at_ports
from archsim.counts.occupancy import busy_cycles, memory_bytes, transfer_cycles
from archsim.counts.spill import count_mapping
from archsim.engine.evaluate import evaluate_bound, takes_longer
from archsim.legality.binding import bind
from archsim.nest.record import Bound
from archsim.plan.parts import PartProblem
from archsim.plan.selection import derived_mapping
from einsum_cascade.errors import InputError
from mappers.construct.generators import GENERATORS
from workloads import load

WORKS = {"nsa": 1024, "moba": 2048, "llama-3-8b": 1024}
MACHINE = Architecture.load("h100-sxm")


def in_parts(name: str) -> list[Bound]:
    """A workload's cascade in all ways in which it has parts under a mask, each newly bound: one
    Einsum after the other, so that it has most to move."""
    (part,) = load(name, seq_len=WORKS[name]).parts
    problem = PartProblem(part, MACHINE, GENERATORS)
    found: list[Bound] = []
    for way in (*problem.partitionings, *problem.replicating_partitionings):
        if any(s.balanced and s.parts <= 32 for _, ranks in way for s in ranks):
            try:
                mapping = derived_mapping(problem, way)
                found.append(bind(problem.program, mapping, MACHINE, problem.shapes))
            except InputError:
                continue  # there is no room for these parts
    assert found
    assert all(len(bound.core_nests) > 1 for bound in found)
    return found


@pytest.mark.parametrize("name", [left("nsa"), "moba", "llama-3-8b"])
def test_some_parts_have_no_more_accesses_than_all(name: str) -> None:
    for bound in in_parts(name):
        counts = count_mapping(bound)
        every = counts_at_ports(bound, counts)
        number = len(bound.core_nests)
        assert counts_at_ports(bound, counts, number) == every
        for some in {1, 2, number // 4 or 1, number // 2, number - 1}:
            for few, full in zip(counts_at_ports(bound, counts, some), every, strict=True):
                left = {(a.tensor, a.place): [0, 0] for a in full.accesses}
                for sign, count in ((1, full), (-1, few)):
                    for a in count.accesses:
                        left[a.tensor, a.place][0] += sign * a.reads
                        left[a.tensor, a.place][1] += sign * a.writes
                assert all(n >= 0 for more in left.values() for n in more)


def at_least(bound: Bound) -> tuple[Fraction, Fraction]:
    """Cycles that a mapping takes at the least, of arrays alone and of all: groups in turn."""
    counts = {c.einsum: c for c in counts_at_ports(bound, count_mapping(bound))}
    alone, both = Fraction(0), Fraction(0)
    for group in groups_of(bound):
        busy: dict[str, Fraction] = {}
        for e in (bound.by_name[name] for name in group):
            busy[e.array.name] = busy.get(e.array.name, Fraction(0)) + busy_cycles(bound, e)
        mine = tuple(counts[name] for name in group)
        moved = [
            transfer_cycles(bound, m, memory_bytes(bound, mine, m))
            for m in bound.architecture.memories
        ]
        alone += max(busy.values())
        both += max(*busy.values(), *moved)
    return alone, both


def groups_of(bound: Bound) -> list[tuple[str, ...]]:
    schedule = bound.mapping.schedule
    if schedule.groups:
        return [tuple(t.einsum for t in group) for group in schedule.groups]
    if schedule.kind == "sequential":
        return [(e.name,) for e in bound.einsums]
    return [tuple(e.name for e in bound.einsums)]


def counted(bound: Bound) -> int:
    """How many parts are counted."""
    others = (other for _, other in bound.cores.others)
    return sum(key[0] is count_mapping for b in (bound, *others) for key in b._memo)


@pytest.mark.parametrize("name", [left("nsa"), "moba", "llama-3-8b"])
def test_what_takes_longer_is_told_alike_and_what_is_far_slower_sooner(name: str) -> None:
    cycle = 1 / MACHINE.clock_hz
    for bound, other in zip(in_parts(name), in_parts(name), strict=True):
        parts = len(bound.core_nests)
        assert takes_longer(bound, 0.0)
        assert counted(bound) == 0  # arrays alone tell
        alone, least = at_least(other)
        assert not takes_longer(other, evaluate_bound(other).latency_s)
        for share in (Fraction(1, 10), Fraction(1, 3), Fraction(2, 3), Fraction(999, 1000)):
            assert takes_longer(other, float(share * least * cycle))
        assert not takes_longer(other, float(Fraction(1001, 1000) * least * cycle))
        if least > 3 * alone and parts >= 8:
            assert takes_longer(bound, float(Fraction(101, 100) * alone * cycle))
            assert 0 < counted(bound) < parts
