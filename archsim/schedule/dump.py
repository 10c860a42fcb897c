"""A step program as text: what both engines read, for people."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..steps.run_length import class_letter, run_lengths_text, steps_by_class
from .program import StepDependency, StepProgram, StepTask


def program_text(program: StepProgram) -> str:
    """A step program in words, a line for each task and each dependency.

    Classes of steps are letters, as in the run lengths; a value that all classes share
    stands alone, ``-`` where a task does not run or nothing is waited for. Times are in
    cycles: ``busy`` is how long a task takes its resource, ``late`` how much later than that
    its result can be used; ``stage`` how many steps it runs behind the newest one. A
    dependency's distance is in steps; one of ``room`` waits for the other to leave its
    resource, the rest wait for its result.

    Parameters
    ----------
    program : StepProgram
        A program, in any order of its tasks.

    Examples
    --------

    >>> from archsim.steps.run_length import OneStep, repeat, sequence
    >>> half = (Fraction(64), Fraction(5, 2))
    >>> program = StepProgram(
    ...     tasks=(
    ...         StepTask(name="BQK", resource="array_2d", occupancy=half, late=Fraction(256)),
    ...         StepTask(name="RM", resource="array_1d", occupancy=(Fraction(1), None), stage=1),
    ...     ),
    ...     dependencies=(StepDependency(before=0, after=1, distance=(0, 0), why="BQK -> RM"),),
    ...     run_lengths=repeat(768, sequence([repeat(15, OneStep(0)), OneStep(1)])),
    ... )
    >>> print(program_text(program))
    steps  (a^15 b)^768: 11520 of a, 768 of b
    tasks
      BQK  array_2d  stage 0  busy a 64, b 2.5  late 256
      RM   array_1d  stage 1  busy a 1, b -     late 0
    dependencies
      BQK -> RM  distance 0  for data  BQK -> RM
    """
    counts = steps_by_class(program.run_lengths)
    letters = [class_letter(k) for k in sorted(counts)]
    steps = ", ".join(f"{counts[k]} of {class_letter(k)}" for k in sorted(counts))
    lines = [f"steps  {run_lengths_text(program.run_lengths)}: {steps}"]
    for title, pairs in (
        ("first fill, before which a resource does nothing", program.start),
        ("last drain, after a task's last result", program.ends),
        ("beside no step", program.once),
    ):
        if pairs:
            lines.append(title)
            lines += _table([(name, _number(cycles)) for name, cycles in pairs])
    lines.append("tasks")
    kept = sorted(counts)
    lines += _table([_task(t, letters, kept) for t in program.tasks])
    lines.append("dependencies")
    lines += _table([_dependency(program, d, letters, kept) for d in program.dependencies])
    return "\n".join(lines)


def _task(task: StepTask, letters: Sequence[str], kept: Sequence[int]) -> tuple[str, ...]:
    busy = [_number(task.occupancy[k]) for k in kept]
    return (
        task.name,
        task.resource,
        f"stage {task.stage}",
        f"busy {_by_class(busy, letters)}",
        f"late {_number(task.late)}",
    )


def _dependency(
    program: StepProgram, d: StepDependency, letters: Sequence[str], kept: Sequence[int]
) -> tuple[str, ...]:
    distance = ["-" if d.distance[k] is None else str(d.distance[k]) for k in kept]
    return (
        f"{program.tasks[d.before].name} -> {program.tasks[d.after].name}",
        f"distance {_by_class(distance, letters)}",
        "for room" if d.room else "for data",
        d.why,
    )


def _by_class(values: list[str], letters: Sequence[str]) -> str:
    if len({*values}) == 1:
        return values[0]
    return ", ".join(f"{letter} {value}" for letter, value in zip(letters, values, strict=True))


def _number(cycles: Fraction | None) -> str:
    """Cycles as a decimal where that is exact, else as a fraction."""
    if cycles is None:
        return "-"
    if cycles.denominator == 1:
        return str(cycles.numerator)
    plain = f"{float(cycles):.10g}"
    return plain if Fraction(plain) == cycles else str(cycles)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows with their columns below one another."""
    widths = [max(len(text) for text in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
