"""Counts against a walk over every iteration and every array element."""

from __future__ import annotations

from collections import Counter

import pytest
from bound_cases import bound, counted, walked, walker
from nest_capacity import required
from nest_cases import random_case, varied_case
from nest_starts import StartWalker, started_case
from portions import examples, portions

from archsim.counts.accesses import count_einsum
from archsim.legality.footprint import requirements
from einsum_cascade.ir import Gather

CASES = 400
BATCH = 20


@pytest.mark.parametrize("first", portions(CASES, BATCH, quick=3))
def test_counts_equal_the_walk(first: int) -> None:
    for seed in range(first, first + BATCH):
        case = random_case(seed)
        lowered, walk = bound(case), walker(case)
        assert lowered.steps == len(walk.shared_indices()), f"seed {seed}"
        for e in lowered.einsums:
            found = count_einsum(lowered, e)
            assert counted(found) == walked(walk.walk(e.einsum)), f"seed {seed}, {e.name}"
            assert found.operations == tuple((k, n * found.allowed) for k, n in e.operations)


@pytest.mark.parametrize("first", portions(CASES // 2, 2 * BATCH))
def test_groups_and_bypasses_equal_the_walk(first: int) -> None:
    grouped = passing = 0
    for seed in range(first, first + 2 * BATCH):
        case = varied_case(seed)
        lowered, walk = bound(case), walker(case)
        assert [e.name for e in lowered.einsums] == [e.name for e in walk.running_order()]
        for e in lowered.einsums:
            found = counted(count_einsum(lowered, e))
            assert found == walked(walk.walk(e.einsum)), f"seed {seed}, {e.name}"
            passing += bool(e.bypass)
        for level, finds_tile_at in enumerate(requirements(lowered)):
            words = finds_tile_at.required_bytes / case.architecture.word_bytes
            assert words == required(walk, level), f"seed {seed}, level {level}"
        grouped += any(len(g) > 1 for g in lowered.groups) and len(lowered.groups) > 1
    assert grouped > 1
    assert passing > 10


@pytest.mark.parametrize("first", portions(CASES // 2, CASES // 8))
def test_what_running_values_begin_with_equals_the_walk(first: int) -> None:
    """Inputs that only ``init`` reads come once for every tile that begins, by the same rules."""
    seen = Counter[str]()
    for seed in range(first, first + CASES // 8):
        case = started_case(seed)
        if case is None:
            continue
        lowered, walk = bound(case), walker(case)
        starts = StartWalker.of(walk)
        for level, finds_tile_at in enumerate(requirements(lowered)):
            words = finds_tile_at.required_bytes / case.architecture.word_bytes
            assert words == required(walk, level), f"seed {seed}, level {level}"
        for e in lowered.einsums:
            statements = [s for s in case.program.init if s.name == e.name]
            expected = walk.walk(e.einsum)
            for statement in statements:
                start = starts.walk(statement)
                expected.accesses += start.accesses
                expected.registers += start.registers
                expected.registers_of_one += start.registers_of_one
                seen["summed"] += bool(statement.over)
            assert counted(count_einsum(lowered, e)) == walked(expected), f"seed {seed}, {e.name}"
            seen["started"] += bool(statements)
    assert seen["started"] > 15
    assert seen["summed"] > 2


def test_the_cases_cover_what_they_should() -> None:
    """The generator reaches every kind of cascade, mapping and machine."""
    cases = [random_case(seed) for seed in range(examples(CASES))]
    text = [str(c.program.einsums) for c in cases]
    seen = Counter[str]()
    for case, written in zip(cases, text, strict=True):
        mapping = case.mapping
        seen["iterative"] += bool(case.program.iterative)
        seen["gather"] += "Gather" in written
        seen["gather beside"] += any(
            isinstance(i, Gather) and bool(i.offset.terms)
            for e in case.program.einsums
            for a in e.reads
            for i in a.indices
        )
        seen["mask"] += any(e.where for e in case.program.einsums)
        seen["sum of variables"] += "+" in written and any(
            len(i.variables) > 1 for e in case.program.einsums for a in e.reads for i in a.indices
        )
        seen["rank zero"] += any(not e.target.indices for e in case.program.einsums)
        seen["family"] += any(r.partition for r in case.program.ranks)
        seen["cut"] += any(t.rank not in ("M", "N") for t in mapping.tiles)
        seen["parallel"] += bool(case.program.parallel)
        seen["shared"] += bool(mapping.nest)
        seen["outside"] += any(e.outside for e in mapping.einsums)
        seen["ragged"] += any(case.shapes[t.rank] % case.sizes[t.member] for t in mapping.tiles)
        seen[f"{len(case.architecture.memories)} memories"] += 1
        seen[f"{len(case.program.einsums)} einsums"] += 1
        for array in case.architecture.arrays:
            seen[f"{len(array.dimensions)} dimensions"] += 1
        seen[mapping.schedule.kind] += 1
        seen["registers of another array"] += any(
            k.level.startswith("A") and e.array != k.level and e.einsum in k.tensors
            for k in mapping.keep
            for e in mapping.einsums
        )
    wanted = [
        "iterative",
        "gather",
        "gather beside",
        "mask",
        "sum of variables",
        "rank zero",
        "family",
        "cut",
    ]
    wanted += ["parallel", "shared", "outside", "ragged", "registers of another array"]
    wanted += [f"{n} memories" for n in (1, 2, 3, 4)] + [f"{n} einsums" for n in (1, 2, 3, 4, 5)]
    wanted += [f"{n} dimensions" for n in (0, 1, 2, 3)] + ["sequential", "pipelined"]
    assert {name: seen[name] for name in wanted if seen[name] < examples(15)} == {}
