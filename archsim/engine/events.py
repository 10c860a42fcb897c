"""Event programs as flat integer tables, and the code that runs them.

Times are whole numbers of a unit, a fraction of a cycle. The unit is the common denominator of all
times, so that the run is exact. If the run would then be too long for 64 bits, the unit is the
finest power of two that fits. Times that are no multiple of that unit are rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain
from math import ceil, lcm
from typing import NamedTuple

from ..iteration.exact import total
from ..schedule.program import StepDependency, StepProgram, components
from ..steps.run_length import OneStep, Repeat, RunLengths, Seq, StepsError, length, steps_by_class
from ..tables import MAX_COMPILED_TIME, Numbers, PythonBudget, compiled_kernel, filled
from . import kernel, policy
from .kernel import HELPERS, KernelProgram, Log, Marks, State, run

_PYTHON_EVENTS = PythonBudget(before_import=policy.EVENTS_BEFORE_NUMBA, if_imported=0)
"""Number of task events that the process still fires in Python, before it compiles the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One run of a task on its resource, with start and end in cycles."""

    task: str
    resource: str
    step: int
    start: Fraction
    end: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Interval of a run for which no slices are kept, in cycles.

    ``steps`` is the number of steps that were skipped because they repeat earlier steps. If it is
    None, the steps were run, but their slices are too many to keep.
    """

    steps: int | None
    start: Fraction
    end: Fraction


@dataclass(frozen=True, kw_only=True)
class EventRun:
    """Outcome of a program's run: cycles to its last result, and the work of the simulation."""

    cycles: Fraction
    fired: int
    """Number of task events that were simulated."""
    turns: int
    """Number of task events in the whole run, including skipped ones."""
    period: Fraction | None
    """Cycles per step of the outermost repetition; None if no repetition was found."""
    unit: int
    """Number of time units in a cycle."""
    exact: bool
    """True if every time is a whole number of time units."""
    slices: tuple[Slice, ...] = ()
    gaps: tuple[Gap, ...] = ()


def run_program(
    program: StepProgram,
    *,
    jumping: bool = True,
    logged: bool = False,
    most: int | None = policy.MAX_EVENTS,
) -> EventRun:
    """Run a program to its end and return the outcome.

    Parameters
    ----------
    jumping : bool
        True to skip repetitions; the result is the same.
    logged : bool
        True to return slices: the first and the last few thousand simulated turns.
    most : int or None
        Task events after which the run is given up. None for a run without limits: its times are
        exact, whatever their size.

    Raises
    ------
    StepsError
        The run is too long for 64 bits, does not settle in ``most`` events, or has a task too far
        behind another.

    Examples
    --------
    A tile takes 3 cycles to make, and 2 to use on another array; only some of 1000 steps are run:

    >>> from ..schedule.program import StepTask
    >>> make = StepTask(name="A", resource="one", occupancy=(Fraction(3),))
    >>> use = StepTask(name="B", resource="other", occupancy=(Fraction(2),))
    >>> flow = StepDependency(before=0, after=1, distance=(0,))
    >>> steps = Repeat(1000, OneStep(0))
    >>> program = StepProgram(tasks=(make, use), dependencies=(flow,), run_lengths=steps)
    >>> found = run_program(program)
    >>> str(found.cycles), str(found.period), found.turns, found.fired < 20
    ('3002', '3', 2000, True)
    """
    runs = [_run(p, jumping, logged, most) for p in components(program)]
    slowest = max(runs, key=lambda r: r.cycles)
    return EventRun(
        cycles=slowest.cycles,
        fired=sum(r.fired for r in runs),
        turns=sum(r.turns for r in runs),
        period=slowest.period,
        unit=min(r.unit for r in runs),
        exact=all(r.exact for r in runs),
        slices=tuple(s for r in runs for s in r.slices),
        gaps=slowest.gaps,
    )


class TimeUnit(NamedTuple):
    """Unit of time of a run: the number of units in a cycle."""

    per_cycle: int
    exact: bool
    """True if every time is a whole number of time units."""
    limit: int
    """Largest time that the run may reach, in time units."""


def time_unit(program: StepProgram, *, limited: bool = True) -> TimeUnit:
    """Return the unit of time for a program.

    Parameters
    ----------
    limited : bool
        True for times of at most 64 bits, which compiled code can handle.

    Raises
    ------
    StepsError
        Whole cycles are already too many.
    """
    often = [program.steps_by_class.get(kind, 0) for kind in range(len(program.tasks[0].occupancy))]
    # A run takes longest if its turns follow one another without overlap.
    terms = [(1, x) for _, x in program.start]
    count = 0
    for t in program.tasks:
        for times, occupancy in zip(often, t.occupancy, strict=True):
            if occupancy is not None:
                # A turn has two times, and each may be rounded up by less than a unit.
                terms += [(times, occupancy), (times, t.late)]
                count += 2 * times
    exact = lcm(*{x.denominator for _, x in terms})
    longest = total(terms)
    most = MAX_COMPILED_TIME // 2
    if longest * exact < most or not limited:
        return TimeUnit(exact, True, max(MAX_COMPILED_TIME, 2 * ceil(longest * exact)))
    unit = 1
    if longest + count >= most:
        raise StepsError(
            f"the run has {count // 2:.3g} task events and may take {float(longest):.3g} cycles: "
            "too long for the whole numbers of the event engine"
        )
    # Each of ``count`` times may be rounded up by less than a unit.
    while longest * (2 * unit) + count < most:
        unit *= 2
    return TimeUnit(unit, False, MAX_COMPILED_TIME)


class FlatRun(NamedTuple):
    """Program as flat tables, with its state, marks and log.

    ``reach`` is the number of step classes on which the future depends.
    """

    program: KernelProgram
    state: State
    marks: Marks
    log: Log
    reach: int


def flatten(program: StepProgram, unit: TimeUnit, logged: bool = False) -> FlatRun:
    """Return a program and its initial state as flat tables, with times in time units.

    The program's tasks must be in the order of issue.
    """
    least = min(t.stage for t in program.tasks)
    reach = max(t.stage for t in program.tasks) - least
    code, depth = _code(program, reach)
    p = _program(program, unit, code)
    back = max(*p.need, reach, 1)
    tasks, resources = len(program.tasks), len(program.resources)
    # A ring of periods is longer than any dependency reaches back: back 4 needs 5 rows with the
    # newest, and has 8. With a power of two, a mask finds the row.
    rows = 1 << back.bit_length()
    tail = policy.LOG_TAIL if logged else 0
    start = dict(program.start)
    free = [_units(start.get(n, Fraction(0)), unit.per_cycle) for n in program.resources]
    return FlatRun(
        program=p,
        state=State(
            kind=filled(rows, -1),
            result=filled(rows * tasks, -1),
            leave=filled(rows * tasks, -1),
            free=free,
            used=filled(tasks, 0),
            last=filled(tasks, -1),
            loops=filled(depth * kernel.LOOP_FIELDS, 0),
            regs=filled(kernel.REGISTERS, 0),
        ),
        marks=Marks(
            back=back,
            kind=filled(depth * back, 0),
            result=filled(depth * back * tasks, 0),
            leave=filled(depth * back * tasks, 0),
            free=filled(depth * resources, 0),
            used=filled(depth * tasks, 0),
            rate=filled(tasks, 0),
            pace=filled(resources, 0),
            held=filled(resources, 0),
        ),
        log=Log(
            rows=filled((policy.LOG_HEAD + tail if logged else 1) * kernel.LOG_FIELDS, 0), tail=tail
        ),
        reach=reach,
    )


def _program(program: StepProgram, unit: TimeUnit, code: Numbers) -> KernelProgram:
    tasks, per_cycle = program.tasks, unit.per_cycle
    names = {name: number for number, name in enumerate(program.resources)}
    least = min(t.stage for t in tasks)
    incoming: list[list[tuple[StepDependency, list[int]]]] = [[] for _ in tasks]
    need = [0] * len(tasks)
    for d in program.dependencies:
        waits = program.ago(d)
        known = [x for x in waits if x is not None]
        assert min(known, default=0) >= 0, "an order respects dependencies"
        ago = [-1 if x is None else min(x, policy.MAX_DISTANCE) for x in waits]
        need[d.before] = max(need[d.before], *ago)
        if not program.in_turn(d):
            incoming[d.after].append((d, ago))
    flat = [d for ds in incoming for d, _ in ds]
    agos = [ago for ds in incoming for _, ago in ds]
    occupancy = [[-1 if x is None else _units(x, per_cycle) for x in t.occupancy] for t in tasks]
    return KernelProgram(
        code=code,
        occupancy=_by_class(occupancy),
        late=[_units(t.late, per_cycle) for t in tasks],
        ago=_by_class(agos or [[-1] * len(occupancy[0])]),
        stage=[t.stage - least for t in tasks],
        resource=[names[t.resource] for t in tasks],
        first=list(accumulate((len(ds) for ds in incoming), initial=0)),
        before=[d.before for d in flat] or [0],
        room=[int(d.room) for d in flat] or [0],
        need=need,
        limit=unit.limit,
    )


def _by_class(columns: list[list[int]]) -> Numbers:
    """Return columns of values as one table, with a row for each class of step."""
    return list(chain.from_iterable(zip(*columns, strict=True)))


def _units(cycles: Fraction, unit: int) -> int:
    """Return cycles converted to time units, rounded up."""
    return -(-cycles.numerator * unit // cycles.denominator)


_Instruction = tuple[int, int, int, int, int]


def _code(program: StepProgram, drain: int) -> tuple[Numbers, int]:
    """Return the instructions of a run, followed by ``drain`` empty periods, and the depth of its
    loops.

    >>> from ..schedule.program import StepTask
    >>> task = StepTask(name="A", resource="array", occupancy=(Fraction(4),))
    >>> runs = Repeat(3, OneStep(0))
    >>> numbers, depth = _code(StepProgram(tasks=(task,), dependencies=(), run_lengths=runs), 1)
    >>> [numbers[at : at + 5] for at in range(0, 20, 5)]  # LOOP, STEP, END, STEP
    [[1, 3, 0, 1, 0], [0, 0, 0, 0, 0], [2, 1, 0, 1, 1], [0, -1, 0, 0, 0]]
    """
    code = _Code(program)
    deepest = code.emit(program.run_lengths, 0, True)
    # Tasks of late stages still work when the last step has begun.
    code.rows += [(kernel.STEP, -1, 0, 0, 0)] * drain
    return list(chain.from_iterable(code.rows)), max(deepest, 1)


class _Code:
    """Builder of the instructions for a program's run."""

    def __init__(self, program: StepProgram) -> None:
        self.rows: list[_Instruction] = []
        classes = zip(*(t.occupancy for t in program.tasks), strict=True)
        resources = [t.resource for t in program.tasks]
        used = (zip(resources, times, strict=True) for times in classes)
        self.uses = [frozenset(r for r, x in pairs if x is not None) for pairs in used]

    def emit(self, part: RunLengths, depth: int, top: bool) -> int:
        """Emit the instructions of a part of the run, and return the depth of its innermost loops.

        ``top`` is True if the part is inside no loop except rows.
        """
        if isinstance(part, OneStep):
            self.rows.append((kernel.STEP, part.kind, 0, 0, 0))
            return depth
        if isinstance(part, Repeat):
            return self.loop(GrowingPart(part.count, 0, part.body), depth, top)
        deepest = depth
        for inner in with_rows(part.parts, self.resources):
            found = (
                self.even_rows(inner, depth, top)
                if isinstance(inner, EvenRows)
                else self.emit(inner, depth, top)
            )
            deepest = max(deepest, found)
        return deepest

    def resources(self, runs: RunLengths) -> frozenset[str]:
        """Return the resources that are used by the steps of a run."""
        return frozenset[str]().union(*(self.uses[kind] for kind in steps_by_class(runs)))

    def loop(self, part: GrowingPart, depth: int, top: bool) -> int:
        """Emit the instructions of a repetition; inside rows, it may grow from row to row."""
        steps = length(part.body)
        self.rows.append((kernel.LOOP, part.count, depth, steps, part.more))
        begin = len(self.rows)
        deepest = self.emit(part.body, depth + 1, False)
        self.rows.append((kernel.END, begin, depth, steps, int(top)))
        return deepest

    def even_rows(self, rows: EvenRows, depth: int, top: bool) -> int:
        """Emit the instructions of rows that differ only in the lengths of their loops."""
        self.rows.append((kernel.ROWS, rows.count, depth, 0, 0))
        begin = len(self.rows)
        deepest = max(
            self.emit(p.body, depth + 1, top)
            if (p.count, p.more) == (1, 0)
            else self.loop(p, depth + 1, top)
            for p in rows.parts
        )
        steps = [(p, length(p.body)) for p in rows.parts]
        first, more = sum(p.count * n for p, n in steps), sum(p.more * n for p, n in steps)
        self.rows.append((kernel.NEXT, begin, depth, first, more))
        return deepest


def _run(program: StepProgram, jumping: bool, logged: bool, most: int | None) -> EventRun:
    unit = time_unit(program, limited=most is not None)
    stages = [t.stage for t in program.tasks]
    lag = max(stages) - min(stages)
    if most is not None and lag > policy.MAX_LAG:
        raise StepsError(f"a task is {lag:,} steps behind another")
    flat = flatten(program, unit, logged)
    regs = flat.state.regs
    status = None
    while status != kernel.DONE:
        left = policy.EVENTS_PER_INTERRUPT_CHECK if most is None else most - regs[kernel.FIRED]
        if left <= 0:
            raise StepsError(f"the run has not settled after {most:,} task events")
        status = _go_on(flat, left, jumping)
        if status == kernel.OVERFLOW:
            raise StepsError("the run is too long for whole numbers")
    per_cycle, steps = unit.per_cycle, regs[kernel.TOP_STEPS]
    slices, gaps = _shown(program, flat, per_cycle, regs[kernel.LOGGED]) if logged else ((), ())
    return EventRun(
        cycles=_end(program, flat, per_cycle),
        fired=regs[kernel.FIRED],
        turns=_turns(program),
        period=Fraction(regs[kernel.TOP_SHIFT], per_cycle * steps) if steps else None,
        unit=per_cycle,
        exact=unit.exact,
        slices=slices,
        gaps=gaps,
    )


def _go_on(flat: FlatRun, left: int, jumping: bool) -> int:
    """Run at most ``left`` task events and return the kernel's status.

    The first events of a process run in Python, unless Numba is imported already. Most runs settle
    after some hundred events, which take less time than the import of a compiler.
    """
    regs = flat.state.regs
    # Comparing states takes longer the farther back dependencies reach.
    each = 1 + flat.marks.back // policy.PERIODS_COMPARED_PER_EVENT
    fits = flat.program.limit <= MAX_COMPILED_TIME
    if fits and _PYTHON_EVENTS.left < each:
        left = min(policy.EVENTS_PER_INTERRUPT_CHECK, left)
        return compiled_kernel(HELPERS, run)(*flat, left, jumping)
    if fits:
        left = min(_PYTHON_EVENTS.left // each, left)
    before = regs[kernel.FIRED]
    status = run(*flat, left, jumping)
    _PYTHON_EVENTS.spend(each * (regs[kernel.FIRED] - before))
    return status


def _end(program: StepProgram, flat: FlatRun, unit: int) -> Fraction:
    """Return the cycles to the last result, including the time that follows a result (``ends``)."""
    extra = dict(program.ends)
    last = {t.name: end for t, end in zip(program.tasks, flat.state.last, strict=True) if end >= 0}
    latest = Fraction(max(last.values(), default=0), unit)
    followed = (Fraction(last[name], unit) + more for name, more in extra.items() if name in last)
    return max((latest, *followed))


def _turns(program: StepProgram) -> int:
    times = program.steps_by_class
    return sum(
        times.get(k, 0) for t in program.tasks for k, x in enumerate(t.occupancy) if x is not None
    )


def _shown(
    program: StepProgram, flat: FlatRun, unit: int, logged: int
) -> tuple[tuple[Slice, ...], tuple[Gap, ...]]:
    """Return the logged slices in the order of events, and the gaps between them."""
    numbers = iter(flat.log.rows)
    # Copies of one iterator group the numbers into rows.
    log = list(zip(*(numbers,) * kernel.LOG_FIELDS, strict=True))
    head, tail = policy.LOG_HEAD, flat.log.tail
    stretches = [log[:logged]]
    if logged > len(log):
        # The oldest row of the ring is the next to be overwritten.
        turn = head + (logged - head) % tail
        stretches = [log[:head], [*log[turn:], *log[head:turn]]]
    slices: list[Slice] = []
    breaks: list[tuple[int, int | None]] = []
    for rows in stretches:
        if slices:
            breaks.append((len(slices), None))
        for i, step, start, end in rows:
            if i < 0:
                breaks.append((len(slices), step))
            else:
                t = program.tasks[i]
                times = Fraction(start, unit), Fraction(end, unit)
                slices.append(
                    Slice(task=t.name, resource=t.resource, step=step, start=times[0], end=times[1])
                )
    return tuple(slices), tuple(_gaps(slices, breaks))


def _gaps(slices: list[Slice], breaks: list[tuple[int, int | None]]) -> Iterator[Gap]:
    """Yield a gap for each break in the log, from the last slice before it to the first slice
    after it."""
    ends = [*(place for place, _ in breaks[1:]), len(slices)][: len(breaks)]
    for (place, steps), end in zip(breaks, ends, strict=True):
        before = max((s.end for s in slices[:place]), default=Fraction(0))
        after = min((s.start for s in slices[place:end]), default=before)
        if after > before:
            yield Gap(steps=steps, start=before, end=after)


@dataclass(frozen=True, slots=True)
class GrowingPart:
    """Repetition that runs ``count`` iterations in the first row, and ``more`` further ones in
    each next row."""

    count: int
    more: int
    body: OneStep | Seq


@dataclass(frozen=True, slots=True)
class EvenRows:
    """Sequence of ``count`` rows that grow evenly; only the first row is stored."""

    count: int
    parts: tuple[GrowingPart, ...]


def with_rows(
    parts: Sequence[RunLengths], busy: Callable[[RunLengths], frozenset[str]]
) -> Iterator[RunLengths | EvenRows]:
    """Return the parts of a sequence; parts that form evenly growing rows are merged into rows.

    >>> from ..steps.run_length import repeat, sequence
    >>> a, b = OneStep(0), OneStep(1)
    >>> run = sequence(part for n in range(1, 9) for part in (a, repeat(2 * n, b)))
    >>> [rows] = with_rows(run.parts, lambda _: frozenset({"DRAM"}))
    >>> rows.count, [(part.count, part.more) for part in rows.parts]
    (8, [(1, 0), (2, 2)])

    Parameters
    ----------
    parts : sequence of RunLengths
        Parts in sequence; no two neighbours are equal.
    busy : callable
        Function that returns the resources of a part. A growing part uses all resources of its row:
        otherwise a resource would idle for longer in every row, and waits for it might change.
    """
    pairs = [(p.count, p.body) if isinstance(p, Repeat) else (1, p) for p in parts]
    numbers: dict[OneStep | Seq, int] = {}
    bodies = [numbers.setdefault(body, len(numbers)) for _, body in pairs]
    counts = [count for count, _ in pairs]
    again = _next_equal(bodies)
    at = 0
    while at < len(parts):
        stride = again[at]
        covered = _grown_evenly(bodies, counts, at, stride) if stride else 0
        rows = covered // stride if stride else 0
        first = tuple(
            GrowingPart(counts[i], counts[i + stride] - counts[i], pairs[i][1])
            for i in range(at, at + stride if rows >= policy.MIN_ROWS else at)
        )
        if first and any(p.more for p in first) and _is_busy(first, busy):
            yield EvenRows(rows, first)
            at += rows * stride
        else:
            # No other rows of this distance begin before these end.
            end = at + max(1, covered - 2 * stride)
            yield from parts[at:end]
            at = end


def _next_equal(bodies: Sequence[int]) -> list[int]:
    """Return, for each part, the distance to the next part with an equal body; 0 if there is
    none.
    """
    found = [0] * len(bodies)
    last: dict[int, int] = {}
    for at in reversed(range(len(bodies))):
        found[at] = last.get(bodies[at], at) - at
        last[bodies[at]] = at
    return found


def _grown_evenly(bodies: Sequence[int], counts: Sequence[int], at: int, stride: int) -> int:
    """Return how many parts, from index ``at`` on, form evenly growing rows of ``stride`` parts
    each.

    In ``a b^2 a b^4 a b^6 c`` (counts 1, 2, 1, 4, 1, 6) six parts form rows of two: each count is
    the mean of the counts ``stride`` before and after.
    """
    end = at
    while (
        end + 2 * stride < len(bodies)
        and bodies[end] == bodies[end + stride] == bodies[end + 2 * stride]
        and counts[end] + counts[end + 2 * stride] == 2 * counts[end + stride]
    ):
        end += 1
    return end - at + 2 * stride if end > at else 0


def _is_busy(parts: tuple[GrowingPart, ...], busy: Callable[[RunLengths], frozenset[str]]) -> bool:
    """Return whether each growing part of a row uses every resource of the row."""
    used = [busy(p.body) for p in parts]
    every = frozenset[str]().union(*used)
    return all(here == every for p, here in zip(parts, used, strict=True) if p.more)
