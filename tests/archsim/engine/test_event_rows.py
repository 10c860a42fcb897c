"""Rows whose loops grow, as under a causal mask, against runs that write out every turn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from event_unrolled import run_unrolled, written_out
from random_programs_of_events import random_program, random_run_lengths

from archsim.engine.events import EvenRows, run_program, with_rows
from archsim.schedule.program import StepDependency, StepProgram, StepTask
from archsim.steps.run_length import OneStep, RunLengths, Seq, length, repeat, sequence

A, B = OneStep(0), OneStep(1)


def rows_of(count: int, *parts: tuple[int, int, RunLengths]) -> RunLengths:
    """Rows of parts, each so many times in the first row and so many times more in the next."""
    return sequence(repeat(n + more * i, part) for i in range(count) for n, more, part in parts)


def random_rows(random: Random, kinds: int) -> RunLengths:
    """Some rows that grow or shrink, with something before and after them, all of it repeated."""

    def some(most: int) -> list[RunLengths]:
        return [random_run_lengths(random, kinds, 3) for _ in range(random.randint(0, most))]

    count = random.randint(6, 30)
    grown = [(random.choice((0, 0, 1, 2, 3, -1)), part) for part in some(4) or [A]]
    parts = [(random.randint(1, 9) + max(0, -more * count), more, p) for more, p in grown]
    return repeat(
        random.choice((1, 1, 2, 5)), sequence([*some(2), rows_of(count, *parts), *some(2)])
    )


@pytest.mark.parametrize("first", [0, 620, 2000])
def test_rows_that_grow_end_as_when_written_out(first: int) -> None:
    met = 0
    for seed in range(first, first + 30):
        random = Random(seed)
        program = random_program(random)
        runs = random_rows(random, len(program.tasks[0].occupancy))
        if length(runs) > 800:
            continue
        program = replace(program, run_lengths=runs)
        expected, turns = run_unrolled(program)
        run = run_program(program)
        assert run.cycles == expected
        assert run.turns == len(turns)
        met += run.fired < run.turns
    assert met > 3


def chained(
    occupancy: tuple[tuple[int | None, ...], ...], runs: RunLengths, ahead: int = 3
) -> StepProgram:
    """Tasks on a resource each, every one behind the one before it and not far ahead of it,
    but for steps in which that one does not run."""
    tasks = tuple(
        StepTask(
            name=f"t{i}",
            resource=f"r{i}",
            occupancy=tuple(x if x is None else Fraction(x) for x in times),
        )
        for i, times in enumerate(occupancy)
    )
    waits: list[StepDependency] = []
    for i, times in enumerate(occupancy[1:]):
        there = [x is not None for x in times]
        room = tuple(ahead if x else None for x in there)
        waits += [
            StepDependency(before=i, after=i + 1, distance=(0,) * len(times)),
            StepDependency(before=i + 1, after=i, distance=room, room=True),
        ]
    return StepProgram(tasks=tasks, dependencies=tuple(waits), run_lengths=runs)


@pytest.mark.parametrize("more", [1, 4, -4])
def test_many_rows_are_as_soon_run_as_few(more: int) -> None:
    """Of a triangle some rows are run, however many there are."""
    count = 100
    begin = 40 if more > 0 else 40 - more * count
    program = chained(((3, 2), (5, 1)), rows_of(count, (2, 0, A), (begin, more, B)))
    slow, fast = run_program(program, jumping=False), run_program(program)
    assert (fast.cycles, fast.turns) == (slow.cycles, slow.turns)
    assert fast.fired < 1000 < slow.fired / 10


def test_shrinking_rows_are_jumped_while_they_are_long() -> None:
    """A pile of work from the A waits in every row until half a hundred B have come."""
    runs = rows_of(80, (12, 0, A), (162, -2, B))
    program = chained(((2, 3), (10, 1)), runs, ahead=30)
    run = run_program(program)
    assert run.cycles == run_unrolled(program)[0]
    assert run.fired < 0.7 * run.turns


def test_what_stands_still_while_a_loop_grows_is_waited_for() -> None:
    """The third task works in no B, which is hidden behind what it still has to do: until B
    takes longer than that."""
    runs = rows_of(60, (8, 3, B), (6, 0, A))
    program = chained(((1, 2), (60, None)), runs)
    assert run_program(program).cycles == run_unrolled(program)[0]


def test_rows_are_found_among_others() -> None:
    runs = sequence([repeat(7, B), *(p for n in range(9) for p in (A, repeat(3 + n, B))), A, A])
    assert isinstance(runs, Seq)
    found = list(with_rows(runs.parts, lambda _: frozenset()))
    rows = [part for part in found if isinstance(part, EvenRows)]
    assert [(r.count, [(p.count, p.more) for p in r.parts]) for r in rows] == [
        (9, [(1, 0), (3, 1)])
    ]
    told = [
        kind
        for part in found
        for kind in (
            [
                k
                for n in range(part.count)
                for p in part.parts
                for k in written_out(p.body) * (p.count + p.more * n)
            ]
            if isinstance(part, EvenRows)
            else written_out(part)
        )
    ]
    assert told == written_out(runs)
