"""Exhaustive search against running every mapping of a space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from random import Random
from typing import Any

import pytest
from nest_cases import billed_case
from portions import examples, left, portions

from archsim.engine.evaluate import evaluate_bound
from archsim.legality.binding import bind
from archsim.result.result import Result
from archsim.spec.arch import Architecture, Memory, Operation
from archsim.spec.mapping import Mapping
from einsum_cascade.errors import InputError, MappingError, NoLegalMappingError
from mappers.exact.branch_and_bound import exhaustive
from mappers.exact.policy import THOROUGH, USUAL, Effort
from mappers.exact.subspaces import OpenRegion
from mappers.problem.certificate import INTERRUPTED
from mappers.problem.engine_run import EngineRun, run_mapping
from mappers.problem.objectives import OBJECTIVES, SearchObjective
from mappers.problem.protocol import Advance, Progress, SearchProblem, silent
from mappers.space.fusion import subspaces_of
from mappers.space.mapspace import Mapspace
from mappers.space.region import Region, mapping_of

SEEDS = 120
BATCH = 30
LITTLE = Effort(regions=1, untimed=1, sketches=1, more_sketches=0, subspaces=1)
MOST = 300
"""Mappings of a space that is gone through one by one."""


def small_space(seed: int) -> Mapspace | None:
    """A random space of a random cascade; None where it is too large, or masked."""
    case, random = billed_case(seed), Random(seed)
    if any(e.where is not None for e in case.program.einsums):
        return None
    machine = small_machine(case.architecture, random)
    try:
        space = Mapspace.of(case.program, machine, case.given)
        size = 0
        for region in regions_of(space):
            choices = region.bindings * region.residencies
            if choices > MOST:
                return None
            size += choices * sum(len(u.sizes) for u in subspaces_of(region))
            if size > MOST:
                return None
    except InputError:
        return None
    return space


def regions_of(space: Mapspace) -> Iterator[Region]:
    """All regions of a space."""
    return iter(space.regions(space.size))


def small_machine(machine: Architecture, random: Random) -> Architecture:
    """Up to three memories, often tiny or of no limit; arrays some of which are systolic, or lack
    an operation."""
    outermost, *inner = machine.memories[: random.choice((1, 2, 2, 3))]
    if random.random() < 0.1:
        outermost = replace(outermost, capacity_bytes=random.choice((1, 16, 99)))
    memories = (outermost, *(_sized(m, random.choice((1, 16, 64, 999, None))) for m in inner))
    arrays = tuple(
        replace(
            a,
            operands=random.choice(("broadcast", "systolic")),
            overlap=random.choice((False, True, "streams")),
            operations=_some(a.operations, random) if len(machine.arrays) > 1 else a.operations,
        )
        for a in machine.arrays
    )
    return replace(machine, memories=memories, arrays=arrays)


def _sized(memory: Memory, capacity: int | None) -> Memory:
    return replace(memory, capacity_bytes=capacity, energy="sram" if capacity else "dram_hbm2")


def _some(operations: tuple[Operation, ...], random: Random) -> tuple[Operation, ...]:
    """All operations, or all but one."""
    gone = random.choice(("", "", "", "exp", "max", "mac", "add"))
    return tuple(o for o in operations if o.kind != gone)


def mappings(space: Mapspace) -> Iterator[tuple[Region, Mapping]]:
    """All mappings of a space, one by one."""
    for region in regions_of(space):
        placements = [[(e, w) for w in found] for e, found in region.placements.items()]
        places = [[(t, p) for p in found] for t, found in region.places.items()]
        for subspace, binding, residency in product(
            subspaces_of(region), product(*placements), product(*places)
        ):
            for sizes in subspace.sizes:
                chosen = (dict(binding), dict(residency))
                yield region, mapping_of(region, subspace.skeleton, sizes, *chosen)


def results(space: Mapspace) -> list[Result]:
    found: list[Result] = []
    for region, mapping in mappings(space):
        try:
            lowered = bind(space.program, mapping, space.architecture, region.given)
            found.append(evaluate_bound(lowered))
        except MappingError:
            continue
    return found


@pytest.mark.parametrize("first", portions(SEEDS, BATCH))
def test_nothing_is_better_than_what_is_found(first: int) -> None:
    compared = 0
    for seed in range(first, first + examples(BATCH)):
        space = small_space(seed)
        if space is None:
            continue
        runs = results(space)
        for name, objective in OBJECTIVES.items():
            try:
                found = exhaustive(SearchProblem(space, objective, tolerance=0.0), THOROUGH)
            except NoLegalMappingError:
                assert not runs, f"seed {seed}"
                continue
            best, mine = min(map(objective.of, runs)), objective.of(found.result)
            certificate = found.certificate
            if certificate.strategy != "exhaustive":
                break
            assert mine >= best * (1 - 1e-12), f"seed {seed}, {name}"
            assert mine * (1 - certificate.gap) <= best * (1 + 1e-12), f"seed {seed}, {name}"
            if objective.exact:
                assert mine == pytest.approx(best, rel=1e-12), f"seed {seed}, {name}"
                assert certificate.gap < 1e-12
            pruned = sum(count for _, count in certificate.reasons)
            assert certificate.evaluated + pruned == certificate.candidates, f"seed {seed}, {name}"
            compared += 1
    assert compared > examples(2)  # of 30 spaces some are small and without a mask


@pytest.mark.parametrize("first", [0, left(1)])
def test_a_search_that_is_cut_short_promises_no_more_than_it_knows(first: int) -> None:
    """Interrupted at any step, over its time, or content with little: the gap still holds."""
    cut = 0
    for seed in range(2 * first, examples(SEEDS), 4):
        space, random = small_space(seed), Random(seed)
        objective = OBJECTIVES[random.choice(("latency", "energy"))]
        runs = [] if space is None else engine_runs(space, objective)
        if space is None or not runs:
            continue
        best = min(run.value for run in runs)
        known = max(runs, key=lambda run: run.value)
        for problem, progress in shortened(SearchProblem(space, objective, known=known), random):
            effort = random.choice((USUAL, LITTLE))
            found = exhaustive(problem, effort, progress)
            certificate, mine = found.certificate, objective.of(found.result)
            if "aside" not in certificate.strategy:
                assert mine * (1 - certificate.gap) <= best * (1 + 1e-12), f"seed {seed}"
            pruned = sum(count for _, count in certificate.reasons)
            assert certificate.evaluated + pruned == certificate.candidates, f"seed {seed}"
            cut += certificate.ended == INTERRUPTED
    assert cut > examples(5)


@pytest.mark.parametrize("before", [left(0), 1])
@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_a_search_that_ends_while_regions_are_opened_knows_nothing_of_the_others(
    monkeypatch: pytest.MonkeyPatch, objective: str, before: int
) -> None:
    left, of = [before], OpenRegion.of

    def interrupted(*given: Any) -> OpenRegion:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return of(*given)

    monkeypatch.setattr(OpenRegion, "of", interrupted)
    space = small_space(4)
    assert space is not None
    assert space.size > 2
    run = next(iter(engine_runs(space, OBJECTIVES[objective])))
    found = exhaustive(SearchProblem(space, OBJECTIVES[objective], known=run))
    assert found.certificate.ended == INTERRUPTED
    assert found.certificate.bound == pytest.approx(OBJECTIVES[objective].floor(run.result))


def engine_runs(space: Mapspace, objective: SearchObjective) -> list[EngineRun]:
    """Every mapping of a space that is legal, run."""
    found: list[EngineRun] = []
    for region, mapping in mappings(space):
        with suppress(MappingError):
            found.append(run_mapping(region, mapping, objective))
    return found


def shortened(problem: SearchProblem, random: Random) -> Iterator[tuple[SearchProblem, Progress]]:
    """Searches that end early, each in another way."""
    exact = replace(problem, tolerance=0.0)
    yield exact, silent
    yield replace(exact, is_over=lambda: random.random() < 0.5), silent
    for steps in range(1, 5):
        yield exact, partial(interrupting, steps)


def interrupting(steps: int, total: int) -> Advance:
    """Somebody loses patience after some steps."""
    del total
    left = [steps]

    def advance(amount: int) -> None:
        left[0] -= amount
        if not left[0]:
            raise KeyboardInterrupt

    return advance
