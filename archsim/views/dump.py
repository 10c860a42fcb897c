"""Dumps of a run as text: the bound loop nest, the counts and the step program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from ..counts.accesses import AccessCount, Amount, EinsumCount
from ..counts.cores import counts_at_ports, over_links
from ..counts.occupancy import busy_cycles, folds_of
from ..counts.spill import count_mapping
from ..document import aligned
from ..legality.footprint import resident_tile
from ..nest.record import Bound, BoundEinsum
from ..plan.job import JobPlan
from ..schedule.kinds import exact_walks, kind_of
from ..schedule.program import StepDependency, StepProgram, StepTask
from ..steps.run_length import class_letter, run_lengths_text, steps_by_class


def bound_text(bound: Bound) -> str:
    """Return a bound mapping as text: loops with iterations, and the accesses of Einsums inside
    them.

    A loop is ``for P2 of 40 @ DRAM``: 40 iterations, which exchange tiles with DRAM. An access is
    ``K: DRAM 16,384 > registers 64``: elements of the tile that each level holds.

    Parameters
    ----------
    bound : Bound
        The mapping, with tile sizes fitted.

    Returns
    -------
    str
        Lines without a newline at the end.
    """
    return "\n".join(_lines(bound))


def _lines(bound: Bound) -> Iterator[str]:
    yield f"{bound.mapping.name}: {bound.program.name} on {bound.architecture.name}"
    yield f"shapes  {', '.join(f'{rank} = {size:,}' for rank, size in bound.shapes)}"
    for memory in bound.architecture.memories:
        yield f"{memory.name} keeps {_kept(bound, memory.name)}"
    for array in bound.architecture.arrays:
        yield f"registers of {array.name} keep {_kept(bound, array.name)}"
    yield f"schedule  {bound.mapping.schedule.kind}, {bound.steps:,} steps"
    for number, group in enumerate(bound.groups, start=1):
        if len(bound.groups) > 1:
            yield f"group {number}"
        indent = ""
        for loop in bound.nest:
            # A group iterates over the shared loops that enclose any of its Einsums.
            if any(loop.member not in bound.by_name[name].outside for name in group):
                level = bound.architecture.memories[loop.level].name
                yield f"{indent}for {loop.member} of {loop.bound:,} @ {level}"
                indent += "  "
        for name in group:
            yield from _einsum(bound, bound.by_name[name], indent)


def _kept(bound: Bound, level: str) -> str:
    tensors = [t for t, places in bound.residency.places if any(p.name == level for p in places)]
    return ", ".join(tensors) or "nothing"


def _einsum(bound: Bound, e: BoundEinsum, indent: str) -> Iterator[str]:
    operations = ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in e.operations)
    going = [m for m in e.outside if any(x.member == m and x.bound > 1 for x in bound.nest)]
    outside = f", outside {', '.join(going)}" if going else ""
    yield f"{indent}{e.name} on {e.array.name}: {operations}{outside}"
    inner = indent + "  "
    for loop in e.own:
        level = bound.architecture.memories[loop.level].name
        yield f"{inner}for {loop.member} of {e.trip_counts[loop.member]:,} @ {level}"
        inner += "  "
    for loop in e.spatial:
        yield f"{inner}across {loop.dimension}: {loop.member} of {e.trip_counts[loop.member]:,}"
    for number in range(len(e.access_maps)):
        yield f"{inner}{_access(bound, e, number)}"
    if e.window is not None:
        low, high, *_ = e.window.band
        yield f"{inner}tiles outside {low} <= distance <= {high} left out"


def _access(bound: Bound, e: BoundEinsum, number: int) -> str:
    """Return a line for one access: the tensor's producer, and the tile at every level that holds
    it."""
    tensor = e.access_maps[number].access.tensor
    memories = bound.architecture.memories
    held = [
        f"{memories[level].name} {resident_tile(bound, e, e.access_maps[number], level):,}"
        for level in bound.memories(e, tensor)
    ]
    held += [f"registers of {array}" for array in bound.registers(e, tensor)]
    held.append(f"tile {resident_tile(bound, e, e.access_maps[number], bound.register_level):,}")
    if number == len(e.reads):
        return f"writes {tensor}: {' > '.join(reversed(held))}"
    operand = e.operands[number]
    when = " of before" if operand.earlier else " at the end" if operand.ends else ""
    source = "" if operand.producer else " (input)"
    return f"reads {tensor}{when}{source}: {' > '.join(held)}"


def counts_text(bound: Bound) -> str:
    """Return the counts of every Einsum as text: points, operations, busy cycles and transfers.

    Parameters
    ----------
    bound : Bound
        The mapping, with tile sizes fitted.

    Returns
    -------
    str
        Lines without a newline at the end. Accesses are in elements.
    """
    counts = count_mapping(bound)
    if bound.architecture.memories[0].ring:
        counts = over_links(bound, counts, bound.cores.ring)
    return "\n".join(line for count in counts for line in _counts_of_einsum(bound, count))


def _counts_of_einsum(bound: Bound, count: EinsumCount) -> Iterator[str]:
    e = bound.by_name[count.einsum]
    masked = "" if count.allowed == count.points else f", {count.allowed:,} of them let through"
    yield f"{count.einsum} on {count.array}"
    yield f"  {count.points:,} points{masked}, {_amount(count.iterations)} iterations"
    yield f"  {_amount(busy_cycles(bound, e))} busy cycles"
    for kind, times in count.operations:
        yield f"  {times:,} {kind}"
    folds = folds_of(bound, e)
    if folds is not None:
        skew = ", ".join(f"{cycles:,} along {axis}" for axis, cycles in folds.skew) or "none"
        overlap = "overlapped" if folds.overlap else "one after the other"
        drained = f", each after {folds.drain:,} to drain" if folds.drain else ""
        yield f"  {folds.folds:,} folds, {overlap}: skew {skew}; {folds.loads:,} loads{drained}"
    own = f"{count.array}.registers"
    for access in count.accesses:
        yield _access_counts(access.tensor, access.place, access)
    yield _access_counts("all", own, count.registers)
    yield _access_counts("all", f"{own} of one element", count.registers_of_one)


def _access_counts(tensor: str, place: str, access: AccessCount) -> str:
    return f"  {tensor} @ {place}: {_amount(access.reads)} read, {_amount(access.writes)} written"


def _amount(amount: Amount) -> str:
    """Return a whole number with thousands separators, or a fraction as it is."""
    value = Fraction(amount)
    return f"{value.numerator:,}" if value.denominator == 1 else f"{float(value):,.6g}"


def program_text(program: StepProgram) -> str:
    """Return a step program as text, a line for each task and each dependency.

    Classes of steps are letters, as in the run lengths. A value that all classes share stands
    alone; ``-`` marks a task that does not run or does not wait. Times are in cycles: ``busy`` is
    how long a task occupies its resource, ``late`` how much later its result can be used. ``stage``
    is the number of steps that a task runs behind the newest one. A dependency's distance is in
    steps. A dependency of ``room`` waits until the other task leaves its resource; all others wait
    for its result.

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
    kept = sorted(counts)
    steps = ", ".join(f"{counts[k]} of {class_letter(k)}" for k in kept)
    lines = [f"steps  {run_lengths_text(program.run_lengths)}: {steps}"]
    for title, pairs in (
        ("first fill, before which a resource does nothing", program.start),
        ("last drain, after a task's last result", program.ends),
        ("beside no step", program.once),
    ):
        if pairs:
            lines.append(title)
            lines += _table([(name, _cycles(cycles)) for name, cycles in pairs])
    lines.append("tasks")
    lines += _table([_task(task, kept) for task in program.tasks])
    lines.append("dependencies")
    lines += _table([_dependency(program, d, kept) for d in program.dependencies])
    return "\n".join(lines)


def _task(task: StepTask, kept: Sequence[int]) -> tuple[str, ...]:
    busy, late = f"busy {_by_class(task.occupancy, kept)}", f"late {_cycles(task.late)}"
    return (task.name, task.resource, f"stage {task.stage}", busy, late)


def _dependency(program: StepProgram, d: StepDependency, kept: Sequence[int]) -> tuple[str, ...]:
    return (
        f"{program.tasks[d.before].name} -> {program.tasks[d.after].name}",
        f"distance {_by_class(d.distance, kept)}",
        "for room" if d.room else "for data",
        d.why,
    )


def _by_class(values: Sequence[Fraction | int | None], kept: Sequence[int]) -> str:
    """Return the value of each class of steps; a value that all classes share stands alone."""
    if len({values[k] for k in kept}) == 1:
        return _cycles(values[kept[0]])
    return ", ".join(f"{class_letter(k)} {_cycles(values[k])}" for k in kept)


def _cycles(cycles: Fraction | int | None) -> str:
    """Return cycles as a decimal if that is exact, else as a fraction."""
    if cycles is None:
        return "-"
    if cycles.denominator == 1:
        return str(cycles.numerator)
    plain = f"{float(cycles):.10g}"
    return plain if Fraction(plain) == cycles else str(cycles)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return indented rows with aligned columns."""
    return ["  " + line.rstrip() for line in aligned(rows, "  ")]


def _programs(bound: Bound) -> str:
    walks = exact_walks(bound, counts_at_ports(bound, count_mapping(bound)))
    programs = kind_of(bound).programs(bound, walks)
    return "\n\n".join(program_text(program) for program in programs)


STAGES: Final[Mapping[str, tuple[str, Callable[[Bound], str]]]] = MappingProxyType(
    {
        "bound": ("tiles in elements", bound_text),
        "counts": ("reads and writes in elements", counts_text),
        "program": ("times in cycles", _programs),
    }
)
"""Functions that return a stage as text, by the name of the stage (docs/architecture.md)."""


def dump(plan: JobPlan, stage: str) -> str:
    """Return one stage of every job of a plan as text.

    Parameters
    ----------
    stage : {"bound", "counts", "program"}
        The loop nest with its tiles; accesses and operations of every Einsum; tasks,
        dependencies and run lengths of the schedule, with the steps as they really are.

    Raises
    ------
    SpecError, MappingError
        As ``Job.bind``, and where the schedule contradicts the cascade's dependencies.
    """
    units, text = STAGES[stage]
    found = []
    for job in plan.nests:
        title = f"{job.name} on {job.architecture.name}, mapped by {job.mapping.name} ({units})"
        found.append(f"{title}\n{'=' * len(title)}\n{text(job.bind())}")
    return "\n\n".join(found)
