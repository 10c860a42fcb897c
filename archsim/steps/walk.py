"""Exact walk of the loops that a group shares: steps classed by their work, as run lengths.

A walk over masked tiles meets a few values in many places. Equal values therefore get the same
number: numbers compare much faster than tuples of fractions, and the consequences of a value are
computed once.

Each step's share of a masked tile is rescaled, so that all steps together do the counted work.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

from einsum_cascade.memo import cached_property

from ..iteration.bands import Band, BandProgression
from ..iteration.exact import total
from ..iteration.loops import Extents, count_points, inside, iterations
from ..iteration.windowed import repeat_periods, stretches
from .flows import Move, Role, StepShare
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

_T = TypeVar("_T")

_UNKNOWN = object()
_NOTHING = Fraction(0)

Row = tuple[Fraction, ...]
Held = tuple[tuple[int | None, ...], ...]
"""Index of the share that each flow has now, by Einsum and flow; None while none of its tiles
stays."""


class Numbered(Generic[_T]):
    """Distinct values, each with an index: its place in the order of first occurrence."""

    def __init__(self) -> None:
        self.values: list[_T] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: _T) -> int:
        """Return the index (number) of a value; a value that was never seen gets the next index."""
        return self.number_for(value, value)

    def number_for(self, key: Hashable, value: _T) -> int:
        """Return the index of a value that ``key`` identifies; a new key gets the next index."""
        number = self._numbers.setdefault(key, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


class RemainingExtents(NamedTuple):
    """Extents that the outer loops leave to each Einsum.

    ``extents`` is None for an Einsum whose remaining iterations differ from those of the shared
    loops. ``fresh`` holds, for each flow, whether the loops that do not move its tile were at their
    first iteration.
    """

    extents: tuple[Extents | None, ...]
    fresh: tuple[tuple[bool, ...], ...]


class Shares:
    """Tables of a group's remaining extents, shares of tiles and traffic; equal values have one
    index."""

    def __init__(self, group: FusionGroup) -> None:
        self.parts = group.parts
        self.memories = len(group.parts[0].bound.architecture.memories)
        self.views: Numbered[RemainingExtents] = Numbered()
        self.slices: Numbered[StepShare] = Numbered()
        self.held: Numbered[Held] = Numbered()
        self.rows: Numbered[Row] = Numbered()
        self._known: dict[Hashable, Any] = {}
        self.nest = group.nest
        depths = range(len(group.loops) + 1)
        # Number of an Einsum's own loops among the first of the group's.
        self.place = [
            [sum(x is not None for x in p.loops[:d]) for d in depths] for p in group.parts
        ]
        self.outside_depth = [p.depth for p in group.parts]
        self.ask_fresh = [frozenset(m.flow for m in p.flows.moves if m.again) for p in group.parts]

    @cached_property
    def steps(self) -> int:
        """Number of steps of the group."""
        return self.nest.steps(0, self.nest.extents, self.nest.band)

    def memo(self, make: Callable[..., _T], *given: Hashable) -> _T:
        """Return ``function`` of some arguments; each distinct call is computed once."""
        key = (make.__name__, given)
        if (found := self._known.get(key, _UNKNOWN)) is _UNKNOWN:
            found = self._known[key] = make(*given)
        known: _T = found
        return known

    def start(self) -> tuple[int, int]:
        """Return two indices for the state outside all loops: of the whole extents, and of no held
        tile."""
        view = RemainingExtents(
            extents=tuple(p.e.extents for p in self.parts),
            fresh=tuple((True,) * len(p.flows.flows) for p in self.parts),
        )
        nothing = tuple((None,) * len(p.flows.flows) for p in self.parts)
        return self.views.number(view), self.held.number(nothing)

    def entered(self, depth: int, outer: int, total: int, edge: bool, first: bool) -> int:
        """Return the index of the extents inside the first, last or another iteration of a loop.

        ``total`` is the number of the loop's iterations.
        """
        view = self.views.values[outer]
        extents = [*view.extents]
        fresh = [*view.fresh]
        # Every place asks for every Einsum: the list is cached.
        for number, axis, stride, stale in self.memo(self._looping, depth):
            now = extents[number]
            if now is None:
                continue
            # An Einsum whose loop has as many iterations as the nest's is in the same iteration.
            # For any other Einsum, the tile of this iteration is unknown.
            left = now[axis]
            if -(-left // stride) != total:
                extents[number] = None
            else:
                extent = left - (total - 1) * stride if edge else min(left, stride)
                if extent != left:
                    extents[number] = (*now[:axis], extent, *now[axis + 1 :])
            if stale and not first:
                fresh[number] = tuple([f and i not in stale for i, f in enumerate(fresh[number])])
        return self.views.number(RemainingExtents(tuple(extents), tuple(fresh)))

    def _looping(self, depth: int) -> list[tuple[int, int, int, frozenset[int]]]:
        """Return (Einsum, axis, stride, flows) for each Einsum that has the loop at a depth.

        The loop does not move the tiles of these flows: they arrive at its first iteration.
        """
        own = ((number, p.loops[depth]) for number, p in enumerate(self.parts))
        return [
            (number, loop.axis, loop.stride, self._stale(number, depth))
            for number, loop in own
            if loop is not None
        ]

    def _stale(self, number: int, depth: int) -> frozenset[int]:
        """Return the flows whose tiles a loop does not move: they are fresh only at its first
        iteration."""
        flows, place = self.parts[number].flows.flows, self.place[number][depth]
        return frozenset(
            i
            for i in self.ask_fresh[number]
            if i is not None and place < len(flows[i].loops) and not flows[i].moving[place]
        )

    # ------------------------------------------------------------------ shares of tiles

    def staying(
        self, depth: int, view: int, waiting: tuple[tuple[int, ...], ...]
    ) -> tuple[tuple[int, int, int], ...]:
        """Yield the Einsum, the flow and the share's index for each tile that stays during the
        inner loops.

        ``waiting`` holds the flows to look at, by Einsum.
        """
        now = self.views.values[view]
        found: list[tuple[int, int, int]] = []
        for number, (p, extents) in enumerate(zip(self.parts, now.extents, strict=True)):
            place, out = self.place[number][depth], self.outside_depth[number]
            if extents is None or (out is not None and depth > out):
                continue
            for i in waiting[number]:
                flow = p.flows.flows[i]
                # From here on a single tile arrives: its elements spread evenly over the steps
                # inside.
                if place >= flow.stepped or flow.stays(place, extents):
                    share = flow.slice(place, extents, now.fresh[number][i])
                    found.append((number, i, self.slices.number_for(share.key, share)))
        return tuple(found)

    def arriving(self, depth: int, view: int, held: int) -> tuple[tuple[int, int, int], ...]:
        """Return the shares of tiles that stay from this depth on and did not stay further
        outside."""
        waiting = self.memo(self._waiting, held)
        return self.memo(self.staying, depth, view, waiting) if any(waiting) else ()

    def _waiting(self, held: int) -> tuple[tuple[int, ...], ...]:
        """Return, for each Einsum, the flows of which no tile stays yet."""
        return tuple(
            tuple([i for i, share in enumerate(shares) if share is None])
            for shares in self.held.values[held]
        )

    def keep(
        self, held: int, arriving: tuple[tuple[int, int, int], ...], many: int, of: int
    ) -> int:
        """Return the held shares together with arriving ones.

        Each arriving share is scaled by ``many / of``.
        """
        known = list(self.held.values[held])
        for number, i, share in arriving:
            scaled = share
            if many != of:
                slice_ = self.slices.values[share].times(Fraction(many, of))
                scaled = self.slices.number_for(slice_.key, slice_)
            known[number] = (*known[number][:i], scaled, *known[number][i + 1 :])
        return self.held.number(tuple(known))

    def divided(self, depth: int, view: int, outer: int, held: int, steps: int) -> int:
        """Return the held shares, with those of Einsums outside a loop divided evenly over its
        steps."""
        known = list(self.held.values[held])
        for number, p in enumerate(self.parts):
            if (
                depth == self.outside_depth[number]
                and self.views.values[view].extents[number] is not None
            ):
                totals = (
                    self._total(depth, view, number, i, self.held.values[outer][number][i])
                    for i in range(len(p.flows.flows))
                )
                known[number] = tuple(
                    self.slices.number_for(t.key, t)
                    for t in (whole.times(Fraction(1, steps)) for whole in totals)
                )
        return self.held.number(tuple(known))

    def _total(self, depth: int, view: int, number: int, flow: int, share: int | None) -> StepShare:
        """Return the total traffic of a flow over all steps inside some loops."""
        p, place = self.parts[number], self.place[number][depth]
        now = self.views.values[view]
        extents = now.extents[number]
        assert extents is not None, "shares are of tiles that go along with the nest"
        if share is not None:
            return self.slices.values[share].times(count_points(p.steps[place:], extents))
        return p.flows.flows[flow].total(extents, place, now.fresh[number][flow])

    # ------------------------------------------------------------------ one step

    def busy(self, runs: tuple[bool, ...], view: int) -> int:
        """Return the index of a row that holds the cycles for which each Einsum works in a step."""
        extents = self.views.values[view].extents
        row = (
            p.busy * count_points(p.own, x) if r and x is not None else _NOTHING
            for p, r, x in zip(self.parts, runs, extents, strict=True)
        )
        return self._numbered(tuple(row))

    def _numbered(self, row: Row) -> int:
        """Return the index of a row of fractions.

        The row is looked up by whole numbers, which compare faster than fractions.
        """
        return self.rows.number_for(tuple([x.as_integer_ratio() for x in row]), row)

    def moved(self, role: Role, runs: tuple[bool, ...], held: int) -> tuple[int, ...]:
        """Return, for each Einsum, the index of a row that holds the words it moves in a step."""
        return tuple(
            self.memo(self._row, role, number, runs[number], slices)
            for number, slices in enumerate(self.held.values[held])
        )

    def _row(self, role: Role, number: int, runs: bool, slices: tuple[int | None, ...]) -> int:
        """Return the index of a row that holds the words, by memory, that an Einsum moves in a
        step."""
        # Traffic of an Einsum outside a loop is spread over all steps (``divided``), also those in
        # which it does not run.
        sums = [_NOTHING] * self.memories
        even = self.outside_depth[number] is not None
        for m in self.parts[number].flows.moves if runs or even else ():
            if m.role == role:
                share = self._share(number, m, slices)
                sums[m.memory] += share if m.scale == 1 else m.scale * share
        return self._numbered(tuple(sums))

    def _share(self, number: int, move: Move, slices: tuple[int | None, ...]) -> Fraction | int:
        """Return a step's share of a move in tensor elements, before scaling to words."""
        if move.flow is not None:
            known = slices[move.flow]
            if known is None:
                return 0
            share = self.slices.values[known]
            return share.again if move.again else share.arrives
        if self.outside_depth[number] is None:
            return 1
        part = self.parts[number]
        return Fraction(count_points(part.steps, part.e.extents), self.steps)


class _At(NamedTuple):
    """Position of a step in one loop, reduced to the facts that affect the step's work."""

    first: bool
    last: bool
    back: int | None


class _WalkState(NamedTuple):
    """State inside the loops walked so far, on which the rest of a walk depends.

    ``view`` and ``held`` are indices that ``Shares`` gives out. ``view`` identifies the extents
    that remain for every Einsum; ``held`` identifies the shares of tiles that stay to the end of
    the walk.
    """

    nest: Extents
    band: Band | None
    at: tuple[_At, ...]
    view: int
    held: int


def walk(group: FusionGroup, wanted: frozenset[str] = frozenset()) -> Walk:
    """Return all steps of a group, classed by their work.

    Parameters
    ----------
    wanted : frozenset of str
        Names (members) of loops whose previous iteration hands running values on.

    Raises
    ------
    StepsError
        An Einsum's tiles do not match those of the shared loops, or steps differ too much.
    """
    walker = _Walker(group, wanted)
    runs = walker.visit(0, walker.start())
    found = _in_order(Walk(group=group, run_lengths=runs, classes=tuple(walker.classes.values)))
    masked = any(p.e.window is not None for p in group.parts)
    return rescaled(found) if masked else found


def _in_order(found: Walk) -> Walk:
    """Return a walk with classes numbered in the order of their first occurrence."""
    order = tuple(found.steps_by_class)
    if order == tuple(range(len(found.classes))):
        return found
    number = {kind: n for n, kind in enumerate(order)}
    kinds = tuple(number.get(kind, -1) for kind in range(len(found.classes)))
    classes = tuple(found.classes[kind] for kind in order)
    return replace(found, run_lengths=renamed_classes(found.run_lengths, kinds), classes=classes)


_Turn = tuple[int, bool, bool, bool, int, Band | None]
"""Key of one iteration of a loop: its place, three flags, the remaining extent, and the band.

The place is numbered without regard to the band. The flags are True for the first iteration, for
the last one, and for the one at the edge of the axis.
"""


_Ramp = tuple[int, tuple[bool, bool], bool, int, int, int, tuple[Band | None, Band | None]]
"""Key of a ramp, the iterations of a loop along which the band shifts evenly.

The fields are: place as in ``_Turn``; whether the ramp has the loop's first and last iteration;
whether it reaches the edge; extent, count, shift of the band, and the band at both ends.
"""


_Place = tuple[int, _WalkState, int]
"""Number of outer loops, the state inside them, and an index for both that ignores the band."""


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
        queried = {x.variable for x in group.loops if x.member in wanted}
        # First and last iterations are part of the state only if a task asks for them: states that
        # differ in nothing else are equal and visited once.
        self.ask_first = [
            any(p.early for p in ps) or x.variable in queried
            for x, ps in zip(group.loops, out, strict=True)
        ]
        self.ask_last = [any(not p.early for p in ps) for ps in out]
        self.outside = [[d for d in depths if p.loops[d] is None] for p in group.parts]

    def look(self, places: int = 1) -> None:
        """Count visited places. Raises StepsError if the walk has visited too many."""
        self.visits += places
        if self.visits > MAX_VISITS:
            text = f"steps are too unlike: they differ in more than {MAX_VISITS:,} places"
            raise StepsError(text)

    def start(self) -> _WalkState:
        """Return the state of the walk outside all loops."""
        nest = self.group.nest
        view, held = self.shares.start()
        return self.sliced(0, _WalkState(nest.extents, nest.band, (), view, held))

    def visit(self, depth: int, state: _WalkState) -> RunLengths:
        """Return the run lengths of all steps in one iteration of the first ``depth`` loops."""
        key = (depth, state)
        if key not in self.memo:
            last = depth == len(self.group.loops)
            self.memo[key] = self.leaf(state) if last else self.loop(depth, state)
        return self.memo[key]

    def loop(self, depth: int, state: _WalkState) -> RunLengths:
        """Return the run lengths of all iterations of the loop at ``depth``."""
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
        """Return the run lengths of a ramp's iterations.

        The ramp may contain the loop's first or last iteration.
        """
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
        """Return the run lengths of a ramp's iterations if the band moves along the ramp.

        These iterations differ, mostly evenly.
        """
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
        """Return the run lengths of iterations that repeat every ``period``, except for loop
        lengths."""
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
        """Return the run lengths inside one iteration of a loop.

        ``ends`` says whether it is the first, the last, and at the edge of the axis.
        """
        self.look()
        depth, state, place = where
        band = run.band
        if band is not None:
            # Merge bands that no inner tile tells apart.
            band = band.coarse(self.grain[depth + 1])
        turn = (place, *ends, run.extent, band)
        if turn not in self.entered:
            if band is not run.band:
                run = BandProgression(run.count, run.first, run.extent, band, run.moved)
            self.entered[turn] = self.visit(depth + 1, self.enter(depth, state, ends, run))
        return self.entered[turn]

    def enter(
        self, depth: int, state: _WalkState, ends: tuple[bool, bool, bool], run: BandProgression
    ) -> _WalkState:
        """Return the state inside one iteration of a loop.

        ``ends`` says whether it is the first, the last, and at the edge of the axis.
        """
        loop = self.group.loops[depth]
        first, last, edge = ends
        total = iterations(state.nest[loop.axis], loop.stride)
        nest = inside(state.nest, loop, run.extent)
        queried = loop.member in self.wanted
        at = _At(
            first=first and self.ask_first[depth],
            last=last and self.ask_last[depth],
            back=self.back(depth, state, first, run, nest) if queried else None,
        )
        shares = self.shares
        view = shares.memo(shares.entered, depth, state.view, total, edge, first)
        return self.sliced(depth + 1, _WalkState(nest, run.band, (*state.at, at), view, state.held))

    def back(
        self, depth: int, state: _WalkState, first: bool, run: BandProgression, inner: Extents
    ) -> int | None:
        """Return the fewest steps since a rank's previous coordinate; None at its first
        coordinate.

        If an outer loop over the rank has advanced, the previous coordinate was in the last
        iteration of this loop, at least one iteration ago.
        """
        loop = self.group.loops[depth]
        outer = zip(self.group.loops[:depth], state.at, strict=True)
        if first and all(a.first for x, a in outer if x.variable == loop.variable):
            return None
        # Without a band, the previous iteration is full, even if this one is cut short.
        if run.band is None:
            inner = inside(state.nest, loop, min(state.nest[loop.axis], loop.stride))
        return self.steps(depth + 1, inner, run.band)

    def steps(self, depth: int, extents: Extents, band: Band | None) -> int:
        """Return the number of steps in one iteration of the first ``depth`` loops."""
        return self.shares.memo(self.group.nest.steps, depth, extents, band)

    def sliced(self, depth: int, state: _WalkState) -> _WalkState:
        """Return the state after the shares of newly arrived tiles are added.

        These tiles stay to the end of the walk inside.
        """
        shares, held = self.shares, state.held
        arriving = shares.memo(shares.arriving, depth, state.view, held)
        if arriving:
            held = shares.memo(shares.keep, held, arriving, *self.fuller(depth, state))
        if depth in shares.outside_depth:
            band = state.band if self.group.nest.settled(depth) else None
            steps = self.steps(depth, state.nest, band)
            held = shares.memo(shares.divided, depth, state.view, state.held, held, steps)
        if held == state.held:
            return state
        return _WalkState(state.nest, state.band, state.at, state.view, held)

    def fuller(self, depth: int, state: _WalkState) -> tuple[int, int]:
        """Return the number of steps of a tile's stay, without and with the mask.

        Outside the loops that determine these numbers it returns (1, 1): an average is enough
        there, because ``rescaled`` corrects the sum.
        """
        if state.band is None or not self.group.nest.settled(depth):
            return 1, 1
        return self.steps(depth, state.nest, None), self.steps(depth, state.nest, state.band)

    def leaf(self, state: _WalkState) -> RunLengths:
        """Return the run of a single step, identified by its class."""
        shares = self.shares
        ends = tuple((a.first, a.last) for a in state.at)
        runs = shares.memo(self.runs, ends, state.view)
        busy = shares.memo(shares.busy, runs, state.view)
        loads = shares.memo(shares.moved, "load", runs, state.held)
        drains = shares.memo(shares.moved, "drain", runs, state.held)
        back = tuple(a.back for a in state.at)

        rows = shares.rows.values
        loaded, drained = tuple(rows[n] for n in loads), tuple(rows[n] for n in drains)
        step = StepClass(runs=runs, busy=rows[busy], loads=loaded, drains=drained, back=back)
        # Numbers are compared sooner than the fractions of a class.
        return OneStep(self.classes.number_for((runs, busy, loads, drains, back), step))

    def runs(self, ends: tuple[tuple[bool, bool], ...], view: int) -> tuple[bool, ...]:
        """Return, for each Einsum, whether it runs in a step.

        An Einsum outside a loop runs at the loop's first or last iteration.

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
                raise StepsError(text, None, "use tiles that divide the shapes")
        return found


def _turns(
    ramp: BandProgression, first: bool, last: bool
) -> Iterator[tuple[BandProgression, bool, bool, bool]]:
    """Yield groups of equal iterations; a loop's first and last iterations form their own groups.

    Three flags follow each group: whether it has the first iteration, has the last one, and ends
    the ramp.
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
    """Return a walk over masked tiles, with each class's work scaled so that all steps add up to
    the counts.

    The class of a step does not always determine its work. The mask may leave out iterations inside
    a step. An Einsum outside a loop may run at the loop's end for all tiles at once.
    """
    classes = [(walk.steps_by_class[k], c) for k, c in enumerate(walk.classes)]
    work: list[Fraction | None] = []
    moved: list[_Factors] = []
    for number, part in enumerate(walk.group.parts):
        wanted = part.busy * part.e.iterations
        work.append(_factor(wanted, [(n, c.busy[number]) for n, c in classes]))
        rows = [(n, row) for n, c in classes for row in (c.loads[number], c.drains[number])]
        moved.append(
            [
                _factor(counted, [(n, row[memory]) for n, row in rows if row[memory]])
                for memory, counted in enumerate(part.flows.counted)
            ]
        )

    def scaled(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(_product(row, by) for row, by in zip(rows, moved, strict=True))

    return replace(
        walk,
        classes=tuple(
            replace(c, busy=_product(c.busy, work), loads=scaled(c.loads), drains=scaled(c.drains))
            for c in walk.classes
        ),
    )


_Factors = list[Fraction | None]
"""Scaling factor for each position of a row; None means one."""


def _factor(wanted: Fraction, found: Iterable[tuple[int, Fraction]]) -> Fraction | None:
    """Return the factor that scales the sum of ``found`` to ``wanted``; None for one."""
    sum_found = total(found)
    if sum_found == wanted:
        return None
    return wanted / sum_found if sum_found else Fraction(0)


def _product(row: Row, factors: _Factors) -> Row:
    """Return a row multiplied by factors, position by position."""
    if not any(x and by is not None for x, by in zip(row, factors, strict=True)):
        return row
    return tuple(
        [x * by if x and by is not None else x for x, by in zip(row, factors, strict=True)]
    )
