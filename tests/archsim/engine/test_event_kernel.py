"""The event kernel against a simulation that writes out every turn and jumps over none."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from random import Random

import numba
import pytest
from event_unrolled import run_unrolled, written_out
from hypothesis import given, settings
from hypothesis import strategies as st
from portions import examples
from random_programs_of_events import random_program, random_run_lengths

from archsim.engine.events import run_program, time_unit
from archsim.schedule.program import (
    IssueError,
    StepDependency,
    StepProgram,
    StepTask,
    components,
    ordered,
)
from archsim.steps.run_length import (
    EMPTY,
    OneStep,
    Repeat,
    RunLengths,
    Seq,
    StepsError,
    length,
    renamed_classes,
    repeat,
    run_lengths_text,
    sequence,
    steps_by_class,
    unrolled,
)
from einsum_cascade.errors import InputError

COMPILED = not numba.config.DISABLE_JIT
"""Or run by Python, which says what compiled code does not: but slowly."""
LOGGED = 15_000
"""Turns of which a log loses none."""

# ------------------------------------------------------------------ words


@given(st.integers(0, 10**6))
def test_a_word_says_what_was_put_in(seed: int) -> None:
    random = Random(seed)
    runs = random_run_lengths(random, 3)
    steps = written_out(runs)
    assert list(unrolled(runs)) == steps
    assert length(runs) == len(steps)
    assert steps_by_class(runs) == {k: steps.count(k) for k in set(steps)}
    again = sequence([runs, OneStep(0), repeat(3, runs), runs])
    assert written_out(again) == [*steps, 0, *steps * 4]
    merged = renamed_classes(runs, (0, 1, 1))
    assert written_out(merged) == [min(k, 1) for k in steps]
    for part in (runs, again, merged):
        assert is_merged(part)


def is_merged(runs: RunLengths) -> bool:
    """No repetition of a repetition, no equal neighbours, no sequence of one."""
    if isinstance(runs, OneStep):
        return True
    if isinstance(runs, Repeat):
        return runs.count > 1 and not isinstance(runs.body, Repeat) and is_merged(runs.body)
    bodies = [p.body if isinstance(p, Repeat) else p for p in runs.parts]
    alike = any(a == b for a, b in pairwise(bodies))
    return len(runs.parts) > 1 and not alike and all(is_merged(p) for p in runs.parts)


def test_words_are_spelled() -> None:
    inner = sequence([repeat(240, OneStep(0)), repeat(16, OneStep(1))])
    assert run_lengths_text(repeat(768, inner)) == "(a^240 b^16)^768"
    assert run_lengths_text(sequence([inner, inner, OneStep(30)])) == "(a^240 b^16)^2 s30"
    assert repeat(2, repeat(3, OneStep(1))) == Repeat(6, OneStep(1))
    assert sequence([EMPTY, OneStep(2), Seq(())]) == OneStep(2)


# ------------------------------------------------------------------ the kernel


@settings(max_examples=examples(60 if COMPILED else 20), deadline=None)
@given(st.integers(0, 10**9))
def test_jumping_or_not_equals_the_unrolled_run(seed: int) -> None:
    program = random_program(Random(seed))
    expected, turns = run_unrolled(program)
    for jumping in (False, True):
        run = run_program(program, jumping=jumping, logged=True)
        assert run.exact
        assert run.cycles == expected
        assert run.turns == len(turns)
        names = [t.name for t in program.tasks]
        for s in run.slices:
            assert turns[names.index(s.task), s.step] == (s.start, s.end)
        if run.fired < LOGGED:
            assert run.fired == len(run.slices)
            assert jumping or not run.gaps
        if not jumping:
            assert run.fired == len(turns)


@pytest.mark.skipif(not COMPILED, reason="long runs are for compiled code")
@pytest.mark.parametrize("seed", range(60))
def test_long_runs_are_jumped_over(seed: int) -> None:
    """With room on every dependency the run settles: a thousand times as long is as soon done."""
    random = Random(seed)
    program = random_program(random)
    room = tuple(
        StepDependency(
            before=d.after,
            after=d.before,
            distance=(max(x or 0 for x in d.distance) + lag + 2,) * len(d.distance),
            room=True,
        )
        for d in program.dependencies
        for lag in (abs(program.tasks[d.after].stage - program.tasks[d.before].stage),)
    )
    program = replace(program, dependencies=(*program.dependencies, *room))
    program = ordered(replace(program, run_lengths=repeat(3000, program.run_lengths)))
    if steps_by_class(program.run_lengths).keys() and length(program.run_lengths) < 60_000:
        slow = run_program(program, jumping=False)
        fast = run_program(program)
        assert fast.cycles == slow.cycles
        assert slow.fired == slow.turns == fast.turns
        if slow.fired > 30_000:
            assert fast.fired < slow.fired / 2


def two(lookahead: int, count: int, late: int = 1000) -> StepProgram:
    """A producer with a late result, and a consumer that lets it run ahead so far."""
    one = (Fraction(1),)
    return StepProgram(
        tasks=(
            StepTask(name="a", resource="x", occupancy=one, late=Fraction(late)),
            StepTask(name="b", resource="y", occupancy=one),
        ),
        dependencies=(
            StepDependency(before=0, after=1, distance=(0,)),
            StepDependency(before=1, after=0, distance=(lookahead,), room=True),
        ),
        run_lengths=repeat(count, OneStep(0)),
    )


@pytest.mark.parametrize("lookahead", [1, 2, 3, 13, 37, 100])
def test_bursts_of_any_length(lookahead: int) -> None:
    assert run_program(two(lookahead, 500)).cycles == run_unrolled(two(lookahead, 500))[0]
    # Bursts of ``lookahead`` results every 1002 cycles; the last one ends the run.
    rounds = 10**12
    long = run_program(two(lookahead, lookahead * rounds))
    assert long.cycles == rounds * 1002 + lookahead - 1
    assert long.fired < 2000
    assert long.period == Fraction(1002, lookahead)


def test_a_run_too_long_for_whole_cycles_is_refused() -> None:
    with pytest.raises(InputError, match="too long for the whole numbers"):
        run_program(two(1, 2**60))


def test_the_finest_unit_that_holds() -> None:
    """Odd fractions are exact while they fit, then powers of two, rounded up."""
    occupancy = (Fraction(1000, 1001),)
    short = two(1, 1000, late=0)
    short = replace(short, tasks=tuple(t._replace(occupancy=occupancy) for t in short.tasks))
    assert time_unit(short)[:2] == (1001, True)
    assert run_program(short).cycles == 2000 * occupancy[0]
    long = replace(short, run_lengths=repeat(2**54, OneStep(0)))
    assert time_unit(long)[:2] == (32, False)
    run = run_program(long)
    assert not run.exact
    assert 0 <= run.cycles - 2**55 * occupancy[0] <= Fraction(2**55, 32)


def running_ahead(random: Random) -> StepProgram:
    """Tasks in a line, each at its own speed, with room for many results between them."""
    tasks = tuple(
        StepTask(
            name=f"t{i}",
            resource=f"r{random.randint(0, i)}",
            occupancy=(Fraction(random.randint(1, 9)), Fraction(random.randint(1, 9))),
            late=Fraction(random.choice((0, 0, 40))),
        )
        for i in range(random.randint(2, 5))
    )
    rooms = [random.randint(5, 40) for _ in tasks[1:]]
    dependencies = [
        d
        for i, room in enumerate(rooms)
        for d in (
            StepDependency(before=i, after=i + 1, distance=(0, 0)),
            StepDependency(before=i + 1, after=i, distance=(room, room), room=True),
        )
    ]
    row = sequence([repeat(random.randint(1, 300), OneStep(0)), repeat(2, OneStep(1))])
    return StepProgram(
        tasks=tasks, dependencies=tuple(dependencies), run_lengths=repeat(random.randint(1, 4), row)
    )


@settings(max_examples=examples(60 if COMPILED else 10), deadline=None)
@given(st.integers(0, 10**9))
def test_tasks_that_run_ahead_equal_the_unrolled_run(seed: int) -> None:
    program = running_ahead(Random(seed))
    expected, turns = run_unrolled(program)
    assert run_program(program).cycles == expected
    run = run_program(program, logged=True)
    assert run.cycles == expected
    names = [t.name for t in program.tasks]
    for s in run.slices:
        assert turns[names.index(s.task), s.step] == (s.start, s.end)


def test_what_runs_ahead_is_taken_on_to_where_it_waits() -> None:
    """A gains a cycle a step on b until 1,000 results lie between them: nobody waits for that."""
    program = two(1000, 10**9, late=0)
    tasks = (
        program.tasks[0]._replace(occupancy=(Fraction(100),)),
        program.tasks[1]._replace(occupancy=(Fraction(101),)),
    )
    run = run_program(replace(program, tasks=tasks))
    assert run.cycles == 100 + 101 * 10**9
    assert run.fired < 10_000


def test_a_task_whose_turns_ended_together_advances_with_its_resource() -> None:
    """The first turns of A take no time and end at 12 each; later ones wait for B's."""
    a = StepTask(name="A", resource="one", occupancy=(Fraction(0),), late=Fraction(12))
    b = StepTask(name="B", resource="one", occupancy=(Fraction(5, 2),), stage=2)
    program = StepProgram(tasks=(a, b), dependencies=(), run_lengths=repeat(21, OneStep(0)))
    slow, fast = run_program(program, jumping=False), run_program(program)
    assert fast.cycles == slow.cycles == 18 * b.occupancy[0] + 12


def test_a_run_that_does_not_settle_is_given_up() -> None:
    """A producer without room runs ahead of a slower consumer for ever.

    Step by step it does so evenly, and is taken on to the end; steps of two kinds are not.
    """
    fast, slow = two(1, 10**9, late=0).tasks
    slow = slow._replace(occupancy=(Fraction(2),))
    program = replace(two(1, 10**9), tasks=(fast, slow), dependencies=two(1, 1).dependencies[:1])
    assert run_program(program).cycles == 1 + 2 * 10**9
    times = {"a": (Fraction(1), Fraction(1)), "b": (Fraction(2), Fraction(3))}
    program = replace(
        program,
        tasks=tuple(t._replace(occupancy=times[t.name]) for t in program.tasks),
        dependencies=(StepDependency(before=0, after=1, distance=(0, 0)),),
        run_lengths=repeat(10**9, sequence([OneStep(0), OneStep(1)])),
    )
    with pytest.raises(InputError, match="has not settled after 100,000 task events"):
        run_program(program, most=100_000)


NOT_TOO_FAR = 1 << 14 if COMPILED else 1 << 10
"""Periods of which Python keeps and compares the states in a second, too."""


@pytest.mark.parametrize("behind", [NOT_TOO_FAR, 1 << 20])
def test_a_task_too_far_behind_another_is_not_run(behind: int) -> None:
    """All periods in between are kept of a state, and compared: of a million that takes hours."""
    program = two(1, 2 * behind)
    first, second = program.tasks
    late = first, second._replace(stage=first.stage + behind)
    program = replace(program, tasks=late, dependencies=program.dependencies[:1])
    if behind == NOT_TOO_FAR:
        assert run_program(program, most=10**6).cycles > 0
        return
    with pytest.raises(StepsError, match="1,048,576 steps behind"):
        run_program(program, most=10**6)


def test_parts_that_hang_together() -> None:
    program = two(1, 10)
    apart = replace(program, dependencies=())
    assert len(components(program)) == 1
    parts = components(apart)
    assert [t.name for p in parts for t in p.tasks] == ["a", "b"]
    assert run_program(apart).cycles == 10 + 1000


def test_a_cycle_is_named() -> None:
    program = two(0, 10)
    with pytest.raises(IssueError, match=r"a -> b -> a|b -> a -> b"):
        ordered(program)
    itself = replace(program, dependencies=(StepDependency(before=1, after=1, distance=(0,)),))
    with pytest.raises(IssueError, match="b -> b"):
        ordered(itself)
