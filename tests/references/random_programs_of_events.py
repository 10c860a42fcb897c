"""Random small event programs: words, tasks by class of step, dependencies with room."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from archsim.schedule.program import IssueError, StepDependency, StepProgram, StepTask, ordered
from archsim.steps.run_length import OneStep, RunLengths, repeat, sequence


def random_run_lengths(random: Random, kinds: int, depth: int = 0) -> RunLengths:
    """A runs of up to four nested repetitions."""
    if depth == 4 or random.random() < 0.25:
        return OneStep(random.randrange(kinds))
    if random.random() < 0.6:
        return repeat(random.choice((2, 3, 5, 9, 14)), random_run_lengths(random, kinds, depth + 1))
    parts = [random_run_lengths(random, kinds, depth + 1) for _ in range(random.randint(2, 3))]
    return sequence(parts)


def random_program(random: Random) -> StepProgram:
    """Tasks on a few resources; data flows forward, room flows back; stages as they come."""
    while True:
        try:
            return ordered(_draft(random))
        except IssueError:
            continue


def _draft(random: Random) -> StepProgram:
    kinds = random.randint(1, 4)
    resources = [f"r{i}" for i in range(random.randint(1, 3))]
    tasks = tuple(
        StepTask(
            name=f"t{i}",
            resource=random.choice(resources),
            occupancy=tuple(_occupancy(random) for _ in range(kinds)),
            late=Fraction(random.choice((0, 0, 1, 7, 30))),
            stage=random.choice((0, 0, 0, 1, 2, 5)),
        )
        for i in range(random.randint(1, 6))
    )
    found: list[StepDependency] = []
    for _ in range(random.randint(0, 8)):
        before, after = random.randrange(len(tasks)), random.randrange(len(tasks))
        lag = tasks[before].stage - tasks[after].stage + (0 if before < after else 1)
        least = max(0, lag)
        distances = tuple(
            None if random.random() < 0.15 else least + random.choice((0, 0, 1, 3))
            for _ in range(kinds)
        )
        found.append(
            StepDependency(
                before=before, after=after, distance=distances, room=random.random() < 0.3
            )
        )
        if random.random() < 0.7:
            back = max(0, tasks[after].stage - tasks[before].stage + 1) + random.randint(0, 4)
            found.append(
                StepDependency(before=after, after=before, distance=(back,) * kinds, room=True)
            )
    start = tuple(
        (r, Fraction(random.randint(0, 9), 2)) for r in resources if random.random() < 0.3
    )
    ends = ((tasks[0].name, Fraction(random.randint(0, 20), 3)),) if random.random() < 0.3 else ()
    runs = random_run_lengths(random, kinds)
    return StepProgram(
        tasks=tasks, dependencies=tuple(found), run_lengths=runs, start=start, ends=ends
    )


def _occupancy(random: Random) -> Fraction | None:
    if random.random() < 0.25:
        return None
    return Fraction(random.randint(0, 6), random.choice((1, 1, 2, 3)))
