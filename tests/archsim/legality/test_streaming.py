"""What Einsums hand on tile by tile over a shared loop, against walks and runs of the loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import takewhile
from random import Random

import pytest
from bound_cases import bound, walker
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_cases import Case
from nest_loops import Element, Nest, Tag, WalkedLoop
from nest_mappings import random_machine, random_mapping
from portions import examples

from archsim import Architecture, Mapping
from archsim.counts.spill import count_mapping
from archsim.engine.latency import time_events
from archsim.legality.binding import bind
from archsim.legality.dependences import illegalities
from archsim.legality.footprint import (
    largest_tile,
    limited_requirements,
    requirements,
    resident_tile,
    streaming_loop,
    tiles_in_flight,
)
from archsim.nest.record import Bound
from archsim.spec.arch import Registers
from archsim.spec.mapping import Keep, PhaseTask, Schedule
from einsum_cascade import Cascade, ir

SHAPES = {"B": 1, "H": 1, "M": 1024, "P": 4096, "E": 64, "F": 64}
TILE = 256 * 256 * 2


def scores(lookahead: int | str, tiles: int) -> int:
    """Bytes of one-pass attention's scores in a buffer, of so many tiles of queries at a time."""
    mapping = Mapping.load("fusemax-binding")
    keep = (*mapping.keep, Keep(level="nearest", tensors=("BQK",)))
    schedule = replace(mapping.schedule, lookahead=lookahead)
    cut = tuple(replace(t, size=tiles) if t.member == "P1" else t for t in mapping.tiles)
    mapping = replace(mapping, keep=keep, schedule=schedule, tiles=cut)
    program = Cascade.load(mapping.cascade).program
    found = requirements(bind(program, mapping, Architecture.load("fusemax"), SHAPES))
    return int(dict(found[1].tensors)["BQK"])


@pytest.mark.parametrize(("lookahead", "held"), [(1, 1), (2, 2), (3, 3), (8, 4), ("fit", 4)])
def test_scores_are_held_as_many_tiles_at_a_time_as_are_in_flight(
    lookahead: int | str, held: int
) -> None:
    """Of 4 tiles of queries, never more than the 4: the tile of keys goes round outside."""
    assert scores(lookahead, 4) == held * TILE


def test_fit_is_at_most_as_far_ahead_as_registers_are_deep() -> None:
    """The deepest registers of the machine are 32."""
    assert scores("fit", 16) == 16 * TILE
    mapping = replace(Mapping.load("fusemax-binding"), schedule=Schedule(lookahead="fit"))
    program = Cascade.load(mapping.cascade).program
    assert tiles_in_flight(bind(program, mapping, Architecture.load("fusemax"), SHAPES)) == 32


def test_a_size_to_be_fitted_is_that_of_whole_tiles() -> None:
    """Scores and exponentials of all queries of a tile, as published; twice as many may be
    asked for."""
    mapping, machine = Mapping.load("fusemax-cascade"), Architecture.load("fusemax")
    program = Cascade.load(mapping.cascade).program
    shapes = {**SHAPES, "P": 2**17}
    fitted = bind(program, mapping, machine, shapes)
    size = fitted.tiling.bounds["P1"]
    tiles = tuple(replace(t, size=2 * size) if t.member == "P1" else t for t in mapping.tiles)
    twice = bind(program, replace(mapping, tiles=tiles), machine, shapes)
    assert all(r.fits for r in limited_requirements(fitted, whole_tiles=True))
    assert not all(r.fits for r in limited_requirements(twice, whole_tiles=True))


# ------------------------------------------------------------------ alive at any time


CHAIN = Cascade.parse(
    """cascade: chain
ranks: {P: x, M: y, E: z}
inputs: {A: [P, E], B: [M, E], C: [P]}
output: [Z, W]
einsums: |
  X[p, m] = A[p, e] * B[m, e]
  Y[p, m] = exp(X[p, m]) - C[p]
  S[p] = Y[p, m]
  D[p] = exp(S[p])
  Z[p, m] = Y[p, m] * X[p, m]
  W[p] = D[p] + S[p]
"""
).program


def chain(seed: int) -> Case:
    """The chain on a random machine by a random mapping, with few tiles in flight."""
    random = Random(seed)
    shapes = {"P": random.randint(2, 9), "M": random.randint(1, 6), "E": random.choice((1, 2))}
    machine = random_machine(random)
    deep = tuple(replace(a, registers=Registers(depth=20)) for a in machine.arrays)
    machine = replace(machine, arrays=deep)
    mapping, sizes = random_mapping(random, CHAIN, machine, shapes)
    names = [e.name for e in CHAIN.einsums]
    behind = random.randint(1, len(names))
    tasks = [PhaseTask(einsum=n, shift=-(i >= behind)) for i, n in enumerate(names)]
    schedule = random.choice(
        (
            Schedule(kind="pipelined", lookahead=1),
            Schedule(kind="pipelined", lookahead=2),
            Schedule(kind="phases", groups=tuple((t,) for t in tasks)),
            Schedule(kind="sequential", groups=(tuple(PhaseTask(einsum=n) for n in names),)),
        )
    )
    return Case(CHAIN, replace(mapping, schedule=schedule), machine, shapes, sizes)


def legal(first: int, count: int) -> Iterator[tuple[Case, Bound]]:
    """Those of some chains whose order computes what the cascade says."""
    for seed in range(first, first + count):
        case = chain(seed)
        lowered = bound(case)
        if not illegalities(lowered):
            yield case, lowered


def intermediates(lowered: Bound) -> Iterator[tuple[str, int]]:
    """Those that some Einsum reads, and the outermost memory that keeps each."""
    read = {o.producer for e in lowered.einsums for o in e.operands}
    for e in lowered.einsums:
        if e.name in read and lowered.residency.memories(e.name):
            yield e.name, lowered.residency.memories(e.name)[0]


def together(nest: Nest, touching: list[tuple[ir.Einsum, ir.Access]]) -> list[WalkedLoop]:
    """Shared loops that turn and that some Einsums have in common, from the outermost on."""
    turning = [
        [x for x in nest.temporal(e) if x.shared and nest.turns_of(e)[x.name] > 1]
        for e, _ in touching
    ]
    same = takewhile(lambda loops: len({x.name for x in loops}) == 1, zip(*turning, strict=False))
    return [loops[0] for loops in same]


def alive(nest: Nest, tensor: str, level: int, ahead: int | None = None) -> int:
    """The most elements of a tensor that are made and still to be used at a time.

    All who touch it go through the loops that they have in common step by step. Or, while the
    loops outside of the level stay where they are, its maker is so many iterations ahead of the
    first loop inside of them.
    """
    touching = [
        (e, a) for e in nest.program.einsums for a in (e.target, *e.reads) if a.tensor == tensor
    ]
    common = [x.name for x in together(nest, touching)]
    outside = sum(x.level < level for x in together(nest, touching))
    if ahead is not None:
        common = common[: outside + 1]
    made: dict[Element, Tag] = {}
    used: dict[Element, Tag] = {}
    for e, access in touching:
        places = [i for name in common for i, x in enumerate(nest.temporal(e)) if x.name == name]
        for step in nest.walk_steps(e):
            tag = tuple(step.index[i] for i in places)
            for _, at in step.lanes:
                element = nest.element(access, at)
                if access is e.target:
                    made[element] = min(made.get(element, tag), tag)
                else:
                    used[element] = max(used.get(element, tag), tag)
    most = 0
    for now in {*made.values(), *used.values()}:
        last = now if ahead is None else (*now[:outside], max(0, now[outside] - ahead))
        most = max(most, sum(made[x] <= now and used[x] >= last for x in made.keys() & used))
    return most


def at_once(lowered: Bound, tensor: str, member: str) -> int:
    """The most iterations of a loop that a tensor is there of in the timed run: from when its
    maker begins with one until its last user is done with it."""
    loops = [x.member for x in lowered.nest]
    loops = loops[: loops.index(member) + 1]
    users = {e.name for e in lowered.einsums if any(o.producer == tensor for o in e.operands)}
    made: dict[Tag, Fraction] = {}
    used: dict[Tag, Fraction] = {}
    for run in time_events(lowered, count_mapping(lowered), jumping=False, logged=True).runs:
        for s in run.run.slices:
            where = dict(run.group.nest.indices(s.step))
            tag = tuple(where[m] for m in loops if m in where)
            if s.task == tensor:
                made[tag] = min(made.get(tag, s.start), s.start)
            if s.task in users:
                used[tag] = max(used.get(tag, s.end), s.end)
    return max(sum(made[x] <= now < used[x] for x in made.keys() & used) for now in made.values())


def test_what_is_held_is_what_is_alive_at_a_time() -> None:
    """No less than is needed in step; of what streams, just all tiles in flight."""
    seen = Counter[str]()
    for case, lowered in legal(0, 100):
        nest, flying = walker(case), tiles_in_flight(lowered)
        assert flying is not None
        for tensor, level in intermediates(lowered):
            writer = lowered.by_name[tensor]
            held = resident_tile(lowered, writer, writer.write, level)
            assert held >= alive(nest, tensor, level), f"{tensor} of {case}"
            if streaming_loop(lowered, tensor, level):
                assert held == alive(nest, tensor, level, flying - 1), f"{tensor} of {case}"
                less = held < largest_tile(writer, writer.write, level)
                seen[case.mapping.schedule.kind] += less
    assert min(seen[kind] for kind in ("pipelined", "phases", "sequential")) > 4, seen


@given(st.integers(0, 10**6))
@settings(max_examples=examples(40), deadline=None)
def test_no_schedule_has_more_tiles_in_flight_than_are_held(seed: int) -> None:
    for _, lowered in legal(seed, 1):
        for tensor, level in intermediates(lowered):
            member = streaming_loop(lowered, tensor, level)
            if member is not None:
                assert at_once(lowered, tensor, member) <= (tiles_in_flight(lowered) or 0)
