"""Exact walk of the shared nest of a group: classes of steps by what they do, as run lengths.

Shares of masked tiles are rescaled, so that all steps together do what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from einsum_cascade.errors import Problem

from ..iteration.bands import Band, BandProgression
from ..iteration.exact import total
from ..iteration.loops import Extents, inside, iterations
from ..iteration.windowed import repeat_periods, stretches
from .group import FusionGroup, StepClass, Walk
from .run_length import (
    MAX_VISITS,
    OneStep,
    RunLengths,
    StepsError,
    renamed_classes,
    repeat,
    rows_grown,
    sequence,
)
from .shares import Numbered, Shares, within


class _At(NamedTuple):
    """Position of a step in one loop, as far as it matters."""

    first: bool
    last: bool
    back: int | None


class _WalkState(NamedTuple):
    """State on which the rest of a walk depends, inside the loops walked so far.

    ``view`` and ``held`` are numbers of ``Shares``: the remaining extents of every Einsum, and the
    shares of tiles that stay to the end of the walk.
    """

    nest: Extents
    band: Band | None
    at: tuple[_At, ...]
    view: int
    held: int


def walk(group: FusionGroup, wanted: frozenset[str] = frozenset()) -> Walk:
    """Class all steps of a group.

    Parameters
    ----------
    wanted : frozenset of str
        Members of loops from whose previous iteration running values come.

    Raises
    ------
    StepsError
        An Einsum's tiles do not match the nest's, or steps differ too much.
    """
    walker = _Walker(group, wanted)
    runs = walker.visit(0, walker.start())
    found = _in_order(Walk(group=group, run_lengths=runs, classes=tuple(walker.classes.values)))
    masked = any(p.e.window is not None for p in group.parts)
    return rescaled(found) if masked else found


def _in_order(found: Walk) -> Walk:
    """Return a walk with classes numbered in the order of their occurrence."""
    order = tuple(found.steps_by_class)
    if order == tuple(range(len(found.classes))):
        return found
    number = {kind: n for n, kind in enumerate(order)}
    kinds = tuple(number.get(kind, -1) for kind in range(len(found.classes)))
    return replace(
        found,
        run_lengths=renamed_classes(found.run_lengths, kinds),
        classes=tuple(found.classes[kind] for kind in order),
    )


_Turn = tuple[int, bool, bool, bool, int, Band | None]
"""Iteration of a loop: the number of its place without the band; whether it is the first, the
last, and at the edge; what remains of the axis, and of the band."""


_Ramp = tuple[int, tuple[bool, bool], bool, int, int, int, tuple[Band | None, Band | None]]
"""Ramp of a loop: its place as above; whether it has the first and last iteration, and the edge;
extent, count, shift of the band, and the band at both ends."""


_Place = tuple[int, _WalkState, int]
"""Number of outer loops, the state inside them, and the number of both without the band."""


class _Walker:
    def __init__(self, group: FusionGroup, wanted: frozenset[str]) -> None:
        self.group = group
        self.wanted = wanted
        self.visits = 0
        self.shares = Shares(group)
        self.classes: Numbered[StepClass] = Numbered()
        self.memo: dict[tuple[int, _WalkState], RunLengths] = {}
        self.places: Numbered[tuple[int, _WalkState]] = Numbered()
        self.entered: dict[_Turn, RunLengths] = {}
        self.ramps: dict[_Ramp, list[RunLengths]] = {}
        window = group.nest.window
        self.repeat_periods = () if window is None else repeat_periods(group.loops, window)
        self.grain = () if window is None else window.grain(group.loops)
        depths = range(len(group.loops))
        out = [[p for p in group.parts if p.loops[d] is None] for d in depths]
        asked = {x.variable for x in group.loops if x.member in wanted}
        # First and last iterations are part of the state only if a task asks for them: states that
        # differ in nothing else are equal and visited once.
        self.ask_first = [
            any(p.early for p in ps) or x.variable in asked
            for x, ps in zip(group.loops, out, strict=True)
        ]
        self.ask_last = [any(not p.early for p in ps) for ps in out]
        self.outside = [[d for d in depths if p.loops[d] is None] for p in group.parts]

    def look(self, places: int = 1) -> None:
        """Count more visited places. Raises StepsError if they are too many."""
        self.visits += places
        if self.visits > MAX_VISITS:
            text = f"steps are too unlike: they differ in more than {MAX_VISITS:,} places"
            raise StepsError(text)

    def start(self) -> _WalkState:
        """Return the state outside all loops."""
        nest = self.group.nest
        view, held = self.shares.start()
        return self.sliced(0, _WalkState(nest.extents, nest.band, (), view, held))

    def visit(self, depth: int, state: _WalkState) -> RunLengths:
        """Return the run lengths inside the first ``depth`` loops."""
        key = (depth, state)
        if key not in self.memo:
            last = depth == len(self.group.loops)
            self.memo[key] = self.leaf(state) if last else self.loop(depth, state)
        return self.memo[key]

    def loop(self, depth: int, state: _WalkState) -> RunLengths:
        """Return all iterations of a loop: the first, those in the middle, the last."""
        ramps = self.group.nest.ramps(depth, state.nest, state.band)
        # A band looks equal in many places: its turn alone identifies the inside.
        unplaced = _WalkState(state.nest, None, state.at, state.view, state.held)
        place = self.places.number((depth, unplaced))
        found: list[RunLengths] = []
        for number, ramp in enumerate(ramps):
            ends = (number == 0, number == len(ramps) - 1)
            found += self.ramp(depth, state, place, ramp, ends)
        return sequence(found)

    def ramp(
        self,
        depth: int,
        state: _WalkState,
        place: int,
        ramp: BandProgression,
        ends: tuple[bool, bool],
    ) -> list[RunLengths]:
        """Return the iterations of a ramp, which may hold a loop's very first or very last one."""
        axis, stride = self.group.loops[depth].axis, self.group.loops[depth].stride
        edge = ramp.first + ramp.count == iterations(state.nest[axis], stride)
        whole = (ramp.at(0), ramp.at(ramp.count - 1))
        key = (place, ends, edge, ramp.extent, ramp.count, ramp.moved, whole)
        # Bands that are equal at both ends of a ramp are equal in between; None says too little.
        known = self.ramps.get(key) if ramp.moved and None not in whole else None
        if known is not None:
            return known
        place_of_turns = depth, state, place
        # If no inner tile is left out, the position of the band does not matter.
        if ramp.moved and self.grain[depth + 1]:
            found = self.moving(place_of_turns, ramp, ends, edge)
        else:
            found = [
                repeat(run.count, self.turn(place_of_turns, run, (first, last, edge and till_end)))
                for run, first, last, till_end in _turns(ramp, *ends)
            ]
            if ramp.moved:
                self.look(ramp.count - len(found))  # they count as if all had been visited
        self.ramps[key] = found
        return found

    def moving(
        self, where: _Place, ramp: BandProgression, ends: tuple[bool, bool], edge: bool
    ) -> list[RunLengths]:
        """Return the iterations of a ramp along which the band moves: they differ, mostly
        evenly."""
        latest = ramp.count - 1

        def at(n: int) -> RunLengths:
            turn = ends[0] and n == 0, ends[1] and n == latest, edge and n == latest
            return self.turn(where, ramp.part(n), turn)

        found: list[RunLengths] = []
        for stretch in stretches(ramp, self.repeat_periods[where[0]]):
            found += map(at, range(len(found), stretch.begin))
            found += self.stretch(at, range(stretch.begin, stretch.end), stretch.period)
        return [*found, *map(at, range(len(found), ramp.count))]

    def stretch(
        self, at: Callable[[int], RunLengths], numbers: range, period: int
    ) -> list[RunLengths]:
        """Return iterations that repeat every ``period`` up to the lengths of their loops."""
        first = [at(n) for n in numbers[:period]]
        before = self.visits
        second = [at(n) for n in numbers[period : 2 * period]]
        each, times = self.visits - before, len(numbers) // period
        # Any counts of two rows grow evenly: this compares their letters. Only if they agree is the
        # last row worth a visit.
        if rows_grown(first, second, second, 2) is not None:
            last = [at(n) for n in numbers[-period:]]
            grown = rows_grown(first, second, last, times)
            if grown is not None:
                # They count as if all had been visited. Three were: the first, the second, the
                # last.
                self.look(each * (times - 3))
                return [*grown]
        return [*first, *second, *(at(n) for n in numbers[2 * period :])]

    def turn(
        self, where: _Place, run: BandProgression, ends: tuple[bool, bool, bool]
    ) -> RunLengths:
        """Return the run inside an iteration of a loop: at its first, at its last, at the axis'
        edge."""
        self.look()
        depth, state, place = where
        band = run.band
        if band is not None:
            # Merge bands that no inner tile tells apart.
            band = band.coarse(self.grain[depth + 1])
        turn = (place, *ends, run.extent, band)
        if turn not in self.entered:
            run = replace(run, band=band)
            self.entered[turn] = self.visit(depth + 1, self.enter(depth, state, ends, run))
        return self.entered[turn]

    def enter(
        self, depth: int, state: _WalkState, ends: tuple[bool, bool, bool], run: BandProgression
    ) -> _WalkState:
        """Return the state inside an iteration of a loop: at its first, at its last, at the
        axis' edge."""
        loop = self.group.loops[depth]
        first, last, edge = ends
        total = iterations(state.nest[loop.axis], loop.stride)
        nest = inside(state.nest, loop, run.extent)
        asked = loop.member in self.wanted
        at = _At(
            first=first and self.ask_first[depth],
            last=last and self.ask_last[depth],
            back=self.back(depth, state, first, run, nest) if asked else None,
        )
        shares = self.shares
        view = shares.memo(shares.entered, depth, state.view, total, edge, first)
        return self.sliced(depth + 1, _WalkState(nest, run.band, (*state.at, at), view, state.held))

    def back(
        self, depth: int, state: _WalkState, first: bool, run: BandProgression, inner: Extents
    ) -> int | None:
        """Return the least steps since a rank's previous coordinate; None at its first.

        If an outer loop over the rank has advanced, the previous coordinate was in the last
        iteration of this loop, at least one iteration ago.
        """
        loop = self.group.loops[depth]
        outer = zip(self.group.loops[:depth], state.at, strict=True)
        if first and all(a.first for x, a in outer if x.variable == loop.variable):
            return None
        # Without a band, the previous iteration is full, even if this one is cut short.
        if run.band is None:
            inner = within(state.nest, loop, False)
        return self.steps(depth + 1, inner, run.band)

    def steps(self, depth: int, extents: Extents, band: Band | None) -> int:
        """Return the steps inside the first ``depth`` loops."""
        return self.shares.memo(self.group.nest.steps, depth, extents, band)

    def sliced(self, depth: int, state: _WalkState) -> _WalkState:
        """Return the state with the shares of tiles that stay to the end of the walk."""
        shares, held = self.shares, state.held
        arriving = shares.memo(shares.arriving, depth, state.view, held)
        if arriving:
            held = shares.memo(shares.keep, held, arriving, *self.fuller(depth, state))
        if depth in shares.apart:
            band = state.band if self.group.nest.settled(depth) else None
            steps = self.steps(depth, state.nest, band)
            held = shares.memo(shares.spread, depth, state.view, state.held, held, steps)
        if held == state.held:
            return state
        return _WalkState(state.nest, state.band, state.at, state.view, held)

    def fuller(self, depth: int, state: _WalkState) -> tuple[int, int]:
        """Return the steps of a tile's stay, and the number of those that are not left out.

        Outside the loops that determine them, an average is enough (``rescaled``).
        """
        if state.band is None or not self.group.nest.settled(depth):
            return 1, 1
        return self.steps(depth, state.nest, None), self.steps(depth, state.nest, state.band)

    def leaf(self, state: _WalkState) -> RunLengths:
        """Return one step."""
        shares = self.shares
        ends = tuple((a.first, a.last) for a in state.at)
        runs = shares.memo(self.runs, ends, state.view)
        busy = shares.memo(shares.busy, runs, state.view)
        loads = shares.memo(shares.moved, "load", runs, state.held)
        drains = shares.memo(shares.moved, "drain", runs, state.held)
        back = tuple(a.back for a in state.at)

        def found() -> StepClass:
            rows = shares.rows.values
            return StepClass(
                runs=runs,
                busy=rows[busy],
                loads=tuple(rows[n] for n in loads),
                drains=tuple(rows[n] for n in drains),
                back=back,
            )

        return OneStep(self.classes.of((runs, busy, loads, drains, back), found))

    def runs(self, ends: tuple[tuple[bool, bool], ...], view: int) -> tuple[bool, ...]:
        """Return for each Einsum whether it runs in a step: outside a loop, at its first or last
        iteration.

        Raises
        ------
        StepsError
            An Einsum runs where its iterations differ from the nest's.
        """
        found = tuple(
            all(ends[d][0 if p.early else 1] for d in outside)
            for p, outside in zip(self.group.parts, self.outside, strict=True)
        )
        extents = self.shares.views.values[view].extents
        for p, here, now in zip(self.group.parts, found, extents, strict=True):
            if here and now is None:
                text = (
                    f"{p.e.name}'s edge tiles do not go along with those of the Einsums beside it"
                )
                hint = "use tiles that divide the shapes"
                raise StepsError(Problem(text, None, hint))
        return found


def _turns(
    ramp: BandProgression, first: bool, last: bool
) -> Iterator[tuple[BandProgression, bool, bool, bool]]:
    """Yield groups of equal iterations, with a loop's very first and very last on their own.

    The flag tells whether a group reaches the end.
    """
    begin, end = 0, ramp.count
    if first and end > 1:
        yield ramp.part(0), True, False, False
        begin, first = 1, False
    if last and end - begin > 1:
        yield ramp.part(begin, end - 1 - begin), first, False, False
        begin, first = end - 1, False
    yield ramp.part(begin, end - begin), first, last, True


def rescaled(walk: Walk) -> Walk:
    """Return a walk over masked tiles with shares scaled to add up to the counts.

    If iterations inside a step are left out, or an Einsum outside a loop runs at the loop's end for
    all tiles at once, a class alone does not give the amount of work.
    """
    classes = [(walk.steps_by_class[k], c) for k, c in enumerate(walk.classes)]
    work: list[Fraction] = []
    moved: list[tuple[Fraction, ...]] = []
    for number, part in enumerate(walk.group.parts):
        wanted = part.busy * part.e.iterations
        work.append(_factor(wanted, [(n, c.busy[number]) for n, c in classes]))
        rows = _with_multiplicity(
            (n, x) for n, c in classes for x in (c.loads[number], c.drains[number])
        )
        moved.append(
            tuple(
                _factor(counted, [(n, row[memory]) for n, row in rows if row[memory]])
                for memory, counted in enumerate(part.flows.counted)
            )
        )
    scaled = _Scaled(_non_unit(work), [_non_unit(factors) for factors in moved])
    return replace(walk, classes=tuple(scaled.step(c) for c in walk.classes))


_Row = tuple[Fraction, ...]


def _with_multiplicity(rows: Iterable[tuple[int, _Row]]) -> list[tuple[int, _Row]]:
    """Return how often each row occurs: classes have many rows in common."""
    times: dict[int, int] = {}
    known: dict[int, _Row] = {}
    for n, row in rows:
        known[id(row)] = row
        times[id(row)] = times.get(id(row), 0) + n
    return [(times[number], row) for number, row in known.items()]


def _factor(wanted: Fraction, found: Iterable[tuple[int, Fraction]]) -> Fraction:
    """Return the factor by which shares that add up to ``found`` have to grow."""
    sum_found = total(found)
    return wanted / sum_found if sum_found else Fraction(0)


_NonUnit = tuple[tuple[int, Fraction], ...]
"""Positions in a row whose factor is not one, with the factors."""


def _non_unit(factors: Sequence[Fraction]) -> _NonUnit:
    return tuple((n, by) for n, by in enumerate(factors) if by != 1)


class _Scaled:
    """Scaled rows, each computed once for many classes."""

    def __init__(self, work: _NonUnit, moved: Sequence[_NonUnit]) -> None:
        self.work = work
        self.moved = moved
        self.known: dict[tuple[int, int], _Row] = {}

    def step(self, step: StepClass) -> StepClass:
        """Return a scaled class of steps, which must live as long as further ones are asked for."""
        loads, drains = (
            tuple([self.row(n, row) for n, row in enumerate(rows)])
            for rows in (step.loads, step.drains)
        )
        return replace(step, busy=_product(step.busy, self.work), loads=loads, drains=drains)

    def row(self, part: int, row: _Row) -> _Row:
        """Return the scaled traffic of a part."""
        if not self.moved[part]:
            return row
        key = (part, id(row))
        if key not in self.known:
            self.known[key] = _product(row, self.moved[part])
        return self.known[key]


def _product(row: _Row, factors: _NonUnit) -> _Row:
    """Multiply a row by factors, position by position; nothing stays nothing."""
    if not factors:
        return row
    found = list(row)
    for n, by in factors:
        if row[n]:
            found[n] = row[n] * by
    return tuple(found)
